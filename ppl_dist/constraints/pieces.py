"""Sets put together along a dimension, and the union of sets that lie along one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Constraint

__all__ = ["Cat", "MixtureSameFamilyConstraint", "Stack"]


@dataclass(frozen=True, eq=False, repr=False)
class _Pieces(Constraint):
    """Shared by `Cat` and `Stack`: the pieces along `dim`, and one answer made of theirs."""

    cseq: Sequence[Constraint]
    dim: int = 0

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # derived here, a constant elsewhere
        return max(c.event_dim for c in self.cseq)

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # derived here, a constant elsewhere
        return any(c.is_discrete for c in self.cseq)

    def _split(self, value: Tensor) -> Sequence[Tensor]:
        raise NotImplementedError(f"{type(self).__name__} does not define _split(value).")

    def _join(self, answers: list[Tensor], dim: int) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not define _join(answers, dim).")

    def check(self, value: Tensor) -> Tensor:
        answers = [c.check(piece) for c, piece in zip(self.cseq, self._split(value), strict=True)]
        inner = max(c.event_dim for c in self.cseq)
        if -inner <= self.dim < 0:  # the pieces lie inside the event: one answer for all of them
            return torch.stack(answers).all(0)
        return self._join(answers, self.dim if self.dim >= 0 else self.dim + inner)


@dataclass(frozen=True, eq=False, repr=False)
class Cat(_Pieces):
    """Pieces along `dim`, piece `i` of length `lengths[i]` inside `cseq[i]`."""

    lengths: Sequence[int] | None = None

    def _split(self, value: Tensor) -> Sequence[Tensor]:
        lengths = [1] * len(self.cseq) if self.lengths is None else list(self.lengths)
        return torch.split(value, lengths, self.dim)

    def _join(self, answers: list[Tensor], dim: int) -> Tensor:
        return torch.cat(answers, dim)


@dataclass(frozen=True, eq=False, repr=False)
class Stack(_Pieces):
    """Slices along `dim`, slice `i` inside `cseq[i]`."""

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # the stacked dimension counts when it lies inside the event
        inner = max(c.event_dim for c in self.cseq)
        return inner + 1 if -inner <= self.dim < 0 else inner

    def _split(self, value: Tensor) -> Sequence[Tensor]:
        return value.unbind(self.dim)

    def _join(self, answers: list[Tensor], dim: int) -> Tensor:
        return torch.stack(answers, dim)


@dataclass(frozen=True, eq=False, repr=False)
class MixtureSameFamilyConstraint(Constraint):
    """The union of the sets that `base_constraint` holds along its last batch dimension, one for each component."""

    base_constraint: Constraint

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # derived here, a constant elsewhere
        return self.base_constraint.event_dim

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # derived here, a constant elsewhere
        return self.base_constraint.is_discrete

    @property
    def lower_bound(self) -> Tensor:
        """The least of the components' lower bounds, where they have one."""
        return _bound(self.base_constraint, "lower_bound").amin(-1)

    @property
    def upper_bound(self) -> Tensor:
        """The largest of the components' upper bounds, where they have one."""
        return _bound(self.base_constraint, "upper_bound").amax(-1)

    def _padded(self, value: Tensor) -> Tensor:
        return value.unsqueeze(-1 - self.event_dim)

    def check(self, value: Tensor) -> Tensor:
        return self.base_constraint.check(self._padded(value)).any(-1)

    def feasible(self, value: Tensor) -> Tensor | float:
        if not hasattr(self.base_constraint, "feasible"):  # of a foreign set nothing is known
            return value
        inside = self.base_constraint.feasible(self._padded(value))
        if not isinstance(inside, Tensor) or inside.dim() <= self.event_dim:
            return inside
        return inside.select(-1 - self.event_dim, 0)


def _bound(constraint: Constraint, name: str) -> Tensor:
    bound = torch.as_tensor(getattr(constraint, name))
    return bound if bound.dim() else bound.unsqueeze(-1)

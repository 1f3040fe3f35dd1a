"""What the distributions built around another one share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ..distribution import Distribution
from ..samplers import draw, draw_from
from ..shapes import size_of

__all__ = ["Wrapper"]


class Wrapper(Distribution):
    """A distribution around `base_dist`; by default everything is the base's.

    A subclass overrides what it changes. A declared family may be one too, its `base_dist` a property
    made from its parameters (LogNormal): it is rebuilt from the parameters, like any declared family.
    """

    def __init__(
        self,
        base_dist: Distribution,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self.__dict__["base_dist"] = base_dist
        super().__init__(batch_shape, event_shape, validate_args)

    @property
    def base_dist(self) -> Distribution:
        """The distribution inside; a property, so that a declared family can make it from its parameters."""
        base: Distribution = self.__dict__["base_dist"]
        return base

    def _missing(self, method: str) -> NotImplementedError:
        # every method is there, to ask the base: what it answers is not known
        return NotImplementedError(f"{type(self).__name__} has no {method}.")

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]  # a fact of the instance here
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]  # a fact of the instance here
        return self.base_dist.has_enumerate_support

    @property
    def support(self) -> Any:
        return self.base_dist.support

    def _rewrap(self, base: Distribution, batch_shape: torch.Size) -> Self:
        """The same wrapper around another base of the same kind."""
        return self._replace({"base_dist": base}, batch_shape)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        if self._spec.params:
            return Distribution.expand(self, batch_shape, _instance)
        batch = size_of(batch_shape)
        return self._rewrap(self.base_dist.expand(batch + self._base_tail()), batch)

    def __getitem__(self, index: Any) -> Self:
        if self._spec.params:
            return super().__getitem__(index)
        index = index if isinstance(index, tuple) else (index,)
        tail = self._base_tail()
        full = index + (slice(None),) * len(tail) if Ellipsis in index else index
        base = self.base_dist[full]
        return self._rewrap(base, base.batch_shape[: len(base.batch_shape) - len(tail)])

    def _base_tail(self) -> torch.Size:
        """The rightmost batch dimensions of the base that this wrapper counts as event dimensions."""
        shape = self.base_dist.batch_shape
        return shape[len(self._batch_shape) :]

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self._draw_base(shape, generator)

    def _draw_base(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """A draw of the base with complete shape `shape`."""
        base = self.base_dist
        inner = base.batch_shape + base.event_shape
        return draw(base, shape[: len(shape) - len(inner)], generator)

    def _draw_base_scored(
        self, sample_shape: Sequence[int], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """A differentiable draw of the base with its log density; a foreign base is asked for one after the other."""
        base: Any = self.base_dist
        if isinstance(base, Distribution):
            return base.rsample_and_log_prob(sample_shape, generator=generator)
        value = draw_from(base.rsample, generator, size_of(sample_shape))
        return value, base.log_prob(value)

    def _like(self) -> Tensor | None:
        base = self.__dict__.get("base_dist")  # a declared family has its own tensors
        return base._like() if isinstance(base, Distribution) else super()._like()

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    def entropy(self) -> Tensor:
        return self.base_dist.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        if not self.has_enumerate_support:
            raise self._missing("enumerate_support")
        return self.base_dist.enumerate_support(expand)

    def _rebuilt(self) -> None:
        if self._spec.params:
            super()._rebuilt()
        elif isinstance(self.base_dist, Distribution):
            full = self.base_dist.batch_shape
            extra = len(full) - self._tail_dims()
            self._batch_shape = full[:extra]

    def _tail_dims(self) -> int:
        return 0

    def __repr__(self) -> str:
        return super().__repr__() if self._spec.params else f"{type(self).__name__}({self.base_dist!r})"

"""What a constraint is, and the two made from others without looking at values: dependent and independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ..values import same_value, short

__all__ = ["Bound", "Constraint", "Dependent", "Independent", "dependent_property", "is_dependent"]

Bound = float | Tensor


class Constraint:
    """A set of values. Subclasses define `check`, and `event_dim`/`is_discrete` where they differ.

    Attributes:
        event_dim: how many rightmost dimensions make up one element of the set.
        is_discrete: whether the set is countable.
    """

    event_dim: int = 0
    is_discrete: bool = False

    def check(self, value: Tensor) -> Tensor:
        """Booleans of shape `value.shape[:value.dim() - event_dim]`: is each event inside?"""
        raise NotImplementedError(f"{type(self).__name__} does not define check(value).")

    def holds(self, value: Tensor) -> bool:
        """Whether every event of `value` is inside. One host synchronisation."""
        return bool(self.check(value).all().item())

    def feasible(self, value: Tensor) -> Tensor | float:
        """A point inside the set, broadcastable against `value`: it stands in for values outside.

        A set that `transform_to` does not know answers with `value` itself.
        """
        from ..constraint_registry import transform_to

        try:
            transform = transform_to(self)
        except NotImplementedError:  # nothing is known of a user's own set: its value has to do
            return value
        shape = transform.inverse_shape(value.shape)
        return transform(torch.zeros(shape, dtype=value.dtype, device=value.device))

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return False
        return all(same_value(mine, vars(other).get(name)) for name, mine in vars(self).items())

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={short(value)}" for name, value in vars(self).items())
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True, eq=False, repr=False)
class Dependent(Constraint):
    """A set that depends on other parameters; nothing can be checked before they are known."""

    is_discrete: bool = False
    event_dim: int = 0

    def __call__(self, *, is_discrete: bool | None = None, event_dim: int | None = None) -> Dependent:
        """The same, with `is_discrete` or `event_dim` stated."""
        return Dependent(
            self.is_discrete if is_discrete is None else is_discrete,
            self.event_dim if event_dim is None else event_dim,
        )

    def check(self, value: Tensor) -> Tensor:
        raise ValueError("dependent: cannot check a value before the parameters are known. Ask the instance instead.")


class dependent_property(property, Dependent):
    """A `support` that depends on the instance: a property there, a `Dependent` constraint on the class."""

    def __init__(
        self, fn: Callable[[Any], Constraint] | None = None, *, is_discrete: bool = False, event_dim: int = 0
    ) -> None:
        property.__init__(self, fn)
        object.__setattr__(self, "is_discrete", is_discrete)
        object.__setattr__(self, "event_dim", event_dim)

    def __call__(self, fn: Callable[[Any], Constraint]) -> dependent_property:  # type: ignore[override]  # a decorator here
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: object) -> TypeGuard[Dependent]:
    """Whether `constraint` needs parameters before it means anything."""
    if isinstance(constraint, Independent):
        return is_dependent(constraint.base_constraint)
    return isinstance(constraint, Dependent)


@dataclass(frozen=True, eq=False, repr=False)
class Independent(Constraint):
    """`base_constraint` with `reinterpreted_batch_ndims` further dimensions making up one event."""

    base_constraint: Constraint
    reinterpreted_batch_ndims: int

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # derived here, a constant elsewhere
        return self.base_constraint.event_dim + self.reinterpreted_batch_ndims

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # derived here, a constant elsewhere
        return self.base_constraint.is_discrete

    def check(self, value: Tensor) -> Tensor:
        inside = self.base_constraint.check(value)
        if inside.dim() < self.reinterpreted_batch_ndims:
            raise ValueError(
                f"independent: expected at least {self.event_dim} dimensions, got shape {tuple(value.shape)}."
            )
        n = self.reinterpreted_batch_ndims
        return inside.flatten(-n).all(-1) if n else inside

    def holds(self, value: Tensor) -> bool:
        if value.dim() < self.event_dim:
            return False
        return self.base_constraint.holds(value)

    def feasible(self, value: Tensor) -> Tensor | float:
        return self.base_constraint.feasible(value)

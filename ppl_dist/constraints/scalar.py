"""Sets of single numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..values import few_numbers
from .base import Bound, Constraint, Independent

__all__ = [
    "Boolean",
    "Finite",
    "GreaterThan",
    "GreaterThanEq",
    "HalfOpenInterval",
    "Integer",
    "IntegerGreaterThanEq",
    "IntegerInterval",
    "Interval",
    "LessThan",
    "LessThanEq",
    "Ray",
    "Real",
    "SoftplusPositive",
    "bounds_of",
]


@dataclass(frozen=True, eq=False, repr=False)
class Real(Constraint):
    """Every number that is not NaN."""

    def check(self, value: Tensor) -> Tensor:
        return value == value

    def holds(self, value: Tensor) -> bool:
        if value.dim() == 0:
            number = value.item()
            return number == number
        if few_numbers(value) is not None:
            return True
        # a finite sum proves that there is no NaN, in one pass; an infinite one proves nothing
        total = value.detach().sum().item()
        return total - total == 0 or super().holds(value)

    def feasible(self, value: Tensor) -> Tensor | float:
        return 0.0


@dataclass(frozen=True, eq=False, repr=False)
class _Bounded(Constraint):
    """Shared by the intervals: how to ask about a whole tensor in one pass."""

    def _contains(self, low: Any, high: Any) -> Any:
        """Whether [low, high] lies inside; written with operators, so that tensors work too."""
        raise NotImplementedError(f"{type(self).__name__} does not define _contains(low, high).")

    def _plain(self) -> bool:
        return True

    def check(self, value: Tensor) -> Tensor:
        inside = self._contains(value, value)
        return inside if isinstance(inside, Tensor) else torch.as_tensor(inside)

    def holds(self, value: Tensor) -> bool:
        if not self._plain():
            return (value.numel() > 0 and self._clear(value.detach())) or super().holds(value)
        if value.dim() == 0:
            number = value.item()
            return bool(self._contains(number, number))
        numbers = few_numbers(value)
        if numbers is not None:
            return bool(self._contains(min(numbers), max(numbers)))
        if value.numel() == 0:
            return True
        return self._extremes(value.detach())

    def _clear(self, value: Tensor) -> bool:
        """Whether the smallest distances from the bounds, which are tensors, show it; False shows nothing."""
        return False

    def _extremes(self, value: Tensor) -> bool:
        low, high = torch.aminmax(value)  # NaN comes through, and fails every comparison
        return bool(self._contains(low.item(), high.item()))


@dataclass(frozen=True, eq=False, repr=False)
class GreaterThan(_Bounded):
    """The open half line above `lower_bound`."""

    lower_bound: Bound

    def _contains(self, low: Any, high: Any) -> Any:
        return low > self.lower_bound

    def _plain(self) -> bool:
        return not isinstance(self.lower_bound, Tensor)

    def _clear(self, value: Tensor) -> bool:
        gap = (value - self.lower_bound).min().item()
        return bool(type(self)(0.0)._contains(gap, gap))

    def _extremes(self, value: Tensor) -> bool:
        return bool(value.min().item() > self.lower_bound)

    def feasible(self, value: Tensor) -> Tensor | float:
        return self.lower_bound + 1.0


@dataclass(frozen=True, eq=False, repr=False)
class SoftplusPositive(GreaterThan):
    """The positive numbers; its transform is softplus, which grows more slowly than exp."""

    lower_bound: Bound = field(default=0.0, init=False)


@dataclass(frozen=True, eq=False, repr=False)
class GreaterThanEq(GreaterThan):
    """The closed half line from `lower_bound`."""

    def _contains(self, low: Any, high: Any) -> Any:
        return low >= self.lower_bound

    def _extremes(self, value: Tensor) -> bool:
        return bool(value.min().item() >= self.lower_bound)


@dataclass(frozen=True, eq=False, repr=False)
class LessThan(_Bounded):
    """The open half line below `upper_bound`."""

    upper_bound: Bound

    def _contains(self, low: Any, high: Any) -> Any:
        return high < self.upper_bound

    def _plain(self) -> bool:
        return not isinstance(self.upper_bound, Tensor)

    def feasible(self, value: Tensor) -> Tensor | float:
        return self.upper_bound - 1.0


@dataclass(frozen=True, eq=False, repr=False)
class LessThanEq(LessThan):
    """The closed half line up to `upper_bound`."""

    def _contains(self, low: Any, high: Any) -> Any:
        return high <= self.upper_bound


@dataclass(frozen=True, eq=False, repr=False)
class Interval(_Bounded):
    """The closed interval from `lower_bound` to `upper_bound`."""

    lower_bound: Bound
    upper_bound: Bound

    def _contains(self, low: Any, high: Any) -> Any:
        return (low >= self.lower_bound) & (high <= self.upper_bound)

    def _plain(self) -> bool:
        return not isinstance(self.lower_bound, Tensor) and not isinstance(self.upper_bound, Tensor)

    def _clear(self, value: Tensor) -> bool:
        low, high = (value - self.lower_bound).min().item(), (value - self.upper_bound).max().item()
        return bool(type(self)(0.0, 0.0)._contains(low, high))

    def feasible(self, value: Tensor) -> Tensor | float:
        low, high = self.lower_bound, self.upper_bound
        middle = low + 0.5 * (high - low)
        if not isinstance(middle, Tensor):
            return middle
        # entries of a tensor of bounds may be infinite: then a point beside the other bound, or zero
        beside = torch.maximum(middle.new_zeros(()), torch.as_tensor(low + 1.0))
        return torch.where(middle.isfinite(), middle, torch.minimum(beside, torch.as_tensor(high - 1.0)))


@dataclass(frozen=True, eq=False, repr=False)
class Ray(Interval):
    """The closed interval from `lower_bound` to `upper_bound`, where entries of the upper bound may be infinite."""

    def feasible(self, value: Tensor) -> Tensor | float:
        return self.lower_bound + 1 / (1 + 1 / (self.upper_bound - self.lower_bound))


@dataclass(frozen=True, eq=False, repr=False)
class HalfOpenInterval(Interval):
    """The interval from `lower_bound`, included, to `upper_bound`, excluded."""

    def _contains(self, low: Any, high: Any) -> Any:
        return (low >= self.lower_bound) & (high < self.upper_bound)


class _Whole(_Bounded):
    """Mixed in before a set of numbers: only its integers."""

    is_discrete = True
    lower_bound: Bound

    def check(self, value: Tensor) -> Tensor:
        return super().check(value) & (value % 1 == 0)

    def holds(self, value: Tensor) -> bool:
        if not super().holds(value):
            return False
        if not value.is_floating_point():
            return True
        if value.dim() == 0:
            return value.item() % 1 == 0
        value = value.detach()
        return value.numel() == 0 or (torch.equal(value, value.floor()) and value.max().item() < torch.inf)

    def feasible(self, value: Tensor) -> Tensor | float:
        return self.lower_bound


@dataclass(frozen=True, eq=False, repr=False)
class IntegerInterval(_Whole, Interval):
    """The integers from `lower_bound` to `upper_bound`, both included."""


@dataclass(frozen=True, eq=False, repr=False)
class IntegerGreaterThanEq(_Whole, GreaterThanEq):
    """The integers from `lower_bound` upwards."""


@dataclass(frozen=True, eq=False, repr=False)
class Integer(Constraint):
    """The integers."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return value % 1 == 0

    def feasible(self, value: Tensor) -> Tensor | float:
        return 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Boolean(Constraint):
    """Zero or one."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value == 0) | (value == 1)

    def holds(self, value: Tensor) -> bool:
        if value.dim() == 0:
            return value.item() in (0, 1)
        if value.numel() == 0 or not value.is_floating_point():
            return super().holds(value)
        # x**2 - x is 0: a fifth of the time of comparisons, whose kernels are not vectorised; NaN and infinity give NaN
        value = value.detach()
        low, high = torch.aminmax((value * value).sub_(value))
        return low.item() == high.item() == 0

    def feasible(self, value: Tensor) -> Tensor | float:
        return 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Finite(Constraint):
    """`base` without its infinite values: what parameters are held to where the limit is no distribution."""

    base: Constraint

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # derived here, a constant elsewhere
        return self.base.event_dim

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # derived here, a constant elsewhere
        return self.base.is_discrete

    def check(self, value: Tensor) -> Tensor:
        finite, n = value.isfinite(), self.event_dim
        return self.base.check(value) & (finite.flatten(-n).all(-1) if n else finite)

    def holds(self, value: Tensor) -> bool:
        base = self.base.base_constraint if isinstance(self.base, Independent) else self.base
        if isinstance(base, Real):
            return _sums_up(value)
        if not (isinstance(base, _Bounded) and base._plain() and not base.is_discrete) or value.numel() == 0:
            return self.base.holds(value) and _sums_up(value)
        if value.dim() == 0:
            number = value.item()
            return bool(base._contains(number, number)) and number - number == 0
        numbers = few_numbers(value)
        if numbers is not None:
            return bool(base._contains(min(numbers), max(numbers)))
        low, high = (bound.item() for bound in torch.aminmax(value.detach()))
        return bool(base._contains(low, high)) and math.isfinite(low) and math.isfinite(high)

    def feasible(self, value: Tensor) -> Tensor | float:
        return self.base.feasible(value)


def _sums_up(value: Tensor) -> bool:
    """Whether all entries are finite: a finite sum proves it in one pass, an infinite one proves nothing."""
    total = value.detach().sum().item()
    return total - total == 0 or bool(value.isfinite().all().item())


def has_infinite_end(constraint: Constraint) -> bool:
    """Whether the set is a half line (or a product of half lines), whose far end is no number."""
    base = constraint.base_constraint if isinstance(constraint, Independent) else constraint
    return isinstance(base, GreaterThan | LessThan)


def bounds_of(constraint: Constraint) -> tuple[Bound, Bound]:
    """The ends of a set of numbers, infinite where it has none."""
    if isinstance(constraint, Boolean):
        return 0.0, 1.0
    return getattr(constraint, "lower_bound", -math.inf), getattr(constraint, "upper_bound", math.inf)

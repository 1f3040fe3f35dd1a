"""What truncation and censoring share: a base with one end or two, either of which may be missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from .. import validation
from ..constraints import (
    GreaterThan,
    GreaterThanEq,
    IntegerGreaterThanEq,
    IntegerInterval,
    Interval,
    LessThanEq,
    integer,
    real,
)
from ..constraints.base import Bound
from ..constraints.scalar import bounds_of
from ..construction import as_tensor
from ..distribution import Distribution
from ..requirement import bad_parameter
from ..shapes import broadcast_error, broadcast_shapes, size_of
from ..values import short
from .wrapper import Wrapper

__all__ = ["Bounded"]


class Bounded(Wrapper):
    """`base_dist` cut at `low` and `high`; a subclass says what becomes of what lies outside.

    Args:
        base_dist: a distribution of single numbers that has a cdf.
        low: the lower end, a number or a tensor that broadcasts with the batch shape; None where there is none.
        high: the upper end.
        validate_args: as for every distribution.

    Raises:
        TypeError: `base_dist` is not one of these distributions.
        ValueError: its draws are not single numbers, the shapes do not broadcast, or `low` is not below `high`.
    """

    arg_constraints = {"low": real, "high": real}  # noqa: RUF012  # a constant of the class, as in declared families
    whole_ends = False
    """Whether the ends of counts must be counts."""

    def __init__(
        self, base_dist: Distribution, low: Any = None, high: Any = None, *, validate_args: bool | None = None
    ) -> None:
        name = type(self).__name__
        if not isinstance(base_dist, Distribution):
            raise TypeError(f"{name}: expected a distribution of ppl_dist, got {type(base_dist).__name__}.")
        if base_dist.event_dim:
            raise ValueError(
                f"{name}: one draw of {type(base_dist).__name__} has shape {tuple(base_dist.event_shape)}; only single "
                f"numbers can be cut. Try {name}(...).to_event({base_dist.event_dim}) around a batch."
            )
        like = base_dist._as_value(0.0)
        given = {"low": low, "high": high}
        ends = {end: None if value is None else as_tensor(self, end, value, like) for end, value in given.items()}
        shapes = {"base_dist": base_dist.batch_shape}
        shapes |= {end: value.shape for end, value in ends.items() if value is not None}
        try:
            batch = broadcast_shapes(list(shapes.values()))
        except ValueError:
            raise broadcast_error(name, shapes) from None
        base_dist = base_dist if base_dist.batch_shape == batch else base_dist.expand(batch)
        self.low: Any = _spread(ends["low"], batch)  # a tensor or None; in a declared family a parameter
        self.high: Any = _spread(ends["high"], batch)
        super().__init__(base_dist, batch, (), validate_args)
        if validation.resolve(validate_args):
            self._check_ends()

    def _check_ends(self) -> None:
        for end in ("low", "high") if self.whole_ends and self.base_dist.is_discrete else ():
            value = self.__dict__[end]
            if value is not None and validation.holds(integer, value) is False:
                raise bad_parameter(self, end, integer, value)
        if self.low is not None and self.high is not None:
            above = (GreaterThanEq if self.base_dist.is_discrete else GreaterThan)(self.low)
            if validation.holds(above, self.high) is False:
                raise bad_parameter(self, "high", above, self.high)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        if self._spec.params:
            return super().expand(batch_shape, _instance)
        batch = size_of(batch_shape)
        try:
            new = super().expand(batch)
        except ValueError:
            raise ValueError(
                f"{type(self).__name__}: batch shape {tuple(self._batch_shape)} does not expand to {tuple(batch)}. "
                f"Sizes must be equal or 1, counted from the right."
            ) from None
        new.low, new.high = _spread(self.low, batch), _spread(self.high, batch)
        return new

    def __getitem__(self, index: Any) -> Self:
        new = super().__getitem__(index)
        if not self._spec.params:
            new.low, new.high = (None if end is None else end[index] for end in (self.low, self.high))
        return new

    def __repr__(self) -> str:
        if self._spec.params:
            return super().__repr__()
        ends = [f"{end}: {short(v)}" for end in ("low", "high") if (v := self.__dict__[end]) is not None]
        return f"{type(self).__name__}({', '.join([repr(self.base_dist), *ends])})"

    def _as_value(self, value: Any) -> Tensor:
        try:
            return super()._as_value(value)
        except ValueError:
            raise ValueError(
                f"{type(self).__name__}: the value must be a tensor or a number, got {type(value).__name__}."
            ) from None

    def _kept(self) -> tuple[Tensor | None, Tensor | None]:
        """The smallest and the largest value between the ends: of counts, whole numbers."""
        low, high = self.low, self.high
        if self.base_dist.is_discrete:
            return None if low is None else low.ceil(), None if high is None else high.floor()
        return low, high

    @property
    def support(self) -> Any:
        base = self.base_dist.support
        lower, upper = bounds_of(base)
        first, last = self._kept()
        low: Bound = lower if first is None else torch.maximum(first, torch.as_tensor(lower).to(first))
        high: Bound = upper if last is None else torch.minimum(last, torch.as_tensor(upper).to(last))
        open_low, open_high = (not isinstance(end, Tensor) and math.isinf(end) for end in (low, high))
        if base.is_discrete:
            return IntegerGreaterThanEq(low) if open_high else IntegerInterval(low, high)
        if open_low:
            return base if open_high else LessThanEq(high)
        return GreaterThanEq(low) if open_high else Interval(low, high)


def _spread(value: Tensor | None, batch: torch.Size) -> Tensor | None:
    """The end at the full batch shape; one that has it already keeps its graph, also under `no_grad`."""
    return value if value is None or value.shape == batch else value.expand(batch)

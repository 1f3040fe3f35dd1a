"""Distribution functions: both tails, their logs, and their inverses.

The public methods check what they are given and keep it inside the closure of the support; a family writes the
hooks it has a formula for (`_cdf`, `_sf`, `_icdf`, ...), each accurate in its own tail.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import half, validation
from .constraints import unit_interval
from .constraints.scalar import bounds_of
from .rebuild import Rebuildable
from .special import logsubexp

__all__ = ["DistributionFunctions"]

_LOG_HALF = math.log(0.5)


class DistributionFunctions(Rebuildable):
    """The part of `Distribution` about P(X <= x) and P(X > x), for distributions of single numbers."""

    if TYPE_CHECKING:  # what it takes from `Distribution`

        @property
        def support(self) -> Any: ...
        @property
        def event_dim(self) -> int: ...
        def _as_value(self, value: Any) -> Tensor: ...
        def _check_value_shape(self, value: Tensor) -> None: ...
        def _validate_sample(self, value: Tensor) -> bool: ...
        def _missing(self, method: str) -> NotImplementedError: ...

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value), shape S + B."""
        return self._answer("_cdf", self._clamped(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """log P(X <= value) in nats, accurate in the lower tail."""
        return self._answer("_log_cdf", self._clamped(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value), accurate in the upper tail."""
        return self._answer("_sf", self._clamped(value))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """log P(X > value) in nats, accurate in the upper tail."""
        return self._answer("_log_sf", self._clamped(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile function: the smallest x with P(X <= x) >= value, shape S + B.

        Raises:
            ValueError: while validation is on, a probability lies outside [0, 1].
        """
        return self._answer("_icdf", self._probability(value))

    def isf(self, value: Tensor) -> Tensor:
        """The inverse of the survival function, accurate for small upper-tail probabilities."""
        return self._answer("_isf", self._probability(value))

    def quantile(self, value: Tensor) -> Tensor:
        """Another name for `icdf`."""
        return self.icdf(value)

    def _answer(self, hook: str, value: Tensor) -> Tensor:
        answered: Tensor = getattr(self, hook)(value) if self._half is None else half.answer(self, hook, value)
        return answered

    def _clamped(self, value: Tensor) -> Tensor:
        value = self._as_value(value)
        support = self.support
        if self.event_dim:
            raise self._missing("cdf")
        if validation.resolve(self._validate_args):
            if support.is_discrete:  # a distribution function of a count is defined between the counts too
                self._check_value_shape(value)
            elif self._validate_sample(value):
                return value
        return self._into_closure(value)

    def _into_closure(self, value: Tensor) -> Tensor:
        """`value` moved to the nearest end of the support; one below the first count for counts."""
        support = self.support
        low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
        if support.is_discrete and low is not None:
            low = low - 1
        if low is not None:
            value = torch.maximum(value, torch.as_tensor(low, dtype=value.dtype, device=value.device))
        if high is not None:
            value = torch.minimum(value, torch.as_tensor(high, dtype=value.dtype, device=value.device))
        return value

    def _probability(self, value: Tensor) -> Tensor:
        value = self._as_value(value)
        if self.event_dim:
            raise self._missing("icdf")
        if validation.resolve(self._validate_args) and validation.holds(unit_interval, value) is False:
            raise ValueError(
                f"{type(self).__name__}: a probability must lie in [0, 1]; "
                f"{validation.violation(unit_interval, value)}."
            )
        return value

    def _cdf(self, x: Tensor) -> Tensor:
        """Hook: the distribution function on the closure of the support."""
        raise self._missing("cdf")

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._cdf(x).log()

    def _sf(self, x: Tensor) -> Tensor:
        return 1 - self._cdf(x)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._sf(x).log()

    def _icdf(self, p: Tensor) -> Tensor:
        """Hook: the quantile at a probability in [0, 1]."""
        raise self._missing("icdf")

    def _isf(self, q: Tensor) -> Tensor:
        return self._icdf(1 - q)

    def _icdf_of_log(self, log_p: Tensor) -> Tensor:
        """The quantile at exp(log_p); a family overrides it where that probability may underflow."""
        return self._icdf(log_p.exp())

    def _isf_of_log(self, log_q: Tensor) -> Tensor:
        return self._isf(log_q.exp())

    def _at_log_tails(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """The quantile at exp(log_p) = 1 - exp(log_q), by the smaller of the two."""
        lower = log_p < log_q
        left = self._icdf_of_log(torch.where(lower, log_p, _LOG_HALF))
        right = self._isf_of_log(torch.where(lower, _LOG_HALF, log_q))
        return torch.where(lower, left, right)

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log P(X <= x) and log P(X > x), constant beyond the ends of the support, where derivatives are 0/0."""
        place = self._within_support(x)
        return self._log_tail_at(*place, upper=False), self._log_tail_at(*place, upper=True)

    def _within_support(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether no mass lies at or below x, whether all of it does, and a point of the support in its place then."""
        support = self.support
        low, high = bounds_of(support)
        nothing, everything = (x < low if support.is_discrete else x <= low), x >= high
        return nothing, everything, torch.where(nothing | everything, support.feasible(x), x).to(x.dtype)

    def _log_tail_at(self, nothing: Tensor, everything: Tensor, inner: Tensor, *, upper: bool) -> Tensor:
        empty, full, value = (everything, nothing, self._log_sf) if upper else (nothing, everything, self._log_cdf)
        return torch.where(empty, -torch.inf, torch.where(full, 0.0, value(inner)))

    def _log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        """log P(low < X <= high), as a difference in the tail where the interval lies; -inf if it is empty."""
        (below_low, above_low), (below_high, above_high) = self._log_tails(low), self._log_tails(high)
        upper = above_low < below_high
        return logsubexp(torch.where(upper, above_low, below_high), torch.where(upper, above_high, below_low))

    @property
    def median(self) -> Tensor:
        """The quantile at one half, shape B."""
        if self.event_dim:
            raise self._missing("median")
        like = self._like()
        half = torch.scalar_tensor(0.5) if like is None else torch.full((), 0.5, dtype=like.dtype, device=like.device)
        return self._icdf(half.expand(self._batch_shape))

"""The distribution of a draw that is moved to the nearest end where it lies beyond it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .bounded import Bounded
from .truncated import Truncated

__all__ = ["Censored"]


class Censored(Bounded):
    """Censored(base_dist, low a, high b):  the law of x moved into [a, b].

    mass P(X <= a) at a and P(X >= b) at b, the base's density between; either end may be missing. `log_prob` is taken
    with respect to that mixed measure, and so is the entropy. The ends of counts are counts.

    >>> import ppl_dist as dist
    >>> dist.Censored(dist.Exponential(1.0), high=2.0).log_prob(2.0)
    tensor(-2.)

    Args:
        base_dist: a distribution of single numbers that has a cdf.
        low: the lower end, a number or a tensor that broadcasts with the batch shape; None where there is none.
        high: the upper end.
        validate_args: as for every distribution.
    """

    __init__ = Bounded.__init__  # said again for type checkers, which make one up from declarations otherwise
    whole_ends = True

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]  # a fact of the instance here
        return False

    def _below_high(self) -> Tensor:
        """The point above which the base's mass goes to the upper end."""
        high: Tensor = self.high
        return high - 1 if self.base_dist.is_discrete else high

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self._moved(self._draw_base(shape, generator))

    def _moved(self, x: Tensor) -> Tensor:
        return x if self.low is None and self.high is None else x.clamp(self.low, self.high).to(x.dtype)

    def _log_prob(self, x: Tensor) -> Tensor:
        base, none = self.base_dist, torch.zeros_like(x, dtype=torch.bool)
        at_low = none if self.low is None else x <= self.low
        at_high = none if self.high is None else x >= self.high
        between = torch.where(at_low | at_high, base.support.feasible(x), x).to(x.dtype)
        log_prob = base._log_prob_anywhere(between)
        if self.high is not None:
            log_prob = torch.where(at_high, base._log_tails(self._below_high())[1], log_prob)
        return log_prob if self.low is None else torch.where(at_low, base._log_tails(self.low)[0], log_prob)

    def _clamped(self, value: Tensor) -> Tensor:
        super()._clamped(value)  # for its checks: below the lower end the cdf is 0, and at the end it is not
        return self._as_value(value)

    def _reach(self, x: Tensor, inner: Any, below: float, above: float) -> Tensor:
        """The base's function between the ends, and constants beyond."""
        value: Tensor = inner(x)
        if self.low is not None:
            value = torch.where(x < self.low, below, value)
        return value if self.high is None else torch.where(x >= self.high, above, value)

    def _cdf(self, x: Tensor) -> Tensor:
        return self._reach(x, self.base_dist._cdf, 0.0, 1.0)

    def _sf(self, x: Tensor) -> Tensor:
        return self._reach(x, self.base_dist._sf, 1.0, 0.0)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._reach(x, self.base_dist._log_cdf, -torch.inf, 0.0)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._reach(x, self.base_dist._log_sf, 0.0, -torch.inf)

    def _icdf(self, p: Tensor) -> Tensor:
        return self._moved(self.base_dist._icdf(p))

    def _isf(self, q: Tensor) -> Tensor:
        return self._moved(self.base_dist._isf(q))

    @property
    def median(self) -> Tensor:
        return self._moved(self.base_dist.median)

    @property
    def mode(self) -> Tensor:
        raise NotImplementedError("Censored has no mode: a mass and a density cannot be compared. Try base_dist.mode.")

    # Expectations: the ends with their masses, and what lies strictly between them

    def _parts(self) -> tuple[Truncated, list[tuple[Tensor, Tensor]], Tensor]:
        """The law between the ends, each end with its log mass, and the log mass between."""
        base = self.base_dist
        step = 1 if base.is_discrete else 0
        low, high = (None if self.low is None else self.low + step), (None if self.high is None else self.high - step)
        between = Truncated(base, low=low, high=high, validate_args=False)
        ends = []
        if self.low is not None:
            ends.append((self.low, base._log_tails(self.low)[0]))
        if self.high is not None:
            ends.append((self.high, base._log_tails(self._below_high())[1]))
        return between, ends, torch.as_tensor(between._between(*between._limits()))

    @property
    def mean(self) -> Tensor:
        between, ends, log_mass = self._parts()
        return sum((end * log_p.exp() for end, log_p in ends), log_mass.exp() * between.mean)

    @property
    def variance(self) -> Tensor:
        between, ends, log_mass = self._parts()
        mean = self.mean
        inner = between.variance + (between.mean - mean).square()
        return sum(((end - mean).square() * log_p.exp() for end, log_p in ends), log_mass.exp() * inner)

    def entropy(self) -> Tensor:
        between, ends, log_mass = self._parts()
        inner = log_mass.exp() * (between.entropy() - log_mass)
        return sum((torch.special.entr(log_p.exp()) for _, log_p in ends), inner)

"""A distribution on the condition that its draw lies between two ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import validation
from ..constraints import GreaterThan, GreaterThanEq, LessThan, LessThanEq
from ..constraints.scalar import bounds_of
from ..requirement import bad_parameter
from ..samplers import moved_inside, standard_uniform
from ..special.quadrature import tanh_sinh
from ..tables import listed
from ..values import lowest, plainly_eager
from .bounded import Bounded

__all__ = ["Truncated"]

_DEEP = -8.0  # logs of masses below it lose too many digits in single precision
_FAINTEST = -80.0  # the log of a probability that single precision can hold
_LARGEST_TABLE = 2**22  # masses; more are not worth the memory
_FAINT = 1e-18  # a table of counts ends where less than this is left


class Truncated(Bounded):
    """Truncated(base_dist, low a, high b):  density  p(x) / P(a <= X <= b),  a <= x <= b; both ends are included.

    Either end may be missing. Normaliser, distribution functions and quantiles are taken in the tail where they keep
    their digits. Draws go by the quantile function, so their gradient in the base's parameters and in both ends is
    the implicit one. Moments and entropy are sums over counts, and otherwise quadratures over the quantiles.

    >>> import ppl_dist as dist
    >>> dist.Truncated(dist.Poisson(2.0), low=1).log_prob(1.0).exp()
    tensor(0.3130)

    Args:
        base_dist: a distribution of single numbers that has a cdf.
        low: the lower end, a number or a tensor that broadcasts with the batch shape; None where there is none.
        high: the upper end.
        validate_args: as for every distribution.
    """

    __init__ = Bounded.__init__  # said again for type checkers, which make one up from declarations otherwise

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]  # a fact of the instance here
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]  # a fact of the instance here
        return self.base_dist.is_discrete and hasattr(self.support, "upper_bound")

    def _check_ends(self) -> None:
        super()._check_ends()
        base = self.base_dist
        lower, upper = bounds_of(base.support)
        first, last = self._kept()
        above, below = (GreaterThanEq, LessThanEq) if base.is_discrete else (GreaterThan, LessThan)
        for end, value, constraint in (
            ("low", first, below(upper)),
            ("high", last, above(lower)),
            ("high", last, above(lower if first is None else first)),
        ):
            if value is not None and validation.holds(constraint, value) is False:
                raise bad_parameter(self, end, constraint, value)

    def _limits(self) -> tuple[Tensor | None, Tensor | None]:
        """The law is the base's on low < x <= high; below the first count lies the count before it."""
        low, high = self._kept()
        return low if low is None or not self.base_dist.is_discrete else low - 1, high

    def _between(self, low: Tensor | None, high: Tensor | None) -> Any:
        """log P(low < X <= high) of the base."""
        base = self.base_dist
        if low is None:
            return 0.0 if high is None else base._log_cdf(high)
        return base._log_sf(low) if high is None else base._log_mass(low, high)

    def _relative(self, hook: str, x: Tensor, log_prob: Callable[[Tensor | None, Tensor | None], Tensor]) -> Tensor:
        """log_prob(low, high), less the log mass kept; in double precision where both are large and cancel."""
        low, high = self._limits()
        kept = self._between(low, high)
        if isinstance(kept, Tensor) and kept.dtype != torch.float64 and lowest(kept) < _DEEP:
            wide: Tensor = getattr(self.to(torch.float64), hook)(x.to(torch.float64))
            return wide.to(x.dtype)
        less: Tensor = log_prob(low, high) - kept
        return less

    def _log_prob(self, x: Tensor) -> Tensor:
        return self._relative("_log_prob", x, lambda low, high: self.base_dist._log_prob_anywhere(x))

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._relative("_log_cdf", x, lambda low, high: self._between(low, x))

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._relative("_log_sf", x, lambda low, high: self._between(x, high))

    def _cdf(self, x: Tensor) -> Tensor:
        return self._log_cdf(x).exp()

    def _sf(self, x: Tensor) -> Tensor:
        return self._log_sf(x).exp()

    def _quantile(self, p: Tensor, q: Tensor) -> Tensor:
        """The point below which the law has probability p and above which q = 1 - p.

        F(x) = q F(a) + p F(b), and likewise with the upper tails: sums of positive terms. The smaller one is inverted.
        """
        base = self.base_dist
        low, high = self._limits()
        log_p, log_q = p.log(), q.log()
        below_low, above_low = (-torch.inf, 0.0) if low is None else base._log_tails(low)
        below_high, above_high = (0.0, -torch.inf) if high is None else base._log_tails(high)
        below = torch.logaddexp(log_q + below_low, log_p + below_high)
        above = torch.logaddexp(log_q + above_low, log_p + above_high)
        if below.dtype != torch.float64 and lowest(torch.minimum(below, above)) < _FAINTEST:
            wide = self.to(torch.float64)._quantile(p.to(torch.float64), q.to(torch.float64))
            return self._inside(wide.to(below.dtype))
        return self._inside(base._at_log_tails(below, above))

    def _inside(self, x: Tensor) -> Tensor:
        """Rounding may lead beyond an end."""
        low, high = (None if end is None else end.detach().to(x.dtype) for end in self._kept())
        return x if low is None and high is None else moved_inside(x, low, high)

    def _icdf(self, p: Tensor) -> Tensor:
        return self._reached(p, 1 - p)

    def _isf(self, q: Tensor) -> Tensor:
        return self._reached(1 - q, q)

    def _reached(self, p: Tensor, q: Tensor) -> Tensor:
        """The quantile, which at 0 and 1 is exactly the end."""
        x = self._quantile(p, q)
        low, high = self._kept()
        x = x if low is None else torch.where(p == 0, low.to(x.dtype), x)
        return x if high is None else torch.where(q == 0, high.to(x.dtype), x)

    def _levels(self) -> Tensor:
        """A number of the dtype and device in which levels are drawn."""
        return self._as_value(0.0)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        levels = self._levels()
        p = standard_uniform(shape, levels, generator)
        if self.base_dist.is_discrete and plainly_eager():
            return self._counted(p)
        if self.base_dist.is_discrete or levels.dtype is torch.float64:
            return self._quantile(p, 1 - p)
        # the logs of levels in single precision would leave few values far out in a tail
        wide = p.to(torch.float64)
        return self._inside(self.to(torch.float64)._quantile(wide, 1 - wide).to(levels.dtype))

    def _counted(self, p: Tensor) -> Tensor:
        """The quantile of counts, looked up in a table of the masses: a bisection for every draw costs far more."""
        x, masses = self._counts()
        if not 0 < masses.numel() <= _LARGEST_TABLE:
            return self._quantile(p, 1 - p)
        sample = p.dim() - len(self._batch_shape)
        levels = p.to(masses.dtype).flatten(0, sample - 1) if sample else p.to(masses.dtype).unsqueeze(0)
        reached = torch.searchsorted(masses.cumsum(0).movedim(0, -1).contiguous(), levels.movedim(0, -1).contiguous())
        last = (masses > 0).sum(0).unsqueeze(-1) - 1
        draws = x.movedim(0, -1).gather(-1, torch.minimum(reached, last))
        return draws.movedim(-1, 0).reshape(p.shape).to(p.dtype)

    @property
    def median(self) -> Tensor:
        half = torch.full_like(self._levels(), 0.5).expand(self._batch_shape)
        return self._quantile(half, half)

    @property
    def mode(self) -> Tensor:
        low, high = self._kept()
        mode = self.base_dist.mode  # the density of the base falls on either side of it
        return mode if low is None and high is None else mode.clamp(low, high)

    # Expectations

    def _nodes(self) -> tuple[Tensor, Tensor]:
        """Points with their weights, along a leading dimension: the expectation of f is the weighted sum of f."""
        return self._counts() if self.base_dist.is_discrete else self._quantiles()

    def _quantiles(self) -> tuple[Tensor, Tensor]:
        """Quadrature over p in two panels that meet at the mode, where a density may have a kink."""
        p, q, weights = (v.reshape((-1,) + (1,) * len(self._batch_shape)) for v in tanh_sinh(self._levels()))
        with torch.no_grad():  # where the panels meet is of no consequence for the sum
            left = self._share_left_of_mode().to(p.dtype)
            right = 1 - left
            p, q = torch.cat([left * p, left + right * p]), torch.cat([right + left * q, right * q])
            weights = torch.cat([left * weights, right * weights])
            tiny = torch.finfo(p.dtype).tiny
        return self.to(p.dtype)._quantile(p.clamp(min=tiny), q.clamp(min=tiny)), weights

    def _share_left_of_mode(self) -> Tensor:
        try:
            share = self._cdf(self.mode)
        except NotImplementedError:
            share = torch.full_like(self._levels(), 0.5).expand(self._batch_shape)
        return torch.where(share.isnan(), 0.5, share)

    def _counts(self) -> tuple[Tensor, Tensor]:
        wide = self.to(torch.float64)
        faint = torch.full(self._batch_shape, _FAINT, dtype=torch.float64, device=self._levels().device)
        first, last = wide._icdf(faint), wide._isf(faint)
        length = int((last - first).max().item()) + 1 if first.numel() else 0
        x = first + torch.arange(length, device=first.device).reshape((-1,) + (1,) * first.dim())
        held = x <= last
        x = torch.where(held, x, first)
        return x, torch.where(held, wide._log_prob(x).exp(), 0.0)

    def _rounded(self, value: Tensor) -> Tensor:
        return value.to(self._levels().dtype)

    def _where_it_exists(self, value: Tensor, moment: str, otherwise: float) -> Tensor:
        """The quadrature of a moment, unless a side without an end is so heavy that the base has none either."""
        low, high = bounds_of(self.support)
        if isinstance(low, Tensor) and isinstance(high, Tensor):
            return value
        try:
            of_base: Tensor = getattr(self.base_dist, moment)
        except NotImplementedError:
            return value
        return torch.where(of_base.isfinite(), value, otherwise)

    @property
    def mean(self) -> Tensor:
        x, weights = self._nodes()
        beyond = torch.inf if self.high is None else -torch.inf
        return self._where_it_exists(self._rounded((weights * x).sum(0)), "mean", beyond)

    @property
    def variance(self) -> Tensor:
        x, weights = self._nodes()
        gap = x - (weights * x).sum(0)
        return self._where_it_exists(self._rounded((weights * gap * gap).sum(0)), "variance", torch.inf)

    def entropy(self) -> Tensor:
        x, weights = self._nodes()
        log_prob = self.to(weights.dtype)._log_prob(x)
        return self._rounded(-(weights * torch.where(log_prob.isinf(), 0.0, log_prob)).sum(0))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        if not self.has_enumerate_support:
            raise self._missing("enumerate_support")
        return listed(self.support, self._batch_shape, expand, self._levels())

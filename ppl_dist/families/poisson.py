"""The Poisson distribution."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..constraints import nonnegative, nonnegative_integer
from ..exp_family import ExponentialFamily
from ..param import Param, param
from ..samplers import poisson
from ..special import deviance, gammainc, gammaincc, log_gammainc, log_gammaincc
from ..special.gamma import log_density, log_tails
from ..values import highest
from .counting import widened

__all__ = ["Poisson"]

# Up to such a rate, or up to such a log k!, the rounding of the terms is one of the answer: a term is large only where
# no other cancels it.
PLAIN = {torch.float32: (12.0, 32.0), torch.float64: (150.0, 500.0)}
FEW = 32.0
SLACK = 8  # roundings that a given probability may be off by, so that the quantile of a rounded cdf(k) is k
INEXACT = 2e-12  # relative error of a tail; neighbouring counts differ by 1 / sqrt(r) of it
MARGIN = 0.02  # of a count, for what is lost on the way to it
EXACT = 1e7  # up to here single precision knows k + 1 from k
SMALLEST = 1e-320
NEWTON = 7
# the entropy beyond log(2 pi e r)/2, by powers of 1/r
ENTROPY_SERIES = (-1 / 12, -1 / 24, -19 / 360, -9 / 80, -863 / 2520, -1375 / 1008)


def _finite(k: Tensor) -> Tensor:
    """A count at which the incomplete gamma function is defined; at infinity it would be nan, guarded by the laws."""
    return k.clamp(min=0, max=1e30)


def _log_mass(x: Tensor, r: Tensor) -> Tensor:
    """The log mass at the count x: term by term, or where its terms are not seen to be small, by Loader's form."""
    k = x if x.is_floating_point() else x.to(r.dtype)  # lgamma of an integer tensor is in the default precision
    log_factorial = torch.lgamma(k + 1)
    most, largest = PLAIN.get(torch.promote_types(k.dtype, r.dtype), (0.0, 0.0))
    if highest(r) <= most or highest(log_factorial) <= largest:
        return _plain_log_mass(k, r, log_factorial)
    if r.dtype != torch.float64 or k.dtype != torch.float64:
        return _log_mass(*widened(x, r)).to(torch.promote_types(k.dtype, r.dtype))
    few = k < FEW
    small = torch.where(few, k, 0.0)
    large, wide = torch.where(few, FEW, k), torch.where(few, FEW, r)
    return torch.where(few, _plain_log_mass(small, r, torch.lgamma(small + 1)), log_density(large, wide) - large.log())


def _plain_log_mass(k: Tensor, r: Tensor, log_factorial: Tensor) -> Tensor:
    # at k = 0 the log is multiplied by zero: take it at r + 1, where its derivative is finite too
    return torch.xlogy(k, r + (k == 0)) - r - log_factorial


def _near_quantile(r: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """u such that the smallest count k with P(X <= k) >= p, q = 1 - p, is u or u - 1, rounded up.

    For g(u)**2 = 2 (u log(u/r) + r - u), g of the sign of u - r, and every count k,
    Phi(g(k)) <= P(X <= k) <= Phi(g(k + 1)): Short (2013), "Improved inequalities for the Poisson and binomial
    distribution and upper tail quantile functions", theorem 2. So u solves g(u) = z for the normal quantile z.
    """
    z = torch.where(p < q, torch.special.ndtri(p.clamp(min=SMALLEST)), -torch.special.ndtri(q.clamp(min=SMALLEST)))
    r = r.clamp(min=SMALLEST)
    # Newton's method in v = u/r on v log v + 1 - v = s**2/2, convex: from the far side it does not overshoot
    s = z / r.sqrt()
    start = 1 + s + s * s / 6
    v = start.clamp(min=1e-8)
    for _ in range(NEWTON):
        slope = v.log()
        v = (v - ((deviance(v, torch.ones_like(v)) - 0.5 * s * s) / slope)).clamp(min=1e-300)
    v = torch.where(s.abs() < 1e-3, start - s**3 / 72, v)
    return torch.where(s <= -math.sqrt(2), 0.0, r * v)


class Poisson(ExponentialFamily):
    """Poisson(rate r):  mass  r**k * exp(-r) / k!,  k = 0, 1, 2, ...

    >>> Poisson(3.0).variance
    tensor(3.)
    """

    rate: Param = param(nonnegative)
    support = nonnegative_integer

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return poisson(self.rate.expand(shape), generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        return _log_mass(x, self.rate)

    def _tail(self, tail: Callable[[Tensor, Tensor], Tensor], x: Tensor, below: float) -> Tensor:
        k, r = x.floor(), self.rate
        if highest(k) > EXACT:
            k, r = widened(k, r)
        value = torch.where(k < 0, below, tail(_finite(k) + 1, r))
        return value.to(torch.promote_types(x.dtype, self.rate.dtype))

    def _cdf(self, x: Tensor) -> Tensor:
        return self._tail(gammaincc, x, 0.0)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._tail(log_gammaincc, x, -torch.inf)

    def _sf(self, x: Tensor) -> Tensor:
        return self._tail(gammainc, x, 1.0)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._tail(log_gammainc, x, 0.0)

    def _icdf(self, p: Tensor) -> Tensor:
        given, slack = p.detach().to(torch.float64), SLACK * torch.finfo(p.dtype).eps * p.detach()
        return self._quantile(given - slack, 1 - given + slack, p == 1).to(p.dtype)

    def _isf(self, q: Tensor) -> Tensor:
        given, slack = q.detach().to(torch.float64), SLACK * torch.finfo(q.dtype).eps * q.detach()
        return self._quantile(1 - given - slack, given + slack, q == 0).to(q.dtype)

    def _quantile(self, p: Tensor, q: Tensor, unbounded: Tensor) -> Tensor:
        """The smallest k with cdf at least p, or a survival function of at most q where that is the smaller.

        One of two counts, by the theorem behind `_near_quantile`; its rounding adds a third.
        """
        r = self.rate.detach().to(torch.float64)
        lower = p < q
        log_tail = torch.where(lower, p, q).clamp(min=SMALLEST).log()
        first = (_near_quantile(r, p, q) - MARGIN).ceil().sub(1).clamp(min=0)
        log_sf, log_cdf, _ = log_tails(torch.stack([first, first + 1]) + 1, r)
        reached = torch.where(lower, log_cdf >= log_tail - INEXACT, log_sf <= log_tail + INEXACT)
        k = first + torch.where(reached[0], 0.0, torch.where(reached[1], 1.0, 2.0))
        return torch.where(unbounded & (r > 0), torch.inf, torch.where((p <= 0) | (r == 0), 0.0, k))

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def variance(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    def entropy(self) -> Tensor:
        """By summation for rates below 100, by its asymptotic series above; there is no closed form."""
        r = self.rate
        large = r >= 100
        k = torch.arange(260, dtype=r.dtype, device=r.device)
        log_mass = Poisson(torch.where(large, 1.0, r).unsqueeze(-1), validate_args=False)._log_prob(k)
        occurs = log_mass > -torch.inf
        summed = -torch.where(occurs, log_mass.exp() * torch.where(occurs, log_mass, 0.0), 0.0).sum(-1)
        wide = torch.where(large, r, 100.0)
        series = torch.zeros_like(wide)
        for coefficient in reversed(ENTROPY_SERIES):
            series = (series + coefficient) / wide
        return torch.where(large, 0.5 * (2 * math.pi * math.e * wide).log() + series, summed)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.rate.log(),)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        return natural_params[0].exp()

    @property
    def _mean_carrier_measure(self) -> Tensor:
        raise self._missing("mean of log k! in closed form")

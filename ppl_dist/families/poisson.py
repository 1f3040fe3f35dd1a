"""The Poisson distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constraints import nonnegative, nonnegative_integer
from ..exp_family import ExponentialFamily
from ..param import Param, param
from ..samplers import poisson
from ..shapes import broadcast_shapes
from ..special import gammainc, gammaincc, log_gammainc, log_gammaincc

__all__ = ["Poisson"]

# the entropy beyond log(2 pi e r)/2, by powers of 1/r
ENTROPY_SERIES = (-1 / 12, -1 / 24, -19 / 360, -9 / 80, -863 / 2520, -1375 / 1008)


def _finite(k: Tensor) -> Tensor:
    """A count at which the incomplete gamma function is defined; at infinity it would be nan, guarded by the laws."""
    return k.clamp(min=0, max=1e30)


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
        r = self.rate
        if not x.is_floating_point():  # lgamma of an integer tensor is in the default precision, whatever the rate's
            x = x.to(r.dtype)
        # at x = 0 the log is multiplied by zero: take it at r + 1, where its derivative is finite too
        return torch.xlogy(x, r + (x == 0)) - r - torch.lgamma(x + 1)

    def _cdf(self, x: Tensor) -> Tensor:
        k = x.floor()
        return torch.where(k < 0, 0.0, gammaincc(_finite(k) + 1, self.rate))

    def _log_cdf(self, x: Tensor) -> Tensor:
        k = x.floor()
        return torch.where(k < 0, -torch.inf, log_gammaincc(_finite(k) + 1, self.rate))

    def _sf(self, x: Tensor) -> Tensor:
        k = x.floor()
        return torch.where(k < 0, 1.0, gammainc(_finite(k) + 1, self.rate))

    def _log_sf(self, x: Tensor) -> Tensor:
        k = x.floor()
        return torch.where(k < 0, 0.0, log_gammainc(_finite(k) + 1, self.rate))

    def _icdf(self, p: Tensor) -> Tensor:
        return self._quantile(p.log(), (-p).log1p(), upper=False)

    def _isf(self, q: Tensor) -> Tensor:
        return self._quantile((-q).log1p(), q.log(), upper=True)

    def _quantile(self, log_p: Tensor, log_q: Tensor, *, upper: bool) -> Tensor:
        """The smallest k with log cdf >= log_p, or with log sf <= log_q when `upper`.

        Bisection between the bounds of Bernstein's inequality: P(X >= r + sqrt(2 r t) + t/3) <= exp(-t), and
        P(X <= r - sqrt(2 r t)) <= exp(-t).
        """
        shape = broadcast_shapes([log_p.shape, self._batch_shape])
        log_p, log_q, r = (v.detach().expand(shape) for v in (log_p, log_q, self.rate))
        slack = 8 * torch.finfo(log_p.dtype).eps  # so that the quantile of a rounded cdf(k) is k
        wide, rate = r.to(torch.float64), Poisson(r.to(torch.float64), validate_args=False)
        s, t = -log_p.to(torch.float64).clamp(min=-1e3), -log_q.to(torch.float64).clamp(min=-1e3)
        low = (wide - (2 * wide * s).sqrt()).floor().sub(2).clamp(min=-1)
        high = (wide + (2 * wide * t).sqrt() + t / 3).ceil() + 1
        for _ in range(34):
            middle = ((low + high) / 2).floor()
            reached = rate._log_sf(middle) <= log_q + slack if upper else rate._log_cdf(middle) >= log_p - slack
            low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
        unbounded = (log_q == -torch.inf) & (r > 0)
        return torch.where(unbounded, torch.inf, high.clamp(min=0)).to(r.dtype)

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

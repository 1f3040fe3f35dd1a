"""Relatives of the gamma distribution: chi-square, and the inverse gamma distribution."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..combine.transformed import Mapped
from ..constraints import positive
from ..param import Param, param
from ..samplers import SELDOM_TINY, scaled_gamma
from ..special import gammainc, gammaincc, gammainccinv, gammaincinv, log_gammainc, log_gammaincc
from ..transforms import PowerTransform, Transform
from ..values import lowest
from .counting import widened
from .edges import ratio
from .gamma import Gamma, scaled_log_density

__all__ = ["Chi2", "InverseGamma"]

LOG_2 = math.log(2)


class Chi2(Gamma):
    """Chi2(df n), which is Gamma(n / 2, 1 / 2):  density  x**(n/2-1) * exp(-x/2) / (2**(n/2) G(n/2)),  x >= 0.

    >>> Chi2(3.0).mean
    tensor(3.)
    """

    concentration: Param = param(positive, init=False, derive=lambda d: 0.5 * d.df)
    rate: Param = param(positive, init=False, derive=lambda d: torch.full_like(d.df, 0.5))
    df: Param = param(positive)

    @property
    def mean(self) -> Tensor:
        return self.df

    @property
    def variance(self) -> Tensor:
        return 2 * self.df

    def entropy(self) -> Tensor:
        n, a = self.df, self.concentration
        slope = torch.digamma(a)
        constant = torch.add(torch.lgamma(a) + slope, n, alpha=0.5)
        return torch.addcmul(constant, n, slope, value=-0.5) + LOG_2


class InverseGamma(Mapped):
    """InverseGamma(concentration a, rate b):  density  b**a / G(a) * x**(-a-1) * exp(-b/x),  x > 0; 1 / Gamma(a, b).

    >>> InverseGamma(3.0, 4.0).mean
    tensor(2.)
    """

    concentration: Param = param(positive)
    rate: Param = param(positive)
    support = positive

    @property
    def base_dist(self) -> Gamma:
        return Gamma(self.concentration, self.rate, validate_args=False)

    @property
    def transforms(self) -> list[Transform]:
        return [PowerTransform(-torch.ones_like(self.rate))]

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        if lowest(self.concentration) < SELDOM_TINY:
            return scaled_gamma(self.concentration.expand(shape), self.rate, generator, inverse=True)
        return self.base_dist._sample(shape, generator).reciprocal()

    def _log_prob(self, x: Tensor) -> Tensor:
        return scaled_log_density(self.concentration, self.rate, x, 1.0)

    def _tail(self, tail: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
        # held above 0: the derivative of 1/x there is infinite, that of the answer is 0
        odds, dtype = ratio(self.rate, x.clamp(min=torch.finfo(x.dtype).tiny))
        return tail(self.concentration, odds).to(dtype)

    def _quantile(self, inverse: Callable[[Tensor, Tensor], Tensor], p: Tensor) -> Tensor:
        a, b, wide = widened(self.concentration, self.rate, p)
        return (b / inverse(a, wide)).to(torch.promote_types(self.rate.dtype, p.dtype))

    def _cdf(self, x: Tensor) -> Tensor:
        return self._tail(gammaincc, x)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._tail(log_gammaincc, x)

    def _sf(self, x: Tensor) -> Tensor:
        return self._tail(gammainc, x)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._tail(log_gammainc, x)

    def _icdf(self, p: Tensor) -> Tensor:
        return self._quantile(gammainccinv, p)

    def _isf(self, q: Tensor) -> Tensor:
        return self._quantile(gammaincinv, q)

    @property
    def mean(self) -> Tensor:
        a = self.concentration
        return torch.where(a > 1, self.rate / torch.where(a > 1, a - 1, 1.0), torch.inf)

    @property
    def variance(self) -> Tensor:
        a = torch.where(self.concentration > 2, self.concentration, 3.0)
        return torch.where(self.concentration > 2, (self.rate / (a - 1)).square() / (a - 2), torch.inf)

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    def entropy(self) -> Tensor:
        a = self.concentration
        return torch.addcmul(a + self.rate.log() + torch.lgamma(a), a + 1, torch.digamma(a), value=-1)

"""The gamma distribution and its special case, the exponential distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constraints import nonnegative, positive
from ..exp_family import ExponentialFamily
from ..param import Param, param
from ..samplers import log_uniform, moved_inside, scaled_gamma
from ..special import gammainc, gammaincc, gammainccinv, gammaincinv, log_gammainc, log_gammaincc
from ..values import lowest
from .edges import xlogy
from .hazard import Hazard

__all__ = ["Exponential", "Gamma"]

SELDOM_TINY = 0.3  # from this concentration on, fewer than 1e-11 of the draws are below the floats


class Gamma(ExponentialFamily):
    """Gamma(concentration a, rate b):  density  b**a / G(a) * x**(a-1) * exp(-b*x),  x >= 0.

    >>> Gamma(2.0, 1.0).mean
    tensor(2.)
    """

    concentration: Param = param(positive)
    rate: Param = param(positive)
    support = nonnegative
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        a = self.concentration.expand(shape)
        if lowest(self.concentration) < SELDOM_TINY:
            return scaled_gamma(a, self.rate, generator)
        draws = torch._standard_gamma(a, generator=generator) / self.rate
        return moved_inside(draws, torch.finfo(draws.dtype).tiny)

    def _log_prob(self, x: Tensor) -> Tensor:
        a, b = self.concentration, self.rate
        return torch.addcmul(torch.xlogy(a, b), b, x, value=-1) + xlogy(a - 1, x) - torch.lgamma(a)

    def _cdf(self, x: Tensor) -> Tensor:
        return gammainc(self.concentration, self.rate * x)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log_gammainc(self.concentration, self.rate * x)

    def _sf(self, x: Tensor) -> Tensor:
        return gammaincc(self.concentration, self.rate * x)

    def _log_sf(self, x: Tensor) -> Tensor:
        return log_gammaincc(self.concentration, self.rate * x)

    def _icdf(self, p: Tensor) -> Tensor:
        return gammaincinv(self.concentration, p) / self.rate

    def _isf(self, q: Tensor) -> Tensor:
        return gammainccinv(self.concentration, q) / self.rate

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate.square()

    @property
    def mode(self) -> Tensor:
        return (self.concentration - 1).clamp(min=0) / self.rate

    def entropy(self) -> Tensor:
        a = self.concentration
        return torch.addcmul(a - self.rate.log() + torch.lgamma(a), 1 - a, torch.digamma(a))

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        less, fall = natural_params
        return torch.lgamma(less + 1) - (less + 1) * (-fall).log()


class Exponential(Hazard, ExponentialFamily):
    """Exponential(rate r):  density  r * exp(-r*x),  x >= 0.

    >>> Exponential(2.0).mean
    tensor(0.5000)
    """

    rate: Param = param(positive)
    support = nonnegative
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return log_uniform(shape, self.rate, generator).neg_() / self.rate

    def _log_prob(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.rate.log(), self.rate, x, value=-1)

    def _hazard(self, x: Tensor) -> Tensor:
        return self.rate * x

    def _at_hazard(self, h: Tensor) -> Tensor:
        return h / self.rate

    @property
    def mean(self) -> Tensor:
        return self.rate.reciprocal()

    @property
    def stddev(self) -> Tensor:
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        return self.rate.square().reciprocal()

    @property
    def mode(self) -> Tensor:
        return torch.zeros_like(self.rate)

    @property
    def median(self) -> Tensor:
        return self.rate.reciprocal() * math.log(2)

    def entropy(self) -> Tensor:
        return 1 - self.rate.log()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (-self.rate,)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        return -(-natural_params[0]).log()

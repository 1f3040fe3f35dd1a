"""The gamma distribution and its special case, the exponential distribution."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..constraints import nonnegative, positive
from ..exp_family import ExponentialFamily
from ..param import Param, param
from ..samplers import SELDOM_TINY, log_uniform, moved_inside, scaled_gamma
from ..special import gammainc, gammaincc, gammainccinv, gammaincinv, log_gammainc, log_gammaincc
from ..special.gamma import gammaincinv_of_log, log_density
from ..values import highest, lowest
from .counting import widened
from .edges import log_rise, product, regular, xlogy
from .hazard import Hazard

__all__ = ["Exponential", "Gamma", "scaled_log_density"]

# up to here the rounding of log G(a), and of the terms that it cancels with, is one of the answer
PLAIN = {torch.float32: 12.0, torch.float64: 500.0}


def scaled_log_density(a: Tensor, b: Tensor, x: Tensor, power: float) -> Tensor:
    """The log density of t/b for power -1, of b/t for power 1, where t follows Gamma(a, 1), at x > 0.

    That is  t**(a + power) * exp(-t) / (G(a) * b**power): term by term where they are seen to be small, in double
    precision where they are not, and through Loader's form where even there digits would cancel.
    """
    t = b * x if power < 0 else b / x
    log_gamma = torch.lgamma(a)
    if highest(log_gamma) <= PLAIN.get(t.dtype, 0.0) and regular(t):
        shift = b.log() if power < 0 else b.log().neg_()
        return torch.addcmul(shift, a + power, t.log()).sub_(t).sub_(log_gamma)
    if t.dtype != torch.float64:
        a, b, x = widened(a, b, x)
        return scaled_log_density(a, b, x, power).to(t.dtype)
    edge = (t == 0) | (t == torch.inf)
    inner = torch.where(edge, 1.0, t)
    body = log_density(a, inner) + power * (inner.log() - b.log())
    at_zero = xlogy(a + power, torch.where(edge, t, 1.0)) - power * b.log() - log_gamma
    return torch.where(edge, torch.where(t == 0, at_zero, -torch.inf), body)


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
        return scaled_log_density(self.concentration, self.rate, x, -1.0)

    def _tail(self, tail: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
        t, dtype = product(self.rate, x)
        return tail(self.concentration, t).to(dtype)

    def _quantile(self, inverse: Callable[[Tensor, Tensor], Tensor], p: Tensor) -> Tensor:
        a, b, wide = widened(self.concentration, self.rate, p)
        return (inverse(a, wide) / b).to(torch.promote_types(self.rate.dtype, p.dtype))

    def _cdf(self, x: Tensor) -> Tensor:
        return self._tail(gammainc, x)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._tail(log_gammainc, x)

    def _sf(self, x: Tensor) -> Tensor:
        return self._tail(gammaincc, x)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._tail(log_gammaincc, x)

    def _icdf(self, p: Tensor) -> Tensor:
        return self._quantile(gammaincinv, p)

    def _isf(self, q: Tensor) -> Tensor:
        return self._quantile(gammainccinv, q)

    def _icdf_of_log(self, log_p: Tensor) -> Tensor:
        return gammaincinv_of_log(self.concentration, log_p) / self.rate

    def _isf_of_log(self, log_q: Tensor) -> Tensor:
        return gammaincinv_of_log(self.concentration, log_q, complement=True) / self.rate

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

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log_rise(self.rate.log() + x.log(), self._hazard(x))

    def _at_hazard(self, h: Tensor) -> Tensor:
        return h / self.rate

    @property
    def mean(self) -> Tensor:
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

    @property
    def stddev(self) -> Tensor:
        return self.mean

    def entropy(self) -> Tensor:
        return 1 - self.rate.log()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (-self.rate,)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        return -(-natural_params[0]).log()

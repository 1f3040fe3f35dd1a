"""The Kumaraswamy distribution: a law of proportions with a quantile in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..combine.transformed import Mapped
from ..constraints import positive, unit_interval
from ..param import Param, param
from ..samplers import moved_inside, standard_uniform
from ..special import log1mexp, log_beta
from ..transforms import AffineTransform, ExpTransform, PowerTransform, Transform
from ..values import highest
from .edges import NEGLIGIBLE, log_rise, xlogy
from .extreme import EULER
from .gamma import Exponential

__all__ = ["Kumaraswamy"]

FEW = 16.0
LOG_2 = math.log(2.0)


class Kumaraswamy(Mapped):
    """Kumaraswamy(concentration1 a, concentration0 b):  density  a b x**(a-1) * (1 - x**a)**(b-1),  0 <= x <= 1.

    >>> Kumaraswamy(2.0, 1.0).cdf(0.5)
    tensor(0.2500)
    """

    concentration1: Param = param(positive)
    concentration0: Param = param(positive)
    support = unit_interval

    @property
    def base_dist(self) -> Exponential:
        return Exponential(self.concentration0, validate_args=False)

    @property
    def transforms(self) -> list[Transform]:
        below = [AffineTransform(0.0, -1.0), ExpTransform(), AffineTransform(1.0, -1.0)]
        return [*below, PowerTransform(self.concentration1.reciprocal())]

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        log_q = standard_uniform(shape, self.concentration0, generator).log_()
        draws = (-(log_q / self.concentration0).expm1()).pow(self.concentration1.reciprocal())
        facts = torch.finfo(draws.dtype)
        return moved_inside(draws, facts.tiny, 1 - facts.eps / 2)

    def _at_log_sf(self, log_q: Tensor) -> Tensor:
        """x with P(X > x) = q, from x**a or, near 1, from 1 - x**a: a small a makes the most of either's rounding."""
        log_rest, root = log_q / self.concentration0, self.concentration1.reciprocal()
        near = log_rest < -LOG_2
        far = -torch.where(near, -LOG_2, log_rest).expm1()
        rest = torch.where(near, log_rest, -1.0).exp()
        return torch.where(near, ((-rest).log1p() * root).exp(), far.pow(root))

    def _log_prob(self, x: Tensor) -> Tensor:
        a, b = self.concentration1, self.concentration0
        power = x.pow(a)
        low = power < 0.5  # above, it may round to 1; at 0 only the power has a derivative
        rest = torch.where(low, 1 - power, -(a * torch.where(low, 0.5, x).log()).expm1())
        if highest(b) < FEW:
            fall = xlogy(b - 1, rest)
        else:  # the rounding of 1 - x**a times b would be seen
            below = (b - 1) * (-torch.where(low, power, 0.0)).log1p()
            fall = torch.where(low, below, xlogy(b - 1, torch.where(low, 0.5, rest)))
        return xlogy(a - 1, x) + fall + (a * b).log()

    def _log_sf(self, x: Tensor) -> Tensor:
        return self.concentration0 * log1mexp(self.concentration1 * x.log())

    def _sf(self, x: Tensor) -> Tensor:
        return self._log_sf(x).exp()

    def _cdf(self, x: Tensor) -> Tensor:
        return -self._log_sf(x).expm1()

    def _log_cdf(self, x: Tensor) -> Tensor:
        power = self.concentration1 * x.log()
        log_sf = self._log_sf(x)
        small = power < NEGLIGIBLE
        hazard = torch.where(small, power, (-log1mexp(torch.where(small, -1.0, power))).log())
        return log_rise(hazard + self.concentration0.log(), -log_sf)

    def _icdf(self, p: Tensor) -> Tensor:
        return self._at_log_sf((-p).log1p())

    def _isf(self, q: Tensor) -> Tensor:
        return self._at_log_sf(q.log())

    def _log_moment(self, n: int) -> Tensor:
        """log E[x**n]."""
        a, b = self.concentration1, self.concentration0
        return b.log() + log_beta(1 + n / a, b)

    @property
    def mean(self) -> Tensor:
        return self._log_moment(1).exp()

    @property
    def variance(self) -> Tensor:
        first = self._log_moment(1)
        return (2 * first).exp() * (self._log_moment(2) - 2 * first).expm1()

    @property
    def mode(self) -> Tensor:
        """The end with the infinite density where there is one; 1 for the flat law."""
        a, b = self.concentration1, self.concentration0
        inner = (a >= 1) & (b >= 1) & (a * b > 1)
        share = torch.where(inner, a - 1, 0.0) / torch.where(inner, a * b - 1, 1.0)
        return torch.where(inner, share.pow(a.reciprocal()), (a >= 1).to(a.dtype))

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        mean_log = torch.digamma(b + 1) + EULER  # -a E[log x]
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * mean_log - (a * b).log()

"""The Cauchy distribution and its right half."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..combine.transformed import Folded
from ..constraints import positive
from ..param import Param, param
from ..samplers import standard_uniform
from ..special.elementary import log_share
from .symmetric import SymmetricLocationScale

__all__ = ["Cauchy", "HalfCauchy"]

LOG_PI = math.log(math.pi)
LOG_2 = math.log(2)
HALF_PI = math.pi / 2
_THIN = 1e-10  # an angle so small is its tangent


def _tan_quarter(p: Tensor) -> Tensor:
    """tan(p pi/2) for p in [0, 1], as a quotient of two sines: next to its pole the tangent of an angle is inexact."""
    return (HALF_PI * p).sin() / (HALF_PI * (1 - p)).sin()


def _log_angle(y: Tensor, x: Tensor, turn: float) -> Tensor:
    """log(a / turn) for the angle a = atan2(y, x), y >= 0 and 0 <= a <= turn; also where the angle underflows."""
    thin = y < _THIN * x
    wide_y, wide_x = torch.where(thin, 1.0, y), torch.where(thin, 1.0, x)
    rest = torch.atan2(wide_y, -wide_x) if turn == math.pi else torch.atan2(wide_x, wide_y)
    log_portion = log_share(torch.atan2(wide_y, wide_x) / turn, rest / turn)
    log_tangent = torch.where(thin, y, 1.0).log() - torch.where(thin, x, 1.0).log()
    return torch.where(thin, log_tangent - math.log(turn), log_portion)


class Cauchy(SymmetricLocationScale):
    """Cauchy(loc m, scale s):  density  1 / (pi s (1 + ((x - m) / s)**2)),  x real.

    >>> Cauchy(0.0, 1.0).cdf(1.0)
    tensor(0.7500)
    """

    scale: Param = param(positive)  # finite, as for every family whose tail outgrows its scale
    standard_variance = math.inf
    standard_entropy = math.log(4 * math.pi)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        u = standard_uniform(shape, self.loc, generator)
        return torch.addcmul(self.loc, self.scale, u.sub_(0.5).mul_(math.pi).tan_())

    def _log_prob(self, x: Tensor) -> Tensor:
        # s^2 + (x - m)^2 under a root: the square alone overflows long before its logarithm is large
        return torch.sub(self.scale.log() - LOG_PI, torch.hypot(self.scale, x - self.loc).log(), alpha=2)

    def _cdf(self, x: Tensor) -> Tensor:
        return torch.atan2(self.scale, self.loc - x) / math.pi

    def _sf(self, x: Tensor) -> Tensor:
        return torch.atan2(self.scale, x - self.loc) / math.pi

    def _log_cdf(self, x: Tensor) -> Tensor:
        return _log_angle(self.scale, self.loc - x, math.pi)

    def _log_sf(self, x: Tensor) -> Tensor:
        return _log_angle(self.scale, x - self.loc, math.pi)

    def _standard_icdf(self, p: Tensor) -> Tensor:
        # -cot(pi p), from the end that is near; p - 1/2 alone loses the digits of a small p
        return (math.pi * (p - 0.5)).sin() / (math.pi * torch.minimum(p, 1 - p)).sin()

    @property
    def mean(self) -> Tensor:
        return torch.full_like(self.loc, torch.nan)


class HalfCauchy(Folded):
    """HalfCauchy(scale s):  density  2 / (pi s (1 + (x / s)**2)),  x >= 0; |z| for z ~ Cauchy(0, s).

    >>> HalfCauchy(1.0).median
    tensor(1.)
    """

    scale: Param = param(positive)

    @property
    def base_dist(self) -> Cauchy:
        return Cauchy(torch.zeros_like(self.scale), self.scale, validate_args=False)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self.scale * standard_uniform(shape, self.scale, generator).mul_(HALF_PI).tan_()

    def _log_prob(self, x: Tensor) -> Tensor:
        return torch.sub(self.scale.log() + (LOG_2 - LOG_PI), torch.hypot(self.scale, x).log(), alpha=2)

    def _cdf(self, x: Tensor) -> Tensor:
        return torch.atan2(x, self.scale) / HALF_PI

    def _sf(self, x: Tensor) -> Tensor:
        return torch.atan2(self.scale, x) / HALF_PI

    def _log_cdf(self, x: Tensor) -> Tensor:
        return _log_angle(x, self.scale, HALF_PI)

    def _log_sf(self, x: Tensor) -> Tensor:
        return _log_angle(self.scale, x, HALF_PI)

    def _icdf(self, p: Tensor) -> Tensor:
        return self.scale * _tan_quarter(p)

    def _isf(self, q: Tensor) -> Tensor:
        return self.scale / _tan_quarter(q)

    @property
    def mean(self) -> Tensor:
        return torch.full_like(self.scale, torch.inf)

    @property
    def variance(self) -> Tensor:
        return torch.full_like(self.scale, torch.inf)

    @property
    def mode(self) -> Tensor:
        return torch.zeros_like(self.scale)

    @property
    def median(self) -> Tensor:
        return self.scale

    def entropy(self) -> Tensor:
        return self.scale.log() + math.log(2 * math.pi)

"""Symmetric laws with exponential tails: the Laplace and the logistic distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..constraints import positive, real
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import log_standard_exponential

__all__ = ["Laplace", "Logistic"]

LOG_2 = math.log(2)
SQRT_2 = math.sqrt(2)


class Laplace(Distribution):
    """Laplace(loc m, scale s):  density  exp(-|x - m| / s) / (2 s),  x real.

    >>> Laplace(0.0, 1.0).variance
    tensor(2.)
    """

    loc: Param = param(real)
    scale: Param = param(positive)
    support = real
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device, generator=generator) - 0.5
        # held above -1: at u = -1/2 the size would be infinite
        size = (u.abs() * -2).clamp(min=torch.finfo(u.dtype).eps / 2 - 1).log1p()
        return torch.addcmul(self.loc, self.scale, torch.copysign(size, u))

    def _log_prob(self, x: Tensor) -> Tensor:
        return torch.rsub(self.scale.log(), -LOG_2) - ((x - self.loc) / self.scale).abs()

    def _log_tail(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether z < 0, half of exp(-|z|), and its log: the tail beyond z on its own side."""
        low = z < 0
        tail = torch.where(low, z, -z)  # not -|z|, whose derivative at 0 is 0
        return low, 0.5 * tail.exp(), tail - LOG_2

    def _standard_cdf(self, z: Tensor) -> Tensor:
        low, tail, _ = self._log_tail(z)
        return torch.where(low, tail, 1 - tail)

    def _standard_log_cdf(self, z: Tensor) -> Tensor:
        low, tail, log_tail = self._log_tail(z)
        return torch.where(low, log_tail, (-tail).log1p())

    def _standard_icdf(self, p: Tensor) -> Tensor:
        low = p < 0.5
        size = (2 * torch.where(low, p, 1 - p)).log()
        return torch.where(low, size, -size)

    def _cdf(self, x: Tensor) -> Tensor:
        return self._standard_cdf((x - self.loc) / self.scale)

    def _sf(self, x: Tensor) -> Tensor:
        return self._standard_cdf((self.loc - x) / self.scale)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._standard_log_cdf((x - self.loc) / self.scale)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._standard_log_cdf((self.loc - x) / self.scale)

    def _icdf(self, p: Tensor) -> Tensor:
        return self.loc + self.scale * self._standard_icdf(p)

    def _isf(self, q: Tensor) -> Tensor:
        return self.loc - self.scale * self._standard_icdf(q)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def median(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return SQRT_2 * self.scale

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale.square()

    def entropy(self) -> Tensor:
        return 1 + LOG_2 + self.scale.log()


class Logistic(Distribution):
    """Logistic(loc m, scale s):  density  exp(-z) / (s (1 + exp(-z))**2)  for z = (x - m) / s,  x real.

    >>> Logistic(0.0, 1.0).cdf(0.0)
    tensor(0.5000)
    """

    loc: Param = param(real)
    scale: Param = param(positive)
    support = real
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        up, down = (log_standard_exponential(shape, self.loc, generator) for _ in range(2))
        return torch.addcmul(self.loc, self.scale, up - down)

    def _log_prob(self, x: Tensor) -> Tensor:
        z = (x - self.loc) / self.scale
        return logsigmoid(z) + logsigmoid(-z) - self.scale.log()

    def _cdf(self, x: Tensor) -> Tensor:
        return ((x - self.loc) / self.scale).sigmoid()

    def _log_cdf(self, x: Tensor) -> Tensor:
        return logsigmoid((x - self.loc) / self.scale)

    def _sf(self, x: Tensor) -> Tensor:
        return ((self.loc - x) / self.scale).sigmoid()

    def _log_sf(self, x: Tensor) -> Tensor:
        return logsigmoid((self.loc - x) / self.scale)

    def _icdf(self, p: Tensor) -> Tensor:
        return self.loc + self.scale * torch.logit(p)

    def _isf(self, q: Tensor) -> Tensor:
        return self.loc - self.scale * torch.logit(q)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def median(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale * (math.pi / math.sqrt(3))

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * (math.pi**2 / 3)

    def entropy(self) -> Tensor:
        return 2 + self.scale.log()

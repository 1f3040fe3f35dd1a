"""Symmetric laws with exponential tails: the Laplace and the logistic distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..samplers import log_standard_exponential, unit_uniform
from ..special.logistic import expit
from .symmetric import SymmetricLocationScale

__all__ = ["Laplace", "Logistic"]

LOG_2 = math.log(2)


class Laplace(SymmetricLocationScale):
    """Laplace(loc m, scale s):  density  exp(-|x - m| / s) / (2 s),  x real.

    >>> Laplace(0.0, 1.0).variance
    tensor(2.)
    """

    standard_variance = 2.0
    standard_entropy = 1 + LOG_2

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        u = unit_uniform(shape, self.loc, generator).sub_(0.5)
        # held above -1: at u = -1/2 the size would be infinite
        size = u.abs().mul_(-2).clamp(min=torch.finfo(u.dtype).eps / 2 - 1).log1p_()
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


class Logistic(SymmetricLocationScale):
    """Logistic(loc m, scale s):  density  exp(-z) / (s (1 + exp(-z))**2)  for z = (x - m) / s,  x real.

    >>> Logistic(0.0, 1.0).cdf(0.0)
    tensor(0.5000)
    """

    standard_variance = math.pi**2 / 3
    standard_entropy = 2.0

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        up, down = (log_standard_exponential(shape, self.loc, generator) for _ in range(2))
        return torch.addcmul(self.loc, self.scale, up - down)

    def _log_prob(self, x: Tensor) -> Tensor:
        z = (x - self.loc) / self.scale
        return logsigmoid(z) + logsigmoid(-z) - self.scale.log()

    def _standard_cdf(self, z: Tensor) -> Tensor:
        return expit(z)

    def _standard_log_cdf(self, z: Tensor) -> Tensor:
        return logsigmoid(z)

    def _standard_icdf(self, p: Tensor) -> Tensor:
        return torch.logit(p)

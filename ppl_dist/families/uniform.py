"""The uniform distribution on an interval."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..constraints import dependent_property, greater_than, interval, real
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import unit_uniform
from ..special.elementary import log_share

__all__ = ["Uniform"]

_FAINT = 1e-10


def _log_part(part: Tensor, rest: Tensor, width: Tensor) -> Tensor:
    """log(part / width) for rest = width - part, as a difference of logs where the quotient may underflow."""
    faint = part < _FAINT * width
    apart = torch.where(faint, part, 1.0).log() - width.log()
    part, rest = torch.where(faint, width, part), torch.where(faint, 0.0, rest)
    return torch.where(faint, apart, log_share(part / width, rest / width))


class Uniform(Distribution):
    """Uniform(low l, high h):  density  1 / (h - l),  l <= x <= h.

    >>> Uniform(0.0, 4.0).mean
    tensor(2.)
    """

    low: Param = param(real, finite=True)
    high: Param = param(real, finite=True, within=lambda d: greater_than(d.low))
    has_rsample = True

    @dependent_property
    def support(self) -> Any:
        return interval(self.low, self.high)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        draws = unit_uniform(shape, self.low, generator)
        return torch.addcmul(self.low, draws, self.high - self.low)

    def _log_prob(self, x: Tensor) -> Tensor:
        return x.mul(0).sub((self.high - self.low).log())  # x gives its shape, and its derivative, which is zero

    def _cdf(self, x: Tensor) -> Tensor:
        return (x - self.low) / (self.high - self.low)

    def _sf(self, x: Tensor) -> Tensor:
        return (self.high - x) / (self.high - self.low)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return _log_part(x - self.low, self.high - x, self.high - self.low)

    def _log_sf(self, x: Tensor) -> Tensor:
        return _log_part(self.high - x, x - self.low, self.high - self.low)

    def _icdf(self, p: Tensor) -> Tensor:
        return self.low + p * (self.high - self.low)

    def _isf(self, q: Tensor) -> Tensor:
        return self.high - q * (self.high - self.low)

    @property
    def mean(self) -> Tensor:
        return self.low + 0.5 * (self.high - self.low)

    @property
    def variance(self) -> Tensor:
        return (self.high - self.low).square() / 12

    @property
    def mode(self) -> Tensor:
        return self.mean  # the density is flat: every point is one

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()

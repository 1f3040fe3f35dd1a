"""From a draw to its probability level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import constraints
from ..constraints import Constraint
from ..shapes import broadcast_shapes
from .transform import Transform

if TYPE_CHECKING:
    from ..distribution import Distribution

__all__ = ["CumulativeDistributionTransform"]


class CumulativeDistributionTransform(Transform):
    """y = P(X <= x) for X from `distribution`; its inverse is the quantile function.

    Args:
        distribution: a continuous distribution of numbers, with a cdf and an icdf.
        cache_size: as for every transform.
    """

    codomain = constraints.unit_interval
    bijective = True
    sign = 1

    def __init__(self, distribution: Distribution, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.distribution = distribution

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # the support of the distribution
        support: Constraint = self.distribution.support
        return support

    def _call(self, x: Tensor) -> Tensor:
        return self.distribution.cdf(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(y)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return self.distribution.log_prob(x)

    def _batch_dims(self, width: int) -> bool:
        return len(self.distribution.batch_shape) > width

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return broadcast_shapes([shape, self.distribution.batch_shape])

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self.forward_shape(shape)

"""The multivariate normal distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constraints import real_vector
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import standard_normal
from ..shapes import unexpanded
from . import matrices

__all__ = ["MultivariateNormal"]


class MultivariateNormal(Distribution):
    """MultivariateNormal(loc m, covariance_matrix V):  density  exp(-(x-m)^T V^-1 (x-m) / 2) / sqrt(det(2 pi V)).

    V is given as one of `covariance_matrix`, `precision_matrix` (its inverse) and `scale_tril` (its Cholesky factor).

    >>> MultivariateNormal([0.0, 0.0], scale_tril=[[1.0, 0.0], [1.0, 1.0]]).covariance_matrix
    tensor([[1., 1.],
            [1., 2.]])
    """

    loc: Param = param(real_vector, finite=True)
    covariance_matrix: Param = matrices.covariance_matrix()
    precision_matrix: Param = matrices.precision_matrix()
    scale_tril: Param = matrices.scale_tril()
    exactly_one = matrices.ONE_SCALE
    support = real_vector
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self.loc + matrices.apply(self.scale_tril, standard_normal(shape, self.loc, generator))

    def _log_prob(self, x: Tensor) -> Tensor:
        constant = 0.5 * math.log(2 * math.pi) * x.shape[-1]
        half_log_det = matrices.log_diagonal_sum(unexpanded(self.scale_tril, 2))
        return matrices.squared_distance(self.scale_tril, x - self.loc).mul(-0.5).sub(half_log_det).sub(constant)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1)

    @property
    def mode(self) -> Tensor:
        return self.loc

    def entropy(self) -> Tensor:
        half_log_det = matrices.log_diagonal_sum(unexpanded(self.scale_tril, 2))
        value = half_log_det + 0.5 * self.loc.shape[-1] * (1 + math.log(2 * math.pi))
        return value if value.shape == self._batch_shape else value.expand(self._batch_shape)

"""The multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..constraints import lower_cholesky, positive_definite, real_vector
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import standard_normal
from ..shapes import unexpanded

__all__ = ["MultivariateNormal"]


def _factor(matrix: Tensor) -> Tensor:
    """The Cholesky factor; nan where the matrix is not positive definite."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return torch.where((info == 0)[..., None, None], factor, torch.nan)


def _factor_of_inverse(matrix: Tensor) -> Tensor:
    """L with L L^T = matrix^-1.

    Turned by 180 degrees, the Cholesky factor of the turned matrix is an upper U with U U^T = matrix; L is U^-T.
    """
    upper = _factor(matrix.flip((-2, -1))).flip((-2, -1))
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    factor: Tensor = torch.linalg.solve_triangular(upper.mT, identity.expand(matrix.shape), upper=False)
    return factor


def _scale_tril(d: Any) -> Tensor:
    given = d.__dict__
    name, factor = (
        ("covariance_matrix", _factor) if "covariance_matrix" in given else ("precision_matrix", _factor_of_inverse)
    )
    return factor(unexpanded(given[name], 2)).expand(given[name].shape)


class MultivariateNormal(Distribution):
    """MultivariateNormal(loc m, covariance_matrix V):  density  exp(-(x-m)^T V^-1 (x-m) / 2) / sqrt(det(2 pi V)).

    V is given as one of `covariance_matrix`, `precision_matrix` (its inverse) and `scale_tril` (its Cholesky factor).

    >>> MultivariateNormal([0.0, 0.0], scale_tril=[[1.0, 0.0], [1.0, 1.0]]).covariance_matrix
    tensor([[1., 1.],
            [1., 2.]])
    """

    loc: Param = param(real_vector, finite=True)
    covariance_matrix: Param = param(positive_definite, derive=lambda d: d.scale_tril @ d.scale_tril.mT, default=None)
    precision_matrix: Param = param(
        positive_definite, derive=lambda d: torch.cholesky_inverse(d.scale_tril), default=None
    )
    scale_tril: Param = param(lower_cholesky, derive=_scale_tril, stored=True, default=None)
    exactly_one = ("covariance_matrix", "precision_matrix", "scale_tril")
    support = real_vector
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        noise = standard_normal(shape, self.loc, generator)
        factor = unexpanded(self.scale_tril, 2)
        if factor.shape[:-2].numel() == 1:  # one factor for all: a single product
            return self.loc + noise @ factor.reshape(factor.shape[-2:]).mT
        return self.loc + (factor @ noise.unsqueeze(-1)).squeeze(-1)

    def _log_prob(self, x: Tensor) -> Tensor:
        factor = unexpanded(self.scale_tril, 2)
        gap = x - self.loc
        half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * math.log(2 * math.pi) * gap.shape[-1]
        return self._squared_distance(factor, gap).mul(-0.5).sub(half_log_det).sub(constant)

    def _squared_distance(self, factor: Tensor, gap: Tensor) -> Tensor:
        """|L^-1 gap|^2: the sample dimensions (all, when one factor serves the batch) are columns of one solve."""
        batch = self._batch_shape
        if factor.shape[:-2].numel() == 1:
            factor, batch = factor.reshape(factor.shape[-2:]), torch.Size()
        sample = gap.shape[: gap.dim() - 1 - len(batch)]
        columns = gap.reshape(sample.numel(), *batch, gap.shape[-1]).movedim(0, -1)
        whitened: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
        return whitened.square().sum(-2).movedim(-1, 0).reshape(gap.shape[:-1])

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1)

    def entropy(self) -> Tensor:
        half_log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return half_log_det + 0.5 * self.loc.shape[-1] * (1 + math.log(2 * math.pi))

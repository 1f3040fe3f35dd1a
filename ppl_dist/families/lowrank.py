"""The multivariate normal distribution with a covariance of low rank plus a diagonal."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..constraints import Independent, lower_cholesky, positive, real_matrix, real_vector
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import standard_normal
from ..shapes import unexpanded
from . import matrices

__all__ = ["LowRankMultivariateNormal"]


def _inner_tril(d: Any) -> Tensor:
    """The Cholesky factor of I + A^T A for A = diag(d)^-1/2 W, of which Woodbury's identity makes the inverse."""
    white = d.whitened_factor()
    inner = white.mT @ white
    identity = torch.eye(inner.shape[-1], dtype=inner.dtype, device=inner.device)
    factor: Tensor = torch.linalg.cholesky_ex(inner + identity).L
    return factor.expand(d.batch_shape + factor.shape[-2:])


class LowRankMultivariateNormal(Distribution):
    """LowRankMultivariateNormal(loc m, cov_factor W, cov_diag d):  MultivariateNormal(m, W W^T + diag(d)), W n by r.

    Densities and draws cost n r^2, by way of the r by r matrix I + W^T diag(d)^-1 W.

    >>> LowRankMultivariateNormal([0.0, 0.0], [[1.0], [1.0]], [1.0, 2.0]).covariance_matrix
    tensor([[2., 1.],
            [1., 3.]])
    """

    loc: Param = param(real_vector, finite=True)
    cov_factor: Param = param(real_matrix, finite=True)
    cov_diag: Param = param(Independent(positive, 1))
    inner_tril: Param = param(lower_cholesky, init=False, stored=True, derive=_inner_tril)
    support = real_vector
    has_rsample = True

    def _set_event_shape(self) -> None:
        self._event_shape = self.loc.shape[-1:]
        sizes = {
            "loc": self.loc.shape[-1],
            "cov_factor": self.cov_factor.shape[-2],
            "cov_diag": self.cov_diag.shape[-1],
        }
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"LowRankMultivariateNormal: event sizes differ: loc {sizes['loc']}, rows of cov_factor "
                f"{sizes['cov_factor']}, cov_diag {sizes['cov_diag']}. They must be equal."
            )

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        shared = standard_normal(shape[:-1] + self.cov_factor.shape[-1:], self.loc, generator)
        own = torch.addcmul(self.loc, self.cov_diag.sqrt(), standard_normal(shape, self.loc, generator))
        return own + matrices.apply(self.cov_factor, shared)

    def whitened_factor(self) -> Tensor:
        """A = diag(d)^-1/2 W."""
        return unexpanded(self.cov_factor, 2) * unexpanded(self.cov_diag, 1).rsqrt().unsqueeze(-1)

    def half_log_det(self) -> Tensor:
        """log det(W W^T + diag(d)) / 2, by the matrix determinant lemma."""
        log_diag = unexpanded(self.cov_diag, 1).log().sum(-1)
        return torch.add(matrices.log_diagonal_sum(unexpanded(self.inner_tril, 2)), log_diag, alpha=0.5)

    def _log_prob(self, x: Tensor) -> Tensor:
        white = self.whitened_factor()
        gap = ((x - self.loc) * self.cov_diag.rsqrt()).unsqueeze(-1)
        # the least of |gap - A y|^2 + |y|^2 is Woodbury's form of the distance, as a sum of squares: nothing cancels
        y = torch.cholesky_solve(white.mT @ gap, self.inner_tril.expand(*gap.shape[:-2], -1, -1))
        distance = (gap - white @ y).square().sum((-2, -1)) + y.square().sum((-2, -1))
        constant = 0.5 * math.log(2 * math.pi) * x.shape[-1]
        return distance.mul(-0.5).sub(self.half_log_det()).sub(constant)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.cov_factor.square().sum(-1) + self.cov_diag

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def covariance_matrix(self) -> Tensor:
        """W W^T + diag(d), shape B + (n, n)."""
        return self.cov_factor @ self.cov_factor.mT + torch.diag_embed(self.cov_diag)

    @property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance matrix, by Woodbury's identity."""
        scale = self.cov_diag.rsqrt()
        part: Tensor = torch.linalg.solve_triangular(
            self.inner_tril, self.whitened_factor().mT * scale.unsqueeze(-2), upper=False
        )
        return torch.diag_embed(self.cov_diag.reciprocal()) - part.mT @ part

    @property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance matrix."""
        factor: Tensor = torch.linalg.cholesky_ex(self.covariance_matrix).L
        return factor

    def entropy(self) -> Tensor:
        value = self.half_log_det() + 0.5 * self._event_shape[-1] * (1 + math.log(2 * math.pi))
        return value if value.shape == self._batch_shape else value.expand(self._batch_shape)

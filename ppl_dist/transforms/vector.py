"""Transforms of vectors and matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from .. import constraints
from .matrix import CholeskyTransform
from .transform import Transform

__all__ = [
    "CorrCholeskyTransform",
    "CorrMatrixCholeskyTransform",
    "NormalizeTransform",
    "SoftmaxTransform",
    "StickBreakingTransform",
]


class SoftmaxTransform(Transform):
    """y = exp(x) / sum(exp(x)) over the last dimension; onto the simplex, not one to one."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        return x.softmax(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()


class NormalizeTransform(Transform):
    """y = x / |x| over the last dimension; onto the sphere, not one to one, and nan at x = 0."""

    domain = constraints.real_vector
    codomain = constraints.sphere

    def _call(self, x: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / length

    def _inverse(self, y: Tensor) -> Tensor:
        return y


def _minus_log_rest(z: Tensor) -> Tensor:
    """-log(1 - sigmoid(z)); the threshold at which softplus takes z itself is moved to where float64 does too."""
    return softplus(z, 1.0, 40.0)


class StickBreakingTransform(Transform):
    """From n - 1 real numbers to the simplex of n: each breaks off a share of what is left of the stick.

    Share i is sigmoid(x_i - log(n - i)), counted from i = 0 with n - 1 numbers left to place, so that
    x = 0 gives the centre.
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def _logits(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        return x - torch.arange(n, 0, -1, dtype=x.dtype, device=x.device).log()

    def _call(self, x: Tensor) -> Tensor:
        z = self._logits(x)
        left = pad(_minus_log_rest(z).cumsum(-1).neg().exp(), (1, 0), value=1.0)  # before each break, and at the end
        return torch.cat([z.sigmoid() * left[..., :-1], left[..., -1:]], -1)

    def _inverse(self, y: Tensor) -> Tensor:
        # what remains after break i is the sum of the later pieces: no 1 - cumsum, which cancels
        left = y.flip(-1).cumsum(-1).flip(-1)
        n = y.shape[-1] - 1
        shift = torch.arange(n, 0, -1, dtype=y.dtype, device=y.device).log()
        return y.log()[..., :-1] - left.log()[..., 1:] + shift

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        z = self._logits(x)
        rest = _minus_log_rest(z)
        # dy_i/dx_i = left_before * s (1 - s), a triangular Jacobian, and log s = z - softplus(z)
        return (z - rest - rest.cumsum(-1)).sum(-1)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] - 1))


class CorrCholeskyTransform(Transform):
    """From d (d - 1) / 2 real numbers to the Cholesky factor of a d x d correlation matrix.

    Row by row, tanh of each number is the share, by square root, of the length that row has left
    (Lewandowski, Kurowicka and Joe 2009, section 2).
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        d = self.forward_shape(x.shape)[-1]
        rows, columns = torch.tril_indices(d, d, -1, device=x.device)
        partial = x.new_zeros((*x.shape[:-1], d, d))
        partial[..., rows, columns] = x.tanh()
        log_left = x.new_zeros((*x.shape[:-1], d, d))
        log_left[..., rows, columns] = _log_sech_squared(x) / 2
        left = pad(log_left.cumsum(-1), (1, 0))[..., :-1].exp()
        eye = torch.eye(d, dtype=x.dtype, device=x.device)
        return (partial + eye) * left * torch.ones_like(left).tril()

    def _inverse(self, y: Tensor) -> Tensor:
        d = y.shape[-1]
        rows, columns = torch.tril_indices(d, d, -1, device=y.device)
        # the length a row has left before column j is the norm of its later entries: no 1 - cumsum
        tail = (y * y).flip(-1).cumsum(-1).flip(-1)
        here, later = y[..., rows, columns], tail[..., rows, columns + 1]
        return torch.asinh(here / later.sqrt())

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        d = y.shape[-1]
        rows, columns = torch.tril_indices(d, d, -1, device=x.device)
        log_sech2 = _log_sech_squared(x)
        log_left = x.new_zeros((*x.shape[:-1], d, d))
        log_left[..., rows, columns] = log_sech2 / 2
        before = pad(log_left.cumsum(-1), (1, 0))[..., :-1][..., rows, columns]
        return (before + log_sech2).sum(-1)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        n = shape[-1]
        d = round((1 + math.sqrt(1 + 8 * n)) / 2)
        if d * (d - 1) // 2 != n:
            raise ValueError(f"CorrCholeskyTransform: the last dimension must be d (d - 1) / 2 for some d, got {n}.")
        return torch.Size((*shape[:-1], d, d))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        d = shape[-1]
        return torch.Size((*shape[:-2], d * (d - 1) // 2))


class CorrMatrixCholeskyTransform(CholeskyTransform):
    """From correlation matrices to their lower Cholesky factor."""

    domain = constraints.corr_matrix
    codomain = constraints.corr_cholesky

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        # x_ij = sum_k y_ik y_jk moves with y_ij by y_jj, for each of the rows i below j
        diagonal = y.diagonal(dim1=-2, dim2=-1)
        below = torch.arange(y.shape[-1] - 1, -1, -1, dtype=y.dtype, device=y.device)
        return -(below * diagonal.log()).sum(-1)


def _log_sech_squared(x: Tensor) -> Tensor:
    """log(1 - tanh(x)^2), finite for every finite x."""
    return 2.0 * (math.log(2.0) - x.abs() - torch.exp(-2.0 * x.abs()).log1p())

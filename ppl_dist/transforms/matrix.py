"""Bijections onto triangular and positive definite matrices.

Their unconstrained side is a vector of the n (n + 1) / 2 free entries, row by row (packed storage): a square
matrix has more entries than these sets have dimensions, so that nothing defined on all of it can be one to one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import constraints
from .transform import Transform

__all__ = ["CholeskyTransform", "PackedLowerCholeskyTransform", "PackedPositiveDefiniteTransform"]


def _log_det_of_square(log_diagonal: Tensor) -> Tensor:
    """log|det d(L L^T)/dL| over the lower triangle: 2^n prod_i L_ii^(n-i), i from 0 (Muirhead 1982, theorem 2.1.9)."""
    n = log_diagonal.shape[-1]
    powers = torch.arange(n, 0, -1, dtype=log_diagonal.dtype, device=log_diagonal.device)
    return n * math.log(2.0) + (log_diagonal * powers).sum(-1)


class PackedLowerCholeskyTransform(Transform):
    """From n (n + 1) / 2 real numbers to lower-triangular matrices; the diagonal is exponentiated."""

    domain = constraints.real_vector
    codomain: constraints.Constraint = constraints.lower_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        n = self.forward_shape(x.shape)[-1]
        rows, columns = torch.tril_indices(n, n, device=x.device)
        filled = torch.where(rows == columns, x.exp(), x)
        flat = torch.zeros((*x.shape[:-1], n * n), dtype=x.dtype, device=x.device)
        return flat.index_copy(-1, rows * n + columns, filled).reshape((*x.shape[:-1], n, n))

    def _inverse(self, y: Tensor) -> Tensor:
        n = y.shape[-1]
        rows, columns = torch.tril_indices(n, n, device=y.device)
        packed = y[..., rows, columns]
        on_diagonal = rows == columns
        return torch.where(on_diagonal, torch.where(on_diagonal, packed, 1.0).log(), packed)

    def log_diagonal(self, x: Tensor) -> Tensor:
        """The logs of the diagonal, which x holds as they are."""
        n = self.forward_shape(x.shape)[-1]
        ends = torch.arange(1, n + 1, device=x.device).cumsum(0) - 1  # each row ends on the diagonal
        return x.index_select(-1, ends)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_diagonal(x).sum(-1)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        size = shape[-1]
        n = (math.isqrt(1 + 8 * size) - 1) // 2
        if n * (n + 1) // 2 != size:
            raise ValueError(
                f"{type(self).__name__}: the last dimension must be n (n + 1) / 2 for some n, got {size}. "
                f"Try {(n + 1) * (n + 2) // 2}."
            )
        return torch.Size((*shape[:-1], n, n))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        n = shape[-1]
        return torch.Size((*shape[:-2], n * (n + 1) // 2))


class PackedPositiveDefiniteTransform(PackedLowerCholeskyTransform):
    """From n (n + 1) / 2 real numbers to positive definite matrices y = L L^T."""

    codomain = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        factor = super()._call(x)
        return factor @ factor.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return super()._inverse(torch.linalg.cholesky(y))

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return super()._log_det(x, y) + _log_det_of_square(self.log_diagonal(x))


class CholeskyTransform(Transform):
    """From positive definite matrices to their lower Cholesky factor."""

    domain = constraints.positive_definite
    codomain = constraints.lower_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        factor: Tensor = torch.linalg.cholesky(x)
        return factor

    def _inverse(self, y: Tensor) -> Tensor:
        return y @ y.mT

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return -_log_det_of_square(y.diagonal(dim1=-2, dim2=-1).log())

"""Maps onto triangular and positive definite matrices.

Two kinds: from square matrices, whose entries above the diagonal are ignored, and from the vector of the free
entries, row by row (packed storage). A square matrix has more entries than these sets have dimensions, so that
nothing defined on all of it can be one to one; the packed forms are bijections.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .. import constraints
from .elementwise import SoftplusTransform
from .transform import Transform

__all__ = [
    "CholeskyTransform",
    "LowerCholeskyTransform",
    "PackedLowerCholeskyTransform",
    "PackedPositiveDefiniteTransform",
    "PackedSoftplusLowerCholeskyTransform",
    "PackedUnitLowerCholeskyTransform",
    "PositiveDefiniteTransform",
    "SoftplusLowerCholeskyTransform",
    "UnitLowerCholeskyTransform",
]


class _ExpDiagonal(Transform):
    """Shared by the maps onto triangular matrices: what becomes of the diagonal."""

    def _to_diagonal(self, x: Tensor) -> Tensor:
        return x.exp()

    def _from_diagonal(self, y: Tensor) -> Tensor:
        return y.log()


class _SoftplusDiagonal(_ExpDiagonal):
    codomain: constraints.Constraint = constraints.softplus_lower_cholesky

    def _to_diagonal(self, x: Tensor) -> Tensor:
        return SoftplusTransform()(x)

    def _from_diagonal(self, y: Tensor) -> Tensor:
        return SoftplusTransform().inv(y)


class LowerCholeskyTransform(_ExpDiagonal):
    """Keeps the strict lower triangle and exponentiates the diagonal.

    From square matrices; the entries above the diagonal are ignored, and `inv` answers zeros there.
    """

    domain = constraints.real_matrix
    codomain: constraints.Constraint = constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + self._to_diagonal(x.diagonal(dim1=-2, dim2=-1)).diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + self._from_diagonal(y.diagonal(dim1=-2, dim2=-1)).diag_embed()


class SoftplusLowerCholeskyTransform(_SoftplusDiagonal, LowerCholeskyTransform):
    """Keeps the strict lower triangle and takes the diagonal through softplus; from square matrices."""


class UnitLowerCholeskyTransform(LowerCholeskyTransform):
    """Keeps the strict lower triangle, with ones on the diagonal; from square matrices, `inv` has zeros there."""

    codomain = constraints.unit_lower_cholesky

    def _to_diagonal(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    def _from_diagonal(self, y: Tensor) -> Tensor:
        return torch.zeros_like(y)


class PositiveDefiniteTransform(LowerCholeskyTransform):
    """y = L L^T with L = LowerCholeskyTransform()(x); like that transform, blind to entries above the diagonal."""

    codomain = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        factor = super()._call(x)
        return factor @ factor.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return super()._inverse(torch.linalg.cholesky(y))


def _log_det_of_square(log_diagonal: Tensor) -> Tensor:
    """log|det d(L L^T)/dL| over the lower triangle: 2^n prod_i L_ii^(n-i), i from 0 (Muirhead 1982, theorem 2.1.9)."""
    n = log_diagonal.shape[-1]
    powers = torch.arange(n, 0, -1, dtype=log_diagonal.dtype, device=log_diagonal.device)
    return n * math.log(2.0) + (log_diagonal * powers).sum(-1)


class PackedLowerCholeskyTransform(_ExpDiagonal):
    """From n (n + 1) / 2 real numbers to lower-triangular matrices; the diagonal is exponentiated."""

    domain = constraints.real_vector
    codomain: constraints.Constraint = constraints.lower_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        n = self.forward_shape(x.shape)[-1]
        rows, columns = torch.tril_indices(n, n, device=x.device)
        filled = torch.where(rows == columns, self._to_diagonal(x), x)
        flat = torch.zeros((*x.shape[:-1], n * n), dtype=x.dtype, device=x.device)
        return flat.index_copy(-1, rows * n + columns, filled).reshape((*x.shape[:-1], n, n))

    def _inverse(self, y: Tensor) -> Tensor:
        n = y.shape[-1]
        rows, columns = torch.tril_indices(n, n, device=y.device)
        packed = y[..., rows, columns]
        on_diagonal = rows == columns
        return torch.where(on_diagonal, self._from_diagonal(torch.where(on_diagonal, packed, 1.0)), packed)

    def _packed_diagonal(self, x: Tensor) -> Tensor:
        """What x holds for the diagonal."""
        n = self.forward_shape(x.shape)[-1]
        ends = torch.arange(1, n + 1, device=x.device).cumsum(0) - 1  # each row ends on the diagonal
        return x.index_select(-1, ends)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return self._packed_diagonal(x).sum(-1)

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


class PackedSoftplusLowerCholeskyTransform(_SoftplusDiagonal, PackedLowerCholeskyTransform):
    """From n (n + 1) / 2 real numbers to lower-triangular matrices; the diagonal goes through softplus."""

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return logsigmoid(self._packed_diagonal(x)).sum(-1)


class PackedUnitLowerCholeskyTransform(Transform):
    """From n (n - 1) / 2 real numbers to lower-triangular matrices with ones on the diagonal."""

    domain = constraints.real_vector
    codomain = constraints.unit_lower_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        n = self.forward_shape(x.shape)[-1]
        rows, columns = torch.tril_indices(n, n, -1, device=x.device)
        flat = torch.eye(n, dtype=x.dtype, device=x.device).reshape(-1).expand((*x.shape[:-1], n * n))
        return flat.index_copy(-1, rows * n + columns, x).reshape((*x.shape[:-1], n, n))

    def _inverse(self, y: Tensor) -> Tensor:
        n = y.shape[-1]
        rows, columns = torch.tril_indices(n, n, -1, device=y.device)
        return y[..., rows, columns]

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        size = shape[-1]
        n = (1 + math.isqrt(1 + 8 * size)) // 2
        if n * (n - 1) // 2 != size:
            raise ValueError(
                f"{type(self).__name__}: the last dimension must be n (n - 1) / 2 for some n, got {size}. "
                f"Try {n * (n + 1) // 2}."
            )
        return torch.Size((*shape[:-1], n, n))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        n = shape[-1]
        return torch.Size((*shape[:-2], n * (n - 1) // 2))


class PackedPositiveDefiniteTransform(PackedLowerCholeskyTransform):
    """From n (n + 1) / 2 real numbers to positive definite matrices y = L L^T."""

    codomain = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        factor = super()._call(x)
        return factor @ factor.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return super()._inverse(torch.linalg.cholesky(y))

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return super()._log_det(x, y) + _log_det_of_square(self._packed_diagonal(x))


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

"""What the families with a matrix share: a scale given in one of three ways, and random triangular factors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..constraints import lower_cholesky, positive_definite
from ..param import param
from ..samplers import log_standard_gamma, moved_inside, standard_normal
from ..shapes import unexpanded

__all__: list[str] = []

ONE_SCALE = ("covariance_matrix", "precision_matrix", "scale_tril")


def covariance_matrix() -> Any:
    """The matrix V itself, one of `ONE_SCALE`."""
    return param(positive_definite, derive=covariance_of, default=None)


def precision_matrix() -> Any:
    """V^-1, one of `ONE_SCALE`."""
    return param(positive_definite, derive=precision_of, default=None)


def scale_tril() -> Any:
    """The Cholesky factor of V, one of `ONE_SCALE`; kept where another was given, since all densities ask for it."""
    return param(lower_cholesky, derive=_scale_tril, stored=True, default=None)


def covariance_of(d: Any) -> Tensor:
    """V = L L^T of a distribution that holds L as `scale_tril`."""
    factor: Tensor = d.scale_tril
    return factor @ factor.mT


def precision_of(d: Any) -> Tensor:
    """V^-1 of a distribution that holds the Cholesky factor of V."""
    return torch.cholesky_inverse(d.scale_tril)


def apply(factor: Tensor, vectors: Tensor) -> Tensor:
    """F v for vectors in the last dimension; one product where a single F serves them all."""
    factor = unexpanded(factor, 2)
    if factor.shape[:-2].numel() == 1:
        return vectors @ factor.reshape(factor.shape[-2:]).mT
    return (factor @ vectors.unsqueeze(-1)).squeeze(-1)


def squared_distance(factor: Tensor, gap: Tensor) -> Tensor:
    """|L^-1 gap|^2: the sample dimensions (all, when one factor serves the batch) are columns of one solve."""
    factor = unexpanded(factor, 2)
    batch = factor.shape[:-2]
    if batch.numel() == 1:
        factor, batch = factor.reshape(factor.shape[-2:]), batch[:0]
    sample = gap.shape[: gap.dim() - 1 - len(batch)]
    columns = gap.reshape(sample.numel(), *gap.shape[len(sample) :]).movedim(0, -1)
    whitened: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
    return whitened.square().sum(-2).movedim(-1, 0).reshape(gap.shape[:-1])


def log_diagonal_sum(factor: Tensor) -> Tensor:
    """Half the log determinant of F F^T, for a triangular F with a positive diagonal."""
    # the library's logarithm takes strided entries one at a time
    return factor.diagonal(dim1=-2, dim2=-1).contiguous().log().sum(-1)


def _factor(matrix: Tensor) -> Tensor:
    """The Cholesky factor; nan where the matrix is not positive definite."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    checked: Tensor = factor.masked_fill(info.ne(0).unsqueeze(-1).unsqueeze(-1), torch.nan)
    return checked


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


def chi_normal_factor(half_df: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """A lower-triangular matrix with chi draws of 2 `half_df` degrees of freedom on its diagonal, normal ones below.

    Bartlett (1933), "On the theory of statistical regression". The chi draws are made in logs: for few degrees of
    freedom most of them are smaller than the smallest float, and are held just above it.
    """
    noise = standard_normal(shape, half_df, generator)
    log_chi = 0.5 * (log_standard_gamma(half_df.expand(shape[:-1]), generator) + math.log(2))
    least = 0.4 * math.log(torch.finfo(half_df.dtype).tiny)
    return noise.tril(-1) + torch.diag_embed(moved_inside(log_chi, least).exp())


def gram(factor: Tensor) -> Tensor:
    """F F^T, positive definite also after rounding: what lies off the diagonal is made smaller by 4 n eps.

    A nearly singular product would not factorise. Divided by its diagonal on both sides, this one has no eigenvalue
    below 4 n eps, and an n-th of that does in practice: Higham (2002), "Accuracy and Stability of Numerical
    Algorithms", theorem 10.7 (`test_draws_stay_inside_the_support_in_single_precision`).
    """
    product = factor @ factor.mT
    n = factor.shape[-1]
    less = 4 * n * torch.finfo(factor.dtype).eps
    return product * torch.eye(n, dtype=factor.dtype, device=factor.device).mul(less).add(1 - less)

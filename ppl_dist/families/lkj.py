"""Distributions of correlation matrices and of their Cholesky factors.

Row i of the factor (i from 0) is a point of the half sphere; the square of its last entry follows
Beta(a_i, i/2) with a_i = concentration + (n - 1 - i) / 2, and its direction is uniform: Lewandowski, Kurowicka and
Joe (2009), "Generating random correlation matrices based on vines and extended onion method", section 3.2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..constraints import corr_cholesky, corr_matrix, positive
from ..distribution import Distribution
from ..param import Param, param, static
from ..special import lgamma_rise
from .matrices import chi_normal_factor, gram, log_diagonal_sum

__all__ = ["LKJ", "LKJCholesky"]


class OfCorrelations(Distribution):
    """What the law of a correlation matrix and that of its factor share: the declaration and the beta variables."""

    dim: int = static()
    concentration: Param = param(positive, default=1.0)
    has_rsample = True

    def _set_event_shape(self) -> None:
        dim: Any = self.dim
        if not isinstance(dim, int) or dim < 1:
            raise ValueError(f"{type(self).__name__}: `dim` must be a positive integer, got {dim!r}.")
        self._event_shape = torch.Size((self.dim, self.dim))

    def _betas(self) -> tuple[Tensor, Tensor]:
        """(a_i, i/2), shape B + (n - 1,): row 0 is the constant 1."""
        c = self.concentration
        halves = 0.5 * torch.arange(1, self.dim, dtype=c.dtype, device=c.device)
        return c.unsqueeze(-1) + halves.flip(0) - 0.5, halves

    def log_normalizer(self) -> Tensor:
        """log Z, the same for the matrix and for its factor."""
        a, b = self._betas()
        volume = 0.25 * self.dim * (self.dim - 1) * math.log(math.pi)
        return (torch.lgamma(a) - torch.lgamma(a + b)).sum(-1) + volume

    def mean_log_squares(self) -> Tensor:
        """E[log L_ii^2], i from 1."""
        a, b = self._betas()
        return torch.digamma(a) - torch.digamma(a + b)

    def _factor(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Rows (z, sqrt(2 g)) over their length, z normal and g of Gamma(a_i): the square of the last is beta."""
        a = pad(self._betas()[0], (1, 0), value=1.0)
        rows = chi_normal_factor(a, shape, generator)
        length: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        return rows / length

    def _identity(self) -> Tensor:
        c = self.concentration
        return torch.eye(self.dim, dtype=c.dtype, device=c.device).expand(self._batch_shape + self._event_shape)

    @property
    def mode(self) -> Tensor:
        """The identity; nan for concentration < 1, where the density grows without bound towards singular matrices."""
        peaked = (self.concentration >= 1) | (self.dim == 1)
        return torch.where(peaked[..., None, None], self._identity(), torch.nan)


class LKJCholesky(OfCorrelations):
    """LKJCholesky(dim n, concentration c):  density  prod_i L_ii**(n-1-i + 2(c-1)) / Z,  i from 0; L L^T is LKJ(n, c).

    L is lower triangular with rows of length one; the density is over its entries below the diagonal.

    >>> LKJCholesky(2, 1.0).log_prob(torch.eye(2))
    tensor(-0.6931)
    """

    support = corr_cholesky

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self._factor(shape, generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        powers = 2 * (self._betas()[0] - 1)
        return (powers * x.diagonal(dim1=-2, dim2=-1)[..., 1:].log()).sum(-1) - self.log_normalizer()

    def _moments(self) -> tuple[Tensor, Tensor]:
        """E[L_ii^2], and log(E[L_ii]^2 / E[L_ii^2]) by the gamma functions of the beta moments, for i from 1."""
        a, b = self._betas()
        return a / (a + b), 2 * (lgamma_rise(a, 0.5) - lgamma_rise(a + b, 0.5))

    @property
    def mean(self) -> Tensor:
        square, excess = self._moments()  # below the diagonal every sign is as likely as its opposite
        return torch.diag_embed(pad((square * excess.exp()).sqrt(), (1, 0), value=1.0))

    @property
    def variance(self) -> Tensor:
        square, excess = self._moments()
        a, b = self._betas()
        below = pad(0.5 / (a + b), (1, 0)).unsqueeze(-1)  # (1 - E[L_ii^2]) / i
        return torch.diag_embed(pad(-square * excess.expm1(), (1, 0))) + below * torch.ones_like(self._identity()).tril(
            -1
        )

    @property
    def stddev(self) -> Tensor:
        variance = self.variance
        moves = variance > 0  # the root has no derivative at the constants
        return torch.where(moves, torch.where(moves, variance, 1.0).sqrt(), 0.0)

    def entropy(self) -> Tensor:
        return self.log_normalizer() - ((self._betas()[0] - 1) * self.mean_log_squares()).sum(-1)


class LKJ(OfCorrelations):
    """LKJ(dim n, concentration c):  density  det(x)**(c-1) / Z,  x an n by n correlation matrix.

    >>> LKJ(2, 1.0).log_prob(torch.eye(2))
    tensor(-0.6931)
    """

    support = corr_matrix

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return gram(self._factor(shape, generator))

    def _log_prob(self, x: Tensor) -> Tensor:
        half_log_det = log_diagonal_sum(torch.linalg.cholesky_ex(x).L)
        return 2 * (self.concentration - 1) * half_log_det - self.log_normalizer()

    @property
    def mean(self) -> Tensor:
        return self._identity()

    @property
    def stddev(self) -> Tensor:
        # each correlation r has (r + 1) / 2 of Beta(b, b), b = c - 1 + n/2
        return (1 - self._identity()) * (2 * self.concentration + (self.dim - 1)).rsqrt()[..., None, None]

    @property
    def variance(self) -> Tensor:
        return self.stddev.square()

    def entropy(self) -> Tensor:
        return self.log_normalizer() - (self.concentration - 1) * self.mean_log_squares().sum(-1)

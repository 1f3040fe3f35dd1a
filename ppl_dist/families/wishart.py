"""Distributions of covariance matrices: the Wishart distribution and its inverse.

Both densities are that of the factor T of a standard Wishart matrix T T^T, whose entries are independent: chi on
the diagonal, with df, df - 1, ... degrees of freedom, and standard normal below it (Bartlett 1933).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constraints import Constraint, greater_than, positive, positive_definite
from ..distribution import Distribution
from ..exp_family import ExponentialFamily
from ..param import Param, param
from ..shapes import unexpanded
from ..special.elementary import horner
from ..values import extremes
from . import matrices
from .matrices import chi_normal_factor, gram, log_diagonal_sum

__all__ = ["InverseWishart", "Wishart"]

LOG_2PI = math.log(2 * math.pi)
HALF_LOG_2PI = 0.5 * LOG_2PI
LOG_2 = math.log(2)
LOG_PI = math.log(math.pi)
# B_2k / (2k (2k - 1)) and B_2k / (2k - 1), k = 1...4: DLMF 5.11.1 and, with 5.11.2, what its derivative adds.
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)
ENTROPY = (1 / 6, -1 / 90, 1 / 210, -1 / 210)


def _enough(d: Distribution) -> Constraint:
    return greater_than(float(d.event_shape[-1] - 1))


def half_degrees(df: Tensor, n: int) -> Tensor:
    """(df - i) / 2 for i = 0...n-1, half the degrees of freedom of the squared diagonal of T: B -> B + (n,)."""
    steps = torch.arange(0, -0.5 * n, -0.5, dtype=df.dtype, device=df.device)
    return torch.add(steps, df.unsqueeze(-1), alpha=0.5)


def _half_powers(n: int, like: Tensor) -> Tensor:
    """(n + 1 - i) / 2: the power of 1 / T_ii^2 that the density of T T^T has beside the chi-square density."""
    return torch.arange(0.5 * (n + 1), 0.5, -0.5, dtype=like.dtype, device=like.device)


def _series(half: Tensor, coefficients: tuple[float, ...], direct: Tensor) -> Tensor:
    """c_0 / a + c_1 / a^3 + ... for large a, where the terms of the direct form cancel; to 2e-12 absolute."""
    seen = extremes(half)
    if seen is not None and seen[1] < 12:
        return direct
    large = half >= 12
    inverse = torch.where(large, half, 12.0).reciprocal()
    return torch.where(large, inverse * horner(inverse * inverse, coefficients), direct)


def _standard_log_prob(factor: Tensor, log_diagonal: Tensor, df: Tensor) -> Tensor:
    """The log density of a standard Wishart matrix at T T^T, in the differences that stay small for large df.

    Each T_ii^2 has a chi-square density, written as Loader (2000) writes the Poisson mass; dT/d(T T^T) is
    2^-n prod_i T_ii^-(n-i), i from 0.
    """
    n = factor.shape[-1]
    half = half_degrees(df, n)
    log_half = half.log()
    log_square = 2 * log_diagonal
    gap = (log_square - LOG_2).exp().div(half).sub(1)
    near = gap.abs() < 0.5
    log_ratio = torch.where(near, torch.where(near, gap, 0.0).log1p(), log_square - LOG_2 - log_half)
    # what Stirling's formula leaves out of log Gamma(a)
    error = _series(half, STIRLING, half.lgamma() - (half - 0.5) * log_half + half - HALF_LOG_2PI)
    diagonal = half * (log_ratio - gap) + 0.5 * log_half - error - _half_powers(n, df) * log_square
    below = factor.tril(-1).square().sum((-2, -1))
    return diagonal.sum(-1) - 0.5 * below - n * HALF_LOG_2PI - 0.25 * n * (n - 1) * LOG_2PI


def _standard_entropy(df: Tensor, n: int) -> Tensor:
    """The entropy of a standard Wishart matrix: minus the expectation of the log density above, term by term."""
    half = half_degrees(df, n)
    log_half, digamma = half.log(), half.digamma()
    # a (log a - digamma(a)) - 1/2 and what Stirling's formula lacks, together: B_2k / (2k - 1) / a^(2k-1)
    direct = torch.addcmul(half.lgamma(), half, 1 - digamma).add(log_half, alpha=0.5).sub(HALF_LOG_2PI + 0.5)
    terms = torch.addcmul(_series(half, ENTROPY, direct), _half_powers(n, df), digamma).sub(log_half, alpha=0.5)
    return terms.sum(-1) + 0.25 * n * ((n + 1) * (1 + LOG_2PI) + (n + 3) * LOG_2)


def mean_log_det(df: Tensor, n: int) -> Tensor:
    """E[log det] of a standard Wishart matrix."""
    return torch.digamma(half_degrees(df, n)).sum(-1) + n * LOG_2


class DegreesAndScale(Distribution):
    """What both laws of matrices are given by: degrees of freedom, and a scale matrix in one of three forms."""

    df: Param = param(positive, within=_enough)
    covariance_matrix: Param = matrices.covariance_matrix()
    precision_matrix: Param = matrices.precision_matrix()
    scale_tril: Param = matrices.scale_tril()
    exactly_one = matrices.ONE_SCALE
    support = positive_definite
    has_rsample = True


class Wishart(DegreesAndScale, ExponentialFamily):
    """Wishart(df v, covariance_matrix V):  density  c det(x)**((v-n-1)/2) exp(-tr(V^-1 x)/2),  x positive definite.

    V, n by n, is given as one of `covariance_matrix`, `precision_matrix` (its inverse) and `scale_tril` (its Cholesky
    factor); v > n - 1, and c = 1 / (2**(v n/2) det(V)**(v/2) G_n(v/2)).

    >>> Wishart(3.0, torch.eye(2)).mean
    tensor([[3., 0.],
            [0., 3.]])
    """

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return gram(self.scale_tril @ chi_normal_factor(half_degrees(self.df, shape[-1]), shape, generator))

    def _log_prob(self, x: Tensor) -> Tensor:
        scale = unexpanded(self.scale_tril, 2)
        factor: Tensor = torch.linalg.solve_triangular(scale, torch.linalg.cholesky_ex(x).L, upper=False)
        log_diagonal = factor.diagonal(dim1=-2, dim2=-1).log()
        return _standard_log_prob(factor, log_diagonal, self.df) - (x.shape[-1] + 1) * log_diagonal_sum(scale)

    @property
    def mean(self) -> Tensor:
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        """nan where df <= n + 1: the density has its supremum at a singular matrix."""
        excess = self.df - (self._event_shape[-1] + 1)
        return torch.where(excess > 0, excess, torch.nan)[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self.df[..., None, None] * (v.square() + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def entropy(self) -> Tensor:
        n = self._event_shape[-1]
        return _standard_entropy(self.df, n) + (n + 1) * log_diagonal_sum(self.scale_tril)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return 0.5 * (self.df - (self._event_shape[-1] + 1)), -0.5 * self.precision_matrix

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        power, fall = natural_params  # of det(x), and on x
        n = fall.shape[-1]
        half = half_degrees(2 * power + (n + 1), n)
        root = torch.linalg.cholesky_ex(-fall).L
        log_gamma = half.lgamma().sum(-1) + 0.25 * n * (n - 1) * LOG_PI
        return log_gamma - 2 * half[..., 0] * log_diagonal_sum(root)


class InverseWishart(DegreesAndScale):
    """InverseWishart(df v, covariance_matrix P):  density  c det(x)**(-(v+n+1)/2) exp(-tr(P x^-1)/2),  x pos. definite.

    The law of x when x^-1 is Wishart(v, P^-1). The scale matrix P, n by n, is given as one of `covariance_matrix`
    (P itself, not the covariance of x), `precision_matrix` (its inverse) and `scale_tril` (its Cholesky factor);
    v > n - 1, and c = det(P)**(v/2) / (2**(v n/2) G_n(v/2)).

    >>> InverseWishart(5.0, torch.eye(2)).mean
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]])
    """

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        # x^-1 = L^-T S^T S L^-1 for the triangle S that is T turned about its other diagonal
        factor = chi_normal_factor(half_degrees(self.df, shape[-1]), shape, generator).flip((-2, -1)).mT
        scale = self.scale_tril.expand(shape)
        return gram(torch.linalg.solve_triangular(factor, scale, upper=False, left=False))

    def _log_prob(self, x: Tensor) -> Tensor:
        scale = unexpanded(self.scale_tril, 2)
        root = torch.linalg.cholesky_ex(x).L
        factor: Tensor = torch.linalg.solve_triangular(root, scale, upper=False)
        log_diagonal = factor.diagonal(dim1=-2, dim2=-1).log()
        jacobian = (log_diagonal.sum(-1) - log_diagonal_sum(root)) * (x.shape[-1] + 1)
        return _standard_log_prob(factor, log_diagonal.flip(-1), self.df) + jacobian

    @property
    def mean(self) -> Tensor:
        """Where df <= n + 1, infinite on the diagonal and undefined (nan) beside it."""
        excess = (self.df - (self._event_shape[-1] + 1))[..., None, None]
        exists = excess > 0
        v = self.covariance_matrix
        none = torch.full_like(v, torch.nan).diagonal_scatter(torch.full_like(v[..., 0], torch.inf), 0, -2, -1)
        return torch.where(exists, v / torch.where(exists, excess, 1.0), none)

    @property
    def mode(self) -> Tensor:
        return self.covariance_matrix / (self.df + (self._event_shape[-1] + 1))[..., None, None]

    @property
    def variance(self) -> Tensor:
        """Infinite where df <= n + 3."""
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        excess = (self.df - self._event_shape[-1])[..., None, None]
        exists = excess > 3
        e = torch.where(exists, excess, 4.0)
        both = (e + 1) * v.square() + (e - 1) * diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        return torch.where(exists, both / (e * (e - 1).square() * (e - 3)), torch.inf)

    def entropy(self) -> Tensor:
        n = self._event_shape[-1]
        inverse = _standard_entropy(self.df, n) - (n + 1) * mean_log_det(self.df, n)
        return inverse + (n + 1) * log_diagonal_sum(self.scale_tril)

"""The multivariate Student t distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constraints import lower_cholesky, positive, real_vector
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import log_standard_gamma, standard_normal, stretched
from ..special import digamma_error, lgamma_rise
from ..values import highest
from .matrices import apply, covariance_of, log_diagonal_sum, precision_of, squared_distance

__all__ = ["MultivariateStudentT"]

LOG_2PI = math.log(2 * math.pi)


class MultivariateStudentT(Distribution):
    """MultivariateStudentT(df v, loc m, scale_tril L):  density  c (1 + |L^-1 (x-m)|**2 / v)**(-(v+n)/2),  x in R^n.

    c = G((v+n)/2) / (G(v/2) (v pi)**(n/2) det L); the limit v = inf is the normal distribution.
    `covariance_matrix` is L L^T, which is the covariance of x only in that limit; that is v / (v - 2) L L^T.

    >>> MultivariateStudentT(4.0, [0.0, 0.0], [[1.0, 0.0], [1.0, 1.0]]).variance
    tensor([2., 4.])
    """

    df: Param = param(positive, finite=False)
    loc: Param = param(real_vector, finite=True)
    scale_tril: Param = param(lower_cholesky)
    support = real_vector
    has_rsample = True

    @property
    def _half_df(self) -> Tensor:
        """df / 2, finite: beyond this size it makes no difference to any float."""
        return 0.5 * self.df.clamp(max=torch.finfo(self.df.dtype).max ** 0.5)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        gap = apply(self.scale_tril, standard_normal(shape, self.loc, generator))
        a = self._half_df.expand(shape[:-1])
        # in logs, as the gamma draw underflows for small df
        log_ratio = a.log() - log_standard_gamma(a, generator)
        return self.loc + stretched(gap, 0.5 * log_ratio.unsqueeze(-1))

    def _log_prob(self, x: Tensor) -> Tensor:
        tail = (self._half_df + 0.5 * x.shape[-1]) * self._log_square(x - self.loc)
        return self._log_constant() - log_diagonal_sum(self.scale_tril) - tail

    def _log_square(self, gap: Tensor) -> Tensor:
        """log(1 + |z|**2/v), also where the square is no number: there the one is nothing beside it."""
        df = 2 * self._half_df
        square = squared_distance(self.scale_tril, gap) / df
        if highest(square) < torch.inf:
            return square.log1p()
        beyond = ~(square < torch.inf)
        unit = torch.where(beyond, gap.abs().amax(-1), 1.0)
        square = squared_distance(self.scale_tril, gap / unit.unsqueeze(-1)) / df
        far = 2 * unit.log() + torch.where(beyond, square, 1.0).log()
        return torch.where(beyond, far, torch.where(beyond, 0.0, square).log1p())

    def _log_constant(self) -> Tensor:
        """log G(a + n/2) / G(a) / (2 pi a)**(n/2) for a = df / 2."""
        a, half = self._half_df, 0.5 * self._event_shape[-1]
        return lgamma_rise(a, half) - half * LOG_2PI

    @property
    def covariance_matrix(self) -> Tensor:
        """L L^T, shape B + (n, n)."""
        return covariance_of(self)

    @property
    def precision_matrix(self) -> Tensor:
        """(L L^T)^-1, shape B + (n, n)."""
        return precision_of(self)

    @property
    def mean(self) -> Tensor:
        return torch.where((self.df > 1).unsqueeze(-1), self.loc, torch.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Infinite where df <= 2, undefined (nan) where df <= 1."""
        a = self._half_df
        exists = a > 1
        ratio = torch.where(exists, a / torch.where(exists, a - 1, 1.0), torch.where(a > 0.5, torch.inf, torch.nan))
        return ratio.unsqueeze(-1) * self.scale_tril.square().sum(-1)

    def entropy(self) -> Tensor:
        a, half = self._half_df, 0.5 * self._event_shape[-1]
        rise = (half / a).log1p() + digamma_error(a) - digamma_error(a + half)  # of digamma from a to a + n/2
        return (a + half) * rise - self._log_constant() + log_diagonal_sum(self.scale_tril)

"""Student's t distribution and the F distribution of Fisher and Snedecor: ratios over chi-square draws."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constraints import positive, real
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import exp_inside, log_standard_gamma, moved_inside, standard_normal, stretched
from ..special import betainc, betaincc, betaincinv_odds, f_log_density, log_beta, log_betainc, log_betaincc
from ..special.student import half_step, half_step_slope, log_stdtr, stdtr, stdtrit
from ..values import extremes, highest, lowest
from .beta import no_digit_cancels
from .normal import HALF_LOG_2PI
from .symmetric import SymmetricLocationScale

__all__ = ["FisherSnedecor", "StudentT"]

MANY = 1e18  # degrees of freedom that are as good as infinitely many
FEW = 1.0  # with fewer degrees of freedom, chi-square draws may be too small for a float
MODERATE = 20.0  # up to here the gamma functions of neighbours do not cancel


def _chi_square_mean(df: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """Chi-square draws over their degrees of freedom."""
    half = 0.5 * df
    draws = torch._standard_gamma(half.expand(shape), generator=generator)
    return moved_inside(draws, torch.finfo(draws.dtype).tiny) / half


def _log_chi_square_mean(half_df: Tensor, generator: torch.Generator | None) -> Tensor:
    """The logs of the same, for any degrees of freedom."""
    return log_standard_gamma(half_df, generator, below=0.5 * FEW) - half_df.log()


class StudentT(SymmetricLocationScale):
    """StudentT(df n, loc m, scale s):  density  (1 + z**2/n)**(-(n+1)/2) / (s sqrt(n) B(n/2, 1/2)),  z = (x - m)/s.

    With `df` infinite it is the normal distribution.

    >>> StudentT(3.0, loc=2.0).mean
    tensor(2.)
    """

    df: Param = param(positive, finite=False)  # type: ignore[misc]  # required ones come first in the constructor that is built
    loc: Param = param(real, default=0.0)
    scale: Param = param(positive, default=1.0)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        z = standard_normal(shape, self.loc, generator)
        df = self.df.clamp(max=MANY)
        if lowest(self.df) < FEW:
            log_stretch = self.scale.log() - 0.5 * _log_chi_square_mean((0.5 * df).expand(shape), generator)
            return self.loc + stretched(z, log_stretch)
        return torch.addcmul(self.loc, self.scale, z * _chi_square_mean(df, shape, generator).rsqrt())

    def _log_prob(self, x: Tensor) -> Tensor:
        df = self.df.clamp(max=MANY)
        normalizer = half_step(0.5 * df) - HALF_LOG_2PI - self.scale.log()
        return torch.addcmul(normalizer, df + 1, self._log_square(x - self.loc, df), value=-0.5)

    def _log_square(self, gap: Tensor, df: Tensor) -> Tensor:
        """log(1 + z**2/n), also where the square is no number: there the one is nothing beside it."""
        z = gap / self.scale
        square = z * (z / df)
        if highest(square) < torch.inf:
            return square.log1p()
        beyond = square == torch.inf
        far = 2 * (torch.where(beyond, gap, 1.0).abs().log() - self.scale.log()) - df.log()
        z = torch.where(beyond, 0.0, gap) / self.scale
        return torch.where(beyond, far, (z * (z / df)).log1p())

    def _standard(self, x: Tensor) -> Tensor:
        """z in float64, where it does not overflow."""
        return (x.double() - self.loc.double()) / self.scale.double()

    def _narrow(self, value: Tensor, given: Tensor) -> Tensor:
        return value.to(torch.promote_types(given.dtype, self.loc.dtype))

    def _cdf(self, x: Tensor) -> Tensor:
        return self._narrow(stdtr(self.df, self._standard(x)), x)

    def _sf(self, x: Tensor) -> Tensor:
        return self._narrow(stdtr(self.df, -self._standard(x)), x)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._narrow(log_stdtr(self.df, self._standard(x)), x)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._narrow(log_stdtr(self.df, -self._standard(x)), x)

    def _icdf(self, p: Tensor) -> Tensor:
        return self._narrow(self.loc + self.scale.double() * stdtrit(self.df, p.double()), p)

    def _isf(self, q: Tensor) -> Tensor:
        return self._narrow(self.loc - self.scale.double() * stdtrit(self.df, q.double()), q)

    @property
    def mean(self) -> Tensor:
        return torch.where(self.df > 1, self.loc, torch.nan)

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    @property
    def variance(self) -> Tensor:
        df = self.df
        finite = df > 2
        value = self.scale.square() / (1 - 2 / torch.where(finite, df, 3.0))
        return torch.where(finite, value, torch.where(df > 1, torch.inf, torch.nan))

    def entropy(self) -> Tensor:
        seen = extremes(self.df)
        if seen is not None and seen[1] < MODERATE:
            half, up = 0.5 * self.df, 0.5 * self.df + 0.5
            spread = torch.lgamma(half) - torch.lgamma(up) + 0.5 * (math.pi * self.df).log() + self.scale.log()
            return torch.addcmul(spread, up, torch.digamma(up) - torch.digamma(half))
        half = 0.5 * self.df.clamp(max=MANY)
        # (n + 1)/2 (digamma((n+1)/2) - digamma(n/2)), less the log normaliser
        rise = (half + 0.5) * half_step_slope(half) + 0.25 / half
        return self.scale.log() + (HALF_LOG_2PI + 0.5) + rise - half_step(half)


def _log_odds(ratio: Tensor, x: Tensor, log_x: Tensor) -> tuple[Tensor, Tensor]:
    """log r and log(1 + r) for r = ratio x, also where r leaves the range of floats: draws with little df do."""
    odds = ratio * x
    seen = extremes(odds)
    if seen is not None and seen[0] > 0 and seen[1] < torch.inf:
        return odds.log(), odds.log1p()
    beyond = (odds == 0) | (odds == torch.inf)
    log_r, inner = ratio.log() + log_x, torch.where(beyond, 1.0, odds)
    return torch.where(beyond, log_r, inner.log()), torch.where(beyond, log_r.clamp(min=0), inner.log1p())


class FisherSnedecor(Distribution):
    """FisherSnedecor(df1 m, df2 n):  density  r**(m/2) / ((1 + r)**((m+n)/2) x B(m/2, n/2)),  r = m x / n,  x > 0.

    >>> FisherSnedecor(4.0, 6.0).mean
    tensor(1.5000)
    """

    df1: Param = param(positive)
    df2: Param = param(positive)
    support = positive
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        if min(lowest(self.df1), lowest(self.df2)) < FEW:
            both = 0.5 * torch.stack([self.df1.expand(shape), self.df2.expand(shape)])
            above, below = _log_chi_square_mean(both, generator).unbind()
            return exp_inside(above - below, self.df1)
        above = _chi_square_mean(self.df1, shape, generator)
        draws = above / _chi_square_mean(self.df2, shape, generator)
        return moved_inside(draws, torch.finfo(draws.dtype).tiny, torch.finfo(draws.dtype).max)

    def _log_prob(self, x: Tensor) -> Tensor:
        a, b = 0.5 * self.df1, 0.5 * self.df2
        n = a + b
        if not no_digit_cancels(n):
            return f_log_density(a, b, x)
        log_x = x.log()
        log_r, log1p_r = _log_odds(self.df1 / self.df2, x, log_x)
        normalizer = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(n)
        return torch.addcmul(a * log_r, n, log1p_r, value=-1) - log_x - normalizer

    def _narrow(self, value: Tensor, given: Tensor) -> Tensor:
        return value.to(torch.promote_types(given.dtype, self.df1.dtype))

    @property
    def _shapes(self) -> tuple[Tensor, Tensor]:
        return 0.5 * self.df1.double(), 0.5 * self.df2.double()

    def _shares(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The shapes a, b of the beta law that r / (1 + r) follows, that share, and what it leaves of 1, in float64."""
        a, b = self._shapes
        x = x.double()
        odds = a / b * x
        above = odds > 1
        small = torch.where(above, b / a / torch.where(above, x, 1.0), odds)
        less, more = small / (1 + small), 1 / (1 + small)
        return a, b, torch.where(above, more, less), torch.where(above, less, more)

    def _cdf(self, x: Tensor) -> Tensor:
        return self._narrow(betainc(*self._shares(x)), x)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._narrow(log_betainc(*self._shares(x)), x)

    def _sf(self, x: Tensor) -> Tensor:
        return self._narrow(betaincc(*self._shares(x)), x)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._narrow(log_betaincc(*self._shares(x)), x)

    def _icdf(self, p: Tensor) -> Tensor:
        a, b = self._shapes
        return self._narrow(betaincinv_odds(a, b, p) * (b / a), p)

    def _isf(self, q: Tensor) -> Tensor:
        a, b = self._shapes
        return self._narrow(betaincinv_odds(a, b, q, complement=True) * (b / a), q)

    @property
    def mean(self) -> Tensor:
        n = self.df2
        return torch.where(n > 2, n / torch.where(n > 2, n - 2, 1.0), torch.nan)

    @property
    def variance(self) -> Tensor:
        m, finite = self.df1, self.df2 > 4
        n = torch.where(finite, self.df2, 5.0)
        value = 2 * (n / (n - 2)).square() * ((m + n - 2) / m) / (n - 4)
        return torch.where(finite, value, torch.nan)

    @property
    def mode(self) -> Tensor:
        m, n = self.df1, self.df2
        return torch.where(m > 2, (m - 2) / m * (n / (n + 2)), torch.nan)

    def entropy(self) -> Tensor:
        a, b = 0.5 * self.df1, 0.5 * self.df2
        below = torch.digamma(b)
        # -E[log density], with E[log r] = digamma(a) - digamma(b) and E[log(1 + r)] = digamma(a + b) - digamma(b)
        mean_logs = (1 - a) * (torch.digamma(a) - below) + (a + b) * (torch.digamma(a + b) - below)
        return log_beta(a, b) + (b / a).log() + mean_logs

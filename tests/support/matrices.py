"""What the families of matrices, and of vectors with a scale matrix, are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from . import exact
from .exact import Formula, mp
from .statistics import assert_uniform


def over_events(formula: Formula, *arguments: tuple[np.ndarray, int]) -> np.ndarray:
    """`formula` event by event: each argument comes with the number of dimensions of one of its events."""
    batch = np.broadcast_shapes(*(a.shape[: a.ndim - dims] for a, dims in arguments))
    wide = [np.broadcast_to(a, batch + a.shape[a.ndim - dims :]) for a, dims in arguments]
    out = np.empty(batch)
    for where in np.ndindex(batch):
        out[where] = float(formula(*(exactly(a[where]) for a in wide)))
    return out


def exactly(value: np.ndarray) -> Any:
    """The same number, vector or matrix in mpmath."""
    return mp.mpf(float(value)) if value.ndim == 0 else mp.matrix(value.tolist())


def trace(m: Any) -> Any:
    return mp.fsum(m[i, i] for i in range(m.rows))


def log_multigamma(a: Any, n: int) -> Any:
    return mp.mpf(n * (n - 1)) / 4 * mp.log(mp.pi) + mp.fsum(mp.loggamma(a - mp.mpf(i) / 2) for i in range(n))


def wishart(x: Any, df: Any, scale: Any) -> Any:
    n = x.rows
    log_constant = -df * n / 2 * mp.log(2) - df / 2 * mp.log(mp.det(scale)) - log_multigamma(df / 2, n)
    return (df - n - 1) / 2 * mp.log(mp.det(x)) - trace(mp.inverse(scale) * x) / 2 + log_constant


def inverse_wishart(x: Any, df: Any, scale: Any) -> Any:
    n = x.rows
    log_constant = df / 2 * mp.log(mp.det(scale)) - df * n / 2 * mp.log(2) - log_multigamma(df / 2, n)
    return -(df + n + 1) / 2 * mp.log(mp.det(x)) - trace(scale * mp.inverse(x)) / 2 + log_constant


def wishart_entropy(df: Any, scale: Any) -> Any:
    return float(stats.wishart(float(df), np.array(scale.tolist(), float)).entropy())


def inverse_wishart_entropy(df: Any, scale: Any) -> Any:
    """scipy's is off by n (n + 1) / 4 log 2 or so (1.17): it disagrees with the mean of its own `logpdf`."""
    n = scale.rows
    log_constant = df / 2 * mp.log(mp.det(scale)) - df * n / 2 * mp.log(2) - log_multigamma(df / 2, n)
    mean_log_det = mp.log(mp.det(scale)) - n * mp.log(2) - mp.fsum(mp.digamma((df - i) / 2) for i in range(n))
    return (df + n + 1) / 2 * mean_log_det + df * n / 2 - log_constant


def lkj_log_constant(n: int, c: Any) -> Any:
    """The volume of Lewandowski, Kurowicka and Joe (2009), eq. 16: a product over the vines, not over the rows."""
    ks = range(1, n)
    powers = mp.fsum((2 * c - 2 + n - k) * (n - k) for k in ks) * mp.log(2)
    return powers + mp.fsum((n - k) * mp.log(mp.beta(*[c + mp.mpf(n - k - 1) / 2] * 2)) for k in ks)


def lkj(x: Any, c: Any) -> Any:
    return (c - 1) * mp.log(mp.det(x)) - lkj_log_constant(x.rows, c)


def lkj_cholesky(x: Any, c: Any) -> Any:
    n = x.rows
    volume = mp.fsum((n - 1 - j) * mp.log(x[j, j]) for j in range(n))  # of L L^T about L, below the diagonal
    return lkj(x * x.T, c) + volume


def lkj_entropy(n: int, c: Any, factor: bool) -> Any:
    """In an exponential family the mean of the statistic, here log det, is the slope of the log constant."""
    entropy = lkj_log_constant(n, c) - (c - 1) * mp.diff(lambda t: lkj_log_constant(n, t), c)
    if factor:
        sides = [(i, c + mp.mpf(n - 1 - i) / 2) for i in range(1, n)]
        entropy -= mp.fsum((n - 1 - i) * (mp.digamma(a) - mp.digamma(a + mp.mpf(i) / 2)) for i, a in sides) / 2
    return entropy


def multivariate_t(x: Any, df: Any, loc: Any, scale: Any) -> Any:
    n, gap = x.rows, x - loc
    distance = (gap.T * mp.lu_solve(scale, gap))[0]
    if mp.isinf(df):
        return -(distance + mp.log(mp.det(scale)) + n * mp.log(2 * mp.pi)) / 2
    constant = mp.loggamma((df + n) / 2) - mp.loggamma(df / 2) - mp.mpf(n) / 2 * mp.log(df * mp.pi)
    return constant - mp.log(mp.det(scale)) / 2 - (df + n) / 2 * mp.log1p(distance / df)


def multivariate_t_entropy(df: Any, scale: Any) -> Any:
    n = scale.rows
    if mp.isinf(df):
        return (n + n * mp.log(2 * mp.pi) + mp.log(mp.det(scale))) / 2
    at_loc = multivariate_t(mp.zeros(n, 1), df, mp.zeros(n, 1), scale)
    return (df + n) / 2 * (mp.digamma((df + n) / 2) - mp.digamma(df / 2)) - at_loc


def weights(n: int) -> np.ndarray:
    """Directions to look along: the axes, and one across them."""
    return np.vstack([np.eye(n), np.arange(1.0, n + 1) * (-1) ** np.arange(n)])


def along(w: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.einsum("i,...ij,j->...", w, matrix, w)


def noisy_factor(shape: tuple[int, ...]) -> np.ndarray:
    """Seven lower-triangular matrices of each kind, with a positive diagonal."""
    noise = np.random.default_rng(0).normal(size=(7, *shape))
    return np.tril(0.4 * noise, -1) + np.exp(0.5 * noise) * np.eye(shape[-1])


@dataclass(frozen=True)
class Wishart:
    """Positive definite matrices x; w'xw is a multiple of a chi-square variable, and so is 1 / (w' x^-1 w).

    With `inverse`, it is x^-1 that has this law, with the inverse of `scale`.
    """

    df: np.ndarray
    scale: np.ndarray
    inverse: bool = False

    def _shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.df.shape, self.scale.shape[:-2]) + self.scale.shape[-2:]

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return over_events(inverse_wishart if self.inverse else wishart, (x, 2), (self.df, 0), (self.scale, 2))

    def points(self) -> np.ndarray:
        root = np.linalg.cholesky(self.mean_of_kind()) @ noisy_factor(self._shape())
        return root @ np.swapaxes(root, -1, -2)

    def mean_of_kind(self) -> np.ndarray:
        """Something like a mean, also where there is none."""
        df = self.df[..., None, None]
        return self.scale / df if self.inverse else self.scale * df

    @property
    def mean(self) -> np.ndarray:
        df, n = self.df[..., None, None], self.scale.shape[-1]
        if not self.inverse:
            return self.scale * df
        none = np.where(np.eye(n) > 0, np.inf, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(df > n + 1, self.scale / (df - n - 1), none)

    @property
    def variance(self) -> np.ndarray:
        df, n = self.df[..., None, None], self.scale.shape[-1]
        square, diagonal = self.scale**2, np.diagonal(self.scale, axis1=-2, axis2=-1)
        outer = diagonal[..., :, None] * diagonal[..., None, :]
        if not self.inverse:
            return df * (square + outer)
        with np.errstate(divide="ignore", invalid="ignore"):
            finite = ((df - n + 1) * square + (df - n - 1) * outer) / ((df - n) * (df - n - 1) ** 2 * (df - n - 3))
        return np.where(df > n + 3, finite, np.inf)

    def entropy(self) -> np.ndarray:
        return over_events(inverse_wishart_entropy if self.inverse else wishart_entropy, (self.df, 0), (self.scale, 2))

    def assert_fits(self, draws: np.ndarray) -> None:
        n = self.scale.shape[-1]
        scale, x = (np.linalg.inv(self.scale), np.linalg.inv(draws)) if self.inverse else (self.scale, draws)
        for w in weights(n):
            assert_uniform(stats.chi2(self.df).cdf(along(w, x) / along(w, scale)))
            ratio = along(w, np.linalg.inv(scale)) / along(w, draws if self.inverse else np.linalg.inv(x))
            assert_uniform(stats.chi2(self.df - n + 1).cdf(ratio))


@dataclass(frozen=True)
class Correlations:
    """Correlation matrices (or their factors) with density det**(c-1); each correlation is a beta variable."""

    dim: int
    concentration: np.ndarray
    factor: bool = False

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return over_events(lkj_cholesky if self.factor else lkj, (x, 2), (self.concentration, 0))

    def points(self) -> np.ndarray:
        rows = noisy_factor((*self.concentration.shape, self.dim, self.dim))
        root = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        return root if self.factor else root @ np.swapaxes(root, -1, -2)

    def _last(self, i: int) -> tuple[np.ndarray, float]:
        """L_ii^2 is beta with these, for rows counted from 0."""
        return self.concentration + (self.dim - 1 - i) / 2, i / 2

    @property
    def mean(self) -> np.ndarray:
        out = np.broadcast_to(np.eye(self.dim), (*self.concentration.shape, self.dim, self.dim)).copy()
        for i in range(1, self.dim if self.factor else 0):
            out[..., i, i] = exact.each(
                lambda a, b: mp.beta(a + 0.5, b) / mp.beta(a, b), self._last(i)[0], b=np.asarray(i / 2)
            )
        return out

    @property
    def variance(self) -> np.ndarray:
        n, c = self.dim, self.concentration[..., None, None]
        if not self.factor:
            return np.where(np.eye(n) > 0, 0.0, 1 / (2 * c + n - 1))
        out = np.zeros((*self.concentration.shape, n, n))
        for i in range(1, n):
            a, b = self._last(i)
            out[..., i, :i] = (0.5 / (a + b))[..., None]
            out[..., i, i] = exact.each(
                lambda a, b: a / (a + b) - (mp.beta(a + 0.5, b) / mp.beta(a, b)) ** 2, a, b=np.asarray(b)
            )
        return out

    def entropy(self) -> np.ndarray:
        return exact.each(lambda c: lkj_entropy(self.dim, c, self.factor), self.concentration)

    def assert_fits(self, draws: np.ndarray) -> None:
        n = self.dim
        x = draws @ np.swapaxes(draws, -1, -2) if self.factor else draws
        half = self.concentration - 1 + n / 2
        for i in range(n):
            for j in range(i):
                assert_uniform(stats.beta(half, half).cdf((x[..., i, j] + 1) / 2))
            # how much of one variable the others leave unexplained: the joint law, not pairs alone
            left = 1 / np.linalg.inv(x)[..., i, i]
            assert_uniform(stats.beta(self.concentration, (n - 1) / 2).cdf(left))


@dataclass(frozen=True)
class MultivariateStudentT:
    """Vectors; every linear combination of the coordinates is a Student t variable."""

    df: np.ndarray
    loc: np.ndarray
    scale_tril: np.ndarray

    def _scale(self) -> np.ndarray:
        return self.scale_tril @ np.swapaxes(self.scale_tril, -1, -2)

    def _shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes((*self.df.shape, 1), self.loc.shape, self.scale_tril.shape[:-1])

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return over_events(multivariate_t, (x, 1), (self.df, 0), (self.loc, 1), (self._scale(), 2))

    def points(self) -> np.ndarray:
        noise = np.random.default_rng(0).normal(size=(7, *self._shape()))
        return self.loc + 2 * np.einsum("...ij,...j->...i", self.scale_tril, noise)

    @property
    def mean(self) -> np.ndarray:
        return np.where(self.df[..., None] > 1, self.loc, np.nan) + np.zeros(self._shape())

    @property
    def variance(self) -> np.ndarray:
        return stats.t(self.df).var()[..., None] * np.diagonal(self._scale(), axis1=-2, axis2=-1) + np.zeros(
            self._shape()
        )

    def entropy(self) -> np.ndarray:
        wide = np.zeros(self._shape()[:-1]) + self.df
        return over_events(multivariate_t_entropy, (wide, 0), (self._scale(), 2))

    def assert_fits(self, draws: np.ndarray) -> None:
        n = draws.shape[-1]
        gap = draws - self.loc
        for w in weights(n):
            assert_uniform(stats.t(self.df).cdf((gap * w).sum(-1) / np.sqrt(along(w, self._scale()))))
        distance = np.einsum("...i,...ij,...j->...", gap, np.linalg.inv(self._scale()), gap)
        law = stats.f(n, np.minimum(self.df, 1e12))  # scipy's has no limit at infinity
        assert_uniform(law.cdf(distance / n))

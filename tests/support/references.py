"""What a family is held against: scipy's frozen laws, mpmath's formulas, and small exact ones.

Every reference works in float64 on the very numbers the family was given, whatever their dtype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from . import exact
from .exact import Exact
from .statistics import assert_frequencies, assert_mean, assert_uniform

LEVELS = np.array([1e-4, 0.01, 0.1, 0.3, 0.5, 0.6, 0.8, 0.95, 0.999])


@dataclass(frozen=True)
class Line:
    """A law on the line: quantiles and moments by scipy, densities and tails by mpmath."""

    law: Any
    exact: Exact
    parameters: dict[str, np.ndarray]
    discrete: bool = False
    ends: tuple[float | np.ndarray, float | np.ndarray] = (-np.inf, np.inf)
    """Points are kept between these: nearer the edge, neighbouring floats already differ in density."""

    def _each(self, formula: Any, x: np.ndarray) -> np.ndarray:
        return exact.each(formula, x, **self.parameters)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return self._each(self.exact.log_prob, x)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return self._each(self.exact.cdf, x)

    def sf(self, x: np.ndarray) -> np.ndarray:
        return self._each(self.exact.sf, x)

    def log_cdf(self, x: np.ndarray) -> np.ndarray:
        return exact.each(lambda x, **p: exact.log(self.exact.cdf(x, **p)), x, **self.parameters)

    def log_sf(self, x: np.ndarray) -> np.ndarray:
        return exact.each(lambda x, **p: exact.log(self.exact.sf(x, **p)), x, **self.parameters)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        return self.law.ppf(self._outer(levels))

    def upper_quantile(self, levels: np.ndarray) -> np.ndarray:
        return self.law.isf(self._outer(levels))

    def panels(self, levels: np.ndarray) -> np.ndarray:
        """Points between which the density is smooth, increasing along the first dimension."""
        return self.quantile(levels)

    def _outer(self, levels: np.ndarray) -> np.ndarray:
        batch = np.broadcast_shapes(*(v.shape for v in self.parameters.values()))
        return levels.reshape(levels.shape + (1,) * len(batch))

    def points(self) -> np.ndarray:
        return np.clip(self.quantile(LEVELS), *self.ends)

    @property
    def mean(self) -> np.ndarray:
        return self.law.mean()

    @property
    def variance(self) -> np.ndarray:
        return self.law.var()

    def entropy(self) -> np.ndarray:
        if not self.discrete:
            return self.law.entropy()
        top = np.max(self.law.ppf(1 - 1e-15)) + 30  # scipy's own sum gives up at large rates
        cells = np.arange(top)
        mass = self.law.pmf(self._outer(cells))
        return special.entr(mass).sum(0)

    def assert_fits(self, draws: np.ndarray) -> None:
        """`draws`, shape (n,) + B, come from this law."""
        if not self.discrete:
            assert_uniform(self.law.cdf(draws))
            return
        flat = draws.reshape(len(draws), -1)
        for i in range(flat.shape[1]):
            top = int(flat[:, i].max()) + 1
            cells = np.arange(top + 1).reshape((-1,) + (1,) * (draws.ndim - 1))
            mass = np.exp(self.law.logpmf(cells)) + np.zeros(draws.shape[1:])
            mass = mass.reshape(top + 1, -1)[:, i]
            counts = np.bincount(flat[:, i].astype(int), minlength=top + 1)
            assert_frequencies(np.append(counts, 0), np.append(mass, max(0.0, 1 - mass.sum())))


@dataclass(frozen=True)
class Finite:
    """Masses on 0, 1, ..., K - 1 along the last dimension of `probs`."""

    probs: np.ndarray

    def _flat(self) -> np.ndarray:
        return self.probs / self.probs.sum(-1, keepdims=True)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        p = self._flat()
        x = x.astype(int)
        p = np.broadcast_to(p, np.broadcast_shapes(x.shape, p.shape[:-1]) + p.shape[-1:])
        with np.errstate(divide="ignore"):
            return np.log(np.take_along_axis(p, np.broadcast_to(x, p.shape[:-1])[..., None], -1)[..., 0])

    def cdf(self, x: np.ndarray) -> np.ndarray:
        p = self._flat()
        return (p * (np.arange(p.shape[-1]) <= x[..., None])).sum(-1)

    def sf(self, x: np.ndarray) -> np.ndarray:
        p = self._flat()
        return (p * (np.arange(p.shape[-1]) > x[..., None])).sum(-1)

    def log_cdf(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(self.cdf(x))

    def log_sf(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(self.sf(x))

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        p = self._flat()
        reached = p.cumsum(-1) >= levels.reshape(levels.shape + (1,) * p.ndim) - 1e-15
        return reached.argmax(-1).astype(float)

    def points(self) -> np.ndarray:
        p = self._flat()
        values = np.arange(p.shape[-1], dtype=float).reshape((-1,) + (1,) * (p.ndim - 1))
        return values + np.zeros(p.shape[:-1])

    @property
    def mean(self) -> np.ndarray:
        return (self._flat() * np.arange(self.probs.shape[-1])).sum(-1)

    @property
    def variance(self) -> np.ndarray:
        return (self._flat() * (np.arange(self.probs.shape[-1]) - self.mean[..., None]) ** 2).sum(-1)

    def entropy(self) -> np.ndarray:
        return special.entr(self._flat()).sum(-1)

    def assert_fits(self, draws: np.ndarray) -> None:
        columns = draws.reshape(len(draws), -1).T.astype(int)
        rows = self._flat().reshape(-1, self.probs.shape[-1])
        for column, row in zip(columns, rows, strict=True):
            assert_frequencies(np.bincount(column, minlength=len(row)), row)


@dataclass(frozen=True)
class Dirichlet:
    """Vectors on the simplex; each coordinate alone follows a beta law."""

    concentration: np.ndarray

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return exact.dirichlet(x, self.concentration)

    def points(self) -> np.ndarray:
        noise = np.random.default_rng(0).normal(size=(7, *self.concentration.shape))
        return special.softmax(noise, -1)

    @property
    def mean(self) -> np.ndarray:
        return self.concentration / self.concentration.sum(-1, keepdims=True)

    @property
    def variance(self) -> np.ndarray:
        return self.mean * (1 - self.mean) / (self.concentration.sum(-1, keepdims=True) + 1)

    def entropy(self) -> np.ndarray:
        rows = self.concentration.reshape(-1, self.concentration.shape[-1])
        return np.array([stats.dirichlet(a).entropy() for a in rows]).reshape(self.concentration.shape[:-1])

    def assert_fits(self, draws: np.ndarray) -> None:
        rest = self.concentration.sum(-1, keepdims=True) - self.concentration
        assert_uniform(stats.beta(self.concentration, rest).cdf(draws))
        merged = draws[..., 0] + draws[..., -1]  # a sum of coordinates is beta too: the joint law, not margins alone
        a = self.concentration[..., 0] + self.concentration[..., -1]
        assert_uniform(stats.beta(a, self.concentration.sum(-1) - a).cdf(merged))


@dataclass(frozen=True)
class MultivariateNormal:
    """Vectors; every linear combination of the coordinates is normal."""

    loc: np.ndarray
    covariance: np.ndarray

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return exact.multivariate_normal(x, self.loc, self.covariance)

    def points(self) -> np.ndarray:
        shape = np.broadcast_shapes(self.loc.shape, self.covariance.shape[:-1])
        noise = np.random.default_rng(0).normal(size=(7, *shape))
        return self.loc + np.einsum("...ij,...j->...i", np.linalg.cholesky(self.covariance), noise)

    @property
    def mean(self) -> np.ndarray:
        return np.broadcast_to(self.loc, np.broadcast_shapes(self.loc.shape, self.covariance.shape[:-1]))

    @property
    def variance(self) -> np.ndarray:
        return np.broadcast_to(np.diagonal(self.covariance, axis1=-2, axis2=-1), self.mean.shape)

    def entropy(self) -> np.ndarray:
        d = self.loc.shape[-1]
        value = 0.5 * (d + d * np.log(2 * np.pi) + np.linalg.slogdet(self.covariance)[1])
        return np.broadcast_to(value, self.mean.shape[:-1])

    def assert_fits(self, draws: np.ndarray) -> None:
        d = draws.shape[-1]
        for weights in np.vstack([np.eye(d), np.arange(1.0, d + 1) * (-1) ** np.arange(d)]):
            spread = np.sqrt(np.einsum("i,...ij,j->...", weights, self.covariance, weights))
            assert_uniform(stats.norm((self.loc * weights).sum(-1), spread).cdf((draws * weights).sum(-1)))


@dataclass(frozen=True)
class Atom:
    """One point `v` with the log density stated there."""

    v: np.ndarray
    log_density: np.ndarray
    event_dim: int = 0

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        here = x == self.v
        here = here.reshape((*here.shape[: here.ndim - self.event_dim], -1)).all(-1) if self.event_dim else here
        return np.where(here, self.log_density, -np.inf)

    def points(self) -> np.ndarray:
        return np.stack([self.v, self.v])

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return (x >= self.v).astype(float)

    def sf(self, x: np.ndarray) -> np.ndarray:
        return (x < self.v).astype(float)

    def log_cdf(self, x: np.ndarray) -> np.ndarray:
        return np.where(x >= self.v, 0.0, -np.inf)

    def log_sf(self, x: np.ndarray) -> np.ndarray:
        return np.where(x < self.v, 0.0, -np.inf)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.v, levels.shape + self.v.shape)

    @property
    def mean(self) -> np.ndarray:
        return self.v

    @property
    def variance(self) -> np.ndarray:
        return np.zeros_like(self.v)

    def entropy(self) -> np.ndarray:
        return -np.broadcast_to(self.log_density, self.v.shape[: self.v.ndim - self.event_dim])

    def assert_fits(self, draws: np.ndarray) -> None:
        assert_mean(draws, self.v, slack=0.0)
        assert np.all(draws == self.v)

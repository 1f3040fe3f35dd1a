"""Densities and distribution functions in mpmath, 40 digits, one number at a time: the judges of last resort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

mp = mpmath.mp.clone()
mp.dps = 40

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Exact:
    """log_prob(x, **parameters), and P(X <= x) and P(X > x) where the family lives on the line."""

    log_prob: Formula
    cdf: Formula | None = None
    sf: Formula | None = None


def each(formula: Formula, x: np.ndarray, **parameters: np.ndarray) -> np.ndarray:
    """`formula` at every entry of the broadcast arguments, as float64."""
    names = list(parameters)
    arrays = np.broadcast_arrays(x, *parameters.values())
    out = np.empty(arrays[0].shape)
    for where in np.ndindex(out.shape):
        value, *given = (mp.mpf(float(a[where])) for a in arrays)
        out[where] = float(formula(value, **dict(zip(names, given, strict=True))))
    return out


def log(x: Any) -> Any:
    """log, with log 0 = -inf."""
    return mp.log(x) if x > 0 else mp.ninf


def xlogy(x: Any, y: Any) -> Any:
    """x log y, with 0 log 0 = 0."""
    return mp.mpf(0) if x == 0 else x * log(y)


def _upper(z: Any) -> Any:
    return mp.erfc(z / mp.sqrt(2)) / 2


def _normal(x: Any, loc: Any, scale: Any) -> Any:
    return -(((x - loc) / scale) ** 2) / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2


NORMAL = Exact(
    _normal,
    lambda x, loc, scale: _upper((loc - x) / scale),
    lambda x, loc, scale: _upper((x - loc) / scale),
)
LOG_NORMAL = Exact(
    lambda x, loc, scale: _normal(log(x), loc, scale) - log(x),
    lambda x, loc, scale: _upper((loc - log(x)) / scale),
    lambda x, loc, scale: _upper((log(x) - loc) / scale),
)
HALF_NORMAL = Exact(
    lambda x, scale: mp.log(2) + _normal(x, 0, scale),
    lambda x, scale: mp.erf(x / scale / mp.sqrt(2)),
    lambda x, scale: mp.erfc(x / scale / mp.sqrt(2)),
)
HALF_CAUCHY = Exact(
    lambda x, scale: mp.log(2 / mp.pi / scale) - mp.log1p((x / scale) ** 2),
    lambda x, scale: mp.atan(x / scale) * 2 / mp.pi,
    lambda x, scale: mp.atan2(scale, x) * 2 / mp.pi,
)
CAUCHY = Exact(
    lambda x, loc, scale: -mp.log(mp.pi * scale) - mp.log1p(((x - loc) / scale) ** 2),
    lambda x, loc, scale: mp.atan2(scale, loc - x) / mp.pi,
    lambda x, loc, scale: mp.atan2(scale, x - loc) / mp.pi,
)
GAMMA = Exact(
    lambda x, concentration, rate: (
        concentration * mp.log(rate) + xlogy(concentration - 1, x) - rate * x - mp.loggamma(concentration)
    ),
    lambda x, concentration, rate: mp.gammainc(concentration, 0, rate * x, regularized=True),
    lambda x, concentration, rate: mp.gammainc(concentration, rate * x, mp.inf, regularized=True),
)
EXPONENTIAL = Exact(
    lambda x, rate: mp.log(rate) - rate * x,
    lambda x, rate: -mp.expm1(-rate * x),
    lambda x, rate: mp.exp(-rate * x),
)
BETA = Exact(
    lambda x, concentration1, concentration0: (
        xlogy(concentration1 - 1, x)
        + xlogy(concentration0 - 1, 1 - x)
        + mp.loggamma(concentration1 + concentration0)
        - mp.loggamma(concentration1)
        - mp.loggamma(concentration0)
    ),
    lambda x, concentration1, concentration0: mp.betainc(concentration1, concentration0, 0, x, regularized=True),
    lambda x, concentration1, concentration0: mp.betainc(concentration0, concentration1, 0, 1 - x, regularized=True),
)
UNIFORM = Exact(
    lambda x, low, high: -mp.log(high - low),
    lambda x, low, high: (x - low) / (high - low),
    lambda x, low, high: (high - x) / (high - low),
)
BERNOULLI = Exact(
    lambda x, probs: log(probs) if x == 1 else log(1 - probs),
    lambda x, probs: 1 - probs if x < 1 else mp.mpf(1),
    lambda x, probs: probs if x < 1 else mp.mpf(0),
)
BERNOULLI_LOGITS = Exact(
    lambda x, logits: -mp.log1p(mp.exp(-logits if x == 1 else logits)),
    lambda x, logits: 1 / (1 + mp.exp(logits)) if x < 1 else mp.mpf(1),
    lambda x, logits: 1 / (1 + mp.exp(-logits)) if x < 1 else mp.mpf(0),
)
POISSON = Exact(
    lambda x, rate: xlogy(x, rate) - rate - mp.loggamma(x + 1),
    lambda x, rate: mp.gammainc(mp.floor(x) + 1, rate, mp.inf, regularized=True),
    lambda x, rate: mp.gammainc(mp.floor(x) + 1, 0, rate, regularized=True),
)


def dirichlet(x: np.ndarray, concentration: np.ndarray) -> np.ndarray:
    """The log density of Dirichlet at each vector along the last dimension."""
    x, concentration = np.broadcast_arrays(x, concentration)
    out = np.empty(x.shape[:-1])
    for where in np.ndindex(out.shape):
        a = [mp.mpf(float(v)) for v in concentration[where]]
        terms = [xlogy(c - 1, mp.mpf(float(v))) - mp.loggamma(c) for v, c in zip(x[where], a, strict=True)]
        out[where] = float(mp.fsum(terms) + mp.loggamma(mp.fsum(a)))
    return out


def multivariate_normal(x: np.ndarray, loc: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The log density of a multivariate normal at each vector along the last dimension."""
    batch = np.broadcast_shapes(x.shape[:-1], loc.shape[:-1], covariance.shape[:-2])
    x, loc = (np.broadcast_to(v, batch + v.shape[-1:]) for v in (x, loc))
    covariance = np.broadcast_to(covariance, batch + covariance.shape[-2:])
    out = np.empty(batch)
    for where in np.ndindex(batch):
        gap = mp.matrix(x[where].tolist()) - mp.matrix(loc[where].tolist())
        square = mp.matrix(covariance[where].tolist())
        distance = (gap.T * mp.lu_solve(square, gap))[0]
        out[where] = float(-(distance + mp.log(mp.det(square)) + len(gap) * mp.log(2 * mp.pi)) / 2)
    return out

"""Densities and distribution functions in mpmath, 50 digits, one number at a time: the judges of last resort.

mpmath's own incomplete gamma and beta functions give up or take minutes for parameters of 1e8; those here are written
from their power series and continued fractions (DLMF 8.7, 8.9, 8.17), which are none of the methods that they judge.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import mpmath
import numpy as np

mp = mpmath.mp.clone()
mp.dps = 50

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


SPARE = 60  # digits more than asked, for what cancels between terms of size 1e9 and in 1 - P
BITS = 380


def _series(factors: Iterator[tuple[int, int]]) -> Any:
    """1 + r_1 + r_1 r_2 + ... for ratios r = numerator/denominator, in fixed point.

    Python's own integers are ten times as fast as mpmath's floats, and near the mode of a law of size 1e8 it takes
    2e5 terms.
    """
    term = total = 1 << BITS
    for numerator, denominator in factors:
        term = term * numerator // denominator
        total += term
        if term < total >> (BITS - 100) and numerator < denominator:
            return mp.mpf(total) / (1 << BITS)
    raise AssertionError("the factors have no end")


def _fixed(x: Any) -> int:
    return int(mp.floor(mp.ldexp(x, BITS)))


def _fraction(terms: Iterator[tuple[Any, Any]]) -> Any:
    """a_1 / (b_1 + a_2 / (b_2 + ...)): the method of Lentz, as Thompson and Barnett (1986) have it."""
    value = c = mp.mpf(10) ** -1000
    d, one = mp.mpf(0), mp.mpf(10) ** -(mp.dps - 20)
    for a, b in terms:
        d = 1 / (b + a * d)
        c = b + a / c
        value *= c * d
        if abs(c * d - 1) < one:
            break
    return value


@functools.lru_cache(maxsize=4096)
def gamma_tails(a: Any, x: Any) -> tuple[Any, Any]:
    """P(a, x) and Q(a, x), each to 50 digits of itself. DLMF 8.7.1, 8.9.2."""
    if x <= 0 or mp.isinf(x):
        return (mp.mpf(0), mp.mpf(1)) if x <= 0 else (mp.mpf(1), mp.mpf(0))
    with mp.workdps(mp.dps + SPARE):
        front = mp.exp(a * mp.log(x) - x - mp.loggamma(a))
        if x < a + 30:
            wide_x, wide_a = _fixed(x), _fixed(a)
            p = front / a * _series((wide_x, wide_a + (n << BITS)) for n in count(1))
            return p, 1 - p
        q = front * _fraction((n * (a - n) if n else mp.mpf(1), x + 2 * n + 1 - a) for n in count())
        return 1 - q, q


@functools.lru_cache(maxsize=4096)
def beta_tails(a: Any, b: Any, x: Any, y: Any = None) -> tuple[Any, Any]:
    """I_x(a, b) and 1 - I_x(a, b) = I_y(b, a), y = 1 - x, each to 50 digits of itself. DLMF 8.17.8, 8.17.22."""
    y = 1 - x if y is None else y
    if x <= 0 or y <= 0:
        return (mp.mpf(0), mp.mpf(1)) if x <= 0 else (mp.mpf(1), mp.mpf(0))
    if b * x > a * y:
        return beta_tails(b, a, y, x)[::-1]
    with mp.workdps(mp.dps + SPARE):
        if x > 0.5 and y * (a + b) < 100:  # the fraction is slow, the other tail's series short: 1 - q loses 44 digits
            q = _front(b, a, y, x) * _beta_series(b, a, y)
            return 1 - q, q
        if x * (a + b) < 100:
            p = _front(a, b, x, y) * _beta_series(a, b, x)
        else:
            p = _front(a, b, x, y) * _fraction(_beta_fraction(a, b, x))
        return p, 1 - p


def _front(a: Any, b: Any, x: Any, y: Any) -> Any:
    """x^a y^b / (a B(a, b))."""
    log_x, log_y = (mp.log(u) if u < 0.5 else mp.log1p(-v) for u, v in ((x, y), (y, x)))
    log_beta = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return mp.exp(a * log_x + b * log_y - log_beta) / a


def _beta_series(a: Any, b: Any, x: Any) -> Any:
    wide_x, wide_a, wide_n = _fixed(x), _fixed(a), _fixed(a + b)
    return _series((wide_x * (wide_n + (n << BITS)), (wide_a + ((n + 1) << BITS)) << BITS) for n in count())


def _beta_fraction(a: Any, b: Any, x: Any) -> Iterator[tuple[Any, Any]]:
    one = mp.mpf(1)
    yield one, one
    for m in count():
        yield -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)), one
        yield (m + 1) * (b - m - 1) * x / ((a + 2 * m + 1) * (a + 2 * m + 2)), one


def _upper(z: Any) -> Any:
    return mp.erfc(z / mp.sqrt(2)) / 2


def _normal(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    return -(((x - loc) / scale) ** 2) / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2


NORMAL = Exact(
    _normal,
    lambda x, loc=0, scale=1: _upper((loc - x) / scale),
    lambda x, loc=0, scale=1: _upper((x - loc) / scale),
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
    lambda x, concentration, rate: gamma_tails(concentration, rate * x)[0],
    lambda x, concentration, rate: gamma_tails(concentration, rate * x)[1],
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
    lambda x, concentration1, concentration0: beta_tails(concentration1, concentration0, x)[0],
    lambda x, concentration1, concentration0: beta_tails(concentration1, concentration0, x)[1],
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
    lambda x, rate: gamma_tails(mp.floor(x) + 1, rate)[1] if x >= 0 else mp.mpf(0),
    lambda x, rate: gamma_tails(mp.floor(x) + 1, rate)[0] if x >= 0 else mp.mpf(1),
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

"""Rows of families on a bounded interval, with their formulas and laws in mpmath."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributions as td
from scipy import optimize, special

import ppl_dist as dist

from .. import exact, references
from ..exact import SPARE, Exact, mp
from ..table import CONTINUOUS, SHAPES, Accuracy, Row, case, line


def _logit(probs: Any) -> Any:
    return mp.log(probs / (1 - probs))


def _tilted_log_prob(x: Any, t: Any) -> Any:
    return mp.mpf(0) if t == 0 else t * x + mp.log(t / mp.expm1(t))


def _tilted_cdf(x: Any, t: Any) -> Any:
    return x if t == 0 else mp.expm1(t * x) / mp.expm1(t)


def _tilted_sf(x: Any, t: Any) -> Any:
    return _tilted_cdf(1 - x, -t)


def _tilted_ppf(p: Any, t: Any) -> Any:
    return p if t == 0 or p == 1 else mp.log1p(p * mp.expm1(t)) / t


def _tilted_mean(t: Any) -> Any:
    return mp.mpf(1) / 2 if t == 0 else 1 - 1 / t + 1 / mp.expm1(t)


def _tilted_variance(t: Any) -> Any:
    return mp.mpf(1) / 12 if t == 0 else 1 / t**2 - 1 / (4 * mp.sinh(t / 2) ** 2)


@dataclass(frozen=True)
class Tilted:
    """What scipy would have of the continuous Bernoulli law."""

    logit: Callable[..., Any]
    parameters: dict[str, np.ndarray]

    def _each(self, formula: Callable[..., Any], x: Any) -> np.ndarray:
        return exact.each(lambda x, **p: formula(x, self.logit(**p)), np.asarray(x, float), **self.parameters)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return self._each(_tilted_ppf, p)

    def isf(self, q: np.ndarray) -> np.ndarray:
        return self._each(lambda q, t: 1 - _tilted_ppf(q, -t), q)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        t = self._each(lambda _, t: t, 0.0)
        with np.errstate(invalid="ignore", over="ignore"):
            level = np.where(t > 0, np.exp(-t * (1 - x)), 1) * np.expm1(-np.abs(t) * x) / np.expm1(-np.abs(t))
        return np.where(t == 0, x, level)

    def sf(self, x: np.ndarray) -> np.ndarray:
        return 1 - self.cdf(x)

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        return self._each(_tilted_log_prob, x)

    def mean(self) -> np.ndarray:
        return self._each(lambda _, t: _tilted_mean(t), 0.0)

    def var(self) -> np.ndarray:
        return self._each(lambda _, t: _tilted_variance(t), 0.0)

    def entropy(self) -> np.ndarray:
        return self._each(lambda _, t: -_tilted_log_prob(_tilted_mean(t), t), 0.0)


def _continuous_bernoulli(**p: np.ndarray) -> references.Line:
    logit = _logit if "probs" in p else lambda logits: logits
    formulas = (_tilted_log_prob, _tilted_cdf, _tilted_sf)
    given = Exact(*(lambda x, formula=f, **q: formula(x, logit(*q.values())) for f in formulas))
    return references.Line(Tilted(lambda **q: logit(*q.values()), p), given, p)


@functools.cache
def _legendre(n: int) -> list[tuple[Any, Any]]:
    """Nodes and weights of Gauss's rule on [0, 1]."""
    rule = []
    with mp.workdps(mp.dps + SPARE):
        for k in range(n):
            t = mp.cos(mp.pi * (k + 0.75) / (n + 0.5))
            for _ in range(8):
                below, here = mp.mpf(1), t
                for j in range(2, n + 1):
                    below, here = here, ((2 * j - 1) * t * here - (j - 1) * below) / j
                slope = n * (below - t * here) / (1 - t * t)
                t -= here / slope
            rule.append(((1 - t) / 2, 1 / ((1 - t * t) * slope**2)))
    return rule


@functools.lru_cache(maxsize=4096)
def _fall(k: Any, y: Any) -> Any:
    """The integral of exp(k (cos v - 1)) from y in [0, pi] to pi, to 50 digits of itself.

    Panel by panel, each so long that the exponent falls by 40, to where it has fallen by 200.
    """
    total, start = mp.mpf(0), y
    while start < mp.pi and k * (mp.cos(y) - mp.cos(start)) < 200:
        below = mp.cos(start) - 40 / k
        length = mp.acos(below) - start if below > -1 else mp.pi - start
        panel = (w * mp.exp(-2 * k * mp.sin((start + length * t) / 2) ** 2) for t, w in _legendre(64))
        total += length * mp.fsum(panel)
        start += length
    return total


def _share(start: Any, end: Any, loc: Any, concentration: Any) -> Any:
    """The mass between two angles, in pieces on which the density is monotone."""
    with mp.workdps(mp.dps + SPARE):
        first, last = start - loc, end - loc
        turns = range(int(mp.floor(first / mp.pi)), int(mp.floor(last / mp.pi)) + 1)
        mass = mp.mpf(0)
        for turn in turns:
            low, high = max(first, turn * mp.pi) - turn * mp.pi, min(last, (turn + 1) * mp.pi) - turn * mp.pi
            near, far = (low, high) if turn % 2 == 0 else (mp.pi - high, mp.pi - low)
            mass += _fall(concentration, near) - _fall(concentration, far)
        return mass / (2 * _fall(concentration, mp.mpf(0)))


PI = mp.mpf(float(np.pi))  # the end of the support, as a float
VON_MISES = Exact(
    lambda x, loc, concentration: (
        concentration * mp.cos(x - loc) - mp.log(2 * mp.pi) - mp.log(mp.besseli(0, concentration))
    ),
    lambda x, loc, concentration: _share(-PI, x, loc, concentration),
    lambda x, loc, concentration: _share(x, PI, loc, concentration),
)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
MANY = 1000  # points


@dataclass(frozen=True)
class VonMises:
    """The law on [-pi, pi], where scipy's runs over the whole line: by quadrature in float64, and roots of its log."""

    loc: np.ndarray
    concentration: np.ndarray

    def _mass(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        edges = np.linspace(start, end, 200)
        middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
        x = middle + half * NODES.reshape((-1,) + (1,) * middle.ndim)
        weights = WEIGHTS.reshape((-1,) + (1,) * middle.ndim)
        return (weights * half * np.exp(self.logpdf(x))).sum((0, 1))

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        scaled = self.concentration * (np.cos(x - self.loc) - 1)
        return scaled - np.log(2 * np.pi * special.i0e(self.concentration))

    def cdf(self, x: np.ndarray) -> np.ndarray:
        whole = np.broadcast_arrays(x, self.loc + self.concentration)[0]
        if len(np.atleast_1d(whole)) > MANY:  # draws, for which a table will do
            return self._looked_up(whole)
        return np.concatenate([self._mass(np.full_like(part, -np.pi), part) for part in np.array_split(whole, 40)])

    def _looked_up(self, x: np.ndarray) -> np.ndarray:
        """The distribution function to about 1e-8, by trapezoids over a fine table."""
        columns, out = x.reshape(len(x), -1), np.empty(x.shape).reshape(len(x), -1)
        loc, k = (np.broadcast_to(v, x.shape[1:]).ravel() for v in (self.loc, self.concentration))
        table = np.linspace(-np.pi, np.pi, 400_001)
        for i, one in enumerate(map(VonMises, loc, k)):
            density = np.exp(one.logpdf(table))
            mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * (table[1] - table[0]))])
            out[:, i] = np.interp(columns[:, i], table, mass)
        return out.reshape(x.shape)

    def _inverse(self, p: np.ndarray, *, upper: bool) -> np.ndarray:
        p, loc, k = np.broadcast_arrays(p, self.loc, self.concentration)
        out = np.empty(p.shape)
        for at in np.ndindex(p.shape):
            one = VonMises(loc[at], k[at])

            def gap(x: float, one: VonMises = one, level: float = p[at]) -> float:
                mass = one._mass(x, np.pi) if upper else one._mass(-np.pi, x)
                return float(np.log(mass + 1e-320) - np.log(level))

            ends = (np.pi, -np.pi) if upper else (-np.pi, np.pi)
            if k[at] > 5e3:  # 2 sqrt(k) sin(y / 2) is all but normal
                z = special.ndtri(p[at]) * (-1 if upper else 1)
                out[at] = np.clip(loc[at] + 2 * np.arcsin(np.clip(z / (2 * np.sqrt(k[at])), -1, 1)), -np.pi, np.pi)
                continue
            edge = ends[0] if p[at] == 0 or gap(ends[0]) >= 0 else ends[1]
            out[at] = edge if p[at] in (0, 1) else optimize.brentq(gap, -np.pi, np.pi, xtol=1e-15, rtol=1e-15)
        return out

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return self._inverse(p, upper=False)

    def isf(self, q: np.ndarray) -> np.ndarray:
        return self._inverse(q, upper=True)

    def mean(self) -> np.ndarray:
        return self.loc + 0 * self.concentration

    def var(self) -> np.ndarray:
        return 1 - special.i1e(self.concentration) / special.i0e(self.concentration) + 0 * self.loc

    def entropy(self) -> np.ndarray:
        return np.log(2 * np.pi * special.i0e(self.concentration)) + self.concentration * self.var()


VON_MISES_GRID = Accuracy({"loc": (0.0, 2.5), "concentration": SHAPES})
CLAMPED = "clamps the probability to the eps of the dtype"
BESSEL = "its Bessel functions are good to 1e-7"
ROUNDED = "treats the law as uniform near one half"

ROWS: tuple[Row, ...] = (
    Row(
        dist.ContinuousBernoulli,
        _continuous_bernoulli,
        (
            case("standard", probs=0.3),
            case("batch", probs=[[0.1, 0.5], [0.75, 0.999]]),
            case("nearly flat", probs=[0.4995, 0.50001, 0.5]),
            case("logits", logits=[-3.0, 0.0, 1.5, 0.9]),
            case("far", logits=[-500.0, 40.0, -20.0]),
        ),
        lacks=CONTINUOUS,
        outside=(-0.5, 1.5, float("nan")),
        bad=({"probs": -0.1}, {"probs": 1.1}, {"probs": float("nan")}),
        whole={"probs": 1},
        peer=td.ContinuousBernoulli,
        torch_wrong={
            "far:log_prob": CLAMPED,
            "far:mean": CLAMPED,
            "far:variance": CLAMPED,
            "far:stddev": CLAMPED,
            "far:entropy": CLAMPED,
            "far:perplexity": CLAMPED,
            "far:cdf": CLAMPED,
            "far:icdf": CLAMPED,
            "nearly flat:cdf": ROUNDED,
            "nearly flat:icdf": ROUNDED,
        },
        accuracy=(
            Accuracy({"probs": (1e-8, 0.3, 0.5, 1.0 - 2.0**-20)}),
            Accuracy({"logits": (-1e8, -500.0, -1e-3, 1e-8, 0.0, 3.0, 30.0, 1e4, 1e8)}),
        ),
    ),
    Row(
        dist.VonMises,
        line(VonMises, VON_MISES),
        # "heavy": the mean and the variance are those of the circle, not of draws on the line
        (
            case("standard", "heavy", loc=0.3, concentration=2.0),
            case("batch", "heavy", loc=[-1.0, 0.2, 2.9], concentration=[0.01, 25.0, 1.0]),
            case("outer", "heavy", loc=[[0.5], [-2.0]], concentration=[0.5, 8.0]),
            case("narrow", "heavy", loc=1.0, concentration=2e3),
        ),
        lacks=CONTINUOUS,
        outside=(-3.5, 10.0, float("nan")),
        bad=({"concentration": 0.0}, {"concentration": -1.0}, {"loc": float("nan")}),
        whole={"loc": 0, "concentration": 2},
        peer=td.VonMises,
        accuracy=(VON_MISES_GRID,),
        one_noise=False,
        torch_wrong={"*:log_prob": BESSEL, "*:variance": BESSEL, "*:stddev": BESSEL},
    ),
)

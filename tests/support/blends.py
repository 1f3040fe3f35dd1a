"""Sums of several references: what mixtures are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from . import exact
from .references import LEVELS, Atom, Line
from .statistics import assert_frequencies, assert_uniform


def along(law: Callable[..., Any], formulas: exact.Exact, **parameters: np.ndarray) -> tuple[Line, ...]:
    """A reference for each entry along the last dimension of the parameters."""
    k = max(value.shape[-1] for value in parameters.values())
    parameters = {name: np.broadcast_to(v, (*v.shape[:-1], k)) for name, v in parameters.items()}
    split = [{name: v[..., i] for name, v in parameters.items()} for i in range(k)]
    return tuple(Line(law(**given), formulas, given) for given in split)


def _log_prob(part: Line | Atom, x: np.ndarray) -> np.ndarray:
    """The log density of one part, which may end before the others do."""
    if isinstance(part, Atom):
        return part.log_prob(x)
    low, high = part.law.support()
    return np.where((low <= x) & (x <= high), part.log_prob(np.clip(x, low, high)), -np.inf)


@dataclass(frozen=True)
class Blend:
    """The law of a draw from part k with probability weights[..., k]."""

    weights: np.ndarray
    parts: tuple[Line | Atom, ...]
    discrete: bool = False
    ends: tuple[float, float] = (-np.inf, np.inf)

    def _w(self) -> np.ndarray:
        return self.weights / self.weights.sum(-1, keepdims=True)

    def _stack(self, tables: list[np.ndarray]) -> np.ndarray:
        return np.stack(np.broadcast_arrays(*tables), -1)

    def _sum(self, name: str, x: np.ndarray) -> np.ndarray:
        return (self._w() * self._stack([getattr(part, name)(x) for part in self.parts])).sum(-1)

    def _log_sum(self, name: str, x: np.ndarray) -> np.ndarray:
        logs = self._stack([getattr(part, name)(x) for part in self.parts])
        with np.errstate(divide="ignore"):
            return special.logsumexp(logs + np.log(self._w()), axis=-1)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        logs = self._stack([_log_prob(part, x) for part in self.parts])
        with np.errstate(divide="ignore"):
            return special.logsumexp(logs + np.log(self._w()), axis=-1)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return self._sum("cdf", x)

    def sf(self, x: np.ndarray) -> np.ndarray:
        return self._sum("sf", x)

    def log_cdf(self, x: np.ndarray) -> np.ndarray:
        return np.where(self.sf(x) < 0.5, np.log1p(-np.minimum(self.sf(x), 0.5)), self._log_sum("log_cdf", x))

    def log_sf(self, x: np.ndarray) -> np.ndarray:
        return np.where(self.cdf(x) < 0.5, np.log1p(-np.minimum(self.cdf(x), 0.5)), self._log_sum("log_sf", x))

    def _fast(self, name: str, x: np.ndarray) -> np.ndarray:
        """scipy's distribution functions: thousands of values, and still relative accuracy in both tails."""
        w = self._w()
        tails = [
            getattr(part.law, name)(x) if isinstance(part, Line) else getattr(part, name)(x) for part in self.parts
        ]
        return (w * self._stack(tails)).sum(-1)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        return self._solve(levels, upper=False)

    def upper_quantile(self, levels: np.ndarray) -> np.ndarray:
        return self._solve(levels, upper=True)

    def panels(self, levels: np.ndarray) -> np.ndarray:
        """The points of every part: one may be narrow, or begin, far from where the others change."""
        return np.sort(np.concatenate([self._full(part.quantile(levels)) for part in self.parts]), 0)

    def _full(self, points: np.ndarray) -> np.ndarray:
        return np.broadcast_to(points, (len(points), *self.mean.shape))

    def _solve(self, levels: np.ndarray, *, upper: bool) -> np.ndarray:
        """Bisection between the quantiles of the parts that occur; geometric where both ends are positive."""
        level = levels.reshape(levels.shape + (1,) * self.mean.ndim)
        lines = [part.quantile(levels) if not upper else part.law.isf(part._outer(levels)) for part in self.parts]
        at = self._stack(lines)
        occurs = np.broadcast_to(self._w() > 0, at.shape)
        low, high = np.where(occurs, at, np.inf).min(-1), np.where(occurs, at, -np.inf).max(-1)
        if self.discrete:
            return self._first_count(level, high)
        first, last = (level >= 1, level <= 0) if upper else (level <= 0, level >= 1)
        lo, hi = low, high
        for _ in range(300):
            with np.errstate(invalid="ignore", over="ignore"):
                middle = np.where(
                    (lo > 0) & (hi > 4 * lo), np.sqrt(np.abs(lo)) * np.sqrt(np.abs(hi)), lo + (hi - lo) / 2
                )
            middle = np.where(np.isnan(middle), hi, middle)
            if np.all((middle <= lo) | (middle >= hi)):
                break
            reached = self._fast("sf", middle) <= level if upper else self._fast("cdf", middle) >= level
            lo, hi = np.where(reached, lo, middle), np.where(reached, middle, hi)
        return np.where(first, low, np.where(last, high, hi))

    def _first_count(self, level: np.ndarray, high: np.ndarray) -> np.ndarray:
        cells = np.arange(int(np.max(high)) + 2).reshape((-1,) + (1,) * level.ndim)
        reached = self._fast("cdf", cells) >= level * (1 - 1e-14)
        return reached.argmax(0).astype(float)

    def points(self) -> np.ndarray:
        return np.clip(self.quantile(LEVELS), *self.ends)

    @property
    def mean(self) -> np.ndarray:
        return (self._w() * self._stack([part.mean for part in self.parts])).sum(-1)

    @property
    def variance(self) -> np.ndarray:
        spread = self._stack([part.variance + (part.mean - self.mean) ** 2 for part in self.parts])
        return (self._w() * spread).sum(-1)

    def _mass(self, top: int) -> np.ndarray:
        return np.exp(self.log_prob(np.arange(float(top)).reshape((-1,) + (1,) * self.mean.ndim)))

    def entropy(self) -> np.ndarray:
        return special.entr(self._mass(int(np.max(self.quantile(np.array([1 - 1e-15])))) + 30)).sum(0)

    def assert_fits(self, draws: np.ndarray) -> None:
        """`draws`, shape (n,) + B, come from this law."""
        if not self.discrete:
            assert_uniform(self._fast("cdf", draws))
            return
        top = int(draws.max()) + 2
        masses = np.broadcast_to(self._mass(top), (top, *draws.shape[1:])).reshape(top, -1)
        for column, mass in zip(draws.reshape(len(draws), -1).T.astype(int), masses.T, strict=True):
            counts = np.bincount(column, minlength=top)
            assert_frequencies(np.append(counts, 0), np.append(mass, max(0.0, 1 - mass.sum())))

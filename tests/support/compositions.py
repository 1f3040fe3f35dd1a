"""Vectors of counts with a given sum, and the multinomial law over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from scipy import special, stats

from .statistics import assert_frequencies


def compositions(n: int, k: int) -> Iterator[tuple[int, ...]]:
    """All k-vectors of counts with sum n: bars among stars."""
    for bars in combinations(range(n + k - 1), k - 1):
        edges = (-1, *bars, n + k - 1)
        yield tuple(b - a - 1 for a, b in pairwise(edges))


@dataclass(frozen=True)
class Multinomial:
    """Vectors of counts; any sum of coordinates is binomial."""

    total_count: np.ndarray
    probs: np.ndarray

    def _broadcast(self) -> tuple[np.ndarray, np.ndarray]:
        probs = self.probs / self.probs.sum(-1, keepdims=True)
        batch = np.broadcast_shapes(self.total_count.shape, probs.shape[:-1])
        return np.broadcast_to(self.total_count, batch), np.broadcast_to(probs, batch + probs.shape[-1:])

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        n, p = self._broadcast()
        log_mass = special.gammaln(n + 1) + (special.xlogy(x, p) - special.gammaln(x + 1)).sum(-1)
        return np.where(x.sum(-1) == n, log_mass, -np.inf)

    def points(self) -> np.ndarray:
        n, p = self._broadcast()
        return np.random.default_rng(0).multinomial(n.astype(int), p, size=(7, *n.shape)).astype(float)

    @property
    def mean(self) -> np.ndarray:
        n, p = self._broadcast()
        return n[..., None] * p

    @property
    def variance(self) -> np.ndarray:
        return self.mean * (1 - self._broadcast()[1])

    def entropy(self) -> np.ndarray:
        n, p = self._broadcast()
        out = np.empty(n.shape)
        for where in np.ndindex(n.shape):
            out[where] = stats.multinomial(int(n[where]), p[where]).entropy()
        return out

    def assert_fits(self, draws: np.ndarray) -> None:
        n, p = self._broadcast()
        assert (draws.sum(-1) == n).all()
        for where in np.ndindex(n.shape):
            column, probs = draws[(slice(None), *where)], p[where]
            sums = [(column[:, i], probs[i]) for i in range(len(probs))]
            if len(probs) > 1:
                sums.append((column[:, 0] + column[:, -1], min(1.0, probs[0] + probs[-1])))
            for count, one in sums:
                top = int(n[where])
                assert_frequencies(
                    np.bincount(count.astype(int), minlength=top + 1), stats.binom(top, one).pmf(np.arange(top + 1))
                )

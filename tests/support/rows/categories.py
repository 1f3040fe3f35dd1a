"""Rows of the relaxations of laws over categories, and of counts with random chances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributions as td
from scipy import special, stats
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

import ppl_dist as dist

from .. import exact, references
from ..exact import Exact, mp
from ..statistics import assert_frequencies, assert_uniform
from ..table import CONTINUOUS, JUMPS, TOO_MANY, UNORDERED, VECTOR, Accuracy, Row, case, no_form
from .discrete import SPLIT, OneHot, compositions


def _logits(p: dict[str, np.ndarray]) -> np.ndarray:
    return p["logits"] if "logits" in p else special.logit(p["probs"])


def _z(x: Any, temperature: Any, logits: Any = None, probs: Any = None) -> Any:
    return temperature * x - (mp.log(probs) - mp.log1p(-probs) if logits is None else logits)


def _density(z: Any) -> Any:
    return -abs(z) - 2 * mp.log1p(mp.exp(-abs(z)))


def _level(z: Any) -> Any:
    return 1 / (1 + mp.exp(-z))


LOGIT_RELAXED = Exact(
    lambda x, temperature, **p: mp.log(temperature) + _density(_z(x, temperature, **p)),
    lambda x, temperature, **p: _level(_z(x, temperature, **p)),
    lambda x, temperature, **p: _level(-_z(x, temperature, **p)),
)


def _logit(x: Any) -> Any:
    return mp.inf if x == 1 else mp.ninf if x == 0 else mp.log(x) - mp.log1p(-x)


def _relaxed_log_prob(x: Any, temperature: Any, **p: Any) -> Any:
    if 0 < x < 1:
        return mp.log(temperature) + _density(_z(_logit(x), temperature, **p)) - mp.log(x) - mp.log1p(-x)
    limit = _z(mp.mpf(0), temperature, **p) * (1 if x == 0 else -1)
    return limit if temperature == 1 else mp.inf if temperature < 1 else mp.ninf


RELAXED = Exact(
    _relaxed_log_prob,
    lambda x, temperature, **p: _level(_z(_logit(x), temperature, **p)),
    lambda x, temperature, **p: _level(-_z(_logit(x), temperature, **p)),
)


def _logit_relaxed(temperature: np.ndarray, **p: np.ndarray) -> references.Line:
    law = stats.logistic(_logits(p) / temperature, 1 / temperature)
    return references.Line(law, LOGIT_RELAXED, {"temperature": temperature, **p})


@dataclass(frozen=True)
class Squashed:
    """What scipy would have: the logistic function of a logistic variable."""

    temperature: np.ndarray
    logits: np.ndarray

    @property
    def law(self) -> Any:
        return stats.logistic(self.logits / self.temperature, 1 / self.temperature)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return special.expit(self.law.ppf(p))

    def isf(self, q: np.ndarray) -> np.ndarray:
        return special.expit(self.law.isf(q))

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return self.law.cdf(special.logit(x))

    def sf(self, x: np.ndarray) -> np.ndarray:
        return self.law.sf(special.logit(x))

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        return self.law.logpdf(special.logit(x)) - np.log(x) - np.log1p(-x)

    def _expected(self, value: Any) -> np.ndarray:
        """E[value(y, T)] for the logistic variable y, in mpmath; it bends where y changes sign."""

        def one(_: Any, temperature: Any, logits: Any) -> Any:
            bends = sorted([mp.mpf(v) for v in (-100, -20, -5, 0, 5, 20, 100)] + [-logits])
            return mp.quad(
                lambda t: mp.exp(_density(t)) * value((logits + t) / temperature, temperature),
                [v for v in bends if -100 <= v <= 100],
            )

        return exact.each(one, np.zeros(()), temperature=self.temperature, logits=self.logits)

    def mean(self) -> np.ndarray:
        return self._expected(lambda y, _: _level(y))

    def var(self) -> np.ndarray:
        return self._expected(lambda y, _: _level(y) ** 2) - self.mean() ** 2

    def entropy(self) -> np.ndarray:
        return self._expected(lambda y, temperature: 2 - mp.log(temperature) + _density(y))


def _relaxed(temperature: np.ndarray, **p: np.ndarray) -> references.Line:
    law = Squashed(temperature, _logits(p))
    return references.Line(law, RELAXED, {"temperature": temperature, **p}, ends=(1e-300, 1 - 1e-6))


@dataclass(frozen=True)
class LogConcrete:
    """Logs of points of the simplex, drawn by the Gumbel trick; the gap of two coordinates is logistic."""

    temperature: np.ndarray
    probs: np.ndarray

    def _logits(self) -> np.ndarray:
        return np.log(self.probs / self.probs.sum(-1, keepdims=True))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        k = self.probs.shape[-1]
        score = self._logits() - self.temperature[..., None] * x
        return special.gammaln(k) + (k - 1) * np.log(self.temperature) + special.log_softmax(score, -1).sum(-1)

    def points(self) -> np.ndarray:
        logits, temperature = np.broadcast_arrays(self._logits(), self.temperature[..., None])
        noise = np.random.default_rng(0).gumbel(size=(7, *logits.shape))
        return special.log_softmax((logits + noise) / np.maximum(temperature, 0.4), -1)

    def assert_fits(self, draws: np.ndarray) -> None:
        np.testing.assert_allclose(special.logsumexp(draws, -1), 0, atol=1e-9)
        logits, temperature = self._logits(), self.temperature
        for i, j in zip(range(draws.shape[-1] - 1), range(1, draws.shape[-1]), strict=True):
            gap = temperature * (draws[..., i] - draws[..., j])
            assert_uniform(stats.logistic(logits[..., i] - logits[..., j]).cdf(gap))
        first = draws.argmax(-1).reshape(len(draws), -1)
        chances = np.broadcast_to(np.exp(logits), draws.shape[1:]).reshape(-1, draws.shape[-1])
        for i in range(first.shape[1]):
            assert_frequencies(np.bincount(first[:, i], minlength=draws.shape[-1]), chances[i])

    @property
    def variance(self) -> np.ndarray:
        return np.ones(np.broadcast_shapes(self.temperature.shape, self.probs.shape[:-1]))


class Concrete(LogConcrete):
    """The points of the simplex themselves."""

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return super().log_prob(np.log(x)) - np.log(x).sum(-1)

    def points(self) -> np.ndarray:
        return np.exp(super().points())

    def assert_fits(self, draws: np.ndarray) -> None:
        kept = draws[(draws > 1e-300).reshape(len(draws), -1).all(-1)]
        assert len(kept) > 0.9 * len(draws)
        super().assert_fits(np.log(kept))


def _weights(p: dict[str, np.ndarray]) -> np.ndarray:
    return p["probs"] if "probs" in p else special.softmax(p["logits"], -1)


def _log_concrete(temperature: np.ndarray, **p: np.ndarray) -> LogConcrete:
    return LogConcrete(temperature, _weights(p))


def _concrete(temperature: np.ndarray, **p: np.ndarray) -> Concrete:
    return Concrete(temperature, _weights(p))


@dataclass(frozen=True)
class DirichletMultinomial:
    """Vectors of counts; each coordinate, and the sum of two, is beta-binomial."""

    concentration: np.ndarray
    total_count: np.ndarray

    def _each(self) -> Any:
        a = self.concentration
        batch = np.broadcast_shapes(self.total_count.shape, a.shape[:-1])
        n, a = np.broadcast_to(self.total_count, batch), np.broadcast_to(a, batch + a.shape[-1:])
        return n, a

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        n, a = self._each()
        x, a, n = np.broadcast_arrays(x, a, n[..., None])
        out = np.empty(x.shape[:-1])
        for where in np.ndindex(out.shape):
            m = mp.mpf(n[where][0])
            total = mp.fsum(mp.mpf(v) for v in a[where])
            log_mass = mp.loggamma(m + 1) + mp.loggamma(total) - mp.loggamma(m + total)
            for v, c in zip(x[where], a[where], strict=True):
                log_mass += mp.loggamma(mp.mpf(v) + c) - mp.loggamma(mp.mpf(v) + 1) - mp.loggamma(mp.mpf(c))
            out[where] = float(log_mass) if x[where].sum() == n[where][0] else -np.inf
        return out

    def points(self) -> np.ndarray:
        n, a = self._each()
        rng = np.random.default_rng(0)
        share = rng.gamma(a, size=(7, *a.shape)) + 1e-12
        return rng.multinomial(n.astype(int), share / share.sum(-1, keepdims=True)).astype(float)

    @property
    def mean(self) -> np.ndarray:
        n, a = self._each()
        return n[..., None] * a / a.sum(-1, keepdims=True)

    @property
    def variance(self) -> np.ndarray:
        n, a = self._each()
        rest = a.sum(-1, keepdims=True) - a
        if a.shape[-1] == 1:
            return np.zeros(a.shape)
        return stats.betabinom(np.broadcast_to(n[..., None], a.shape), a, rest).var()

    def entropy(self) -> np.ndarray:
        n, a = self._each()
        out = np.empty(n.shape)
        for where in np.ndindex(n.shape):
            values = np.array(list(compositions(int(n[where]), a.shape[-1])), dtype=float)
            one = DirichletMultinomial(a[where], n[where])
            log_mass = one.log_prob(values)
            out[where] = -(np.exp(log_mass) * log_mass).sum()
        return out

    def assert_fits(self, draws: np.ndarray) -> None:
        n, a = self._each()
        assert (draws.sum(-1) == n).all()
        for where in np.ndindex(n.shape):
            column, own, top = draws[(slice(None), *where)], a[where], int(n[where])
            sums = [(column[:, i], own[i]) for i in range(len(own))]
            if len(own) > 2:
                sums.append((column[:, 0] + column[:, -1], own[0] + own[-1]))
            for count, one in sums:
                rest = own.sum() - one
                mass = stats.betabinom(top, one, rest).pmf(np.arange(top + 1)) if rest > 0 else np.eye(top + 1)[top]
                assert_frequencies(np.bincount(count.astype(int), minlength=top + 1), mass)


def _straight(**p: np.ndarray) -> OneHot:
    return OneHot(references.Finite(_weights(p)))


INSTANCE = "said by neither the class nor the instance, which has rsample all the same"
MANIFOLD = "a density of K-1 coordinates, constant along the last; the law integrates over all K"
RELAXED_GRIDS = (
    Accuracy({"temperature": (1e-8, 0.5, 1.0, 1e8), "logits": (-80.0, -1e-8, 3.0)}),
    Accuracy({"temperature": (1e-3, 1.0, 30.0), "probs": (1e-8, 0.5, 1.0 - 2.0**-20)}),
)
RELAXED_BAD: tuple[dict[str, Any], ...] = ({"temperature": 0.0}, {"temperature": -1.0}, {"temperature": float("nan")})
NO_MEANS = no_form("the mean of the logarithm of a sum of powers", "mean", "variance", "entropy", "kl_divergence")

ROWS: tuple[Row, ...] = (
    Row(
        dist.OneHotCategoricalStraightThrough,
        _straight,
        (
            case("standard", probs=[0.2, 0.5, 0.3]),
            case("logits", logits=[[0.5, -1.0, 2.0], [0.0, 0.0, 0.1]]),
            case("holes", "edge", probs=[0.5, 0.0, 0.5]),
        ),
        kind="discrete",
        lacks=UNORDERED,
        outside=([0.5, 0.5, 0.0], [1.0, 1.0, 0.0], [float("nan"), 1.0, 0.0]),
        bad=({"probs": [-0.1, 0.5, 0.6]}, {"probs": [float("nan"), 0.5, 0.5]}),
        whole={"probs": [1, 2, 1]},
        peer=td.OneHotCategoricalStraightThrough,
        torch_wrong={
            "holes:logits": "clamped to the eps of the dtype; the log of 0 is -inf",
            "holes:log_prob": "finite for a value of mass 0",
        },
    ),
    Row(
        dist.LogitRelaxedBernoulli,
        _logit_relaxed,
        (
            case("standard", temperature=0.7, probs=0.35),
            case("batch", "ours", temperature=[0.2, 1.0, 5.0], probs=[0.01, 0.5, 0.85]),
            case("logits", temperature=1.5, logits=[-3.0, 0.0, 40.0]),
            case("outer", "ours", temperature=[[0.5], [2.0]], logits=[-1.0, 2.0, 0.3]),
        ),
        lacks=CONTINUOUS,
        outside=(float("nan"),),
        bad=(*RELAXED_BAD, {"probs": 1.5}),
        whole={"temperature": 1, "logits": 2},
        accuracy=RELAXED_GRIDS,
        peer=LogitRelaxedBernoulli,
        torch_wrong={"*:has_rsample": INSTANCE},
    ),
    Row(
        dist.RelaxedBernoulli,
        _relaxed,
        (
            case("standard", temperature=0.7, probs=0.35),
            case("batch", "ours", temperature=[0.3, 1.0, 5.0], probs=[0.05, 0.5, 0.85]),
            case("logits", temperature=1.5, logits=[-3.0, 0.0, 4.0]),
            case("outer", "ours", temperature=[[0.5], [2.0]], logits=[-1.0, 2.0, 0.3]),
            case("cold", temperature=0.3, logits=-4.0),
        ),
        lacks=CONTINUOUS,
        outside=(-0.5, 2.0, float("nan")),
        bad=(*RELAXED_BAD, {"probs": 1.5}),
        whole={"temperature": 1, "logits": 2},
        accuracy=RELAXED_GRIDS,
        peer=td.RelaxedBernoulli,
    ),
    Row(
        dist.ExpRelaxedCategorical,
        _log_concrete,
        (
            case("standard", temperature=0.7, probs=[0.2, 0.5, 0.3]),
            case("batch", "ours", temperature=[0.4, 2.0], probs=[[1.0, 2.0, 5.0, 2.0], [3.0, 1.0, 1.0, 1.0]]),
            case("logits", temperature=1.0, logits=[[0.5, -1.0], [30.0, 0.1]]),
            case("outer", "ours", temperature=[[0.5], [2.0]], logits=[[0.5, -1.0, 2.0], [0.0, 0.0, 0.1]]),
        ),
        lacks=VECTOR | NO_MEANS,
        outside=([float("nan"), 0.0, 0.0],),
        bad=(*RELAXED_BAD, {"probs": [-0.1, 0.5, 0.6]}),
        whole={"temperature": 1, "probs": [1, 2, 1]},
        peer=ExpRelaxedCategorical,
        gaps={"total mass: plane": MANIFOLD},
    ),
    Row(
        dist.RelaxedOneHotCategorical,
        _concrete,
        (
            case("standard", temperature=0.7, probs=[0.2, 0.5, 0.3]),
            case("batch", "ours", temperature=[0.4, 2.0], probs=[[1.0, 2.0, 5.0], [3.0, 1.0, 1.0]]),
            case("logits", temperature=1.0, logits=[[0.5, -1.0, 2.0], [0.0, 0.0, 0.1]]),
            case("outer", "ours", temperature=[[0.5], [2.0]], logits=[[0.5, -1.0, 2.0], [0.0, 0.0, 0.1]]),
        ),
        lacks=VECTOR | NO_MEANS | no_form("the root of K equations, one of many peaks where T < 1", "mode"),
        outside=([0.5, 0.6, 0.1], [-0.1, 0.6, 0.5], [float("nan"), 0.5, 0.5]),
        bad=(*RELAXED_BAD, {"probs": [-0.1, 0.5, 0.6]}),
        whole={"temperature": 1, "probs": [1, 2, 1]},
        peer=td.RelaxedOneHotCategorical,
    ),
    Row(
        dist.DirichletMultinomial,
        DirichletMultinomial,
        (
            case("standard", concentration=[1.0, 2.0, 0.5], total_count=5.0),
            case("mixed", concentration=[[0.3, 2.0, 5.0, 1.0]], total_count=[1.0, 6.0]),
            case("peaked", concentration=[300.0, 200.0, 500.0], total_count=8.0),
            case("many", concentration=[0.2, 1.5], total_count=150.0),
            case("single", concentration=[2.0], total_count=4.0),
            case("none", "edge", concentration=[1.0, 2.0], total_count=0.0),
        ),
        kind="discrete",
        lacks=UNORDERED | JUMPS | TOO_MANY | no_form("a search over the compositions of the count", "mode"),
        outside=([4.0, 3.0, 0.0], [-1.0, 4.0, 2.0], [0.5, 4.5, 0.0], [float("nan"), 1.0, 0.0]),
        bad=({"concentration": [1.0, -1.0, 1.0]}, {"total_count": -1.0}, {"total_count": 2.5}),
        whole={"concentration": [1, 2, 1], "total_count": 3},
        gaps={"compile: sample": SPLIT, "make_fx: sample": SPLIT},
    ),
)

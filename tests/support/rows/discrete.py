"""Rows of the families of counts and of unit vectors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch.distributions as td
from scipy import special, stats

import ppl_dist as dist

from .. import references
from ..compositions import Multinomial, compositions
from ..exact import Exact, beta_tails, log, mp, xlogy
from ..table import ENDLESS, JUMPS, PROBS, SCALES, TOO_MANY, UNORDERED, Accuracy, Row, case


def _choose(n: Any, k: Any) -> Any:
    return mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)


def _ratio(r: Any, k: Any) -> Any:
    """log G(k+r) / (k! G(r))."""
    return mp.mpf(0) if k == 0 else mp.loggamma(k + r) - mp.loggamma(k + 1) - mp.loggamma(r)


def _tails(p: Any, q: Any, k: Any, m: Any) -> tuple[Any, Any]:
    """P(X <= k) = I_q(m, k + 1) and P(X > k) = I_p(k + 1, m)."""
    if k < 0:
        return mp.mpf(0), mp.mpf(1)
    if m <= 0:
        return mp.mpf(1), mp.mpf(0)
    above, below = beta_tails(k + 1, m, p, q)
    return below, above


def _by(parameter: str, log_prob: Any, tails: Any) -> Exact:
    """Formulas in (log p, log q, p, q), read off `probs` or `logits`."""

    def both(value: Any) -> tuple[Any, Any]:
        if parameter == "probs":
            return value, 1 - value
        return 1 / (1 + mp.exp(-value)), 1 / (1 + mp.exp(value))

    def split(kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        return (*both(kwargs[parameter]), kwargs.get("total_count"))

    return Exact(
        lambda x, **kw: log_prob(x, *split(kw)),
        lambda x, **kw: tails(mp.floor(x), *split(kw))[0],
        lambda x, **kw: tails(mp.floor(x), *split(kw))[1],
    )


def _probs(p: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, str]:
    """p, 1 - p, and the name of the parameter that says them."""
    if "probs" in p:
        return p["probs"], 1 - p["probs"], "probs"
    return special.expit(p["logits"]), special.expit(-p["logits"]), "logits"


def _log1m(p: Any, q: Any) -> Any:
    """log q, for q = 1 - p, to 50 digits of itself."""
    return mp.log1p(-p) if p < 0.5 else log(q)


@dataclass(frozen=True)
class Counts(references.Line):
    """A law of counts, its entropy summed as far as it matters."""

    discrete: bool = True

    def entropy(self) -> np.ndarray:
        cells = self._outer(np.arange(np.max(self.law.ppf(1 - 1e-15)) + 200))
        mass = self.law.logpmf(cells)
        return -(np.exp(mass) * np.where(np.isfinite(mass), mass, 0.0)).sum(0)


@dataclass(frozen=True)
class Deep:
    """A law of scipy, with upper quantiles for levels below the rounding of 1, where scipy's own are infinite."""

    law: Any
    logsf: Callable[[np.ndarray], np.ndarray]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.law, name)

    def isf(self, q: np.ndarray) -> np.ndarray:
        """The smallest count with log P(X > k) <= log q, by bisection."""
        q = np.asarray(q)
        high = np.minimum(np.broadcast_to(self.law.support()[1], q.shape), 1e18)
        low = np.full(q.shape, -1.0)
        for _ in range(62):
            middle = np.floor((low + high) / 2)
            reached = (self.logsf(middle) <= np.log(q)) & (middle > low)
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return high


def _nothing(shape: tuple[int, ...]) -> references.Finite:
    """All mass at 0."""
    return references.Finite(np.ones((*shape, 1)))


def _geometric(**p: np.ndarray) -> Counts | references.Finite:
    probs, _, name = _probs(p)
    if (probs == 1).all():
        return _nothing(probs.shape)

    def tails(k: Any, p: Any, q: Any, n: Any) -> tuple[Any, Any]:
        if k < 0:
            return mp.mpf(0), mp.mpf(1)
        fall = (k + 1) * _log1m(p, q)
        return -mp.expm1(fall), mp.exp(fall)

    formulas = _by(name, lambda x, p, q, n: log(p) + (x * _log1m(p, q) if x else 0), tails)
    law = stats.geom(probs, loc=-1)
    return Counts(Deep(law, lambda k: (k + 1) * np.log1p(-probs)), formulas, p)


def _binomial(total_count: np.ndarray, **p: np.ndarray) -> Counts:
    probs, _, name = _probs(p)
    formulas = _by(
        name,
        lambda x, p, q, n: _choose(n, x) + xlogy(x, p) + xlogy(n - x, q),
        lambda k, p, q, n: _tails(p, q, k, n - k),
    )
    return Counts(stats.binom(total_count, probs), formulas, {"total_count": total_count, **p})


def _negative(total_count: np.ndarray, **p: np.ndarray) -> Counts | references.Finite:
    probs, failure, name = _probs(p)
    if (probs * total_count == 0).all():
        return _nothing(probs.shape)
    formulas = _by(
        name,
        lambda x, p, q, n: _ratio(n, x) + xlogy(x, p) + n * log(q),
        lambda k, p, q, n: _tails(p, q, k, n),
    )
    return Counts(stats.nbinom(total_count, failure), formulas, {"total_count": total_count, **p})


GAMMA_POISSON = Exact(
    lambda x, concentration, rate: (
        _ratio(concentration, x) + concentration * mp.log(rate) - (concentration + x) * mp.log1p(rate)
    ),
    lambda x, concentration, rate: _tails(1 / (1 + rate), rate / (1 + rate), mp.floor(x), concentration)[0],
    lambda x, concentration, rate: _tails(1 / (1 + rate), rate / (1 + rate), mp.floor(x), concentration)[1],
)


def _gamma_poisson(concentration: np.ndarray, rate: np.ndarray) -> Counts:
    law = stats.nbinom(concentration, rate / (1 + rate))
    if (rate < 1e-6).all():  # the search of scipy for quantiles does not end; here counts are as good as numbers
        law = stats.gamma(concentration, scale=1 / rate)
    return Counts(law, GAMMA_POISSON, {"concentration": concentration, "rate": rate})


def _log_beta(a: Any, b: Any) -> Any:
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def _beta_binomial_log_mass(x: Any, concentration1: Any, concentration0: Any, total_count: Any) -> Any:
    joint = _log_beta(x + concentration1, total_count - x + concentration0)
    return _choose(total_count, x) + joint - _log_beta(concentration1, concentration0)


@functools.lru_cache(maxsize=64)
def _beta_binomial_tails(a: Any, b: Any, n: Any) -> tuple[list[Any], list[Any]]:
    """P(X <= k) and P(X > k) for k = 0 ... n, from the ratios of neighbouring masses."""
    top = int(n)
    masses = [mp.exp(_beta_binomial_log_mass(mp.mpf(0), a, b, n))]
    for k in range(top):
        masses.append(masses[-1] * (n - k) * (k + a) / ((k + 1) * (n - k - 1 + b)))
    above = list(accumulate(reversed(masses[1:]), initial=mp.mpf(0)))
    return list(accumulate(masses)), above[::-1]


def _beta_binomial_tail(x: Any, which: int, a: Any, b: Any, n: Any) -> Any:
    k = int(mp.floor(x))
    if k < 0 or k >= n:
        return mp.mpf((k >= n) == (which == 0))
    return _beta_binomial_tails(a, b, n)[which][k]


BETA_BINOMIAL = Exact(
    _beta_binomial_log_mass,
    lambda x, concentration1, concentration0, total_count: _beta_binomial_tail(
        x, 0, concentration1, concentration0, total_count
    ),
    lambda x, concentration1, concentration0, total_count: _beta_binomial_tail(
        x, 1, concentration1, concentration0, total_count
    ),
)


def _beta_binomial(**p: np.ndarray) -> Counts:
    law = stats.betabinom(p["total_count"], p["concentration1"], p["concentration0"])
    if law.mean().ndim:
        return Counts(law, BETA_BINOMIAL, p)
    log_mass = law.logpmf(np.arange(p["total_count"] + 1))
    log_sf = np.append(np.logaddexp.accumulate(log_mass[:0:-1])[::-1], -np.inf)
    return Counts(Deep(law, lambda k: np.where(k < 0, 0.0, log_sf[k.astype(int)])), BETA_BINOMIAL, p)


DISCRETE_UNIFORM = Exact(
    lambda x, low, high: -mp.log(high - low + 1),
    lambda x, low, high: (mp.floor(x) - low + 1) / (high - low + 1),
    lambda x, low, high: (high - mp.floor(x)) / (high - low + 1),
)


def _discrete_uniform(low: np.ndarray, high: np.ndarray) -> Counts:
    return Counts(stats.randint(low, high + 1), DISCRETE_UNIFORM, {"low": low, "high": high})


@dataclass(frozen=True)
class OneHot:
    """Unit vectors: the finite law of their index."""

    index: references.Finite

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return self.index.log_prob(x.argmax(-1))

    def points(self) -> np.ndarray:
        k = self.index.probs.shape[-1]
        values = np.eye(k).reshape((k,) + (1,) * (self.index.probs.ndim - 1) + (k,))
        return values + np.zeros(self.index.probs.shape)

    @property
    def mean(self) -> np.ndarray:
        return self.index.probs / self.index.probs.sum(-1, keepdims=True)

    @property
    def variance(self) -> np.ndarray:
        return self.mean * (1 - self.mean)

    def entropy(self) -> np.ndarray:
        return self.index.entropy()

    def assert_fits(self, draws: np.ndarray) -> None:
        assert ((draws == 0) | (draws == 1)).all() and (draws.sum(-1) == 1).all()
        self.index.assert_fits(draws.argmax(-1))


def _one_hot(probs: np.ndarray | None = None, logits: np.ndarray | None = None) -> OneHot:
    return OneHot(references.Finite(special.softmax(logits, -1) if probs is None else probs))


def _multinomial(
    total_count: np.ndarray, probs: np.ndarray | None = None, logits: np.ndarray | None = None
) -> Multinomial:
    return Multinomial(total_count, special.softmax(logits, -1) if probs is None else probs)


SPLIT = "a graph cannot look at the count, and splits it where eager code throws one by one: same law, other draws"
HALVED = "the chance of a logit near 0, one half and a little, is held to 1e-16, which 1e8 trials raise to 1e-11"
CLAMPED = "clamped to the eps of the dtype"
ODDS = (-80.0, -8.0, -1e-8, 3.0, 30.0)

__all__ = ["ROWS", "SPLIT", "OneHot", "compositions"]

ROWS: tuple[Row, ...] = (
    Row(
        dist.Geometric,
        _geometric,
        (
            case("standard", probs=0.3),
            case("batch", probs=[0.05, 0.5, 0.95]),
            case("logits", logits=[-2.0, 0.0, 1.5]),
            case("rare", "heavy", probs=1e-4),
            case("certain", "edge", probs=1.0),
        ),
        kind="discrete",
        lacks=ENDLESS,
        outside=(-1.0, 0.5, float("nan")),
        bad=({"probs": -0.1}, {"probs": 0.0}, {"probs": 1.1}, {"probs": float("nan")}),
        whole={"probs": 1},
        peer=td.Geometric,
        torch_wrong={"certain:logits": CLAMPED, "certain:entropy": CLAMPED, "certain:perplexity": CLAMPED},
        accuracy=(Accuracy({"probs": (*PROBS, 1e-3)}), Accuracy({"logits": ODDS})),
    ),
    Row(
        dist.Binomial,
        _binomial,
        (
            case("standard", total_count=10.0, probs=0.3),
            case("mixed", total_count=[1.0, 5.0, 40.0], probs=[0.5, 0.95, 0.1]),
            case("logits", total_count=7.0, logits=[-3.0, 0.0, 1.5]),
            case("outer", total_count=[[3.0], [8.0]], probs=[0.2, 0.7]),
            case("large", total_count=1e4, probs=0.4),
            case("certain", "edge", total_count=[4.0, 4.0, 0.0], probs=[0.0, 1.0, 0.5]),
        ),
        kind="discrete",
        lacks=JUMPS,
        outside=(-1.0, 0.5, 11.0, float("nan")),
        bad=({"probs": -0.1}, {"probs": 1.1}, {"total_count": -1.0}, {"total_count": 2.5}),
        whole={"total_count": 5, "probs": 1},
        peer=td.Binomial,
        torch_wrong={"certain:logits": CLAMPED, "certain:log_prob": CLAMPED},
        accuracy=(
            Accuracy({"total_count": (1.0, 30.0, 1e4, 1e8), "probs": PROBS}),
            Accuracy(
                {"total_count": (1.0, 30.0, 1e8), "logits": ODDS},
                looser={"cdf:float64": (5e-11, HALVED), "survival_function:float64": (5e-12, HALVED)},
            ),
        ),
    ),
    Row(
        dist.NegativeBinomial,
        _negative,
        (
            case("standard", total_count=4.0, probs=0.4),
            case("batch", total_count=[0.5, 1.0, 12.5], probs=[0.2, 0.5, 0.7]),
            case("logits", total_count=3.0, logits=[-2.0, 0.0, 1.0]),
            case("outer", total_count=[[0.7], [5.0]], probs=[0.2, 0.8]),
            case("large", total_count=3e3, probs=0.7),
            case("empty", "edge", total_count=[0.0, 2.0], probs=[0.5, 0.0]),
        ),
        kind="discrete",
        lacks=ENDLESS,
        outside=(-1.0, 0.5, float("nan")),
        bad=({"probs": -0.1}, {"probs": 1.0}, {"total_count": -1.0}),
        whole={"total_count": 5, "probs": 0},
        peer=td.NegativeBinomial,
        torch_wrong={"empty:logits": CLAMPED, "empty:stddev": CLAMPED},
        accuracy=(
            Accuracy({"total_count": (1e-8, 0.5, 30.0, 1e4, 1e8), "probs": (1e-8, 0.3, 1.0 - 2.0**-20)}),
            Accuracy({"total_count": (1e-8, 0.5, 30.0, 1e8), "logits": ODDS}),
        ),
    ),
    Row(
        dist.OneHotCategorical,
        _one_hot,
        (
            case("standard", probs=[0.2, 0.5, 0.3]),
            case("weights", probs=[[1.0, 2.0, 5.0, 2.0], [3.0, 1.0, 1.0, 1.0]]),
            case("logits", logits=[[0.5, -1.0, 2.0], [0.0, 0.0, 0.1]]),
            case("single", probs=[1.0]),
            case("holes", "edge", probs=[0.5, 0.0, 0.5]),
        ),
        kind="discrete",
        lacks=UNORDERED | JUMPS,
        outside=([0.5, 0.5, 0.0], [1.0, 1.0, 0.0], [float("nan"), 1.0, 0.0]),
        bad=({"probs": [-0.1, 0.5, 0.6]}, {"probs": [float("nan"), 0.5, 0.5]}),
        whole={"probs": [1, 2, 1]},
        peer=td.OneHotCategorical,
        torch_wrong={
            "holes:logits": "clamped to the eps of the dtype; the log of 0 is -inf",
            "holes:log_prob": "finite for a value of mass 0",
        },
    ),
    Row(
        dist.Multinomial,
        _multinomial,
        (
            case("standard", total_count=5.0, probs=[0.2, 0.5, 0.3]),
            case("mixed", total_count=[1.0, 12.0], probs=[1.0, 2.0, 5.0, 2.0]),
            case("logits", total_count=120.0, logits=[[0.5, -1.0, 2.0], [0.0, 0.0, 0.1]]),
            case("single", total_count=4.0, probs=[1.0]),
            case("holes", "edge", total_count=[8.0, 0.0], probs=[0.0, 0.5, 0.0, 0.5, 0.0]),
        ),
        kind="discrete",
        lacks=UNORDERED | JUMPS | TOO_MANY,
        outside=([4.0, 3.0, 0.0], [-1.0, 4.0, 2.0], [0.5, 4.5, 0.0], [float("nan"), 1.0, 0.0]),
        bad=({"probs": [-0.1, 0.5, 0.6]}, {"total_count": -1.0}, {"total_count": 2.5}),
        whole={"total_count": 3, "probs": [1, 2, 1]},
        gaps={"compile: sample:standard": SPLIT, "make_fx: sample:standard": SPLIT},
        # torch takes one plain number as count: held against it in tests/dist/test_counts.py
    ),
    Row(
        dist.DiscreteUniform,
        _discrete_uniform,
        (
            case("standard", "edge", low=0.0, high=5.0),
            case("offset", "edge", low=3.0, high=[9.0, 9.0]),
            case("batch", "edge", low=[1.0, 2.0, 4.0], high=[3.0, 7.0, 200.0]),
            case("pair", "edge", low=4.0, high=5.0),
        ),
        kind="discrete",
        lacks=JUMPS,
        outside=(-1.0, 0.5, 6.0, float("nan")),
        bad=({"low": 0.5}, {"high": -1.0}, {"low": float("nan")}),
        whole={"low": 1, "high": 6},
        accuracy=(Accuracy({"low": (0.0, 1.0, -5.0, -1e8), "high": (1.0, 2.0, 1e4, 1e8)}),),
    ),
    Row(
        dist.BetaBinomial,
        _beta_binomial,
        (
            case("standard", concentration1=2.0, concentration0=3.0, total_count=10.0),
            case("mixed", concentration1=[0.5, 1.5, 5.0], concentration0=[0.7, 1.0, 0.5], total_count=[1.0, 6.0, 30.0]),
            case("flat", concentration1=1.0, concentration0=1.0, total_count=4.0),
            case("large", concentration1=500.0, concentration0=800.0, total_count=300.0),
            case("none", "edge", concentration1=1.0, concentration0=2.0, total_count=0.0),
        ),
        kind="discrete",
        lacks=JUMPS,
        outside=(-1.0, 0.5, 11.0, float("nan")),
        bad=({"concentration1": -1.0}, {"concentration0": 0.0}, {"total_count": -1.0}, {"total_count": 2.5}),
        whole={"concentration1": 2, "concentration0": 3, "total_count": 4},
        accuracy=(
            Accuracy(
                {
                    "concentration1": (1e-8, 0.5, 30.0, 1e8),
                    "concentration0": (1e-8, 1.0, 1e8),
                    "total_count": (1.0, 30.0, 1000.0),
                }
            ),
        ),
    ),
    Row(
        dist.GammaPoisson,
        _gamma_poisson,
        (
            case("standard", concentration=4.0, rate=1.5),
            case("batch", concentration=[0.5, 1.0, 12.5], rate=[4.0, 1.0, 0.3]),
            case("outer", concentration=[[0.7], [5.0]], rate=[3.0, 0.5]),
        ),
        kind="discrete",
        lacks=ENDLESS,
        outside=(-1.0, 0.5, float("nan")),
        bad=({"concentration": -1.0}, {"rate": 0.0}),
        whole={"concentration": 2, "rate": 3},
        accuracy=(Accuracy({"concentration": (1e-8, 0.5, 30.0, 1e4, 1e8), "rate": SCALES}),),
    ),
)

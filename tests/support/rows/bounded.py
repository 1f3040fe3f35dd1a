"""Rows of families on a bounded interval, with their formulas and laws in mpmath."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributions as td

import ppl_dist as dist

from .. import exact, references
from ..exact import Exact, mp
from ..table import CONTINUOUS, Row, case


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


CLAMPED = "clamps the probability to the eps of the dtype"
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
    ),
)

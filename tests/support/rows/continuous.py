"""Rows of continuous families on the line, with their formulas in mpmath."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributions as td
from scipy import stats

import ppl_dist as dist

from .. import exact, references
from ..exact import Exact, gamma_tails, mp, xlogy
from ..table import CONTINUOUS, LOCS, SCALES, SHAPES, Accuracy, Row, case, line


def _laplace(z: Any) -> Any:
    return mp.exp(z) / 2 if z < 0 else 1 - mp.exp(-z) / 2


LAPLACE = Exact(
    lambda x, loc, scale: -abs(x - loc) / scale - mp.log(2 * scale),
    lambda x, loc, scale: _laplace((x - loc) / scale),
    lambda x, loc, scale: _laplace((loc - x) / scale),
)
LOGISTIC = Exact(
    lambda x, loc, scale: -(x - loc) / scale - 2 * mp.log1p(mp.exp(-(x - loc) / scale)) - mp.log(scale),
    lambda x, loc, scale: 1 / (1 + mp.exp((loc - x) / scale)),
    lambda x, loc, scale: 1 / (1 + mp.exp((x - loc) / scale)),
)


def _grown(y: Any) -> Any:
    """e^y; infinite where exp(-e^y) would have an exponent too long to store."""
    return mp.exp(y) if y < 1000 else mp.inf


GUMBEL = Exact(
    lambda x, loc, scale: (loc - x) / scale - mp.exp((loc - x) / scale) - mp.log(scale),
    lambda x, loc, scale: mp.exp(-_grown((loc - x) / scale)),
    lambda x, loc, scale: -mp.expm1(-_grown((loc - x) / scale)),
)


def _weibull_hazard(x: Any, scale: Any, concentration: Any) -> Any:
    """(x / scale)**concentration; infinite beyond 1e800, where mpmath would take hours for the next step."""
    if x == 0:
        return mp.mpf(0)
    log_hazard = concentration * mp.log(x / scale)
    return mp.exp(log_hazard) if log_hazard < 1800 else mp.inf


WEIBULL = Exact(
    lambda x, scale, concentration: (
        mp.log(concentration / scale) + xlogy(concentration - 1, x / scale) - _weibull_hazard(x, scale, concentration)
    ),
    lambda x, scale, concentration: -mp.expm1(-_weibull_hazard(x, scale, concentration)),
    lambda x, scale, concentration: mp.exp(-_weibull_hazard(x, scale, concentration)),
)
PARETO = Exact(
    lambda x, scale, alpha: mp.log(alpha / x) - alpha * mp.log(x / scale),
    lambda x, scale, alpha: -mp.expm1(-alpha * mp.log(x / scale)),
    lambda x, scale, alpha: (scale / x) ** alpha,
)
CHI2 = Exact(
    lambda x, df: xlogy(df / 2 - 1, x) - x / 2 - df / 2 * mp.log(2) - mp.loggamma(df / 2),
    lambda x, df: gamma_tails(df / 2, x / 2)[0],
    lambda x, df: gamma_tails(df / 2, x / 2)[1],
)
INVERSE_GAMMA = Exact(
    lambda x, concentration, rate: (
        concentration * mp.log(rate) - (concentration + 1) * mp.log(x) - rate / x - mp.loggamma(concentration)
    ),
    lambda x, concentration, rate: gamma_tails(concentration, rate / x)[1],
    lambda x, concentration, rate: gamma_tails(concentration, rate / x)[0],
)
KUMARASWAMY = Exact(
    lambda x, concentration1, concentration0: (
        mp.log(concentration1 * concentration0)
        + xlogy(concentration1 - 1, x)
        + xlogy(concentration0 - 1, 1 - x**concentration1)
    ),
    lambda x, concentration1, concentration0: -mp.expm1(concentration0 * mp.log1p(-(x**concentration1))),
    lambda x, concentration1, concentration0: (1 - x**concentration1) ** concentration0,
)


@dataclass(frozen=True)
class Kumaraswamy:
    """What scipy would have: X**a follows Beta(1, b)."""

    concentration1: np.ndarray
    concentration0: np.ndarray

    def _at_log_sf(self, log_q: np.ndarray) -> np.ndarray:
        return (-np.expm1(log_q / self.concentration0)) ** (1 / self.concentration1)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return self._at_log_sf(np.log1p(-p))

    def isf(self, q: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return self._at_log_sf(np.log(q))

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return stats.beta(1, self.concentration0).cdf(x**self.concentration1)

    def sf(self, x: np.ndarray) -> np.ndarray:
        return stats.beta(1, self.concentration0).sf(x**self.concentration1)

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        a, b = self.concentration1, self.concentration0
        return stats.beta(1, b).logpdf(x**a) + np.log(a) + (a - 1) * np.log(x)

    def _expected(self, value: Any) -> np.ndarray:
        """E[value(y, log(1 - y), a, b)] for y = x**a, in mpmath."""

        def one(_: Any, a: Any, b: Any) -> Any:
            # for y = x**a the variable e = -b log(1 - y) is a standard exponential
            return mp.quad(lambda e: mp.exp(-e) * value(-mp.expm1(-e / b), -e / b, a, b), [0, 1, 10, 100])

        return exact.each(one, np.zeros(()), a=self.concentration1, b=self.concentration0)

    def mean(self) -> np.ndarray:
        return self._expected(lambda y, rest, a, b: y ** (1 / a))

    def var(self) -> np.ndarray:
        return self._expected(lambda y, rest, a, b: y ** (2 / a)) - self.mean() ** 2

    def entropy(self) -> np.ndarray:
        def minus_log(y: Any, log_rest: Any, a: Any, b: Any) -> Any:
            return -mp.log(a * b) - (1 - 1 / a) * mp.log(y) - (b - 1) * log_rest

        return self._expected(minus_log)


FLAT_AT_EDGE = "0 or nan, which is off the support: the density grows towards 0"
FREE = (float("nan"),)
SIGNS: tuple[dict[str, Any], ...] = ({"scale": -1.0}, {"scale": 0.0}, {"loc": float("nan")})
LOC_SCALE = (
    case("standard", loc=0.0, scale=1.0),
    case("batch", loc=[-1.0, 0.0, 2.5], scale=[0.3, 1.0, 4.0]),
    case("outer", loc=[[0.0], [1.0], [-2.0]], scale=[0.5, 2.0]),
    case("narrow", loc=1.0, scale=1e-3),
    case("wide", loc=1e3, scale=1e2),
)

GRID = (Accuracy({"loc": LOCS, "scale": SCALES}),)

ROWS: tuple[Row, ...] = (
    Row(
        dist.Laplace,
        line(stats.laplace, LAPLACE),
        LOC_SCALE,
        lacks=CONTINUOUS,
        outside=FREE,
        bad=SIGNS,
        whole={"loc": 0, "scale": 2},
        peer=td.Laplace,
        accuracy=GRID,
    ),
    Row(
        dist.Logistic,
        line(stats.logistic, LOGISTIC),
        LOC_SCALE,
        lacks=CONTINUOUS,
        outside=FREE,
        bad=SIGNS,
        whole={"loc": 0, "scale": 2},
        accuracy=GRID,
    ),
    Row(
        dist.Gumbel,
        line(stats.gumbel_r, GUMBEL),
        LOC_SCALE,
        lacks=CONTINUOUS,
        outside=FREE,
        bad=SIGNS,
        whole={"loc": 0, "scale": 2},
        peer=td.Gumbel,
        accuracy=GRID,
    ),
    Row(
        dist.Weibull,
        line(lambda scale, concentration: stats.weibull_min(concentration, scale=scale), WEIBULL),
        (
            case("standard", scale=1.0, concentration=2.0),
            case("batch", scale=[0.5, 1.0, 20.0], concentration=[1.0, 3.5, 1.5]),
            case("outer", scale=[[1.5], [3.0]], concentration=[0.8, 2.0, 10.0]),
            case("steep", "heavy", scale=1.0, concentration=0.3),
            case("narrow", scale=3.0, concentration=500.0),
        ),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"scale": -1.0}, {"concentration": 0.0}, {"scale": float("nan")}),
        whole={"scale": 2, "concentration": 3},
        peer=td.Weibull,
        accuracy=(Accuracy({"scale": SCALES, "concentration": SHAPES}),),
        torch_wrong={"batch:mode": FLAT_AT_EDGE, "outer:mode": FLAT_AT_EDGE, "steep:mode": FLAT_AT_EDGE},
    ),
    Row(
        dist.Pareto,
        line(lambda scale, alpha: stats.pareto(alpha, scale=scale), PARETO),
        (
            case("standard", scale=1.0, alpha=6.0),
            case("batch", "heavy", scale=[0.5, 1.0, 20.0], alpha=[1.0, 3.5, 1.5]),
            case("outer", scale=[[1.5], [3.0]], alpha=[9.0, 12.0]),
            case("narrow", scale=3.0, alpha=50.0),
        ),
        lacks=CONTINUOUS,
        outside=(-1.0, 0.5, float("nan")),
        bad=({"scale": -1.0}, {"alpha": 0.0}, {"scale": float("nan")}),
        whole={"scale": 2, "alpha": 3},
        peer=td.Pareto,
        accuracy=(Accuracy({"scale": SCALES, "alpha": SHAPES}),),
    ),
    Row(
        dist.Chi2,
        line(stats.chi2, CHI2),
        (
            case("standard", df=3.0),
            case("batch", df=[0.5, 1.0, 2.0, 40.0]),
            case("outer", df=[[1.5], [3.0]]),
        ),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"df": -1.0}, {"df": 0.0}, {"df": float("nan")}),
        whole={"df": 3},
        peer=td.Chi2,
        accuracy=(Accuracy({"df": SHAPES}),),
    ),
    Row(
        dist.InverseGamma,
        line(lambda concentration, rate: stats.invgamma(concentration, scale=rate), INVERSE_GAMMA),
        (
            case("standard", concentration=6.0, rate=1.0),
            case("batch", "heavy", concentration=[1.0, 1.5, 3.5, 20.0], rate=[2.0, 0.5, 1.0, 4.0]),
            case("outer", "heavy", concentration=[[5.0], [3.0]], rate=[0.5, 2.0, 10.0]),
        ),
        lacks=CONTINUOUS,
        outside=(-1.0, 0.0, float("nan")),
        bad=({"concentration": -1.0}, {"rate": 0.0}, {"rate": float("nan")}),
        whole={"concentration": 3, "rate": 2},
        peer=td.InverseGamma,
        accuracy=(Accuracy({"concentration": SHAPES, "rate": SCALES}),),
    ),
    Row(
        dist.Kumaraswamy,
        lambda **p: references.Line(Kumaraswamy(**p), KUMARASWAMY, p, ends=(1e-12, 1 - 1e-6)),
        (
            case("standard", concentration1=2.0, concentration0=3.0),
            case("batch", concentration1=[1.5, 1.0, 5.0], concentration0=[2.5, 3.0, 1.5]),
            case("outer", concentration1=[[1.5], [3.0]], concentration0=[2.0, 7.0]),
            case("flat", concentration1=1.0, concentration0=1.0),
            case("horns", concentration1=[0.5, 0.2], concentration0=[0.5, 0.7]),
            case("large", concentration1=50.0, concentration0=80.0),
        ),
        lacks=CONTINUOUS,
        outside=(-0.5, 1.5, float("nan")),
        bad=({"concentration1": -1.0}, {"concentration0": 0.0}),
        whole={"concentration1": 2, "concentration0": 3},
        peer=td.Kumaraswamy,
        accuracy=(Accuracy(dict.fromkeys(("concentration1", "concentration0"), (1e-8, 1e-3, 0.5, 1.0, 30.0, 1e8))),),
        torch_wrong={"*:mode": "nan, also where the density has a peak"},
    ),
)

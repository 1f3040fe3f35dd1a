"""Rows of the distributions that cut or clip others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

import ppl_dist as dist

from .. import exact, references
from ..exact import Exact, mp
from ..statistics import assert_frequencies, assert_mean
from ..table import CONTINUOUS, ENDLESS, JUMPS, Accuracy, Row, case, does_not_apply, no_form

NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)
ENDS = {"low": -np.inf, "high": np.inf}


def split(parameters: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """The base's parameters and the two ends."""
    rest = {name: value for name, value in parameters.items() if name not in ENDS}
    return rest, *(parameters.get(name, end) for name, end in ENDS.items())


def cut(base: Exact, step: int = 0) -> Exact:
    """The formulas of a truncated law; `step` is 1 for counts, whose lower end is included."""

    def tails(x: Any, p: dict[str, Any]) -> tuple[Any, Any]:
        if mp.isinf(x):
            return (mp.mpf(0), mp.mpf(1)) if x < 0 else (mp.mpf(1), mp.mpf(0))
        return base.cdf(x, **p), base.sf(x, **p)

    def mass(low: Any, high: Any, p: dict[str, Any]) -> Any:
        (below_low, above_low), (below_high, above_high) = tails(low, p), tails(high, p)
        return above_low - above_high if above_low < below_low else below_high - below_low

    def between(x: Any, parameters: dict[str, Any], *, upper: bool) -> Any:
        p, low, high = split(parameters)
        low, high = mp.mpf(low) - step, mp.mpf(high)
        return (mass(x, high, p) if upper else mass(low, x, p)) / mass(low, high, p)

    def log_prob(x: Any, **parameters: Any) -> Any:
        p, low, high = split(parameters)
        return base.log_prob(x, **p) - mp.log(mass(mp.mpf(low) - step, mp.mpf(high), p))

    return Exact(
        log_prob,
        lambda x, **parameters: between(x, parameters, upper=False),
        lambda x, **parameters: between(x, parameters, upper=True),
    )


@dataclass(frozen=True)
class Cut:
    """A truncated law in doubles, as scipy would have it."""

    base: Any
    low: Any
    high: Any
    step: int = 0

    def _tails(self, x: Any) -> tuple[Any, Any]:
        finite = np.where(np.isinf(x), 0.0, x)
        return (
            np.where(np.isinf(x), np.sign(x) > 0, self.base.cdf(finite)),
            np.where(np.isinf(x), np.sign(x) < 0, self.base.sf(finite)),
        )

    def _mass(self, low: Any, high: Any) -> Any:
        (below_low, above_low), (below_high, above_high) = self._tails(low), self._tails(high)
        return np.where(above_low < below_low, above_low - above_high, below_high - below_low)

    @property
    def _all(self) -> Any:
        return self._mass(self.low - self.step, self.high)

    def cdf(self, x: Any) -> Any:
        return self._mass(self.low - self.step, np.clip(x, self.low - self.step, self.high)) / self._all

    def sf(self, x: Any) -> Any:
        return self._mass(np.clip(x, self.low - self.step, self.high), self.high) / self._all

    def logpdf(self, x: Any) -> Any:
        return self.base.logpdf(x) - np.log(self._all)

    def logpmf(self, x: Any) -> Any:
        inside = (x >= self.low) & (x <= self.high)
        return np.where(inside, self.base.logpmf(x) - np.log(self._all), -np.inf)

    def pmf(self, x: Any) -> Any:
        return np.exp(self.logpmf(x))

    def _at(self, p: Any, q: Any) -> Any:
        (below_low, above_low), (below_high, above_high) = self._tails(self.low - self.step), self._tails(self.high)
        below, above = q * below_low + p * below_high, q * above_low + p * above_high
        x = np.clip(np.where(below < above, self.base.ppf(below), self.base.isf(above)), self.low, self.high)
        return np.where(p == 0, np.maximum(self.low, self.base.support()[0]), np.where(q == 0, self.high, x))

    def ppf(self, p: Any) -> Any:
        return self._at(p, 1 - p)

    def isf(self, q: Any) -> Any:
        return self._at(1 - q, q)


@dataclass(frozen=True)
class CutLine(references.Line):
    """Expectations under a truncated law: sums, or Gauss-Legendre between its quantiles."""

    base: Exact = exact.NORMAL

    def _expected(self, value: Callable[..., Any]) -> np.ndarray:
        """E[value(x, log density)]."""
        if self.discrete:
            x = self._column(np.arange(np.max(self.law.ppf(1 - 1e-15)) + 40))
            weights, log_density = self.law.pmf(x), self.law.logpmf(x)
        else:
            levels = np.array([1e-25, 1e-6, 0.02, 0.5, 0.98])
            edges = np.concatenate([self.quantile(levels), self.upper_quantile(np.array([1e-6, 1e-25]))])
            middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
            x = (middle + half * self._column(NODES)[:, None]).reshape(-1, *edges.shape[1:])
            mid = edges[3:4]
            log_mass = self.law.base.logpdf(mid) - self.log_prob(mid)
            log_density = self.law.base.logpdf(x) - log_mass
            weights = (half * self._column(WEIGHTS)[:, None]).reshape(x.shape) * np.exp(log_density)
        assert np.allclose(weights.sum(0), 1, rtol=1e-11)
        with np.errstate(invalid="ignore"):
            return np.where(weights > 0, weights * value(x, log_density), 0.0).sum(0)

    def _column(self, values: np.ndarray) -> np.ndarray:
        batch = np.broadcast_shapes(*(v.shape for v in self.parameters.values()))
        return values.reshape((-1,) + (1,) * len(batch))

    @property
    def mean(self) -> np.ndarray:
        return self._expected(lambda x, log_density: x)

    @property
    def variance(self) -> np.ndarray:
        mean = self.mean
        return self._expected(lambda x, log_density: (x - mean) ** 2)

    def entropy(self) -> np.ndarray:
        return self._expected(lambda x, log_density: -log_density)


@dataclass(frozen=True)
class Clipped:
    """A normal draw moved into [low, high]."""

    parameters: dict[str, Any]

    @property
    def _parts(self) -> tuple[Any, Any, Any]:
        inner, low, high = split(self.parameters)
        return stats.norm(**inner), low, high

    @property
    def _shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*(v.shape for v in self.parameters.values()))

    def points(self) -> np.ndarray:
        law, low, high = self._parts
        x = np.clip(law.ppf(references.LEVELS.reshape((-1,) + (1,) * len(self._shape))), low, high)
        middle = np.where(law.mean() <= low, low + 0.1, np.where(law.mean() >= high, high - 0.1, law.mean()))
        return np.concatenate([x[:2], middle + 0.01 * np.arange(-1, 2).reshape((-1,) + (1,) * len(self._shape)), x[2:]])

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        law, low, high = self._parts
        inner = split(self.parameters)[0]
        between = exact.each(exact.NORMAL.log_prob, x, **inner)
        return np.where(x <= low, law.logcdf(low), np.where(x >= high, law.logsf(high), between))

    def _reach(self, x: np.ndarray, inside: np.ndarray, below: float, beyond: float) -> np.ndarray:
        _, low, high = self._parts
        return np.where(x < low, below, np.where(x >= high, beyond, inside))

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return self._reach(x, self._parts[0].cdf(x), 0.0, 1.0)

    def sf(self, x: np.ndarray) -> np.ndarray:
        return self._reach(x, self._parts[0].sf(x), 1.0, 0.0)

    def log_cdf(self, x: np.ndarray) -> np.ndarray:
        return self._reach(x, self._parts[0].logcdf(x), -np.inf, 0.0)

    def log_sf(self, x: np.ndarray) -> np.ndarray:
        return self._reach(x, self._parts[0].logsf(x), 0.0, -np.inf)

    def _expected(self, value: Callable[..., Any]) -> np.ndarray:
        """Of value(x, log p), the mass of the ends and the density between."""
        law, low, high = self._parts
        edges = law.ppf(np.array([1e-25, 1e-6, 0.02, 0.5, 0.98]).reshape((-1,) + (1,) * len(self._shape)))
        edges = np.concatenate([edges, law.isf(np.array([1e-6, 1e-25]).reshape((-1,) + (1,) * len(self._shape)))])
        edges = np.clip(edges, low, high) + np.zeros(self._shape)
        middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
        column = (-1, 1) + (1,) * len(self._shape)
        x = middle + half * NODES.reshape(column)
        total = (half * WEIGHTS.reshape(column) * law.pdf(x) * value(x, law.logpdf(x))).sum((0, 1))
        for end, log_mass in ((low, law.logcdf(low)), (high, law.logsf(high))):
            mass = np.exp(log_mass)
            with np.errstate(invalid="ignore"):
                total = total + np.where(mass > 0, mass * value(end, log_mass), 0.0)
        return total

    @property
    def mean(self) -> np.ndarray:
        return self._expected(lambda x, log_p: x)

    @property
    def variance(self) -> np.ndarray:
        mean = self.mean
        return self._expected(lambda x, log_p: (x - mean) ** 2)

    def entropy(self) -> np.ndarray:
        return self._expected(lambda x, log_p: -log_p)

    def assert_fits(self, draws: np.ndarray) -> None:
        law, low, high = self._parts
        at_low, at_high = law.cdf(low) + np.zeros(self._shape), law.sf(high) + np.zeros(self._shape)
        flat = draws.reshape(len(draws), -1)
        ends = [np.broadcast_to(v, self._shape).ravel() for v in (low, high, at_low, at_high)]
        for column, a, b, p, q in zip(flat.T, *ends, strict=True):
            counts = np.array([(column == a).sum(), (column == b).sum()])
            assert_frequencies(np.append(counts, len(column) - counts.sum()), np.array([p, q, 1 - p - q]))
        inside = (draws > low) & (draws < high)
        assert_mean(np.where(inside, law.cdf(draws), 0.0), (1 - at_high) ** 2 / 2 - at_low**2 / 2)


def truncated(law: Callable[..., Any], base: Exact, step: int = 0, margin: float = 0.0) -> Callable[..., CutLine]:
    """The reference; `margin` is how near the ends a difference of two distribution functions loses its digits."""

    def reference(**parameters: np.ndarray) -> CutLine:
        inner, low, high = split(parameters)
        ends = (low + margin, high - margin)
        return CutLine(Cut(law(**inner), low, high, step), cut(base, step), parameters, step == 1, ends, base)

    return reference


def _gamma(
    concentration: Any, rate: Any, low: Any = None, high: Any = None, validate_args: bool | None = None
) -> dist.Truncated:
    return dist.Truncated(dist.Gamma(concentration, rate, validate_args), low, high, validate_args=validate_args)


def _poisson(rate: Any, low: Any = None, high: Any = None, validate_args: bool | None = None) -> dist.Truncated:
    return dist.Truncated(dist.Poisson(rate, validate_args), low, high, validate_args=validate_args)


def _censored(
    loc: Any, scale: Any, low: Any = None, high: Any = None, validate_args: bool | None = None
) -> dist.Censored:
    return dist.Censored(dist.Normal(loc, scale, validate_args), low, high, validate_args=validate_args)


INSIDE = {"concentration": "base_dist.concentration", "rate": "base_dist.rate"}
NORMAL_INSIDE = {"loc": "base_dist.loc", "scale": "base_dist.scale"}
NO_PAIR = no_form("no form serves every base, between ends of every kind", "kl_divergence")

FAR = (
    Accuracy({"low": (-30.0, -1.0, 8.0, 30.0), "high": (30.0009765625, 40.0, 1e8)}),
    Accuracy({"loc": (0.0, -1e8), "scale": (1e-8, 1.0, 1e8), "low": (1.0, 8.0)}),
    Accuracy({"loc": (0.0, 30.0), "scale": (1e-3, 1.0, 1e8), "high": (-8.0, 1.0)}),
)

BESIDE = "next to its end the mass is a difference of two tails of the base"

ROWS: tuple[Row, ...] = (
    Row(
        dist.TruncatedNormal,
        truncated(stats.norm, exact.NORMAL),
        (
            case("standard", loc=0.3, scale=1.2, low=-1.0, high=2.0),
            case("batch", loc=[0.0, 1.0, 2.5], scale=[0.3, 1.0, 4.0], low=[-0.25, -1.5, 3.0], high=[1.0, 0.5, 4.0]),
            case("outer", loc=[[0.0], [1.0]], scale=[0.5, 2.0, 3.0], low=-1.0, high=1.5),
            case("lower end", loc=[0.0, -2.0], scale=[1.0, 0.5], low=[0.5, 2.0]),
            case("upper end", loc=[0.0, 1.0], scale=[1.0, 0.5], high=[-8.0, 3.0]),
            case("far", loc=0.0, scale=1.0, low=[30.0, -31.0, 33.0], high=[31.0, -30.0, 50.0]),
            case("narrow", loc=0.0, scale=1.0, low=[1.0, -0.5], high=[1.001, -0.499]),
            case("wide", loc=1.0, scale=2.0, low=-30.0, high=60.0),
        ),
        lacks=CONTINUOUS,
        outside=(-1.5, 2.5, float("nan")),
        bad=({"scale": -1.0}, {"scale": 0.0}, {"loc": float("nan")}, {"high": -2.0}),
        whole={"loc": 0, "scale": 2, "low": -1, "high": 3},
        accuracy=FAR,
        gaps={
            "rsample: implicit:far": "the law's step is wider than the distance of a draw from the end",
            "rsample: implicit:narrow": "the law's step is wider than the distance of a draw from the end",
        },
    ),
    Row(
        dist.Truncated,
        truncated(lambda concentration, rate: stats.gamma(concentration, scale=1 / rate), exact.GAMMA, margin=1e-3),
        (
            case("standard", concentration=2.0, rate=1.5, low=0.5, high=3.0),
            case("batch", concentration=[0.7, 3.0], rate=[1.0, 0.5], low=[0.2, 9.0], high=[1.0, 12.0]),
            case("outer", concentration=[[1.5], [3.0]], rate=[0.5, 2.0], low=1.0, high=4.0),
            case("lower end", concentration=2.0, rate=1.0, low=[1.0, 20.0]),
            case("upper end", concentration=[2.0, 5.0], rate=1.0, high=1.5),
        ),
        lacks=CONTINUOUS | NO_PAIR,
        outside=(0.2, 3.5, float("nan")),
        bad=({"low": float("nan")}, {"high": 0.4}),
        accuracy=(
            Accuracy(
                {"concentration": (0.5, 30.0), "rate": (1.0,), "low": (1e-8, 1.0, 80.0), "high": (80.5, 1e8)},
                looser={
                    "cdf:float64": (5e-11, BESIDE),
                    "log_cdf:float64": (2e-12, BESIDE),
                },
            ),
        ),
        build=_gamma,
        paths=INSIDE,
    ),
    Row(
        dist.Truncated,
        truncated(lambda rate: stats.poisson(mu=rate), exact.POISSON, step=1),
        (
            case("counts", "edge", "long", rate=3.0, low=1.0, high=9.0),
            case("zero-truncated", "edge", "long", rate=[0.1, 1.0, 30.0], low=1.0),
            case("upper end of counts", "edge", "long", rate=[2.0, 40.0], high=[3.0, 30.0]),
            case("tail of counts", "edge", "long", rate=2.0, low=12.0, high=20.0),
        ),
        kind="discrete",
        outside=(0.0, 10.0, 1.5, float("nan")),
        bad=({"low": float("nan")}, {"high": 0.0}),
        build=_poisson,
        paths=INSIDE,
        lacks=JUMPS | NO_PAIR | {"enumerate_support:zero-truncated": ENDLESS["enumerate_support"]},
    ),
    Row(
        dist.Censored,
        lambda **p: Clipped(p),
        (
            case("standard", loc=0.3, scale=1.2, low=-1.0, high=2.0),
            case("batch", loc=[0.0, 1.0], scale=[0.5, 2.0], low=[-0.25, -5.0], high=[1.0, 0.5]),
            case("lower end", loc=[[0.0], [-2.0]], scale=[1.0, 0.5, 2.0], low=-1.0),
            case("upper end", loc=[0.0, 1.0], scale=[1.0, 0.5], high=[8.0, 1.5]),
        ),
        kind="mixed",
        outside=(-1.5, 2.5, float("nan")),
        bad=({"low": float("nan")}, {"high": -2.0}),
        build=_censored,
        paths=NORMAL_INSIDE,
        lacks=CONTINUOUS | NO_PAIR | does_not_apply("densities and masses at the ends do not compare", "mode"),
    ),
)

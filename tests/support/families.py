"""The one table of families that every law walks: parameters, a reference, what a family lacks, known gaps.

Adding a family is adding a row here. A law asks `each("law", where=...)` for its parametrisation; no law
knows which family it is looking at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from scipy import stats
from torch import Tensor

import ppl_dist as dist
from ppl_dist import Distribution

from . import exact, references


@dataclass(frozen=True)
class Case:
    """One setting of a family's parameters.

    `traits` say what a law must know: "edge" (a parameter on the boundary of its domain, where gradients and
    free perturbation mean nothing), "heavy" (moments that Monte Carlo cannot pin down at the sizes used here).
    """

    name: str
    params: dict[str, Any]
    traits: frozenset[str] = frozenset()
    static: dict[str, Any] = field(default_factory=dict)

    def tensors(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        return {name: torch.tensor(value, dtype=dtype) for name, value in self.params.items()}


@dataclass(frozen=True)
class Row:
    """One family: its cases and what it is held against.

    Attributes:
        reference: from the parameters as float64 arrays (and static parameters) to a reference.
        kind: "continuous", "discrete" or "point".
        lacks: methods that this family does not have; each must say so with NotImplementedError.
        outside: values off the support, for the first case; empty where everything is inside.
        bad: parameters that must be refused, one by one, in place of the first case's.
        whole: integer parameters that are valid.
        one_noise: a draw is a monotone function of one noise, so that its path is the implicit one; a draw made
            of two (a ratio of gammas) has other paths with the same expectation.
        gaps: known failures as data, "law" or "law:case" to the reason; they are strict xfails.
        torch_wrong: "case:method" to the reason why torch's answer is not asked for.
    """

    family: type[Distribution]
    reference: Callable[..., Any]
    cases: tuple[Case, ...]
    kind: str = "continuous"
    lacks: frozenset[str] = frozenset()
    outside: tuple[Any, ...] = ()
    bad: tuple[dict[str, Any], ...] = ()
    whole: dict[str, Any] = field(default_factory=dict)
    peer: type | None = None
    one_noise: bool = True
    gaps: Mapping[str, str] = field(default_factory=dict)
    torch_wrong: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.family.__name__

    def has(self, method: str) -> bool:
        return method not in self.lacks

    def make(self, case: Case, dtype: torch.dtype = torch.float64, **kwargs: Any) -> Any:
        return self.family(**case.tensors(dtype), **case.static, **kwargs)

    def judge(self, case: Case, dtype: torch.dtype = torch.float64) -> Any:
        """The reference at the numbers that `make` hands to the family."""
        return self.reference(**{k: v.double().numpy() for k, v in case.tensors(dtype).items()}, **case.static)

    def points(self, case: Case, dtype: torch.dtype = torch.float64) -> Tensor:
        """Points of the support, shape (n,) + B + E."""
        return torch.as_tensor(self.judge(case).points()).to(dtype)


def case(name: str, *traits: str, static: dict[str, Any] | None = None, **params: Any) -> Case:
    return Case(name, params, frozenset(traits), static or {})


def _line(law: Callable[..., Any], formulas: exact.Exact, **kwargs: Any) -> Callable[..., references.Line]:
    return lambda **p: references.Line(law(**p), formulas, p, **kwargs)


def _bernoulli(**p: np.ndarray) -> references.Line:
    if "probs" in p:
        return references.Line(stats.bernoulli(p["probs"]), exact.BERNOULLI, p, discrete=True)
    probs = 1 / (1 + np.exp(-p["logits"]))
    return references.Line(stats.bernoulli(probs), exact.BERNOULLI_LOGITS, p, discrete=True)


def _categorical(probs: np.ndarray | None = None, logits: np.ndarray | None = None) -> references.Finite:
    return references.Finite(np.exp(logits) if probs is None else probs)


def _multivariate_normal(loc: np.ndarray, **p: np.ndarray) -> references.MultivariateNormal:
    if "scale_tril" in p:
        return references.MultivariateNormal(loc, p["scale_tril"] @ np.swapaxes(p["scale_tril"], -1, -2))
    covariance = p["covariance_matrix"] if "covariance_matrix" in p else np.linalg.inv(p["precision_matrix"])
    return references.MultivariateNormal(loc, covariance)


def _delta(v: np.ndarray, log_density: float | np.ndarray = 0.0, event_dim: int = 0) -> references.Atom:
    return references.Atom(v, np.asarray(log_density), event_dim)


VECTOR = frozenset({"cdf", "icdf", "median", "enumerate_support"})
CONTINUOUS = frozenset({"enumerate_support"})

CANCELS = "terms of size 1e5 cancel in the plain formula; issue 4 brings the saddle-point form"
NO_PEAK = "the density is infinite at several corners"

FAMILIES: tuple[Row, ...] = (
    Row(
        dist.Normal,
        _line(stats.norm, exact.NORMAL),
        (
            case("standard", loc=0.0, scale=1.0),
            case("batch", loc=[-1.0, 0.0, 2.5], scale=[0.3, 1.0, 4.0]),
            case("outer", loc=[[0.0], [1.0], [-2.0]], scale=[0.5, 2.0]),
            case("narrow", loc=1.0, scale=1e-3),
            case("wide", loc=1e3, scale=1e2),
        ),
        lacks=CONTINUOUS,
        outside=(float("nan"),),
        bad=({"scale": -1.0}, {"scale": 0.0}, {"loc": float("nan")}),
        whole={"loc": 0, "scale": 2},
        peer=td.Normal,
    ),
    Row(
        dist.LogNormal,
        _line(lambda loc, scale: stats.lognorm(s=scale, scale=np.exp(loc)), exact.LOG_NORMAL),
        (
            case("standard", loc=0.0, scale=0.5),
            case("batch", loc=[-1.0, 0.0, 1.5], scale=[0.3, 0.5, 0.1]),
            case("outer", loc=[[0.0], [1.0], [-2.0]], scale=[0.5, 0.2]),
            case("narrow", loc=1.0, scale=1e-3),
            case("wide", "heavy", loc=3.0, scale=2.0),
        ),
        lacks=CONTINUOUS,
        outside=(-1.0, 0.0, float("nan")),
        bad=({"scale": -1.0}, {"scale": 0.0}, {"loc": float("nan")}),
        whole={"loc": 0, "scale": 2},
        peer=td.LogNormal,
    ),
    Row(
        dist.HalfNormal,
        _line(lambda scale: stats.halfnorm(scale=scale), exact.HALF_NORMAL),
        (case("standard", scale=1.0), case("batch", scale=[0.01, 1.0, 100.0])),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"scale": -1.0}, {"scale": 0.0}),
        whole={"scale": 2},
        peer=td.HalfNormal,
    ),
    Row(
        dist.HalfCauchy,
        _line(lambda scale: stats.halfcauchy(scale=scale), exact.HALF_CAUCHY),
        (case("standard", "heavy", scale=1.0), case("batch", "heavy", scale=[0.01, 1.0, 100.0])),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"scale": -1.0}, {"scale": 0.0}),
        whole={"scale": 2},
        peer=td.HalfCauchy,
    ),
    Row(
        dist.Cauchy,
        _line(stats.cauchy, exact.CAUCHY),
        (
            case("standard", "heavy", loc=0.0, scale=1.0),
            case("batch", "heavy", loc=[-1.0, 0.0, 3.0], scale=[0.01, 1.0, 100.0]),
        ),
        lacks=CONTINUOUS,
        outside=(float("nan"),),
        bad=({"scale": -1.0}, {"scale": 0.0}, {"loc": float("nan")}),
        whole={"loc": 0, "scale": 2},
        peer=td.Cauchy,
        gaps={"variance": "infinite, as torch says; without a mean there is strictly none, and scipy says nan"},
    ),
    Row(
        dist.Gamma,
        _line(lambda concentration, rate: stats.gamma(concentration, scale=1 / rate), exact.GAMMA),
        (
            case("standard", concentration=2.0, rate=1.0),
            case("batch", concentration=[0.5, 1.0, 3.5, 20.0], rate=[2.0, 0.5, 1.0, 4.0]),
            case("outer", concentration=[[1.5], [3.0]], rate=[0.5, 2.0, 10.0]),
            case("small", concentration=0.05, rate=1.0),
            case("large", concentration=1e4, rate=10.0),
        ),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"concentration": -1.0}, {"rate": 0.0}, {"rate": float("nan")}),
        whole={"concentration": 2, "rate": 3},
        peer=td.Gamma,
        gaps={"log_prob float32:large": CANCELS},
    ),
    Row(
        dist.Exponential,
        _line(lambda rate: stats.expon(scale=1 / rate), exact.EXPONENTIAL),
        (case("standard", rate=1.0), case("batch", rate=[0.1, 1.0, 30.0])),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"rate": -1.0}, {"rate": 0.0}),
        whole={"rate": 2},
        peer=td.Exponential,
    ),
    Row(
        dist.Beta,
        _line(
            lambda concentration1, concentration0: stats.beta(a=concentration1, b=concentration0),
            exact.BETA,
            ends=(1e-12, 1 - 1e-6),
        ),
        (
            case("standard", concentration1=2.0, concentration0=3.0),
            case("batch", concentration1=[1.5, 1.0, 5.0], concentration0=[2.5, 3.0, 1.5]),
            case("outer", concentration1=[[1.5], [3.0]], concentration0=[2.0, 7.0]),
            case("flat", concentration1=1.0, concentration0=1.0),
            case("horns", concentration1=[0.5, 0.2], concentration0=[0.5, 0.7]),
            case("large", concentration1=500.0, concentration0=800.0),
        ),
        lacks=CONTINUOUS,
        outside=(-0.5, 1.5, float("nan")),
        bad=({"concentration1": -1.0}, {"concentration0": 0.0}),
        whole={"concentration1": 2, "concentration0": 3},
        peer=td.Beta,
        one_noise=False,
        gaps={"log_prob float32:large": CANCELS},
        torch_wrong={"flat:mode": "nan; every point is a mode", "horns:mode": "an antimode, not a mode"},
    ),
    Row(
        dist.Dirichlet,
        references.Dirichlet,
        (
            case("standard", concentration=[1.0, 2.0, 3.0]),
            case("batch", concentration=[[0.5, 0.5, 1.0], [2.0, 1.5, 7.0]]),
            case("small", concentration=[0.2, 0.3, 0.4]),
            case("large", concentration=[300.0, 200.0, 500.0]),
        ),
        lacks=VECTOR,
        outside=([0.5, 0.6, 0.1], [-0.1, 0.6, 0.5], [float("nan"), 0.5, 0.5]),
        bad=({"concentration": [1.0, -1.0, 1.0]}, {"concentration": [1.0, 0.0, 1.0]}),
        whole={"concentration": [1, 2, 3]},
        peer=td.Dirichlet,
        torch_wrong={"batch:mode": NO_PEAK, "small:mode": NO_PEAK},
    ),
    Row(
        dist.Uniform,
        _line(lambda low, high: stats.uniform(low, high - low), exact.UNIFORM),
        (
            case("standard", low=0.0, high=1.0),
            case("batch", low=[-2.0, 0.0, 5.0], high=[1.0, 1e-3, 50.0]),
            case("outer", low=[[-1.0], [-2.0]], high=[0.5, 3.0]),
        ),
        lacks=CONTINUOUS,
        outside=(-0.5, 1.5, float("nan")),
        bad=({"high": 0.0}, {"high": -1.0}, {"low": float("nan")}),
        whole={"low": -1, "high": 2},
        peer=td.Uniform,
        torch_wrong={"*:mode": "nan; every point is a mode"},
    ),
    Row(
        dist.Bernoulli,
        _bernoulli,
        (
            case("standard", probs=0.3),
            case("batch", probs=[[0.1, 0.5], [0.75, 0.999]]),
            case("logits", logits=[-3.0, 0.0, 1.5]),
            case("far", "heavy", logits=[-20.0, 18.0]),
            case("certain", "edge", probs=[0.0, 1.0]),
        ),
        kind="discrete",
        outside=(0.5, 2.0, -1.0, float("nan")),
        bad=({"probs": -0.1}, {"probs": 1.1}, {"probs": float("nan")}),
        whole={"probs": 1},
        peer=td.Bernoulli,
        torch_wrong={
            "batch:mode": "nan at one half, where both values are modes",
            "logits:mode": "nan at one half, where both values are modes",
            "certain:logits": "clamped to the eps of the dtype; the logits of 0 and 1 are infinite",
        },
    ),
    Row(
        dist.Categorical,
        _categorical,
        (
            case("standard", probs=[0.2, 0.5, 0.3]),
            case("weights", probs=[[1.0, 2.0, 5.0, 2.0], [3.0, 1.0, 1.0, 1.0]]),
            case("logits", logits=[[0.5, -1.0, 2.0], [0.0, 0.0, 0.1]]),
            case("single", probs=[1.0]),
            case("holes", "edge", probs=[0.5, 0.0, 0.5]),
        ),
        kind="discrete",
        outside=(0.5, 3.0, -1.0, float("nan")),
        bad=({"probs": [-0.1, 0.5, 0.6]}, {"probs": [float("nan"), 0.5, 0.5]}),
        whole={"probs": [1, 2, 1]},
        peer=td.Categorical,
        torch_wrong={
            "*:mean": "nan; the indices are numbers and have a mean",
            "*:variance": "nan; the indices are numbers and have a variance",
            "*:stddev": "nan; the indices are numbers and have a standard deviation",
            "holes:logits": "clamped to the eps of the dtype; the log of 0 is -inf",
            "holes:log_prob": "finite for a value of mass 0",
        },
    ),
    Row(
        dist.Poisson,
        _line(lambda rate: stats.poisson(mu=rate), exact.POISSON, discrete=True),
        (
            case("standard", rate=2.0),
            case("batch", rate=[0.1, 1.0, 30.0]),
            case("large", rate=1e4),
            case("zero", "edge", rate=0.0),
        ),
        kind="discrete",
        lacks=CONTINUOUS,
        outside=(-1.0, 0.5, float("nan")),
        bad=({"rate": -1.0}, {"rate": float("nan")}),
        whole={"rate": 2},
        peer=td.Poisson,
        gaps={"log_prob float32:large": CANCELS},
    ),
    Row(
        dist.MultivariateNormal,
        _multivariate_normal,
        (
            case("standard", loc=[0.0, 1.0], scale_tril=[[1.0, 0.0], [0.5, 2.0]]),
            case(
                "covariance",
                loc=[[0.0, 1.0], [2.0, -1.0]],
                covariance_matrix=[[[2.0, 0.6], [0.6, 1.0]], [[1.0, -0.3], [-0.3, 0.5]]],
            ),
            case(
                "precision", loc=[0.0, 1.0, 2.0], precision_matrix=[[2.0, 0.3, 0.0], [0.3, 1.0, 0.2], [0.0, 0.2, 3.0]]
            ),
            case("outer", loc=[[0.0, 1.0], [2.0, -1.0], [0.0, 0.0]], scale_tril=[[0.1, 0.0], [0.5, 2.0]]),
        ),
        lacks=VECTOR,
        outside=([float("nan"), 0.0],),
        bad=(
            {"scale_tril": [[1.0, 0.0], [0.5, -2.0]]},
            {"scale_tril": [[1.0, 0.5], [0.5, 2.0]]},
            {"loc": [float("nan"), 0.0]},
        ),
        whole={"loc": [0, 1], "scale_tril": [[1, 0], [1, 2]]},
        peer=td.MultivariateNormal,
    ),
    Row(
        dist.Delta,
        _delta,
        (
            case("standard", v=1.5),
            case("batch", v=[-1.0, 0.0, 2.0], log_density=[0.0, -0.5, 1.0]),
            case("vector", v=[[1.0, 2.0], [3.0, 4.0]], static={"event_dim": 1}),
        ),
        kind="point",
        lacks=frozenset({"enumerate_support"}),
        # nothing is refused, and a point keeps its own dtype: neither `bad` nor `whole`
    ),
)


def each(law: str, where: Callable[[Row, Case], bool] = lambda row, case: True) -> pytest.MarkDecorator:
    """Parametrise a law over the rows and cases it speaks about; known gaps become strict xfails."""
    return pytest.mark.parametrize("row, case", list(_params(law, where)))


def each_family(law: str, where: Callable[[Row], bool] = lambda row: True) -> pytest.MarkDecorator:
    """Parametrise a law over families, with the first case of each."""
    first = _params(law, lambda row, case: case is row.cases[0] and where(row))
    return pytest.mark.parametrize("row, case", list(first))


def _params(law: str, where: Callable[[Row, Case], bool]) -> Iterator[Any]:
    for row in FAMILIES:
        for one in row.cases:
            if where(row, one):
                reason = row.gaps.get(f"{law}:{one.name}", row.gaps.get(law))
                marks = [] if reason is None else [pytest.mark.xfail(strict=True, reason=reason)]
                yield pytest.param(row, one, id=f"{row.name}-{one.name}", marks=marks)


def smooth(row: Row, case: Case) -> bool:
    """Parameters inside their domain: perturbing them means something."""
    return "edge" not in case.traits


def continuous(row: Row, case: Case) -> bool:
    return row.kind == "continuous"


def on_line(row: Row, case: Case) -> bool:
    """Laws over numbers, not vectors, that have a distribution function."""
    return row.has("cdf") and not case.static.get("event_dim")

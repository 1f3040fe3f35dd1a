"""Rows of the families that the first programs needed."""

from __future__ import annotations

import numpy as np
import torch.distributions as td
from scipy import stats

import ppl_dist as dist

from .. import exact, references
from ..table import (
    CONTINUOUS,
    ENDLESS,
    JUMPS,
    LOCS,
    LOGITS,
    PROBS,
    SCALES,
    SHAPES,
    UNORDERED,
    VECTOR,
    Accuracy,
    Row,
    case,
    line,
)


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


NO_PEAK = "the density is infinite at several corners"

ROWS: tuple[Row, ...] = (
    Row(
        dist.Normal,
        line(stats.norm, exact.NORMAL),
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
        accuracy=(Accuracy({"loc": LOCS, "scale": SCALES}),),
    ),
    Row(
        dist.LogNormal,
        line(lambda loc, scale: stats.lognorm(s=scale, scale=np.exp(loc)), exact.LOG_NORMAL),
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
        accuracy=(Accuracy({"loc": (0.0, 1.0, -80.0, -1e8), "scale": (1e-8, 1.0, 30.0, 1e8)}),),
    ),
    Row(
        dist.HalfNormal,
        line(lambda scale: stats.halfnorm(scale=scale), exact.HALF_NORMAL),
        (case("standard", scale=1.0), case("batch", scale=[0.01, 1.0, 100.0])),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"scale": -1.0}, {"scale": 0.0}),
        whole={"scale": 2},
        peer=td.HalfNormal,
        accuracy=(Accuracy({"scale": SCALES}),),
    ),
    Row(
        dist.HalfCauchy,
        line(lambda scale: stats.halfcauchy(scale=scale), exact.HALF_CAUCHY),
        (case("standard", "heavy", scale=1.0), case("batch", "heavy", scale=[0.01, 1.0, 100.0])),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"scale": -1.0}, {"scale": 0.0}),
        whole={"scale": 2},
        peer=td.HalfCauchy,
        accuracy=(Accuracy({"scale": SCALES}),),
    ),
    Row(
        dist.Cauchy,
        line(stats.cauchy, exact.CAUCHY),
        (
            case("standard", "heavy", loc=0.0, scale=1.0),
            case("batch", "heavy", loc=[-1.0, 0.0, 3.0], scale=[0.01, 1.0, 100.0]),
        ),
        lacks=CONTINUOUS,
        outside=(float("nan"),),
        bad=({"scale": -1.0}, {"scale": 0.0}, {"loc": float("nan")}),
        whole={"loc": 0, "scale": 2},
        peer=td.Cauchy,
        accuracy=(Accuracy({"loc": LOCS, "scale": SCALES}),),
        gaps={"variance": "infinite, as torch says; without a mean there is strictly none, and scipy says nan"},
    ),
    Row(
        dist.Gamma,
        line(lambda concentration, rate: stats.gamma(concentration, scale=1 / rate), exact.GAMMA),
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
        accuracy=(Accuracy({"concentration": SHAPES, "rate": SCALES}),),
    ),
    Row(
        dist.Exponential,
        line(lambda rate: stats.expon(scale=1 / rate), exact.EXPONENTIAL),
        (case("standard", rate=1.0), case("batch", rate=[0.1, 1.0, 30.0])),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"rate": -1.0}, {"rate": 0.0}),
        whole={"rate": 2},
        peer=td.Exponential,
        accuracy=(Accuracy({"rate": SHAPES}),),
    ),
    Row(
        dist.Beta,
        line(
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
        accuracy=(Accuracy({"concentration1": SHAPES, "concentration0": SHAPES}),),
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
        line(lambda low, high: stats.uniform(low, high - low), exact.UNIFORM),
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
        accuracy=(Accuracy({"low": (-1e8, -1.0, 0.0, 1e-8), "high": (1e-3, 1.0, 1e8)}),),
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
        lacks=JUMPS,
        outside=(0.5, 2.0, -1.0, float("nan")),
        bad=({"probs": -0.1}, {"probs": 1.1}, {"probs": float("nan")}),
        whole={"probs": 1},
        peer=td.Bernoulli,
        torch_wrong={
            "batch:mode": "nan at one half, where both values are modes",
            "logits:mode": "nan at one half, where both values are modes",
            "certain:logits": "clamped to the eps of the dtype; the logits of 0 and 1 are infinite",
        },
        accuracy=(Accuracy({"probs": (*PROBS, 0.0, 1e-9)}), Accuracy({"logits": (*LOGITS, 80.0)})),
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
        lacks=JUMPS,
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
        line(lambda rate: stats.poisson(mu=rate), exact.POISSON, discrete=True),
        (
            case("standard", rate=2.0),
            case("batch", rate=[0.1, 1.0, 30.0]),
            case("large", rate=1e4),
            case("zero", "edge", rate=0.0),
        ),
        kind="discrete",
        lacks=ENDLESS,
        outside=(-1.0, 0.5, float("nan")),
        bad=({"rate": -1.0}, {"rate": float("nan")}),
        whole={"rate": 2},
        peer=td.Poisson,
        accuracy=(Accuracy({"rate": SHAPES}),),
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
        lacks=CONTINUOUS | {f"{method}:vector": lack for method, lack in UNORDERED.items()},
        # nothing is refused, and a point keeps its own dtype: neither `bad` nor `whole`
    ),
)

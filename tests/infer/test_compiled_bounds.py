"""Every bound and every estimator in a compiled step: the losses and parameters of the eager step, draw for draw."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ppl_dist as dist
from inference import (
    ELBO,
    DecayingAverage,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from inference.estimators import ESTIMATORS
from ppl import observe, param, plate, sample
from tests.support.compiling import Pair, Program, assert_as_eager

pytestmark = pytest.mark.usefixtures("interpreted")

DATA = torch.tensor([0.3, -1.2, 0.8])
BOUNDS: dict[str, ELBO] = {
    "Trace": Trace_ELBO(),
    "Trace, particles in turn": Trace_ELBO(num_particles=3),
    "Trace, particles at once": Trace_ELBO(num_particles=3, vectorize_particles=True),
    "TraceGraph": TraceGraph_ELBO(),
    "TraceGraph, particles at once": TraceGraph_ELBO(num_particles=3, vectorize_particles=True),
    "TraceMeanField": TraceMeanField_ELBO(),
    "TraceMeanField, particles at once": TraceMeanField_ELBO(num_particles=3, vectorize_particles=True),
    "TraceEnum": TraceEnum_ELBO(),
    "Renyi": RenyiELBO(alpha=0.5, num_particles=3),
    "Renyi, particles at once": RenyiELBO(alpha=0.0, num_particles=3, vectorize_particles=True),
    "ReweightedWakeSleep": ReweightedWakeSleep(num_particles=3),
    "ReweightedWakeSleep, particles in turn": ReweightedWakeSleep(num_particles=3, vectorize_particles=False),
}


def schools() -> tuple[Program, Program]:
    """A hierarchy with a plate, and a guide of positive scales."""

    def model() -> None:
        mu = sample("mu", dist.Normal(0.0, param("width", torch.tensor(2.0), constraint=dist.constraints.positive)))
        with plate("schools", 3):
            theta = sample("theta", dist.Normal(mu, 1.0))
            observe("y", dist.Normal(theta, 0.5), DATA)

    def guide() -> None:
        sample("mu", dist.Normal(param("m", 0.1), param("s", torch.tensor(0.8), constraint=dist.constraints.positive)))
        loc = param("loc", torch.tensor([0.2, -0.4, 0.1]))
        scale = param("scale", torch.full((3,), 0.7), constraint=dist.constraints.positive)
        with plate("schools", 3):
            sample("theta", dist.Normal(loc, scale))

    return model, guide


@pytest.mark.parametrize("bound", BOUNDS)
def test_bounds(bound: str) -> None:
    assert_as_eager(schools, loss=BOUNDS[bound])


def discrete(family: str, infer: dict[str, Any]) -> Pair:
    """A discrete site that is observed through noise, drawn in a plate, with the given `infer` in the guide."""

    def pair() -> tuple[Program, Program]:
        def law(logits: torch.Tensor) -> Any:
            if family == "Bernoulli":
                return dist.Bernoulli(logits=logits)
            if family == "OneHotCategorical":
                return dist.OneHotCategorical(logits=logits[:, None] * torch.tensor([0.0, 1.0, -0.5]))
            return dist.Normal(logits, 1.0) if family == "Normal" else dist.Poisson(logits.exp())

        def model() -> None:
            with plate("units", 3):
                z = sample("z", law(torch.zeros(3)))
                mean = z @ torch.tensor([-1.0, 0.5, 2.0]) if family == "OneHotCategorical" else z
                observe("y", dist.Normal(param("slope", 1.3) * mean, 0.8), DATA)

        def guide() -> None:
            logits = param("logits", torch.tensor([0.2, -0.4, 0.6]))
            with plate("units", 3):
                sample("z", law(logits), infer=infer)

        return model, guide

    return pair


ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "pathwise": ("Normal", {}),
    "path_derivative": ("Normal", {}),
    "score": ("Bernoulli", {}),
    "enumerate": ("Bernoulli", {}),
    "gumbel_softmax": ("OneHotCategorical", {}),
    "straight_through": ("OneHotCategorical", {}),
    "rebar": ("Bernoulli", {}),
    "relax": ("OneHotCategorical", {}),
    "arm": ("Bernoulli", {}),
    "disarm": ("Bernoulli", {}),
    "measure_valued": ("Normal", {}),
}


def test_every_estimator_has_a_row() -> None:
    assert set(ASKED) == set(ESTIMATORS)


@pytest.mark.parametrize("estimator", ASKED)
def test_estimators(estimator: str) -> None:
    family, infer = ASKED[estimator]
    assert_as_eager(discrete(family, {"estimator": estimator, **infer}))


@pytest.mark.parametrize(
    "infer",
    [
        {"baseline": "none"},
        {"baseline": "decaying_average"},
        {"baseline": DecayingAverage(0.5)},
        {"baseline": "leave_one_out", "samples": 4},
        {"baseline": torch.tensor([-1.0, -2.0, -3.0])},
    ],
    ids=lambda infer: f"{infer['baseline']}".partition("(")[0],
)
def test_baselines_of_score_functions(infer: dict[str, Any]) -> None:
    found = assert_as_eager(discrete("Poisson", {"estimator": "score", **infer}), steps=5)
    averages = found.svi.state.baselines.averages
    assert bool(averages) == (infer["baseline"] == "decaying_average" or isinstance(infer["baseline"], DecayingAverage))


@pytest.mark.parametrize("estimator", ["score", "disarm", "relax", "enumerate"])
@pytest.mark.parametrize("bound", [Trace_ELBO, TraceGraph_ELBO], ids=lambda bound: bound.__name__)
def test_estimators_under_particles_at_once(bound: type[ELBO], estimator: str) -> None:
    pair = discrete("Bernoulli", {"estimator": estimator})
    assert_as_eager(pair, loss=bound(num_particles=3, vectorize_particles=True))


def test_enumeration_in_the_model() -> None:
    def pair() -> tuple[Program, Program]:
        def model() -> None:
            loc = param("loc", torch.tensor([-1.0, 0.5, 2.0]))
            with plate("units", 3):
                k = sample("k", dist.Categorical(logits=param("w", torch.zeros(3))), infer={"enumerate": "parallel"})
                observe("y", dist.Normal(loc[k], 0.8), DATA)

        return model, lambda: None

    assert_as_eager(pair, loss=TraceEnum_ELBO())

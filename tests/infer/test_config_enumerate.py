"""`config_enumerate`: which sites it asks, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ppl_dist as dist
from inference.elbo.trace_enum_elbo import TraceEnum_ELBO
from inference.enumerating import config_enumerate
from ppl import handlers as h
from ppl import observe, sample
from tests.errors.reading import advice, fails

Bernoulli, Categorical, Normal = dist.Bernoulli, dist.Categorical, dist.Normal
ENUM = {"enumerate": "parallel"}


def test_config_enumerate_asks_for_what_can_be_listed() -> None:
    @config_enumerate(default="parallel", expand=True)
    def model() -> None:
        sample("k", Bernoulli(0.5))
        sample("own", Bernoulli(0.5), infer={"enumerate": "sequential"})
        sample("score", Bernoulli(0.5), infer={"estimator": "score"})
        sample("z", Normal(0.0, 1.0))
        sample("event", Bernoulli(torch.full((2,), 0.5)).to_event(1))
        observe("x", Bernoulli(0.5), 1.0)

    trace = h.trace(model).get_trace()
    assert trace["k"].infer == {"enumerate": "parallel", "expand": True}
    assert trace["own"].infer == {"enumerate": "sequential"}
    assert not any("enumerate" in trace[name].infer for name in ("score", "z", "event", "x"))
    assert h.trace(config_enumerate(lambda: sample("k", Bernoulli(0.5)), default=None)).get_trace()["k"].infer == {}


def test_config_enumerate_draws_several() -> None:
    def guide() -> None:
        sample("mu", Normal(0.0, 1.0))

    def model() -> None:
        mu = sample("mu", Normal(0.0, 1.0))
        k = sample("k", Bernoulli(0.5), infer=ENUM)
        observe("x", Normal(mu + k, 1.0), 0.5)

    elbo, several = TraceEnum_ELBO(), config_enumerate(guide, num_samples=5)
    loss = h.seed(elbo.loss, rng_seed=0)(model, several)
    mu = h.seed(elbo.traces, rng_seed=0)(model, several, (), {})[1]["mu"].value
    assert mu.shape == (5,) and len(mu.unique()) == 5
    likelihood = (Normal(mu, 1.0).log_prob(0.5).exp() + Normal(mu + 1, 1.0).log_prob(0.5).exp()) / 2
    assert loss == pytest.approx(-likelihood.log().mean().item())


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"default": "flat"}, 'default must be "parallel", "sequential" or None, got \'flat\''),
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"default": "sequential", "num_samples": 2}, 'with default "parallel"; got num_samples 2'),
    ],
)
def test_config_enumerate_refuses(options: dict[str, Any], part: str) -> None:
    def program() -> None:
        sample("k", Bernoulli(0.5))

    message = fails(ValueError, lambda: config_enumerate(program, **options), "config_enumerate: ", part)
    eval(advice(message), {"config_enumerate": config_enumerate, "program": program})

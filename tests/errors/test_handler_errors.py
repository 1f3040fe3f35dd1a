"""The errors of the handlers that lift, enumerate and explore: their four parts, and the advice that they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import pytest
import torch
from torch import nn

import ppl
import ppl_dist as dist
from ppl import ParamStore, Trace, markov, param, plate, sample
from ppl import handlers as h
from tests.errors.reading import advice, fails, model

Normal = dist.Normal
ALL = {"enumerate": "parallel"}


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def weights() -> None:
    param("loc", torch.zeros(3))
    param("scale", 1.0)


# Priors


def test_a_prior_for_a_misspelt_parameter() -> None:
    prior = {"scal": Normal(0.0, 1.0)}
    message = fails(
        ValueError,
        h.lift(weights, prior=prior),
        'lift: no parameter "scal" in the model; did you mean "scale"?',
        "Sites: loc, scale.",
    )
    h.lift(weights, prior={advice(message, r'did you mean "(\w+)"'): Normal(0.0, 1.0)})()


def test_a_prior_for_a_misspelt_parameter_of_a_module() -> None:
    def draw(key: str) -> nn.Module:
        return ppl.random_module("net", nn.Linear(2, 1), prior={key: Normal(0.0, 1.0)})()

    message = fails(ValueError, lambda: draw("weight_"), 'no parameter "weight_"', "Sites: net$$$weight, net$$$bias.")
    draw(advice(message, r'did you mean "([^"]+)"'))
    message = fails(
        ValueError, lambda: draw("net$$$weight_"), 'no parameter "net$$$weight_"', "Sites: net$$$weight, net$$$bias."
    )
    draw(advice(message, r'did you mean "([^"]+)"'))


@pytest.mark.parametrize(
    ("prior", "parts"),
    [
        (Normal(torch.zeros(2), 1.0), ("Normal has shape (2,) (batch (2,), event ())",)),
        (Normal(torch.zeros(2, 3), 1.0), ("Normal has shape (2, 3)",)),
        (Normal(torch.zeros(2), 1.0).to_event(1), ("Normal.to_event(1) has shape (2,) (batch (), event (2,))",)),
        (Normal(torch.zeros(2, 3), 1.0).to_event(2), ("has shape (2, 3) (batch (), event (2, 3))",)),
    ],
    ids=["size", "dimensions", "event", "event dimensions"],
)
def test_a_prior_of_another_shape(prior: Any, parts: tuple[str, ...]) -> None:
    message = fails(ValueError, h.lift(weights, prior={"loc": prior}), 'lift: param "loc" has shape (3,)', *parts)
    h.lift(weights, prior=eval(advice(message, r"Try prior=(.+)\.$"), {"Normal": Normal}))()


def test_what_is_no_prior() -> None:
    message = fails(TypeError, lambda: h.lift(weights, prior=3), "lift: expected prior as a dictionary", "got int")
    one = lambda: param("x", 0.0)  # noqa: E731
    eval(advice(message), {"lift": h.lift, "Normal": Normal, "model": one})()
    for prior in (1.0, lambda site: "Normal"):
        message = fails(TypeError, h.lift(weights, prior={"loc": prior}), 'site "loc"', "expected a distribution")
        eval(advice(message), {"sample": sample, "Normal": Normal})
    fails(TypeError, lambda: h.lift(weights, prior={"loc": None}), 'lift: site "loc" needs a value, got None')


# Enumeration


def test_a_plate_where_sites_are_enumerated() -> None:
    def discrete() -> None:
        sample("x", dist.Bernoulli(0.5), infer=ALL)
        with plate("data", 3):
            sample("y", dist.Bernoulli(0.5))

    parts = ('enum: at site "y"', 'plate "data" has dim -1, not right of -1')
    message = fails(ValueError, h.enum(discrete, first_available_dim=-1), *parts)
    eval(advice(message), {"enum": h.enum, "model": discrete})()
    with plate("data", 3):  # a plate around it is in the way too
        fails(ValueError, h.enum(discrete, first_available_dim=-1), 'enum: at site "x"')


def test_dimensions_that_are_not_negative() -> None:
    message = fails(ValueError, lambda: h.enum(bit, first_available_dim=0), "enum:", "count from the right, got 0")
    eval(advice(message), {"enum": h.enum, "model": bit})()


def test_a_batch_dimension_in_the_way() -> None:
    def discrete() -> None:
        sample("x", dist.Bernoulli(torch.full((3,), 0.5)), infer=ALL)

    parts = ('enum: site "x" needs dim -1', "Bernoulli has batch shape (3,)", "neither a plate nor a visible site")
    message = fails(ValueError, h.enum(discrete, first_available_dim=-1), *parts)
    eval(advice(message), {"enum": h.enum, "model": discrete})()


def test_a_history_too_short() -> None:
    def run(history: int) -> None:
        past = [torch.zeros(())] * 2
        with h.enum(first_available_dim=-1):
            for t in markov(range(4), history=history):
                p = 0.2 + 0.3 * past[0] + 0.3 * past[1]
                past = [sample(f"x{t}", dist.Bernoulli(p), infer=ALL), past[0]]

    parts = ('enum: site "x2" needs dim -1', "Bernoulli has batch shape (2, 2)", "Try a longer history")
    fails(ValueError, lambda: run(1), *parts)
    run(2)


@pytest.mark.parametrize("fn", [Normal(0.0, 1.0), dist.Poisson(2.0)], ids=["Normal", "Poisson"])
def test_a_support_that_cannot_be_listed(fn: Any) -> None:
    def run(infer: dict[str, Any]) -> torch.Tensor:
        value: torch.Tensor = h.enum(lambda: sample("x", fn, infer=infer), first_available_dim=-1)()
        return value

    parts = ('enum: site "x"', f"{type(fn).__name__} has no enumerate_support")
    message = fails(NotImplementedError, lambda: run(ALL), *parts)
    assert run(eval(advice(message, r"Try infer=(.+)\.$"))).shape == (10,)


def test_markov_without_steps() -> None:
    message = fails(TypeError, lambda: list(markov(history=2)), "markov:", "something to loop over, got none")
    assert len(list(eval(advice(message)))) == 10
    fails(TypeError, lambda: markov(3), "markov:", "got int")


def test_a_negative_history() -> None:
    message = fails(ValueError, lambda: markov(range(3), history=-1), "markov: history must not be negative, got -1")
    assert list(eval(f"markov(range(3), {advice(message)})")) == [0, 1, 2]


# Exploration


def test_functions_that_are_missing() -> None:
    message = fails(TypeError, lambda: h.escape(model), "escape: expected a function of a site", "got None")
    eval(f"escape(model, {advice(message)})", {"escape": h.escape, "model": model})()
    message = fails(TypeError, lambda: h.infer_config(model), "infer_config: expected a function of a site", "got None")
    eval(f"infer_config(model, {advice(message)})", {"infer_config": h.infer_config, "model": model})()


def bit() -> Any:
    return sample("x", dist.Bernoulli(0.5))


def test_queues_that_are_missing_or_empty() -> None:
    message = fails(TypeError, lambda: h.queue(bit), "queue: expected a queue of traces", "got None")
    explored: Callable[[], Any] = eval(advice(message), {"queue": h.queue, "Queue": Queue, "model": bit})
    message = fails(RuntimeError, explored, "queue: expected a partial trace", "got an empty queue")
    traces: Queue[Trace] = Queue()
    eval(advice(message), {"put": traces.put, "Trace": Trace})
    assert h.queue(bit, queue=traces)() == 0.0


def test_too_many_tries() -> None:
    def run(**options: Any) -> Any:
        traces: Queue[Trace] = Queue()
        traces.put(Trace())
        return h.queue(bit, queue=traces, **options)()

    message = fails(RuntimeError, lambda: run(max_tries=1), "queue: expected a complete run in 1 tries", "got none")
    assert eval(f"run({advice(message)})", {"run": run}) == 0.0
    assert run(max_tries=2) == 0.0


def test_what_is_no_program() -> None:
    wrong: Any = 3
    fails(
        TypeError,
        lambda: ppl.markov(wrong),
        "markov",
        "expected a function or a loop",
        "got int",
        "Try markov(range(10))",
    )
    fails(TypeError, lambda: ppl.check(wrong), "check: model must be a function", "got int", "Try check(model, ...)")
    fails(TypeError, lambda: ppl.check(lambda: None, wrong), "check: guide must be a function", "got int")
    fails(TypeError, lambda: ppl.render_model(wrong), "render_model: model must be a function", "got int")
    assert list(ppl.markov(range(2))) == [0, 1]

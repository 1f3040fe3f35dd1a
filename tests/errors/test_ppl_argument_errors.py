"""Wrong arguments of handlers, primitives and parameters: what the errors say, and that their advice works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import ppl
import ppl_dist as dist
from ppl import ParamStore, deterministic, module, observe, param, plate, sample
from ppl import handlers as h
from ppl_dist import constraints
from tests.errors.reading import advice, fails, model

Normal = dist.Normal


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


# Arguments of handlers and primitives


def test_the_model_must_be_callable() -> None:
    keep = torch.tensor([True, False])
    message = fails(TypeError, lambda: h.mask(keep), "mask: the first argument is the model", "got Tensor")  # type: ignore[arg-type]
    assert advice(message) == "mask(mask=...)"
    with h.mask(mask=keep):
        pass
    assert advice(fails(TypeError, lambda: h.condition({}), "condition")) == "condition(data=...)"  # type: ignore[arg-type]


def test_replay_without_a_trace() -> None:
    fails(TypeError, lambda: h.replay(model), "replay", "got None", "replay(model, trace=tr)")
    h.replay(model, trace=h.trace(model).get_trace())()


def test_replay_of_another_kind_of_site() -> None:
    with h.trace() as tr:
        deterministic("mu", torch.zeros(()))
    fails(
        ValueError,
        h.replay(model, trace=tr),
        'replay: site "mu"',
        "a sample site here",
        "a deterministic site in the trace",
    )


def test_block_with_contradictions() -> None:
    both = {"hide_fn": lambda site: True, "expose_fn": lambda site: True}
    fails(ValueError, lambda: h.block(model, **both), "block", "got both", "Try hide_fn alone")
    fails(ValueError, lambda: h.block(model, hide=["mu"], expose=["mu"]), "block", 'both hold "mu"', "out of hide")


def test_mask_and_scale_arguments() -> None:
    message = fails(TypeError, lambda: h.mask(mask=torch.ones(2)), "mask", "expected a bool", "torch.float32")  # type: ignore[arg-type]
    assert "mask=mask.bool()" in message
    fails(TypeError, lambda: h.mask(model), "got NoneType")
    fails(TypeError, lambda: h.scale(model), "scale: expected a number or a tensor, got NoneType")
    message = fails(ValueError, lambda: h.scale(model, scale=-2.0), "must not be negative, got -2.0")
    eval(advice(message), {"scale": h.scale, "model": model})()


def test_seed_arguments() -> None:
    message = fails(TypeError, lambda: h.seed(model, rng_seed=0.5), "seed: rng_seed must be an int", "got float")  # type: ignore[arg-type]
    eval(advice(message), {"seed": h.seed, "model": model})()


def test_get_trace_without_a_model() -> None:
    fails(
        RuntimeError, lambda: h.trace().get_trace(), "trace", "needs a model, got none", "trace(model).get_trace(...)"
    )


def test_observe_without_a_value() -> None:
    message = fails(TypeError, lambda: observe("y", Normal(0.0, 1.0), None), 'site "y" needs a value, got None')
    eval(advice(message, r"Try (.+) to draw"), {"sample": sample, "fn": Normal(0.0, 1.0)})


@pytest.mark.parametrize("under", [False, True], ids=["bare", "traced"])
def test_what_is_not_a_distribution(under: bool) -> None:
    def call(fn: Any) -> Any:
        return h.trace(sample).get_trace("x", fn) if under else sample("x", fn)

    message = fails(TypeError, lambda: call(3.0), 'site "x": expected a distribution', "got float")
    fails(TypeError, lambda: call(Normal), "got the class Normal")
    eval(advice(message), {"sample": sample, "Normal": Normal})


# Parameters


def test_a_parameter_without_a_value() -> None:
    param("scale", 1.0)
    message = fails(
        ValueError, lambda: param("scal"), 'param "scal": not registered', 'did you mean "scale"?', "Parameters: scale"
    )
    eval(advice(message, r"Try (.+)\.$"))


def test_a_parameter_outside_its_constraint() -> None:
    init = torch.tensor([1.0, -2.0, 3.0])
    parts = ('param "s"', "must be positive", "1 of 3 entries is not (first: -2 at [1], float32)")
    fails(ValueError, lambda: param("s", init, constraint=constraints.positive), *parts)
    param("s", init.abs(), constraint=constraints.positive)


def test_a_parameter_on_the_boundary() -> None:
    parts = ('param "s"', "on the boundary of GreaterThanEq(lower_bound=0.0)")
    fails(ValueError, lambda: param("s", 0.0, constraint=constraints.nonnegative), *parts)
    param("s", 1e-3, constraint=constraints.nonnegative)


def test_a_parameter_of_another_shape_or_constraint() -> None:
    param("w", torch.zeros(3))
    fails(
        ValueError, lambda: param("w", torch.zeros(4)), 'param "w"', "shape (3,)", "shape (4,)", "clear_param_store()"
    )
    parts = ('param "w"', "constraint Real()", "constraint GreaterThan(lower_bound=0.0)")
    fails(ValueError, lambda: param("w", torch.ones(3), constraint=constraints.positive), *parts)
    ppl.clear_param_store()
    assert param("w", torch.zeros(4)).shape == (4,)
    param("p", torch.tensor([0.2, 0.8]), constraint=constraints.simplex)
    fails(
        ValueError,
        lambda: param("p", torch.full((3,), 1 / 3), constraint=constraints.simplex),
        "shape (2,)",
        "shape (3,)",
    )


def test_setting_a_parameter_to_what_it_cannot_be() -> None:
    store = ppl.get_param_store()
    param("s", torch.ones(2), constraint=constraints.positive)
    fails(ValueError, lambda: store.__setitem__("s", torch.tensor([1.0, -1.0])), 'param "s"', "must be positive")
    fails(ValueError, lambda: store.__setitem__("s", torch.ones(3)), "shape (2,)", "shape (3,)")


def test_a_module_of_another_shape() -> None:
    module("net", torch.nn.Linear(2, 2))
    fails(ValueError, lambda: module("net", torch.nn.Linear(3, 2)), 'param "net$$$weight"', "(2, 2)", "(2, 3)")


def test_a_state_that_does_not_fit() -> None:
    store = ParamStore()
    store.get_or_init("w", torch.zeros(2))
    other = ParamStore()
    other.get_or_init("w", torch.zeros(3))
    fails(ValueError, lambda: store.load_state_dict(other.state_dict()), 'param "w"', "shape (2,)", "shape (3,)")
    third = ParamStore()
    third.get_or_init("w", torch.ones(2), constraints.positive)
    fails(ValueError, lambda: store.load_state_dict(third.state_dict()), "constraint Real()", "constraint GreaterThan")


def test_a_name_the_store_lacks() -> None:
    param("loc", 0.0)
    store = ppl.get_param_store()
    fails(KeyError, lambda: store["lok"], 'no parameter "lok"', 'did you mean "loc"?', "Parameters: loc.")
    fails(KeyError, lambda: store.bind({"lok": torch.zeros(())}), 'no parameter "lok"', 'did you mean "loc"?')
    with pytest.raises(KeyError, match="zzz"):
        store.constraint("zzz")


def test_a_constraint_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(constraints.GreaterThan):
        pass

    rules = dist.transform_to._rules
    monkeypatch.setitem(rules, Odd, rules[constraints.GreaterThan])
    store = ParamStore()
    store.get_or_init("w", torch.ones(2), Odd(0.0))
    fails(ValueError, store.state_dict, 'param "w"', "Odd is not one of our constraints", "Try saving store.leaves")


@pytest.mark.parametrize("handler", [h.condition, h.do, h.substitute])
def test_data_without_a_value(handler: Any) -> None:
    name = handler.__name__
    fails(TypeError, lambda: handler(model, data={"mu": None}), f'{name}: site "mu" needs a value', "got None")


def test_a_plate_of_another_kind_of_size() -> None:
    message = fails(TypeError, lambda: plate("p", 3.5), 'plate "p": size must be an int', "got float")  # type: ignore[arg-type]
    assert len(eval(advice(message), {"plate": plate, "data": torch.zeros(4)})) == 4

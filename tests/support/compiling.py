"""Compiled steps in tests: the same run with and without, and graphs that are interpreted instead of compiled.

Machine code takes seconds to make. An interpreted graph holds the same operations, and takes a moment.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from inference import ELBO, SVI, optim
from ppl import ParamStore

Program = Callable[..., Any]
Pair = Callable[[], tuple[Program, Program]]
Arguments = Callable[[int], tuple[Any, ...]]

compiling = importlib.import_module("inference.compile")  # the package has a function of that name


class Ran(NamedTuple):
    """An SVI after its steps: losses, constrained parameters, and itself."""

    losses: list[float]
    params: dict[str, Tensor]
    svi: SVI


def build_interpreted(graph: Any, steps: int = 1) -> Any:
    """What stands in for `inference.compile.build`: the operations that would be compiled, run by Python."""
    found = compiling.packed(graph)
    if found is None:
        module, _ = compiling.lowered(graph, steps)
        return compiling.Kernel(lambda given: module(*given), None, graph.num_out)
    module, _ = compiling.lowered(found.graph, steps)

    def call(given: list[Tensor]) -> Any:
        inputs = found.packing.inputs(given[1:])
        outputs = module(given[0], *inputs)
        found.packing.put_back(inputs, given[1:])
        return outputs

    return compiling.Kernel(call, None, graph.num_out)


def recorded(program: Program, data: Sequence[Tensor], state: Sequence[Tensor] = (), **options: Any) -> Any:
    """The graph of a function of state and data that gives the new state, then what else is wanted."""

    def moved(state: list[Tensor], data: list[Tensor]) -> Any:
        found = program(*state, *data)
        return compiling.Moved(found[: len(state)], found[len(state) :])

    return compiling.record(moved, state, data, **options)


def steps_of(
    pair: Pair,
    compile: Any,
    *,
    optimizer: Any = None,
    loss: ELBO | None = None,
    steps: int = 4,
    arguments: Arguments = lambda step: (),
) -> Ran:
    """Steps from the start in a store of their own, with new programs of `pair` and the arguments of each step."""
    torch.manual_seed(5)
    model, guide = pair()
    with ParamStore() as store:
        svi = SVI(model, guide, optimizer or optim.Adam(lr=0.05), loss, store=store, seed=3, compile=compile)
        losses = [svi.step(*arguments(step)) for step in range(steps)]
        return Ran(losses, {name: value.detach().clone() for name, value in store.items()}, svi)


def assert_as_eager(pair: Pair, *, graphs: int | None = 1, rtol: float = 1e-5, **options: Any) -> Ran:
    """The compiled run gives the losses and the parameters of the eager one, and did run as a graph."""
    eager, compiled = steps_of(pair, False, **options), steps_of(pair, "eager draws", **options)
    assert graphs is None or len(compiled.svi.compiled) == graphs
    assert sum(step.calls for step in compiled.svi.compiled) == len(compiled.losses) - 1  # all but the first
    assert compiled.losses == pytest.approx(eager.losses, rel=rtol, abs=rtol)
    assert_same(compiled.params, eager.params, rtol)
    assert any(
        not torch.equal(value, steps_of(pair, False, **{**options, "steps": 1}).params[name])
        for name, value in eager.params.items()
    ), "no parameter moves, so the test shows nothing"
    return compiled


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], rtol: float = 1e-5) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            found[name], value, rtol=rtol, atol=rtol, msg=lambda said, name=name: f"{name}: {said}"
        )


def shapes(steps: Sequence[Any]) -> list[Any]:
    return [step.shapes for step in steps]

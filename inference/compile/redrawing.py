"""The draws of one run of a graph once more, for a program that runs as it is written."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .drawing import draws, from_counter
from .graph import Graph, quiet
from .lowering import Lowering, functional
from .machine import compiled
from .packing import packed

__all__ = ["redrawn"]


@contextmanager
def redrawn(graph: Graph, inputs: Sequence[Tensor]) -> Iterator[None]:
    """Random operations of torch give inside what a run on `inputs` draws, in the same order.

    Args:
        graph: whose run.
        inputs: counter, state, data and lifted tensors.
    """
    with quiet(), torch.no_grad():
        drawn = _drawn(graph, inputs) if draws(graph) else []
    with _Redrawn(drawn, from_counter(graph)):
        yield


def _drawn(graph: Graph, inputs: Sequence[Tensor]) -> list[tuple[Any, Tensor]]:
    """The random operations of a run, and what they draw."""
    found = None if graph.as_eager else packed(graph)
    rows: list[list[int]] = []
    if found is not None:
        graph, rows = found.graph, found.drawn
        inputs = [inputs[0], *found.packing.inputs(inputs[1:])]
    targets: list[Any] = []

    def drawn_by(counter: Tensor, *given: Tensor) -> list[Tensor]:
        run = Lowering(graph, counter)
        run.run(*given)
        targets[:] = [target for target, _ in run.drawn]
        return [made for _, made in run.drawn]

    module, blank = functional(drawn_by, graph)
    module.recompile()
    made = compiled(module, blank, graph, {"cpp_wrapper": False})(list(inputs))
    drawn = list(zip(targets, made, strict=True))
    return drawn if found is None else _one_by_one(drawn, rows)


def _one_by_one(drawn: Sequence[tuple[Any, Tensor]], rows: Sequence[Sequence[int]]) -> list[tuple[Any, Tensor]]:
    """Draws that were made together, in the order of the program."""
    found: dict[int, tuple[Any, Tensor]] = {}
    for (target, made), places in zip(drawn, rows, strict=True):
        for place, each in zip(places, made if len(places) > 1 else [made], strict=True):
            found[place] = target, each
    return [found[place] for place in sorted(found)]


class _Redrawn(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Hands out numbers that were drawn before, to the operations and in the shapes that they were drawn for.

    A program that looks at values may draw less than its graph, which cannot; what it leaves out is passed over.
    """

    def __init__(self, drawn: Sequence[tuple[Any, Tensor]], known: Container[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.left, self.known = list(drawn), known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        value = func(*args, **(kwargs or {}))
        if func not in self.known:
            return value
        fitting = (
            place for place, (target, made) in enumerate(self.left) if target is func and made.shape == value.shape
        )
        place = next(fitting, None)
        if place is not None:
            value.copy_(self.left[place][1])
            del self.left[: place + 1]
        return value

"""The draws of one run of a graph once more, for a program that runs as it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .graph import Graph, quiet
from .lowering import DRAWS, Lowering, draws
from .machine import compiled

__all__ = ["redrawn"]


@contextmanager
def redrawn(graph: Graph, inputs: Sequence[Tensor]) -> Iterator[None]:
    """Random operations of torch give inside what a run on `inputs` draws, in the same order.

    Args:
        graph: whose run.
        inputs: counter, state, data and lifted tensors.
    """
    with quiet(), torch.no_grad():
        drawn = _draws(graph)(list(inputs)) if draws(graph) else []
    with _Redrawn(drawn):
        yield


def _draws(graph: Graph) -> Any:
    """A function from the inputs of a graph to what it draws."""
    from torch.fx.experimental.proxy_tensor import make_fx

    def drawn_by(counter: Tensor, *given: Tensor) -> list[Tensor]:
        run = Lowering(graph, counter)
        run.run(*given)
        return run.drawn

    lifted = [graph.mode.from_tensor(each.detach()) for each in graph.lifted]
    with graph.mode:
        inputs = [torch.zeros((), dtype=torch.int64), *graph.inputs, *lifted]
        module = make_fx(torch.func.functionalize(drawn_by, remove="mutations"), tracing_mode="real")(*inputs)
    module.graph.eliminate_dead_code()
    module.recompile()
    return compiled(module, inputs, graph, {"cpp_wrapper": False})


class _Redrawn(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Hands out numbers that were drawn before, as long as they have the shapes that are asked for."""

    def __init__(self, drawn: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.left = list(drawn)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        value = func(*args, **(kwargs or {}))
        if func in DRAWS and self.left and self.left[0].shape == value.shape:
            value.copy_(self.left.pop(0))
        return value

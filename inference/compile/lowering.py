"""From a recorded graph to operations that Inductor takes: pure but for the end, with draws from a counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from .drawing import Draws, from_counter
from .graph import Graph
from .products import product_of

__all__ = ["SAME", "Lowering", "functional", "lowered"]

_aten = torch.ops.aten


class Lowering(fx.Interpreter):
    """Runs a recorded graph once more: leaves out what only autograd needs, and takes draws from the counter."""

    def __init__(self, graph: Graph, counter: Tensor) -> None:
        super().__init__(graph.module)
        self.draws, self.known = Draws(counter), from_counter(graph)
        self.drawn: list[tuple[Any, Tensor]] = []
        # `t_()` turns the tensor that it is given, and not what `detach` has made of it before
        turns = any(torch.Tag.inplace_view in getattr(node.target, "tags", ()) for node in graph.module.graph.nodes)
        self.same = set() if turns else SAME

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in self.same:
            return args[0]
        draw = self.known.get(target)
        if draw is None:
            return super().call_function(product_of(target, args) or target, args, kwargs)
        made = self._laid_out(draw(self.draws, *args, **kwargs))
        self.drawn.append((target, made))
        return made

    def run_node(self, n: fx.Node) -> Any:
        self.node = n
        return super().run_node(n)

    def _laid_out(self, made: Tensor) -> Tensor:
        """`made` with the strides that torch's own operation gave when the graph was recorded."""
        wanted = self.node.meta.get("val")
        if not isinstance(wanted, Tensor) or made.stride() == wanted.stride():
            return made
        return torch.empty_strided(wanted.shape, wanted.stride(), dtype=made.dtype, device=made.device).copy_(made)


SAME = {_aten.detach.default, _aten.alias.default, _aten.lift_fresh.default, _aten.lift_fresh_copy.default}


def lowered(graph: Graph, steps: int) -> tuple[fx.GraphModule, list[Tensor]]:
    """The operations of `steps` runs after each other, each in Inductor's terms, and stand-ins for their inputs."""
    count, num_state = len(graph.inputs), graph.num_state

    def whole(counter: Tensor, *inputs: Tensor) -> list[Tensor]:
        data, lifted = inputs[num_state:count], list(inputs[count:])
        now, state = counter, list(inputs[:num_state])
        outs = []
        for _ in range(steps):
            copies = [each.clone() if place in graph.written else each for place, each in enumerate(lifted)]
            moved = list(Lowering(graph, now).run(*state, *data, *copies))
            sound = moved.pop() if graph.guarded else None
            now = _kept(sound, now + 1, now)
            outs.append(moved[num_state:])
            state = [_kept(sound, new, old) for new, old in zip(moved, state, strict=False)]
            lifted = [_kept(sound, new, old) for new, old in zip(copies, lifted, strict=True)]
        old, new = (counter, *inputs[:num_state], *inputs[count:]), (now, *state, *lifted)
        moved_on = [(before, after) for before, after in zip(old, new, strict=True) if after is not before]
        memory = {_memory(before) for before, _ in moved_on}

        def apart(each: Tensor) -> Tensor:  # from what is written to below
            return each.clone() if _memory(each) in memory else each

        moved_on = [(before, apart(after)) for before, after in moved_on]
        wanted = list(map(apart, outs[0])) if steps == 1 else [torch.stack(each) for each in zip(*outs, strict=True)]
        for before, after in moved_on:
            before.copy_(after)
        return wanted

    return functional(whole, graph)


def functional(program: Callable[..., list[Tensor]], graph: Graph) -> tuple[fx.GraphModule, list[Tensor]]:
    """A program on counter, state, data and lifted tensors in Inductor's terms, and stand-ins for what it is given."""
    from torch._inductor import config
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    with config.patch(fallback_random=graph.as_eager):  # some decompositions draw otherwise than the operation does
        table = select_decomp_table()
    lifted = [graph.mode.from_tensor(each.detach()) for each in graph.lifted]
    with graph.mode:
        inputs = [torch.zeros((), dtype=torch.int64), *graph.inputs, *lifted]
        pure = torch.func.functionalize(program, remove="mutations")
        module = make_fx(pure, decomposition_table=table, tracing_mode="real")(*inputs)
    module.graph.eliminate_dead_code()
    return module, inputs


def _memory(tensor: Tensor) -> int:
    """Which it is, the same for all views."""
    found: int = tensor.untyped_storage()._cdata
    return found


def _kept(sound: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    return new if sound is None or new is old else torch.where(sound, new, old)

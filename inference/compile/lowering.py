"""From a recorded graph to operations that Inductor takes: pure but for the end, with draws from a counter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from .graph import Graph
from .once import computed_once
from .products import product_of

__all__ = ["DRAWS", "Lowering", "draws", "draws_elsewhere", "lowered"]

_ODD = 0x9E3779B1, 0x85EBCA6B  # 2^32 over the golden ratio, and an unrelated odd number
_aten = torch.ops.aten


def draws(graph: Graph) -> bool:
    """Whether it draws numbers that come from the counter."""
    return not graph.as_eager and any(node.target in DRAWS for node in graph.module.graph.nodes)


def draws_elsewhere(graph: Graph) -> bool:
    """Whether it draws numbers that do not come from the counter, but from torch's global generator."""
    return any(
        torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        and (graph.as_eager or node.target not in DRAWS)
        for node in graph.module.graph.nodes
    )


class Lowering(fx.Interpreter):
    """Runs a recorded graph once more: leaves out what only autograd needs, and takes draws from the counter."""

    def __init__(self, graph: Graph, counter: Tensor) -> None:
        super().__init__(graph.module)
        self.counter, self.as_eager = counter, graph.as_eager
        self.draws = 0
        self.drawn: list[Tensor] = []

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in _SAME:
            return args[0]
        draw = None if self.as_eager else DRAWS.get(target)
        if draw is None:
            return super().call_function(product_of(target, args) or target, args, kwargs)
        self.drawn.append(draw(self, *args, **kwargs))
        return self.drawn[-1]

    def uniform(self, shape: Sequence[int], dtype: torch.dtype, device: Any) -> Tensor:
        """Numbers in [0, 1)."""
        drawn = self._random(shape, "rand", device)
        if dtype == torch.float32:
            return drawn
        # as many digits as the dtype holds near 1, since rounding to fewer would give 1; in double, more from another
        scale = 2.0 ** min(24, round(1 - math.log2(torch.finfo(dtype).eps)))
        first = (drawn * scale).floor() / scale
        if dtype != torch.float64:
            return first.to(dtype)
        return first.double() + self._random(shape, "rand", device).double() / scale

    def normal(self, shape: Sequence[int], dtype: torch.dtype, device: Any) -> Tensor:
        """Standard normal numbers."""
        if dtype != torch.float64:
            return self._random(shape, "randn", device).to(dtype)
        radius = (-2 * torch.log1p(-self.uniform(shape, dtype, device))).sqrt()  # Box and Muller (1958)
        return radius * (2 * torch.pi * self.uniform(shape, dtype, device)).cos()

    def _random(self, shape: Sequence[int], kind: str, device: Any) -> Tensor:
        from torch._inductor import inductor_prims

        self.draws += 1
        seed = self.counter * _ODD[0] + self.draws * _ODD[1]
        drawn: Tensor = inductor_prims.random(list(shape), seed.to(device), kind)
        return drawn


_SAME = {_aten.detach.default, _aten.alias.default, _aten.lift_fresh.default, _aten.lift_fresh_copy.default}


def _like(kind: str) -> Callable[..., Tensor]:
    def draw(run: Lowering, x: Tensor, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
        found: Tensor = getattr(run, kind)(x.shape, dtype or x.dtype, device or x.device)
        return found

    return draw


def _fresh(kind: str) -> Callable[..., Tensor]:
    def draw(run: Lowering, size: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
        found: Tensor = getattr(run, kind)(size, dtype or torch.get_default_dtype(), device or "cpu")
        return found

    return draw


def _bernoulli(run: Lowering, probs: Tensor, **_: Any) -> Tensor:
    heads: Tensor = run.uniform(probs.shape, probs.dtype, probs.device) < probs
    return heads.to(probs.dtype)


def _into(kind: str) -> Callable[..., Tensor]:
    def draw(run: Lowering, x: Tensor, a: float = 0.0, b: float = 1.0, **_: Any) -> Tensor:
        made: Tensor = getattr(run, kind)(x.shape, x.dtype, x.device)
        return x.copy_(a + (b - a) * made if kind == "uniform" else a + b * made)

    return draw


DRAWS: dict[Any, Callable[..., Tensor]] = {
    _aten.randn_like.default: _like("normal"),
    _aten.rand_like.default: _like("uniform"),
    _aten.randn.default: _fresh("normal"),
    _aten.rand.default: _fresh("uniform"),
    _aten.normal_.default: _into("normal"),
    _aten.uniform_.default: _into("uniform"),
    _aten.bernoulli.default: _bernoulli,
}


def lowered(graph: Graph, steps: int) -> tuple[fx.GraphModule, list[Tensor]]:
    """The operations of `steps` runs after each other, each in Inductor's terms, and stand-ins for their inputs."""
    from torch._inductor import config
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

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
        old = (counter, *inputs[:num_state], *inputs[count:])
        new = [each.clone() if any(each is one for one in old) else each for each in (now, *state, *lifted)]
        for before, after, same in zip(old, new, (now, *state, *lifted), strict=True):
            if same is not before:
                before.copy_(after)
        return outs[0] if steps == 1 else [torch.stack(each) for each in zip(*outs, strict=True)]

    with config.patch(fallback_random=graph.as_eager):  # some decompositions draw otherwise than the operation does
        table = select_decomp_table()
    lifted = [graph.mode.from_tensor(each.detach()) for each in graph.lifted]
    with graph.mode:
        inputs = [torch.zeros((), dtype=torch.int64), *graph.inputs, *lifted]
        functional = torch.func.functionalize(whole, remove="mutations")
        module = make_fx(functional, decomposition_table=table, tracing_mode="real")(*inputs)
    module.graph.eliminate_dead_code()
    computed_once(module)
    return module, inputs


def _kept(sound: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    return new if sound is None or new is old else torch.where(sound, new, old)

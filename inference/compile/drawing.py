"""What a graph draws, from a counter in place of torch's generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import variates
from .graph import Graph

__all__ = ["Draws", "draws", "draws_elsewhere", "from_counter"]

FEW = 32  # so many numbers are made inside the kernel that uses them in the time of a call to the generator
_ODD = 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35  # 2^32 over the golden ratio, and unrelated odd numbers
_aten = torch.ops.aten


class Draws:
    """The draws of one run of a graph: a key for the run, and a stream of its own for each draw.

    Few numbers are drawn by Inductor, whose keys have 32 bits: within a run they differ, between seeds they may meet.
    """

    def __init__(self, counter: Tensor) -> None:
        self.counter, self.streams = counter, 0

    def uniform(self, shape: Sequence[int], dtype: torch.dtype, device: Any) -> Tensor:
        """Numbers in [0, 1), multiples of 2^-24, in double of 2^-53, in half precision of what it holds near 1."""
        if dtype == torch.float64 and torch.device(device).type == "cpu":
            return self._noise(variates.DOUBLES, shape)
        drawn = self._floats(shape, device)
        if dtype == torch.float32:
            return drawn
        scale = 2.0 ** min(24, round(1 - math.log2(torch.finfo(dtype).eps)))  # rounding to fewer digits would give 1
        first = (drawn * scale).floor() / scale
        if dtype != torch.float64:
            return first.to(dtype)
        return first.double() + self._floats(shape, device).double() / scale

    def normal(self, shape: Sequence[int], dtype: torch.dtype, device: Any) -> Tensor:
        """Standard normal numbers."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        if dtype != torch.float64 and _inside(shape, device):
            return self._random(shape, "randn", device).to(dtype)
        count = math.prod(shape)
        pairs = self.uniform((2, -(-count // 2)), wide, device)
        radius = (-2 * torch.log1p(-pairs[0])).sqrt()  # Box and Muller (1958)
        angle = 2 * torch.pi * pairs[1]
        return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count].reshape(shape).to(dtype)

    def exponential(self, shape: Sequence[int], dtype: torch.dtype, device: Any) -> Tensor:
        """Exponential numbers with rate one, never 0."""
        least = 2.0**-54  # half of the first step of the uniform numbers, whose 0 stands for all below it
        return -torch.log1p(-self.uniform(shape, torch.float64, device).clamp(min=least)).to(dtype)

    def permutation(self, count: int) -> Tensor:
        """The numbers below `count` in random order, on the CPU."""
        return self._noise(variates.PERMUTATION, (count,))

    def variates(self, law: int, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Draws of the laws that take a loop per number, on the CPU."""
        wide = torch.float64 if first.dtype == torch.float64 else torch.float32
        both = torch.broadcast_tensors(first, first if second is None else second)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        given = [each.to(wide).contiguous() for each in both]
        _, operation = variates.operations()
        made: Tensor = operation(self.counter, self._stream(), law, *given)
        return made.to(first.dtype)

    def _stream(self) -> int:
        self.streams += 1
        return self.streams

    def _noise(self, kind: int, shape: Sequence[int]) -> Tensor:
        operation, _ = variates.operations()
        made: Tensor = operation(self.counter, self._stream(), kind, math.prod(shape))
        return made.reshape(shape)

    def _floats(self, shape: Sequence[int], device: Any) -> Tensor:
        if _inside(shape, device):
            return self._random(shape, "rand", device)
        return self._noise(variates.FLOATS, shape)

    def _random(self, shape: Sequence[int], kind: str, device: Any) -> Tensor:
        """By Inductor's own Philox, number by number inside a kernel: fast on a GPU, and for few numbers."""
        from torch._inductor import inductor_prims

        # of which 32 bits count: without its upper half a counter would say the step, and not the run
        seed = self.counter * _ODD[0] + (self.counter >> 32) * _ODD[2] + self._stream() * _ODD[1]
        drawn: Tensor = inductor_prims.random(list(shape), seed.to(device), kind)
        return drawn


def _inside(shape: Sequence[int], device: Any) -> bool:
    return torch.device(device).type != "cpu" or math.prod(shape) <= FEW


Draw = Callable[..., Tensor]


def _like(kind: str) -> Draw:
    def draw(draws: Draws, x: Tensor, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
        found: Tensor = getattr(draws, kind)(x.shape, dtype or x.dtype, device or x.device)
        return found

    return draw


def _fresh(kind: str) -> Draw:
    def draw(draws: Draws, size: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
        found: Tensor = getattr(draws, kind)(size, dtype or torch.get_default_dtype(), device or "cpu")
        return found

    return draw


def _bernoulli(draws: Draws, probs: Tensor, **_: Any) -> Tensor:
    heads: Tensor = draws.uniform(probs.shape, probs.dtype, probs.device) < probs
    return heads.to(probs.dtype)


def _bernoulli_into(draws: Draws, x: Tensor, probs: float = 0.5, **_: Any) -> Tensor:
    return x.copy_(draws.uniform(x.shape, torch.float32, x.device) < probs)


def _into(kind: str) -> Draw:
    def draw(draws: Draws, x: Tensor, a: float = 0.0, b: float = 1.0, **_: Any) -> Tensor:
        made: Tensor = getattr(draws, kind)(x.shape, x.dtype, x.device)
        return x.copy_(a + (b - a) * made if kind == "uniform" else a + b * made)

    return draw


def _exponential(draws: Draws, x: Tensor, rate: float = 1.0, **_: Any) -> Tensor:
    return draws.exponential(x.shape, x.dtype, x.device) / rate


def _exponential_into(draws: Draws, x: Tensor, rate: float = 1.0, **_: Any) -> Tensor:
    return x.copy_(_exponential(draws, x, rate))


def _law(law: int) -> Draw:
    def draw(draws: Draws, first: Tensor, second: Any = None, **_: Any) -> Tensor:
        return draws.variates(law, first, second if isinstance(second, Tensor) else None)

    return draw


def _permutation(draws: Draws, count: int, *, dtype: Any = None, **_: Any) -> Tensor:
    return draws.permutation(count).to(dtype or torch.int64)


_ANYWHERE: dict[Any, Draw] = {
    _aten.randn_like.default: _like("normal"),
    _aten.rand_like.default: _like("uniform"),
    _aten.randn.default: _fresh("normal"),
    _aten.rand.default: _fresh("uniform"),
    _aten.randn.generator: _fresh("normal"),
    _aten.rand.generator: _fresh("uniform"),
    _aten.normal_.default: _into("normal"),
    _aten.uniform_.default: _into("uniform"),
    _aten.bernoulli.default: _bernoulli,
    _aten.bernoulli_.float: _bernoulli_into,
    _aten.exponential.default: _exponential,
    _aten.exponential_.default: _exponential_into,
}
_ON_CPU: dict[Any, Draw] = {
    _aten._standard_gamma.default: _law(variates.GAMMA),
    _aten.poisson.default: _law(variates.POISSON),
    _aten.binomial.default: _law(variates.BINOMIAL),
    _aten.randperm.default: _permutation,
}


def from_counter(graph: Graph) -> dict[Any, Draw]:
    """The random operations whose draws come from the counter, each with what takes its place."""
    if graph.as_eager:
        return {}
    on_cpu = all(each.device.type == "cpu" for each in (*graph.inputs, *graph.lifted))
    return {**_ANYWHERE, **_ON_CPU} if on_cpu else _ANYWHERE


def draws(graph: Graph) -> bool:
    """Whether it draws numbers that come from the counter."""
    known = from_counter(graph)
    return any(node.target in known for node in graph.module.graph.nodes)


def draws_elsewhere(graph: Graph) -> bool:
    """Whether it draws numbers that do not come from the counter, but from torch's global generator."""
    known = from_counter(graph)
    return any(
        torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and node.target not in known
        for node in graph.module.graph.nodes
    )

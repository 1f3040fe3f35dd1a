"""The step of `SVI` as a program from a list of tensors to a list of tensors, and the graph of it."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ppl import ParamStore
from ppl_dist import validating
from ppl_dist.tree import rebuilt

from .baselines import Baselines
from .compile import Graph, Kernel, Moved, build, constant, draws_elsewhere, hooked, layout, record
from .moving import Option, moments, moved, numbers
from .optim import Update
from .untraceable import Untraceable

__all__ = ["Call", "LossOf", "Plan", "Stepping", "facts_of", "fixed", "state_of", "update_of"]

LossOf = Callable[[ParamStore, Baselines, Sequence[Any], Mapping[str, Any]], Tensor]


class Stepping(Protocol):
    """State that a step moves."""

    params: ParamStore
    seed: int
    step: int
    baselines: Baselines
    optimizer: Update | None

    def generator(self) -> torch.Generator:
        """The generator of the next step."""


class Call:
    """The arguments of a step, taken apart: tensors and changing numbers are inputs, the rest is part of the graph."""

    def __init__(self, leaves: list[Any], structure: Any, inputs: set[Any]) -> None:
        self.leaves, self.structure = leaves, structure
        self.places = [place for place, each in enumerate(leaves) if isinstance(each, Tensor)]
        self.numbers = [place for place, each in enumerate(leaves) if type(each) is float and place in inputs]
        self.key = structure, *(self._fact(place, each) for place, each in enumerate(leaves))

    @property
    def tensors(self) -> list[Tensor]:
        return [self.leaves[place] for place in self.places]

    @property
    def data(self) -> list[Tensor]:
        """The inputs: tensors, then numbers."""
        return [*self.tensors, *(torch.tensor(self.leaves[place]) for place in self.numbers)]

    def rebuilt(self, data: Sequence[Tensor]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Positional and keyword arguments with other tensors in place of `data`."""
        leaves = list(self.leaves)
        for place, each in zip((*self.places, *self.numbers), data, strict=True):
            leaves[place] = each
        args, kwargs = rebuilt(leaves, self.structure)
        return args, kwargs

    def _fact(self, place: int, each: Any) -> Hashable:
        if isinstance(each, Tensor):
            return _meta(each)
        if place in self.numbers:
            return float
        return constant(each)


class Plan:
    """How the state of an SVI is laid out as a list of tensors, the graph of its step, and the kernels."""

    def __init__(self, owned: Stepping, call: Call, inputs: set[Any], loss_of: LossOf, *, as_eager: bool) -> None:
        update = update_of(owned)
        self.names = list(owned.params)
        leaves = list(owned.params.leaves.values())
        if any(map(hooked, leaves)):
            raise Untraceable(
                "a parameter has a hook, which Python runs. Try inference.optim with clip_value or clip_norm."
            )
        self.slots = list(moments(update, leaves))
        self.sites = list(owned.baselines.averages)
        self.options = [option for option in numbers(update) if option in inputs]
        count, num_slots, num_options = len(leaves), len(self.slots), len(self.options)

        def program(state: list[Tensor], data: list[Tensor]) -> Moved:
            standing = [
                tensor.detach().requires_grad_(leaf.requires_grad)
                for tensor, leaf in zip(state[:count], leaves, strict=True)
            ]
            params = owned.params.bind(dict(zip(self.names, standing, strict=True)))
            baselines = Baselines(dict(zip(self.sites, state[count + num_slots :], strict=True)))
            args, kwargs = call.rebuilt(data[num_options:])
            with torch.enable_grad(), validating(False), _InPlaceOf(leaves, standing):
                loss = loss_of(params, baselines, args, kwargs)
            self._check(params, baselines, owned)
            before = dict(zip(self.slots, state[count : count + num_slots], strict=True))
            after, kept = standing, list(before.values())
            if loss.requires_grad:
                learned = [each for each in standing if each.requires_grad]
                found = iter(torch.autograd.grad(loss, learned, allow_unused=True))
                gradients = [next(found) if each.requires_grad else None for each in standing]
                chosen = dict(zip(self.options, data[:num_options], strict=True))
                after, kept = moved(update, leaves, standing, gradients, before, chosen)
            loss = loss.detach()
            averages = [baselines.averages[name].detach() for name in self.sites]
            return Moved([*(x.detach() for x in after), *kept, *averages], [loss.double()], loss.isfinite())

        state = state_of(owned)
        options = [torch.zeros((), dtype=torch.float64) for _ in self.options]
        self.graph: Graph = record(program, state, [*options, *call.data], as_eager=as_eager)
        own = set(map(id, leaves))
        if any(id(each) in own for each in self.graph.lifted):
            raise Untraceable("the program reads a parameter where torch does not tell. Try ppl.module or ppl.param.")
        self.draws_elsewhere = draws_elsewhere(self.graph)
        self._kernels: dict[int, Kernel] = {}

    def kernel(self, unroll: int) -> Kernel:
        """The machine code of `unroll` steps after each other."""
        if unroll not in self._kernels:
            self._kernels[unroll] = build(self.graph, unroll)
        return self._kernels[unroll]

    def _check(self, params: ParamStore, baselines: Baselines, owned: Stepping) -> None:
        if len(params) != len(self.names):
            new = next(name for name in params if name not in self.names)
            raise Untraceable(f'param "{new}" is not registered by every step. Try to register it in all of them.')
        now = {name: value.shape for name, value in baselines.averages.items()}
        if now != {name: value.shape for name, value in owned.baselines.averages.items()}:
            raise Untraceable("a decaying-average baseline changes its shape from step to step.")


class _InPlaceOf(TorchFunctionMode):
    """Operations on a leaf work on the tensor that stands for it, wherever the program has the leaf from.

    A network that was registered with `ppl.module` may be called by its own name, and then reads its own parameters.
    """

    def __init__(self, leaves: Sequence[Tensor], standing: Sequence[Tensor]) -> None:
        super().__init__()
        self.standing = dict(zip(map(id, leaves), standing, strict=True))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*self._put(args), **self._put(kwargs or {}))

    def _put(self, given: Any) -> Any:
        if isinstance(given, Tensor):
            return self.standing.get(id(given), given)
        if isinstance(given, dict):
            return {name: self._put(each) for name, each in given.items()}
        return type(given)(map(self._put, given)) if type(given) in (list, tuple) else given


def state_of(owned: Stepping) -> list[Tensor]:
    """All that a step moves."""
    leaves = list(owned.params.leaves.values())
    return [*leaves, *moments(update_of(owned), leaves).values(), *owned.baselines.averages.values()]


def update_of(owned: Stepping) -> Update:
    """The optimiser, which a step that is compiled has."""
    assert owned.optimizer is not None
    return owned.optimizer


def facts_of(owned: Stepping) -> Hashable:
    """What a graph knows of the state it moves."""
    leaves = owned.params.leaves
    return (
        tuple((name, _meta(leaf), hooked(leaf), owned.params.constraint(name)) for name, leaf in leaves.items()),
        tuple((slot, _meta(value)) for slot, value in moments(update_of(owned), list(leaves.values())).items()),
        tuple((name, _meta(value)) for name, value in owned.baselines.averages.items()),
    )


def fixed(options: Mapping[Option, float], inputs: Container[Any]) -> dict[Option, float]:
    """What a graph knows of an optimiser's numbers: of those that are inputs, no more than whether they are zero.

    No graph depends on whether a learning rate is.
    """
    return {
        option: value != 0 if option in inputs else value
        for option, value in options.items()
        if option.name != "lr" or option not in inputs
    }


def _meta(tensor: Tensor) -> Hashable:
    return layout(tensor), tensor.requires_grad

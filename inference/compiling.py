"""`inference.compile`: any function of handlers, distributions and tensors as machine code."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor

from ppl import ParamStore, get_param_store
from ppl_dist import validating
from ppl_dist.tree import flattened, rebuilt
from ppl_dist.values import plainly_eager

from .compile import Graph, Kernel, Moved, build, draws, layout, record
from .untraceable import Untraceable, outside

__all__ = ["Compiled", "compile"]

P = ParamSpec("P")
T = TypeVar("T")
KEPT = 8
"""How many graphs one function keeps; the one that was not used for longest goes first."""


class Compiled(Generic[P, T]):
    """A function that runs as machine code; `compile` makes it.

    Attributes:
        function: as it was written.
        known: the graphs that are kept, by what they are for; None where the function runs as it is written.
    """

    def __init__(self, function: Callable[P, T]) -> None:
        self.function = function
        self.known: OrderedDict[Hashable, _Recorded | None] = OrderedDict()
        update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        if not plainly_eager():  # inside grad, vmap, or a graph that is being recorded
            return self.function(*args, **kwargs)
        leaves, structure = flattened((args, kwargs))
        tensors = [each for each in leaves if isinstance(each, Tensor)]
        if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
            return self.function(*args, **kwargs)
        store = get_param_store()
        key = structure, *map(_fact, leaves), *_ids(store), torch.get_default_dtype()
        found = self.known.get(key)
        if key not in self.known or (found is not None and not found.graph.stands):
            found = self.known[key] = self._recorded(leaves, structure, store)
            while len(self.known) > KEPT:
                self.known.popitem(last=False)
        self.known.move_to_end(key)
        if found is None or (torch.is_grad_enabled() and found.learns):
            return self.function(*args, **kwargs)
        result: T = found(tensors)
        return result

    def _recorded(self, leaves: list[Any], structure: Any, store: ParamStore) -> _Recorded | None:
        bound = store.bind(store.leaves)
        try:
            with bound:
                return _Recorded(self.function, leaves, structure)
        except Untraceable as error:
            if len(bound) > len(store):  # the call as it is written registers them, and the next one is recorded
                return None
            name = getattr(self.function, "__name__", type(self.function).__name__)
            warnings.warn(f"compile: {name} cannot be compiled and runs as it is: {error}", stacklevel=outside())
            return None


class _Recorded:
    """The graph of one call, and how its outputs are put together."""

    def __init__(self, function: Callable[..., Any], leaves: list[Any], structure: Any) -> None:
        places = [place for place, each in enumerate(leaves) if isinstance(each, Tensor)]
        made: list[Any] = []

        def program(state: list[Tensor], data: list[Tensor]) -> Moved:
            given = list(leaves)
            for place, tensor in zip(places, data, strict=True):
                given[place] = tensor
            args, kwargs = rebuilt(given, structure)
            known = set(get_param_store())
            with validating(False):
                out, shape = flattened(function(*args, **kwargs))
            if new := set(get_param_store()) - known:
                raise Untraceable(f'param "{min(new)}" is registered by the call. Try to register it before.')
            made[:] = [shape, out]
            return Moved([], [each for each in out if isinstance(each, Tensor)])

        self.graph: Graph = record(program, [], [leaves[place] for place in places])
        self.structure, self.out = made[0], [None if isinstance(each, Tensor) else each for each in made[1]]
        self.tensors = [isinstance(each, Tensor) for each in made[1]]
        self.kernel: Kernel = build(self.graph)
        self.draws = draws(self.graph)
        self.learns = any(each.requires_grad for each in self.graph.lifted)

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        start = torch.randint(2**31, ()) if self.draws else torch.zeros((), dtype=torch.int64)
        found = iter(self.kernel([start, *tensors, *self.graph.lifted]))
        out = [next(found) if tensor else value for tensor, value in zip(self.tensors, self.out, strict=True)]
        return rebuilt(out, self.structure)


def compile(function: Callable[P, T]) -> Compiled[P, T]:
    """The same function, recorded as one graph for each shape of its arguments and run as machine code.

    Handlers, distributions and sites run when the graph is recorded, and are gone; value checks are off. What the
    function closes over is read anew at each call, so parameters may move. Draws follow torch's global seed. What
    cannot be recorded is told once, and runs as it is written. Under `torch.func` transformations, and where a
    gradient may be asked for, the function runs as it is written too: call it under `torch.no_grad()` if it reads
    parameters. A transformed function can itself be compiled: `compile(torch.func.hessian(potential))`.

    Args:
        function: of tensors, in any nesting of tuples, lists and dictionaries; other arguments are part of the graph.

    >>> import ppl_dist as dist
    >>> density = compile(lambda x: dist.Normal(0.0, 1.0).log_prob(x))
    >>> density(torch.zeros(2))
    tensor([-0.9189, -0.9189])
    """
    return Compiled(function)


def _ids(store: ParamStore) -> list[Hashable]:
    """Which parameters there are: another leaf under an old name is another graph."""
    return [(name, id(leaf)) for name, leaf in store.leaves.items()]


def _fact(each: Any) -> Hashable:
    if isinstance(each, Tensor):
        return layout(each)
    return (type(each), each) if isinstance(each, Hashable) else id(each)

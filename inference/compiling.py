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

from .compile import Graph, Kernel, Moved, build, constant, draws, layout, record
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
        self._last: _Ready | None = None
        update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        if not plainly_eager():  # inside grad, vmap, or a graph that is being recorded
            return self.function(*args, **kwargs)
        last, tensors = self._last, list[Tensor]()
        if last is not None and last.fits(args, kwargs, tensors):
            found: _Recorded | None = last.recorded
        else:
            leaves, structure = flattened((args, kwargs))
            tensors = [each for each in leaves if isinstance(each, Tensor)]
            if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
                return self.function(*args, **kwargs)
            found = self._found(leaves, structure)
            self._last = None if found is None else _Ready(found, args, kwargs)
        if found is None or (torch.is_grad_enabled() and found.learns):
            return self.function(*args, **kwargs)
        result: T = found(tensors)
        return result

    def _found(self, leaves: list[Any], structure: Any) -> _Recorded | None:
        store = get_param_store()
        key = structure, *map(_fact, leaves), *_ids(store), torch.get_default_dtype()
        found = self.known.get(key)
        if key not in self.known or (found is not None and not found.graph.stands):
            found = self.known[key] = self._recorded(leaves, structure, store)
            while len(self.known) > KEPT:
                self.known.popitem(last=False)
        self.known.move_to_end(key)
        return found

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
        self.draws, self.start = draws(self.graph), torch.zeros((), dtype=torch.int64)
        self.learns = any(each.requires_grad for each in self.graph.lifted)

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        start = torch.randint(2**62, ()) if self.draws else self.start  # which a run moves on
        found = iter(self.kernel([start, *tensors, *self.graph.lifted]))
        out = [next(found) if tensor else value for tensor, value in zip(self.tensors, self.out, strict=True)]
        return rebuilt(out, self.structure)


class _Ready:
    """The graph of the last call, and what another call has to look like to be the same but for numbers in tensors."""

    def __init__(self, recorded: _Recorded, args: Any, kwargs: Any) -> None:
        self.recorded, self.args, self.kwargs = recorded, _pattern(args), _pattern(kwargs)
        self.ids, self.dtype = _ids(get_param_store()), torch.get_default_dtype()

    def fits(self, args: Any, kwargs: Any, tensors: list[Tensor]) -> bool:
        """Whether a call does, without taking it apart leaf by leaf; if so, its tensors are put in the list."""
        return (
            _matches(args, self.args, tensors)
            and _matches(kwargs, self.kwargs, tensors)
            and not (torch.is_grad_enabled() and any(each.requires_grad for each in tensors))
            and self.ids == _ids(get_param_store())
            and self.dtype is torch.get_default_dtype()
            and self.recorded.graph.stands
        )


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
    return layout(each) if isinstance(each, Tensor) else constant(each)


_TENSORS = {Tensor, torch.nn.Parameter}
_PLAIN = {bool, int, float, str, type(None)}


def _pattern(value: Any) -> Any:
    """Facts in place of leaves, lists in place of tuples and lists; an object in place of what may hold anything."""
    if type(value) is dict:
        return {name: _pattern(each) for name, each in value.items()}
    if type(value) in (tuple, list):
        return [type(value), *map(_pattern, value)]
    return _fact(value) if type(value) in _TENSORS | _PLAIN else object()


def _matches(value: Any, pattern: Any, tensors: list[Tensor]) -> bool:
    kind = type(value)
    if kind in _TENSORS:
        tensors.append(value)
        return bool(layout(value) == pattern)
    if kind is dict:
        same = type(pattern) is dict and list(value) == list(pattern)
        return same and all(_matches(each, pattern[name], tensors) for name, each in value.items())
    if kind is tuple or kind is list:
        same = type(pattern) is list and len(pattern) == len(value) + 1 and pattern[0] is kind
        return same and all(_matches(each, wanted, tensors) for each, wanted in zip(value, pattern[1:], strict=True))
    return kind in _PLAIN and bool(_fact(value) == pattern)

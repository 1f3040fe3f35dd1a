"""Which sites a value depends on: their names travel with the tensors through every operation.

A tagged tensor is an ordinary one with a set of names; whatever is computed from it has them too. Three things do not
show on the result of an operation, and `track` watches for them while a model runs:

* A write into a tensor changes all tensors that share its memory: such names are kept with the memory.
* What Python has read off a tensor (`bool(z)`, `z.item()`, the length of `x[x > z]`) may steer anything from there on:
  every later site of the run depends on it. Shapes and dtypes are otherwise no such reading, nor is a look that a
  distribution takes in order to check its parameters or to choose between two forms of one answer.
* Inside `torch.func.vmap` and its kin tensors lose their names: an operation there is a reading of every site so far.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ppl.runtime import Handler, Site, enclosing

__all__ = ["parents", "provenance", "track", "untracked"]

_NONE: frozenset[str] = frozenset()
_WRITES = re.compile(r"(?!__)\w+_|__(i\w+|set|setitem)__")  # functions that change their first argument
_SHAPED = re.compile(r"_?unique\w*|nonzero|argwhere|bincount|arange|zeros|ones|empty|one_hot|backward")  # by values
# functions that give no tensor and tell nothing about the values in one
_METADATA = re.compile(r"__(get|len|hash|repr|dir)__|is_(?!nonzero)\w+|\w*dim|size|stride|n(umel|element)|type|\w*hook")
# modules that read for whoever calls them; the rest of these packages looks at values for ends of its own
_AGENTS = re.compile(r"torch\.(?!distributions\.distribution)|ppl_dist\.(?!val|constraints)|ppl\.provenance")


def provenance(value: Any) -> frozenset[str]:
    """The names of the sites that a value depends on, as far as `track` has followed them.

    Args:
        value: a tensor, a distribution, or whatever else holds tensors: containers, objects, functions with closures.

    >>> import ppl_dist as dist
    >>> from ppl import sample
    >>> with track():
    ...     x = sample("x", dist.Normal(0.0, 1.0))
    ...     y = sample("y", dist.Normal(x, 1.0))
    >>> sorted(provenance([x.exp(), {"y": y + 1}])), provenance(dist.Normal(x, 1.0))
    (['x', 'y'], frozenset({'x'}))
    """
    with torch._C.DisableTorchFunction():
        return _NONE.union(*[_names(tensor) for tensor in _tensors(value)])


def parents(site: Site) -> frozenset[str]:
    """The names of the sites that a site of a run under `track` depends on directly.

    They are those in its distribution, its scale and its mask, in the value of a deterministic or an observed site, and
    those that the model had read before it.

    Args:
        site: a site, of a trace for instance.
    """
    given: frozenset[str] = site.infer.get("_given", _NONE)
    return (given | provenance((site.fn if site.type == "sample" else None, site.scale, site.mask))) - {site.name}


def untracked(value: Any) -> Any:
    """The plain tensor, with the same memory and the same gradient; anything that is not tagged is given back."""
    with torch._C.DisableTorchFunction():
        return value.view_as(value) if isinstance(value, _Tagged) else value


class track(Handler, TorchFunctionMode):
    """Follow which sites the values inside depend on, for `provenance` and `parents` to tell.

    The values of sample sites and parameters carry their own names, those of deterministic and observed sites also the
    names they were computed from. Numbers and gradients stay what they are; the run takes longer.

    Args:
        fn: the model.

    >>> import ppl_dist as dist
    >>> from ppl import handlers, sample
    >>> def model():
    ...     z = sample("z", dist.Normal(0.0, 1.0))
    ...     x = sample("x", dist.Normal(2 * z, 1.0))
    ...     sample("y", dist.Normal(x, 1.0), obs=0.5)
    >>> tr = handlers.trace(track(model)).get_trace()
    >>> {name: sorted(parents(site)) for name, site in tr.items()}
    {'z': [], 'x': ['z'], 'y': ['x']}
    """

    level: int | None  # of the transformations around the run
    seen = _NONE  # the names so far
    read: set[str]  # those whose values the model has read

    def begin(self) -> Self:
        run = type(self)()
        run.level, run.read = torch._C._functorch.maybe_current_level(), set()
        TorchFunctionMode.__enter__(run)  # type: ignore[no-untyped-call]  # torch has no types there
        return run

    def end(self, error: BaseException | None) -> None:
        TorchFunctionMode.__exit__(self, None, None, None)  # type: ignore[no-untyped-call]  # nor there

    def finish(self, site: Site) -> None:
        if site.type in ("plate", "subsample"):
            return
        given = provenance(site.value) if site.is_observed or site.type == "deterministic" else _NONE
        site.infer = {**site.infer, "_given": given | self.read, "_read": self.read}  # the last goes on growing
        names = given | {site.name}
        self.seen |= names
        if not isinstance(site.value, Tensor):  # it cannot carry a name
            self.read |= names
        elif _names(site.value) != names:  # as after another `track` of the same run
            with torch._C.DisableTorchFunction():
                site.value = _tag(site.value.view_as(site.value), names)

    def watch(self, name: str, args: Any, kwargs: Any, result: Any, read: frozenset[str]) -> None:
        """Called after every operation of the run, with the names of what the model learns from it."""
        self.read |= read if torch._C._functorch.maybe_current_level() == self.level else self.seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _followed(func, args, kwargs or {})


class _Tagged(Tensor):
    """A tensor whose names go on to what is computed from it outside of `track` too."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _followed(func, args, kwargs or {})


def _followed(func: Any, args: Any, kwargs: Any) -> Any:
    """The result of an operation, with the names of all that went in; the runs around learn of it.

    Torch calls whichever mode was entered last in this thread; the runs are those of this context.
    """
    name, inputs = func.__name__, list(_tensors((args, kwargs)))
    plain = name in ("__repr__", "__format__", "__deepcopy__")  # these do other things to subclasses
    with torch._C.DisableTorchFunctionSubclass():  # modes further out see the operation too
        result = func(untracked(args[0]), *args[1:]) if plain else func(*args, **kwargs)
    with torch._C.DisableTorchFunction():
        names, read = provenance(inputs), _NONE
        if names:
            for tensor in _tensors((args[:1] if _WRITES.fullmatch(name) else (), kwargs.get("out"))):
                if not names <= _names(tensor):
                    tensor.untyped_storage().carried = names | _names(tensor)
            _tag(result, names, inputs)
            read = provenance(_read(name, args, kwargs, result))
        for run in enclosing(track):
            run.watch(name, args, kwargs, result, read if read and _by_the_model() else _NONE)
    return result


def _read(name: str, args: Any, kwargs: Any, result: Any) -> Any:
    """What Python learns about from a result: all that is in it if it is no tensor, or what has decided its shape."""
    if name == "__getitem__":
        index = args[1] if isinstance(args[1], tuple) else args[1:]
        return [part for part in index if not isinstance(part, Tensor) or part.dtype is torch.bool]
    if name in ("masked_select", "repeat_interleave"):
        return args[1:] or args, kwargs
    told = result is not None and next(_tensors(result), None) is None and not _METADATA.fullmatch(name)
    return (args, kwargs) if told or _SHAPED.fullmatch(name) else ()


def _by_the_model() -> bool:
    """Whether who reads is the model, and not a check of a distribution or a handler."""
    frame: Any = sys._getframe()
    while _AGENTS.match(name := frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return not name.startswith(("torch.", "ppl_dist.", "ppl."))


def _names(tensor: Any) -> frozenset[str]:
    """The names a tensor carries, and those that were written into its memory."""
    memory = tensor.untyped_storage() if torch._C._has_storage(tensor) else None  # none inside a transformation
    names: frozenset[str] = getattr(tensor, "carried", _NONE) | getattr(memory, "carried", _NONE)
    return names


def _tag(value: Any, names: frozenset[str], inputs: Iterable[Tensor] = ()) -> Any:
    """Give the names to a new tensor, or to those in a tuple, a list or an iterator; not to what was among the inputs.

    The tensor itself becomes a tagged one: a view of it would be no leaf of the graph where it is one.
    """
    for tensor in _tensors(value) if isinstance(value, Tensor | tuple | list | Iterator) else ():
        if not any(tensor is known for known in inputs):
            if type(tensor) is Tensor:
                tensor.__class__ = _Tagged
            tensor.carried = names | _names(tensor)
    return value


def _tensors(value: Any) -> Iterator[Any]:
    """The tensors in a value, at any depth."""
    seen, todo = set[int](), [value]
    while todo:
        item = todo.pop()
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, FunctionType):  # but not the globals of its module
            todo += item.__closure__, item.__defaults__, item.__kwdefaults__
        elif id(item) not in seen and not isinstance(item, type | ModuleType):
            seen.add(id(item))
            todo += gc.get_referents(item)

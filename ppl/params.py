"""Parameters: unconstrained leaves with the constraints they stand for, in an object one can hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ppl.messages import did_you_mean, listed, shape_of
from ppl_dist import constraints, transform_to
from ppl_dist.constraints import Constraint
from ppl_dist.plain import from_plain, to_plain
from ppl_dist.requirement import describe
from ppl_dist.validation import violation

__all__ = ["ParamStore", "clear_param_store", "get_param_store"]

Init = Tensor | float | Callable[[], Tensor] | None


@dataclasses.dataclass(slots=True)
class _Entry:
    """One parameter: what is learned, and how to read it."""

    leaf: Tensor
    constraint: Constraint
    transform: Any  # None stands for the identity: the leaf itself is the value
    loaded: bool = False  # read from a file, and not yet asked for by a model

    def value(self) -> Tensor:
        return self.leaf if self.transform is None else self.transform(self.leaf)


class ParamStore(MutableMapping[str, Tensor]):
    """Learnable parameters by name, as a mapping of their constrained values.

    What optimisers move are the `leaves`: unconstrained tensors that require a gradient. `with store:` makes a store
    the ambient one of this context, the one `param` and `module` use; otherwise they use one store per process.

    >>> from ppl import param
    >>> store = ParamStore()
    >>> with store:
    ...     _ = param("rate", 2.0, constraint=constraints.positive)
    >>> store["rate"].item(), list(store.leaves)
    (2.0, ['rate'])
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    # Reading and writing by name

    def __getitem__(self, name: str) -> Tensor:
        return self._entry(name).value()

    def __setitem__(self, name: str, value: Tensor | float) -> None:
        """Set the constrained value. A new name is registered without a constraint."""
        entry = self._entries.get(name)
        if entry is None:
            self.get_or_init(name, value)
            return
        new = _unconstrain(name, _as_parameter(value), entry.constraint, entry.transform)
        if new.shape != entry.leaf.shape:
            raise _clash(name, "shape", shape_of(entry.leaf), shape_of(new))
        with torch.no_grad():
            entry.leaf.copy_(new)

    def __delitem__(self, name: str) -> None:
        self._entry(name)
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    __eq__ = object.__eq__  # a store is itself; comparing contents would compare tensors
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        rows = (f"{name} {shape_of(entry.leaf)}" for name, entry in self._entries.items())
        return f"ParamStore({listed(rows)})"

    def clear(self) -> None:
        """Forget every parameter."""
        self._entries.clear()

    def constraint(self, name: str) -> Constraint:
        """The set the parameter stays in."""
        return self._entry(name).constraint

    @property
    def leaves(self) -> dict[str, Tensor]:
        """The unconstrained tensors, by name: what an optimiser moves."""
        return {name: entry.leaf for name, entry in self._entries.items()}

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs of a name and an unconstrained leaf."""
        yield from self.leaves.items()

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise KeyError(
                f'no parameter "{name}" in the store{did_you_mean(name, self)} Parameters: {listed(self)}.'
            ) from None

    # What the primitives call

    def get_or_init(
        self, name: str, init: Init = None, constraint: Constraint = constraints.real, event_dim: int | None = None
    ) -> Tensor:
        """The constrained value of a parameter, registered with `init` if it is new.

        Raises:
            ValueError: it is new and has no `init`, or one outside the constraint; or it is known with another shape or
                another constraint.
        """
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = self._new(name, init, constraint)
        elif init is not None:
            _check_same(name, entry, init, constraint)
        entry.loaded = False
        return entry.value()

    def _new(self, name: str, init: Init, constraint: Constraint) -> _Entry:
        if init is None:
            raise ValueError(
                f'param "{name}": not registered, and no initial value given{did_you_mean(name, self)} '
                f'Parameters: {listed(self)}. Try param("{name}", torch.tensor(0.0)).'
            )
        value = _as_parameter(init() if callable(init) and not isinstance(init, Tensor) else init)
        transform = _transform(constraint)
        leaf = _unconstrain(name, value, constraint, transform).detach().clone().requires_grad_()
        return _Entry(leaf, constraint, transform)

    def adopt(self, name: str, leaf: Tensor) -> Tensor:
        """Register an existing leaf, such as a module's parameter, and give the leaf that stands for it.

        A leaf registered under the name before stays. One that was read from a file is copied into `leaf`, which then
        takes its place, so that loading parameters reaches the module.
        """
        entry = self._entries.get(name)
        if entry is None:
            self._entries[name] = _Entry(leaf, constraints.real, None)
            return leaf
        if entry.leaf.shape != leaf.shape:
            raise _clash(name, "shape", shape_of(entry.leaf), shape_of(leaf))
        if entry.loaded:
            with torch.no_grad():
                leaf.copy_(entry.leaf)
            entry.leaf, entry.loaded = leaf, False
        return entry.leaf

    def bind(self, leaves: Mapping[str, Tensor]) -> ParamStore:
        """A store with the same constraints over other leaves: a model as a function of its parameters.

        Args:
            leaves: unconstrained tensors; the names must be known here.
        """
        bound = ParamStore()
        for name, leaf in leaves.items():
            entry = self._entry(name)
            bound._entries[name] = _Entry(leaf, entry.constraint, entry.transform)
        return bound

    # Keeping and moving

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values: the unconstrained leaves, and the constraints in words."""
        return {
            "leaves": {name: entry.leaf.detach().clone() for name, entry in self._entries.items()},
            "constraints": {
                name: to_plain(f'param "{name}"', entry.constraint) for name, entry in self._entries.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over every parameter of `state`. Known leaves keep their identity; other parameters stay.

        Raises:
            ValueError: a known parameter has another shape or another constraint.
        """
        constraint = {name: from_plain(plain) for name, plain in state["constraints"].items()}
        for name, leaf in state["leaves"].items():
            entry = self._entries.get(name)
            if entry is not None and entry.leaf.shape != leaf.shape:
                raise _clash(name, "shape", shape_of(entry.leaf), shape_of(leaf))
            if entry is not None and entry.constraint != constraint[name]:
                raise _clash(name, "constraint", entry.constraint, constraint[name])
        for name, leaf in state["leaves"].items():
            entry = self._entries.get(name)
            if entry is None:
                kept = leaf.detach().clone().requires_grad_()
                self._entries[name] = _Entry(kept, constraint[name], _transform(constraint[name]), loaded=True)
            else:
                with torch.no_grad():
                    entry.leaf.copy_(leaf)

    def save(self, path: str | Path) -> None:
        """Write the state to a file."""
        torch.save(self.state_dict(), path)

    def load(self, path: str | Path, map_location: torch.device | str | None = None) -> None:
        """Read a state that `save` wrote. Nothing but tensors and plain values is unpickled."""
        self.load_state_dict(torch.load(path, map_location=map_location, weights_only=True))

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the leaves to another device or dtype, as `Tensor.to` takes them; they keep their identity."""
        for entry in self._entries.values():
            entry.leaf.data = entry.leaf.data.to(*args, **kwargs)
            if entry.leaf.grad is not None:
                entry.leaf.grad.data = entry.leaf.grad.data.to(*args, **kwargs)
        return self

    # Being the ambient store

    def __enter__(self) -> Self:
        _ENTERED.set((*_ENTERED.get(), self))
        return self

    def __exit__(self, *error: object) -> None:
        entered = _ENTERED.get()
        places = [i for i, store in enumerate(entered) if store is self]
        if places:
            _ENTERED.set(entered[: places[-1]])


_ENTERED: ContextVar[tuple[ParamStore, ...]] = ContextVar("ppl_param_stores", default=())
_PROCESS_WIDE = ParamStore()


def get_param_store() -> ParamStore:
    """The ambient store: the one entered last in this context, or the one of the process."""
    entered = _ENTERED.get()
    return entered[-1] if entered else _PROCESS_WIDE


def clear_param_store() -> None:
    """Forget every parameter of the ambient store."""
    get_param_store().clear()


def _transform(constraint: Constraint) -> Any:
    return None if constraint == constraints.real else transform_to(constraint)


def _as_parameter(value: Any) -> Tensor:
    tensor = torch.as_tensor(value).detach()
    return tensor if tensor.is_floating_point() or tensor.is_complex() else tensor.to(torch.get_default_dtype())


def _unconstrain(name: str, value: Tensor, constraint: Constraint, transform: Any) -> Tensor:
    if not constraint.holds(value):
        raise ValueError(
            f'param "{name}": the initial value must {describe(constraint)}; {violation(constraint, value)}. '
            f"Try a value inside, or another constraint."
        )
    leaf: Tensor = value if transform is None else transform.inv(value)
    if not bool(leaf.isfinite().all()):
        raise ValueError(
            f'param "{name}": the initial value lies on the boundary of {constraint!r}, which no finite unconstrained '
            f"value reaches. Try a value inside."
        )
    return leaf


def _check_same(name: str, entry: _Entry, init: Init, constraint: Constraint) -> None:
    if entry.constraint is not constraint and entry.constraint != constraint:
        raise _clash(name, "constraint", entry.constraint, constraint)
    if callable(init) and not isinstance(init, Tensor):  # calling it again may cost much, and draw
        return
    known = entry.leaf.shape if entry.transform is None else entry.transform.forward_shape(entry.leaf.shape)
    given: Any = init
    shape = shape_of(torch.as_tensor(given) if isinstance(given, list | tuple) else given)
    if shape != tuple(known):
        raise _clash(name, "shape", tuple(known), shape)


def _clash(name: str, what: str, known: object, new: object) -> ValueError:
    return ValueError(
        f'param "{name}": registered with {what} {known}, now asked for with {what} {new}. '
        f"Try another name, or clear_param_store() before a new model."
    )

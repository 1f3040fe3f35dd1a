"""From what a caller gives to the parameters that an instance holds.

Numbers become tensors beside their sibling tensors, batch shapes are broadcast, exactly-one-of groups and constraints
are checked. Everything a caller can get wrong at construction is reported from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import validation
from .constraints import Constraint, Dependent
from .constraints.scalar import Finite
from .half import HALF
from .requirement import bad_parameter
from .shapes import broadcast_error, broadcast_shapes

if TYPE_CHECKING:
    from .distribution import Distribution
    from .spec import Spec

__all__ = ["WIDE", "as_tensor", "as_tensors", "assemble", "check_relative", "recheck", "spread"]

WIDE = frozenset({torch.float32, torch.float64})
FLOATS = WIDE | HALF


def spread(self: Distribution, given: tuple[Tensor, ...]) -> None:
    """Give every parameter the common batch shape; one that has it already is not touched.

    An `expand` under `no_grad` would cut a parameter from its gradient for no reason.
    """
    shapes = [value.shape for value in given]
    try:
        shape = self._batch_shape = broadcast_shapes(shapes)
    except ValueError:
        raise broadcast_error(type(self).__name__, dict(zip(self._spec.names, shapes, strict=True))) from None
    for name, value in zip(self._spec.names, given, strict=True):
        if value.shape != shape:
            self.__dict__[name] = value.expand(shape)


def recheck(self: Distribution) -> None:
    """Raise for the first parameter that breaks its constraint."""
    for name, (value, _) in self._stored().items():
        _check(self, name, self._spec.params[name].checked, value)


def check_relative(self: Distribution) -> None:
    """Raise for the first parameter that breaks a constraint set by the others (`within`)."""
    for name in self._spec.relative:
        p = self._spec.params[name]
        if p.within is not None and name in self.__dict__:
            _check(self, name, Finite(p.within(self)) if p.finite else p.within(self), self.__dict__[name])


def _check(self: Distribution, name: str, constraint: Constraint, value: Tensor) -> None:
    if not isinstance(constraint, Dependent) and validation.holds(constraint, value) is False:
        raise bad_parameter(self, name, constraint, value)


def assemble(self: Distribution, given: tuple[Any, ...], fixed: tuple[Any, ...], validate_args: bool | None) -> None:
    """Set the parameters of any family: groups, defaults, event dimensions, stored derivations."""
    spec = self._spec
    static = dict(zip(spec.static, fixed, strict=True))
    values = {name: value for name, value in zip(spec.names, given, strict=True) if value is not None}
    for group in spec.groups:
        _check_group(self, group, values)
    _check_required(self, spec, values)
    values = dict(zip(values, as_tensors(self, tuple(values.values()), tuple(values)), strict=True))
    state = self.__dict__
    state.update(static)
    state["_validate_args"] = validate_args
    events = {name: spec.params[name].event_dim(static) for name in values}
    if spec.shared:
        _share_events(self, values, events)
    for name, value in values.items():
        if value.dim() < events[name]:
            raise ValueError(
                f"{type(self).__name__}: `{name}` needs at least {events[name]} dimension(s), "
                f"got shape {tuple(value.shape)}. Try {name}.reshape({'-1' if events[name] == 1 else '...'})."
            )
        prepare = spec.params[name].prepare
        if prepare is not None:
            values[name] = prepare(value)
    batch = _broadcast(self, values, events)
    for name, value in values.items():
        full = batch + value.shape[value.dim() - events[name] :]
        state[name] = value if value.shape == full else value.expand(full)
    state["_batch_shape"] = batch
    self._set_event_shape()
    if validation.resolve(validate_args):
        for name, value in values.items():
            _check(self, name, spec.params[name].checked, value)
        check_relative(self)
    for name, p in spec.params.items():
        if p.stored and name not in values and p.derive is not None:
            state[name] = p.derive(self)


def _share_events(self: Distribution, values: dict[str, Tensor], events: dict[str, int]) -> None:
    """Give the shared parameters one event shape: a number is the same in every coordinate."""
    cuts = {name: max(0, values[name].dim() - events[name]) for name in self._spec.shared if name in values}
    tails = {name: values[name].shape[cut:] for name, cut in cuts.items()}
    try:
        event = broadcast_shapes([*tails.values(), torch.Size((1,) * max(events[name] for name in cuts))])
    except ValueError:
        listed = ", ".join(f"{name} {tuple(tail)}" for name, tail in tails.items())
        raise ValueError(f"{type(self).__name__}: event shapes do not broadcast: {listed}.") from None
    for name, cut in cuts.items():
        if tails[name] != event:
            values[name] = values[name].expand(values[name].shape[:cut] + event)


def as_tensors(self: Distribution, given: tuple[Any, ...], names: tuple[str, ...] | None = None) -> tuple[Tensor, ...]:
    """Numbers, arrays and integer tensors as floating tensors with the dtype and device of their siblings."""
    names = self._spec.names if names is None else names
    like: Tensor | None = None
    for value in given:
        if isinstance(value, Tensor) and (like is None or value.dtype in FLOATS):
            like = value
            if value.dtype in FLOATS:
                break
    dtype = like.dtype if like is not None and like.dtype in FLOATS else torch.get_default_dtype()
    device = None if like is None else like.device
    out = []
    for name, value in zip(names, given, strict=True):
        if isinstance(value, Tensor):
            if value.dtype in FLOATS:
                out.append(value)
                continue
            _refuse_complex(self, name, value)
            # of a dependent constraint nothing is known: a point mass may well sit on an integer
            keep = isinstance(self._spec.params[name].constraint, Dependent)
            out.append(value if keep else value.to(dtype))
        elif isinstance(value, int | float):
            out.append(torch.scalar_tensor(value, dtype=dtype, device=device))
        else:
            out.append(_from_array(self, name, value, dtype, device))
    if dtype in HALF:
        self._half = dtype
    return tuple(out)


def as_tensor(self: Distribution, name: str, value: Any, like: Tensor) -> Tensor:
    """A parameter of a distribution around another one: floating, beside the other's tensor `like`."""
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    if not isinstance(value, Tensor):
        return _from_array(self, name, value, dtype, like.device)
    _refuse_complex(self, name, value)
    return value if value.is_floating_point() else value.to(dtype)


def _refuse_complex(self: Distribution, name: str, value: Tensor) -> None:
    if value.is_complex():
        raise TypeError(f"{type(self).__name__}: `{name}` must be real, got {validation.dtype_name(value)}.")


def _from_array(self: Distribution, name: str, value: Any, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=dtype, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{type(self).__name__}: `{name}` must be a tensor, a number or an array, got {type(value).__name__}."
        ) from None


def _broadcast(self: Distribution, values: dict[str, Tensor], events: dict[str, int]) -> torch.Size:
    shapes = {name: value.shape[: value.dim() - events[name]] for name, value in values.items()}
    try:
        return broadcast_shapes(list(shapes.values()))
    except ValueError:
        raise broadcast_error(type(self).__name__, shapes) from None


def _check_group(self: Distribution, group: tuple[str, ...], values: dict[str, Any]) -> None:
    got = [name for name in group if name in values]
    if len(got) != 1:
        listed = ", ".join(f"`{name}`" for name in group)
        raise ValueError(
            f"{type(self).__name__}: exactly one of {listed} must be given, got "
            f"{', '.join(f'`{name}`' for name in got) or 'none'}. Try {type(self).__name__}({group[-1]}=...)."
        )


def _check_required(self: Distribution, spec: Spec, values: dict[str, Any]) -> None:
    optional = {name for group in spec.groups for name in group}
    optional |= {name for name, p in spec.params.items() if p.default is None}
    for name in spec.names:
        if name not in values and name not in optional:
            raise ValueError(f"{type(self).__name__}: `{name}` must be given, got None.")

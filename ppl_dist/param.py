"""Parameters declared as class attributes, and the `__init__` that follows from them.

A family writes `scale: Param = param(positive)`; this module reads the declarations once per class
and builds the constructor: numbers become tensors beside their sibling tensors, batch shapes are
broadcast, exactly-one-of groups and constraints are checked. Everything a caller can get wrong at
construction is reported from here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, overload

import torch
from torch import Tensor

from . import validation
from .constraints import Constraint, Dependent
from .constraints.scalar import Finite, has_infinite_end
from .half import HALF
from .shapes import broadcast_error, broadcast_shapes
from .values import short

if TYPE_CHECKING:
    from .distribution import Distribution

__all__ = ["Param", "Spec", "Static", "param", "static"]

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "<required>"})()


class Param:
    """One declared tensor parameter: a descriptor that steps aside once the instance holds a value.

    Only `__get__` exists at run time, so a stored parameter is an ordinary attribute look-up. A
    parameter that was not given is derived anew at each access, never cached: what an instance
    contains must not depend on what has been read.
    """

    name: str = ""

    def __init__(
        self,
        constraint: Constraint,
        *,
        derive: Callable[[Any], Tensor] | None,
        default: Any,
        event_dim: str | None,
        stored: bool,
        within: Callable[[Any], Constraint] | None,
        prepare: Callable[[Tensor], Tensor] | None,
        init: bool,
        finite: bool | None,
        shared: bool,
    ) -> None:
        self.constraint = constraint
        self.finite = has_infinite_end(constraint) if finite is None else finite
        self.checked = Finite(constraint) if self.finite else constraint
        self.derive = derive
        self.default = default
        self.event_dim_field = event_dim
        self._event_dim = constraint.event_dim
        self.stored = stored
        self.within = within
        self.prepare = prepare
        self.init = init
        self.shared = shared

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Param: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Tensor: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Param | Tensor:
        if instance is None:
            return self
        if self.derive is None:
            raise AttributeError(f"{type(instance).__name__}: `{self.name}` was not set at construction.")
        return self.derive(instance)

    if TYPE_CHECKING:  # for type checkers: reads give a tensor, the constructor takes numbers too

        def __set__(self, instance: Any, value: Tensor | float | None) -> None: ...

    def event_dim(self, static: dict[str, Any]) -> int:
        """How many rightmost dimensions belong to one value of this parameter."""
        if self.event_dim_field is not None:
            return int(static[self.event_dim_field])
        return self._event_dim


class Static:
    """One declared parameter that is not a tensor (a size, a flag); its default value is the attribute's."""

    def __init__(self, default: Any) -> None:
        self.default = default


def param(
    constraint: Constraint,
    *,
    derive: Callable[[Any], Tensor] | None = None,
    default: Any = REQUIRED,
    event_dim: str | None = None,
    stored: bool = False,
    within: Callable[[Any], Constraint] | None = None,
    prepare: Callable[[Tensor], Tensor] | None = None,
    init: bool = True,
    finite: bool | None = None,
    kw_only: bool = False,
    shared: bool = False,
) -> Any:
    """Declare a tensor parameter of a family.

    Args:
        constraint: the set its values live in; `constraint.event_dim` of its rightmost dimensions
            make up one value, the rest is its batch shape.
        derive: computes it from the others when it was not given (for members of `exactly_one`).
        default: the value taken when the caller gives none; None leaves it out, and `derive` says what it is then.
        event_dim: name of a static parameter that holds the event dimensions instead.
        stored: derive it once, at construction, and keep it: for derivations that cost a factorisation.
        within: a further constraint that depends on the other parameters: `lambda d: greater_than(d.low)`.
        prepare: applied to the given tensor before it is checked and kept: a normalisation.
        init: whether the constructor takes it; False, with `derive`, states a parameter that a base class takes or,
            with `stored` too, a quantity that is worth keeping but is nobody's parameter.
        finite: whether infinite values are refused; by default they are in half lines, `positive` say, and not among
            all real numbers. False is for families that have the limit.
        kw_only: that type checkers should see it behind the others; a subclass may declare more of them.
        shared: its event dimensions broadcast with those of the other shared parameters, from a number upwards.
    """
    return Param(
        constraint,
        derive=derive,
        default=default,
        event_dim=event_dim,
        stored=stored,
        within=within,
        prepare=prepare,
        init=init,
        finite=finite,
        shared=shared,
    )


def static(default: Any = REQUIRED, *, kw_only: bool = False) -> Any:
    """Declare a parameter that is not a tensor. `kw_only` speaks to type checkers alone."""
    return Static(default)


@dataclass(frozen=True, slots=True)
class Spec:
    """What the declarations of one family say, in the form that construction needs."""

    params: MappingProxyType[str, Param]
    static: MappingProxyType[str, Any]
    groups: tuple[tuple[str, ...], ...]
    scalar: bool
    """Whether every parameter is required or has a number as default, scalar and outside any group: the fast case."""
    names: tuple[str, ...] = ()
    """The parameters that the constructor takes, with their constraints."""
    constraints: tuple[Constraint, ...] = ()
    relative: tuple[str, ...] = ()
    """The parameters whose constraint depends on the others (`within`)."""
    shared: tuple[str, ...] = ()  # those whose event dimensions broadcast with one another

    @classmethod
    def read(cls, family: type) -> Spec:
        """Collect the declarations along the class hierarchy, base classes first."""
        params: dict[str, Param] = {}
        fixed: dict[str, Any] = {}
        for klass in reversed(family.__mro__):
            for name, value in vars(klass).items():
                if isinstance(value, Param) and (value.init or value.stored):
                    params[name] = value
                elif isinstance(value, Param):  # a subclass states what its base is told
                    params.pop(name, None)
                elif isinstance(value, Static):
                    fixed[name] = value.default
        groups = getattr(family, "exactly_one", ())
        groups = (groups,) if groups and isinstance(groups[0], str) else tuple(groups)
        scalar = not groups and not fixed and bool(params)
        scalar = scalar and all(
            (p.default is REQUIRED or isinstance(p.default, float))
            and p.derive is None
            and p.prepare is None
            and p.constraint.event_dim == 0
            and not p.constraint.is_discrete
            and not isinstance(p.constraint, Dependent)
            for p in params.values()
        )
        given = {name: p for name, p in params.items() if p.init}
        return cls(
            MappingProxyType(params),
            MappingProxyType(fixed),
            groups,
            scalar,
            tuple(given),
            tuple(p.constraint for p in given.values()),
            tuple(name for name, p in params.items() if p.within is not None),
            tuple(name for name, p in params.items() if p.shared),
        )

    def make_init(self, family: str) -> Callable[..., None]:
        """The constructor, with its true signature, compiled once per class."""
        optional = {name for group in self.groups for name in group}
        scope: dict[str, Any] = {}
        arguments = []
        for name in self.names:
            p = self.params[name]
            if name in optional or p.default is not REQUIRED:
                scope[f"_default_{name}"] = None if name in optional else p.default
                arguments.append(f"{name}=_default_{name}")
            else:
                arguments.append(name)
        for name, default in self.static.items():
            scope[f"_default_{name}"] = default
            arguments.append(name if default is REQUIRED else f"{name}=_default_{name}")
        arguments.sort(key=lambda text: "=" in text)  # required ones first; the sort is stable
        body = self._scalar_body(scope) if self.scalar else self._general_body(scope)
        source = f"def __init__(self, {', '.join(arguments)}, validate_args=None):\n{body}"
        exec(compile(source, f"<{family}.__init__>", "exec"), scope)
        made = cast(Callable[..., None], scope["__init__"])
        made.__qualname__ = f"{family}.__init__"
        made.__annotations__ = {**dict.fromkeys(self.names, Tensor | float), "return": None}
        return made

    def _general_body(self, scope: dict[str, Any]) -> str:
        """Tensors that need nothing done to them on a hot path per choice from the groups; all else by `assemble`."""
        scope.update(_assemble=assemble, _Tensor=Tensor, _floats=_FLOATS, _resolve=validation.resolve)
        scope.update(_recheck=_recheck, _check_relative=_check_relative)
        given, fixed = "".join(f"{n}, " for n in self.names), "".join(f"{n}, " for n in self.static)
        params = self.params.values()
        plain = params and not self.static and not any(isinstance(p.constraint, Dependent) for p in params)
        choices = itertools.product(*self.groups) if plain else ()
        grouped = {name for group in self.groups for name in group}
        lines = [line for chosen in choices for line in self._choice(scope, grouped.difference(chosen))]
        lines.append(f"_assemble(self, ({given}), ({fixed}), validate_args)")
        return "".join(f"    {line}\n" for line in lines)

    def _choice(self, scope: dict[str, Any], absent: set[str]) -> list[str]:
        """The path taken when `absent` are None and the others are tensors of one batch shape."""
        names = [name for name in self.names if name not in absent]
        events = {name: self.params[name].constraint.event_dim for name in names}
        shapes = [f"{n}.shape[:-{events[n]}]" if events[n] else f"{n}.shape" for n in names]
        tests = [f"{n} is None" for n in sorted(absent)]
        tests += [f"type({n}) is _Tensor and {n}.dtype in _floats" for n in names]
        tests += [f"{n}.dim() >= {dims}" for n, dims in events.items() if dims]
        tests += [f"{shape} == {shapes[0]}" for shape in shapes[1:]]
        lines = [f"if {' and '.join(tests)}:"]
        for n in names:
            prepare = scope[f"_prepare_{n}"] = self.params[n].prepare
            lines.append(f"    self.{n} = {n}" if prepare is None else f"    self.{n} = _prepare_{n}({n})")
            scope[f"_holds_{n}"] = self.params[n].constraint.holds
        lines += ["    self._validate_args = validate_args", f"    self._batch_shape = {shapes[0]}"]
        if any(events.values()):
            lines.append("    self._set_event_shape()")
        good = " and ".join(f"_holds_{n}(self.{n})" for n in names)
        derived = [n for n in absent if self.params[n].stored]
        return [
            *lines,
            "    if _resolve(validate_args):",
            "        try:",
            f"            good = {good}",
            "        except RuntimeError:  # values cannot be read inside vmap or on fake tensors",
            "            good = True",
            "        if not good:",
            "            _recheck(self)",
            *(["        _check_relative(self)"] if self.relative else []),
            *(f"    self.{n} = self._spec.params[{n!r}].derive(self)" for n in derived),
            "    return",
        ]

    def _scalar_body(self, scope: dict[str, Any]) -> str:
        """The hot path, written out per class: no loop, no dictionary, one comparison per parameter.

        A construction in a model happens at every site of every step; this form takes a third of the time of a
        loop over the declarations (`make bench`, families).
        """
        scope.update(_Tensor=Tensor, _wide=_FLOATS - HALF, _as_tensors=as_tensors, _spread=_spread, _recheck=_recheck)
        scope.update(_resolve=validation.resolve, _number=torch.scalar_tensor)
        scope.update({f"_holds_{n}": p.checked.holds for n, p in self.params.items()})
        names = ", ".join(self.names)
        kinds = " or ".join(f"type({n}) is not _Tensor or {n}.dtype not in _wide" for n in self.names)
        first, *others = self.names
        numbers = " and ".join(f"type({n}) is float" for n in self.names)
        made = "".join(f"_number({n}), " for n in self.names)
        good = " and ".join(f"_holds_{n}({n})" for n in self.names)
        lines = [
            f"if {numbers}:",
            f"    {names}, = {made}",
            f"elif {kinds}:",
            f"    {names}, = _as_tensors(self, ({names},))",
            *(f"self.{n} = {n}" for n in self.names),
            "self._validate_args = validate_args",
            "if _resolve(validate_args):",
            "    try:",
            f"        good = {good}",
            "    except RuntimeError:  # values cannot be read inside vmap or on fake tensors",
            "        good = True",
            "    if not good:",
            "        _recheck(self)",
            f"self._batch_shape = {first}.shape",
        ]
        if others:
            differ = " or ".join(f"{n}.shape != {first}.shape" for n in others)
            lines += [f"if {differ}:", f"    _spread(self, ({names}))"]
        if self.relative:
            scope["_check_relative"] = _check_relative
            lines += ["if _resolve(validate_args):", "    _check_relative(self)"]
        return "".join(f"    {line}\n" for line in lines)


def _spread(self: Distribution, given: tuple[Tensor, ...]) -> None:
    """Give every parameter the common batch shape; one that has it already is not touched.

    An `expand` under `no_grad` would cut a parameter from its gradient for no reason.
    """
    shape = self._batch_shape = _broadcast(self, dict(zip(self._spec.names, given, strict=True)), {})
    for name, value in zip(self._spec.names, given, strict=True):
        if value.shape != shape:
            self.__dict__[name] = value.expand(shape)


def _recheck(self: Distribution) -> None:
    """Raise for the first parameter that breaks its constraint."""
    for name, (value, _) in self._stored().items():
        _check(self, name, self._spec.params[name].checked, value)


def _check_relative(self: Distribution) -> None:
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
        _check_relative(self)
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


_FLOATS = frozenset({torch.float32, torch.float64, torch.float16, torch.bfloat16})


def as_tensors(self: Distribution, given: tuple[Any, ...], names: tuple[str, ...] | None = None) -> tuple[Tensor, ...]:
    """Numbers, arrays and integer tensors as floating tensors with the dtype and device of their siblings."""
    names = self._spec.names if names is None else names
    like: Tensor | None = None
    for value in given:
        if isinstance(value, Tensor) and (like is None or value.dtype in _FLOATS):
            like = value
            if value.dtype in _FLOATS:
                break
    dtype = like.dtype if like is not None and like.dtype in _FLOATS else torch.get_default_dtype()
    device = None if like is None else like.device
    out = []
    for name, value in zip(names, given, strict=True):
        if isinstance(value, Tensor):
            if value.is_complex():
                raise TypeError(f"{type(self).__name__}: `{name}` must be real, got {validation.dtype_name(value)}.")
            constraint = self._spec.params[name].constraint
            # of a dependent constraint nothing is known: a point mass may well sit on an integer
            keep = value.dtype in _FLOATS or isinstance(constraint, Dependent)
            out.append(value if keep else value.to(dtype))
        elif isinstance(value, int | float):
            out.append(torch.scalar_tensor(value, dtype=dtype, device=device))
        else:
            out.append(_from_array(self, name, value, dtype, device))
    if dtype in HALF:
        self._half = dtype
    return tuple(out)


def _from_array(self: Distribution, name: str, value: Any, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=dtype, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{type(self).__name__}: `{name}` must be a tensor, a number or an array, got {type(value).__name__}."
        ) from None


def _broadcast(self: Distribution, values: dict[str, Tensor], events: dict[str, int]) -> torch.Size:
    shapes = {name: value.shape[: value.dim() - events.get(name, 0)] for name, value in values.items()}
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


def bad_parameter(self: Distribution, name: str, constraint: Constraint, value: Tensor) -> ValueError:
    """The message for a parameter outside its constraint: where, expected, got."""
    if isinstance(constraint, Finite) and validation.holds(constraint.base, value) is False:
        constraint = constraint.base  # the sign is wrong somewhere: that infinity is none either is beside the point
    facts = validation.violation(constraint, value)
    return ValueError(f"{type(self).__name__}: `{name}` must {describe(constraint)}; {facts}.")


def describe(constraint: Constraint) -> str:
    """The requirement in words: `be positive`, `lie in Interval(...)`."""
    from . import constraints as c

    if isinstance(constraint, Finite):
        return f"{describe(constraint.base)} and finite"
    words = {
        c.positive: "be positive",
        c.nonnegative: "not be negative",
        c.real: "be a number",
        c.real_vector: "hold numbers only",
        c.unit_interval: "lie in [0, 1]",
        c.simplex: "lie on the simplex (nonnegative, sum 1)",
        c.boolean: "be 0 or 1",
        c.nonnegative_integer: "be a nonnegative integer",
        c.positive_definite: "be positive definite",
        c.lower_cholesky: "be lower triangular with a positive diagonal",
        c.softplus_positive: "be positive",
        c.softplus_lower_cholesky: "be lower triangular with a positive diagonal",
        c.unit_lower_cholesky: "be lower triangular with ones on the diagonal",
        c.corr_cholesky: "be lower triangular with a positive diagonal and rows of length one",
        c.corr_matrix: "be a correlation matrix (positive definite, ones on the diagonal)",
        c.sphere: "have length one",
        c.ordered_vector: "be strictly increasing",
        c.positive_ordered_vector: "be positive and strictly increasing",
    }
    for known, text in words.items():
        if known == constraint:
            return text
    if isinstance(constraint, c.Independent):
        return describe(constraint.base_constraint)
    if isinstance(constraint, c.ZeroSum):
        n = constraint.event_dim
        return "sum to zero along " + ("the last dimension" if n == 1 else f"each of the last {n} dimensions")
    if type(constraint) is c.GreaterThan:
        bound = constraint.lower_bound
        single = not isinstance(bound, Tensor) or bound.dim() == 0
        return f"be greater than {short(bound)}" if single else "be greater than its lower bound"
    return f"satisfy {constraint!r}"

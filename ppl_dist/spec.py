"""The declarations of one family, read once per class, and the `__init__` that follows from them.

The constructor is written out as source, as `dataclasses` does: it has its true signature, and what is common is
a straight line of code. All that is not common is left to `construction.assemble`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from . import validation
from .constraints import Constraint, Dependent
from .construction import WIDE, as_tensors, assemble, check_relative, recheck, spread
from .param import REQUIRED, Param, Static

__all__ = ["Spec"]

PLAIN = frozenset({Tensor, Parameter})
"""The types that need no conversion; other subclasses of tensors take the general path."""


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

    @staticmethod
    def renamed(init: Callable[..., None], family: str) -> Callable[..., None]:
        """A generated constructor under the name of a family that inherits it: errors about arguments show it."""
        made = FunctionType(init.__code__, init.__globals__, "__init__", init.__defaults__)
        made.__qualname__, made.__annotations__ = f"{family}.__init__", init.__annotations__
        return made

    def _general_body(self, scope: dict[str, Any]) -> str:
        """Tensors that need nothing done to them on a hot path per choice from the groups; all else by `assemble`."""
        scope.update(_assemble=assemble, _plain=PLAIN, _wide=WIDE, _resolve=validation.resolve)
        scope.update(_recheck=recheck, _check_relative=check_relative)
        given, fixed = "".join(f"{n}, " for n in self.names), "".join(f"{n}, " for n in self.static)
        params = self.params.values()
        straight = not self.static and not self.shared
        plain = params and straight and not any(isinstance(p.constraint, Dependent) for p in params)
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
        tests += [f"type({n}) in _plain and {n}.dtype in _wide" for n in names]
        tests += [f"{n}.dim() >= {dims}" for n, dims in events.items() if dims]
        tests += [f"{shape} == {shapes[0]}" for shape in shapes[1:]]
        lines = [f"if {' and '.join(tests)}:"]
        for n in names:
            prepare = scope[f"_prepare_{n}"] = self.params[n].prepare
            lines.append(f"    self.{n} = {n}" if prepare is None else f"    self.{n} = _prepare_{n}({n})")
            scope[f"_holds_{n}"] = self.params[n].checked.holds
        lines += ["    self._validate_args = validate_args", f"    self._batch_shape = {shapes[0]}"]
        if any(events.values()):
            lines.append("    self._set_event_shape()")
        good = " and ".join(f"_holds_{n}(self.{n})" for n in names)
        derived = [n for n, p in self.params.items() if p.stored and n not in names]
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
        scope.update(_plain=PLAIN, _wide=WIDE, _as_tensors=as_tensors, _spread=spread, _recheck=recheck)
        scope.update(_resolve=validation.resolve, _number=torch.scalar_tensor)
        scope.update({f"_holds_{n}": p.checked.holds for n, p in self.params.items()})
        names = ", ".join(self.names)
        kinds = " or ".join(f"type({n}) not in _plain or {n}.dtype not in _wide" for n in self.names)
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
            scope["_check_relative"] = check_relative
            lines += ["if _resolve(validate_args):", "    _check_relative(self)"]
        return "".join(f"    {line}\n" for line in lines)

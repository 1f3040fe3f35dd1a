"""Parameters declared as class attributes: `scale: Param = param(positive)`.

What is declared here is read by `spec`, once per class, and carried out by `construction`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor

from .constraints import Constraint
from .constraints.scalar import Finite, has_infinite_end

__all__ = ["Param", "Static", "param", "static"]

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

"""The message: one primitive call on its way through the handlers, and afterwards one row of a trace."""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple, Self

__all__ = ["Frame", "Site"]


class Frame(NamedTuple):
    """One plate around a site: `dim` is None for a sequential plate, `size` -1 for one of unknown size."""

    name: str
    dim: int | None
    size: int
    full_size: int


class Site(SimpleNamespace):
    """One primitive call on its way through the stack; afterwards one row of a trace.

    Made by keyword, `Site(type="sample", name="x", fn=Normal(0.0, 1.0))`. `site["value"]` reads the
    field `site.value`; people who inspect traces write both. The last three fields are results: they are `in` the site
    once `Trace.compute_log_prob` has filled them. A handler may hang attributes of its own on a site: no fields.
    """

    # A namespace is filled in C, and what a call does not say is read off the class: half the time of a dataclass.
    __slots__ = ()

    type: str  # "sample", "param", "deterministic", "plate" or "subsample"
    name: str
    fn: Any = None
    value: Any = None
    is_observed: bool = False
    scale: Any = 1.0
    mask: Any = None
    cond_indep_stack: tuple[Frame, ...] = ()
    infer: Any = MappingProxyType({})  # the primitives give each site a dictionary of its own
    stop: bool = False
    generator: Any = None
    scored: bool = False  # whether to compute its log-probability with the draw, where the family can
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    log_prob: Any = None
    unscaled_log_prob: Any = None
    log_prob_sum: Any = None

    __eq__ = object.__eq__  # two calls are two sites; comparing them field by field would compare tensors
    __hash__ = object.__hash__  # type: ignore[assignment]  # a namespace has none

    def __getitem__(self, field: str) -> Any:
        if field not in _FIELDS:
            raise KeyError(field)
        return getattr(self, field)

    def __setitem__(self, field: str, value: Any) -> None:
        if field not in _FIELDS:
            raise KeyError(field)
        setattr(self, field, value)

    def __contains__(self, field: str) -> bool:
        return field in _FIELDS and not (field in _RESULTS and getattr(self, field) is None)

    def get(self, field: str, default: Any = None) -> Any:
        """The field, or `default` where there is none."""
        return getattr(self, field) if field in self else default

    def keys(self) -> list[str]:
        """The names of the fields that are present."""
        return [field for field in _FIELDS if field in self]

    def __repr__(self) -> str:
        return f'Site({self.type} "{self.name}")'

    def copy(self) -> Self:
        """A shallow copy with an `infer` dictionary of its own."""
        return type(self)(**{**self.__dict__, "infer": dict(self.infer)})


_FIELDS: dict[str, Any] = Site.__annotations__  # in the order of declaration
_RESULTS = frozenset({"log_prob", "unscaled_log_prob", "log_prob_sum"})

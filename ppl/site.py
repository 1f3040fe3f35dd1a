"""The message: one primitive call on its way through the handlers, and afterwards one row of a trace."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

__all__ = ["Frame", "Site"]


class Frame(NamedTuple):
    """One plate around a site: `dim` is None for a sequential plate, `size` -1 for one of unknown size."""

    name: str
    dim: int | None
    size: int
    full_size: int


class Site:
    """One primitive call on its way through the stack; afterwards one row of a trace.

    `site["value"]` reads the field `site.value`; people who inspect traces write both. The last three fields are
    results: they are `in` the site once `Trace.compute_log_prob` has filled them. A handler may hang attributes of its
    own on a site; they are no fields.
    """

    # Defaults live on the class, so that a call stores only what it has to say: a site is made a hundred times a run.
    type: str  # "sample", "param", "deterministic", "plate" or "subsample"
    name: str
    fn: Any
    value: Any
    is_observed: bool
    scale: Any = 1.0
    mask: Any = None
    cond_indep_stack: tuple[Frame, ...] = ()
    infer: dict[str, Any]
    stop: bool = False
    generator: Any = None
    scored: bool = False  # whether to compute its log-probability with the draw, where the family can
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    log_prob: Any = None
    unscaled_log_prob: Any = None
    log_prob_sum: Any = None

    def __init__(
        self,
        type: str,
        name: str,
        fn: Any = None,
        value: Any = None,
        is_observed: bool = False,
        infer: dict[str, Any] | None = None,
    ) -> None:
        self.type = type
        self.name = name
        self.fn = fn
        self.value = value
        self.is_observed = is_observed
        self.infer = {} if infer is None else infer

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
        new = copy.copy(self)
        new.infer = dict(self.infer)
        return new


_FIELDS: dict[str, Any] = Site.__annotations__  # in the order of declaration
_RESULTS = frozenset({"log_prob", "unscaled_log_prob", "log_prob_sum"})

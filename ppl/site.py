"""The message: one primitive call on its way through the handlers, and afterwards one row of a trace."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

__all__ = ["Frame", "Site"]


class Frame(NamedTuple):
    """One plate around a site: `dim` is None for a sequential plate, `size` -1 for one of unknown size."""

    name: str
    dim: int | None
    size: int
    full_size: int


@dataclasses.dataclass(slots=True, eq=False)
class Site:
    """One primitive call on its way through the stack; afterwards one row of a trace.

    `site["value"]` reads the field `site.value`; people who inspect traces write both. The three fields at
    the end are results: they are `in` the site once `Trace.compute_log_prob` has filled them.
    """

    type: str  # "sample", "param", "deterministic", "plate" or "subsample"
    name: str
    fn: Any = None
    value: Any = None
    is_observed: bool = False
    scale: Any = 1.0
    mask: Any = None
    cond_indep_stack: tuple[Frame, ...] = ()
    infer: dict[str, Any] = dataclasses.field(default_factory=dict)
    stop: bool = False
    generator: Any = None
    scored: bool = False  # whether to compute its log-probability with the draw, where the family can
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    log_prob: Any = None
    unscaled_log_prob: Any = None
    log_prob_sum: Any = None

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

    def copy(self) -> Site:
        """A shallow copy with an `infer` dictionary of its own."""
        new = Site(*[getattr(self, field) for field in _FIELDS])
        new.infer = dict(self.infer)
        return new


_FIELDS: dict[str, None] = {field.name: None for field in dataclasses.fields(Site)}  # a set that keeps its order
_RESULTS = frozenset({"log_prob", "unscaled_log_prob", "log_prob_sum"})

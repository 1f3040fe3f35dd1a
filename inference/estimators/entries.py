"""The independent entries that an event may be made of."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ppl.runtime import Site
from ppl_dist import Independent

__all__ = ["entries_of", "spread"]


def entries_of(site: Site) -> tuple[Any, int]:
    """The distribution of the entries of a site, and how many of its batch dimensions make up one event."""
    fn: Any = site.fn
    event = 0
    while isinstance(fn, Independent):
        fn, event = fn.base_dist, event + fn.reinterpreted_batch_ndims
    return fn, event


def spread(x: Any, event: int) -> Any:
    """`x`, of the batch shape of a site, as it is for every entry of the event."""
    return x.reshape(x.shape + (1,) * event) if isinstance(x, Tensor) else x

"""One list of values for counts that lie between two ends, where the ends differ from entry to entry.

It runs from the lowest end to the highest. An entry has no mass at values of the list that are not its own: there
`log_prob` answers -inf, with validation on too, so that it takes what `enumerate_support` gives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import validation
from .constraints import Constraint, integer_interval
from .constraints.scalar import IntegerInterval

__all__ = ["is_listed", "listed"]


def _hull(support: Constraint) -> tuple[int, int] | None:
    """The lowest and the highest end of all entries; None for what is no range of integers, or has no entry."""
    if not isinstance(support, IntegerInterval):
        return None
    low, high = (torch.as_tensor(end) for end in (support.lower_bound, support.upper_bound))
    if not low.numel() or not high.numel():
        return None
    return int(low.min().item()), int(high.max().item())


def listed(support: Constraint, batch: torch.Size, expand: bool, like: Tensor) -> Tensor:
    """The list along a new leading dimension in front of `batch`, expanded over it or not, in the dtype of `like`."""
    low, high = _hull(support) or (0, -1)
    values = torch.arange(low, high + 1, dtype=like.dtype, device=like.device).reshape((-1,) + (1,) * len(batch))
    return values.expand((-1, *batch)) if expand else values


def is_listed(support: Constraint, value: Tensor) -> bool:
    """Whether every entry of `value` stands in the list."""
    hull = _hull(support)
    return hull is not None and validation.holds(integer_interval(*hull), value) is True

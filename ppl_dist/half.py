"""Parameters in half precision (float16, bfloat16): computed in float32, rounded once at the end.

Few samplers and special functions have a kernel for these dtypes on the CPU, and a sum of several rounded terms would
keep two digits of them. What a caller gives and gets is in half precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import validation
from .shapes import unflatten_mask

if TYPE_CHECKING:
    from .distribution import Distribution

__all__ = ["HALF", "answer", "draw", "log_prob"]

HALF = frozenset({torch.float16, torch.bfloat16})


def half_of(tensors: Any) -> torch.dtype | None:
    """The half precision among these tensors, if there is one."""
    return next((v.dtype for v in tensors if isinstance(v, Tensor) and v.dtype in HALF), None)


def answer(d: Any, hook: str, value: Tensor) -> Tensor:
    """`d`'s hook at `value`; rounded to the wider of the two dtypes."""
    dtype = torch.promote_types(value.dtype, d._half) if d._half is not None else value.dtype
    result: Tensor = getattr(d.to(torch.float32), hook)(value.float() if value.dtype in HALF else value)
    return result.to(dtype)


def log_prob(d: Distribution, value: Tensor) -> Tensor:
    """As `Distribution.log_prob`; values are checked as they came, a rounded simplex does not add up in float32."""
    if validation.resolve(d._validate_args):
        d._validate_sample(value)
    support = d.support
    inside = support.check(value)
    safe = torch.where(unflatten_mask(inside, support.event_dim), value, support.feasible(value)).to(value.dtype)
    return torch.where(inside, answer(d, "_log_prob", safe), -torch.inf)


def draw(d: Distribution, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """A draw whose rounding leaves it inside the support, and finite."""
    wide = d.to(torch.float32)._sample(shape, generator)
    if d._half is None or not wide.is_floating_point():
        return wide
    facts, support = torch.finfo(d._half), d.support
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    # rounding is monotone, so that only the ends where the density may be infinite, or is none, need care
    low = facts.tiny if low == 0.0 and not support.is_discrete else -facts.max
    high = 1 - facts.eps / 2 if high == 1.0 and not support.is_discrete else facts.max
    if support.event_dim:
        low, high = -facts.max, facts.max
    return wide.clamp(low, high).to(d._half)

"""Values that may be numbers or tensors: compared by content, and shown short."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["known", "same_value", "short"]


def same_value(a: Any, b: Any) -> bool:
    """Whether both are equal, entry by entry where they are tensors."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return bool(torch.equal(torch.as_tensor(a), torch.as_tensor(b)))
    return bool(a == b)


def short(value: Any) -> str:
    """A number as it reads, a larger tensor as its shape, anything else by its own `repr`."""
    if not isinstance(value, Tensor):
        return repr(value)
    if value.dim() == 0 and value.device.type != "meta":
        try:
            number = value.item()
        except RuntimeError:  # inside vmap or a capture there is no number to show
            return "tensor()"
        return f"{number:.6g}" if isinstance(number, float) else str(number)
    return f"tensor{tuple(value.shape)}"


def known(mask: Tensor) -> bool:
    """Whether one look shows that every entry is true.

    Only on the CPU, where a look is cheaper than computing both sides of a choice; elsewhere it would wait for the
    device, and inside vmap or a capture there is nothing to look at.
    """
    if not mask.is_cpu or torch.compiler.is_compiling():
        return False
    try:
        return bool(mask.all().item())
    except RuntimeError:  # inside vmap, or on fake tensors
        return False

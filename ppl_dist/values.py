"""Values that may be numbers or tensors: compared by content, and shown short."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .tree import Node

__all__ = ["same_value", "short"]


def same_value(a: Any, b: Any) -> bool:
    """Whether both are equal, entry by entry where they are tensors, attribute by attribute where they are trees."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return bool(torch.equal(torch.as_tensor(a), torch.as_tensor(b)))
    if isinstance(a, Node) and type(a).__eq__ is object.__eq__:
        mine, theirs = vars(a), vars(b) if type(a) is type(b) else {}
        return mine.keys() == theirs.keys() and all(same_value(mine[k], theirs[k]) for k in mine)
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

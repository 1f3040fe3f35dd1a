"""The one place that touches `torch.utils._pytree`, which is private to torch.

A registered class can be an argument or a result of functions under `torch.func` and
`torch.compile`: its tensors are found, replaced and put back.
"""

from __future__ import annotations

from typing import Any

from torch.utils import _pytree

__all__ = ["register_node"]


def register_node(cls: Any) -> None:
    """Register a class with `_flatten(value) -> (children, context)` and `_unflatten(children, context)`."""
    _pytree.register_pytree_node(cls, cls._flatten, cls._unflatten)

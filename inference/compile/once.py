"""What a larger tensor reads is computed once, and not anew for each of its entries."""

from __future__ import annotations

import torch
from torch import Tensor, fx

__all__ = ["computed_once"]

_MANY = 2**10  # entries; for so many, most formulas take longer than a loop of its own for what they read
_as_strided, _select = torch.ops.aten.as_strided.default, torch.ops.aten.select.int


def computed_once(module: fx.GraphModule) -> None:
    """Give memory of its own to every result on the CPU that something larger reads; `module` is changed.

    Inductor writes the formula of what an operation reads into the loop of the operation. Where that is a number or a
    row and the loop runs over a matrix, it is computed again for each entry: the two powers in the bias correction of
    Adam, over the weights of an autoencoder, took as long as all its matrix products. A view by strides is what makes
    Inductor store a result; it costs nothing itself.
    """
    for node in list(module.graph.nodes):
        value = node.meta.get("val")
        if _worth_storing(node, value) and _largest(node) > max(value.numel(), _MANY):
            with module.graph.inserting_after(node):
                stored = module.graph.call_function(_as_strided, (node, list(value.shape), list(value.stride())))
            stored.meta["val"] = value
            node.replace_all_uses_with(stored, lambda user, stored=stored: user is not stored)
    module.recompile()


def _worth_storing(node: fx.Node, value: object) -> bool:
    """Whether it is computed entry by entry; what is not has memory already, or is a view."""
    pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return pointwise and isinstance(value, Tensor) and value.device.type == "cpu" and value.is_contiguous()


def _largest(node: fx.Node) -> int:
    """How many entries the largest result has that reads it, or one row of it."""
    rows = (user for user in node.users if user.target is _select)
    return max(map(_entries, [*node.users, *(each for row in rows for each in row.users)]), default=0)


def _entries(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else 0

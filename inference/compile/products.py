"""Which library takes a product of a matrix and a vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["product_of"]

_LARGE = 2**10  # entries of a matrix; a call of a library takes as long as a loop over about so many
_aten = torch.ops.aten


def product_of(target: Any, args: Sequence[Any]) -> Callable[..., Tensor] | None:
    """What takes the place of an operation on these arguments; None where it stays.

    Inductor makes a loop of a matrix times a vector, with the formula of the vector inside: in the gradient of a
    regression, which reads the matrix by columns, that is computed anew for every eight of them. A matrix on the CPU of
    a thousand entries or more goes to torch's library instead, as a product with a matrix of one column, which stays.
    """
    found, place = _PRODUCTS.get(target, (None, 0))
    if found is None or args[place].device.type != "cpu" or args[place].numel() < _LARGE:
        return None
    return found


def _mv(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.mm(matrix, vector.unsqueeze(1)).squeeze(1)


def _addmv(added: Tensor, matrix: Tensor, vector: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = alpha * _mv(matrix, vector)
    return product if beta == 0 else beta * added + product  # what is added may be NaN then


# by operation: what takes its place, and which argument is the matrix
_PRODUCTS: dict[Any, tuple[Callable[..., Tensor], int]] = {_aten.mv.default: (_mv, 0), _aten.addmv.default: (_addmv, 1)}

"""Where a nondecreasing function crosses zero, inside a bracket, entry by entry and without looking at a value."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["crossing", "first_count"]

_WHOLE = {16: torch.int16, 32: torch.int32, 64: torch.int64}
COUNTS = 54  # halvings of a range of whole numbers that doubles hold exactly
POLISH = 3


def crossing(
    excess: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], low: Tensor, high: Tensor
) -> Tensor:
    """The smallest x in (low, high] with excess(x) >= 0, to the precision of floats.

    Halves the set of floats between the ends, not their distance: a root at 1e-200 takes as many steps as one at 1.
    What is left is half of the digits, which Newton steps double; they stay inside the bracket.
    """
    info = torch.finfo(low.dtype)
    digits = round(-torch.log2(torch.tensor(info.eps)).item())
    for _ in range(info.bits - digits // 2):
        middle = _between(low, high)
        reached = excess(middle) >= 0
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    x = high
    for _ in range(POLISH):
        better = x - excess(x) / slope(x)
        better = torch.minimum(torch.maximum(better, low), high)
        x = torch.where(better.isfinite(), better, x)
    return x


def _between(low: Tensor, high: Tensor) -> Tensor:
    """The float half way between two in the order of floats, rounded down."""
    a, b = _rank(low), _rank(high)
    return _unrank((a >> 1) + (b >> 1) + (a & b & 1), low.dtype)


def _rank(x: Tensor) -> Tensor:
    """Whole numbers in the order of the floats: the bits as they are, those of negative numbers turned round."""
    bits = x.contiguous().view(_WHOLE[torch.finfo(x.dtype).bits])
    return _turned(bits)


def _unrank(rank: Tensor, dtype: torch.dtype) -> Tensor:
    return _turned(rank).view(dtype)


def _turned(bits: Tensor) -> Tensor:
    return torch.where(bits < 0, bits ^ torch.iinfo(bits.dtype).max, bits)


def first_count(reached: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """The smallest whole number in (low, high] at which `reached` holds; `high` is one."""
    for _ in range(COUNTS):
        middle = ((low + high) / 2).floor()
        there = reached(middle) & (middle > low)
        low, high = torch.where(there, low, middle), torch.where(there, middle, high)
    return high

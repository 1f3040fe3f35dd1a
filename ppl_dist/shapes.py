"""Shapes: S (sample) + B (batch) + E (event), and the few operations on them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "broadcast_error",
    "broadcast_shapes",
    "check_expands",
    "expands",
    "size_of",
    "sum_rightmost",
    "unexpanded",
    "unflatten_mask",
]

EMPTY = torch.Size()
# counts and flags whose arithmetic wraps around, or is refused: 0 - 1 is 255 in uint8
NARROW = frozenset({torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32})
COMPLEX = frozenset({torch.complex32, torch.complex64, torch.complex128})


def size_of(shape: Sequence[int] | torch.Size | int) -> torch.Size:
    """`shape` as a `torch.Size`; a bare int means one dimension.

    Raises:
        TypeError: `shape` is neither an int nor a sequence of ints.
        ValueError: a size is negative.
    """
    if type(shape) is torch.Size:
        return shape
    try:
        size = torch.Size((shape,) if isinstance(shape, int) else shape)
    except TypeError as error:
        error.add_note(f"sample_shape: expected a sequence of ints, got {shape!r}. Try sample_shape=(10,).")
        raise
    if size and min(size) < 0:
        raise ValueError(f"a shape must not have negative sizes, got {tuple(size)}.")
    return size


def sum_rightmost(value: Tensor, dims: int) -> Tensor:
    """Sum out the last `dims` dimensions."""
    if dims == 0:
        return value
    if dims == value.dim():  # the derivative of a sum over listed dimensions restores them one by one
        return value.sum()
    return value.sum(tuple(range(-dims, 0)))


def unflatten_mask(mask: Tensor, dims: int) -> Tensor:
    """Append `dims` dimensions of size one, so that a batch mask broadcasts over events."""
    return mask.reshape(mask.shape + (1,) * dims) if dims else mask


def unexpanded(value: Tensor, dims: int) -> Tensor:
    """`value` with its expanded (zero-stride) dimensions back at size one, the last `dims` left as they are."""
    if value.is_contiguous():
        return value
    for dim in range(value.dim() - dims):
        if value.shape[dim] > 1 and value.stride(dim) == 0:
            value = value.narrow(dim, 0, 1)
    return value


def broadcast_shapes(shapes: Sequence[torch.Size]) -> torch.Size:
    """The common shape, in plain Python: several times faster than the library call for short shapes.

    Raises:
        ValueError: two sizes differ and neither is one.
    """
    wide = max(shapes, key=len)
    for shape in shapes:
        if shape and shape != wide:
            break
    else:
        return wide
    out: list[int] = [1] * max(len(shape) for shape in shapes)
    for shape in shapes:
        offset = len(out) - len(shape)
        for index, size in enumerate(shape, start=offset):
            if size != 1 and size != out[index]:
                if out[index] != 1:
                    raise ValueError(f"shapes {', '.join(str(tuple(s)) for s in shapes)} do not broadcast.")
                out[index] = size
    return torch.Size(out)


def expands(shape: torch.Size, wide: torch.Size) -> bool:
    """Whether `shape` broadcasts to `wide`."""
    try:
        return broadcast_shapes([shape, wide]) == wide
    except ValueError:
        return False


def check_expands(where: str, shape: torch.Size, wide: torch.Size) -> None:
    """Raise unless the batch shape `shape` broadcasts to `wide`.

    Raises:
        ValueError: it does not.
    """
    if not expands(shape, wide):
        raise ValueError(
            f"{where}: batch shape {tuple(shape)} does not expand to {tuple(wide)}. "
            f"Sizes must be equal or 1, counted from the right."
        )


def broadcast_error(family: str, shapes: dict[str, torch.Size]) -> ValueError:
    """The message for parameters whose batch shapes do not broadcast."""
    listed = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    return ValueError(
        f"{family}: batch shapes do not broadcast: {listed}. Sizes must be equal or 1, counted from the right; "
        f"try unsqueeze(-1) on one of them."
    )

"""The public names of `torch.distributions.utils`, for code that was written against them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from numbers import Number
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]

T = TypeVar("T")


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Tensors and numbers as tensors of one shape; numbers take the dtype and device of the first tensor.

    >>> broadcast_all(1.0, torch.zeros(2))
    (tensor([1., 1.]), tensor([0., 0.]))

    Raises:
        ValueError: an argument is neither a number nor a tensor.
    """
    for value in values:
        if not isinstance(value, Number | Tensor):
            raise ValueError(f"broadcast_all: expected numbers and tensors, got {type(value).__name__}.")
    like = next((v for v in values if isinstance(v, Tensor)), torch.empty(()))
    tensors = [v if isinstance(v, Tensor) else torch.full((), v, dtype=like.dtype, device=like.device) for v in values]
    return tuple(torch.broadcast_tensors(*tensors)) if tensors else ()  # type: ignore[no-untyped-call]  # torch's gap


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities moved into [eps, 1 - eps] of their dtype."""
    facts = torch.finfo(probs.dtype)
    return probs.clamp(facts.eps, 1 - facts.eps)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Softmax over the last dimension, or the logistic function where `is_binary`."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """log p, or log(p / (1-p)) where `is_binary`, of probabilities clamped away from 0 and 1."""
    clamped = clamp_probs(probs)
    return clamped.log() - (-clamped).log1p() if is_binary else clamped.log()


class lazy_property(Generic[T]):  # used as a decorator, under the name people know
    """A property that is computed, with gradients enabled, at the first reading and then stored on the instance.

    >>> class Square:
    ...     side = torch.tensor(3.0)
    ...     @lazy_property
    ...     def area(self):
    ...         return self.side ** 2
    >>> Square().area
    tensor(9.)
    """

    def __init__(self, wrapped: Callable[[Any], T]) -> None:
        self.wrapped = wrapped
        functools.update_wrapper(self, wrapped)  # type: ignore[arg-type]  # a descriptor stands for the function

    @overload
    def __get__(self, instance: None, obj_type: Any = None) -> lazy_property[T]: ...
    @overload
    def __get__(self, instance: object, obj_type: Any = None) -> T: ...
    def __get__(self, instance: object | None, obj_type: Any = None) -> lazy_property[T] | T:
        if instance is None:
            return self
        with torch.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The entries on and below the diagonal `diag` of square matrices, row by row: B + (n, n) -> B + (m,).

    Raises:
        ValueError: `diag` lies outside the matrix.
    """
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"tril_matrix_to_vec: diag must lie in {-n}..{n - 1} for matrices of size {n}, got {diag}.")
    rows, columns = torch.tril_indices(n, n, diag, device=mat.device)
    return mat[..., rows, columns]


def _tril_size(count: int, diag: int) -> int | None:
    """The n for which a square matrix of size n has `count` entries on and below the diagonal, or None."""
    # 2 m = n^2 + (2 d + 1) n - |d| (d + 1) for a diagonal d inside the matrix, on either side of the main one
    linear, constant = 2 * diag + 1, abs(diag) * (diag + 1)
    n = (math.isqrt(linear**2 + 4 * constant + 8 * count) - linear) // 2
    return n if 2 * count == n * n + linear * n - constant and -n <= diag < n else None


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """Square matrices with these entries, row by row, on and below the diagonal `diag`: B + (m,) -> B + (n, n).

    >>> vec_to_tril_matrix(torch.tensor([1.0, 2.0, 3.0]))
    tensor([[1., 0.],
            [2., 3.]])

    Raises:
        ValueError: no square matrix has that many entries there.
    """
    n = _tril_size(vec.shape[-1], diag)
    if n is None:
        raise ValueError(
            f"vec_to_tril_matrix: no square matrix has {vec.shape[-1]} entries on and below diagonal {diag}."
        )
    rows, columns = torch.tril_indices(n, n, diag, device=vec.device)
    matrix = vec.new_zeros(*vec.shape[:-1], n, n)
    matrix[..., rows, columns] = vec
    return matrix

"""The inverse of a transform, seen as a transform."""

from __future__ import annotations

import torch
from torch import Tensor

from ..constraints import Constraint
from .transform import Transform

__all__ = ["InverseTransform"]


class InverseTransform(Transform):
    """`t.inv`: maps y to the x with t(x) = y. It shares the cache of `t`."""

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self._inv = transform

    @property
    def bijective(self) -> bool:  # type: ignore[override]  # a view on the transform it inverts
        return self._inv.bijective

    @property
    def affine(self) -> bool:  # type: ignore[override]  # a view on the transform it inverts
        return self._inv.affine and self._inv.bijective

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]  # a view on the transform it inverts
        return self._inv.domain

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # a view on the transform it inverts
        return self._inv.codomain

    @property
    def inv(self) -> Transform:
        return self._inv

    @property
    def sign(self) -> int | Tensor:
        return self._inv.sign

    @property
    def cache_size(self) -> int:
        return self._inv.cache_size

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self._inv.with_cache(cache_size).inv

    def __call__(self, x: Tensor) -> Tensor:
        return self._inv._inv_call(x)

    def _inv_call(self, y: Tensor) -> Tensor:
        return self._inv(y)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return -self._inv.log_abs_det_jacobian(y, x)

    def _variance(self, variance: Tensor) -> Tensor:
        return self._inv._inverse_variance(variance)

    def _inverse_variance(self, variance: Tensor) -> Tensor:
        return self._inv._variance(variance)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self._inv.forward_shape(shape)

    def __repr__(self) -> str:
        return f"{self._inv!r}.inv"

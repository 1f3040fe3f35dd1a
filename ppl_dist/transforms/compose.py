"""Transforms made of transforms: one after another, over more event dimensions, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import constraints
from ..constraints import Constraint
from ..shapes import sum_rightmost
from .transform import Transform

__all__ = ["CatTransform", "ComposeTransform", "IndependentTransform", "ReshapeTransform", "StackTransform"]


class ComposeTransform(Transform):
    """`parts[0]` first, `parts[-1]` last; no parts make the identity.

    Args:
        parts: transforms, each one's codomain the next one's domain.
        cache_size: as for every transform.
    """

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.parts = [part.with_cache(cache_size) if cache_size else part for part in parts]

    @property
    def bijective(self) -> bool:  # type: ignore[override]  # derived from the parts
        return all(part.bijective for part in self.parts)

    @property
    def affine(self) -> bool:  # type: ignore[override]  # derived from the parts
        return all(part.affine for part in self.parts)

    @property
    def sign(self) -> int | Tensor:
        sign: int | Tensor = 1
        for part in self.parts:
            sign = sign * part.sign
        return sign

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # derived from the parts
        if not self.parts:
            return constraints.real
        return _widened(self.parts[0].domain, self._event_dims()[0])

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]  # derived from the parts
        if not self.parts:
            return constraints.real
        return _widened(self.parts[-1].codomain, self._event_dims()[-1])

    def _event_dims(self) -> list[int]:
        """The event dimensions of x and of each intermediate result, wide enough for every part."""
        dims = [0] * (len(self.parts) + 1)
        for _ in range(2):  # a wide part in the middle widens both its sides
            for i, part in enumerate(self.parts):
                before, after = part.domain.event_dim, part.codomain.event_dim
                dims[i] = max(dims[i], before)
                dims[i + 1] = max(dims[i + 1], after + dims[i] - before)
            for i in reversed(range(len(self.parts))):
                part = self.parts[i]
                before, after = part.domain.event_dim, part.codomain.event_dim
                dims[i] = max(dims[i], before + dims[i + 1] - after)
        return dims

    @property
    def event_dim(self) -> int:
        return max(self._event_dims())

    def _call(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for part in reversed(self.parts):
            y = part.inv(y)
        return y

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_log_det(x)[1]

    def call_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.parts:
            return x, torch.zeros_like(x)
        dims = self._event_dims()
        total: Tensor | None = None
        for part, width in zip(self.parts, dims, strict=False):
            x, log_det = part.call_and_log_det(x)
            log_det = sum_rightmost(log_det, width - part.domain.event_dim)
            total = log_det if total is None else total + log_det
        assert total is not None
        return x, total

    def _variance(self, variance: Tensor) -> Tensor:
        for part in self.parts:
            variance = part._variance(variance)
        return variance

    def _inverse_variance(self, variance: Tensor) -> Tensor:
        for part in reversed(self.parts):
            variance = part._inverse_variance(variance)
        return variance

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self if self._cache_size == cache_size else ComposeTransform(self.parts, cache_size)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape


def _widened(constraint: Constraint, event_dim: int) -> Constraint:
    extra = event_dim - constraint.event_dim
    return constraints.independent(constraint, extra) if extra else constraint


class IndependentTransform(Transform):
    """`base_transform` with further rightmost dimensions counted as part of the event.

    Args:
        base_transform: what is applied.
        reinterpreted_batch_ndims: how many more dimensions the log-det is summed over.
        cache_size: as for every transform.
    """

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.base_transform = base_transform.with_cache(cache_size) if cache_size else base_transform
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    @property
    def bijective(self) -> bool:  # type: ignore[override]  # the base transform's
        return self.base_transform.bijective

    @property
    def affine(self) -> bool:  # type: ignore[override]  # the base transform's
        return self.base_transform.affine

    @property
    def sign(self) -> int | Tensor:
        return self.base_transform.sign

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]  # derived from the base transform
        return constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims)

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # derived from the base transform
        return constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims)

    def _call(self, x: Tensor) -> Tensor:
        return self.base_transform(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.base_transform.inv(y)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)

    def _variance(self, variance: Tensor) -> Tensor:
        return self.base_transform._variance(variance)

    def _inverse_variance(self, variance: Tensor) -> Tensor:
        return self.base_transform._inverse_variance(variance)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self.base_transform.inverse_shape(shape)


class ReshapeTransform(Transform):
    """Rearranges the event from `in_shape` to `out_shape`, which hold equally many numbers."""

    bijective = True
    affine = True

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int], cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.in_shape, self.out_shape = torch.Size(in_shape), torch.Size(out_shape)
        if self.in_shape.numel() != self.out_shape.numel():
            raise ValueError(
                f"ReshapeTransform: {tuple(in_shape)} holds {self.in_shape.numel()} numbers and {tuple(out_shape)} "
                f"holds {self.out_shape.numel()}; they must be equal."
            )

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # depends on the shape
        return constraints.independent(constraints.real, len(self.in_shape))

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]  # depends on the shape
        return constraints.independent(constraints.real, len(self.out_shape))

    def _call(self, x: Tensor) -> Tensor:
        return x.reshape(self.forward_shape(x.shape))

    def _inverse(self, y: Tensor) -> Tensor:
        return y.reshape(self.inverse_shape(y.shape))

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.dim() - len(self.in_shape)])

    def _variance(self, variance: Tensor) -> Tensor:
        return self._call(variance)

    def _inverse_variance(self, variance: Tensor) -> Tensor:
        return self._inverse(variance)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return _swap_tail(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return _swap_tail(shape, self.out_shape, self.in_shape)


def _swap_tail(shape: torch.Size, old: torch.Size, new: torch.Size) -> torch.Size:
    cut = len(shape) - len(old)
    if cut < 0 or shape[cut:] != old:
        raise ValueError(f"ReshapeTransform: expected a shape that ends in {tuple(old)}, got {tuple(shape)}.")
    return shape[:cut] + new


class _Pieces(Transform):
    """Shared by `CatTransform` and `StackTransform`: take apart along `dim`, map, put together."""

    transforms: list[Transform]
    dim: int

    def _batch_dims(self, width: int) -> bool:
        return not -width <= self.dim < 0 or super()._batch_dims(width)

    def _split(self, x: Tensor) -> list[Tensor]:
        raise NotImplementedError(f"{type(self).__name__} does not define _split(x).")

    def _join(self, pieces: list[Tensor], dim: int) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not define _join(pieces, dim).")

    @property
    def bijective(self) -> bool:  # type: ignore[override]  # derived from the pieces
        return all(piece.bijective for piece in self.transforms)

    def _map(self, apply: Callable[[Any, Tensor], Tensor], x: Tensor) -> Tensor:
        return self._join([apply(t, piece) for t, piece in zip(self.transforms, self._split(x), strict=True)], self.dim)

    def _call(self, x: Tensor) -> Tensor:
        return self._map(lambda t, piece: t(piece), x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._map(lambda t, piece: t.inv(piece), y)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        pairs = zip(self.transforms, self._split(x), self._split(y), strict=True)
        widest = max(t.event_dim for t in self.transforms)
        parts = [sum_rightmost(t.log_abs_det_jacobian(a, b), widest - t.event_dim) for t, a, b in pairs]
        if -widest <= self.dim < 0:  # the pieces lie inside the event: one number for all of them
            return torch.stack(parts).sum(0)
        return self._join(parts, self.dim if self.dim >= 0 else self.dim + widest)


class CatTransform(_Pieces):
    """Transforms side by side along `dim`, the i-th over `lengths[i]` entries."""

    def __init__(
        self,
        tseq: Iterable[Transform],
        dim: int = 0,
        lengths: Sequence[int] | None = None,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size=cache_size)
        self.dim, self.transforms = dim, list(tseq)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)

    @property
    def length(self) -> int:
        """How many entries along `dim` all pieces take together."""
        return sum(self.lengths)

    def _split(self, x: Tensor) -> list[Tensor]:
        return list(torch.split(x, self.lengths, self.dim))

    def _join(self, pieces: list[Tensor], dim: int) -> Tensor:
        return torch.cat(pieces, dim)

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # derived from the pieces
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]  # derived from the pieces
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_Pieces):
    """One transform for each slice along `dim`."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.transforms = list(tseq)
        self.dim = dim

    def _split(self, x: Tensor) -> list[Tensor]:
        return list(x.unbind(self.dim))

    def _join(self, pieces: list[Tensor], dim: int) -> Tensor:
        return torch.stack(pieces, dim)

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # derived from the pieces
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]  # derived from the pieces
        return constraints.stack([t.codomain for t in self.transforms], self.dim)

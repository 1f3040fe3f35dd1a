"""A distribution whose log density counts only in some places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ..distribution import Distribution
from ..shapes import broadcast_shapes, size_of
from .wrapper import Wrapper

__all__ = ["MaskedDistribution"]


class MaskedDistribution(Wrapper):
    """`base_dist` with log_prob 0 where `mask` is false; draws are the base's everywhere.

    Args:
        base_dist: any distribution.
        mask: a bool, or a boolean tensor that broadcasts with the batch shape.

    Raises:
        ValueError: `mask` is neither.
    """

    def __init__(self, base_dist: Distribution, mask: Any) -> None:
        if not isinstance(mask, bool) and not (isinstance(mask, Tensor) and mask.dtype is torch.bool):
            got = f"dtype {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"mask: expected a bool or a boolean tensor, got {got}. Try mask.bool().")
        batch = base_dist.batch_shape
        if isinstance(mask, Tensor):
            batch = broadcast_shapes([mask.shape, batch])
            if batch != base_dist.batch_shape:
                base_dist = base_dist.expand(batch)
        self._mask = mask
        super().__init__(base_dist, batch, base_dist.event_shape)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        batch = size_of(batch_shape)
        new = self._rewrap(self.base_dist.expand(batch), batch)
        new._mask = self._mask.expand(batch) if isinstance(self._mask, Tensor) else self._mask
        return new

    def __getitem__(self, index: Any) -> Self:
        new = super().__getitem__(index)
        if isinstance(self._mask, Tensor):
            new._mask = self._mask.expand(self._batch_shape)[index]
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._as_value(value)
        if self._mask is False:
            shape = broadcast_shapes([value.shape[: value.dim() - self.event_dim], self._batch_shape])
            return value.new_zeros(()).expand(shape)
        log_prob = self.base_dist.log_prob(self._inside(value))
        return log_prob if self._mask is True else torch.where(torch.as_tensor(self._mask), log_prob, 0.0)

    def _log_prob(self, x: Tensor) -> Tensor:
        return self.log_prob(x)

    def _inside(self, value: Tensor) -> Tensor:
        """What lies under the mask may be missing data: put a harmless value there, so that no nan gets out."""
        if not isinstance(self._mask, Tensor):
            return value
        mask = self._mask.reshape(self._mask.shape + (1,) * self.event_dim)
        support = self._base_support()
        return value if support is None else torch.where(mask, value, support.feasible(value)).to(value.dtype)

    def _base_support(self) -> Any:
        """The support, if it is one of our constraints; people's own classes may state none."""
        try:
            support = self.base_dist.support
        except NotImplementedError:
            return None
        return support if hasattr(support, "feasible") else None

    def __repr__(self) -> str:
        mask = self._mask if isinstance(self._mask, bool) else f"tensor{tuple(self._mask.shape)}"
        return f"MaskedDistribution({self.base_dist!r}, mask={mask})"

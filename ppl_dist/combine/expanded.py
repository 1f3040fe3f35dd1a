"""`expand` for distributions that do not declare their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..distribution import Distribution
from ..samplers import draw
from ..shapes import broadcast_shapes, check_expands, size_of
from .wrapper import Wrapper

__all__ = ["ExpandedDistribution"]


class ExpandedDistribution(Wrapper):
    """Independent copies of `base_dist`, with batch shape `batch_shape`.

    Declared families expand by themselves and keep their type; this serves the others.

    Args:
        base_dist: any distribution.
        batch_shape: a shape that the base's batch shape broadcasts to.
    """

    def __init__(self, base_dist: Distribution, batch_shape: Sequence[int]) -> None:
        batch = size_of(batch_shape)
        check_expands("expand", base_dist.batch_shape, batch)
        super().__init__(base_dist, batch, base_dist.event_shape)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        return ExpandedDistribution(self.base_dist, batch_shape)

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(
            f"{type(self.base_dist).__name__} cannot be indexed: it does not declare its parameters. "
            f"Try param() declarations, or index the arguments."
        )

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        base = self.base_dist
        batch = shape[: len(shape) - self.event_dim]
        size = base.batch_shape
        padded = (1,) * (len(batch) - len(size)) + tuple(size)
        fresh = [n for n, kept in zip(batch, padded, strict=True) if n != kept]  # dimensions to draw anew
        value = draw(base, torch.Size(fresh), generator)
        return self._place(value, batch, padded, len(fresh))

    def _place(self, value: Tensor, batch: torch.Size, padded: tuple[int, ...], fresh: int) -> Tensor:
        """Move the freshly drawn leading dimensions to where the expanded ones stand."""
        value = value.reshape(value.shape[:fresh] + padded + self._event_shape)
        where = [i for i, (n, kept) in enumerate(zip(batch, padded, strict=True)) if n != kept]
        order = []
        for i in range(len(batch)):
            order.append(where.index(i) if i in where else fresh + i)
        order += [fresh + i for i in where] + list(range(fresh + len(batch), value.dim()))
        moved = value.permute(order)
        return moved.reshape(batch + self._event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._as_value(value)
        shape = broadcast_shapes([value.shape[: value.dim() - self.event_dim], self._batch_shape])
        log_prob = self.base_dist.log_prob(value)
        return log_prob if log_prob.shape == shape else log_prob.expand(shape)

    def _log_prob(self, x: Tensor) -> Tensor:
        return self.log_prob(x)

    def _spread(self, value: Tensor, event: torch.Size) -> Tensor:
        return value.expand(self._batch_shape + event)

    @property
    def mean(self) -> Tensor:
        return self._spread(self.base_dist.mean, self._event_shape)

    @property
    def variance(self) -> Tensor:
        return self._spread(self.base_dist.variance, self._event_shape)

    @property
    def mode(self) -> Tensor:
        return self._spread(self.base_dist.mode, self._event_shape)

    def entropy(self) -> Tensor:
        return self._spread(self.base_dist.entropy(), torch.Size())

    def _rebuilt(self) -> None:
        """The batch shape is this wrapper's own: the base does not know it."""

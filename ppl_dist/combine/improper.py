"""A density of one on a whole set, be its volume finite or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..constraints import Constraint, independent
from ..distribution import Distribution
from ..shapes import broadcast_shapes, check_expands, size_of

__all__ = ["ImproperUniform"]


class ImproperUniform(Distribution):
    """ImproperUniform(support, batch_shape, event_shape):  log_prob 0 on the support. A flat prior; it cannot be drawn.

    >>> import ppl_dist as dist
    >>> dist.ImproperUniform(dist.constraints.positive, (), ()).log_prob(3.0)
    tensor(0.)

    Args:
        support: the set.
        batch_shape: the shape of the collection.
        event_shape: the shape of one point; its dimensions beyond those of `support` hold points of it.
        validate_args: as for every distribution.

    Raises:
        ValueError: one point of `support` has more dimensions than `event_shape`.
    """

    def __init__(
        self,
        support: Constraint,
        batch_shape: Sequence[int],
        event_shape: Sequence[int],
        *,
        validate_args: bool | None = None,
    ) -> None:
        event = size_of(event_shape)
        extra = len(event) - support.event_dim
        if extra < 0:
            raise ValueError(
                f"ImproperUniform: one point of {support!r} has {support.event_dim} dimension(s), got event shape "
                f"{tuple(event)}. Try event_shape=({', '.join(['n'] * support.event_dim)},)."
            )
        self._support = independent(support, extra) if extra else support
        super().__init__(batch_shape, event, validate_args)

    @property
    def support(self) -> Any:
        return self._support

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        batch = size_of(batch_shape)
        check_expands("ImproperUniform", self._batch_shape, batch)
        return self._replace({}, batch)

    def _log_prob(self, x: Tensor) -> Tensor:
        zero = x.mul(0).flatten(x.dim() - self.event_dim).sum(-1) if self.event_dim else x.mul(0)
        return zero.expand(broadcast_shapes([zero.shape, self._batch_shape]))

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        raise NotImplementedError(
            f"ImproperUniform has no sample: its mass over {self._support!r} is not a probability. Try a proper prior, "
            f"or give the site a value: condition(model, data={{'name': value}})."
        )

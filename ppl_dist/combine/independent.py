"""Batch dimensions counted as event dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import constraints
from ..distribution import Distribution
from ..shapes import sum_rightmost
from .wrapper import Wrapper

__all__ = ["Independent"]


class Independent(Wrapper):
    """`base_distribution` with its last `reinterpreted_batch_ndims` batch dimensions part of the event.

    log p(x) is the sum of the base's over those dimensions. `d.to_event(n)` is the short form.

    >>> import torch, ppl_dist as dist
    >>> dist.Independent(dist.Normal(torch.zeros(3, 2), 1.0), 1).event_shape
    torch.Size([2])

    Args:
        base_distribution: any distribution.
        reinterpreted_batch_ndims: how many dimensions move, at most all.
        validate_args: as for every distribution.
    """

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: bool | None = None
    ) -> None:
        shape = base_distribution.batch_shape
        if not 0 <= reinterpreted_batch_ndims <= len(shape):
            raise ValueError(
                f"Independent: reinterpreted_batch_ndims must lie in 0..{len(shape)} for batch shape {tuple(shape)}, "
                f"got {reinterpreted_batch_ndims}."
            )
        cut = len(shape) - reinterpreted_batch_ndims
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        super().__init__(base_distribution, shape[:cut], shape[cut:] + base_distribution.event_shape, validate_args)

    @property
    def support(self) -> Any:
        base = self.base_dist.support
        n = self.reinterpreted_batch_ndims
        return constraints.independent(base, n) if n else base

    def _tail_dims(self) -> int:
        return self.reinterpreted_batch_ndims

    def log_prob(self, value: Tensor) -> Tensor:
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def _log_prob(self, x: Tensor) -> Tensor:
        return sum_rightmost(self.base_dist._log_prob(x), self.reinterpreted_batch_ndims)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self._draw_base(shape, generator)

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        value, log_prob = self._draw_base_scored(sample_shape, generator)
        return value, sum_rightmost(log_prob, self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        if self.reinterpreted_batch_ndims:
            raise NotImplementedError(
                "Independent has no enumerate_support: the joint support grows as a power of the event size. "
                "Try enumerating base_dist."
            )
        return self.base_dist.enumerate_support(expand)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"

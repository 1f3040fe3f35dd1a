"""Normal vectors with a structure of their own: cumulative sums, and coordinates that add up to zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..constraints import dependent_property, positive, real_vector, zero_sum
from ..distribution import Distribution
from ..param import Param, param, static
from ..samplers import standard_normal
from ..shapes import size_of, unflatten_mask
from .normal import HALF_LOG_2PI

__all__ = ["GaussianRandomWalk", "ZeroSumNormal"]


class GaussianRandomWalk(Distribution):
    """GaussianRandomWalk(scale s, num_steps n):  x_t = x_(t-1) + s e_t for independent standard normal e_t, x_0 = 0.

    density  prod_t exp(-((x_t - x_(t-1)) / s)**2 / 2) / (s sqrt(2 pi)),  t = 1 ... n; a draw is (x_1, ..., x_n).

    >>> GaussianRandomWalk(2.0, num_steps=3).variance
    tensor([ 4.,  8., 12.])
    """

    scale: Param = param(positive, default=1.0)
    num_steps: int = static(default=1)
    support = real_vector
    has_rsample = True

    def _set_event_shape(self) -> None:
        n: Any = self.num_steps
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ValueError(f"GaussianRandomWalk: `num_steps` must be a positive integer, got {n!r}.")
        self._event_shape = torch.Size((n,))

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return (standard_normal(shape, self.scale, generator) * self.scale.unsqueeze(-1)).cumsum(-1)

    def _log_prob(self, x: Tensor) -> Tensor:
        steps = torch.cat([x[..., :1], x.diff(dim=-1)], -1) / self.scale.unsqueeze(-1)
        return -0.5 * steps.square().sum(-1) - self.num_steps * (self.scale.log() + HALF_LOG_2PI)

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.scale).unsqueeze(-1).expand(self._extended_shape())

    @property
    def mode(self) -> Tensor:
        return self.mean

    @property
    def variance(self) -> Tensor:
        time = torch.arange(1, self.num_steps + 1, dtype=self.scale.dtype, device=self.scale.device)
        return self.scale.square().unsqueeze(-1) * time

    def entropy(self) -> Tensor:
        return self.num_steps * (0.5 + HALF_LOG_2PI + self.scale.log())


class ZeroSumNormal(Distribution):
    """ZeroSumNormal(scale s, event_shape):  standard normal numbers times s, less their mean along each dimension.

    density  exp(-|x|**2 / (2 s**2)) / (s sqrt(2 pi))**d  with respect to lengths in the subspace of arrays that add up
    to zero along each dimension of `event_shape`, whose d is the product of the sizes less one.

    >>> ZeroSumNormal(1.0, event_shape=(4,)).variance
    tensor([0.7500, 0.7500, 0.7500, 0.7500])
    """

    scale: Param = param(positive)
    event_shape: torch.Size = static()  # the given shape stands where others derive it
    has_rsample = True

    @dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> Any:
        return zero_sum(len(self._event_shape))

    def _set_event_shape(self) -> None:
        shape: Sequence[int] = self.__dict__["event_shape"]
        self.__dict__["event_shape"] = self._event_shape = size_of(shape)
        if not self._event_shape or min(self._event_shape) < 1:
            raise ValueError(
                f"ZeroSumNormal: `event_shape` must have one or more dimensions of positive size, got {shape!r}. "
                f"Try event_shape=(3,)."
            )

    @property
    def _freedom(self) -> int:
        """d: the dimension of the subspace."""
        return math.prod([n - 1 for n in self._event_shape])

    def _wide(self, value: Tensor) -> Tensor:
        return unflatten_mask(value, len(self._event_shape))

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        x = standard_normal(shape, self.scale, generator)
        for dim in range(-len(self._event_shape), 0):
            x = x - x.mean(dim, keepdim=True)
        return x * self._wide(self.scale)

    def _log_prob(self, x: Tensor) -> Tensor:
        z = (x / self._wide(self.scale)).flatten(-len(self._event_shape))
        return -0.5 * z.square().sum(-1) - self._freedom * (self.scale.log() + HALF_LOG_2PI)

    @property
    def mean(self) -> Tensor:
        return self._wide(torch.zeros_like(self.scale)).expand(self._extended_shape())

    @property
    def mode(self) -> Tensor:
        return self.mean

    @property
    def variance(self) -> Tensor:
        kept = math.prod([1 - 1 / n for n in self._event_shape])  # the diagonal of the projection
        return self._wide(self.scale.square() * kept).expand(self._extended_shape())

    def entropy(self) -> Tensor:
        return self._freedom * (0.5 + HALF_LOG_2PI + self.scale.log())

"""Counts on a finite range: uniform, and the beta-binomial mixture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..constraints import dependent_property, greater_than_eq, integer, integer_interval, nonnegative_integer, positive
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import binomial, log_standard_gamma
from ..shapes import broadcast_shapes
from ..special import log1mexp
from ..special.binomial import log_count_share
from ..tables import listed
from .counting import log_masses, widened
from .trials import slack_of_level

__all__ = ["BetaBinomial", "DiscreteUniform"]


def _cut(level: Tensor, sign: int) -> Tensor:
    """`level` in double precision, moved by its rounding, so that the quantile of a rounded cdf(k) is k."""
    return level.to(torch.float64) * (1 + sign * 2 * torch.finfo(level.dtype).eps)


class DiscreteUniform(Distribution):
    """DiscreteUniform(low l, high h):  mass  1 / (h - l + 1),  k = l, l+1, ..., h. Draws are whole numbers (int64).

    `enumerate_support` lists what lies between the lowest and the highest end of all entries.

    >>> DiscreteUniform(1, 6).mean
    tensor(3.5000)
    """

    low: Param = param(integer)
    high: Param = param(integer, within=lambda d: greater_than_eq(d.low))
    has_enumerate_support = True

    @dependent_property(is_discrete=True)
    def support(self) -> Any:
        return integer_interval(self.low, self.high)

    @property
    def _size(self) -> Tensor:
        return self.high - self.low + 1

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        # in double precision, where the product of a number below one and the size stays below the size
        u = torch.rand(shape, dtype=torch.float64, device=self.low.device, generator=generator)
        return (self.low + (u * self._size).floor()).long()

    def _log_prob(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x, dtype=self.low.dtype) - self._size.log()

    def _cdf(self, x: Tensor) -> Tensor:
        return torch.minimum((x.floor() - self.low + 1).clamp(min=0), self._size) / self._size

    def _sf(self, x: Tensor) -> Tensor:
        return torch.minimum((self.high - x.floor()).clamp(min=0), self._size) / self._size

    def _icdf(self, p: Tensor) -> Tensor:
        return (self.low + ((_cut(p, -1) * self._size).ceil() - 1).clamp(min=0)).to(p.dtype)

    def _isf(self, q: Tensor) -> Tensor:
        return torch.maximum(self.high - (_cut(q, 1) * self._size).floor(), self.low).to(q.dtype)

    @property
    def mean(self) -> Tensor:
        return (self.low + self.high) / 2

    @property
    def variance(self) -> Tensor:
        return (self._size.square() - 1) / 12

    @property
    def mode(self) -> Tensor:
        return self.low

    @property
    def median(self) -> Tensor:
        return self.mean.floor()

    def entropy(self) -> Tensor:
        return self._size.log()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = listed(self.support, self._batch_shape, expand, self.low)
        return values.long()


def _nearer(log_tail: Tensor, log_other: Tensor) -> Tensor:
    """The log of a tail; where the other is less, from that."""
    less = log_other < log_tail
    return torch.where(less, log1mexp(torch.where(less, log_other, -1.0)), log_tail)


class BetaBinomial(Distribution):
    """BetaBinomial(concentration1 a, concentration0 b, total_count n):  a binomial count with p from Beta(a, b).

    mass  n! / (k! (n-k)!) B(k+a, n-k+b) / B(a, b),  k = 0 ... n. Distribution functions are sums over a table of n + 1
    masses. `total_count` may differ from entry to entry, as in `Binomial`.

    >>> BetaBinomial(1.0, 1.0, 4).log_prob(torch.tensor(2.0)).exp()
    tensor(0.2000)
    """

    concentration1: Param = param(positive)
    concentration0: Param = param(positive)
    total_count: Param = param(nonnegative_integer, default=1)
    has_enumerate_support = True

    @dependent_property(is_discrete=True)
    def support(self) -> Any:
        return integer_interval(0, self.total_count)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        one, zero = (log_standard_gamma(c.expand(shape), generator) for c in (self.concentration1, self.concentration0))
        return binomial(self.total_count.expand(shape), (one - zero).sigmoid(), generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        a, b, n, k = widened(self.concentration1, self.concentration0, self.total_count, x)
        total = a + b
        parts = log_count_share(a, k, total, n) + log_count_share(b, n - k, total, n)
        log_mass = parts - log_count_share(total, n, total, n)
        return log_mass.to(torch.promote_types(x.dtype, self.total_count.dtype))

    def _look_up(self, x: Tensor, table: Tensor, below: float, above: float) -> Tensor:
        """The entry of a table over 0 ... max n at floor(x), and what holds outside."""
        shape = broadcast_shapes([x.shape, self._batch_shape])
        k, n = x.floor().expand(shape), self.total_count
        index = torch.minimum(k.clamp(min=0), n).long()
        picked = table.movedim(0, -1).expand((*shape, len(table))).gather(-1, index.unsqueeze(-1)).squeeze(-1)
        return torch.where(k < 0, below, torch.where(k >= n, above + 0 * n, picked)).to(x.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return self._look_up(x, self._log_masses().exp().cumsum(0), 0.0, 1.0)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._look_up(x, self._log_below(), -torch.inf, 0.0)

    def _sf(self, x: Tensor) -> Tensor:
        return self._look_up(x, self._log_above().exp(), 1.0, 0.0)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._look_up(x, self._log_above(), 0.0, -torch.inf)

    def _log_masses(self) -> Tensor:
        return log_masses(self.to(torch.float64))

    def _log_below(self) -> Tensor:
        """log P(X <= k), where it is near 0 from the other tail."""
        return _nearer(self._log_masses().logcumsumexp(0), self._sums_above())

    def _log_above(self) -> Tensor:
        """log P(X > k), likewise."""
        return _nearer(self._sums_above(), self._log_masses().logcumsumexp(0))

    def _sums_above(self) -> Tensor:
        """log P(X > k), added up from the far end."""
        upward = self._log_masses().flip(0).logcumsumexp(0).flip(0)
        return torch.cat([upward[1:], torch.full_like(upward[:1], -torch.inf)])

    def _icdf(self, p: Tensor) -> Tensor:
        log_p = p.to(torch.float64).log()
        reached = (log_p - slack_of_level(p, log_p)).unsqueeze(-1)
        below = self._log_below().movedim(0, -1)[..., :-1] < reached
        return torch.minimum(below.sum(-1).to(p.dtype), self.total_count)

    def _isf(self, q: Tensor) -> Tensor:
        log_q = q.to(torch.float64).log()
        above = self._log_above().movedim(0, -1) > (log_q + slack_of_level(q, log_q)).unsqueeze(-1)
        return torch.minimum(above.sum(-1).to(q.dtype), self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Tensor:
        c = self.concentration1 + self.concentration0
        return self.mean * self.concentration0 / c * (c + self.total_count) / (c + 1)

    @property
    def mode(self) -> Tensor:
        """The likeliest of both ends and of the inner peak, where neighbours have equal mass."""
        a, b, n = self.concentration1, self.concentration0, self.total_count
        peak = ((n + 1) * (a - 1) / (a + b - 2)).floor().nan_to_num(0.0)
        candidates = torch.stack([torch.zeros_like(n), n, torch.minimum(peak.clamp(min=0), n)])
        return candidates.gather(0, self._log_prob(candidates).argmax(0, keepdim=True)).squeeze(0)

    def entropy(self) -> Tensor:
        log_mass = log_masses(self)
        return -(log_mass.exp() * torch.where(log_mass > -torch.inf, log_mass, 0.0)).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return listed(self.support, self._batch_shape, expand, self.total_count)

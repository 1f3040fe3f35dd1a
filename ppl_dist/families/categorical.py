"""The categorical distribution, and what the laws over categories share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import validation
from ..constraints import dependent_property, integer_interval, interval, real_vector, simplex
from ..distribution import Distribution
from ..param import Param, param
from ..shapes import broadcast_shapes
from ..values import lowest

__all__ = ["Categorical", "Categories", "count_up", "inverted", "log_normalized"]

_SAFE = interval(-60.0, 60.0)  # between these, exponentials and their sums are normal numbers in float32
_MANY = 2000


def count_up(values: Tensor, batch: torch.Size, expand: bool) -> Tensor:
    """`values` along a new leading dimension in front of `batch`, expanded over it or not."""
    values = values.reshape((-1,) + (1,) * len(batch))
    return values.expand((-1, *batch)) if expand else values


def log_normalized(v: Tensor) -> Tensor:
    """v - log sum exp v over the last dimension.

    For a large tensor on the CPU one look at the values is cheaper than the second pass that guards against overflow.
    """
    look = v.numel() > _MANY and v.is_cpu and not torch.compiler.is_compiling()
    if look and v.dtype in (torch.float32, torch.float64) and validation.holds(_SAFE, v):
        return v - v.exp().sum(-1, keepdim=True).log()
    return v.log_softmax(-1)


def inverted(weights: Tensor, levels: Tensor) -> Tensor:
    """Where along the last dimension the running sum of `weights` passes `levels`, in [0, 1), times their total.

    Of shapes B + (K,) and B + (n,) is made B + (n,). A weight of zero is never passed. Sums are in double precision:
    those of single precision would be off by more than a rare category weighs.
    """
    sums = weights.detach().cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(sums, levels * sums[..., -1:], right=True)


class Categories(Distribution):
    """A law over K categories, given by probs p or by logits log p + const, normalised over the last dimension."""

    probs: Param = param(
        simplex, derive=lambda d: d.logits.exp(), prepare=lambda p: p / p.sum(-1, keepdim=True), default=None
    )
    logits: Param = param(real_vector, derive=lambda d: d.probs.log(), prepare=log_normalized, default=None)
    exactly_one = ("probs", "logits")

    @property
    def param_shape(self) -> torch.Size:
        """The shape of `probs`: B + (K,)."""
        return self._given().shape

    @property
    def _num_events(self) -> int:
        return int(self._given().shape[-1])

    def _given(self) -> Tensor:
        state = self.__dict__
        table: Tensor = state["logits"] if "logits" in state else state["probs"]
        return table

    def _draw(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Categories as integers of shape `shape`, which is S + B: one uniform number each, whatever K is."""
        weights = self.probs.detach()
        if not shape.numel():
            return torch.zeros(shape, dtype=torch.long, device=weights.device)
        while weights.dim() > 1 and weights.stride(0) == 0:  # copies of one law are further draws from it
            weights = weights[0]
        batch = weights.shape[:-1]
        copies = len(shape) - len(batch)
        u = torch.rand(shape, dtype=torch.float64, device=weights.device, generator=generator)
        if not copies:
            return inverted(weights, u.unsqueeze(-1)).squeeze(-1)
        if not batch:
            return inverted(weights, u)
        levels = u.flatten(0, copies - 1).movedim(0, -1).contiguous()
        return inverted(weights, levels).movedim(-1, 0).reshape(shape)

    def _entropy(self) -> Tensor:
        if "logits" not in self.__dict__:
            entropy: Tensor = torch.special.entr(self.probs).sum(-1)
            return entropy
        logits = self.logits
        if not lowest(logits) > -torch.inf:  # a category without mass adds 0 and not 0 * inf
            return -(logits.exp() * logits.clamp(min=torch.finfo(logits.dtype).min)).sum(-1)
        if logits.numel() <= _MANY:
            expected: Tensor = torch.linalg.vecdot(logits.exp(), logits)
            return expected.neg_()
        # a third of the time of `sum` over short vectors
        return (logits.exp() * logits) @ logits.new_full(logits.shape[-1:], -1.0)


class Categorical(Categories):
    """Categorical(probs p, or logits log p + const):  mass  p_k at k,  k = 0 ... K-1.

    Both parameters are normalised over their last dimension. A probability of zero stays zero.
    Moments are those of the index k.

    >>> Categorical(probs=[1.0, 3.0]).probs
    tensor([0.2500, 0.7500])
    """

    has_enumerate_support = True

    @dependent_property(is_discrete=True)
    def support(self) -> Any:
        return integer_interval(0, self._num_events - 1)

    def _set_event_shape(self) -> None:
        """A draw is a number: the last dimension of the parameters counts its values."""

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self._draw(shape, generator)

    def _pick(self, table: Tensor, x: Tensor) -> Tensor:
        shape = x.shape if x.shape == self._batch_shape else broadcast_shapes([x.shape, self._batch_shape])
        index = x.long().expand(shape).unsqueeze(-1)
        return table.expand(shape + table.shape[-1:]).gather(-1, index).squeeze(-1)

    def _log_prob(self, x: Tensor) -> Tensor:
        picked = self._pick(self._given(), x)
        return picked if "logits" in self.__dict__ else picked.log()

    def _cdf(self, x: Tensor) -> Tensor:
        k = x.floor()
        inner = self._pick(self.probs.cumsum(-1), k.clamp(min=0))
        return torch.where(k < self._num_events - 1, torch.where(k < 0, 0.0, inner), 1.0)

    def _sf(self, x: Tensor) -> Tensor:
        k = x.floor() + 1
        inner = self._pick(self._upper(), k.clamp(max=self._num_events - 1))
        return torch.where(k < self._num_events, torch.where(k <= 0, 1.0, inner), 0.0)

    def _upper(self) -> Tensor:
        """P(X >= k), added up from the far end: 1 - cdf loses the small ones."""
        return self.probs.flip(-1).cumsum(-1).flip(-1)

    def _icdf(self, p: Tensor) -> Tensor:
        below = self.probs.cumsum(-1)[..., :-1] < p.unsqueeze(-1)
        return below.sum(-1)

    def _isf(self, q: Tensor) -> Tensor:
        return (self._upper()[..., 1:] > q.unsqueeze(-1)).sum(-1)

    @property
    def mean(self) -> Tensor:
        probs = self.probs
        return (probs * torch.arange(probs.shape[-1], dtype=probs.dtype, device=probs.device)).sum(-1)

    @property
    def variance(self) -> Tensor:
        probs = self.probs
        k = torch.arange(probs.shape[-1], dtype=probs.dtype, device=probs.device)
        return (probs * (k - self.mean.unsqueeze(-1)).square()).sum(-1)

    @property
    def mode(self) -> Tensor:
        return self._given().argmax(-1)

    def entropy(self) -> Tensor:
        return self._entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return count_up(torch.arange(self._num_events, device=self._given().device), self._batch_shape, expand)

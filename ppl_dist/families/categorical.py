"""The categorical distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..constraints import dependent_property, integer_interval, real_vector, simplex
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import standard_exponential
from ..shapes import broadcast_shapes

__all__ = ["Categorical", "count_up"]


def count_up(values: Tensor, batch: torch.Size, expand: bool) -> Tensor:
    """`values` along a new leading dimension in front of `batch`, expanded over it or not."""
    values = values.reshape((-1,) + (1,) * len(batch))
    return values.expand((-1, *batch)) if expand else values


class Categorical(Distribution):
    """Categorical(probs p, or logits log p + const):  mass  p_k at k,  k = 0 ... K-1.

    Both parameters are normalised over their last dimension. A probability of zero stays zero.
    Moments are those of the index k.

    >>> Categorical(probs=[1.0, 3.0]).probs
    tensor([0.2500, 0.7500])
    """

    probs: Param = param(
        simplex, derive=lambda d: d.logits.exp(), prepare=lambda p: p / p.sum(-1, keepdim=True), default=None
    )
    logits: Param = param(
        real_vector, derive=lambda d: d.probs.log(), prepare=lambda v: v.log_softmax(-1), default=None
    )
    exactly_one = ("probs", "logits")
    has_enumerate_support = True

    @dependent_property(is_discrete=True)
    def support(self) -> Any:
        return integer_interval(0, self._num_events - 1)

    @property
    def param_shape(self) -> torch.Size:
        """The shape of `probs`: B + (K,)."""
        return self._given().shape

    @property
    def _num_events(self) -> int:
        return int(self._given().shape[-1])

    def _set_event_shape(self) -> None:
        """A draw is a number: the last dimension of the parameters counts its values."""

    def _given(self) -> Tensor:
        state = self.__dict__
        table: Tensor = state["logits"] if "logits" in state else state["probs"]
        return table

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        table = self._given()
        if shape.numel() > 16 * self._batch_shape.numel():  # many draws of each: linear in K plus the draws
            return self._sample_table(shape, generator)
        # the first of K exponential arrivals with rates p_k
        arrival = standard_exponential(shape + table.shape[-1:], table, generator)
        return (table - arrival.log() if "logits" in self.__dict__ else table / arrival).argmax(-1)

    def _sample_table(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        batch = self._batch_shape
        table = self.probs.reshape(-1, self._num_events)
        draws = torch.multinomial(table, shape.numel() // batch.numel(), replacement=True, generator=generator)
        return draws.T.reshape(shape)

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
        probs = self.probs
        occurs = probs > 0
        log = (
            torch.where(occurs, self.logits, 0.0)
            if "logits" in self.__dict__
            else torch.where(occurs, probs, 1.0).log()
        )
        return -(probs * log).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return count_up(torch.arange(self._num_events, device=self._given().device), self._batch_shape, expand)

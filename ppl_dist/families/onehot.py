"""Categories as unit vectors, and their counts over many draws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..constraints import dependent_property, multinomial, nonnegative_integer, one_hot, real_vector, simplex
from ..distribution import Distribution
from ..param import Param, param
from .categorical import Categorical
from .counting import log_masses, unit_vectors, widened
from .counts import Binomial

__all__ = ["Multinomial", "OneHotCategorical"]


def _pairs(x: Tensor) -> Tensor:
    return torch.stack([x[..., ::2], x[..., 1::2]], -1)


class OneHotCategorical(Distribution):
    """OneHotCategorical(probs p, or logits log p + const):  mass  p_k at the k-th unit vector of length K.

    >>> OneHotCategorical(probs=[1.0, 3.0]).log_prob(torch.tensor([0.0, 1.0]))
    tensor(-0.2877)
    """

    probs: Param = param(
        simplex, derive=lambda d: d.logits.exp(), prepare=lambda p: p / p.sum(-1, keepdim=True), default=None
    )
    logits: Param = param(
        real_vector, derive=lambda d: d.probs.log(), prepare=lambda v: v.log_softmax(-1), default=None
    )
    exactly_one = ("probs", "logits")
    support = one_hot
    has_enumerate_support = True

    @property
    def param_shape(self) -> torch.Size:
        """The shape of `probs`: B + (K,)."""
        return self._batch_shape + self._event_shape

    @property
    def _index(self) -> Categorical:
        given = {name: self.__dict__[name] for name in ("probs", "logits") if name in self.__dict__}
        return Categorical(**given, validate_args=False)

    def _unit(self, index: Tensor) -> Tensor:
        return unit_vectors(index, self._event_shape[-1], self.probs.dtype)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self._unit(self._index._sample(shape[:-1], generator))

    def _log_prob(self, x: Tensor) -> Tensor:
        return self._index._log_prob(x.argmax(-1))

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    @property
    def mode(self) -> Tensor:
        return self._unit(self._index.mode)

    def entropy(self) -> Tensor:
        return self._index.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        k, probs = self._event_shape[-1], self.probs
        values = torch.eye(k, dtype=probs.dtype, device=probs.device)
        values = values.reshape((k,) + (1,) * len(self._batch_shape) + (k,))
        return values.expand((k, *self._batch_shape, k)) if expand else values


class Multinomial(Distribution):
    """Multinomial(total_count n, probs p, or logits):  mass  n! prod_k p_k**x_k / x_k!,  x_k >= 0, sum x_k = n.

    `total_count` may differ from entry to entry; both parameters are normalised over their last dimension.

    >>> Multinomial(4, probs=[1.0, 1.0, 2.0]).mean
    tensor([1., 1., 2.])
    """

    total_count: Param = param(nonnegative_integer, default=1)
    probs: Param = param(
        simplex, derive=lambda d: d.logits.exp(), prepare=lambda p: p / p.sum(-1, keepdim=True), default=None
    )
    logits: Param = param(
        real_vector, derive=lambda d: d.probs.log(), prepare=lambda v: v.log_softmax(-1), default=None
    )
    exactly_one = ("probs", "logits")

    @dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return multinomial(self.total_count)

    @property
    def param_shape(self) -> torch.Size:
        """The shape of `probs`: B + (K,)."""
        return self._batch_shape + self._event_shape

    def _set_event_shape(self) -> None:
        state = self.__dict__
        self._event_shape = (state["logits"] if "logits" in state else state["probs"]).shape[-1:]

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Split the categories in halves, and the count between them, again and again: log2 K binomial draws."""
        k = shape[-1]
        depth = (k - 1).bit_length()
        masses = [torch.nn.functional.pad(self.probs, (0, 2**depth - k))]
        for _ in range(depth):
            masses.append(_pairs(masses[-1]).sum(-1))
        counts = self.total_count.expand(shape[:-1]).unsqueeze(-1)
        for mass in reversed(masses[:-1]):
            pair = _pairs(mass)
            both = pair.sum(-1)
            share = torch.where(both > 0, pair[..., 0] / torch.where(both > 0, both, 1.0), 0.0).expand(counts.shape)
            left = torch.binomial(counts, share, generator=generator)
            counts = torch.stack([left, counts - left], -1).flatten(-2)
        return counts[..., :k]

    def _log_prob(self, x: Tensor) -> Tensor:
        state, dtype = self.__dict__, torch.promote_types(x.dtype, self.total_count.dtype)
        n, x = widened(self.total_count, x)
        if "logits" in state:
            terms = x * torch.where(x == 0, 0.0, state["logits"])
        else:
            terms = torch.xlogy(x, state["probs"] + (x == 0))
        log_mass = (n + 1).lgamma() + (terms - (x + 1).lgamma()).sum(-1)
        # the constraint, as torch has it, lets smaller sums through; they have no mass
        return torch.where(x.sum(-1) == n, log_mass, -torch.inf).to(dtype)

    @property
    def mean(self) -> Tensor:
        return self.total_count.unsqueeze(-1) * self.probs

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.probs)

    @property
    def mode(self) -> Tensor:
        """One by one to the largest p_k / (x_k + 1), which gains most; the mean rounded down is on the way."""
        probs, x = self.probs, self.mean.floor()
        for _ in range(self._event_shape[-1] - 1):
            open_ = x.sum(-1, keepdim=True) < self.total_count.unsqueeze(-1)
            best = unit_vectors((probs / (x + 1)).argmax(-1), self._event_shape[-1], x.dtype)
            x = x + best * open_
        return x

    def entropy(self) -> Tensor:
        n, probs = self.total_count, self.probs
        counts = Binomial(n.unsqueeze(-1), probs, validate_args=False)
        log_mass = log_masses(counts)
        k = torch.arange(len(log_mass), dtype=n.dtype, device=n.device).reshape((-1,) + (1,) * (log_mass.dim() - 1))
        spread = (log_mass.exp() * (k + 1).lgamma()).sum(0) + n.unsqueeze(-1) * torch.special.entr(probs)
        entropy: Tensor = spread.sum(-1) - (n + 1).lgamma()
        return entropy

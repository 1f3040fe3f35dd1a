"""Categories as unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from ..constraints import one_hot
from .categorical import Categories

__all__ = ["OneHotCategorical", "OneHotCategoricalStraightThrough"]


class OneHotCategorical(Categories):
    """OneHotCategorical(probs p, or logits log p + const):  mass  p_k at the k-th unit vector of length K.

    >>> OneHotCategorical(probs=[1.0, 3.0]).log_prob(torch.tensor([0.0, 1.0]))
    tensor(-0.2877)
    """

    support = one_hot
    has_enumerate_support = True

    def _unit(self, index: Tensor) -> Tensor:
        zeros = torch.zeros(index.shape + self._event_shape, dtype=self._given().dtype, device=index.device)
        return zeros.scatter(-1, index.unsqueeze(-1), 1.0)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self._unit(self._draw(shape[:-1], generator))

    def _log_prob(self, x: Tensor) -> Tensor:
        # the sum has one term; a product would make 0 * inf of a category without mass
        picked = torch.where(x > 0, self._given(), 0.0).sum(-1)
        return picked if "logits" in self.__dict__ else picked.log()

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    @property
    def mode(self) -> Tensor:
        return self._unit(self._given().argmax(-1))

    def entropy(self) -> Tensor:
        return self._entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        k, given = self._event_shape[-1], self._given()
        values = torch.eye(k, dtype=given.dtype, device=given.device)
        values = values.reshape((k,) + (1,) * len(self._batch_shape) + (k,))
        return values.expand((k, *self._batch_shape, k)) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """OneHotCategoricalStraightThrough(probs p, or logits):  OneHotCategorical whose draws move as their mean p does.

    mass  p_k at the k-th unit vector. The gradient is a biased estimate: Bengio et al. (2013), "Estimating or
    Propagating Gradients Through Stochastic Neurons".

    >>> p = torch.tensor([0.25, 0.75], requires_grad=True)
    >>> OneHotCategoricalStraightThrough(p).rsample().requires_grad
    True
    """

    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        draws, probs = super()._sample(shape, generator), self.probs
        return draws + (probs - probs.detach()) if probs.requires_grad else draws

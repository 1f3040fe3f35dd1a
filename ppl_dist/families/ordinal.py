"""Ordered categories: a latent number between cutpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from ..constraints import dependent_property, integer_interval, ordered_vector, real
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import standard_uniform
from ..shapes import broadcast_shapes, unexpanded
from ..special import log1mexp
from ..transforms.ordered import log_logistic_masses
from .categorical import Categorical, count_up

__all__ = ["OrderedLogistic"]


class OrderedLogistic(Distribution):
    """OrderedLogistic(predictor m, cutpoints c):  the place k = 0 ... K of m + e among c_0 < ... < c_(K-1), e logistic.

    mass  F(c_k - m) - F(c_(k-1) - m)  for the logistic F, with F = 0 and 1 beyond the ends.

    >>> OrderedLogistic(0.0, [-1.0, 1.0]).probs
    tensor([0.2689, 0.4621, 0.2689])
    """

    predictor: Param = param(real, finite=True)
    cutpoints: Param = param(ordered_vector, finite=True)
    has_enumerate_support = True

    @dependent_property(is_discrete=True)
    def support(self) -> Any:
        return integer_interval(0, self.cutpoints.shape[-1])

    def _set_event_shape(self) -> None:
        """A draw is a number: the last dimension of the cutpoints counts its values."""

    @property
    def logits(self) -> Tensor:
        """The logs of the masses, shape B + (K + 1,)."""
        return log_logistic_masses(self.cutpoints, self.predictor.unsqueeze(-1))

    @property
    def probs(self) -> Tensor:
        """The masses, shape B + (K + 1,)."""
        return self.logits.exp()

    @property
    def param_shape(self) -> torch.Size:
        """The shape of `probs`."""
        return torch.Size((*self._batch_shape, self.cutpoints.shape[-1] + 1))

    @property
    def _table(self) -> Categorical:
        return Categorical(logits=self.logits, validate_args=False)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        u = standard_uniform(shape, self.predictor, generator)
        latent = self.predictor + (u.log() - (-u).log1p())
        return (latent.unsqueeze(-1) > self.cutpoints).sum(-1)

    def _cut(self, k: Tensor) -> Tensor:
        """c_k for k = -1 ... K, infinite at both ends."""
        ends = pad(pad(unexpanded(self.cutpoints, 1), (1, 0), value=-torch.inf), (0, 1), value=torch.inf)
        shape = k.shape if k.shape == self._batch_shape else broadcast_shapes([k.shape, self._batch_shape])
        index = (k.long() + 1).expand(shape).unsqueeze(-1)
        return ends.expand(shape + ends.shape[-1:]).gather(-1, index).squeeze(-1)

    def _log_prob(self, x: Tensor) -> Tensor:
        upper, lower = self._cut(x), self._cut(x - 1)
        # F(b) - F(a) = F(b) F(-a) (1 - e^(a-b)): no difference of numbers near one
        inside = logsigmoid(upper - self.predictor) + logsigmoid(self.predictor - lower)
        return inside + log1mexp(lower - upper)

    def _at(self, x: Tensor) -> Tensor:
        return self._cut(x.floor().clamp(-1, self.cutpoints.shape[-1])) - self.predictor

    def _cdf(self, x: Tensor) -> Tensor:
        return self._at(x).sigmoid()

    def _log_cdf(self, x: Tensor) -> Tensor:
        return logsigmoid(self._at(x))

    def _sf(self, x: Tensor) -> Tensor:
        return (-self._at(x)).sigmoid()

    def _log_sf(self, x: Tensor) -> Tensor:
        return logsigmoid(-self._at(x))

    def _icdf(self, p: Tensor) -> Tensor:
        return ((self.cutpoints - self.predictor.unsqueeze(-1)).sigmoid() < p.unsqueeze(-1)).sum(-1)

    def _isf(self, q: Tensor) -> Tensor:
        return ((self.predictor.unsqueeze(-1) - self.cutpoints).sigmoid() > q.unsqueeze(-1)).sum(-1)

    @property
    def mean(self) -> Tensor:
        """The sum of P(X > k)."""
        return (self.predictor.unsqueeze(-1) - self.cutpoints).sigmoid().sum(-1)

    @property
    def variance(self) -> Tensor:
        return self._table.variance

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(-1)

    def entropy(self) -> Tensor:
        log_masses = self.logits
        return -(log_masses.exp() * log_masses).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = torch.arange(self.cutpoints.shape[-1] + 1, device=self.cutpoints.device)
        return count_up(values, self._batch_shape, expand)

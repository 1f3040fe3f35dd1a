"""The distribution of a weighted collection of values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..constraints import dependent, dependent_property, independent, real, real_vector
from ..distribution import Distribution
from ..param import Param, param
from ..shapes import unflatten_mask

__all__ = ["Empirical"]


class Empirical(Distribution):
    """Empirical(samples, log_weights):  mass at each of n values, in proportion to exp(log_weights).

    `log_weights` has shape B + (n,), and `samples` B + (n,) + E. A value that occurs more than once has the sum of its
    masses.

    >>> import torch, ppl_dist as dist
    >>> dist.Empirical(torch.tensor([1.0, 2.0, 4.0]), torch.zeros(3)).mean
    tensor(2.3333)

    Args:
        samples: the values.
        log_weights: their log weights, up to a constant.
        validate_args: as for every distribution.

    Raises:
        ValueError: `log_weights` has no dimension, or its shape does not begin that of `samples`.
    """

    samples: Param = param(dependent, event_dim="_sample_dims")
    log_weights: Param = param(real_vector)
    has_enumerate_support = True

    def __init__(self, samples: Tensor, log_weights: Tensor, validate_args: bool | None = None) -> None:
        shape = log_weights.shape
        if not shape or samples.shape[: len(shape)] != shape:
            raise ValueError(
                f"Empirical: the shape of `samples` must begin with that of `log_weights`, (..., n); got "
                f"{tuple(samples.shape)} and {tuple(shape)}. Try log_weights=torch.zeros(len(samples))."
            )
        self.samples, self.log_weights = samples, log_weights
        self._sample_dims = samples.dim() - len(shape) + 1
        super().__init__(shape[:-1], samples.shape[len(shape) :], validate_args)

    @dependent_property
    def support(self) -> Any:
        return independent(real, self.event_dim) if self.event_dim else real

    @property
    def sample_size(self) -> int:
        """n: how many values there are."""
        return self.log_weights.shape[-1]

    def _log_masses(self) -> Tensor:
        return self.log_weights.log_softmax(-1)

    def _masses(self) -> Tensor:
        """The masses, of shape B + (n,) + E, to be summed over dimension `_across`."""
        return unflatten_mask(self.log_weights.softmax(-1), self.event_dim)

    @property
    def _across(self) -> int:
        return -1 - self.event_dim

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        batch = shape[: len(shape) - self.event_dim]
        noise = torch.rand((*batch, 1), dtype=torch.float64, device=self.log_weights.device, generator=generator)
        return self._at((self.log_weights.to(torch.float64).softmax(-1).cumsum(-1) <= noise).sum(-1))

    def _at(self, index: Tensor) -> Tensor:
        """The values number `index`, a tensor of shape S + B."""
        index = index.clamp(max=self.sample_size - 1)
        samples = self.samples.movedim(self._across, 0).expand(-1, *self._batch_shape, *self._event_shape)
        rows = samples.reshape(self.sample_size, -1, *self._event_shape)
        column = torch.arange(rows.shape[1], device=index.device).reshape(self._batch_shape)
        return rows[index, column]

    def _log_prob(self, x: Tensor) -> Tensor:
        same = x.unsqueeze(self._across) == self.samples
        same = same.flatten(-self.event_dim).all(-1) if self.event_dim else same
        return torch.where(same, self._log_masses(), -torch.inf).logsumexp(-1)

    def _cdf(self, x: Tensor) -> Tensor:
        return torch.where(self.samples <= x.unsqueeze(-1), self._masses(), 0.0).sum(-1)

    def _sf(self, x: Tensor) -> Tensor:
        return torch.where(self.samples > x.unsqueeze(-1), self._masses(), 0.0).sum(-1)

    def _icdf(self, p: Tensor) -> Tensor:
        ordered, order = self.samples.sort(-1)
        reached = self._masses().to(torch.float64).gather(-1, order).cumsum(-1)
        slack = 8 * torch.finfo(p.dtype).eps  # so that the quantile of a rounded cdf is where it was taken
        index = (reached < (p - slack).unsqueeze(-1)).sum(-1, keepdim=True).clamp(max=self.sample_size - 1)
        return ordered.expand(*index.shape[:-1], -1).gather(-1, index).squeeze(-1)

    def _mean_of(self, values: Tensor) -> Tensor:
        return (self._masses() * values).sum(self._across)

    @property
    def mean(self) -> Tensor:
        return self._mean_of(self.samples)

    @property
    def variance(self) -> Tensor:
        return self._mean_of((self.samples - self.mean.unsqueeze(self._across)).square())

    def _log_mass_of_each(self) -> Tensor:
        """log P(X = value) for every value, along a leading dimension: equal values share their masses."""
        return torch.stack([self._log_prob(value) for value in self.samples.unbind(self._across)])

    @property
    def mode(self) -> Tensor:
        return self._at(self._log_mass_of_each().argmax(0))

    def entropy(self) -> Tensor:
        log_mass = self._log_mass_of_each().movedim(0, -1)
        masses = self.log_weights.softmax(-1)
        return -(masses * torch.where(masses == 0, 0.0, log_mass)).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self.samples.movedim(self._across, 0)  # each batch entry has its own values

"""Exponential families: entropy and divergence from the log-normaliser alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .distribution import Distribution
from .shapes import broadcast_shapes, sum_rightmost

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """A distribution with log density  <t(x), eta> - A(eta) + log h(x)  for statistics t and natural parameters eta.

    A subclass gives `_natural_params`, `_log_normalizer` and, where log h is not 0, its mean. In return it has an
    `entropy`, and a divergence to every member of its family: the Bregman divergence of A. Nielsen and Nock (2010),
    "Entropies and cross-entropies of exponential families".

    >>> import torch, ppl_dist as dist
    >>> class Waiting(dist.ExponentialFamily):
    ...     rate: dist.Param = dist.param(dist.constraints.positive)
    ...     support = dist.constraints.nonnegative
    ...     @property
    ...     def _natural_params(self):
    ...         return (-self.rate,)
    ...     def _log_normalizer(self, eta):
    ...         return -(-eta).log()
    >>> Waiting(1.0).entropy()
    tensor(1.)
    """

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        """Hook: eta, one tensor or more of shape B + ... each."""
        raise self._missing("_natural_params")

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        """Hook: A(eta), shape B, in operations that torch can differentiate."""
        raise self._missing("_log_normalizer")

    @property
    def _mean_carrier_measure(self) -> Tensor | float:
        """Hook: E[log h(X)], shape B."""
        return 0.0

    def entropy(self) -> Tensor:
        eta = self._natural_params
        value, along = _normalizer_along(self, eta, eta, self.batch_shape)  # <eta, mean of t> = <eta, gradient of A>
        return value - along - self._mean_carrier_measure


def _normalizer_along(
    d: ExponentialFamily, eta: tuple[Tensor, ...], steps: tuple[Tensor, ...], batch: torch.Size
) -> tuple[Tensor, Tensor]:
    """A(eta), and the products of its gradient there with `steps`, both of shape `batch`."""
    value, pull = torch.func.vjp(d._log_normalizer, *eta)  # type: ignore[misc]  # three with has_aux only
    slopes: tuple[Tensor, ...] = pull(torch.ones_like(value))
    products = [sum_rightmost(s * g, s.dim() - len(batch)) for s, g in zip(steps, slopes, strict=True)]
    return value, torch.stack(products).sum(0)


def bregman(p: ExponentialFamily, q: Any) -> Tensor:
    """KL(p || q) for two members of one family: A(eta_q) - A(eta_p) - <eta_q - eta_p, gradient of A at eta_p>."""
    batch = broadcast_shapes([p.batch_shape, q.batch_shape])

    def spread(d: Any) -> tuple[Tensor, ...]:
        events = [value.shape[len(d.batch_shape) :] for value in d._natural_params]
        return tuple(v.expand(batch + event) for v, event in zip(d._natural_params, events, strict=True))

    start, end = spread(p), spread(q)
    steps = tuple(b - a for a, b in zip(start, end, strict=True))
    value, along = _normalizer_along(p, start, steps, batch)
    divergence: Tensor = q._log_normalizer(*end) - value - along
    return divergence

"""Exponential families: entropy and divergence from the log-normaliser alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .distribution import Distribution

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
        value, slope = torch.func.jvp(self._log_normalizer, eta, eta)  # <eta, mean of t> = <eta, gradient of A>
        # torch makes the slope of a 0-dim float32 tensor a float64 one
        entropy: Tensor = value - slope.to(value.dtype) - self._mean_carrier_measure
        return entropy


def bregman(p: ExponentialFamily, q: Any) -> Tensor:
    """KL(p || q) for two members of one family: A(eta_q) - A(eta_p) - <eta_q - eta_p, gradient of A at eta_p>."""
    start, end = p._natural_params, q._natural_params
    both = [torch.broadcast_tensors(a, b) for a, b in zip(start, end, strict=True)]  # type: ignore[no-untyped-call]  # torch's gap
    start, steps = tuple(a for a, _ in both), tuple(b - a for a, b in both)
    value, slope = torch.func.jvp(p._log_normalizer, start, steps)
    divergence: Tensor = q._log_normalizer(*end) - value - slope.to(value.dtype)
    return divergence

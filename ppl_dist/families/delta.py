"""The point mass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..constraints import dependent, dependent_property, independent, real
from ..distribution import Distribution
from ..param import Param, param, static

__all__ = ["Delta"]


class Delta(Distribution):
    """Delta(v, log_density c, event_dim):  all mass at v; log_prob is c there and -inf elsewhere.

    The last `event_dim` dimensions of `v` make up one event. `log_density` carries the log-Jacobian of a transform
    that made `v`.

    >>> Delta(2.0).log_prob(2.0)
    tensor(0.)
    """

    v: Param = param(dependent, event_dim="event_dim", within=lambda d: d.support)
    log_density: Param = param(real, default=0.0)
    event_dim: int = static(default=0)
    has_rsample = True

    @dependent_property
    def support(self) -> Any:
        return independent(real, self.event_dim) if self.event_dim else real

    def _set_event_shape(self) -> None:
        self._event_shape = self.v.shape[self.v.dim() - self.event_dim :]

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self.v.expand(shape)

    def _log_prob(self, x: Tensor) -> Tensor:
        hit = x == self.v
        if self.event_dim:
            hit = hit.flatten(-self.event_dim).all(-1)
        return torch.where(hit, self.log_density, -torch.inf)

    def _cdf(self, x: Tensor) -> Tensor:
        return (x >= self.v).to(self.log_density.dtype)

    def _sf(self, x: Tensor) -> Tensor:
        return (x < self.v).to(self.log_density.dtype)

    def _icdf(self, p: Tensor) -> Tensor:
        return torch.where(p == p, self.v, torch.nan).to(self.v.dtype)

    def _isf(self, q: Tensor) -> Tensor:
        return self._icdf(q)

    @property
    def mean(self) -> Tensor:
        return self.v

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.v)

    @property
    def mode(self) -> Tensor:
        return self.v

    def entropy(self) -> Tensor:
        return -self.log_density

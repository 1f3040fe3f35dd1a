"""The generalised Pareto distribution: what lies above a high threshold."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..constraints import Ray, dependent_property, positive, real
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import exp_inside, log_uniform
from ..special import exprel, log1mexp, log1prel
from ..values import highest
from .counting import widened
from .edges import regular
from .hazard import Hazard

__all__ = ["GeneralizedPareto"]

HEAVY = 2.0  # for larger concentrations draws may overflow
FAR = 40.0


class GeneralizedPareto(Hazard, Distribution):
    """GeneralizedPareto(loc m, scale s, concentration c):  density  (1 + c z)**(-1-1/c) / s,  z = (x - m)/s >= 0.

    For c = 0 that is exp(-z) / s; for c < 0 the support ends at m - s/c. Below, e = log(1 + c z) / c is a standard
    exponential draw, and z = (exp(c e) - 1) / c.

    >>> GeneralizedPareto(0.0, 1.0, 0.5).mean
    tensor(2.)
    """

    loc: Param = param(real)
    scale: Param = param(positive)
    concentration: Param = param(real, finite=True)
    has_rsample = True

    @dependent_property
    def support(self) -> Any:
        c = self.concentration
        ends = c < 0
        return Ray(self.loc, torch.where(ends, self.loc - self.scale / torch.where(ends, c, -1.0), torch.inf))

    def _at(self, e: Tensor) -> Tensor:
        """The value of an exponential draw."""
        return torch.addcmul(self.loc, self.scale, e * exprel(self.concentration * e))

    def _inner(self, x: Tensor) -> Tensor | None:
        """e at x, where a look shows that it is regular: inside the support, and nothing overflows on the way."""
        z = (x - self.loc) / self.scale
        e = z * log1prel(self.concentration * z)
        return e if regular(e) else None

    def _exponential(self, x: Tensor) -> Tensor:
        """e at x, in double precision; infinite, without a gradient, at the upper end of the support."""
        loc, s, c, x = widened(self.loc, self.scale, self.concentration, x)
        z = (x - loc) / s
        grown = c * z
        end = (grown <= -1) | (z == torch.inf)
        return torch.where(end, torch.inf, z * log1prel(torch.where(end, 0.0, grown)))

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        if highest(self.concentration) <= HEAVY:
            return self._at(log_uniform(shape, self.scale, generator).neg_())
        c, scale = self.concentration.to(torch.float64), self.scale.to(torch.float64)
        e = log_uniform(shape, c, generator).neg_()
        far = c * e > FAR  # here the power is all that is left
        near = scale * torch.where(far, 0.0, e) * exprel(c * torch.where(far, 0.0, e))
        log_far = torch.where(far, c * e + (scale / torch.where(far, c, 1.0)).log(), 0.0)
        return self.loc + torch.where(far, exp_inside(log_far, self.loc), near.to(self.loc.dtype))

    def _log_prob(self, x: Tensor) -> Tensor:
        more, inner = 1 + self.concentration, self._inner(x)
        if inner is not None:
            return torch.addcmul(self.scale.log(), more, inner).neg()
        e = self._exponential(x)
        end = e == torch.inf
        # at the upper end the density is 0, 1/s or infinite, as 1 + c is above, at or below 0
        rise = torch.where(end, torch.xlogy(more.detach(), 0.0), -more * torch.where(end, 0.0, e))
        return (rise - self.scale.log()).to(torch.promote_types(x.dtype, self.scale.dtype))

    def _hazard(self, x: Tensor) -> Tensor:
        inner = self._inner(x)
        return self._exponential(x).to(torch.promote_types(x.dtype, self.scale.dtype)) if inner is None else inner

    def _log_cdf(self, x: Tensor) -> Tensor:
        inner = self._inner(x)
        e = self._exponential(x) if inner is None else inner
        return log1mexp(-e).to(torch.promote_types(x.dtype, self.scale.dtype))

    def _at_hazard(self, h: Tensor) -> Tensor:
        rise = h * exprel(self.concentration * h)
        if highest(rise) < torch.inf:
            return torch.addcmul(self.loc, self.scale, rise)
        loc, s, c, e = widened(self.loc, self.scale, self.concentration, h)
        end = e == torch.inf
        top = torch.where(c < 0, loc - s / torch.where(c < 0, c, -1.0), torch.inf)
        inner = torch.where(end, 0.0, e)
        return torch.where(end, top, torch.addcmul(loc, s, inner * exprel(c * inner))).to(rise.dtype)

    @property
    def mean(self) -> Tensor:
        c = self.concentration
        return torch.where(c < 1, self.loc + self.scale / torch.where(c < 1, 1 - c, 1.0), torch.inf)

    @property
    def variance(self) -> Tensor:
        finite = self.concentration < 0.5
        c = torch.where(finite, self.concentration, 0.0)
        return torch.where(finite, (self.scale / (1 - c)).square() / (1 - 2 * c), torch.inf)

    @property
    def mode(self) -> Tensor:
        c = self.concentration  # below -1 the density rises, without bound, to the upper end
        return self.loc - torch.where(c < -1, self.scale / torch.where(c < -1, c, -1.0), 0.0)

    @property
    def median(self) -> Tensor:
        return self._at(torch.full_like(self.scale, math.log(2)))

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + self.concentration)

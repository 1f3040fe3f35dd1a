"""Laws of extremes: the Gumbel, the Weibull and the Pareto distribution."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..combine.transformed import Mapped
from ..constraints import dependent_property, greater_than_eq, nonnegative, positive, real
from ..param import Param, param
from ..samplers import exp_inside, log_standard_exponential, log_uniform, moved_inside
from ..special import lgamma1p
from ..transforms import AffineTransform, ExpTransform, PowerTransform, Transform
from ..values import lowest
from .counting import widened
from .edges import log_rise, ratio, regular, xlogy
from .gamma import Exponential
from .hazard import Hazard

__all__ = ["Gumbel", "Pareto", "Weibull"]

HEAVY = 0.5  # for smaller exponents draws may overflow, and their logs need more digits than they have
EULER = 0.5772156649015329
LOG_LOG_2 = math.log(math.log(2))


class Gumbel(Mapped):
    """Gumbel(loc m, scale s):  density  exp(-z - exp(-z)) / s  for z = (x - m) / s,  x real.

    >>> Gumbel(0.0, 1.0).mode
    tensor(0.)
    """

    loc: Param = param(real)
    scale: Param = param(positive, finite=False)
    support = real

    @property
    def base_dist(self) -> Exponential:
        return Exponential(torch.ones_like(self.loc), validate_args=False)

    @property
    def transforms(self) -> list[Transform]:
        return [ExpTransform().inv, AffineTransform(self.loc, -self.scale)]

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return torch.addcmul(self.loc, self.scale, log_standard_exponential(shape, self.loc, generator), value=-1)

    def _log_prob(self, x: Tensor) -> Tensor:
        y = (self.loc - x) / self.scale
        # held below infinity: at the left end y - exp(y) would be inf - inf
        return torch.clamp(y, max=torch.finfo(y.dtype).max) - y.exp() - self.scale.log()

    def _cdf(self, x: Tensor) -> Tensor:
        return (-((self.loc - x) / self.scale).exp()).exp()

    def _log_cdf(self, x: Tensor) -> Tensor:
        return -((self.loc - x) / self.scale).exp()

    def _sf(self, x: Tensor) -> Tensor:
        return -(-((self.loc - x) / self.scale).exp()).expm1()

    def _log_sf(self, x: Tensor) -> Tensor:
        y = (self.loc - x) / self.scale
        return log_rise(y, y.exp())

    def _icdf(self, p: Tensor) -> Tensor:
        return self.loc - self.scale * (-p.log()).log()

    def _isf(self, q: Tensor) -> Tensor:
        return self.loc - self.scale * (-(-q).log1p()).log()

    @property
    def mean(self) -> Tensor:
        return self.loc + EULER * self.scale

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def median(self) -> Tensor:
        return self.loc - LOG_LOG_2 * self.scale

    @property
    def variance(self) -> Tensor:
        return (math.pi**2 / 6) * self.scale.square()

    @property
    def stddev(self) -> Tensor:
        return (math.pi / math.sqrt(6)) * self.scale

    def entropy(self) -> Tensor:
        return 1 + EULER + self.scale.log()


class Weibull(Hazard, Mapped):
    """Weibull(scale s, concentration k):  density  k / s * r**(k-1) * exp(-r**k)  for r = x / s,  x >= 0.

    >>> Weibull(2.0, 1.0).mean
    tensor(2.)
    """

    scale: Param = param(positive)
    concentration: Param = param(positive)
    support = nonnegative

    @property
    def base_dist(self) -> Exponential:
        return Exponential(torch.ones_like(self.scale), validate_args=False)

    @property
    def transforms(self) -> list[Transform]:
        return [PowerTransform(self.concentration.reciprocal()), AffineTransform(0.0, self.scale)]

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        if lowest(self.concentration) < HEAVY:
            k = self.concentration.to(torch.float64)
            return exp_inside(self.scale.log() + log_standard_exponential(shape, k, generator) / k, self.scale)
        noise = log_standard_exponential(shape, self.scale, generator)
        draws = self.scale * (noise / self.concentration).exp()
        return moved_inside(draws, torch.finfo(draws.dtype).tiny)

    def _log_prob(self, x: Tensor) -> Tensor:
        s, k = self.scale, self.concentration
        r = x / s
        if regular(r):
            return torch.addcmul((k / s).log(), k - 1, r.log()) - r.pow(k)
        dtype = r.dtype
        s, k, x = widened(s, k, x)
        r = x / s
        inner = torch.where(r == torch.inf, 1.0, r)
        value = xlogy(k - 1, inner) + (k / s).log() - inner.pow(k)
        return torch.where(r == torch.inf, -torch.inf, value).to(dtype)

    def _hazard(self, x: Tensor) -> Tensor:
        r, dtype = ratio(x, self.scale)
        return r.pow(self.concentration).to(dtype)

    def _at_hazard(self, h: Tensor) -> Tensor:
        power = h.pow(self.concentration.to(torch.promote_types(h.dtype, self.concentration.dtype)).reciprocal())
        if power.dtype == torch.float64 or regular(power):
            return self.scale * power
        s, k, wide = widened(self.scale, self.concentration, h)
        return (s * wide.pow(k.reciprocal())).to(power.dtype)

    def _fine(self, p: Tensor) -> Tensor:
        """In double precision where 1/k is not seen to be small: by that the power multiplies the rounding of H."""
        return p if lowest(self.concentration) > 0.1 else p.to(torch.float64)

    def _icdf(self, p: Tensor) -> Tensor:
        return super()._icdf(self._fine(p)).to(torch.promote_types(p.dtype, self.scale.dtype))

    def _isf(self, q: Tensor) -> Tensor:
        return super()._isf(self._fine(q)).to(torch.promote_types(q.dtype, self.scale.dtype))

    def _log_cdf(self, x: Tensor) -> Tensor:
        r, dtype = ratio(x, self.scale)
        return log_rise(self.concentration * r.log(), r.pow(self.concentration)).to(dtype)

    @property
    def mean(self) -> Tensor:
        return self.scale * lgamma1p(self.concentration.reciprocal()).exp()

    @property
    def variance(self) -> Tensor:
        step = self.concentration.reciprocal()
        # E[x^2] / E[x]^2 - 1: the difference of both squares cancels for large k
        return self.mean.square() * (lgamma1p(2 * step) - 2 * lgamma1p(step)).expm1()

    @property
    def mode(self) -> Tensor:
        k = self.concentration
        return self.scale * ((k - 1) / k).clamp(min=0).pow(k.reciprocal())

    def entropy(self) -> Tensor:
        k = self.concentration
        return torch.sub((self.scale / k).log() + (1 + EULER), k.reciprocal(), alpha=EULER)


class Pareto(Hazard, Mapped):
    """Pareto(scale s, alpha a):  density  a * s**a / x**(a+1),  x >= s.

    >>> Pareto(1.0, 3.0).mean
    tensor(1.5000)
    """

    scale: Param = param(positive)
    alpha: Param = param(positive)

    @dependent_property
    def support(self) -> Any:
        return greater_than_eq(self.scale)

    @property
    def base_dist(self) -> Exponential:
        return Exponential(self.alpha, validate_args=False)

    @property
    def transforms(self) -> list[Transform]:
        return [ExpTransform(), AffineTransform(0.0, self.scale)]

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        if lowest(self.alpha) < HEAVY:
            a = self.alpha.to(torch.float64)
            draws = exp_inside(self.scale.log() - log_uniform(shape, a, generator) / a, self.scale)
            return moved_inside(draws, self.scale.detach())
        return self.scale * (log_uniform(shape, self.alpha, generator).neg_() / self.alpha).exp()

    def _log_prob(self, x: Tensor) -> Tensor:
        a, (r, dtype) = self.alpha, ratio(x, self.scale)
        return torch.addcmul((a / self.scale).log(), a + 1, r.log(), value=-1).to(dtype)

    def _hazard(self, x: Tensor) -> Tensor:
        excess, dtype = ratio(x - self.scale, self.scale)  # x / s is too near 1 close to the edge
        return (self.alpha * excess.log1p()).to(dtype)

    def _at_hazard(self, h: Tensor) -> Tensor:
        rise = h / self.alpha
        power = rise.exp()
        if power.dtype == torch.float64 or regular(power):
            return self.scale * power
        return (self.scale * rise.to(torch.float64).exp()).to(power.dtype)

    @property
    def mean(self) -> Tensor:
        a = self.alpha
        return self.scale * torch.where(a > 1, a / torch.where(a > 1, a - 1, 1.0), torch.inf)

    @property
    def variance(self) -> Tensor:
        a = torch.where(self.alpha > 2, self.alpha, 3.0)
        return torch.where(self.alpha > 2, (self.scale / (a - 1)).square() * a / (a - 2), torch.inf)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def median(self) -> Tensor:
        return self.scale * self.alpha.reciprocal().exp2()

    def entropy(self) -> Tensor:
        a = self.alpha
        return torch.addcdiv((self.scale / a).log(), a + 1, a)

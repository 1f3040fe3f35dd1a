"""The continuous Bernoulli distribution: an exponential law tilted to either side of the unit interval."""

from __future__ import annotations

import torch
from torch import Tensor

from ..constraints import real, unit_interval
from ..exp_family import ExponentialFamily
from ..param import Param, param, static
from ..samplers import moved_inside, standard_uniform
from ..special import exprel, log1prel
from ..special.elementary import horner
from ..values import extremes, gradient_possible

__all__ = ["ContinuousBernoulli"]

# B_2k / (2k)!, k = 1...6: the odd part of the mean in powers of the logit
_BERNOULLI = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000)
_SMALL = 0.25


def _logit(p: Tensor) -> Tensor:
    """The logit, of 0 and 1 too: a law that narrow is a point mass to its last digit, but has a density."""
    facts = torch.finfo(p.dtype)
    return p.clamp(facts.tiny, 1 - facts.eps / 2).logit()


def _mean(s: Tensor) -> Tensor:
    """The mean with logit s <= 1."""
    small = s.abs() < _SMALL
    near, far = torch.where(small, s, 0.0), torch.where(small, -1.0, s)
    series = 0.5 + near * horner(near.square(), _BERNOULLI)
    return torch.where(small, series, -far.reciprocal() - torch.expm1(-far).reciprocal())


def _mass(s: Tensor, x: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of P(X <= x) with logit s, for rest = 1 - x: x exp(first) second."""
    turned = s > 1  # from here on written with exp(-s), which does not overflow
    t = torch.where(turned, -s, s)
    return torch.where(turned, t * rest, 0.0), exprel(t * x) / exprel(t)


class ContinuousBernoulli(ExponentialFamily):
    """ContinuousBernoulli(probs p, or logits t = log(p / (1-p))):  density  t exp(t x) / (exp(t) - 1),  0 <= x <= 1.

    `lims` is taken for the sake of programs that give it: near t = 0, where it told others to switch to a series,
    nothing needs telling here.

    Reference: Loaiza-Ganem and Cunningham (2019), "The continuous Bernoulli".

    >>> ContinuousBernoulli(probs=0.5).variance
    tensor(0.0833)
    """

    probs: Param = param(unit_interval, derive=lambda d: d.logits.sigmoid(), default=None)
    logits: Param = param(real, derive=lambda d: _logit(d.probs), default=None)
    lims: tuple[float, float] = static(default=(0.499, 0.501))
    exactly_one = ("probs", "logits")
    support = unit_interval
    has_rsample = True

    @property
    def param_shape(self) -> torch.Size:
        """The shape of `probs`."""
        return self._batch_shape

    def _tilt(self) -> tuple[Tensor, Tensor]:
        """The logit with the sign that does not overflow, and whether it was turned: then 1 - x follows it."""
        s = self.logits
        turned = s > 1
        return torch.where(turned, -s, s), turned

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        s, turned = self._tilt()
        u = standard_uniform(shape, s, generator)
        grown = u * torch.expm1(s)
        if not gradient_possible(s):
            x = torch.where(s == 0, u, grown.log1p() / s)
            return moved_inside(torch.where(turned, 1 - x, x), 0.0, 1.0)
        x = u * exprel(s) * log1prel(grown)
        return moved_inside(torch.where(turned, 1 - x, x), 0.0, 1.0)

    def _log_prob(self, x: Tensor) -> Tensor:
        s, turned = self._tilt()
        return s * torch.where(turned, 1 - x, x) - exprel(s).log()

    def _cdf(self, x: Tensor) -> Tensor:
        exponent, factor = _mass(self.logits, x, 1 - x)
        return x * exponent.exp() * factor

    def _sf(self, x: Tensor) -> Tensor:
        exponent, factor = _mass(-self.logits, 1 - x, x)
        return (1 - x) * exponent.exp() * factor

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._log_share(self.logits, x, 1 - x)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._log_share(-self.logits, 1 - x, x)

    def _log_share(self, s: Tensor, x: Tensor, rest: Tensor) -> Tensor:
        exponent, factor = _mass(s, x, rest)
        value = x.log() + exponent + factor.log()
        exponent, factor = _mass(-s, rest, x)
        above = rest * exponent.exp() * factor
        return torch.where(above < 0.5, torch.log1p(-torch.where(above < 0.5, above, 0.0)), value)

    def _quantile(self, p: Tensor, q: Tensor) -> Tensor:
        """x with p below and q = 1 - p above."""
        s = self.logits
        seen = extremes(s)
        if seen is not None and seen[0] >= -2 and seen[1] <= 10:
            return p * exprel(s) * log1prel(p * torch.expm1(s))
        up = s > 0
        # 1 + p (e^s - 1) = q + p e^s: the first near 1, the second far from it, held below 1 by e^-s
        far = torch.where(up, p.log() + s > 0.7, p * torch.expm1(s.clamp(max=0.0)) < -0.5)
        held = torch.where(far, 0.0, s)
        near = p * exprel(held) * log1prel(p * torch.expm1(held))
        size = torch.where(far, s.abs(), 1.0)
        kept = torch.where(up, p, q) + torch.where(up, q, p) * torch.exp(-size)
        gap = (torch.where(far, kept, 1.0).log() / -size).clamp(max=1.0)
        return torch.where(far, torch.where(up, 1 - gap, gap), near)

    def _icdf(self, p: Tensor) -> Tensor:
        return self._quantile(p, 1 - p)

    def _isf(self, q: Tensor) -> Tensor:
        return self._quantile(1 - q, q)

    @property
    def mean(self) -> Tensor:
        s, turned = self._tilt()
        mean = _mean(s)
        return torch.where(turned, 1 - mean, mean)

    @property
    def variance(self) -> Tensor:
        s = self.logits
        small = s.abs() < _SMALL
        near, far = torch.where(small, s, 0.0), torch.where(small, 1.0, s)
        series = horner(near.square(), [(2 * k + 1) * c for k, c in enumerate(_BERNOULLI)])
        return torch.where(small, series, far.square().reciprocal() - (2 * torch.sinh(0.5 * far)).square().reciprocal())

    @property
    def mode(self) -> Tensor:
        return 0.5 + 0.5 * self.logits.sign()  # at 0 the density is flat: every point is one

    def entropy(self) -> Tensor:
        s, _ = self._tilt()
        return exprel(s).log() - s * _mean(s)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.logits,)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        s = natural_params[0]
        turned = s > 1
        return exprel(torch.where(turned, -s, s)).log() + torch.where(turned, s, 0.0)

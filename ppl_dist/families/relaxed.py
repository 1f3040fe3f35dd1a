"""Continuous relaxations of the Bernoulli and the categorical law, which draws with a temperature.

Maddison, Mnih and Teh (2017), "The Concrete Distribution"; Jang, Gu and Poole (2017), "Categorical Reparameterization
with Gumbel-Softmax". Colder draws are nearer to the discrete law.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..combine.quantile import crossing
from ..combine.transformed import TransformedDistribution
from ..constraints import positive, real, real_vector, simplex, unit_interval
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import log_standard_exponential, moved_inside
from ..special.logistic import expit
from ..special.smoothing import mean_stretch, smoothed, smoothing
from ..transforms import ExpTransform, SigmoidTransform
from ..values import extremes
from .bernoulli import Trial
from .categorical import Categories, log_normalized

__all__ = [
    "ExpRelaxedCategorical",
    "LogitRelaxedBernoulli",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
]


class Tempered(Distribution):
    """What stands first in every relaxation: a temperature."""

    temperature: Param = param(positive)

    def _retold(self, family: type[Any]) -> Any:
        """The member of another family that takes the same parameters; they are checked and normalised already."""
        same = object.__new__(family)
        same.__dict__.update(self.__dict__)
        same._validate_args = False
        return same


class LogitRelaxedBernoulli(Trial, Tempered):
    """LogitRelaxedBernoulli(temperature T, probs p, or logits l):  density  T s(z) s(-z),  z = T x - l,  x real.

    s is the logistic function: x is logistic about l / T, with scale 1 / T.

    >>> LogitRelaxedBernoulli(0.5, logits=1.0).mean
    tensor(2.)
    """

    support = real
    has_rsample = True

    def _z(self, x: Tensor) -> Tensor:
        return torch.addcmul(-self.logits, self.temperature, x)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        logits = self.logits
        up, down = (log_standard_exponential(shape, logits, generator) for _ in range(2))
        return (logits + (up - down)) / self.temperature

    def _log_prob(self, x: Tensor) -> Tensor:
        z = self._z(x)
        return self.temperature.log() + logsigmoid(z) + logsigmoid(-z)

    def _cdf(self, x: Tensor) -> Tensor:
        return expit(self._z(x))

    def _log_cdf(self, x: Tensor) -> Tensor:
        log_below: Tensor = logsigmoid(self._z(x))
        return log_below

    def _sf(self, x: Tensor) -> Tensor:
        return expit(-self._z(x))

    def _log_sf(self, x: Tensor) -> Tensor:
        log_above: Tensor = logsigmoid(-self._z(x))
        return log_above

    def _icdf(self, p: Tensor) -> Tensor:
        return self._reached(p).to(p.dtype)

    def _isf(self, q: Tensor) -> Tensor:
        return self._reached(q, complement=True).to(q.dtype)

    def _reached(self, level: Tensor, *, complement: bool = False) -> Tensor:
        """The quantile (l + log(p / q)) / T in double precision: a cold law multiplies what two logs leave.

        Given by probs, both logs are taken in one near 0.
        """
        level = level.to(torch.float64)
        p, q = (1 - level, level) if complement else (level, 1 - level)
        log_odds = -q.logit() if complement else p.logit()
        wide = self.to(torch.float64)
        total, chance = wide.logits + log_odds, wide.__dict__.get("probs")
        if chance is not None:
            near = total.abs() < 1
            ratio = torch.where(near, chance, 0.5) * torch.where(near, p, 0.5)
            ratio = ratio / (torch.where(near, 1 - chance, 0.5) * torch.where(near, q, 0.5))
            total = torch.where(near, ratio.log(), total)
        return total / wide.temperature

    @property
    def mean(self) -> Tensor:
        return self.logits / self.temperature

    @property
    def mode(self) -> Tensor:
        return self.mean

    @property
    def median(self) -> Tensor:
        return self.mean

    @property
    def stddev(self) -> Tensor:
        return math.pi / math.sqrt(3) / self.temperature

    @property
    def variance(self) -> Tensor:
        return self.stddev.square()

    def entropy(self) -> Tensor:
        return 2 - self.temperature.log()


class RelaxedBernoulli(Trial, Tempered, TransformedDistribution):
    """RelaxedBernoulli(temperature T, probs p, or logits l):  density  T s(z) s(-z) / (x (1-x)),  z = T logit x - l.

    0 <= x <= 1. s is the logistic function, and x = s(y) for y ~ LogitRelaxedBernoulli. Moments and entropy are
    integrals against the logistic density; those of a cold law are integrated by parts, so that its kink is not seen.

    >>> RelaxedBernoulli(1.0, logits=0.0).variance
    tensor(0.0833)
    """

    support = unit_interval
    has_rsample = True
    has_enumerate_support = False
    transforms = [SigmoidTransform()]  # noqa: RUF012  # a constant of the class, as the base class stores it

    @property
    def base_dist(self) -> LogitRelaxedBernoulli:
        base: LogitRelaxedBernoulli = self._retold(LogitRelaxedBernoulli)
        return base

    def _log_prob(self, x: Tensor) -> Tensor:
        seen = extremes(x)
        if seen is not None and seen[0] > 0 and seen[1] < 1:
            return self._inner_log_prob(x)
        end = (x == 0) | (x == 1)
        temperature, limit = self.temperature, torch.where(x == 0, -self.logits, self.logits)
        at_end = torch.where(temperature == 1, limit, torch.where(temperature < 1, torch.inf, -torch.inf))
        return torch.where(end, at_end, self._inner_log_prob(torch.where(end, 0.5, x)))

    def _inner_log_prob(self, x: Tensor) -> Tensor:
        log_x, log_rest = x.log(), (-x).log1p()
        return self.base_dist._log_prob(log_x - log_rest) - log_x - log_rest

    def _icdf(self, p: Tensor) -> Tensor:
        return expit(self.base_dist._reached(p)).to(p.dtype)

    def _isf(self, q: Tensor) -> Tensor:
        return expit(self.base_dist._reached(q, complement=True)).to(q.dtype)

    @property
    def median(self) -> Tensor:
        return self.base_dist.median.sigmoid()

    @property
    def mean(self) -> Tensor:
        base = self.base_dist
        _, c, r = smoothing(base.mean, 1 / base.temperature)
        return smoothed(lambda t: (c + r * t).sigmoid(), c).to(base.temperature.dtype)

    @property
    def variance(self) -> Tensor:
        logits, temperature = self.logits, self.temperature
        lower = torch.where(logits < 0, logits, -logits)  # the same for either sign, and this mean is the small one
        cold, c, r = smoothing(lower / temperature, 1 / temperature)
        mean = smoothed(lambda t: (c + r * t).sigmoid(), c).unsqueeze(-1)

        def excess(t: Tensor) -> Tensor:
            x = (c + r * t).sigmoid()
            return torch.where(cold, 2 * t.sigmoid() * (c - r * t).sigmoid() - mean.square(), (x - mean).square())

        return smoothed(excess, c).to(temperature.dtype)

    @property
    def mode(self) -> Tensor:
        """The likelier end for temperatures up to one, where the density has no peak between both.

        Above one it vanishes at both ends, and T tanh(z/2) = tanh(y/2) at its one peak s(y), z = T y - l: both sides
        are equal where the left one has the steeper slope, and so only once.
        """
        logits, temperature = self.logits, self.temperature
        peaked = temperature > 1
        shift, t = torch.where(peaked, logits, 0.0), torch.where(peaked, temperature, 2.0)

        def climb(y: Tensor) -> Tensor:
            return t * (0.5 * (t * y - shift)).tanh() - (0.5 * y).tanh()

        def slope(y: Tensor) -> Tensor:
            return 0.5 * (t / (0.5 * (t * y - shift)).cosh()).square() - 0.5 * (0.5 * y).cosh().square().reciprocal()

        with torch.no_grad():
            reach = 2 * t.reciprocal().atanh().clamp(max=20.0)
            y = crossing(climb, slope, (shift - reach) / t, (shift + reach) / t)
        peak = (y - climb(y) / slope(y).detach()).sigmoid()  # a step of Newton carries the derivatives
        return torch.where(peaked, peak, (logits > 0).to(peak.dtype))

    def entropy(self) -> Tensor:
        base = self.base_dist
        return base.entropy() - mean_stretch(base.mean, 1 / base.temperature).to(base.temperature.dtype)


class ExpRelaxedCategorical(Categories, Tempered):
    """ExpRelaxedCategorical(temperature T, probs p, or logits l):  density  G(K) T**(K-1) prod_k s_k.

    s = softmax(l - T x), for x with sum_k exp(x_k) = 1, in any K-1 of its coordinates: x = log_softmax((l + g) / T) for
    standard Gumbel g, the log of RelaxedOneHotCategorical.

    >>> ExpRelaxedCategorical(0.5, probs=[0.5, 0.5]).mode
    tensor([-0.6931, -0.6931])
    """

    support = real_vector
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        logits = self.logits
        noise = log_standard_exponential(shape, logits, generator)
        return log_normalized((logits - noise) / self.temperature.unsqueeze(-1))

    def _log_prob(self, x: Tensor) -> Tensor:
        k = self._num_events
        score = log_normalized(torch.addcmul(self.logits, self.temperature.unsqueeze(-1), x, value=-1))
        return score.sum(-1) + (k - 1) * self.temperature.log() + math.lgamma(k)

    @property
    def mode(self) -> Tensor:
        return log_normalized(self.logits / self.temperature.unsqueeze(-1))


def _whole(draws: Tensor) -> Tensor:
    """Shares that add up to one to the last digit, which exponentials of their logs do not; none of them 0."""
    return moved_inside(draws / draws.sum(-1, keepdim=True), torch.finfo(draws.dtype).tiny)


class RelaxedOneHotCategorical(Categories, Tempered, TransformedDistribution):
    """RelaxedOneHotCategorical(temperature T, probs p, or logits l):  density  G(K) T**(K-1) prod_k s_k / x_k.

    s = softmax(l - T log x), x on the simplex.

    >>> RelaxedOneHotCategorical(1.0, probs=[0.5, 0.5]).log_prob(torch.tensor([0.3, 0.7]))
    tensor(0.)
    """

    support = simplex
    has_rsample = True
    has_enumerate_support = False
    transforms = [ExpTransform()]  # noqa: RUF012  # a constant of the class, as the base class stores it

    @property
    def base_dist(self) -> ExpRelaxedCategorical:
        base: ExpRelaxedCategorical = self._retold(ExpRelaxedCategorical)
        return base

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return _whole(super()._sample(shape, generator))

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        draws, log_prob = super().rsample_and_log_prob(sample_shape, generator=generator)
        return _whole(draws), log_prob

    def _log_prob(self, x: Tensor) -> Tensor:
        log_x = x.clamp(min=torch.finfo(x.dtype).tiny).log()
        return self.base_dist._log_prob(log_x) - log_x.sum(-1)

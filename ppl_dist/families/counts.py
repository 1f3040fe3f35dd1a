"""Counts of successes and of failures: geometric, binomial, negative binomial, and the gamma-Poisson mixture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..constraints import (
    dependent_property,
    half_open_interval,
    integer_interval,
    nonnegative,
    nonnegative_integer,
    positive,
    real,
    unit_interval,
)
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import binomial, log_uniform, poisson
from ..special import log1mexp
from ..special.binomial import log_binomial
from ..special.elementary import horner
from ..tables import listed
from ..values import extremes, highest
from .counting import expected_log_choices, log_scale_integral, plain_precision
from .trials import Successes, Trials, skewed, slack_of_level

__all__ = ["Binomial", "GammaPoisson", "Geometric", "NegativeBinomial"]


LONG = 1000  # entries from which fewer passes are worth more kernels
BLOCK = 2**15  # entries
MODERATE = 8.0
# lgamma(z) - ((z - 1/2) log z - z + log(2 pi)/2) by powers of 1/z, beyond the first; for z >= 1 it is off by 7e-8
STIRLING_FIT = (0.083333267, 4.6804936e-06, -0.0028292565, 0.00018862145, 0.00058281571, -0.0002187255)


class Geometric(Successes, Distribution):
    """Geometric(probs p, or logits log(p / (1-p))):  mass  p (1-p)**k,  k = 0, 1, 2, ...: failures before a success.

    >>> Geometric(probs=0.25).mean
    tensor(3.)
    """

    probs: Param = param(unit_interval, derive=lambda d: d.logits.sigmoid(), default=None, within=lambda d: positive)
    logits: Param = param(real, derive=lambda d: d.probs.logit(), default=None)
    exactly_one = ("probs", "logits")
    support = nonnegative_integer

    def _log_failure(self) -> Tensor:
        given = self._given()
        return torch.nn.functional.logsigmoid(-given) if "logits" in self.__dict__ else (-given).log1p()

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return (log_uniform(shape, self._given(), generator) / self._log_failure()).floor()

    def _log_prob(self, x: Tensor) -> Tensor:
        given = self._given()
        x = x.to(torch.promote_types(x.dtype, given.dtype))
        success, failure = self._log_chances(None, x)
        return torch.addcmul(success, x, failure)

    def _log_sf(self, x: Tensor) -> Tensor:
        k = x.floor() + 1
        return torch.where(k <= 0, 0.0, k.clamp(min=1) * self._log_failure())

    def _sf(self, x: Tensor) -> Tensor:
        return self._log_sf(x).exp()

    def _cdf(self, x: Tensor) -> Tensor:
        return -self._log_sf(x).expm1()

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log1mexp(self._log_sf(x))

    def _quantile(self, log_q: Tensor) -> Tensor:
        _, log_failure = self._log_chances(None, log_q)
        count = log_q / log_failure
        return torch.where(log_failure == -torch.inf, 0.0, count.ceil() - 1).clamp(min=0)

    def _icdf(self, p: Tensor) -> Tensor:
        wide = p.to(torch.float64)
        lower = wide * (-slack_of_level(p, wide.log())).exp()  # what cdf(k) must reach
        return self._quantile((-torch.where(p == 1, wide, lower)).log1p()).to(p.dtype)

    def _isf(self, q: Tensor) -> Tensor:
        log_q = q.to(torch.float64).log()
        return self._quantile(log_q + torch.where(q == 0, 0.0, slack_of_level(q, log_q))).to(q.dtype)

    @property
    def mean(self) -> Tensor:
        return self._failure() / self.probs

    @property
    def variance(self) -> Tensor:
        return self._failure() / self.probs.square()

    @property
    def mode(self) -> Tensor:
        return torch.zeros_like(self._given())

    def entropy(self) -> Tensor:
        p = self.probs
        if highest(p) < 0.95:  # -log(q)/p - logit(p), whose terms cancel near 1
            minus_p = -p
            return minus_p.log1p().div_(minus_p).sub_(p.logit())
        log_q = self._log_failure().clamp(min=torch.finfo(p.dtype).min)  # finite: at p = 1 it is multiplied by 0
        return torch.addcmul(p.reciprocal().log(), self._failure() / p, log_q, value=-1)


class Binomial(Successes, Distribution):
    """Binomial(total_count n, probs p, or logits):  mass  n! / (k! (n-k)!) p**k (1-p)**(n-k),  k = 0 ... n.

    `total_count` may differ from entry to entry. `enumerate_support` then counts up to the largest, and `log_prob` is
    -inf above an entry's own count; it refuses what lies above the largest.

    >>> Binomial(4, probs=0.5).entropy()
    tensor(1.4075)
    """

    total_count: Param = param(nonnegative_integer, default=1)
    probs: Param = param(unit_interval, derive=lambda d: d.logits.sigmoid(), default=None)
    logits: Param = param(real, derive=lambda d: d.probs.logit(), default=None)
    exactly_one = ("probs", "logits")
    has_enumerate_support = True

    @dependent_property(is_discrete=True)
    def support(self) -> Any:
        return integer_interval(0, self.total_count)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return binomial(self.total_count.expand(shape), self.probs.expand(shape), generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        n = self.total_count
        dtype = torch.promote_types(x.dtype, n.dtype)
        precision = plain_precision(dtype, highest(n))
        if precision is None:
            k = x.to(torch.float64)
            return self._log_binomial(k, n - k).to(dtype)
        n, k = n.to(precision), x.to(precision)
        m = n - k
        log_mass = self._trials(k, m) + (n + 1).lgamma() - (k + 1).lgamma() - (m + 1).lgamma()
        return log_mass.to(dtype)

    def _rest(self, k: Tensor) -> Tensor:
        return self.total_count - k

    def _top(self) -> Tensor:
        return torch.where(self.probs > 0, self.total_count, 0.0)

    def _guess(self, z: Tensor, log_p: Tensor) -> Tensor:
        p, q = self._chances()
        mean = self.total_count * p
        return skewed(z, mean, mean * q, q - p)

    def _pairs(self, k: Tensor) -> Tensor:
        return (self.total_count - k).clamp(min=1)

    def _log_rise(self, k: Tensor) -> Tensor:
        p, q = self._chances()
        return ((self.total_count - k + 0.5) * p / ((k + 1) * q)).log()

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * self._failure()

    @property
    def mode(self) -> Tensor:
        return torch.minimum(((self.total_count + 1) * self.probs).floor(), self.total_count)

    def entropy(self) -> Tensor:
        """No closed form, but a single integral.

        lgamma(z + 1) is the integral of (z e^-t - (1 - e^(-z t)) / (e^t - 1)) / t (DLMF 5.9.19 integrated), whose mean
        needs E[e^(-K t)] = (1 - p w)^n, w = 1 - e^-t, alone. For E[log n!/(K! (n-K)!)] what is left of it is
        1 + e^(-n t) - F - G, with F and G that function of K and of n - K; it cancels for small t and is written as
        (1 - F)(1 - G) - (F G - e^(-n t)).
        """
        p, q = self.probs, self._failure()
        choice = torch.special.entr(p) + torch.special.entr(q)
        log_choices = expected_log_choices(self.total_count, p, q)
        if log_choices is not None:
            small: Tensor = self.total_count * choice.to(torch.float64) - log_choices
            return small.to(p.dtype)
        n, p, q = (v.to(torch.float64).unsqueeze(-1) for v in (self.total_count, p, q))

        def excess(t: Tensor) -> Tensor:
            w = -(-t).expm1()
            log_f, log_g = n * (-p * w).log1p(), n * (-q * w).log1p()
            both = (log_f + log_g).exp() * (-n * (p * q * w.square() * t.exp()).log1p()).expm1()
            return (log_f.expm1() * log_g.expm1() + both) / t.expm1()

        log_choices = log_scale_integral(excess, -60.0, 3.6, n.device)
        choice = (torch.special.entr(p) + torch.special.entr(q)).squeeze(-1)
        entropy: Tensor = n.squeeze(-1) * choice - log_choices
        return entropy.to(self._given().dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return listed(self.support, self._batch_shape, expand, self.total_count)


def log_ratio_gap(r: Tensor, s: Tensor, odds: Tensor) -> Tensor:
    """E[lgamma(K + s) - lgamma(K + r)] - lgamma(s) + lgamma(r) for K ~ NegativeBinomial(r, odds).

    By the integral of `Binomial.entropy`, with E[e^(-K t)] = (1 + odds (1 - e^-t))^-r.
    """
    r, odds = r.to(torch.float64).unsqueeze(-1), odds.to(torch.float64).unsqueeze(-1)
    s = s.to(torch.float64).unsqueeze(-1)

    def excess(t: Tensor) -> Tensor:
        w = -(-t).expm1()
        seen = -(-r * (odds * w).log1p()).expm1()
        gap = (s - r) * t
        close = gap.abs() < 1  # there the difference of the exponentials would cancel
        apart = torch.where(
            close, (-s * t).exp() * torch.where(close, gap, 0.0).expm1(), (-r * t).exp() - (-s * t).exp()
        )
        return seen * apart / w

    return log_scale_integral(excess, -60.0, 40.0, r.device)


def log_negative_mass(d: Trials, total: Tensor, x: Tensor, seen: tuple[float, float] | None) -> Tensor:
    """log G(k+r) / (k! G(r)) p^k (1-p)^r for r = `total`, whose extremes are `seen`."""
    dtype = torch.promote_types(x.dtype, total.dtype)
    precision = None if seen is None else plain_precision(dtype, seen[1] + highest(x))
    total, k = total.to(precision or torch.float64), x.to(precision or torch.float64)
    # any will do where k = 0; r = 0 would give inf - inf
    r = total if seen is not None and seen[0] > 0 else torch.where(k == 0, 1.0, total)
    if precision is not None:
        log_mass = d._trials(k, total) + (k + r).lgamma() - (k + 1).lgamma() - r.lgamma()
        return log_mass.to(dtype)
    success, failure = d._log_chances(k, total)
    none = k == 0
    some = torch.where(none, 1.0, k)
    # as a binomial mass: k + r trials of which the last is a failure
    log_mass = log_binomial(some, r, *d._chances(), success, failure) - (some / r).log1p()
    return torch.where(none, total * failure, log_mass).to(dtype)


def negative_guess(d: Trials, total: Tensor, z: Tensor, log_p: Tensor) -> Tensor:
    """About the quantile, and no less than a bound on that of the rate: P(rate <= t p/q) <= t^r / G(r + 1)."""
    p, q = d._chances()
    mean = total * p / q
    bound = ((log_p + (total + 1).lgamma()) / total).exp() * (p / q)
    return torch.maximum(skewed(z, mean, mean / q, (1 + p) / q), bound)


class NegativeBinomial(Successes, Distribution):
    """NegativeBinomial(total_count r, probs p, or logits):  mass  G(k+r) / (k! G(r)) p**k (1-p)**r,  k = 0, 1, 2, ...

    The successes before the r-th failure; r is any nonnegative number.

    >>> NegativeBinomial(3.0, probs=0.5).mean
    tensor(3.)
    """

    total_count: Param = param(nonnegative)
    probs: Param = param(half_open_interval(0.0, 1.0), derive=lambda d: d.logits.sigmoid(), default=None)
    logits: Param = param(real, derive=lambda d: d.probs.logit(), default=None)
    exactly_one = ("probs", "logits")
    support = nonnegative_integer

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        rate = torch._standard_gamma(self.total_count.expand(shape), generator=generator) * self._odds()
        return poisson(rate, generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        seen = extremes(self.total_count)
        moderate = seen is not None and seen[0] >= 0.1 and seen[1] <= MODERATE
        if moderate and self.total_count.dtype == x.dtype == torch.float32 and x.numel() >= LONG:
            return self._in_blocks(x) if x.shape == self._batch_shape else self._log_mass_of_long_counts(x)
        return log_negative_mass(self, self.total_count, x, seen)

    def _in_blocks(self, k: Tensor) -> Tensor:
        """`_log_mass_of_long_counts`, whose many intermediate results stay in the cache of the processor."""
        name = "logits" if "logits" in self.__dict__ else "probs"
        blocks = (v.flatten().split(BLOCK) for v in (k, self.total_count, self._given()))  # type: ignore[no-untyped-call]  # torch's gap
        parts = [
            NegativeBinomial(total, **{name: given}, validate_args=False)._log_mass_of_long_counts(counts)
            for counts, total, given in zip(*blocks, strict=True)
        ]
        return torch.cat(parts).view(k.shape)

    def _log_mass_of_long_counts(self, k: Tensor) -> Tensor:
        """In single precision, for moderate r: with Stirling's formula for lgamma(k + r) - lgamma(k + 1).

        The large terms are added up as k log(p (k + r) / (k + 1)), which is near 0 where the mass is.
        """
        r, p, q = self.total_count, self.probs, self._failure()
        both = torch.stack([k + r, k + 1])
        log_n, log_next = both.log().unbind()
        inverse = both.reciprocal()
        error, error_next = (inverse * horner(inverse, STIRLING_FIT)).unbind()
        excess = (r * p - k * q - 1) / both[1]
        _, log_q = self._log_chances(None, r)
        certain = r * log_q
        constant = certain + (1 - r) - torch.lgamma(r)
        log_ratio = (r - 0.5) * log_n - 0.5 * log_next + (error - error_next)
        return torch.where(k == 0, certain, torch.addcmul(constant + log_ratio, k, excess.log1p()))

    def _rest(self, k: Tensor) -> Tensor:
        return self.total_count

    def _top(self) -> Tensor:
        return torch.where(self.probs * self.total_count > 0, torch.inf, 0.0)

    def _guess(self, z: Tensor, log_p: Tensor) -> Tensor:
        return negative_guess(self, self.total_count, z, log_p)

    def _pairs(self, k: Tensor) -> Tensor:
        return k + self.total_count

    def _log_rise(self, k: Tensor) -> Tensor:
        return ((k + self.total_count) / (k + 1) * self._chances()[0]).log()

    @property
    def mean(self) -> Tensor:
        return self.total_count * self._odds()

    @property
    def variance(self) -> Tensor:
        return self.mean / self._failure()

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self._odds()).floor().clamp(min=0)

    def entropy(self) -> Tensor:
        gap = log_ratio_gap(self.total_count, torch.ones_like(self.total_count), self._odds())
        return (gap - self._trials(self.mean, self.total_count)).to(self._given().dtype)


class GammaPoisson(Trials, Distribution):
    """GammaPoisson(concentration a, rate b):  a Poisson count whose rate is drawn from Gamma(a, b).

    mass  G(k+a) / (k! G(a)) b**a / (1+b)**(k+a),  k = 0, 1, 2, ...: NegativeBinomial(a, logits=-log b).

    >>> GammaPoisson(3.0, 2.0).mean
    tensor(1.5000)
    """

    concentration: Param = param(positive)
    rate: Param = param(positive)
    support = nonnegative_integer

    @property
    def _counts(self) -> NegativeBinomial:
        return NegativeBinomial(self.concentration, logits=-self.rate.log(), validate_args=False)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        rate = torch._standard_gamma(self.concentration.expand(shape), generator=generator) / self.rate
        return poisson(rate, generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        return log_negative_mass(self, self.concentration, x, extremes(self.concentration))

    def _chances(self) -> tuple[Tensor, Tensor]:
        b = self.rate.to(torch.float64)
        p = 1 / (1 + b)
        return p, b * p

    def _log_chances(self, k: Tensor | None, m: Tensor) -> tuple[Tensor, Tensor]:
        b = self.rate.to(m.dtype)
        return -b.log1p(), -b.reciprocal().log1p()

    def _rest(self, k: Tensor) -> Tensor:
        return self.concentration

    def _top(self) -> Tensor:
        return torch.full_like(self.rate, torch.inf)

    def _guess(self, z: Tensor, log_p: Tensor) -> Tensor:
        return negative_guess(self, self.concentration, z, log_p)

    def _pairs(self, k: Tensor) -> Tensor:
        return k + self.concentration

    def _log_rise(self, k: Tensor) -> Tensor:
        return ((k + self.concentration) / (k + 1) * self._chances()[0]).log()

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 + self.rate.reciprocal())

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).floor().clamp(min=0)

    def entropy(self) -> Tensor:
        return self._counts.entropy()

"""Closed forms across families, from the moments of the left side.

The log densities on the right are linear in x, x^2, log x, (log x)^2 and one power of x, so that
KL(p || q) = -H(p) - E_p[log q] needs only moments of p: its mean and variance, those of log x, and E[x^m].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from ..distribution import Distribution
from ..families.beta import Beta
from ..families.cauchy import Cauchy, HalfCauchy
from ..families.chi2 import InverseGamma
from ..families.extreme import EULER, Gumbel, Pareto, Weibull
from ..families.gamma import Exponential, Gamma
from ..families.kumaraswamy import Kumaraswamy
from ..families.laplace import Laplace, Logistic
from ..families.normal import HALF_LOG_2PI, HALF_LOG_HALF_PI, HalfNormal, LogNormal, Normal
from ..families.uniform import Uniform
from ..special import log_beta, trigamma
from .registry import register_kl

__all__: list[str] = []


@singledispatch
def _log_moments(p: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance of log x under p."""
    raise NotImplementedError(f"{type(p).__name__} has no moments of log x here.")


@_log_moments.register
def _(p: Gamma) -> tuple[Tensor, Tensor]:
    return torch.digamma(p.concentration) - p.rate.log(), trigamma(p.concentration)


@_log_moments.register
def _(p: Exponential) -> tuple[Tensor, Tensor]:
    return -EULER - p.rate.log(), torch.full_like(p.rate, math.pi**2 / 6)


@_log_moments.register
def _(p: Beta) -> tuple[Tensor, Tensor]:
    a, n = p.concentration1, p.concentration1 + p.concentration0
    return torch.digamma(a) - torch.digamma(n), trigamma(a) - trigamma(n)


@_log_moments.register
def _(p: LogNormal) -> tuple[Tensor, Tensor]:
    return p.loc, p.scale.square()


@_log_moments.register
def _(p: HalfNormal) -> tuple[Tensor, Tensor]:
    # log x = log s + log(c)/2 for c chi-square with one degree of freedom
    return p.scale.log() - 0.5 * (EULER + math.log(2)), torch.full_like(p.scale, math.pi**2 / 8)


@_log_moments.register
def _(p: HalfCauchy) -> tuple[Tensor, Tensor]:
    # log(x/s) has the hyperbolic secant law
    return p.scale.log(), torch.full_like(p.scale, math.pi**2 / 4)


@_log_moments.register
def _(p: Uniform) -> tuple[Tensor, Tensor]:
    low, high, width = p.low, p.high, p.high - p.low
    start, end = low.clamp(min=torch.finfo(low.dtype).tiny).log(), high.log()
    # with u = log x: the integrals of u and of (u - end)^2 over x, both by parts
    mean = end - 1 + low * (end - start) / width
    back = end - start
    about_end = 2 - low * (back.square() + 2 * back) / width
    return mean, about_end - (mean - end).square()


@_log_moments.register
def _(p: Weibull) -> tuple[Tensor, Tensor]:
    k = p.concentration
    return p.scale.log() - EULER / k, math.pi**2 / 6 / k.square()


@_log_moments.register
def _(p: InverseGamma) -> tuple[Tensor, Tensor]:
    return p.rate.log() - torch.digamma(p.concentration), trigamma(p.concentration)


@_log_moments.register
def _(p: Pareto) -> tuple[Tensor, Tensor]:
    return p.scale.log() + p.alpha.reciprocal(), p.alpha.square().reciprocal()


@_log_moments.register
def _(p: Kumaraswamy) -> tuple[Tensor, Tensor]:
    a, b = p.concentration1, p.concentration0
    return -(torch.digamma(b + 1) + EULER) / a, (math.pi**2 / 6 - trigamma(b + 1)) / a.square()


def _lgamma(x: Tensor) -> Tensor:
    """lgamma(x), inf for x <= 0: the moment does not exist."""
    return torch.where(x > 0, torch.lgamma(torch.where(x > 0, x, 1.0)), torch.inf)


@singledispatch
def _log_power(p: Any, m: Tensor) -> Tensor:
    """log E[x^m] under p, inf where it does not exist."""
    raise NotImplementedError(f"{type(p).__name__} has no power moments here.")


@_log_power.register
def _(p: Gamma, m: Tensor) -> Tensor:
    return _lgamma(p.concentration + m) - torch.lgamma(p.concentration) - m * p.rate.log()


@_log_power.register
def _(p: Exponential, m: Tensor) -> Tensor:
    return _lgamma(1 + m) - m * p.rate.log()


@_log_power.register
def _(p: InverseGamma, m: Tensor) -> Tensor:
    return _lgamma(p.concentration - m) - torch.lgamma(p.concentration) + m * p.rate.log()


@_log_power.register
def _(p: Weibull, m: Tensor) -> Tensor:
    return _lgamma(1 + m / p.concentration) + m * p.scale.log()


@_log_power.register
def _(p: LogNormal, m: Tensor) -> Tensor:
    return m * p.loc + 0.5 * (m * p.scale).square()


@_log_power.register
def _(p: HalfNormal, m: Tensor) -> Tensor:
    return m * (p.scale.log() + 0.5 * math.log(2)) + _lgamma(0.5 * (m + 1)) - 0.5 * math.log(math.pi)


@_log_power.register
def _(p: HalfCauchy, m: Tensor) -> Tensor:
    exists = m.abs() < 1
    return torch.where(exists, m * p.scale.log() - (0.5 * math.pi * torch.where(exists, m, 0.0)).cos().log(), torch.inf)


@_log_power.register
def _(p: Pareto, m: Tensor) -> Tensor:
    exists = m < p.alpha
    return torch.where(exists, m * p.scale.log() - (-torch.where(exists, m, 0.0) / p.alpha).log1p(), torch.inf)


@_log_power.register
def _(p: Beta, m: Tensor) -> Tensor:
    a, b = p.concentration1, p.concentration0
    exists = a + m > 0
    return torch.where(exists, log_beta(torch.where(exists, a + m, 1.0), b) - log_beta(a, b), torch.inf)


@_log_power.register
def _(p: Kumaraswamy, m: Tensor) -> Tensor:
    a, b = p.concentration1, p.concentration0
    exists = a + m > 0
    return torch.where(exists, b.log() + log_beta(torch.where(exists, 1 + m / a, 1.0), b), torch.inf)


@_log_power.register
def _(p: Uniform, m: Tensor) -> Tensor:
    # the integral of x^m is that of exp(n u) over u = log x; m is -1, or positive
    n, span = m + 1, p.high.log() - p.low.log()
    flat = n == 0
    safe = torch.where(flat, 1.0, n)
    log_integral = safe * p.high.log() + (-(-safe * span).expm1() / safe).log()
    return torch.where(flat, span.log(), log_integral) - (p.high - p.low).log()


def _to_normal(p: Distribution, q: Normal) -> Tensor:
    return q.scale.log() + HALF_LOG_2PI + (p.variance + (p.mean - q.loc).square()) / (2 * q.scale.square())


def _to_halfnormal(p: Distribution, q: HalfNormal) -> Tensor:
    return q.scale.log() + HALF_LOG_HALF_PI + (p.variance + p.mean.square()) / (2 * q.scale.square())


def _to_exponential(p: Distribution, q: Exponential) -> Tensor:
    return q.rate * p.mean - q.rate.log()


def _to_gamma(p: Distribution, q: Gamma) -> Tensor:
    a, b = q.concentration, q.rate
    return torch.lgamma(a) - a * b.log() + b * p.mean - (a - 1) * _log_moments(p)[0]


def _to_lognormal(p: Distribution, q: LogNormal) -> Tensor:
    mean, variance = _log_moments(p)
    return mean + q.scale.log() + HALF_LOG_2PI + (variance + (mean - q.loc).square()) / (2 * q.scale.square())


def _to_weibull(p: Distribution, q: Weibull) -> Tensor:
    k, log_scale = q.concentration, q.scale.log()
    return k * log_scale - k.log() - (k - 1) * _log_moments(p)[0] + (_log_power(p, k) - k * log_scale).exp()


def _to_inversegamma(p: Distribution, q: InverseGamma) -> Tensor:
    a, b = q.concentration, q.rate
    inverse = _log_power(p, -torch.ones_like(a)).exp()
    return torch.lgamma(a) - a * b.log() + (a + 1) * _log_moments(p)[0] + b * inverse


def _to_beta(p: Uniform, q: Beta) -> Tensor:
    a, b = q.concentration1, q.concentration0
    mirrored = Uniform(1 - p.high, 1 - p.low, validate_args=False)
    return log_beta(a, b) - (a - 1) * _log_moments(p)[0] - (b - 1) * _log_moments(mirrored)[0]


def _to_cauchy(p: Uniform, q: Cauchy | HalfCauchy) -> Tensor:
    loc = q.loc if isinstance(q, Cauchy) else torch.zeros_like(q.scale)
    start, end = (p.low - loc) / q.scale, (p.high - loc) / q.scale
    # the integral of log(1 + z^2) is z log(1 + z^2) - 2 z + 2 atan z
    total = [z * z.square().log1p() - 2 * z + 2 * z.atan() for z in (start, end)]
    constant = math.log(math.pi) if isinstance(q, Cauchy) else math.log(math.pi / 2)
    mean_log = (total[1] - total[0]) / (end - start)
    return mean_log + q.scale.log() + constant


def _register(left: type[Distribution], right: type[Distribution], cross_entropy: Callable[[Any, Any], Tensor]) -> None:
    @register_kl(left, right)
    def _rule(p: Distribution, q: Distribution) -> Tensor:
        return cross_entropy(p, q) - p.entropy()


def _register_uniform(right: type[Distribution], cross_entropy: Callable[[Any, Any], Tensor], top: float) -> None:
    """A uniform left side: infinite where its interval leaves [0, top]."""

    @register_kl(Uniform, right)
    def _rule(p: Uniform, q: Any) -> Tensor:
        inside = (p.low >= 0) & (p.high <= top)
        # outside, any interval will do: the logarithms of its own ends would make the derivatives nan
        low, high = torch.where(inside, p.low, 0.25), torch.where(inside, p.high, 0.75)
        safe = Uniform(low, high, validate_args=False)
        return torch.where(inside, cross_entropy(safe, q) - safe.entropy(), torch.inf)


_FINITE: dict[type[Distribution], Callable[[Any, Any], Tensor]] = {
    Normal: _to_normal,
    HalfNormal: _to_halfnormal,
    Exponential: _to_exponential,
    Gamma: _to_gamma,
    LogNormal: _to_lognormal,
    Weibull: _to_weibull,
    InverseGamma: _to_inversegamma,
}
_IN_ONE_FAMILY = {(Gamma, Exponential), (Exponential, Gamma), (Weibull, Exponential), (Exponential, Weibull)}

for _left in (HalfNormal, LogNormal, Gamma, Exponential, Weibull, InverseGamma, Pareto, Beta, Kumaraswamy):
    for _right, _cross in _FINITE.items():
        if _left is not _right and (_left, _right) not in _IN_ONE_FAMILY:
            _register(_left, _right, _cross)
_register(HalfCauchy, LogNormal, _to_lognormal)  # of the half-Cauchy law only log x and small powers have moments
_register(HalfCauchy, Weibull, _to_weibull)
for _line in (Uniform, Laplace, Logistic, Gumbel):
    _register(_line, Normal, _to_normal)
_register(Uniform, Cauchy, _to_cauchy)
for _right, _cross in {**_FINITE, HalfCauchy: _to_cauchy}.items():
    if _right is not Normal:
        _register_uniform(_right, _cross, math.inf)
_register_uniform(Beta, _to_beta, 1.0)


@register_kl(Beta, Uniform)
@register_kl(Kumaraswamy, Uniform)
def _proportion_uniform(p: Beta | Kumaraswamy, q: Uniform) -> Tensor:
    contained = (q.low <= 0) & (q.high >= 1)
    return torch.where(contained, (q.high - q.low).log() - p.entropy(), torch.inf)

"""Closed forms across families, from the moments of the left side.

The log densities on the right are linear in x, x^2, log x and (log x)^2, so that
KL(p || q) = -H(p) - E_p[log q] needs only four moments of p: its mean and variance, and those of log x.
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
from ..families.gamma import Exponential, Gamma
from ..families.normal import HALF_LOG_2PI, HALF_LOG_HALF_PI, HalfNormal, LogNormal, Normal
from ..families.uniform import Uniform
from .registry import register_kl

__all__: list[str] = []

EULER = 0.5772156649015329


@singledispatch
def _log_moments(p: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance of log x under p."""
    raise NotImplementedError(f"{type(p).__name__} has no moments of log x here.")


@_log_moments.register
def _(p: Gamma) -> tuple[Tensor, Tensor]:
    return torch.digamma(p.concentration) - p.rate.log(), torch.polygamma(1, p.concentration)


@_log_moments.register
def _(p: Exponential) -> tuple[Tensor, Tensor]:
    return -EULER - p.rate.log(), torch.full_like(p.rate, math.pi**2 / 6)


@_log_moments.register
def _(p: Beta) -> tuple[Tensor, Tensor]:
    a, n = p.concentration1, p.concentration1 + p.concentration0
    return torch.digamma(a) - torch.digamma(n), torch.polygamma(1, a) - torch.polygamma(1, n)


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


def _to_beta(p: Uniform, q: Beta) -> Tensor:
    a, b = q.concentration1, q.concentration0
    mirrored = Uniform(1 - p.high, 1 - p.low, validate_args=False)
    log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    return log_beta - (a - 1) * _log_moments(p)[0] - (b - 1) * _log_moments(mirrored)[0]


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
}

for _left in (HalfNormal, LogNormal, Gamma, Exponential, Beta):
    for _right, _cross in _FINITE.items():
        if _left is not _right:
            _register(_left, _right, _cross)
_register(HalfCauchy, LogNormal, _to_lognormal)  # of the half-Cauchy law only log x has moments
_register(Uniform, Normal, _to_normal)
_register(Uniform, Cauchy, _to_cauchy)
for _right, _cross in {**_FINITE, HalfCauchy: _to_cauchy}.items():
    if _right is not Normal:
        _register_uniform(_right, _cross, math.inf)
_register_uniform(Beta, _to_beta, 1.0)


@register_kl(Beta, Uniform)
def _beta_uniform(p: Beta, q: Uniform) -> Tensor:
    contained = (q.low <= 0) & (q.high >= 1)
    return torch.where(contained, (q.high - q.low).log() - p.entropy(), torch.inf)

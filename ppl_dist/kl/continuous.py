"""Closed forms with Laplace, Gumbel, Weibull, Pareto, chi-square and inverse gamma laws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..families.beta import Beta
from ..families.cauchy import HalfCauchy
from ..families.chi2 import Chi2, InverseGamma
from ..families.delta import Delta
from ..families.edges import NEGLIGIBLE, log_rise
from ..families.extreme import EULER, Gumbel, Pareto, Weibull
from ..families.gamma import Exponential, Gamma
from ..families.kumaraswamy import Kumaraswamy
from ..families.laplace import Laplace, Logistic
from ..families.normal import HALF_LOG_2PI, HalfNormal, LogNormal, Normal
from ..families.uniform import Uniform
from ..special import log1mexp, log1pmx, ndtr
from .registry import kl_divergence, register_infinite, register_kl

__all__: list[str] = []


@register_kl(Laplace, Laplace)
def _laplace_laplace(p: Laplace, q: Laplace) -> Tensor:
    gap = (p.loc - q.loc).abs()
    r, d = p.scale / q.scale, gap / p.scale
    # E|x - n| = gap + s exp(-gap/s); r (d + exp(-d)) - 1 - log r, without cancellation near d = 0 and r = 1
    return r * (d + (-d).expm1()) - log1pmx(r - 1)


@register_kl(Laplace, Normal)
def _laplace_normal(p: Laplace, q: Normal) -> Tensor:
    spread = (p.variance + (p.loc - q.loc).square()) / (2 * q.scale.square())
    return spread + q.scale.log() + HALF_LOG_2PI - p.entropy()


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> Tensor:
    z = (p.loc - q.loc) / p.scale
    density = (-0.5 * z.square() - HALF_LOG_2PI).exp()
    distance = p.scale * (2 * density + z * (2 * ndtr(z) - 1))  # E|x - n|
    return distance / q.scale + (2 * q.scale).log() - p.entropy()


def _to_gumbel(p: Any, q: Gumbel, log_mean_exp: Tensor) -> Tensor:
    """From the mean of x and log E[exp(-x / s)]: log q = -log s - z - exp(-z)."""
    tail = (q.loc / q.scale + log_mean_exp).exp()
    value: Tensor = q.scale.log() + (p.mean - q.loc) / q.scale + tail - p.entropy()
    return value


@register_kl(Gumbel, Gumbel)
def _gumbel_gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    r, gap = p.scale / q.scale, (p.loc - q.loc) / q.scale
    # exp(-x / t) under p has the mean exp(-m / t) G(1 + s / t); the terms of 1 are taken together
    return EULER * (r - 1) - r.log() + gap + (torch.lgamma(1 + r) - gap).expm1()


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Normal, q: Gumbel) -> Tensor:
    return _to_gumbel(p, q, 0.5 * (p.scale / q.scale).square() - p.loc / q.scale)


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Exponential, q: Gumbel) -> Tensor:
    return _to_gumbel(p, q, -(1 / (p.rate * q.scale)).log1p())


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Gamma, q: Gumbel) -> Tensor:
    return _to_gumbel(p, q, -p.concentration * (1 / (p.rate * q.scale)).log1p())


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Uniform, q: Gumbel) -> Tensor:
    width = (p.high - p.low) / q.scale
    return _to_gumbel(p, q, -p.low / q.scale + (-(-width).expm1() / width).log())


@register_kl(Gumbel, Normal)
def _gumbel_normal(p: Gumbel, q: Normal) -> Tensor:
    spread = (p.variance + (p.mean - q.loc).square()) / (2 * q.scale.square())
    return spread + q.scale.log() + HALF_LOG_2PI - p.entropy()


@register_kl(Weibull, Weibull)
def _weibull_weibull(p: Weibull, q: Weibull) -> Tensor:
    # Bauckhage (2013), "Computing the Kullback-Leibler divergence between two Weibull distributions"; with
    # log(x / s) = log(e) / k for a standard exponential e
    k, m = p.concentration, q.concentration
    log_ratio = (p.scale / q.scale).log()
    excess = (m * log_ratio + torch.lgamma(1 + m / k)).expm1()  # E[(x / t)**m] - 1
    return (k / m).log() - m * log_ratio + (m / k - 1) * EULER + excess


@register_kl(Weibull, Exponential)
def _weibull_exponential(p: Weibull, q: Exponential) -> Tensor:
    return q.rate * p.mean - q.rate.log() - p.entropy()


@register_kl(Weibull, Gamma)
def _weibull_gamma(p: Weibull, q: Gamma) -> Tensor:
    a, b = q.concentration, q.rate
    mean_log = p.scale.log() - EULER / p.concentration
    return torch.lgamma(a) - a * b.log() + b * p.mean - (a - 1) * mean_log - p.entropy()


@register_kl(Pareto, Pareto)
def _pareto_pareto(p: Pareto, q: Pareto) -> Tensor:
    contained = q.scale <= p.scale
    shapes = -log1pmx((q.alpha - p.alpha) / p.alpha)
    return torch.where(contained, shapes + q.alpha * (p.scale / q.scale).log(), torch.inf)


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Pareto, q: Exponential) -> Tensor:
    return q.rate * p.mean - q.rate.log() - p.entropy()


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Pareto, q: Gamma) -> Tensor:
    a, b = q.concentration, q.rate
    mean_log = p.scale.log() + p.alpha.reciprocal()
    return torch.lgamma(a) - a * b.log() + b * p.mean - (a - 1) * mean_log - p.entropy()


@register_kl(Pareto, Normal)
def _pareto_normal(p: Pareto, q: Normal) -> Tensor:
    finite = p.alpha > 2  # else the second moment is infinite, and its parts would make inf - inf
    safe = Pareto(p.scale, torch.where(finite, p.alpha, 3.0), validate_args=False)
    spread = (safe.variance + (safe.mean - q.loc).square()) / (2 * q.scale.square())
    return torch.where(finite, spread + q.scale.log() + HALF_LOG_2PI - safe.entropy(), torch.inf)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Uniform, q: Pareto) -> Tensor:
    contained = p.low >= q.scale
    low, high = torch.where(contained, p.low, 1.0), torch.where(contained, p.high, 2.0)
    width = high - low
    mean_log = (torch.xlogy(high, high) - torch.xlogy(low, low)) / width - 1
    value = (q.alpha + 1) * mean_log - (q.alpha.log() + q.alpha * q.scale.log()) - width.log()
    return torch.where(contained, value, torch.inf)


@register_kl(Chi2, Chi2)
def _chi2_chi2(p: Chi2, q: Chi2) -> Tensor:
    a, c = p.concentration, q.concentration
    return (a - c) * torch.digamma(a) - torch.lgamma(a) + torch.lgamma(c)


@register_kl(InverseGamma, InverseGamma)
def _inversegamma_inversegamma(p: InverseGamma, q: InverseGamma) -> Tensor:
    return kl_divergence(p.base_dist, q.base_dist)  # x -> 1/x is a bijection


NODES, STEP = 160, 0.05


@register_kl(Kumaraswamy, Kumaraswamy)
def _kumaraswamy_kumaraswamy(p: Kumaraswamy, q: Kumaraswamy) -> Tensor:
    """With y = x**a of Beta(1, b) all is elementary but E[log(1 - y**r)] for r = c/a.

    That is an integral over e = -b log(1 - y), a standard exponential, by the double exponential rule: Takahasi and
    Mori (1974), "Double exponential formulas for numerical integration".
    """
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    r = c / a
    t = STEP * torch.arange(-NODES // 2, NODES // 2 + 10, dtype=torch.float64, device=a.device).to(a.dtype)
    e = (t - (-t).exp()).exp()
    weight = STEP * e * (1 + (-t).exp()) * (-e).exp()
    fall = e / b.unsqueeze(-1)  # -log(1 - y)
    far = fall > -NEGLIGIBLE
    log_y = log1mexp(-torch.where(far, 1.0, fall))
    t_of_power = -r.unsqueeze(-1) * log_y
    log_t = r.log().unsqueeze(-1) + torch.where(far, -fall, (-log_y).log())
    mean_log = (weight * log_rise(log_t, t_of_power)).sum(-1)
    mean_log_y = -(torch.digamma(b + 1) + EULER)
    return (a * b / (c * d)).log() + (1 - r) * mean_log_y - (b - 1) / b - (d - 1) * mean_log


# the right support does not hold the left one
for _left in (Laplace, Logistic, Gumbel):
    register_infinite(_left, HalfNormal, HalfCauchy, LogNormal, Gamma, Exponential, Weibull, InverseGamma, Pareto)
    register_infinite(_left, Uniform, Beta, Kumaraswamy)
register_infinite(Normal, Pareto, Weibull, InverseGamma, Kumaraswamy)
for _right in (Exponential, Gamma, Weibull, InverseGamma, Beta, Kumaraswamy):
    register_infinite(_right, Pareto)
for _wide in (Pareto, Weibull, InverseGamma):
    register_infinite(_wide, Uniform, Beta, Kumaraswamy)
# a density gives a point no mass
for _any in (Laplace, Logistic, Gumbel, Weibull, Pareto, InverseGamma, Kumaraswamy):
    register_infinite(_any, Delta)

"""Closed forms with Laplace, logistic, Gumbel, Weibull, Pareto and inverse gamma laws."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..families.chi2 import InverseGamma
from ..families.extreme import EULER, Gumbel, Pareto, Weibull
from ..families.gamma import Exponential, Gamma
from ..families.laplace import Laplace, Logistic
from ..families.normal import HALF_LOG_2PI, HalfNormal, Normal
from ..families.uniform import Uniform
from ..special import expm1mx, lgamma_excess, log_excess, log_ndtr, log_quotient, ndtr
from .positive import gammas, rates
from .registry import register_kl
from .settle import TERMS, settle

__all__: list[str] = []


@register_kl(Laplace, Laplace)
def _laplace_laplace(p: Laplace, q: Laplace) -> Tensor:
    return settle(_plain_laplace, _near_laplace, p.loc - q.loc, p.scale, q.scale, everywhere=False)


def _plain_laplace(gap: Tensor, s: Tensor, t: Tensor) -> Tensor:
    # E|x - n| = gap + s exp(-gap/s)
    d, more = gap.abs() / s, t - s
    return torch.addcmul((more / s).log1p() - more / t, s / t, torch.expm1(-d) + d)


def _near_laplace(gap: Tensor, s: Tensor, t: Tensor) -> Tensor:
    # for d = gap/s and r = s/t, r (exp(-d) - 1 + d) and r - 1 - log r
    return s / t * expm1mx(-gap.abs() / s) + log_excess(t, s)


@register_kl(Logistic, Laplace)
def _logistic_laplace(p: Logistic, q: Laplace) -> Tensor:
    d = (p.loc - q.loc).abs() / p.scale
    distance = p.scale * (d + 2 * (-d).exp().log1p())  # E|x - n|
    return distance / q.scale + (2 * q.scale).log() - p.entropy()


@register_kl(Uniform, Laplace)
def _uniform_laplace(p: Uniform, q: Laplace) -> Tensor:
    low, high = p.low - q.loc, p.high - q.loc
    distance = 0.5 * (high * high.abs() - low * low.abs()) / (p.high - p.low)
    return distance / q.scale + (2 * q.scale).log() - p.entropy()


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
    return settle(_plain_gumbel, _near_gumbel, p.loc - q.loc, p.scale, q.scale, far=TERMS)


def _plain_gumbel(gap: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return _plain_extremes(s / t, gap / t)


def _near_gumbel(gap: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return _near_extremes(s / t, gap / t)


def _plain_extremes(r: Tensor, z: Tensor) -> Tensor:
    """KL of Gumbel laws with the quotient r of scales and the gap z of locs in units of the right scale."""
    tail = torch.expm1(torch.lgamma(1 + r) - z) + z
    return torch.add(tail - r.log(), r - 1, alpha=EULER)


def _near_extremes(r: Tensor, z: Tensor) -> Tensor:
    """Two excesses, the second of log E[exp(-x)] = lgamma(1 + r) - z."""
    return lgamma_excess(torch.ones_like(r), r) + expm1mx(torch.lgamma(1 + r) - z)


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


@register_kl(HalfNormal, Gumbel)
def _halfnormal_gumbel(p: HalfNormal, q: Gumbel) -> Tensor:
    r = p.scale / q.scale
    return _to_gumbel(p, q, math.log(2) + 0.5 * r.square() + log_ndtr(-r))


@register_kl(Laplace, Gumbel)
def _laplace_gumbel(p: Laplace, q: Gumbel) -> Tensor:
    r = p.scale / q.scale
    finite = r < 1  # the tail on the left is as heavy as that
    log_mean = -(-torch.where(finite, r, 0.0).square()).log1p()
    return torch.where(finite, _to_gumbel(p, q, log_mean - p.loc / q.scale), torch.inf)


@register_kl(Logistic, Gumbel)
def _logistic_gumbel(p: Logistic, q: Gumbel) -> Tensor:
    r = p.scale / q.scale
    finite = r < 1
    log_mean = -torch.sinc(torch.where(finite, r, 0.0)).log()  # G(1 + r) G(1 - r) by reflection
    return torch.where(finite, _to_gumbel(p, q, log_mean - p.loc / q.scale), torch.inf)


@register_kl(Weibull, Weibull)
def _weibull_weibull(p: Weibull, q: Weibull) -> Tensor:
    # -log x has a Gumbel law with scale 1/k; Bauckhage (2013), "Computing the Kullback-Leibler divergence between
    # two Weibull distributions"
    return _weibulls(p.scale, p.concentration, q.scale, q.concentration)


def _weibulls(s: Tensor, k: Tensor, t: Tensor, m: Tensor) -> Tensor:
    return settle(_plain_weibulls, _near_weibulls, s, k, t, m, far=TERMS)


def _plain_weibulls(s: Tensor, k: Tensor, t: Tensor, m: Tensor) -> Tensor:
    return _plain_extremes(m / k, m * (t / s).log())


def _near_weibulls(s: Tensor, k: Tensor, t: Tensor, m: Tensor) -> Tensor:
    return _near_extremes(m / k, -m * log_quotient(s, t))


@register_kl(Weibull, Exponential)
def _weibull_exponential(p: Weibull, q: Exponential) -> Tensor:
    return _weibulls(p.scale, p.concentration, q.rate.reciprocal(), torch.ones_like(q.rate))


@register_kl(Exponential, Weibull)
def _exponential_weibull(p: Exponential, q: Weibull) -> Tensor:
    return _weibulls(p.rate.reciprocal(), torch.ones_like(p.rate), q.scale, q.concentration)


@register_kl(Pareto, Pareto)
def _pareto_pareto(p: Pareto, q: Pareto) -> Tensor:
    value = torch.addcmul(rates(p.alpha, q.alpha), q.alpha, log_quotient(p.scale, q.scale))
    return torch.where(q.scale <= p.scale, value, torch.inf)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Uniform, q: Pareto) -> Tensor:
    contained = p.low >= q.scale
    low, high = torch.where(contained, p.low, 1.0), torch.where(contained, p.high, 2.0)
    width = high - low
    mean_log = (torch.xlogy(high, high) - torch.xlogy(low, low)) / width - 1
    value = (q.alpha + 1) * mean_log - (q.alpha.log() + q.alpha * q.scale.log()) - width.log()
    return torch.where(contained, value, torch.inf)


@register_kl(InverseGamma, InverseGamma)
def _inversegamma_inversegamma(p: InverseGamma, q: InverseGamma) -> Tensor:
    return gammas(p.concentration, p.rate, q.concentration, q.rate)  # x -> 1/x is a bijection

"""Closed forms among distributions of positive numbers and of proportions, within one family."""

from __future__ import annotations

import torch
from torch import Tensor

from ..families.beta import Beta, Dirichlet
from ..families.gamma import Exponential, Gamma
from ..families.uniform import Uniform
from ..special import log1pmx, log_beta, multi_log_beta
from .registry import register_kl

__all__: list[str] = []


def _rates(p: Tensor, q: Tensor) -> Tensor:
    """KL of exponential distributions: r - 1 - log r for r = q/p."""
    return -log1pmx((q - p) / p)


@register_kl(Exponential, Exponential)
def _exponential_exponential(p: Exponential, q: Exponential) -> Tensor:
    return _rates(p.rate, q.rate)


@register_kl(Gamma, Gamma)
def _gamma_gamma(p: Gamma, q: Gamma) -> Tensor:
    a, c = p.concentration, q.concentration
    shapes = (a - c) * torch.digamma(a) - torch.lgamma(a) + torch.lgamma(c)
    # c log(b/d) + a (d - b)/b: the exponential's divergence a times, and what is left for c
    return shapes + a * _rates(p.rate, q.rate) + (a - c) * (q.rate / p.rate).log()


@register_kl(Beta, Beta)
def _beta_beta(p: Beta, q: Beta) -> Tensor:
    a, b = p.concentration1, p.concentration0
    da, db = a - q.concentration1, b - q.concentration0
    normalizers = log_beta(q.concentration1, q.concentration0) - log_beta(a, b)
    return normalizers + da * torch.digamma(a) + db * torch.digamma(b) - (da + db) * torch.digamma(a + b)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet_dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, c = p.concentration, q.concentration
    log_shares = torch.digamma(a) - torch.digamma(a.sum(-1, keepdim=True))
    return multi_log_beta(c) - multi_log_beta(a) + ((a - c) * log_shares).sum(-1)


@register_kl(Uniform, Uniform)
def _uniform_uniform(p: Uniform, q: Uniform) -> Tensor:
    contained = (q.low <= p.low) & (q.high >= p.high)
    return torch.where(contained, ((q.high - q.low) / (p.high - p.low)).log(), torch.inf)

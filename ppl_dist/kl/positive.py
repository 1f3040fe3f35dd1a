"""Closed forms among distributions of positive numbers and of proportions, within one family.

Where the plain sum of terms would cancel (`settle`) all are sums of nonnegative terms. For the gamma and Dirichlet
families the log-normaliser is lgamma(x) = (x - 1/2) log x - x + s(x); what the three parts rise above their tangents
is collected part by part (`special.bregman`), and the large first parts meet in one divergence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..families.beta import Beta, Dirichlet
from ..families.chi2 import Chi2
from ..families.gamma import Exponential, Gamma
from ..families.uniform import Uniform
from ..special import binet_excess, log_excess
from ..special.elementary import log_ratio_excess
from .registry import register_kl, require_equal_events
from .settle import TERMS, settle, size_of_terms

__all__: list[str] = []


@register_kl(Exponential, Exponential)
def _exponential_exponential(p: Exponential, q: Exponential) -> Tensor:
    return rates(p.rate, q.rate)


def rates(a: Tensor, c: Tensor) -> Tensor:
    """KL of exponential laws: r - 1 - log r for r = c/a."""
    return settle(_plain_rates, log_excess, a, c, everywhere=False)


def _plain_rates(a: Tensor, c: Tensor) -> Tensor:
    # log r as -log(1 + (a-c)/c): for a large r it matters little
    gap = a - c
    return (gap / c).log1p() - gap / a


def gammas(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """KL(Gamma(a, b) || Gamma(c, d))."""
    terms = size_of_terms(a, c)
    if terms is None:
        return _near_gammas(a, b, c, d)
    return settle(_plain_gammas, _near_gammas, a, b, c, d, far=TERMS, scale=terms)


def _rise(a: Tensor, c: Tensor) -> Tensor:
    """lgamma(c) - lgamma(a) - (c - a) digamma(a)."""
    return torch.addcmul(torch.lgamma(c) - torch.lgamma(a), a - c, torch.digamma(a))


def _plain_gammas(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    r = d / b
    return torch.addcmul(torch.addcmul(_rise(a, c), a, r - 1), c, r.log(), value=-1)


def _near_gammas(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """c (m - 1 - log m) for the quotient m of the means, and two parts of lgamma."""
    less, more = (a - c) / c, (d - b) / b
    m = (a / c) * (d / b)
    means = -c * log_ratio_excess(m, torch.ones_like(m), less + more + less * more)
    return means + 0.5 * log_excess(a, c) + binet_excess(a, c, c - a)


@register_kl(Gamma, Gamma)
@register_kl(Chi2, Chi2)
def _gamma_gamma(p: Gamma, q: Gamma) -> Tensor:
    return gammas(p.concentration, p.rate, q.concentration, q.rate)


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Gamma, q: Exponential) -> Tensor:
    return gammas(p.concentration, p.rate, torch.ones_like(q.rate), q.rate)


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Exponential, q: Gamma) -> Tensor:
    return gammas(torch.ones_like(p.rate), p.rate, q.concentration, q.rate)


def _near_shares(a: Tensor, c: Tensor) -> Tensor:
    """KL of Dirichlet laws: n times the divergence of the mean shares, and two parts of lgamma less those of n."""
    a, c = torch.broadcast_tensors(a, c)  # type: ignore[no-untyped-call]  # torch's gap
    total, other = a.sum(-1, keepdim=True), c.sum(-1, keepdim=True)
    gap, p, q = c - a, a / total, c / other
    shift = (p * gap.sum(-1, keepdim=True) - gap) / other  # p - q
    shares = (-c * log_ratio_excess(p, q, shift)).sum(-1)
    start, end = torch.cat([a, total], -1), torch.cat([c, other], -1)
    moved = torch.cat([gap, gap.sum(-1, keepdim=True)], -1)  # of the totals, known better than they are
    parts = binet_excess(start, end, moved) - 0.5 * log_ratio_excess(end, start, moved)
    return shares + parts[..., :-1].sum(-1) - parts[..., -1]


@register_kl(Beta, Beta)
def _beta_beta(p: Beta, q: Beta) -> Tensor:
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    terms = size_of_terms(a, b, c, d)
    if terms is None:
        return _near_beta(a, b, c, d)
    return settle(_plain_beta, _near_beta, a, b, c, d, far=TERMS, scale=terms)


def _plain_beta(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    first, second, both = _rise(torch.stack([a, b, a + b], -1), torch.stack([c, d, c + d], -1)).unbind(-1)
    return first + second - both


def _near_beta(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return _near_shares(torch.stack([a, b], -1), torch.stack([c, d], -1))


@register_kl(Dirichlet, Dirichlet)
def _dirichlet_dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    require_equal_events(p, q)
    a, c = p.concentration, q.concentration
    terms = size_of_terms(a.sum(-1), c.sum(-1))
    if terms is None:
        return _near_shares(a, c)
    return settle(_plain_shares, _near_shares, a, c, far=TERMS, scale=terms)


def _plain_shares(a: Tensor, c: Tensor) -> Tensor:
    return _rise(a, c).sum(-1) - _rise(a.sum(-1), c.sum(-1))


@register_kl(Uniform, Uniform)
def _uniform_uniform(p: Uniform, q: Uniform) -> Tensor:
    above, below = q.high - p.high, p.low - q.low
    value = ((above + below).clamp(min=0) / (p.high - p.low)).log1p()
    return torch.where(torch.minimum(above, below) >= 0, value, torch.inf)

"""Closed forms among distributions of positive numbers and of proportions, within one family.

All are sums of nonnegative terms, so that nothing cancels at nearly equal parameters. For the gamma and Dirichlet
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

__all__: list[str] = []


@register_kl(Exponential, Exponential)
def _exponential_exponential(p: Exponential, q: Exponential) -> Tensor:
    return log_excess(p.rate, q.rate)


def _gammas(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """KL(Gamma(a, b) || Gamma(c, d)): c (m - 1 - log m) for the quotient m of the means, and two parts of lgamma."""
    less, more = (a - c) / c, (d - b) / b
    m = (a / c) * (d / b)
    means = -c * log_ratio_excess(m, torch.ones_like(m), less + more + less * more)
    return means + 0.5 * log_excess(a, c) + binet_excess(a, c, c - a)


@register_kl(Gamma, Gamma)
@register_kl(Chi2, Chi2)
def _gamma_gamma(p: Gamma, q: Gamma) -> Tensor:
    return _gammas(p.concentration, p.rate, q.concentration, q.rate)


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Gamma, q: Exponential) -> Tensor:
    return _gammas(p.concentration, p.rate, torch.ones_like(q.rate), q.rate)


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Exponential, q: Gamma) -> Tensor:
    return _gammas(torch.ones_like(p.rate), p.rate, q.concentration, q.rate)


def _shares(a: Tensor, c: Tensor) -> Tensor:
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
    pairs = (torch.stack([d.concentration1, d.concentration0], -1) for d in (p, q))
    return _shares(*pairs)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet_dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    require_equal_events(p, q)
    return _shares(p.concentration, q.concentration)


@register_kl(Uniform, Uniform)
def _uniform_uniform(p: Uniform, q: Uniform) -> Tensor:
    contained = (q.low <= p.low) & (q.high >= p.high)
    wider = ((q.high - p.high) + (p.low - q.low)) / (p.high - p.low)
    return torch.where(contained, torch.where(contained, wider, 0.0).log1p(), torch.inf)

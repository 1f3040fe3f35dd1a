"""Closed forms among the normal and Cauchy families."""

from __future__ import annotations

import torch
from torch import Tensor

from ..families.cauchy import Cauchy, HalfCauchy
from ..families.normal import HalfNormal, LogNormal, Normal
from ..special import log_quotient
from .registry import register_kl

__all__: list[str] = []


def normal_scales(p: Tensor, q: Tensor) -> Tensor:
    """(r**2 - 1)/2 - log r for r = p/q, in double precision: e + e**2/2 - log(1 + e) for a small e = r - 1."""
    wide_p, wide_q = p.to(torch.float64), q.to(torch.float64)
    e = (wide_p - wide_q) / wide_q
    return (0.5 * e.square() + (e - log_quotient(wide_p, wide_q))).to(torch.promote_types(p.dtype, q.dtype))


@register_kl(Normal, Normal)
@register_kl(LogNormal, LogNormal)
def _normal_normal(p: Normal | LogNormal, q: Normal | LogNormal) -> Tensor:
    return normal_scales(p.scale, q.scale) + 0.5 * ((p.loc - q.loc) / q.scale).square()


@register_kl(HalfNormal, HalfNormal)
def _halfnormal_halfnormal(p: HalfNormal, q: HalfNormal) -> Tensor:
    return normal_scales(p.scale, q.scale)


@register_kl(Cauchy, Cauchy)
def _cauchy_cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    # Chyzak and Nielsen (2019), "A closed-form formula for the Kullback-Leibler divergence between Cauchy
    # distributions": log of ((s + t)^2 + (m - n)^2) / (4 s t)
    gap = (p.scale - q.scale).square() + (p.loc - q.loc).square()
    return (gap / (4 * p.scale * q.scale)).log1p()


@register_kl(HalfCauchy, HalfCauchy)
def _halfcauchy_halfcauchy(p: HalfCauchy, q: HalfCauchy) -> Tensor:
    return ((p.scale - q.scale).square() / (4 * p.scale * q.scale)).log1p()

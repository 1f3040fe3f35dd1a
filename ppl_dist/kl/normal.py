"""Closed forms among the normal and Cauchy families."""

from __future__ import annotations

import torch
from torch import Tensor

from ..families.cauchy import Cauchy, HalfCauchy
from ..families.normal import HalfNormal, LogNormal, Normal
from ..special import log_excess
from .registry import register_kl
from .settle import settle

__all__: list[str] = []


def normal_scales(p: Tensor, q: Tensor) -> Tensor:
    """(r**2 - 1)/2 - log r for r = p/q."""
    return settle(_scales, _near_scales, p, q, everywhere=False)


def _scales(p: Tensor, q: Tensor) -> Tensor:
    """e + e**2/2 - log(1 + e) for e = r - 1, and log r as -log(1 + (q-p)/p): for a large r it matters little."""
    gap = q - p
    e = gap / q
    return torch.addcmul((gap / p).log1p() - e, e, e, value=0.5)


def _near_scales(p: Tensor, q: Tensor) -> Tensor:
    e = (p - q) / q
    return torch.addcmul(log_excess(q, p), e, e, value=0.5)


def normals(gap: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """KL of normal laws with the scales p and q, their locs apart by the gap."""
    return settle(_plain_normals, _near_normals, gap, p, q, everywhere=False)


def _plain_normals(gap: Tensor, p: Tensor, q: Tensor) -> Tensor:
    z = gap / q
    return torch.addcmul(_scales(p, q), z, z, value=0.5)


def _near_normals(gap: Tensor, p: Tensor, q: Tensor) -> Tensor:
    z = gap / q
    return torch.addcmul(_near_scales(p, q), z, z, value=0.5)


@register_kl(Normal, Normal)
@register_kl(LogNormal, LogNormal)
def _normal_normal(p: Normal | LogNormal, q: Normal | LogNormal) -> Tensor:
    return normals(p.loc - q.loc, p.scale, q.scale)


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

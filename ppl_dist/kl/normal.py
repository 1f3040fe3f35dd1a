"""Closed forms among the normal and Cauchy families."""

from __future__ import annotations

import torch
from torch import Tensor

from ..families.cauchy import Cauchy, HalfCauchy
from ..families.multivariate import MultivariateNormal
from ..families.normal import HalfNormal, LogNormal, Normal
from ..shapes import broadcast_shapes
from .registry import register_kl

__all__: list[str] = []


def normal_scales(p: Tensor, q: Tensor) -> Tensor:
    """The divergence of two normal laws with one mean and the scales p and q."""
    ratio = p / q
    # (r^2 - 1)/2 - log r, with r - 1 factored so that equal scales give an exact zero
    return 0.5 * (ratio - 1) * (ratio + 1) - ratio.log()


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


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_multivariate(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: event shapes differ: {tuple(p.event_shape)}, {tuple(q.event_shape)}. They must be equal."
        )
    batch = broadcast_shapes([p.batch_shape, q.batch_shape])
    whitened: Tensor = torch.linalg.solve_triangular(q.scale_tril, p.scale_tril, upper=False).expand(
        batch + p.loc.shape[-1:] * 2
    )
    gap: Tensor = torch.linalg.solve_triangular(q.scale_tril, (p.loc - q.loc).unsqueeze(-1), upper=False).squeeze(-1)
    diagonal = whitened.diagonal(dim1=-2, dim2=-1)
    # the trace of the product of both matrices is the sum of squares of the whitened factor
    below = whitened.tril(-1).square().sum((-2, -1))
    scales = (0.5 * (diagonal - 1) * (diagonal + 1) - diagonal.log()).sum(-1)
    return scales + 0.5 * (below + gap.square().sum(-1))

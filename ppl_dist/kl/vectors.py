"""Closed forms of normal vectors and of ordered categories."""

from __future__ import annotations

import math

from torch import Tensor

from ..distribution import Distribution
from ..families.gaussian import GaussianRandomWalk, ZeroSumNormal
from ..families.logistic_normal import LogisticNormal
from ..families.ordinal import OrderedLogistic
from .normal import normal_scales
from .registry import kl_divergence, register_kl

__all__: list[str] = []


def _same_event(p: Distribution, q: Distribution) -> None:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: event shapes differ: {tuple(p.event_shape)}, {tuple(q.event_shape)}. They must be equal."
        )


@register_kl(LogisticNormal, LogisticNormal)
def _logistic_normal(p: LogisticNormal, q: LogisticNormal) -> Tensor:
    _same_event(p, q)
    return kl_divergence(p.base_dist, q.base_dist)  # a bijection changes no divergence


@register_kl(GaussianRandomWalk, GaussianRandomWalk)
def _walk_walk(p: GaussianRandomWalk, q: GaussianRandomWalk) -> Tensor:
    _same_event(p, q)
    return p.num_steps * normal_scales(p.scale, q.scale)


@register_kl(ZeroSumNormal, ZeroSumNormal)
def _zero_sum(p: ZeroSumNormal, q: ZeroSumNormal) -> Tensor:
    _same_event(p, q)
    return math.prod([n - 1 for n in p.event_shape]) * normal_scales(p.scale, q.scale)


@register_kl(OrderedLogistic, OrderedLogistic)
def _ordered_ordered(p: OrderedLogistic, q: OrderedLogistic) -> Tensor:
    k, n = p.cutpoints.shape[-1], q.cutpoints.shape[-1]
    if k != n:
        raise ValueError(f"kl_divergence: the numbers of categories differ: {k + 1}, {n + 1}. They must be equal.")
    left, right = p.logits, q.logits
    return (left.exp() * (left - right)).sum(-1)

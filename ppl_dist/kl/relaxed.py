"""Divergences of logistic and relaxed laws, and of counts with random chances."""

from __future__ import annotations

import torch
from torch import Tensor

from ..families.laplace import Logistic
from ..families.multinomial import DirichletMultinomial, expected_log_share
from ..families.relaxed import LogitRelaxedBernoulli, RelaxedBernoulli
from ..shapes import broadcast_shapes
from ..special.smoothing import mean_stretch
from .registry import kl_divergence, register_kl

__all__: list[str] = []


def _between_logistic(shift: Tensor, ratio: Tensor) -> Tensor:
    """What the right side says of a draw of the left, at shift + ratio t, is an integral over the standard law of t."""
    return (mean_stretch(shift, ratio) - 2).to(ratio.dtype) - ratio.log()


@register_kl(Logistic, Logistic)
def _logistic_logistic(p: Logistic, q: Logistic) -> Tensor:
    return _between_logistic((p.loc - q.loc) / q.scale, p.scale / q.scale)


@register_kl(LogitRelaxedBernoulli, LogitRelaxedBernoulli)
def _logit_logit(p: LogitRelaxedBernoulli, q: LogitRelaxedBernoulli) -> Tensor:
    ratio = q.temperature / p.temperature
    return _between_logistic(ratio * p.logits - q.logits, ratio)


@register_kl(RelaxedBernoulli, RelaxedBernoulli)
def _relaxed_relaxed(p: RelaxedBernoulli, q: RelaxedBernoulli) -> Tensor:
    """Both are the same function of their logits."""
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(DirichletMultinomial, DirichletMultinomial)
def _dirichlet_multinomial(p: DirichletMultinomial, q: DirichletMultinomial) -> Tensor:
    """Counts of different totals have no value in common."""
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: event shapes differ: {tuple(p.event_shape)}, {tuple(q.event_shape)}. They must be equal."
        )
    batch = broadcast_shapes([p.batch_shape, q.batch_shape])
    p, q = p.expand(batch), q.expand(batch)
    seen = expected_log_share(p, p.concentration) - expected_log_share(p, q.concentration)
    gap = p._normalizer(p.concentration) - q._normalizer(q.concentration) + seen
    return torch.where(p.total_count == q.total_count, gap, torch.inf)

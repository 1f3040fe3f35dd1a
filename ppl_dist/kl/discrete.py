"""Closed forms with a countable left side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..distribution import Distribution
from ..families.bernoulli import Bernoulli
from ..families.categorical import Categorical
from ..families.delta import Delta
from ..families.poisson import Poisson
from ..shapes import broadcast_shapes
from ..special import deviance
from .registry import register_kl

__all__: list[str] = []


def anywhere(q: Any, value: Tensor) -> Tensor:
    """log q(value), -inf outside the support whatever the validation setting; imperative classes answer themselves."""
    derived = type(q).log_prob is Distribution.log_prob
    log_prob: Tensor = q._log_prob_anywhere(value) if derived else q.log_prob(value)
    return log_prob


@register_kl(Bernoulli, Bernoulli)
@register_kl(Bernoulli, Categorical)
@register_kl(Bernoulli, Poisson)
@register_kl(Bernoulli, Delta)
@register_kl(Categorical, Categorical)
@register_kl(Categorical, Bernoulli)
@register_kl(Categorical, Poisson)
@register_kl(Categorical, Delta)
def _finite(p: Any, q: Any) -> Tensor:
    """The sum over the support of p; a value without mass adds nothing, whatever q says."""
    p = p.expand(broadcast_shapes([p.batch_shape, q.batch_shape]))  # so that the values stand left of q's batch
    values = p.enumerate_support(expand=False)
    log_p: Tensor = p._log_prob(values)
    occurs = log_p > -torch.inf
    log_q = anywhere(q, values.to(p.probs.dtype))
    gap: Tensor = torch.where(occurs, log_p, 0.0) - torch.where(occurs, log_q, 0.0)
    return (log_p.exp() * gap).sum(0)


@register_kl(Poisson, Poisson)
def _poisson_poisson(p: Poisson, q: Poisson) -> Tensor:
    positive = q.rate > 0
    value = deviance(p.rate, torch.where(positive, q.rate, 1.0))
    return torch.where(positive, value, torch.where(p.rate > 0, torch.inf, 0.0))


@register_kl(Poisson, Bernoulli)
@register_kl(Poisson, Categorical)
@register_kl(Poisson, Delta)
def _poisson_finite(p: Poisson, q: Any) -> Tensor:
    """Infinite, but for a rate of zero, where all mass is at 0."""
    at_zero = -anywhere(q, torch.zeros_like(p.rate))
    return torch.where(p.rate > 0, torch.inf, at_zero)


@register_kl(Delta, Distribution)
def _delta_any(p: Delta, q: Any) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: event shapes differ: {tuple(p.event_shape)}, {tuple(q.event_shape)}. They must be equal."
        )
    return p.log_density - anywhere(q, p.v)

"""Closed forms, and finite sums, among families of counts and of unit vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..families.counting import log_masses
from ..families.counts import Binomial, GammaPoisson, Geometric, NegativeBinomial, log_ratio_gap
from ..families.finite import BetaBinomial, DiscreteUniform
from ..families.multinomial import Multinomial
from ..families.onehot import OneHotCategorical
from ..shapes import broadcast_shapes
from .registry import kl_divergence, register_kl

__all__: list[str] = []


def _gain(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """p (log p - log q), 0 where p is 0."""
    occurs = p > 0
    return p * (torch.where(occurs, log_p, 0.0) - torch.where(occurs, log_q, 0.0))


def _trial(p: Any, q: Any) -> Tensor:
    """KL of one trial."""
    one, zero = torch.ones_like(p._given()), torch.zeros_like(p._given())
    gain = _gain(p.probs, p._trials(one, zero), q._trials(one, zero))
    return gain + _gain(p._failure(), p._trials(zero, one), q._trials(zero, one))


@register_kl(Geometric, Geometric)
def _geometric_geometric(p: Geometric, q: Geometric) -> Tensor:
    return _trial(p, q) / p.probs


@register_kl(Binomial, Binomial)
def _binomial_binomial(p: Binomial, q: Binomial) -> Tensor:
    n, m = p.total_count, q.total_count
    if torch.equal(*torch.broadcast_tensors(n, m)):  # type: ignore[no-untyped-call]  # torch's gap
        return n * _trial(p, q)
    return _summed(p, q)


@register_kl(BetaBinomial, BetaBinomial)
def _summed(p: Any, q: Any) -> Tensor:
    """The sum over 0 ... n; infinite where p counts further than q."""
    batch = broadcast_shapes([p.batch_shape, q.batch_shape])
    log_p, log_q = log_masses(p.expand(batch)), log_masses(q.expand(batch))
    missing = log_p.shape[0] - log_q.shape[0]
    if missing > 0:
        log_q = torch.cat([log_q, log_q.new_full((missing, *batch), -torch.inf)])
    return _gain(log_p.exp(), log_p, log_q[: len(log_p)]).sum(0)


@register_kl(NegativeBinomial, NegativeBinomial)
def _negative_negative(p: NegativeBinomial, q: NegativeBinomial) -> Tensor:
    mean, one = p.mean, torch.ones_like(p.total_count)
    zero = torch.zeros_like(one)
    trials = _gain(mean, p._trials(one, zero), q._trials(one, zero))
    rest = p._trials(zero, p.total_count) - q._trials(zero, q.total_count)
    return trials + rest - log_ratio_gap(p.total_count, q.total_count, p._odds()).to(rest.dtype)


@register_kl(GammaPoisson, GammaPoisson)
def _gammapoisson_gammapoisson(p: GammaPoisson, q: GammaPoisson) -> Tensor:
    return kl_divergence(p._counts, q._counts)


@register_kl(GammaPoisson, NegativeBinomial)
def _gammapoisson_negative(p: GammaPoisson, q: NegativeBinomial) -> Tensor:
    return kl_divergence(p._counts, q)


@register_kl(NegativeBinomial, GammaPoisson)
def _negative_gammapoisson(p: NegativeBinomial, q: GammaPoisson) -> Tensor:
    return kl_divergence(p, q._counts)


@register_kl(DiscreteUniform, DiscreteUniform)
def _uniform_uniform(p: DiscreteUniform, q: DiscreteUniform) -> Tensor:
    contained = (q.low <= p.low) & (q.high >= p.high)
    return torch.where(contained, q.entropy() - p.entropy(), torch.inf)


@register_kl(OneHotCategorical, OneHotCategorical)
def _onehot_onehot(p: Any, q: Any) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: event shapes differ: {tuple(p.event_shape)}, {tuple(q.event_shape)}. They must be equal."
        )
    return _gain(p.probs, p.logits, q.logits).sum(-1)


@register_kl(Multinomial, Multinomial)
def _multinomial_multinomial(p: Multinomial, q: Multinomial) -> Tensor:
    """Counts of different totals have no value in common."""
    each = _onehot_onehot(p, q)
    return torch.where(p.total_count == q.total_count, p.total_count * each, torch.inf)

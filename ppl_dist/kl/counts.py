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
from ..families.poisson import Poisson
from ..shapes import broadcast_shapes
from .discrete import categories, excess_mass, trial
from .registry import kl_divergence, register_kl, require_equal_events

__all__: list[str] = []


@register_kl(Geometric, Geometric)
def _geometric_geometric(p: Geometric, q: Geometric) -> Tensor:
    return trial(p, q) / p.probs


@register_kl(Binomial, Binomial)
def _binomial_binomial(p: Binomial, q: Binomial) -> Tensor:
    n, m = p.total_count, q.total_count
    if torch.equal(*torch.broadcast_tensors(n, m)):  # type: ignore[no-untyped-call]  # torch's gap
        return n * trial(p, q)
    return _summed(p, q)


@register_kl(BetaBinomial, BetaBinomial)
def _summed(p: Any, q: Any) -> Tensor:
    """The sum over 0 ... n for the larger n; infinite where p counts further than q."""
    batch = broadcast_shapes([p.batch_shape, q.batch_shape])
    log_p, log_q = log_masses(p.expand(batch)), log_masses(q.expand(batch))
    size = max(len(log_p), len(log_q))
    log_p, log_q = (torch.cat([v, v.new_full((size - len(v), *batch), -torch.inf)]) for v in (log_p, log_q))
    return excess_mass(log_p, log_q).sum(0)


@register_kl(NegativeBinomial, NegativeBinomial)
def _negative_negative(p: NegativeBinomial, q: NegativeBinomial) -> Tensor:
    """That of as many trials as there are on average until r failures, and what other numbers of failures add."""
    r, s = p.total_count, q.total_count
    trials = r / p._failure() * trial(p, q)
    rest = q._trials(torch.zeros_like(s), r - s)
    return trials + rest - log_ratio_gap(r, s, p._odds()).to(rest.dtype)


@register_kl(Geometric, NegativeBinomial)
def _geometric_negative(p: Geometric, q: NegativeBinomial) -> Tensor:
    return kl_divergence(_failures(p), q)


@register_kl(NegativeBinomial, Geometric)
def _negative_geometric(p: NegativeBinomial, q: Geometric) -> Tensor:
    return kl_divergence(p, _failures(q))


def _failures(d: Geometric) -> NegativeBinomial:
    """The same law: one success to wait for, where the other family counts successes until r failures."""
    return NegativeBinomial(torch.ones_like(d._given()), logits=-d.logits, validate_args=False)


@register_kl(Poisson, Geometric)
def _poisson_geometric(p: Poisson, q: Geometric) -> Tensor:
    return -q._trials(torch.ones_like(p.rate), p.rate) - p.entropy()


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
    require_equal_events(p, q)
    return categories(p.logits, q.logits)


@register_kl(Multinomial, Multinomial)
def _multinomial_multinomial(p: Multinomial, q: Multinomial) -> Tensor:
    """Counts of different totals have no value in common."""
    each = _onehot_onehot(p, q)
    draws = torch.where(p.total_count > 0, p.total_count * torch.where(p.total_count > 0, each, 0.0), 0.0)
    return torch.where(p.total_count == q.total_count, draws, torch.inf)


def _single(d: OneHotCategorical) -> Multinomial:
    return Multinomial(torch.ones_like(d.probs[..., 0]), logits=d.logits, validate_args=False)


@register_kl(OneHotCategorical, Multinomial)
def _onehot_multinomial(p: OneHotCategorical, q: Multinomial) -> Tensor:
    return kl_divergence(_single(p), q)


@register_kl(Multinomial, OneHotCategorical)
def _multinomial_onehot(p: Multinomial, q: OneHotCategorical) -> Tensor:
    return kl_divergence(p, _single(q))

"""Closed forms, and finite sums, with a countable left side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..combine.masked import MaskedDistribution
from ..distribution import Distribution
from ..families.bernoulli import Bernoulli
from ..families.categorical import Categorical
from ..families.counting import log_masses
from ..families.counts import Binomial, GammaPoisson, Geometric, NegativeBinomial
from ..families.finite import BetaBinomial, DiscreteUniform
from ..families.poisson import Poisson
from ..shapes import broadcast_shapes
from ..special import deviance, expm1mx
from ..validation import validating
from ..values import extremes
from .registry import register_kl
from .settle import Formula, settle

__all__: list[str] = []


def anywhere(q: Any, value: Tensor) -> Tensor:
    """log q(value), -inf outside the support whatever the validation setting; imperative classes answer themselves."""
    if type(q)._log_prob is not Distribution._log_prob and not isinstance(q, MaskedDistribution):
        log_prob: Tensor = q._log_prob_anywhere(value)
        return log_prob
    with validating(False):
        log_prob = q.log_prob(value)
    return log_prob


def excess_mass(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p log(p/q) + q - p >= 0, point by point, for masses given by their logarithms.

    Summed over everything that either side can take it is the divergence, and where the two sides are nearly equal
    the terms do not cancel, as those of p log(p/q) do.
    """
    occurs = log_p > -torch.inf
    log_p = torch.where(occurs, log_p, 0.0)
    p, q, u = log_p.exp(), log_q.exp(), log_q - log_p
    far = u > 1  # exp(u) may overflow
    value = torch.where(far, q - p - p * torch.where(far, u, 0.0), p * expm1mx(torch.where(far, 0.0, u)))
    value = torch.where(log_q > -torch.inf, value, torch.inf)
    return torch.where(occurs, value, q)


@register_kl(Bernoulli, Bernoulli)
def trial(p: Any, q: Any) -> Tensor:
    """KL of one trial of two families with `probs` or `logits`: the terms of success and of failure."""
    left, right = "logits" in p.__dict__, "logits" in q.__dict__
    plain, careful = _TRIALS[left, right]
    return settle(plain, careful, p._given(), q._given(), everywhere=False)


def _log_chances(given: Tensor, *, logits: bool) -> tuple[Tensor, Tensor]:
    return (logsigmoid(given), logsigmoid(-given)) if logits else (given.log(), (-given).log1p())


def _trial_formulas(left: bool, right: bool) -> tuple[Formula, Formula]:
    def plain(given: Tensor, other: Tensor) -> Tensor:
        # p (exp(u) - 1 - u) for the gap u of log chances: its rounding, which is first order, comes multiplied by u
        if left and right:
            p, rest = given.sigmoid(), (-given).sigmoid()
            u = logsigmoid(other) - logsigmoid(given)
            v = u - (other - given)
        else:
            p, rest = (given.sigmoid(), (-given).sigmoid()) if left else (given, 1 - given)
            (a, b), (c, d) = _log_chances(given, logits=left), _log_chances(other, logits=right)
            u, v = c - a, d - b
        return torch.addcmul(p * (u.expm1() - u), rest, v.expm1() - v)

    def careful(given: Tensor, other: Tensor) -> Tensor:
        (a, b), (c, d) = _log_chances(given, logits=left), _log_chances(other, logits=right)
        return excess_mass(a, c) + excess_mass(b, d)

    return plain, careful


_TRIALS = {(left, right): _trial_formulas(left, right) for left in (True, False) for right in (True, False)}


@register_kl(Categorical, Categorical)
def _categorical_categorical(p: Categorical, q: Categorical) -> Tensor:
    """Infinite where p counts further than q."""
    log_p, log_q = p.logits, q.logits
    if log_p.shape[-1] != log_q.shape[-1]:
        width = max(log_p.shape[-1], log_q.shape[-1])
        log_p, log_q = (torch.nn.functional.pad(v, (0, width - v.shape[-1]), value=-torch.inf) for v in (log_p, log_q))
    return categories(log_p, log_q)


def categories(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL of laws over the categories along the last dimension, by their log masses."""
    return settle(_plain_categories, _near_categories, log_p, log_q, everywhere=False)


def _plain_categories(log_p: Tensor, log_q: Tensor) -> Tensor:
    u = log_q - log_p
    return (log_p.exp() * (u.expm1() - u)).sum(-1)


def _near_categories(log_p: Tensor, log_q: Tensor) -> Tensor:
    return excess_mass(log_p, log_q).sum(-1)


def _table(d: Any, batch: torch.Size) -> tuple[Tensor, Tensor]:
    """Values and their log masses along a new leading dimension; counts of several lengths share one table."""
    d = d.expand(batch)
    if hasattr(d, "total_count"):
        log_mass = log_masses(d)
        counts = torch.arange(len(log_mass), dtype=log_mass.dtype, device=log_mass.device)
        return counts.reshape((-1,) + (1,) * len(batch)), log_mass
    if isinstance(d, DiscreteUniform):
        steps = torch.arange(int((d.high - d.low).max().item()) + 1, dtype=d.low.dtype, device=d.low.device)
        values = d.low + steps.reshape((-1,) + (1,) * len(batch))
        return values, anywhere(d, values)
    values = d.enumerate_support(expand=False)
    return values.to(d.probs.dtype), d._log_prob(values)


FINITE = (Bernoulli, Categorical, Binomial, BetaBinomial, DiscreteUniform)
UNBOUNDED = (Poisson, Geometric, NegativeBinomial, GammaPoisson)


def _finite(p: Any, q: Any) -> Tensor:
    """The sum over the support of p; a value without mass adds nothing, whatever q says."""
    batch = broadcast_shapes([p.batch_shape, q.batch_shape])
    values, log_p = _table(p, batch)
    occurs = log_p > -torch.inf
    log_q = anywhere(q, values)
    gap = torch.where(occurs, log_p, 0.0) - torch.where(occurs, log_q, 0.0)
    return (torch.where(occurs, log_p.exp(), 0.0) * gap).sum(0)


def _bounded_right(p: Any, q: Any) -> Tensor:
    """Infinite, unless all mass of p is at 0."""
    zero = torch.zeros(broadcast_shapes([p.batch_shape, q.batch_shape]), dtype=p.mean.dtype, device=p.mean.device)
    certain = anywhere(p, zero) == 0
    return torch.where(certain, -anywhere(q, zero), torch.inf)


for _left in FINITE:
    for _right in (*FINITE, *UNBOUNDED):
        if _left is not _right or _left is BetaBinomial:
            register_kl(_left, _right)(_finite)
for _wide in UNBOUNDED:
    for _right in FINITE:
        register_kl(_wide, _right)(_bounded_right)


@register_kl(Poisson, Poisson)
def _poisson_poisson(p: Poisson, q: Poisson) -> Tensor:
    seen = extremes(p.rate)
    scale = 1.0 if seen is None else seen[1]
    return settle(_plain_poisson, _near_poisson, p.rate, q.rate, scale=scale, everywhere=False)


def _plain_poisson(x: Tensor, m: Tensor) -> Tensor:
    return torch.addcmul(m - x, x, ((x - m) / m).log1p())


def _near_poisson(x: Tensor, m: Tensor) -> Tensor:
    positive = m > 0
    value = deviance(x, torch.where(positive, m, 1.0))
    return torch.where(positive, value, torch.where(x > 0, torch.inf, 0.0))

"""Divergences of distributions built around others, and the pairs that are infinite for every parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..combine.expanded import ExpandedDistribution
from ..combine.independent import Independent
from ..combine.inflated import ZeroInflated
from ..combine.masked import MaskedDistribution
from ..combine.transformed import TransformedDistribution
from ..distribution import Distribution
from ..exp_family import ExponentialFamily, bregman
from ..families.beta import Beta
from ..families.cauchy import Cauchy, HalfCauchy
from ..families.chi2 import InverseGamma
from ..families.delta import Delta
from ..families.extreme import Gumbel, Pareto, Weibull
from ..families.gamma import Exponential, Gamma
from ..families.kumaraswamy import Kumaraswamy
from ..families.laplace import Laplace, Logistic
from ..families.normal import HalfNormal, LogNormal, Normal
from ..families.uniform import Uniform
from ..shapes import broadcast_shapes, sum_rightmost
from .discrete import anywhere, excess_mass
from .registry import kl_divergence, missing, register_infinite, register_kl, require_equal_events

__all__: list[str] = []


@register_kl(Independent, Independent)
def _independent_independent(p: Independent, q: Independent) -> Tensor:
    """The sum over the dimensions that both move; the side that moves more keeps the others."""
    if p.event_dim != q.event_dim:
        n, m = p.reinterpreted_batch_ndims, q.reinterpreted_batch_ndims
        raise NotImplementedError(
            f"kl_divergence: both Independent must move the same number of dimensions, got {n} and {m}. "
            f"Try to_event({n}) on both."
        )
    both = min(p.reinterpreted_batch_ndims, q.reinterpreted_batch_ndims)
    inner = (d.base_dist.to_event(d.reinterpreted_batch_ndims - both) for d in (p, q))
    return sum_rightmost(kl_divergence(*inner), both)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed_transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    """A bijection changes no divergence: that of the bases."""
    if p.transforms != q.transforms or not all(transform.bijective for transform in p.transforms):
        raise NotImplementedError(
            f"{type(p).__name__} has no closed-form kl_divergence to {type(q).__name__}: the transforms must be "
            f"equal bijections, got {p.transforms} and {q.transforms}. Try an estimate: "
            f'kl_divergence(p, q, method="monte_carlo").'
        )
    try:
        inner = kl_divergence(p.base_dist, q.base_dist)
    except NotImplementedError as error:
        if p._spec.params:  # a family of its own: nobody has asked for its base
            raise missing(p, q) from error
        raise
    return sum_rightmost(inner, p.event_dim - p.base_dist.event_dim)


@register_kl(ExpandedDistribution, Distribution)
@register_kl(Distribution, ExpandedDistribution)
@register_kl(ExpandedDistribution, ExpandedDistribution)
def _expanded(p: Any, q: Any) -> Tensor:
    """That of the distributions inside, with the shape of those outside."""
    batch = broadcast_shapes([p.batch_shape, q.batch_shape])
    inner = (d.base_dist if isinstance(d, ExpandedDistribution) else d for d in (p, q))
    return kl_divergence(*inner).expand(batch)


@register_kl(MaskedDistribution, Distribution)
@register_kl(Distribution, MaskedDistribution)
@register_kl(MaskedDistribution, MaskedDistribution)
def _masked(p: Any, q: Any) -> Tensor:
    """That of the distributions inside where no mask is false, and 0 elsewhere."""
    counts: Tensor | bool = True
    inner = []
    for d in (p, q):
        masked = isinstance(d, MaskedDistribution)
        counts = counts & d._mask if masked else counts
        inner.append(d.base_dist if masked else d)
    value = kl_divergence(*inner)
    return torch.where(torch.as_tensor(counts, device=value.device), value, 0.0)


@register_kl(ExponentialFamily, ExponentialFamily)
def _bregman(p: ExponentialFamily, q: ExponentialFamily) -> Tensor:
    """Members of one family share the log-normaliser."""
    if type(p)._log_normalizer is not type(q)._log_normalizer:
        raise missing(p, q)
    require_equal_events(p, q)
    return bregman(p, q)


@register_kl(ZeroInflated, ZeroInflated)
def _inflated_inflated(p: ZeroInflated, q: ZeroInflated) -> Tensor:
    """From the bases': all terms but that of zero are theirs, scaled by what the gates leave."""
    zero = torch.zeros(broadcast_shapes([p.batch_shape, q.batch_shape]), dtype=p.gate.dtype, device=p.gate.device)
    log_p, log_q = anywhere(p.base_dist, zero), anywhere(q.base_dist, zero)
    (_, log_rest_p), (_, log_rest_q) = p._log_gates(), q._log_gates()
    rest_p, rest_q = p._rest(), q._rest()
    others = kl_divergence(p.base_dist, q.base_dist) - excess_mass(log_p, log_q)
    counts = torch.where(rest_p > 0, rest_p * torch.where(rest_p > 0, others, 0.0), 0.0)
    gates = -log_p.expm1() * excess_mass(log_rest_p, log_rest_q) + (log_p.exp() - log_q.exp()) * (rest_q - rest_p)
    return counts + gates + excess_mass(p._log_prob(zero), q._log_prob(zero))


@register_kl(Delta, Distribution)
def _delta_any(p: Delta, q: Any) -> Tensor:
    require_equal_events(p, q)
    return p.log_density - anywhere(q, p.v)


@register_kl(Distribution, Delta)
def _any_delta(p: Any, q: Delta) -> Tensor:
    """A density gives a point no mass; a discrete law may have all of its mass there."""
    require_equal_events(p, q)
    batch = broadcast_shapes([p.batch_shape, q.batch_shape])
    if not p.is_discrete:
        return torch.full(batch, torch.inf, dtype=q.log_density.dtype, device=q.log_density.device)
    return torch.where(anywhere(p, q.v) == 0, -q.log_density, torch.inf).expand(batch)


_REAL: list[type[Distribution]] = [Normal, Cauchy, Laplace, Logistic, Gumbel]
_POSITIVE: list[type[Distribution]] = [HalfNormal, HalfCauchy, LogNormal, Gamma, Exponential, Weibull, InverseGamma]
_BOUNDED: list[type[Distribution]] = [Beta, Uniform, Kumaraswamy]

# the right support does not hold the left one
for _left in _REAL:
    register_infinite(_left, *_POSITIVE, Pareto, *_BOUNDED)
for _left in _POSITIVE:
    register_infinite(_left, Pareto, *_BOUNDED)
register_infinite(Pareto, *_BOUNDED)
register_infinite(Beta, Pareto)
register_infinite(Kumaraswamy, Pareto)
# the left side has no mean, or no mean of 1/x
register_infinite(Cauchy, Normal, Laplace, Logistic, Gumbel)
register_infinite(HalfCauchy, Normal, HalfNormal, Gamma, Exponential, Laplace, Logistic, Gumbel, InverseGamma)

"""Divergences of distributions built around others, and the pairs that are infinite for every parameter."""

from __future__ import annotations

from torch import Tensor

from ..combine.independent import Independent
from ..combine.transformed import TransformedDistribution
from ..distribution import Distribution
from ..families.beta import Beta, Dirichlet
from ..families.cauchy import Cauchy, HalfCauchy
from ..families.delta import Delta
from ..families.gamma import Exponential, Gamma
from ..families.multivariate import MultivariateNormal
from ..families.normal import HalfNormal, LogNormal, Normal
from ..families.uniform import Uniform
from ..shapes import sum_rightmost
from .registry import kl_divergence, register_infinite, register_kl

__all__: list[str] = []


@register_kl(Independent, Independent)
def _independent_independent(p: Independent, q: Independent) -> Tensor:
    n = p.reinterpreted_batch_ndims
    if n != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            f"kl_divergence: both Independent must move the same number of dimensions, got {n} and "
            f"{q.reinterpreted_batch_ndims}. Try to_event({n}) on both."
        )
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), n)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed_transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    """A bijection changes no divergence: that of the bases."""
    if p.transforms != q.transforms or not all(transform.bijective for transform in p.transforms):
        raise NotImplementedError(
            f"{type(p).__name__} has no closed-form kl_divergence to {type(q).__name__}: the transforms must be "
            f"equal bijections, got {p.transforms} and {q.transforms}. Try a Monte Carlo estimate: "
            f"(p.log_prob(x) - q.log_prob(x)).mean()."
        )
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.event_dim - p.base_dist.event_dim)


_REAL: list[type[Distribution]] = [Normal, Cauchy]
_POSITIVE: list[type[Distribution]] = [HalfNormal, HalfCauchy, LogNormal, Gamma, Exponential]
_BOUNDED: list[type[Distribution]] = [Beta, Uniform]

# the right support does not hold the left one
for _left in _REAL:
    register_infinite(_left, *_POSITIVE, *_BOUNDED)
for _left in _POSITIVE:
    register_infinite(_left, *_BOUNDED)
# the left side has no mean, or no variance
register_infinite(Cauchy, Normal)
register_infinite(HalfCauchy, Normal, HalfNormal, Gamma, Exponential)
# a density gives a point no mass
for _left in [*_REAL, *_POSITIVE, *_BOUNDED, MultivariateNormal, Dirichlet]:
    register_infinite(_left, Delta)

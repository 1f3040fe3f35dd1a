"""Closed forms among the multivariate normal families, whatever form the covariance has.

With V = M M^T and the other side's covariance U, the divergence is a sum over the scale and over the gap of the
means: [tr(U^-1 V) - n - log det(U^-1 V)] / 2 + (m - k)^T U^-1 (m - k) / 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..combine.independent import Independent
from ..distribution import Distribution
from ..families.lowrank import LowRankMultivariateNormal
from ..families.matrices import log_diagonal_sum
from ..families.multivariate import MultivariateNormal
from ..families.normal import Normal
from ..shapes import broadcast_shapes
from .registry import register_kl

__all__: list[str] = []


def check_events(p: Distribution, q: Distribution) -> None:
    """Raise where the two sides are over events of different sizes."""
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: event shapes differ: {tuple(p.event_shape)}, {tuple(q.event_shape)}. They must be equal."
        )


def scales(whitened: Tensor) -> Tensor:
    """[tr(W W^T) - n - log det(W W^T)] / 2 for a lower-triangular W; exactly zero where it is the identity."""
    diagonal = whitened.diagonal(dim1=-2, dim2=-1)
    below = whitened.tril(-1).square().sum((-2, -1))
    return (0.5 * (diagonal - 1) * (diagonal + 1) - diagonal.log()).sum(-1) + 0.5 * below


def _solve(factor: Tensor, columns: Tensor) -> Tensor:
    solved: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
    return solved


@register_kl(MultivariateNormal, MultivariateNormal)
def _full_full(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    check_events(p, q)
    gap = _solve(q.scale_tril, (p.loc - q.loc).unsqueeze(-1))
    return scales(_solve(q.scale_tril, p.scale_tril)) + 0.5 * gap.square().sum((-2, -1))


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _low_rank_full(p: LowRankMultivariateNormal, q: MultivariateNormal) -> Tensor:
    check_events(p, q)
    own = torch.diag_embed(p.cov_diag.sqrt())
    columns = _wide(p.cov_factor, own, (p.loc - q.loc).unsqueeze(-1))
    squares = _solve(q.scale_tril, columns).square().sum((-2, -1))
    log_ratio = log_diagonal_sum(q.scale_tril) - p.half_log_det()
    return log_ratio + 0.5 * (squares - p.loc.shape[-1])


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _full_low_rank(p: MultivariateNormal, q: LowRankMultivariateNormal) -> Tensor:
    check_events(p, q)
    squares = _squares(q, _wide(p.scale_tril, (p.loc - q.loc).unsqueeze(-1)))
    log_ratio = q.half_log_det() - log_diagonal_sum(p.scale_tril)
    return log_ratio + 0.5 * (squares - p.loc.shape[-1])


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _low_rank_low_rank(p: LowRankMultivariateNormal, q: LowRankMultivariateNormal) -> Tensor:
    check_events(p, q)
    squares = _squares(q, _wide(p.cov_factor, (p.loc - q.loc).unsqueeze(-1)))
    # the diagonal of the inverse, for what p has on its own: 1/d - |C^-1 W^T e_i / d|^2
    ratio = p.cov_diag / q.cov_diag
    own = ratio * (1 - _solve(q.inner_tril, q.whitened_factor().mT).square().sum(-2))
    log_ratio = q.half_log_det() - p.half_log_det()
    return log_ratio + 0.5 * (squares + (own - 1).sum(-1))


def _wide(*columns: Tensor) -> Tensor:
    """The columns of all of them side by side, their batches broadcast."""
    batch = broadcast_shapes([c.shape[:-2] for c in columns])
    return torch.cat([c.expand(batch + c.shape[-2:]) for c in columns], -1)


def _squares(q: LowRankMultivariateNormal, columns: Tensor) -> Tensor:
    """The sum of v^T U^-1 v over the columns v, by Woodbury's identity."""
    scaled = columns * q.cov_diag.rsqrt().unsqueeze(-1)
    return scaled.square().sum((-2, -1)) - _solve(q.inner_tril, q.whitened_factor().mT @ scaled).square().sum((-2, -1))


def _normal_base(d: Independent, other: Distribution) -> Normal:
    """The normal variables inside, where `d` is a vector of them."""
    if not isinstance(d.base_dist, Normal) or d.reinterpreted_batch_ndims != 1:
        raise NotImplementedError(
            f"kl_divergence between Independent and {type(other).__name__} needs one dimension of Normal variables, "
            f"got {d!r}. Try a Monte Carlo estimate: (p.log_prob(x) - q.log_prob(x)).mean()."
        )
    check_events(d, other)
    return d.base_dist


@register_kl(Independent, MultivariateNormal)
def _independent_full(p: Independent, q: MultivariateNormal) -> Tensor:
    base = _normal_base(p, q)
    gap = _solve(q.scale_tril, (base.loc - q.loc).unsqueeze(-1))
    return scales(_solve(q.scale_tril, torch.diag_embed(base.scale))) + 0.5 * gap.square().sum((-2, -1))


@register_kl(MultivariateNormal, Independent)
def _full_independent(p: MultivariateNormal, q: Independent) -> Tensor:
    base = _normal_base(q, p)
    gap = (p.loc - base.loc) / base.scale
    return scales(p.scale_tril / base.scale.unsqueeze(-1)) + 0.5 * gap.square().sum(-1)

"""Closed forms among distributions of covariance and of correlation matrices, within one family."""

from __future__ import annotations

import torch
from torch import Tensor

from ..families.lkj import LKJ, LKJCholesky
from ..families.matrices import log_diagonal_sum
from ..families.wishart import InverseWishart, Wishart, half_degrees
from .multivariate import check_events, scales
from .registry import register_kl

__all__: list[str] = []


def _wisharts(p_df: Tensor, q_df: Tensor, whitened: Tensor) -> Tensor:
    """KL of Wishart distributions; `whitened` is lower triangular, its square has det and trace of U^-1 V.

    The divergence of normal distributions v times, and that of the chi variables on the diagonal.
    """
    n = whitened.shape[-1]
    a, c = half_degrees(p_df, n), half_degrees(q_df, n)
    shapes = torch.lgamma(c) - torch.lgamma(a) + (a - c) * torch.digamma(a)
    return p_df * scales(whitened) + shapes.sum(-1) + (p_df - q_df) * log_diagonal_sum(whitened)


@register_kl(Wishart, Wishart)
def _wishart_wishart(p: Wishart, q: Wishart) -> Tensor:
    check_events(p, q)
    return _wisharts(p.df, q.df, torch.linalg.solve_triangular(q.scale_tril, p.scale_tril, upper=False))


@register_kl(InverseWishart, InverseWishart)
def _inverse_inverse(p: InverseWishart, q: InverseWishart) -> Tensor:
    """That of the inverses: no bijection changes a divergence."""
    check_events(p, q)
    return _wisharts(p.df, q.df, torch.linalg.solve_triangular(p.scale_tril, q.scale_tril, upper=False))


@register_kl(LKJ, LKJ)
@register_kl(LKJCholesky, LKJCholesky)
def _lkj_lkj(p: LKJ | LKJCholesky, q: LKJ | LKJCholesky) -> Tensor:
    check_events(p, q)
    log_det = p.mean_log_squares().sum(-1)
    return q.log_normalizer() - p.log_normalizer() + (p.concentration - q.concentration) * log_det

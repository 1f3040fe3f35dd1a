"""The divergence of two truncated normal distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from ..families.truncated import TruncatedNormal
from ..special import log_ndtr_between
from .registry import register_kl

__all__: list[str] = []


@register_kl(TruncatedNormal, TruncatedNormal)
def _truncatednormal_truncatednormal(p: TruncatedNormal, q: TruncatedNormal) -> Tensor:
    """-H(p) - E_p[log q], the second a quadratic in x; infinite where p reaches beyond the ends of q."""
    m, s, mode = (v.to(torch.float64) for v in (q.loc, q.scale, q.mode))
    _, log_integral = log_ndtr_between(*q._ends())
    mean, variance, entropy = (v.to(torch.float64) for v in (p.mean, p.variance, p.entropy()))
    # E_p[(x - m)^2 - (mode - m)^2], as log q is written
    square = (variance + (mean - mode) * (mean + mode - 2 * m)) / (s * s)
    inside = (p.low >= q.low) & (p.high <= q.high)
    return torch.where(inside, 0.5 * square + log_integral + s.log() - entropy, torch.inf).to(p.loc.dtype)

"""Means over a standard logistic variable t, by the trapezoidal rule.

For integrands analytic within pi of the real line its error is about exp(-2 pi**2 / h) for steps h (Trefethen and
Weideman 2014, "The exponentially convergent trapezoidal rule").
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_STEP = 0.4


def smoothed(f: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """E[f(t)]; `f` takes the nodes along a last dimension."""
    t = _STEP * torch.arange(-150, 151, dtype=like.dtype, device=like.device)
    return _STEP * (f(t) * t.sigmoid() * (-t).sigmoid()).sum(-1)


def smoothing(c: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether r > 1, and c and r as integrals over c + r t take them, with room for the nodes; they need r <= 1.

    By parts, twice where need be, r t and t change places: E[f(c + r t)] = E[f'(c / r + t / r)] r for a standard
    logistic t and f(-inf) = 0.
    """
    c, r = (v.to(torch.float64).unsqueeze(-1) for v in (c, r))
    steep = r > 1
    return steep, torch.where(steep, c / r, c), torch.where(steep, 1 / r, r)


def mean_stretch(c: Tensor, r: Tensor) -> Tensor:
    """E[-log s(z) - log s(-z)] for z = c + r t, s the logistic function, in float64."""
    steep, c_, r_ = smoothing(c, r)
    value = smoothed(lambda t: -logsigmoid(c_ + r_ * t) - logsigmoid(-c_ - r_ * t), c_)
    return value * torch.where(steep.squeeze(-1), r, 1.0)

"""Gauss-Legendre quadrature for log-concave integrands that start at their peak.

The incomplete gamma and beta integrals become such integrands after a change of variable (see `gamma` and
`beta`). One rule with a fixed number of nodes then serves every parameter, and being plain torch code it can be
differentiated to any order, in every argument, in reverse and forward mode, and traced or vmapped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from typing import Any

import torch
from torch import Tensor

CUTOFF = 38.0  # e^-38 is below the rounding of float64: what lies beyond the cutoff cannot be seen.


def gauss_legendre(n: int) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1], by Newton's method on the Legendre polynomial P_n.

    The last steps are made with more digits: those of the slope in doubles leave weights with an error of 1e-14.
    """
    nodes, weights = [], []
    with localcontext(Context(prec=30)):
        for k in range(n):
            t: Any = math.cos(math.pi * (k + 0.75) / (n + 0.5))
            for step in range(8):
                t = Decimal(t) if step == 6 else t
                below, here = t * 0 + 1, t
                for j in range(2, n + 1):
                    below, here = here, ((2 * j - 1) * t * here - (j - 1) * below) / j
                slope = n * (below - t * here) / (1 - t * t)
                t -= here / slope
            nodes.append(float((1 - t) / 2))
            weights.append(float(1 / ((1 - t * t) * slope * slope)))
    return nodes, weights


_NODES, _WEIGHTS = gauss_legendre(36)


def cutoff_guess(slope: Tensor, curvature: Tensor) -> Tensor:
    """Positive root v of `slope*v + curvature*v**2/2 = CUTOFF`, for slope, curvature >= 0 and not both zero."""
    return 2 * CUTOFF / (slope + torch.sqrt(slope * slope + 2 * CUTOFF * curvature))


def log_integral(exponent: Callable[[Tensor], Tensor], length: Tensor) -> Tensor:
    """Log of the integral of `exp(exponent(v))` over v in (0, length); `exponent` sees a trailing node dimension.

    `exponent` must be concave with exponent(0) = 0 and decrease to about -CUTOFF at `length`.
    """
    nodes, weights = panel(length)
    return torch.log((torch.exp(exponent(nodes)) * weights).sum(-1))


def panel(length: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes in (0, length) along a new last dimension, and their weights."""
    nodes, weights = (torch.tensor(v, dtype=length.dtype, device=length.device) for v in (_NODES, _WEIGHTS))
    return length.unsqueeze(-1) * nodes, length.unsqueeze(-1) * weights


def tanh_sinh(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes p in (0, 1) with 1 - p and the weights: the integral over (0, 1) of what may grow at both ends.

    Takahasi and Mori (1974), "Double exponential formulas for numerical integration": p = 1 / (1 + exp(-pi sinh t)),
    by trapezoids in t. The nodes come within 1e-60 of the ends.
    """
    h = 1 / 16
    t = torch.arange(-72, 73, dtype=torch.float64, device=like.device) * h
    p, q = torch.sigmoid(math.pi * t.sinh()), torch.sigmoid(-math.pi * t.sinh())
    return p, q, h * math.pi * t.cosh() * p * q

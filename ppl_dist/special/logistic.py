"""The logistic function to the last of its digits, and means of logistic functions of a normal variable Z = m + s e.

The means are taken by the trapezoidal rule, which converges geometrically in strips where the integrand is analytic
(Trefethen and Weideman 2014, "The exponentially convergent trapezoidal rule", theorem 5.1); the logistic function F
has its poles at odd multiples of i pi. For s < 1 the noise e is integrated over. Beyond that its poles would come
close, and the mean is integrated by parts, E[g(Z)] = int g'(t) P(Z > t) dt, with nodes around the peak of the
integrand.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..values import lowest
from .normal import ndtr

_STEP = 0.4
_NARROW, _WIDE = 30, 100  # nodes to either side: as far as 12 standard deviations, and as e^-40


_FAR = -80.0  # exp(_FAR) is lost beside 1, and is a normal number


def expit(z: Tensor) -> Tensor:
    """1 / (1 + e^-z), also where it falls below the normal numbers: the library's is 0 as soon as e^-z overflows."""
    if lowest(z) > _FAR:
        return z.sigmoid()
    far = z < _FAR
    return torch.where(far, torch.where(far, z, _FAR).exp(), z.sigmoid())


def _nodes(reach: int, like: Tensor) -> Tensor:
    return _STEP * torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)


def _mean(
    m: Tensor, s: Tensor, narrow: Callable[[Tensor], Tensor], wide: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """The mean of narrow(Z); or the integral of wide(t, (m - t) / s, s) over t, where s >= 1."""
    m, s = m.unsqueeze(-1), s.unsqueeze(-1)
    small = s < 1
    e = _nodes(_NARROW, m)
    weights = torch.exp(-0.5 * e.square()) * (_STEP / math.sqrt(2 * math.pi))
    near = (narrow(m + torch.where(small, s, 0.5) * e) * weights).sum(-1)
    s = torch.where(small, 1.0, s)
    t = _nodes(_WIDE, m) + (m + s.square()).clamp(max=0.0).detach()
    far = wide(t, (m - t) / s, s).sum(-1) * _STEP
    return torch.where(small.squeeze(-1), near, far)


def _slope(t: Tensor) -> Tensor:
    return t.sigmoid() * (-t).sigmoid()


def sigmoid_moments(m: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """E[F(Z)], E[F(-Z)] and Var[F(Z)] for the logistic F, each to its own relative accuracy."""
    # the smaller of the two means, and the other as its complement; -|m| would have no slope at 0
    low = torch.where(m < 0, m, -m)
    mean = _mean(low, s, torch.sigmoid, lambda t, d, s: _slope(t) * ndtr(d))
    centred = _mean(
        low,
        s,
        lambda z: (z.sigmoid() - mean.unsqueeze(-1)).square(),
        lambda t, d, s: 2 * t.sigmoid() * _slope(t) * ndtr(d),
    )
    variance = torch.where(s < 1, centred, centred - mean.square())
    return torch.where(m < 0, mean, 1 - mean), torch.where(m < 0, 1 - mean, mean), variance


def softplus_mean(m: Tensor, s: Tensor) -> Tensor:
    """E[log(1 + e^Z)]."""

    def wide(t: Tensor, d: Tensor, s: Tensor) -> Tensor:
        density = torch.exp(-0.5 * d.square()) / math.sqrt(2 * math.pi)
        return _slope(t) * s * (density + d * ndtr(d))  # by parts twice: E[(Z - t)_+]

    return _mean(m, s, lambda z: -logsigmoid(-z), wide)

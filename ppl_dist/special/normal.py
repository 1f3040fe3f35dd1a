"""The standard normal distribution function, its logarithm and their inverses, accurate in both tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SQRT_HALF = math.sqrt(0.5)
_LOG_2PI = math.log(2 * math.pi)


def ndtr(x: Tensor) -> Tensor:
    """Standard normal distribution function.

    Through erfc on both sides: torch.special.ndtr takes 1 + erf and returns 0 below about -8.
    """
    wide = x.to(torch.float64)  # in float32 the rounding of x/sqrt(2) alone costs x^2 eps
    value: Tensor = 0.5 * torch.special.erfc(-_SQRT_HALF * wide)
    return value.to(x.dtype)


def log_ndtr(x: Tensor) -> Tensor:
    """Log of the standard normal distribution function."""
    wide = x.to(torch.float64)
    left = torch.where(wide < 0, wide, -1.0)
    right = torch.where(wide < 0, 1.0, wide)
    # Phi(x) = exp(-x^2/2) erfcx(-x/sqrt 2)/2: the scaled function does not underflow.
    log_left = torch.log(0.5 * torch.special.erfcx(-_SQRT_HALF * left)) - 0.5 * left * left
    log_right = torch.log1p(-0.5 * torch.special.erfc(_SQRT_HALF * right))
    return torch.where(wide < 0, log_left, log_right).to(x.dtype)


def ndtri(p: Tensor) -> Tensor:
    """Standard normal quantile of p in [0, 1]."""
    value: Tensor = torch.special.ndtri(p)
    return value


def _ndtri_exp_guess(log_p: Tensor) -> Tensor:
    """Root of `log_ndtr(x) = log_p` to a few units of rounding, for finite log_p < 0."""
    upper, lower = log_p > -0.5, log_p < -10.0
    tail = torch.where(upper, -torch.expm1(torch.where(upper, log_p, -1.0)), torch.exp(log_p.clamp(min=-12.0)))
    middle = torch.special.ndtri(tail)
    # -x^2/2 - log(-x) - log(2 pi)/2 ~ log_p, by fixed point and then Newton.
    target = -2 * torch.where(lower, log_p, -10.0) - _LOG_2PI
    square = target
    for _ in range(3):
        square = target - torch.log(square)
    far = -torch.sqrt(square)
    log_p_far = torch.where(lower, log_p, -10.0)
    for _ in range(3):
        log_cdf = log_ndtr(far)
        far = far + (log_p_far - log_cdf) * torch.exp(log_cdf + 0.5 * (far * far + _LOG_2PI))
    return torch.where(lower, far, torch.where(upper, -middle, middle))


def ndtri_exp(log_p: Tensor) -> Tensor:
    """Standard normal quantile of exp(log_p), log_p <= 0: the inverse of `log_ndtr`.

    The gradient comes from the inverse-function series around the root, exact up to second derivatives.
    """
    wide = log_p.to(torch.float64)
    inside = (wide < 0) & (wide > -math.inf)
    safe = torch.where(inside, wide, -1.0)
    root = _ndtri_exp_guess(safe.detach())
    log_cdf = log_ndtr(root)
    # Mills ratio Phi/phi = sqrt(pi/2) erfcx(-x/sqrt 2); beyond 37 erfcx overflows and log_p rounds to zero anyway.
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(-_SQRT_HALF * root)
    step = (safe - log_cdf) * mills
    value = root + step + 0.5 * (root + 1 / mills) * step * step
    edge = torch.where(wide == 0, math.inf, torch.where(wide == -math.inf, -math.inf, math.nan))
    return torch.where(inside, value, edge).to(log_p.dtype)

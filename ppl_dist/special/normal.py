"""The standard normal distribution function, its logarithm and their inverses, accurate in both tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..values import extremes, known
from .quadrature import gauss_legendre

_SQRT_HALF = math.sqrt(0.5)
_SQRT_HALF_PI = math.sqrt(0.5 * math.pi)
_LOG_2PI = math.log(2 * math.pi)
# Gauss-Legendre to 1e-17, where the exponent falls by less than _NARROW
_NODES, _WEIGHTS = gauss_legendre(5)
_NARROW = 0.2
_SQRT_2 = math.sqrt(2.0)
_MANY = 1000  # entries: fewer are done before a second pass begins
_BODY = 1e-3


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
    value: Tensor
    if p.dtype is torch.float32 and p.numel() >= _MANY:
        seen = extremes(p)
        if seen is not None and seen[0] >= _BODY and seen[1] <= 1 - _BODY:  # 2p - 1 leaves six digits of the tail
            value = _SQRT_2 * torch.erfinv(2 * p - 1)
            return value
    value = torch.special.ndtri(p)
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


def log_ndtr_between(low: Tensor, high: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """`ndtr_between` with the logarithm of the integral."""
    r, integral = ndtr_between(low, high, width)
    return r, integral.log()


def ndtr_between(low: Tensor, high: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """(r, the integral of exp((r**2 - z**2) / 2) over low < z < high), r the distance of the interval from 0.

    The standard normal probability of the interval is exp(-r**2 / 2) / sqrt(2 pi) times the integral, which neither
    underflows far out nor cancels where the interval is narrow. `width` is high - low, given apart because the
    difference of two rounded ends would lose it. Takes finite doubles: 1e100 stands for infinity.
    """
    mirrored = low + high < 0
    near, far = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    around = near <= 0
    r = near.clamp(min=0)
    # both terms have one sign
    integral = _SQRT_HALF_PI * (torch.erf(_SQRT_HALF * far) - torch.erf(_SQRT_HALF * near.clamp(max=0)))
    if not known(around):
        drop = 0.5 * width * (r + far)
        tails = torch.special.erfcx(_SQRT_HALF * r) - torch.exp(-drop) * torch.special.erfcx(_SQRT_HALF * far)
        beside = torch.where(drop < _NARROW, _narrow_integral(r, width), _SQRT_HALF_PI * tails)
        integral = torch.where(around, integral, beside)
    return r, integral


def _narrow_integral(r: Tensor, width: Tensor) -> Tensor:
    """The integral of exp(-r t - t**2 / 2) over 0 < t < width."""
    nodes, weights = (torch.tensor(v, dtype=r.dtype, device=r.device) for v in (_NODES, _WEIGHTS))
    t = width.unsqueeze(-1) * nodes
    return width * (torch.exp(-t * (r.unsqueeze(-1) + 0.5 * t)) * weights).sum(-1)

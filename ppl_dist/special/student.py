"""Student's t distribution: its normaliser, its tail and the inverse, for df from 1e-8 to infinity.

T^2 / (df + T^2) follows the beta law with shapes 1/2 and df/2, whose incomplete function gives the tail, and whose
quantile the quantile. Everything is computed in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..values import extremes
from .beta import betaincc, log_betainc, logit_inverse
from .elementary import horner, log_share

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LOG_2 = math.log(2.0)
_NORMAL = 1e24  # as good as infinite: the logs of both densities differ by t^4/(4 df)
_FAR = 1e150  # where the square of a ratio is still a number
_CENTRE = 0.4

# lgamma(a + 1/2) - lgamma(a) - log(a)/2 in odd powers of 1/a, from Stirling's series at a and at a + 1/2
_HALF_STEP = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432, 691 / 180224)
_HALF_STEP_FROM = 10.0


def _low(a: Tensor) -> bool:
    """Whether a look shows that no entry needs the series."""
    seen = extremes(a)
    return seen is not None and seen[1] < _HALF_STEP_FROM


def half_step(a: Tensor) -> Tensor:
    """lgamma(a + 1/2) - lgamma(a) - log(a)/2, which goes to 0; the difference loses all digits for large a."""
    if _low(a):
        return torch.lgamma(a + 0.5) - torch.lgamma(a) - 0.5 * torch.log(a)
    large = a >= _HALF_STEP_FROM
    inverse = 1 / torch.where(large, a, _HALF_STEP_FROM)
    series = inverse * horner(inverse * inverse, _HALF_STEP)
    low = torch.where(large, 1.0, a)
    return torch.where(large, series, torch.lgamma(low + 0.5) - torch.lgamma(low) - 0.5 * torch.log(low))


def half_step_slope(a: Tensor) -> Tensor:
    """The derivative of `half_step`: digamma(a + 1/2) - digamma(a) - 1/(2 a)."""
    if _low(a):
        return torch.digamma(a + 0.5) - torch.digamma(a) - 0.5 / a
    large = a >= _HALF_STEP_FROM
    inverse = 1 / torch.where(large, a, _HALF_STEP_FROM)
    square = inverse * inverse
    series = -square * horner(square, [(2 * k + 1) * c for k, c in enumerate(_HALF_STEP)])
    low = torch.where(large, 1.0, a)
    return torch.where(large, series, torch.digamma(low + 0.5) - torch.digamma(low) - 0.5 / low)


def _log_density(df: Tensor, t: Tensor) -> Tensor:
    ratio = (t / df.sqrt()).abs()
    held = ratio.clamp(max=_FAR)  # beyond, 1 + ratio^2 is ratio^2 to all digits, and no number
    log_square = torch.log1p(held * held) + 2 * torch.log((t.abs() / _FAR / df.sqrt()).clamp(min=1.0))
    return half_step(0.5 * df) - _HALF_LOG_2PI - 0.5 * (df + 1) * log_square


def _log_density_slope(df: Tensor, t: Tensor) -> Tensor:
    """The derivative of the log density in t, for t that carries no gradient."""
    far = t.abs() > _FAR
    near_t, far_t = torch.where(far, 0.0, t), torch.where(far, t, 1.0)
    return -(df + 1) * torch.where(far, 1 / far_t, near_t / (df + near_t * near_t))


def _shares(df: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """df and t^2 over their sum, without the loss of either; t beyond 1e150 sqrt(df) is held there."""
    ratio = (t / df.sqrt()).abs().clamp(max=_FAR)
    square = ratio * ratio
    return 1 / (1 + square), square / (1 + square)


def _log_tail(df: Tensor, t: Tensor) -> Tensor:
    """log P(T > t) for t >= 0 that carries no gradient."""
    df, finite = df.clamp(max=_NORMAL), t < math.inf
    t = torch.where(finite, t, 0.0)
    beyond = torch.log((t / _FAR / df.sqrt()).clamp(min=1.0))  # there the tail is a power of t to all digits
    value = log_betainc(0.5 * df, torch.full_like(df, 0.5), *_shares(df, t)) - _LOG_2 - df * beyond
    return torch.where(finite, value, -math.inf)


def log_stdtr(df: Tensor, t: Tensor) -> Tensor:
    """log P(T <= t) for Student's t distribution, df > 0; differentiable in both arguments, twice in t."""
    dtype = torch.promote_types(df.dtype, t.dtype)
    df, t = torch.broadcast_tensors(df.to(torch.float64), t.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    return _log_cdf(df, t).to(dtype)


def stdtr(df: Tensor, t: Tensor) -> Tensor:
    """P(T <= t) for Student's t distribution, accurate in the lower tail."""
    dtype = torch.promote_types(df.dtype, t.dtype)
    df, t = torch.broadcast_tensors(df.to(torch.float64), t.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    return _cdf(df, t).to(dtype)


def _moves(df: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The density at t, its logarithm's slope, and t less itself: zero, with the gradient of t."""
    held = t.clamp(-1e150, 1e150)
    at = held.detach()
    df = df.clamp(max=_NORMAL)
    return _log_density(df, at), _log_density_slope(df, at), held - at


def _cdf(df: Tensor, t: Tensor) -> Tensor:
    tail = torch.exp(_log_tail(df, t.detach().abs()))
    value = torch.where(t < 0, tail, 1 - tail)
    log_density, bend, move = _moves(df, t)
    # the derivatives in t are known; those of |t| would be wrong at 0
    return value + torch.exp(log_density) * move * (1 + 0.5 * bend * move)


def _log_cdf(df: Tensor, t: Tensor) -> Tensor:
    tail = _log_tail(df, t.detach().abs())
    low = t < 0
    value = torch.where(low, tail, torch.log1p(-torch.exp(torch.where(low, -1.0, tail))))
    log_density, bend, move = _moves(df, t)
    slope = torch.exp(torch.where(value > -math.inf, log_density - value, -math.inf))
    return value + slope * move * (1 + 0.5 * (bend - slope) * move)


def _centre(df: Tensor, t: Tensor) -> Tensor:
    """P(0 < T < t) for t that carries no gradient, to full relative accuracy; odd in t."""
    return 0.5 * torch.sign(t) * betaincc(0.5 * df, torch.full_like(df, 0.5), *_shares(df, t))


def stdtrit(df: Tensor, p: Tensor) -> Tensor:
    """t with P(T <= t) = p: the quantile of Student's t distribution, for p in [0, 1].

    The gradients in both arguments come from the inverse-function series around the root, exact up to second
    derivatives.
    """
    dtype = torch.promote_types(df.dtype, p.dtype)
    df, p = torch.broadcast_tensors(df.to(torch.float64), p.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    inside = (p > 0) & (p < 1) & (df > 0)
    df, safe = torch.where(inside, df, 1.0).clamp(max=_NORMAL), torch.where(inside, p, 0.25)
    upper = safe > 0.5
    sign = torch.where(upper, -1.0, 1.0).to(torch.float64)
    smaller = torch.where(upper, 1 - safe, safe)
    log_tail = torch.log(smaller)
    root = -_root(df.detach(), smaller.detach())  # of the lower tail
    centre = (safe - 0.5).abs() < 0.5 - _CENTRE
    slope = _log_density_slope(df, root)
    log_density = _log_density(df, root)
    # in the tail the unknown of the series is the log of the probability, in the middle the probability
    log_cdf = _log_tail(df, root.abs())
    rise = torch.exp(log_density - log_cdf)
    step = (log_tail - log_cdf) / rise
    tail = sign * (root + step * (1 - 0.5 * ((slope - rise) * step)))
    middle_root = torch.where(centre, sign * root, 0.0)
    far = middle_root.abs() > _FAR * df.sqrt()
    within = torch.where(far, torch.sign(middle_root) * (0.5 - torch.exp(log_cdf)), _centre(df, middle_root))
    gap = (torch.where(centre, safe, 0.5) - 0.5 - within) * torch.exp(-log_density)
    middle = middle_root + gap * (1 - 0.5 * (sign * slope * gap))
    edge = torch.where(p == 0, -math.inf, torch.where(p == 1, math.inf, math.nan))
    return torch.where(inside, torch.where(centre, middle, tail), edge).to(dtype)


def _root(df: Tensor, tail: Tensor) -> Tensor:
    """t >= 0 with P(T > t) = tail <= 1/2."""
    middle = tail == 0.5
    beyond = torch.where(middle, 0.5, 2 * tail)
    within = torch.where(middle, 0.5, 1 - 2 * tail)
    logs = log_share(beyond, within), log_share(within, beyond)
    logit = logit_inverse(0.5 * df, torch.full_like(df, 0.5), *logs)
    root = torch.exp(0.5 * torch.log(df) - 0.5 * logit)
    return torch.where(middle, 0.0, root)

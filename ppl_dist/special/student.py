"""Student's t distribution: its normaliser, its tail and the inverse, for df from 1e-3 to infinity.

With t = sqrt(df) sinh(u) the density of u is proportional to cosh(u)^-df: concave in the logarithm, with exponential
tails, and

    log(cosh(u + v) / cosh(u)) = log1p(2 sinh(v/2)^2 + tanh(u) sinh(v))

holds its digits for every df. Gauss-Legendre quadrature does the rest, as in `gamma`; below df = 1000 the tail in v is
long, and the incomplete beta function is used. Everything is computed in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..values import extremes
from .beta import log_betainc
from .elementary import horner
from .normal import ndtri_exp
from .quadrature import CUTOFF, cutoff_guess, log_integral

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LOG_2 = math.log(2.0)
_LIGHT = 1000.0
_NORMAL = 1e24  # as good as infinite: the logs of both densities differ by t^4/(4 df)
_FAR = 1e100
_CENTRE = 0.4
_STEEP = 650.0  # sinh of more overflows when it is squared and scaled

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


def _log_light_tail(df: Tensor, t: Tensor) -> Tensor:
    """log P(T > t) for t >= 0 and df >= 1000."""
    ratio = t / df.sqrt()
    tanh = ratio / torch.sqrt(1 + ratio * ratio)
    df0, tanh0 = df.detach(), tanh.detach()
    length = cutoff_guess(df0 * tanh0, df0 * (1 - tanh0 * tanh0))
    for _ in range(3):  # Newton on the convex function -exponent
        e, half = torch.sinh(length), torch.sinh(0.5 * length)
        grown = 2 * half * half + tanh0 * e
        fall = df0 * torch.log1p(grown)
        length = length + (CUTOFF - fall) * (1 + grown) / (df0 * (e + tanh0 * (1 + 2 * half * half)))
    wide_df, wide_tanh = df.unsqueeze(-1), tanh.unsqueeze(-1)

    def exponent(v: Tensor) -> Tensor:
        half = torch.sinh(0.5 * v)
        return -wide_df * torch.log1p(2 * half * half + wide_tanh * torch.sinh(v))

    scale = half_step(0.5 * df) - _HALF_LOG_2PI + 0.5 * torch.log(df)
    return scale - 0.5 * df * torch.log1p(ratio * ratio) + log_integral(exponent, length)


def _log_tail(df: Tensor, t: Tensor) -> Tensor:
    """log P(T > t) for t >= 0 that carries no gradient."""
    light = df >= _LIGHT
    near = _log_light_tail(
        torch.where(light, df, _LIGHT).clamp(max=_NORMAL), torch.where(light, t, 1.0).clamp(max=_FAR)
    )
    heavy_df = torch.where(light, 1.0, df)
    ratio = torch.where(light, 1.0, t) / heavy_df.sqrt()
    held = ratio.clamp(max=_FAR)  # beyond, the tail is a power of t to all digits
    square = held * held
    x, y = 1 / (1 + square), square / (1 + square)
    half = torch.full_like(df, 0.5)
    beyond = torch.where(light, 1.0, t) / _FAR / heavy_df.sqrt()
    far = log_betainc(0.5 * heavy_df, half, x, y) - _LOG_2 - heavy_df * torch.log(beyond.clamp(min=1.0))
    return torch.where(t < math.inf, torch.where(light, near, far), -math.inf)


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
    slope = -(df + 1) * at / (df + at * at).clamp(max=1e300)
    return _log_density(df, at), slope, held - at


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
    """P(0 < T < t) for t near 0, to full relative accuracy; odd in t."""
    u = torch.asinh(t / df.sqrt())
    wide_df, length = df.unsqueeze(-1), torch.where(u == 0, 1.0, u.abs())
    mass = torch.exp(log_integral(lambda v: -wide_df * torch.log1p(2 * torch.sinh(0.5 * v).square()), length))
    scale = torch.exp(half_step(0.5 * df) - _HALF_LOG_2PI) * df.sqrt()
    return torch.sign(u) * mass * scale


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
    log_tail = torch.log(torch.where(upper, 1 - safe, safe))
    root = torch.where(safe == 0.5, 0.0, -_root(df.detach(), log_tail.detach()))  # of the lower tail
    centre = (safe - 0.5).abs() < 0.5 - _CENTRE
    slope = -(df + 1) * root / (df + root * root).clamp(max=1e300)
    log_density = _log_density(df, root)
    # in the tail the unknown of the series is the log of the probability, in the middle the probability
    log_cdf = _log_tail(df, root.abs())
    rise = torch.exp(log_density - log_cdf)
    step = (log_tail - log_cdf) / rise
    tail = sign * (root + step - 0.5 * (slope - rise) * step * step)
    middle_root = torch.where(centre, sign * root, 0.0)
    gap = (torch.where(centre, safe, 0.5) - 0.5 - _centre(df, middle_root)) * torch.exp(-log_density)
    middle = middle_root + gap - 0.5 * sign * slope * gap * gap
    edge = torch.where(p == 0, -math.inf, torch.where(p == 1, math.inf, math.nan))
    return torch.where(inside, torch.where(centre, middle, tail), edge).to(dtype)


def _root(df: Tensor, log_tail: Tensor) -> Tensor:
    """t >= 0 with log P(T > t) = log_tail <= log(1/2), by Newton's method on the concave log tail of u."""
    z = ndtri_exp(log_tail)
    excess = 0.5 * z * z / df
    u = excess + torch.log1p(torch.sqrt(-torch.expm1(-2 * excess)))  # cosh(u)^-df = e^(-z^2/2)
    scale = df.sqrt()
    for _ in range(6):
        held = u.clamp(max=_STEEP)
        t = scale * torch.sinh(held)
        here = _log_tail(df, t)
        slope = torch.exp((_log_density(df, t) + torch.log(scale * torch.cosh(held)) - here).clamp(max=690.0))
        u = (held - (log_tail - here) / slope).clamp(min=0.0)
    return scale * torch.sinh(u.clamp(max=_STEEP))

"""Regularised incomplete gamma functions, their logarithms and inverses, differentiable in both arguments.

With t = x e^w, and D = x^a e^-x / Gamma(a), the two regularised integrals are

    P(a, x) = D * integral over w < 0,    Q(a, x) = D * integral over w > 0,    of exp(a w - x (e^w - 1)) dw.

The exponent is concave and is 0 at w = 0. The tail that does not contain the mode (P when x <= a, Q when x > a) falls
off from there, so that Gauss-Legendre quadrature up to where it is negligible gives that tail, and every derivative of
it, to full relative precision, whatever the size of a. The other tail is its complement. Below x = a = 3/2 the integral
has a long plateau, and the power series (DLMF 8.7.1) takes over. torch.special.gammainc has no derivative in a, and
is itself off by up to 1e-9 near x = a >= 20.

Everything is computed in float64 and returned in the dtype of the arguments.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..values import extremes, gradient_possible
from .elementary import horner, log1mexp, log_ratio_excess, stirling_error
from .normal import ndtri_exp
from .quadrature import CUTOFF, cutoff_guess, log_integral

_SMALL = 1.5
_TINY, _HUGE = 1e-300, 1e300
_EULER = 0.5772156649015329
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# The a for which torch's kernels, in double precision, are good to 5e-13, or to the rounding of single precision: from
# 20 on they are off by up to 1e-9 near x = a, and by far more at 1e8; for small a the upper tail is a bare 1 - P.
_TRUSTED = {torch.float64: (0.05, 20.0), torch.float32: (1e-8, 1e4)}

# (-1)^n zeta(n)/n, n = 2...17: log Gamma(1 + a) = -gamma a + sum of these a^n, DLMF 5.7.3.
_LGAMMA1P = (
    0.8224670334241132, -0.40068563438653143, 0.27058080842778454, -0.20738555102867398,
    0.1695571769974082, -0.1440498967688461, 0.12550966952474304, -0.11133426586956469,
    0.1000994575127818, -0.09095401714582904, 0.083353840546109, -0.0769325164113522,
    0.07143294629536133, -0.06666870588242046, 0.06250095514121304, -0.058823978658684585,
)  # fmt: skip


def lgamma1p(a: Tensor) -> Tensor:
    """log Gamma(1 + a) for a >= 0, to full relative accuracy near 0, where forming 1 + a loses it."""
    small = a < 0.1
    s = torch.where(small, a, 0.0)
    series = s * (s * horner(s, _LGAMMA1P) - _EULER)
    return torch.where(small, series, torch.lgamma(1 + torch.where(small, 1.0, a)))


def _small_tails(a: Tensor, x: Tensor, log_x: Tensor) -> tuple[Tensor, Tensor]:
    """log P and log Q for a, x < 3/2, without cancellation in either."""
    # P = x^a/Gamma(a+1) * (1 + a * sum_{n>=1} (-x)^n / ((a+n) n!)), DLMF 8.7.1.
    total = torch.zeros_like(x)
    power = torch.ones_like(x)
    for n in range(1, 21):
        power = power * (x / -n)
        total = total + power / (a + n)
    log_scale = a * log_x - lgamma1p(a)
    correction = a * total
    log_p = log_scale + torch.log1p(correction)
    # The terms of Q nearly add up, rather than cancel, also when a -> 0 and Q -> 0 with it.
    q = -torch.expm1(log_scale) - torch.exp(log_scale) * correction
    direct = log_p < -0.7  # P < 1/2: Q is near 1, and its log is small
    log_q = torch.where(direct, log1mexp(torch.where(direct, log_p, -1.0)), torch.log(torch.where(direct, 0.5, q)))
    return log_p, log_q


def log_density(a: Tensor, x: Tensor) -> Tensor:
    """log(x^a e^-x / Gamma(a)) for a > 0 and 0 <= x < inf, in float64: the log density of log X for X ~ Gamma(a, 1).

    Loader's form, without cancellation for large a.
    """
    return a * log_ratio_excess(x, a, x - a) + 0.5 * torch.log(a) - _HALF_LOG_2PI - stirling_error(a)


def _log_near_tail(a: Tensor, x: Tensor, lower: Tensor) -> Tensor:
    """log P where `lower` (x <= a), else log Q, for max(a, x) >= 3/2."""
    sign = torch.where(lower, -1.0, 1.0).to(x.dtype)
    a0, x0 = a.detach(), x.detach()
    length = torch.minimum(
        cutoff_guess((x0 - a0).abs(), x0),
        torch.where(lower, math.inf, torch.log1p(2 * CUTOFF / x0) + 1),
    )
    for _ in range(4):  # Newton on the convex function -exponent; a cutoff that is a little off does no harm
        e = torch.expm1(sign * length)
        length = length - (x0 * e - sign * a0 * length - CUTOFF) / (sign * (x0 * (1 + e) - a0))
    sa, sign, wide_x = (sign * a).unsqueeze(-1), sign.unsqueeze(-1), x.unsqueeze(-1)
    return log_density(a, x) + log_integral(lambda v: sa * v - wide_x * torch.expm1(sign * v), length)


def _log_tails(a: Tensor, x: Tensor, log_x: Tensor) -> tuple[Tensor, Tensor]:
    """(log P, log Q) in float64, for a > 0 and 0 <= x < inf with log_x finite."""
    a, x, log_x = torch.broadcast_tensors(a, x, log_x)  # type: ignore[no-untyped-call]  # torch's gap
    small = (a < _SMALL) & (x < _SMALL)
    small_p, small_q = _small_tails(
        torch.where(small, a, 1.0), torch.where(small, x, 1.0), torch.where(small, log_x, 0.0)
    )
    wide_a = torch.where(small, 2.0, a)
    wide_x = torch.where(small, 1.0, x.clamp(min=_TINY, max=_HUGE))
    lower = wide_x <= wide_a
    near = _log_near_tail(wide_a, wide_x, lower)
    far = log1mexp(near)
    log_p = torch.where(small, small_p, torch.where(lower, near, far))
    log_q = torch.where(small, small_q, torch.where(lower, far, near))
    return log_p, log_q


def log_tails(a: Tensor, x: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
    """(log P, log Q) in float64, with the edges x = 0 and x = inf filled in, and the dtype to return."""
    dtype = torch.promote_types(a.dtype, x.dtype)
    a, x = a.to(torch.float64), x.to(torch.float64)
    inside = (x > 0) & (x < math.inf) & (a > 0)
    safe_a, safe_x = torch.where(inside, a, 1.0), torch.where(inside, x, 1.0)
    log_p, log_q = _log_tails(safe_a, safe_x, torch.log(safe_x))
    defined = (x >= 0) & (a > 0)
    zero = torch.where(defined, 0.0, math.nan).to(torch.float64)
    minus = torch.where(defined, -math.inf, math.nan).to(torch.float64)
    log_p = torch.where(inside, log_p, torch.where(x == 0, minus, zero))
    log_q = torch.where(inside, log_q, torch.where(x == 0, zero, minus))
    return log_p, log_q, dtype


def exp_of(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p, from itself or from 1 - q, whichever is small."""
    large = log_p > log_q
    direct = torch.exp(torch.where(large, -1.0, log_p))
    return torch.where(large, 1 - torch.exp(torch.where(large, log_q, -1.0)), direct)


def _trusted(a: Tensor, x: Tensor, dtype: torch.dtype) -> bool:
    """Whether torch's kernels are seen to be right and nobody can ask for a derivative; ours take 30 times as long."""
    if gradient_possible(a, x):
        return False
    (least, most), seen = _TRUSTED.get(dtype, _TRUSTED[torch.float32]), extremes(a)
    return seen is not None and least <= seen[0] and seen[1] < most


def gammainc(a: Tensor, x: Tensor) -> Tensor:
    """Regularised lower incomplete gamma function P(a, x), a > 0, x >= 0; the cdf of Gamma(a, 1).

    The arguments broadcast. Relative error below 1e-12 for a in [1e-8, 1e8], or what the rounding of the
    arguments does to P, where that is more; at x = 0 the gradients are 0.
    """
    dtype = torch.promote_types(a.dtype, x.dtype)
    if _trusted(a, x, dtype):
        known: Tensor = torch.special.gammainc(a.to(torch.float64), x.to(torch.float64))
        return known.to(dtype)
    log_p, log_q, _ = log_tails(a, x)
    return exp_of(log_p, log_q).to(dtype)


def gammaincc(a: Tensor, x: Tensor) -> Tensor:
    """Regularised upper incomplete gamma function Q(a, x) = 1 - P(a, x)."""
    dtype = torch.promote_types(a.dtype, x.dtype)
    if _trusted(a, x, dtype):
        known: Tensor = torch.special.gammaincc(a.to(torch.float64), x.to(torch.float64))
        return known.to(dtype)
    log_p, log_q, _ = log_tails(a, x)
    return exp_of(log_q, log_p).to(dtype)


def log_gammainc(a: Tensor, x: Tensor) -> Tensor:
    """log P(a, x), also where P underflows."""
    log_p, _, dtype = log_tails(a, x)
    return log_p.to(dtype)


def log_gammaincc(a: Tensor, x: Tensor) -> Tensor:
    """log Q(a, x), also where Q underflows."""
    _, log_q, dtype = log_tails(a, x)
    return log_q.to(dtype)


def _guess_log(a: Tensor, log_p: Tensor, log_q: Tensor, lower: Tensor) -> Tensor:
    """A starting point for log x: series at 0, Wilson-Hilferty (1931) for moderate a, exponential tail for small a."""
    series = (log_p + lgamma1p(a)) / a  # P <= x^a/Gamma(a+1): at or below the root
    z = torch.where(lower, ndtri_exp(log_p), -ndtri_exp(log_q))
    root = 1 - 1 / (9 * a) + z / (3 * torch.sqrt(a))
    cube = torch.log(a) + 3 * torch.log(root.clamp(min=1e-3))
    body = torch.where((a > 0.3) & (root > 0.05), torch.maximum(cube, series), series)
    # Q ~ x^(a-1) e^-x / Gamma(a)
    excess = (-log_q - torch.lgamma(a)).clamp(min=1.0)
    tail = torch.log((excess + (a - 1) * torch.log(excess)).clamp(min=0.1))
    return torch.where((a < 1) & (-log_q - torch.lgamma(a) > 1.5), tail, body)


def _log_inverse(a: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """log x with P(a, x) = exp(log_p), solved in the smaller of the two tails, differentiable to second order."""
    lower = log_p < log_q
    sign = torch.where(lower, 1.0, -1.0).to(a.dtype)
    target = torch.where(lower, log_p, log_q)
    a0, target0 = a.detach(), target.detach()

    def residual(a: Tensor, target: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Newton step and slope of the log tail in y = log x."""
        x = torch.exp(y)
        tails = _log_tails(a, x, y)
        log_tail = torch.where(lower, tails[0], tails[1])
        height = torch.where(x > _TINY, log_density(a, x.clamp(min=_TINY)), a * y - torch.lgamma(a))
        slope = sign * torch.exp((height - log_tail).clamp(min=-690.0, max=690.0))
        return (target - log_tail) / slope, slope

    # The log tails are concave in y, so Newton's method converges from either side; the cap is against overshoot
    # into the doubly exponential upper tail.
    y = _guess_log(a0, log_p.detach(), log_q.detach(), lower)
    for _ in range(5):
        step, slope = residual(a0, target0, y)
        bend = 0.5 * (a0 - torch.exp(y) - slope) * step  # Halley's correction, kept within bounds far from the root
        y = y + (step / (1 + bend.clamp(min=-0.5, max=3.0))).clamp(max=1.0)
    step, slope = residual(a, target, y)
    return y + step - 0.5 * (a - torch.exp(y) - slope) * step * step


def _invert(a: Tensor, p: Tensor, *, complement: bool) -> Tensor:
    dtype = torch.promote_types(a.dtype, p.dtype)
    a, p = torch.broadcast_tensors(a.to(torch.float64), p.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    inside = (p > 0) & (p < 1) & (a > 0)
    safe = torch.where(inside, p, 0.5)
    log_p, log_q = torch.log(safe), torch.log1p(-safe)
    if complement:
        log_p, log_q = log_q, log_p
    value = torch.exp(_log_inverse(torch.where(inside, a, 1.0), log_p, log_q))
    at_zero, at_one = (math.inf, 0.0) if complement else (0.0, math.inf)
    edge = torch.where(p == 0, at_zero, torch.where(p == 1, at_one, math.nan))
    return torch.where(inside, value, edge).to(dtype)


def gammaincinv(a: Tensor, p: Tensor) -> Tensor:
    """x with P(a, x) = p, for a > 0 and p in [0, 1]: the quantile of Gamma(a, 1).

    The gradients in both arguments come from the inverse-function series around the root, exact up to second
    derivatives.
    """
    return _invert(a, p, complement=False)


def gammainccinv(a: Tensor, q: Tensor) -> Tensor:
    """x with Q(a, x) = q, for a > 0 and q in [0, 1]; keeps its accuracy for tiny q."""
    return _invert(a, q, complement=True)


def gammaincinv_of_log(a: Tensor, log_p: Tensor, *, complement: bool = False) -> Tensor:
    """`gammaincinv(a, exp(log_p))`, or `gammainccinv`, where that probability may underflow; log_p <= 0."""
    dtype = torch.promote_types(a.dtype, log_p.dtype)
    a, log_p = torch.broadcast_tensors(a.to(torch.float64), log_p.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    inside = (log_p > -math.inf) & (log_p < 0)
    level = torch.where(inside, log_p, -1.0)
    levels = (log1mexp(level), level) if complement else (level, log1mexp(level))
    value = torch.exp(_log_inverse(a, *levels))
    edge = torch.where((log_p == 0) == complement, 0.0, math.inf).to(a.dtype)
    return torch.where(inside, value, edge).to(dtype)

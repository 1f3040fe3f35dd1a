"""The von Mises law on the circle: its normaliser, the mass of an arc, quantiles, and how draws move.

Angles are counted from the mode; the density is exp(-2 k sin(y/2)^2) / (2 pi I0(k) e^-k). An arc is cut at the
multiples of pi, so that on every piece the density falls; Gauss-Legendre quadrature starts at its large end and stops
where nothing can be seen any more. All terms are positive: small masses keep their digits. Everything but the
normaliser is computed in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..values import extremes, gradient_possible, known
from .elementary import horner, log1mexp
from .normal import ndtr
from .quadrature import CUTOFF, gauss_legendre, panel

_LOG_2PI = math.log(2 * math.pi)
_TWO_PI = 2 * math.pi
_NODES, _WEIGHTS = gauss_legendre(36)

# log(sqrt(2 pi k) I0(k) e^-k) in powers of 1/k, from DLMF 10.40.1
_LOG_I0 = (1 / 8, 1 / 16, 25 / 384, 13 / 128, 1073 / 5120, 103 / 192)
_LARGE = 100.0
_CLOSE = 1e-8  # a step so small leaves a root that the last one, of second order, makes exact
# I0(k) in powers of k^2, DLMF 10.25.2: up to k = 10 to single precision
_I0 = tuple(4.0**-m / math.factorial(m) ** 2 for m in range(19))
_SERIES_TO = 10.0
_SERIES_FROM = 1000  # entries: passes over fewer cost more than the library's scalar function


def _split(k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    large = k > _LARGE
    # the derivative of i0e at 0 is taken as if |k| were smooth there: a step to the right
    return large, torch.where(large, 1.0, k) + torch.finfo(k.dtype).tiny, torch.where(large, k, _LARGE)


def _log_i0_excess(k: Tensor) -> Tensor:
    """log(sqrt(2 pi k) I0(k) e^-k) for large k."""
    inverse = k.reciprocal()
    return inverse * horner(inverse, _LOG_I0)


def log_i0e(k: Tensor) -> Tensor:
    """log(I0(k) e^-k), k >= 0. Its derivative by `i1e` alone is lost in rounding for large k."""
    seen = None if gradient_possible(k) else extremes(k)
    if seen is not None and seen[1] <= _LARGE:
        if k.dtype is torch.float32 and seen[1] <= _SERIES_TO and k.numel() >= _SERIES_FROM:
            return (horner(k * k, _I0) * torch.exp(-k)).log()
        near: Tensor = torch.special.i0e(k).log()
        return near
    large, small, big = _split(k)
    series = _log_i0_excess(big) - 0.5 * (big.log() + _LOG_2PI)
    return torch.where(large, series, torch.special.i0e(small).log())


def length_deficit(k: Tensor) -> Tensor:
    """1 - I1(k)/I0(k), k >= 0: what the mean resultant vector lacks of length one.

    In double precision: below where the series starts the ratio lies within 1/200 of one.
    """
    large, small, big = _split(k.to(torch.float64))
    inverse = big.reciprocal()
    series = inverse * (0.5 + inverse * horner(inverse, [(j + 1) * c for j, c in enumerate(_LOG_I0)]))
    return torch.where(large, series, 1 - torch.special.i1e(small) / torch.special.i0e(small)).to(k.dtype)


def _log_density(k: Tensor, y: Tensor) -> Tensor:
    return -2 * k * torch.sin(0.5 * y).square() - log_i0e(k) - _LOG_2PI


def _reach(k: Tensor, start: Tensor) -> Tensor:
    """How far from `start`, in [0, pi], the density has fallen by e^-CUTOFF."""
    end = torch.sin(0.5 * start).square() + CUTOFF / (2 * k).clamp(min=1e-300)
    reach = (2 * torch.asin(end.clamp(max=1.0).sqrt()) - start).clamp(min=0.0)
    return torch.where(end < 1, reach, math.inf)


def _log_piece(k: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """log of the mass from `start` on, within [0, pi]."""
    some = length > 0
    start = torch.where(some, start, 0.0)  # from elsewhere an empty piece might have no finite log to differentiate
    seen = torch.minimum(torch.where(some, length, 1.0), _reach(k.detach(), start))
    v, weights = panel(seen)
    exponent = -2 * k.unsqueeze(-1) * torch.sin(start.unsqueeze(-1) + 0.5 * v) * torch.sin(0.5 * v)
    # the log of a narrow peak's height would cancel against that of its width: both are taken in units of the width
    large, small, big = _split(k)
    inverse_width = k.clamp(min=1.0).sqrt()
    near = (torch.special.i0e(small) * (_TWO_PI * small.clamp(min=1.0).sqrt())).log()
    height = torch.where(large, _log_i0_excess(big) + 0.5 * _LOG_2PI, near)
    integral = torch.log((torch.exp(exponent) * weights).sum(-1) * inverse_width)
    return torch.where(some, integral - (2 * k * torch.sin(0.5 * start).square() + height), -math.inf)


def _log_arc(k: Tensor, start: Tensor, end: Tensor, length: Tensor) -> Tensor:
    """log of the mass from `start` to `end` = start + length, length in [0, 2 pi]; differentiable in k alone.

    All three are given, because next to the mode and in a short arc two of them, rounded, do not tell the third.
    """
    first, last = torch.floor(start / math.pi), torch.floor(end / math.pi)
    whole = first == last
    odd_first, odd_last = first % 2 == 1, last % 2 == 1
    # a piece that rises is turned round: it starts at its far end
    head_length = torch.where(whole, length, (first + 1) * math.pi - start)
    rising = torch.where(whole, (first + 1) * math.pi - end, 0.0)
    head_start = torch.where(odd_first, rising, start - first * math.pi)
    tail_length = torch.where(whole, 0.0, end - last * math.pi)
    tail_start = torch.where(odd_last, (last + 1) * math.pi - end, 0.0)
    starts = torch.stack([head_start, tail_start]).clamp(0.0, math.pi)
    lengths = torch.stack([head_length, tail_length]).clamp(0.0, math.pi)
    pieces = _log_piece(k.expand(starts.shape), starts, lengths)
    between = (0.5 * (last - first - 1)).clamp(min=0.0).log()
    return torch.logsumexp(torch.cat([pieces, between.unsqueeze(0)]), 0)


def _wrapped(angle: Tensor) -> Tensor:
    return angle - _TWO_PI * torch.round(angle / _TWO_PI)


def _log_tails(k: Tensor, loc: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The logs of the mass on [-pi, x] and on [x, pi], differentiable in all arguments, twice in x and loc."""
    at, centre = x.detach(), _wrapped(loc.detach())
    log_p = _log_arc(k, -math.pi - centre, at - centre, at + math.pi)
    log_q = _log_arc(k, at - centre, math.pi - centre, math.pi - at)
    lower = log_p < log_q
    small = torch.where(lower, log_p, log_q)
    # what a step of the ends of the arc adds, relative to its mass
    turn = loc - loc.detach()
    ends = []
    for angle, step in ((at - centre, x - at - turn), (-math.pi - centre, -turn)):
        density = torch.exp((_log_density(k, angle) - small).clamp(max=690.0))
        ends.append(density * step * (1 - 0.5 * k * torch.sin(angle) * step))
    grown = (ends[0] - ends[1]) * torch.where(lower, 1.0, -1.0)
    small = small + torch.where(small > -math.inf, grown - 0.5 * grown * grown, 0.0)
    rest = log1mexp(torch.where(small > -math.inf, small.clamp(max=-1e-16), -1.0))
    rest = torch.where(small > -math.inf, rest, 0.0)
    return torch.where(lower, small, rest), torch.where(lower, rest, small)


def log_tails(k: Tensor, loc: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """(log P(X <= x), log P(X > x)) in float64 for X on [-pi, pi] with concentration k >= 0 about loc."""
    k, loc, x = torch.broadcast_tensors(k.to(torch.float64), loc.to(torch.float64), x.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    return _log_tails(k, loc, x.clamp(-math.pi, math.pi))


def _root(k: Tensor, centre: Tensor, log_p: Tensor) -> Tensor:
    """x with log P(X <= x) = log_p <= log(1/2): Newton's method on the log, with halving where it leaves the bracket.

    The mass P on [-pi, x] hardly grows around the antipode of the mode. What is sought is therefore a distance u from
    one of three anchors: from -pi on, or from the antipode backwards or onwards, where mass is log p, or log|p - P|.
    The start is that of the normal law for 2 sqrt(k) sin(y/2).
    """
    start, p = -math.pi - centre, torch.exp(log_p)
    spread = 2 * k.sqrt()
    level = p + ndtr(spread * torch.sin(0.5 * _wrapped(start)))
    z = torch.special.ndtri(torch.where(level > 1, level - 1, level).clamp(1e-300, 1 - 1e-16))
    y = 2 * torch.asin((z / spread.clamp(min=1e-150)).clamp(-1.0, 1.0))
    length = torch.remainder(y - start, _TWO_PI)

    before = centre.clamp(min=0.0)  # how far the antipode lies from -pi; for others, -pi serves
    anchor = torch.where(centre > 0, -math.pi, start)
    mass = torch.exp(_log_arc(k, start, anchor, before))
    low_side = p <= 0.5 * mass
    back = (p < mass) & ~low_side
    anchor = torch.where(low_side, start, anchor)
    target = torch.where(low_side | (mass == 0), log_p, (p - mass).abs().log())
    low, high = torch.zeros_like(p), torch.where(low_side | back, before, _TWO_PI - before)
    u = torch.where(low_side, length, (length - before).abs())
    for _ in range(24):
        moving = torch.where(back, anchor - u, anchor + u)
        here = _log_arc(k, torch.where(back, moving, anchor), torch.where(back, anchor, moving), u)
        below = here < target
        low, high = torch.where(below, u, low), torch.where(below, high, u)
        step = (target - here) * torch.exp((here - _log_density(k, moving)).clamp(max=690.0))
        # towards an anchor the mass is in proportion to u: its logarithm is the better unknown
        moved = u * torch.exp(step / u.clamp(min=1e-300))
        before_step, u = u, torch.where((moved >= low) & (moved <= high), moved, 0.5 * (low + high))
        if known((u - before_step).abs() <= _CLOSE * u):
            break
    return torch.where(low_side, u, torch.where(back, before - u, before + u)) - math.pi


def quantile(k: Tensor, loc: Tensor, p: Tensor, *, complement: bool = False) -> Tensor:
    """x in [-pi, pi] with P(X <= x) = p, or with P(X > x) = p; in float64.

    The gradients come from the inverse-function series around the root, exact up to second derivatives.
    """
    k, loc, p = torch.broadcast_tensors(k.to(torch.float64), loc.to(torch.float64), p.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    inside = (p > 0) & (p < 1)
    safe = torch.where(inside, p, 0.25)
    upper = (safe > 0.5) != complement
    sign = torch.where(upper, -1.0, 1.0).to(torch.float64)
    log_p = torch.log(torch.where(safe > 0.5, 1 - safe, safe))
    loc = sign * loc  # the upper tail is the lower one of the mirrored law
    centre = _wrapped(loc.detach())
    root = _root(k.detach(), centre, log_p.detach())
    log_mass, _ = _log_tails(k, loc, root)
    slope = torch.exp((_log_density(k, root - centre) - log_mass).clamp(-690.0, 690.0))
    step = (log_p - log_mass) / slope
    step = torch.where(log_mass > -math.inf, step, 0.0)
    x = sign * (root + step + 0.5 * (k * torch.sin(root - centre) + slope) * step * step)
    edge = math.pi * torch.where((p == 0) != complement, -1.0, 1.0).to(torch.float64)
    return torch.where(inside, x.clamp(-math.pi, math.pi), torch.where((p == 0) | (p == 1), edge, math.nan))


def concentration_slope(k: Tensor, y: Tensor) -> Tensor:
    """The derivative in k of a draw at the angle y from the mode, along its quantile: -(dF/dk)/f, in float64.

    dF/dk is the integral of (cos v - I1/I0) f(v); on either side of the angle where that changes sign, the side is
    taken on which it does not.
    """
    k, y = k.to(torch.float64), y.to(torch.float64)
    deficit, t = length_deficit(k), y.abs()
    inner = 2 * torch.sin(0.5 * t).square() < deficit
    start, length = torch.where(inner, 0.0, t), torch.where(inner, t, torch.minimum(math.pi - t, _reach(k, t)))
    v = start.unsqueeze(-1) + length.unsqueeze(-1) * torch.tensor(_NODES, dtype=t.dtype, device=t.device)
    weights = torch.tensor(_WEIGHTS, dtype=t.dtype, device=t.device)
    wide = t.unsqueeze(-1)
    exponent = -2 * k.unsqueeze(-1) * torch.sin(0.5 * (v + wide)) * torch.sin(0.5 * (v - wide))
    gain = deficit.unsqueeze(-1) - 2 * torch.sin(0.5 * v).square()
    integral = length * (weights * gain * torch.exp(exponent)).sum(-1)
    return torch.sign(y) * torch.where(inner, -integral, integral)

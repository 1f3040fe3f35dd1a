"""Beta functions, and the regularised incomplete beta function, differentiable in all three arguments.

With logit t = logit x + w, and D = x^a (1-x)^b / B(a, b),

    I_x(a, b) = D * integral over w < 0 of exp(a w - (a + b) log(1 + x (e^w - 1))) dw,

whose exponent is concave and is 0 at w = 0; for x <= a/(a+b) it falls off from there, and Gauss-Legendre quadrature
does the rest, as in `gamma`. The upper tail is the same with (a, b, x) replaced by (b, a, 1-x). Because the integrand
has singularities at distance pi from the real line, a small a (a long, slow tail) is first raised by

    I_x(a, b) = D * (1/a + x (a+b)/(a (a+1)) + ...) + I_x(a + m, b),

(DLMF 8.17.20), whose terms are positive. Next to x = 0 with a < 1/2 a power series gives I_x and 1 - I_x alike, which
goes to 0 with a; next to x = 1 with b < 1/2 the same series does, mirrored.

Everything is computed in float64 and returned in the dtype of the arguments.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..values import known
from .elementary import (
    digamma_error,
    log1mexp,
    log1pmx,
    log1prel,
    log_factorial_excess,
    log_share,
    stirling_error,
    xlogy,
)
from .gamma import exp_of, lgamma1p
from .normal import ndtri_exp
from .quadrature import CUTOFF, cutoff_guess, gauss_legendre, log_integral

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_TINY = 2.3e-308
_LOG_TINY = math.log(_TINY)
_RAISE = 6
_SLOW = 0.5
_TERMS = 18
_ITERATIONS = 8
_NODES, _WEIGHTS = gauss_legendre(5)


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    """log B(a, b) = lgamma(a) + lgamma(b) - lgamma(a+b), a, b > 0, without cancellation for large arguments."""
    n = a + b
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    # low log(low/n) + high log(high/n), with Stirling's formula for the rest
    entropy = low * torch.log(low / n) - high * torch.log1p(low / high)
    errors = stirling_error(low) + (stirling_error(high) - stirling_error(n))
    return entropy + _HALF_LOG_2PI - 0.5 * torch.log(low) + 0.5 * torch.log1p(low / high) + errors


def multi_log_beta(concentration: Tensor) -> Tensor:
    """sum_i lgamma(a_i) - lgamma(sum_i a_i) over the last dimension: B + E -> B, the normaliser of Dirichlet."""
    total = concentration.sum(-1)
    share = concentration / total.unsqueeze(-1)
    # Only one share can exceed 1/2. Near 1 its log is taken from what the others hold: a large a_i multiplies it.
    major = share > 0.5
    rest = torch.where(major, 0.0, concentration).sum(-1) / total
    log_part = torch.where(
        major,
        torch.log1p(-torch.where(major, rest.unsqueeze(-1), 0.0)),
        torch.log(torch.where(major, 0.5, share)),
    )
    terms = (concentration - 0.5) * log_part + stirling_error(concentration)
    k = concentration.shape[-1]
    log_total = torch.log(total)
    # sum of (a_i - 1/2) log a_i - (n - 1/2) log n, written with the shares a_i/n
    return terms.sum(-1) - stirling_error(total) + (k - 1) * (_HALF_LOG_2PI - 0.5 * log_total)


def _log_excess(ratio: Tensor, gap: Tensor) -> Tensor:
    """log(ratio) - gap for gap = ratio - 1, which is known to more digits than the ratio where that is near 1."""
    close = gap.abs() < 0.2
    far = torch.log(torch.where(close, 1.0, ratio)) - torch.where(close, 0.0, gap)
    return torch.where(close, log1pmx(torch.where(close, gap, 0.0)), far)


def _log_weight(a: Tensor, b: Tensor, x: Tensor, y: Tensor, log_x: Tensor, log_y: Tensor) -> Tensor:
    """log((a + b)/(a b) x^a y^b / B(a, b)), y = 1 - x, in Loader's form.

    The factor keeps it near 0 for small a or b: the log density of logit x lies log(a b/(a + b)) higher. The logs serve
    where x or y is at `_TINY` because it is less than that.
    """
    n = a + b
    gap = b * x - a * y  # n x - a
    deviances = a * _log_excess(x * (n / a), gap / a) + b * _log_excess(y * (n / b), -gap / b)
    beyond = torch.where(x <= _TINY, a * (log_x - _LOG_TINY), 0.0) + torch.where(
        y <= _TINY, b * (log_y - _LOG_TINY), 0.0
    )
    return deviances + beyond + log_factorial_excess(n) - log_factorial_excess(a) - log_factorial_excess(b)


def _log_power(a: Tensor, less: int, ratio: Tensor, gap: Tensor) -> Tensor:
    """a (log(ratio) - gap) - less log(ratio) for gap = ratio - 1; 0 log 0 is 0."""
    close = gap.abs() < 0.2
    near = torch.where(close, gap, 0.0)
    far = xlogy(a - less, torch.where(close, 1.0, ratio)) - a * torch.where(close, 0.0, gap)
    return torch.where(close, a * log1pmx(near) - less * torch.log1p(near), far)


def beta_log_density(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """log(x^(a-1) (1-x)^(b-1) / B(a, b)) for 0 <= x <= 1, without cancellation for large a or b.

    With n = a + b it is (a-1) log(n x/a) + (b-1) log(n (1-x)/b) + log n, and what Stirling's formula says of B.
    """
    n, y = a + b, 1 - x
    gap = b * x - a * y  # n x - a
    powers = _log_power(a, 1, x * (n / a), gap / a) + _log_power(b, 1, y * (n / b), -gap / b)
    rest = log_factorial_excess(n) - log_factorial_excess(torch.maximum(a, b))
    return powers + (torch.log(n) + (rest - log_factorial_excess(torch.minimum(a, b))))


def f_log_density(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """log of (a/b)^a x^(a-1) / ((1 + a x/b)^(a+b) B(a, b)) for x > 0, without cancellation for large a or b.

    It is the law of b u / (a (1-u)) for u of the beta law, and has its powers of n u/a and n (1-u)/b, n = a + b.
    """
    n, inverse = a + b, 1 / x.clamp(min=1)
    weight = b * inverse + a * x.clamp(max=1)
    shift = (1 - x) * inverse / weight
    powers = _log_power(a, 1, x.clamp(max=1) * (n / weight), -b * shift)
    powers = powers + _log_power(b, -1, inverse * (n / weight), a * shift)
    less, more = torch.minimum(a, b), torch.maximum(a, b)
    rest = log_factorial_excess(n) - log_factorial_excess(more) - log_factorial_excess(less)
    return powers + (torch.log(less) - torch.log1p(less / more) + rest)


def _log_lower_tail(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """log(a I_x(a, b)/D) for x <= a/(a+b), y = 1 - x."""
    n = a + b
    series = torch.zeros_like(a)
    term = torch.ones_like(a)
    for i in range(_RAISE):
        series = series + term
        factor = term * ((n + i) * x)
        term = factor / (a + i + 1)
    a, n = a + _RAISE, n + _RAISE
    # a v + n log(1 + x (e^-v - 1)) = n log(1 + y (e^v - 1)) - b v, without x, which holds few digits of a small y
    turned = x > 0.5
    slope, share = torch.where(turned, -b, a), torch.where(turned, y, x)
    sign = torch.where(turned, 1.0, -1.0).to(x.dtype)
    slope0, n0, share0, x0, y0 = slope.detach(), n.detach(), share.detach(), x.detach(), y.detach()
    length = cutoff_guess((a.detach() * y0 - b.detach() * x0).clamp(min=0), n0 * x0 * y0)
    # where the exponent falls doubly exponentially: the zero of n log(1 + y (e^v - 1)) = 2 CUTOFF, if it is beyond
    steep = torch.log1p(torch.expm1(2 * CUTOFF / n0) / y0)
    length = torch.where(turned & (b.detach() * steep < CUTOFF), torch.minimum(length, steep), length)
    for _ in range(5):  # Newton on the convex function -exponent
        e = torch.expm1(sign * length)
        fall = slope0 * length + n0 * torch.log1p(share0 * e)
        length = length + (CUTOFF - fall) / (slope0 + sign * n0 * share0 * (1 + e) / (1 + share0 * e))
    slope, n, share, sign = (v.unsqueeze(-1) for v in (slope, n, share, sign))
    integral = log_integral(lambda v: -slope * v - n * torch.log1p(share * torch.expm1(sign * v)), length)
    return torch.log(series + factor * torch.exp(integral))


def _lgamma_step(b: Tensor, a: Tensor) -> Tensor:
    """lgamma(b + a) - lgamma(b) for a < 1/2, to full accuracy relative to a: the integral of digamma, raised to 10."""
    steps = torch.arange(10, dtype=b.dtype, device=b.device)
    nodes, weights = (torch.tensor(v, dtype=b.dtype, device=b.device) for v in (_NODES, _WEIGHTS))
    wide_a, wide_b = a.unsqueeze(-1), b.unsqueeze(-1)
    high = (wide_b + 10) + wide_a * nodes
    slope = ((torch.log(high) - digamma_error(high)) * weights).sum(-1)
    return a * slope - torch.log1p(wide_a / (wide_b + steps)).sum(-1)


def _log_slow_tail(a: Tensor, b: Tensor, x: Tensor, log_x: Tensor) -> Tensor:
    """log I_x(a, b) for a < 1/2, x <= 0.1 and b x <= 1, to full accuracy relative to the logarithm itself.

    I_x(a, b) = x^a / (a B(a, b)) (1 + a sum_n (1-b)_n x^n / (n! (a+n))), DLMF 8.17.7. All of its logarithm goes to 0
    with a, as the other tail does.
    """
    steps = torch.arange(1, _TERMS + 1, dtype=x.dtype, device=x.device)
    heads = (1 / (a.unsqueeze(-1) + steps)).unbind(-1)
    ratios = (x.unsqueeze(-1) * (1 - b.unsqueeze(-1) / steps)).unbind(-1)
    total = heads[-1]
    for head, ratio in zip(heads[-2::-1], ratios[:0:-1], strict=True):
        total = head + ratio * total
    # log(a B(a, b)) = lgamma(1+a) - (lgamma(b+a) - lgamma(b))
    return a * log_x - lgamma1p(a) + _lgamma_step(b, a) + torch.log1p(a * ratios[0] * total)


def _log_tails(a: Tensor, b: Tensor, x: Tensor, y: Tensor, log_x: Tensor, log_y: Tensor) -> tuple[Tensor, ...]:
    """log I_x(a, b), log I_y(b, a) and the log density of logit x, in float64, y = 1 - x."""
    x, y = x.clamp(min=_TINY), y.clamp(min=_TINY)
    log_weight = _log_weight(a, b, x, y, log_x, log_y)
    less, more = torch.minimum(a, b), torch.maximum(a, b)
    at_zero = (a < _SLOW) & (x <= 0.1) & (b * x <= 1)
    at_one = (b < _SLOW) & (y <= 0.1) & (a * y <= 1)
    slow = at_zero | at_one
    log_p = log_q = torch.zeros_like(x)
    if not known(slow):
        half = torch.where(slow, 0.5, x), torch.where(slow, 0.5, y)
        even = torch.where(slow, 1.0, a), torch.where(slow, 1.0, b)
        lower = even[1] * half[0] <= even[0] * half[1]
        swap = ((u, v) for u, v in (even, even[::-1], half, half[::-1]))
        share = torch.log(torch.where(lower, b, a) / (a + b))
        near = log_weight + share + _log_lower_tail(*(torch.where(lower, u, v) for u, v in swap))
        # Rounding can leave a tail that holds all the mass a hair above 1.
        near = torch.where(near < -1e-16, near, near.detach().clamp(max=-1e-16))
        far = log1mexp(near)
        log_p, log_q = torch.where(lower, near, far), torch.where(lower, far, near)
    if not known(~slow):
        shape = torch.where(at_one, b, torch.where(slow, a, 0.25)), torch.where(at_one, a, torch.where(slow, b, 1.0))
        near = _log_slow_tail(
            *shape, torch.where(at_one, y, torch.where(slow, x, 0.1)), torch.where(at_one, log_y, log_x)
        )
        near = torch.where(near < -_TINY, near, near.detach().clamp(max=-_TINY))
        far = log1mexp(near)
        log_p = torch.where(slow, torch.where(at_one, far, near), log_p)
        log_q = torch.where(slow, torch.where(at_one, near, far), log_q)
    return log_p, log_q, log_weight + torch.log(less) - torch.log1p(less / more)


def inner_tails(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """log I_x(a, b), log I_y(b, a) and the log density of logit x, in float64, for a, b, x, y = 1 - x > 0."""
    a, b, x, y = torch.broadcast_tensors(a, b, x, y)  # type: ignore[no-untyped-call]  # torch's gap
    return _log_tails(a, b, x, y, log_share(x, y), log_share(y, x))


def _tails(a: Tensor, b: Tensor, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, torch.dtype]:
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), x.dtype)
    a, b, x = torch.broadcast_tensors(a.to(torch.float64), b.to(torch.float64), x.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    y = 1 - x if y is None else y.to(torch.float64)
    defined = (a > 0) & (b > 0) & (x >= 0) & (y >= 0)
    inside = defined & (x > 0) & (y > 0)
    a, b = torch.where(inside, a, 1.0), torch.where(inside, b, 1.0)
    safe_x, safe_y = torch.where(inside, x, 0.5), torch.where(inside, y, 0.5)
    log_p, log_q, _ = _log_tails(a, b, safe_x, safe_y, log_share(safe_x, safe_y), log_share(safe_y, safe_x))
    zero = torch.where(defined, 0.0, math.nan).to(torch.float64)
    minus = torch.where(defined, -math.inf, math.nan).to(torch.float64)
    log_p = torch.where(inside, log_p, torch.where(x == 0, minus, zero))
    log_q = torch.where(inside, log_q, torch.where(x == 0, zero, minus))
    return log_p, log_q, dtype


def betainc(a: Tensor, b: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
    """Regularised incomplete beta function I_x(a, b), a, b > 0, x in [0, 1]; the cdf of Beta(a, b).

    The arguments broadcast. Relative error below 1e-12 for a, b in [1e-8, 1e8], or as much as the rounding of the
    arguments makes; at x = 0 and 1 the gradients are 0.
    `y` is 1 - x, for callers who know it to more digits than x holds near 1.
    """
    log_p, log_q, dtype = _tails(a, b, x, y)
    return exp_of(log_p, log_q).to(dtype)


def betaincc(a: Tensor, b: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
    """1 - I_x(a, b), without cancellation."""
    log_p, log_q, dtype = _tails(a, b, x, y)
    return exp_of(log_q, log_p).to(dtype)


def log_betainc(a: Tensor, b: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
    """log I_x(a, b), also where it underflows."""
    log_p, _, dtype = _tails(a, b, x, y)
    return log_p.to(dtype)


def log_betaincc(a: Tensor, b: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
    """log(1 - I_x(a, b)), also where it underflows."""
    _, log_q, dtype = _tails(a, b, x, y)
    return log_q.to(dtype)


def _bounds(a: Tensor, b: Tensor, log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers below and above z = logit x with I_x(a, b) = exp(log_p).

    The logs of both tails are concave in z, so they lie below their asymptotes, a z - log(a B(a, b)) for z -> -inf
    and -b z - log(b B(a, b)) for z -> inf.
    """
    log_scale = log_beta(a, b)
    low = (log_p + torch.log(a) + log_scale) / a
    high = -(log_q + torch.log(b) + log_scale) / b
    return low, high


def _lower_root(a: Tensor, b: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """z = logit x with I_x(a, b) = exp(log_p) <= 1/2, differentiable to second order."""

    def residual(a: Tensor, b: Tensor, log_p: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is missing in the log tail, its slope in z, and the slope of that slope's log."""
        x, y, logs = torch.sigmoid(z), torch.sigmoid(-z), torch.nn.functional.logsigmoid
        log_tail, _, log_density = _log_tails(a, b, x, y, logs(z), logs(-z))
        slope = torch.exp((log_density - log_tail).clamp(min=-690.0, max=690.0))
        return log_p - log_tail, slope, a * y - b * x - slope

    a0, b0, log_p0, log_q0 = (v.detach() for v in (a, b, log_p, log_q))
    low, high = _bounds(a0, b0, log_p0, log_q0)
    spread = torch.sqrt(torch.polygamma(1, a0) + torch.polygamma(1, b0)).clamp(max=1e150)
    z = torch.digamma(a0) - torch.digamma(b0) + spread * ndtri_exp(log_p0)
    z = torch.minimum(torch.maximum(z, low), high)
    z = torch.where(torch.log1p(a0) - high < -2, high, torch.where(torch.log1p(b0) + low < -2, low, z))
    low, high = low - 1e-3 * (1 + low.abs()), high + 1e-3 * (1 + high.abs())
    for _ in range(_ITERATIONS):
        missing, slope, bend = residual(a0, b0, log_p0, z)
        low, high = torch.where(missing > 0, z, low), torch.where(missing > 0, high, z)
        # Newton's step where the tail is linear in z, and exact as well where it is linear in an exponential of z:
        # far out in the body of a gamma-like law, and where the tail approaches 1.
        step = missing / slope
        step = step * log1prel((bend * step).clamp(min=-0.95))
        slip = 1e-9 * (1 + z.abs()) + 1e-12 / slope  # of a bound, by rounding
        inside = (z + step >= low - slip) & (z + step <= high + slip)
        last, z = z, torch.where(inside, z + step, 0.5 * (low + high))
        if known((z - last).abs() <= 1e-6 * (1 + z.abs())):  # the next step squares that
            break
    missing, slope, bend = residual(a, b, log_p, z)
    step = missing / slope
    return z + step - 0.5 * bend * step * step


def logit_inverse(a: Tensor, b: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """logit x with I_x(a, b) = exp(log_p), solved in the smaller of the two tails."""
    lower = log_p < log_q
    pairs = ((a, b), (b, a), (log_p, log_q), (log_q, log_p))
    root = _lower_root(*(torch.where(lower, u, v) for u, v in pairs))
    return torch.where(lower, root, -root)


def _invert(a: Tensor, b: Tensor, p: Tensor, *, complement: bool) -> tuple[Tensor, torch.dtype]:
    """The logit of the quantile in float64, and the dtype to return."""
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), p.dtype)
    a, b, p = torch.broadcast_tensors(a.to(torch.float64), b.to(torch.float64), p.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    inside = (p > 0) & (p < 1) & (a > 0) & (b > 0)
    safe = torch.where(inside, p, 0.5)
    log_p, log_q = torch.log(safe), torch.log1p(-safe)
    if complement:
        log_p, log_q = log_q, log_p
    value = logit_inverse(torch.where(inside, a, 1.0), torch.where(inside, b, 1.0), log_p, log_q)
    at_zero, at_one = (math.inf, -math.inf) if complement else (-math.inf, math.inf)
    edge = torch.where(p == 0, at_zero, torch.where(p == 1, at_one, math.nan))
    return torch.where(inside, value, edge), dtype


def betaincinv(a: Tensor, b: Tensor, p: Tensor) -> Tensor:
    """x with I_x(a, b) = p, for a, b > 0 and p in [0, 1]: the quantile of Beta(a, b).

    The gradients in all arguments come from the inverse-function series around the root, exact up to second
    derivatives.
    """
    logit, dtype = _invert(a, b, p, complement=False)
    return torch.sigmoid(logit).to(dtype)


def betainccinv(a: Tensor, b: Tensor, q: Tensor) -> Tensor:
    """x with 1 - I_x(a, b) = q, for a, b > 0 and q in [0, 1]; keeps its accuracy for tiny q."""
    logit, dtype = _invert(a, b, q, complement=True)
    return torch.sigmoid(logit).to(dtype)


def betaincinv_odds(a: Tensor, b: Tensor, p: Tensor, *, complement: bool = False) -> Tensor:
    """x / (1 - x) for x = `betaincinv(a, b, p)`, or `betainccinv(a, b, p)`: its digits are kept near x = 1 too."""
    logit, dtype = _invert(a, b, p, complement=complement)
    return torch.exp(logit).to(dtype)

"""Beta functions, and the regularised incomplete beta function, differentiable in all three arguments.

With logit t = logit x + w, and D = x^a (1-x)^b / B(a, b),

    I_x(a, b) = D * integral over w < 0 of exp(a w - (a + b) log(1 + x (e^w - 1))) dw,

whose exponent is concave and is 0 at w = 0; for x <= a/(a+b) it falls off from there, and Gauss-Legendre quadrature
does the rest, as in `gamma`. The upper tail is the same with (a, b, x) replaced by (b, a, 1-x). Because the integrand
has singularities at distance pi from the real line, a small a (a long, slow tail) is first raised by

    I_x(a, b) = D * (1/a + x (a+b)/(a (a+1)) + ...) + I_x(a + m, b),

(DLMF 8.17.20), whose terms are positive. Everything is computed in float64 and returned in the dtype of the arguments.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .elementary import log1mexp, log_ratio_excess, stirling_error
from .gamma import exp_of
from .normal import ndtri_exp
from .quadrature import CUTOFF, cutoff_guess, log_integral

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_TINY, _HUGE = 1e-300, 1e300
_RAISE = 6


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
    log_share = torch.where(
        major,
        torch.log1p(-torch.where(major, rest.unsqueeze(-1), 0.0)),
        torch.log(torch.where(major, 0.5, share)),
    )
    terms = (concentration - 0.5) * log_share + stirling_error(concentration)
    k = concentration.shape[-1]
    log_total = torch.log(total)
    # sum of (a_i - 1/2) log a_i - (n - 1/2) log n, written with the shares a_i/n
    return terms.sum(-1) - stirling_error(total) + (k - 1) * (_HALF_LOG_2PI - 0.5 * log_total)


def _log_density(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """log(x^a y^b / B(a, b)), y = 1 - x: the log density of logit x, in Loader's form."""
    n = a + b
    gap = b * x - a * y  # n x - a
    deviances = a * log_ratio_excess(n * x, a, gap) + b * log_ratio_excess(n * y, b, -gap)
    scale = 0.5 * (torch.log(a) + torch.log(b / n))
    return deviances + scale - _HALF_LOG_2PI + stirling_error(n) - stirling_error(a) - stirling_error(b)


def _log_lower_tail(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """log(I_x(a, b)/D) for x <= a/(a+b)."""
    n = a + b
    term = 1 / a
    series = torch.zeros_like(term)
    factor = torch.ones_like(term)
    for i in range(_RAISE):
        term = factor / (a + i)
        series = series + term
        factor = term * (n + i) * x
    a, n = a + _RAISE, n + _RAISE
    a0, n0, x0 = a.detach(), n.detach(), x.detach()
    length = cutoff_guess(a0 - n0 * x0, n0 * x0 * (1 - x0))
    for _ in range(5):  # Newton on the convex function -exponent
        e = torch.expm1(-length)
        grown = 1 + x0 * e
        fall = a0 * length + n0 * torch.log1p(x0 * e)
        length = length + (CUTOFF - fall) / (a0 - n0 * x0 * (1 + e) / grown)
    wide_a, wide_n, wide_x = a.unsqueeze(-1), n.unsqueeze(-1), x.unsqueeze(-1)
    integral = log_integral(lambda v: -wide_a * v - wide_n * torch.log1p(wide_x * torch.expm1(-v)), length)
    return torch.log(series + factor * torch.exp(integral))


def _log_tails(a: Tensor, b: Tensor, x: Tensor, y: Tensor, log_density: Tensor) -> tuple[Tensor, Tensor]:
    """(log I_x(a, b), log I_y(b, a)) in float64, y = 1 - x; log_density is that of logit x."""
    lower = b * x <= a * y
    near_a, near_b = torch.where(lower, a, b), torch.where(lower, b, a)
    near = log_density + _log_lower_tail(near_a, near_b, torch.where(lower, x, y))
    # Rounding can leave a tail that holds all the mass a hair above 1.
    near = torch.where(near < -1e-16, near, near.detach().clamp(max=-1e-16))
    far = log1mexp(near)
    return torch.where(lower, near, far), torch.where(lower, far, near)


def _tails(a: Tensor, b: Tensor, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, torch.dtype]:
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), x.dtype)
    a, b, x = torch.broadcast_tensors(a.to(torch.float64), b.to(torch.float64), x.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    y = 1 - x if y is None else y.to(torch.float64)
    defined = (a > 0) & (b > 0) & (x >= 0) & (y >= 0)
    inside = defined & (x > 0) & (y > 0)
    a, b = torch.where(inside, a, 1.0), torch.where(inside, b, 1.0)
    safe_x, safe_y = torch.where(inside, x, 0.5).clamp(min=_TINY), torch.where(inside, y, 0.5).clamp(min=_TINY)
    log_p, log_q = _log_tails(a, b, safe_x, safe_y, _log_density(a, b, safe_x, safe_y))
    # below the clamp a tail is a power of x to all digits
    log_p = log_p + a * torch.log((x / _TINY).clamp(min=torch.finfo(x.dtype).tiny, max=1.0))
    log_q = log_q + b * torch.log((y / _TINY).clamp(min=torch.finfo(x.dtype).tiny, max=1.0))
    zero = torch.where(defined, 0.0, math.nan).to(torch.float64)
    minus = torch.where(defined, -math.inf, math.nan).to(torch.float64)
    log_p = torch.where(inside, log_p, torch.where(x == 0, minus, zero))
    log_q = torch.where(inside, log_q, torch.where(x == 0, zero, minus))
    return log_p, log_q, dtype


def betainc(a: Tensor, b: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
    """Regularised incomplete beta function I_x(a, b), a, b > 0, x in [0, 1]; the cdf of Beta(a, b).

    The arguments broadcast. Relative error below 1e-11 for a, b in [1e-3, 1e4]; at x = 0 and 1 the gradients are 0.
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


def _guess_logit(a: Tensor, b: Tensor, target: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
    """A starting point for logit x, and the longest step to take from there."""
    sign = torch.where(lower, 1.0, -1.0).to(a.dtype)
    spread = torch.sqrt(torch.polygamma(1, a) + torch.polygamma(1, b))
    z = torch.digamma(a) - torch.digamma(b) + spread * sign * ndtri_exp(target)
    # Markov: the root is no farther out than mean/tail. Without it a small a with a large b starts far out, where
    # the log tail is exponential in z and each Newton step only gains 1.
    log_mean = torch.log(torch.where(lower, b, a) / (a + b))
    log_bound = log_mean - target
    useful = log_bound < -1e-3
    safe = torch.where(useful, log_bound, -1.0)
    bound = torch.where(useful, safe - torch.log(-torch.expm1(safe)), math.inf)
    return sign * torch.maximum(sign * z, -bound), 5 * spread + 5


def _logit_inverse(a: Tensor, b: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """logit x with I_x(a, b) = exp(log_p), solved in the smaller of the two tails, differentiable to second order."""
    lower = log_p < log_q
    sign = torch.where(lower, 1.0, -1.0).to(a.dtype)
    target = torch.where(lower, log_p, log_q)
    a0, b0, target0 = a.detach(), b.detach(), target.detach()

    def residual(a: Tensor, b: Tensor, target: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Newton step and slope of the log tail in z = logit x."""
        x, y = torch.sigmoid(z), torch.sigmoid(-z)
        inside = z.abs() < 690
        flat = a * torch.nn.functional.logsigmoid(z) + b * torch.nn.functional.logsigmoid(-z) - log_beta(a, b)
        safe_x, safe_y = x.clamp(min=_TINY), y.clamp(min=_TINY)
        log_density = torch.where(inside, _log_density(a, b, safe_x, safe_y), flat)
        tails = _log_tails(a, b, safe_x, safe_y, log_density)
        log_tail = torch.where(lower, tails[0], tails[1])
        slope = sign * torch.exp((log_density - log_tail).clamp(min=-690.0, max=690.0))
        return (target - log_tail) / slope, slope

    # The log tails are concave in z and linear far out, so Newton's method converges from either side.
    z, reach = _guess_logit(a0, b0, target0, lower)
    for _ in range(10):
        step, slope = residual(a0, b0, target0, z)
        bend = 0.5 * (a0 * torch.sigmoid(-z) - b0 * torch.sigmoid(z) - slope) * step  # Halley's correction, bounded
        step = step / (1 + bend.clamp(min=-0.5, max=3.0))
        z = z + torch.maximum(torch.minimum(step, reach), -reach)
    step, slope = residual(a, b, target, z)
    return z + step - 0.5 * (a * torch.sigmoid(-z) - b * torch.sigmoid(z) - slope) * step * step


def _invert(a: Tensor, b: Tensor, p: Tensor, *, complement: bool) -> tuple[Tensor, torch.dtype]:
    """The logit of the quantile in float64, and the dtype to return."""
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), p.dtype)
    a, b, p = torch.broadcast_tensors(a.to(torch.float64), b.to(torch.float64), p.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    inside = (p > 0) & (p < 1) & (a > 0) & (b > 0)
    safe = torch.where(inside, p, 0.5)
    log_p, log_q = torch.log(safe), torch.log1p(-safe)
    if complement:
        log_p, log_q = log_q, log_p
    value = _logit_inverse(torch.where(inside, a, 1.0), torch.where(inside, b, 1.0), log_p, log_q)
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

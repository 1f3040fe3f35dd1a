"""What a convex function rises above its tangent, without cancellation: the substance of divergences.

For f convex, f(c) - f(a) - (c - a) f'(a) >= 0. At c near a nearly all of the three terms cancels; each function here
keeps its relative accuracy there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..values import extremes
from .elementary import horner, log_ratio_excess

__all__ = ["binet_excess", "expm1mx", "lgamma_excess", "log_excess", "log_quotient", "trigamma"]

_TAYLOR = tuple(1 / math.factorial(k + 2) for k in range(12))
# B_2k / (2k (2k - 1)), k = 1...5: Stirling's series, DLMF 5.11.1
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
_FROM = 10


def expm1mx(x: Tensor) -> Tensor:
    """exp(x) - 1 - x: what exp rises above its tangent at 0."""
    small = x.abs() < 0.3
    s = torch.where(small, x, 0.0)
    far = torch.where(small, 1.0, x)
    return torch.where(small, s * s * horner(s, _TAYLOR), torch.expm1(far) - far)


def log_quotient(x: Tensor, m: Tensor) -> Tensor:
    """log(x/m) for x, m > 0, to full relative accuracy near x = m."""
    gap = (x - m) / m
    seen = extremes(gap)
    if seen is not None and seen[0] > -0.5:
        return gap.log1p()
    return torch.where(gap > -0.5, gap.clamp(min=-0.5).log1p(), (x / m).log())


def log_excess(a: Tensor, c: Tensor) -> Tensor:
    """(c - a)/a - log(c/a) >= 0: of -log at c over its tangent at a."""
    return -log_ratio_excess(c, a, c - a)


def _powers_excess(u: Tensor, v: Tensor) -> Tensor:
    """Stirling's series of excesses of x**-n, n = 1, 3, ..., over (c - a)**2 u v, for u = 1/a and v = 1/c.

    c**-n - a**-n + n (c-a) a**(-n-1) = (c-a)**2 u v * sum_j (n-j) u**(n-j) v**j, and both sums go by recursion.
    """
    weighted, plain, power = u, u + v, v
    total = _STIRLING[0] * weighted
    for coefficient in _STIRLING[1:]:
        for _ in range(2):
            power = power * v
            weighted, plain = u * (weighted + plain), u * plain + power
        total = total + coefficient * weighted
    return total


def _main_excess(a: Tensor, c: Tensor, gap: Tensor) -> Tensor:
    """The excess of (x - 1/2) log x - x; of numbers shifted alike, gap = c - a is known better than they are."""
    return -c * log_ratio_excess(a, c, -gap) - 0.5 * log_ratio_excess(c, a, gap)


def binet_excess(a: Tensor, c: Tensor, gap: Tensor) -> Tensor:
    """The excess at c over a of Binet's function, lgamma(x) - (x - 1/2) log x + x, for a, c > 0 and gap = c - a.

    Small arguments are first raised by lgamma(x) = lgamma(x+1) - log x.
    """
    a, c, gap = torch.broadcast_tensors(a, c, gap)  # type: ignore[no-untyped-call]  # torch's gap
    smaller = torch.minimum(a, c)
    seen = extremes(smaller)
    if seen is not None and seen[0] >= _FROM:
        return _stirling_excess(a, c, gap)
    large = smaller >= _FROM
    low_a, low_c = torch.where(large, 1.0, a), torch.where(large, 1.0, c)
    low_gap = torch.where(large, 0.0, gap)
    high_a, high_c = low_a + _FROM, low_c + _FROM
    steps = torch.arange(_FROM, dtype=a.dtype, device=a.device)
    logs = log_ratio_excess(low_c.unsqueeze(-1) + steps, low_a.unsqueeze(-1) + steps, low_gap.unsqueeze(-1)).sum(-1)
    raised = _main_excess(high_a, high_c, low_gap) - _main_excess(low_a, low_c, low_gap) - logs
    return _stirling_excess(torch.where(large, a, high_a), torch.where(large, c, high_c), gap) + raised


def _stirling_excess(a: Tensor, c: Tensor, gap: Tensor) -> Tensor:
    u, v = a.reciprocal(), c.reciprocal()
    return (gap * u) * (gap * v) * _powers_excess(u, v)


def lgamma_excess(a: Tensor, c: Tensor) -> Tensor:
    """lgamma(c) - lgamma(a) - (c - a) digamma(a) >= 0, for a, c > 0."""
    return _main_excess(a, c, c - a) + binet_excess(a, c, c - a)


# B_2k, k = 1...6: DLMF 24.2.1
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730)


def trigamma(x: Tensor) -> Tensor:
    """The second derivative of lgamma, x > 0: the library's is off by up to 1e-10. DLMF 5.15.8, raised by 5.15.5."""
    steps = torch.arange(_FROM, dtype=x.dtype, device=x.device)
    v = (x + _FROM).reciprocal()
    series = v * (1 + v * (0.5 + v * horner(v * v, _BERNOULLI)))
    return (x.unsqueeze(-1) + steps).reciprocal().square().sum(-1) + series

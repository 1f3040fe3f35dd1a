"""What the families of counts share: how far plain log factorials carry, expected ones, tables of masses."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..values import extremes

__all__ = [
    "expected_log_choices",
    "expected_log_factorials",
    "log_masses",
    "log_scale_integral",
    "plain_precision",
    "top_count",
    "unit_vectors",
    "widened",
]


TABLE_COUNT = 64  # up to here the polynomial is shorter than the integral
SMALL_COUNT = 32.0  # up to here the sum of the expected log factorials is shorter than a table
PLAIN = 16.0  # up to here no digit of single precision is lost where log factorials cancel
PLAIN_WIDE = {torch.float32: 2e8, torch.float64: 128.0}  # the same of double precision, for an answer in these


def widened(*values: Tensor) -> tuple[Tensor, ...]:
    """The same numbers in double precision: log factorials grow as n log n, and nearly all of that cancels."""
    return tuple(value.to(torch.float64) for value in values)


def plain_precision(dtype: torch.dtype, top: float) -> torch.dtype | None:
    """The dtype in which log factorials of counts up to `top` cancel without harm to an answer in `dtype`, if any."""
    if top <= PLAIN:
        return dtype
    return torch.float64 if top <= PLAIN_WIDE.get(dtype, 0.0) else None


@functools.cache
def _weighed_log_choices(low: int, high: int) -> list[list[float]]:
    """C log C for C = n!/(k! (n-k)!): a row per k below high, an entry per n from low to high."""
    choices = [[math.comb(n, k) for n in range(low, high + 1)] for k in range(high)]
    return [[c * math.log(c) if c else 0.0 for c in row] for row in choices]


def expected_log_choices(total_count: Tensor, p: Tensor, q: Tensor) -> Tensor | None:
    """E[log n!/(K! (n-K)!)] for K ~ Binomial(n, p), q = 1 - p, in float64; None unless n is seen to be small.

    The sum over K is m^n times a polynomial in s/m, for the smaller s and the larger m of p and q, as the
    coefficients are symmetric. They are positive, so that Horner's rule loses nothing.
    """
    seen = extremes(total_count)
    if seen is None or seen[1] > TABLE_COUNT:
        return None
    low, high = (int(count) for count in seen)
    terms = torch.tensor(_weighed_log_choices(low, high), dtype=torch.float64)
    p, q = p.to(torch.float64), q.to(torch.float64)
    large = torch.maximum(p, q)
    ratio = torch.minimum(p, q) / large
    which = (total_count - low).long()
    total = torch.zeros_like(ratio)
    for term in reversed(terms.unbind()):
        total = torch.addcmul(term[0] if low == high else term[which], total, ratio)
    return total * large.pow(total_count.to(torch.float64))


def expected_log_factorials(total_count: Tensor, p: Tensor) -> Tensor | None:
    """E[log K!] for K ~ Binomial(n, p), p of shape B + (K,); None unless n is seen to be one small number everywhere.

    A polynomial in p and q = 1 - p whose coefficients are positive, by Horner's rule: nothing cancels.
    """
    seen = extremes(total_count)
    if seen is None or seen[0] != seen[1] or seen[1] > SMALL_COUNT:
        return None
    n, q = int(seen[1]), 1 - p
    total, power = torch.full_like(p, math.lgamma(n + 1)), torch.ones_like(p)
    for k in range(n - 1, 1, -1):
        power = power * q
        total = torch.addcmul(power * (math.comb(n, k) * math.lgamma(k + 1)), total, p)
    return total * p * p


def unit_vectors(index: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """One-hot vectors; unlike the library's function it looks at no value, so that it can be traced."""
    return (index.unsqueeze(-1) == torch.arange(size, device=index.device)).to(dtype)


def top_count(total_count: Tensor) -> int:
    """The largest of the counts: the length of a table cannot depend on the batch entry."""
    return int(total_count.max().item()) if total_count.numel() else 0


def log_masses(d: Any) -> Tensor:
    """log P(X = k) for k = 0 ... max(total_count) along a new leading dimension; -inf above an entry's own count."""
    n = d.total_count
    k = torch.arange(top_count(n) + 1, dtype=n.dtype, device=n.device).reshape((-1,) + (1,) * n.dim())
    inside = k <= n
    return torch.where(inside, d._log_prob(torch.where(inside, k, 0.0)), -torch.inf)


def log_scale_integral(f: Callable[[Tensor], Tensor], low: float, high: float, device: torch.device) -> Tensor:
    """The integral of f(t)/t over t > 0: trapezoids in log t from `low` to `high`.

    `f` takes the nodes along a last dimension, falls off at both ends, and is analytic for Re t > 0: the error is
    about exp(-pi**2 / h) for steps h (Trefethen and Weideman 2014, "The exponentially convergent trapezoidal rule").
    """
    h = 0.2
    t = torch.arange(low, high, h, dtype=torch.float64, device=device).exp()
    return h * f(t).sum(-1)

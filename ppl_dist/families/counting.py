"""What the families of counts share: tails through the incomplete beta function, quantiles, expected log factorials."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..shapes import broadcast_shapes
from ..special import betainc, betaincc, log_betainc, log_betaincc
from ..values import extremes, highest

__all__ = [
    "Successes",
    "count_quantile",
    "expected_log_choices",
    "expected_log_factorials",
    "log_masses",
    "log_scale_integral",
    "top_count",
    "unit_vectors",
    "widened",
    "widened_if_large",
]


TABLE_COUNT = 64  # up to here the polynomial is shorter than the integral
SMALL_COUNT = 32.0  # of two together; up to here the rounding of their log factorials is one of the answer


def widened(*values: Tensor) -> tuple[Tensor, ...]:
    """The same numbers in double precision: log factorials grow as n log n, and nearly all of that cancels."""
    return tuple(value.to(torch.float64) for value in values)


def widened_if_large(*values: Tensor) -> tuple[Tensor, ...]:
    """`widened`, but single precision is kept where the numbers are seen to be small."""
    single = all(value.dtype == torch.float32 for value in values)
    return values if single and sum(highest(value) for value in values) <= SMALL_COUNT else widened(*values)


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


def count_quantile(d: Any, log_p: Tensor, log_q: Tensor, top: Tensor, *, upper: bool) -> Tensor:
    """The smallest k with log cdf >= log_p, or with log sf <= log_q when `upper`; `top` where no mass may be left.

    Found bit by bit. Counts carry no gradient, so neither does this.
    """
    with torch.no_grad():
        shape = broadcast_shapes([log_p.shape, d.batch_shape])
        slack = 8 * torch.finfo(log_p.dtype).eps  # so that the quantile of a rounded cdf(k) is k
        wide = d.expand(shape).to(torch.float64)
        below = torch.full(shape, -1.0, dtype=torch.float64, device=log_p.device)
        for bit in reversed(range(53)):
            middle = below + 2.0**bit
            reached = wide._log_sf(middle) <= log_q + slack if upper else wide._log_cdf(middle) >= log_p - slack
            below = torch.where(reached, below, middle)
        return torch.where(log_q == -torch.inf, top, below + 1).to(log_p.dtype)


def log_scale_integral(f: Callable[[Tensor], Tensor], low: float, high: float, device: torch.device) -> Tensor:
    """The integral of f(t)/t over t > 0: trapezoids in log t from `low` to `high`.

    `f` takes the nodes along a last dimension, falls off at both ends, and is analytic for Re t > 0: the error is
    about exp(-pi**2 / h) for steps h (Trefethen and Weideman 2014, "The exponentially convergent trapezoidal rule").
    """
    h = 0.2
    t = torch.arange(low, high, h, dtype=torch.float64, device=device).exp()
    return h * f(t).sum(-1)


class Successes:
    """Mixed into counts with `probs` p or `logits` log(p / (1-p)), for which P(X > k) = I_p(k + 1, m(k))."""

    if TYPE_CHECKING:
        probs: Tensor
        logits: Tensor
        _batch_shape: torch.Size

    @property
    def param_shape(self) -> torch.Size:
        """The shape of `probs`."""
        return self._batch_shape

    def _given(self) -> Tensor:
        state = self.__dict__
        given: Tensor = state["logits"] if "logits" in state else state["probs"]
        return given

    def _failure(self) -> Tensor:
        """1 - p, to full relative accuracy."""
        given = self._given()
        return (-given).sigmoid() if "logits" in self.__dict__ else 1 - given

    def _odds(self) -> Tensor:
        """p / (1 - p)."""
        given = self._given()
        return given.exp() if "logits" in self.__dict__ else given / (1 - given)

    def _log_chances(self, k: Tensor | None, m: Tensor) -> tuple[Tensor, Tensor]:
        """(log p, log(1 - p)), to be multiplied by k and by m; made up where that is 0, as p may be 0 or 1 there.

        None for k says that log p is finite.
        """
        one = other = given = self._given().to(m.dtype)
        logits = "logits" in self.__dict__
        seen = extremes(given)
        low, high = (-torch.inf, torch.inf) if logits else (0.0, 1.0)
        if seen is None or not (low < seen[0] and seen[1] < high):
            one = given if k is None else torch.where(k == 0, 0.5, given)
            other = torch.where(m == 0, 0.5, given)
        return (logsigmoid(one), logsigmoid(-other)) if logits else (one.log(), (-other).log1p())

    def _trials(self, k: Tensor, m: Tensor) -> Tensor:
        """k log p + m log(1 - p); a term whose count is 0 is left out, with its derivative."""
        success, failure = self._log_chances(k, m)
        return torch.addcmul(k * success, m, failure)

    def _rest(self, k: Tensor) -> Tensor:
        """m(k), the failures that stand against k + 1 successes; none are left where it is 0."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf.")

    def _top(self) -> Tensor:
        """The end of the support."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf.")

    def _tail(self, x: Tensor, ours: Any, other: Any, below: float, beyond: float) -> Tensor:
        """`ours` at I_p, or `other` at the same tail as I_q with q = 1 - p: at the smaller, which is exact."""
        k = x.floor().clamp(-1, 1e30)
        m = self._rest(k)
        regular = (k >= 0) & (m > 0)
        a, b = torch.where(regular, k + 1, 1.0), torch.where(regular, m, 1.0)
        p, q = self.probs, self._failure()
        rare = p < 0.5
        value = torch.where(rare, ours(a, b, torch.where(rare, p, 0.5)), other(b, a, torch.where(rare, 0.5, q)))
        return torch.where(regular, value, torch.where(k < 0, below, beyond + 0 * k))

    def _cdf(self, x: Tensor) -> Tensor:
        return self._tail(x, betaincc, betainc, 0.0, 1.0)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._tail(x, log_betaincc, log_betainc, -torch.inf, 0.0)

    def _sf(self, x: Tensor) -> Tensor:
        return self._tail(x, betainc, betaincc, 1.0, 0.0)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._tail(x, log_betainc, log_betaincc, 0.0, -torch.inf)

    def _icdf(self, p: Tensor) -> Tensor:
        return count_quantile(self, p.log(), (-p).log1p(), self._top(), upper=False)

    def _isf(self, q: Tensor) -> Tensor:
        return count_quantile(self, (-q).log1p(), q.log(), self._top(), upper=True)

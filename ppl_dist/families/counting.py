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
from ..special import betainc, betaincc, log_betainc, log_betaincc, log_binomial
from ..values import extremes

__all__ = [
    "Successes",
    "Trials",
    "count_quantile",
    "expected_log_choices",
    "expected_log_factorials",
    "log_masses",
    "log_scale_integral",
    "plain_precision",
    "slack_of_level",
    "top_count",
    "unit_vectors",
    "widened",
]


TABLE_COUNT = 64  # up to here the polynomial is shorter than the integral
SMALL_COUNT = 32.0  # up to here the sum of the expected log factorials is shorter than a table
TAIL_ERROR = 1e-12  # what is said of the special functions
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


def slack_of_level(level: Tensor, log_level: Tensor) -> Tensor:
    """By how much the log of a tail may miss that of a level, so that the quantile of a rounded cdf(k) is k.

    A level is rounded in its dtype, above one half by eps/4. Tails are in double precision, and their errors, as those
    of the logarithms, are parts of themselves.
    """
    rounding = torch.where(level > 0.5, 0.26 / level, 0.51) * torch.finfo(level.dtype).eps
    size = -log_level
    return rounding + TAIL_ERROR * size.clamp(max=1) + 32 * torch.finfo(torch.float64).eps * size


def count_quantile(d: Any, level: Tensor, top: Tensor, *, upper: bool) -> Tensor:
    """The smallest k with cdf(k) >= level, or with sf(k) <= level when `upper`; `top` where no mass may be left.

    Found bit by bit. Counts carry no gradient, so neither does this.
    """
    with torch.no_grad():
        shape = broadcast_shapes([level.shape, d.batch_shape])
        wide, given = d.expand(shape).to(torch.float64), level.to(torch.float64)
        log_level = given.log()
        slack = slack_of_level(level, log_level)
        below = torch.full(shape, -1.0, dtype=torch.float64, device=level.device)
        for bit in reversed(range(53)):
            middle = below + 2.0**bit
            reached = wide._log_sf(middle) <= log_level + slack if upper else wide._log_cdf(middle) >= log_level - slack
            below = torch.where(reached, below, middle)
        return torch.where(given == (0 if upper else 1), top, below + 1).to(level.dtype)


def log_scale_integral(f: Callable[[Tensor], Tensor], low: float, high: float, device: torch.device) -> Tensor:
    """The integral of f(t)/t over t > 0: trapezoids in log t from `low` to `high`.

    `f` takes the nodes along a last dimension, falls off at both ends, and is analytic for Re t > 0: the error is
    about exp(-pi**2 / h) for steps h (Trefethen and Weideman 2014, "The exponentially convergent trapezoidal rule").
    """
    h = 0.2
    t = torch.arange(low, high, h, dtype=torch.float64, device=device).exp()
    return h * f(t).sum(-1)


class Trials:
    """Mixed into counts of successes of chance p, for which P(X > k) = I_p(k + 1, m(k))."""

    def _chances(self) -> tuple[Tensor, Tensor]:
        """p and 1 - p, each to full relative accuracy in double precision."""
        raise NotImplementedError(f"{type(self).__name__} has no chance of success.")

    def _log_chances(self, k: Tensor | None, m: Tensor) -> tuple[Tensor, Tensor]:
        """(log p, log(1 - p)), to be multiplied by k and by m; made up where that is 0, as p may be 0 or 1 there.

        None for k says that log p is finite.
        """
        raise NotImplementedError(f"{type(self).__name__} has no chance of success.")

    def _trials(self, k: Tensor, m: Tensor) -> Tensor:
        """k log p + m log(1 - p); a term whose count is 0 is left out, with its derivative."""
        success, failure = self._log_chances(k, m)
        return torch.addcmul(k * success, m, failure)

    def _log_binomial(self, k: Tensor, m: Tensor) -> Tensor:
        """log G(k+m+1) / (G(k+1) G(m+1)) p^k (1-p)^m, for counts of any size."""
        return log_binomial(k, m, *self._chances(), *self._log_chances(k, m))

    def _rest(self, k: Tensor) -> Tensor:
        """m(k), the failures that stand against k + 1 successes; none are left where it is 0."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf.")

    def _top(self) -> Tensor:
        """The end of the support."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf.")

    def _tail(self, x: Tensor, ours: Any, below: float, beyond: float) -> Tensor:
        k = x.to(torch.float64).floor().clamp(-1, 1e30)
        m = self._rest(k)
        regular = (k >= 0) & (m > 0)
        value = ours(torch.where(regular, k + 1, 1.0), torch.where(regular, m, 1.0), *self._chances())
        value = torch.where(regular, value, torch.where(k < 0, below, beyond + 0 * k))
        return value.to(x.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return self._tail(x, betaincc, 0.0, 1.0)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._tail(x, log_betaincc, -torch.inf, 0.0)

    def _sf(self, x: Tensor) -> Tensor:
        return self._tail(x, betainc, 1.0, 0.0)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._tail(x, log_betainc, 0.0, -torch.inf)

    def _icdf(self, p: Tensor) -> Tensor:
        return count_quantile(self, p, self._top(), upper=False)

    def _isf(self, q: Tensor) -> Tensor:
        return count_quantile(self, q, self._top(), upper=True)


class Successes(Trials):
    """Mixed into such counts with `probs` p or `logits` log(p / (1-p))."""

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

    def _chances(self) -> tuple[Tensor, Tensor]:
        given = self._given().to(torch.float64)
        return (given.sigmoid(), (-given).sigmoid()) if "logits" in self.__dict__ else (given, 1 - given)

    def _log_chances(self, k: Tensor | None, m: Tensor) -> tuple[Tensor, Tensor]:
        one = other = given = self._given().to(m.dtype)
        logits = "logits" in self.__dict__
        seen = extremes(given)
        low, high = (-torch.inf, torch.inf) if logits else (0.0, 1.0)
        if seen is None or not (low < seen[0] and seen[1] < high):
            one = given if k is None else torch.where(k == 0, 0.5, given)
            other = torch.where(m == 0, 0.5, given)
        return (logsigmoid(one), logsigmoid(-other)) if logits else (one.log(), (-other).log1p())

"""Counts of successes of one chance: tails through the incomplete beta function, and quantiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ..shapes import broadcast_shapes
from ..special import betainc, betaincc, log1mexp, log1prel, log_betainc, log_betaincc, ndtri_exp
from ..special.beta import inner_tails
from ..special.binomial import log_binomial
from ..values import extremes, known, plainly_eager
from .bernoulli import GivenChance

__all__ = ["Successes", "Trials", "rounding_of", "skewed", "slack_of_level"]

TAIL_ERROR = 1e-12  # what is said of the special functions
TINY = 1e-300
STEPS = 12  # of a search in a graph; the grids of the law of accuracy take 10
PATIENCE = 8  # steps after which every second one halves the bracket
LAST_COUNT = 2.0**53  # beyond, neighbours are no longer numbers


def rounding_of(level: Tensor) -> Tensor:
    """What part of a level its rounding may be: half of eps, and above one half less."""
    return torch.where(level > 0.5, 0.26 / level, 0.51) * torch.finfo(level.dtype).eps


def slack_of_level(level: Tensor, log_level: Tensor) -> Tensor:
    """By how much the log of a tail may miss that of a level, so that the quantile of a rounded cdf(k) is k.

    The level is rounded in its dtype. Tails are in double precision, and their errors, as those of the logarithms, are
    parts of themselves.
    """
    size = -log_level
    return rounding_of(level) + TAIL_ERROR * size.clamp(max=1) + 32 * torch.finfo(torch.float64).eps * size


def count_quantile(d: Any, level: Tensor, *, upper: bool) -> Tensor:
    """The smallest k with cdf(k) >= level, or with sf(k) <= level when `upper`, up to the rounding of a level."""
    with torch.no_grad():
        log_level = level.to(torch.float64).log()
        moved = rounding_of(level).to(torch.float64)
        cut = (log_level + moved).clamp(max=-TINY) if upper else log_level - moved
        other = log1mexp(cut)
        log_p, log_q = (other, cut) if upper else (cut, other)
        top = d._top()
        found = search(d, log_p, torch.where(level == (0 if upper else 1), -torch.inf, log_q))
        return torch.where(level == (0 if upper else 1), top, found).to(level.dtype)


def search(d: Any, log_p: Tensor, log_q: Tensor) -> Tensor:
    """The smallest count with log cdf >= log_p and log sf <= log_q, log(1 - exp(log_p)): by the smaller of both.

    A bracket that begins as the whole support is closed by a search for a root. Where nothing can be looked at, it has
    a fixed length; elsewhere it ends when every bracket is closed. Counts carry no gradient.
    """
    with torch.no_grad():
        shape = broadcast_shapes([log_p.shape, d.batch_shape])
        wide = d.expand(shape).to(torch.float64)
        log_p, log_q = log_p.expand(shape), log_q.expand(shape)
        lower = log_p < log_q
        sign = torch.where(lower, 1.0, -1.0).to(torch.float64)
        level = torch.minimum(log_p, log_q).clamp(min=-1e300)
        slack = TAIL_ERROR - 32 * torch.finfo(torch.float64).eps * level
        top = wide._top()
        low, high = torch.full_like(level, -1.0), top.clamp(max=LAST_COUNT)
        k = wide._guess(sign * ndtri_exp(level.clamp(min=-1e3)), log_p).ceil()
        patient = plainly_eager() and level.is_cpu
        for i in range(STEPS if not patient else 150):
            if patient and i > PATIENCE and i % 2:
                k = ((low + 2) * (high + 2)).sqrt().floor() - 2
            k = torch.minimum(torch.maximum(k, low + 1), high - 1).clamp(min=0)
            below, above, log_mass = wide._log_tails_at(k)
            target = level - sign * (slack + wide._blur(k))
            reached = torch.where(lower, below >= target, above <= target)
            low, high = torch.where(reached, low, k), torch.where(reached, k, high)
            if patient and known(high - low <= 1):
                break
            k = _next(wide, k, top, torch.where(lower, below, above), log_mass, target, lower)
            k = torch.where(k.isfinite(), k, ((low + high) / 2).floor())
        closed = torch.where(high - low <= 1, high, k)
        # no search leads to an end that has all mass
        return torch.where((top == 0) | (wide._chances()[1] == 0), top, closed.abs())  # `ceil` may give -0


def skewed(z: Tensor, mean: Tensor, variance: Tensor, lean: Tensor) -> Tensor:
    """About the quantile at the normal score z: Cornish and Fisher (1938), by the third cumulant over the variance."""
    return mean + variance.sqrt() * z + lean * (z.square() - 1) / 6


def _next(d: Any, k: Tensor, top: Tensor, log_tail: Tensor, log_mass: Tensor, target: Tensor, lower: Tensor) -> Tensor:
    """Where the log of a tail, which is `log_tail` at k, meets the target.

    The step is Newton's in the logit of k, or log k on an endless support, where the logs of the tails are concave and
    straight far out; and it is right as well where a tail is linear in an exponential, as in the body of the law. A
    slope is that between neighbours, which differ by much where a tail is steep.
    """
    share = (k + 0.5) / (top + 1)
    pace = (k + 0.5) * (1 - share)  # dk/dy
    rise = d._log_rise(k)
    steps = log_mass + torch.where(lower, rise, 0.0) - log_tail
    slope = torch.where(lower, 1.0, -1.0) * softplus(steps.clamp(min=-690.0)) * pace
    step = (target - log_tail) / slope
    step = step * log1prel(((rise * pace - slope + 1 - 2 * share) * step).clamp(min=-0.95))
    odds = (k + 0.5) / (1 - share) * step.exp()
    return (odds / (1 + odds / (top + 1)) - 0.5).ceil()


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

    def _blur(self, k: Tensor) -> Tensor:
        """How far the rounding of p and 1 - p may move the log of a tail at k: eps times |k - mean| and a spread."""
        p, q = self._chances()
        gap = k * q - self._rest(k) * p
        return 2 * torch.finfo(torch.float64).eps * (gap.abs() + (k.clamp(min=0) * q).sqrt())

    def _cdf(self, x: Tensor) -> Tensor:
        return self._tail(x, betaincc, 0.0, 1.0)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._tail(x, log_betaincc, -torch.inf, 0.0)

    def _sf(self, x: Tensor) -> Tensor:
        return self._tail(x, betainc, 1.0, 0.0)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._tail(x, log_betainc, 0.0, -torch.inf)

    def _log_tails_at(self, k: Tensor) -> tuple[Tensor, ...]:
        """log P(X <= k), log P(X > k) and log P(X = k), at counts below the end of the support."""
        m, (p, q) = self._rest(k), self._chances()
        inside = (m > 0) & (p > 0) & (q > 0)
        chances = torch.where(inside, q, 0.5), torch.where(inside, p, 0.5)
        below, above, log_density = inner_tails(torch.where(inside, m, 1.0), k + 1, *chances)
        return below, above, log_density - (self._pairs(k) * chances[1]).log()

    def _pairs(self, k: Tensor) -> Tensor:
        """1/B(m(k), k + 1) over the coefficient of the mass at k."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf.")

    def _guess(self, z: Tensor, log_p: Tensor) -> Tensor:
        """About the quantile at exp(log_p), the normal score z."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf.")

    def _log_rise(self, k: Tensor) -> Tensor:
        """About log P(X = k + 1) - log P(X = k)."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf.")

    def _at_log_tails(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        blur = 4 * torch.finfo(log_p.dtype).eps
        wide = log_p.to(torch.float64), log_q.to(torch.float64)
        # either log may be off by some roundings; a level that is too low leads to the count before
        moved = wide[0] - blur * (1 - wide[0].clamp(min=-1e3)), wide[1] + blur * (1 - wide[1].clamp(min=-1e3))
        found = search(self, moved[0], moved[1].clamp(max=-TINY))
        return torch.where(log_q == -torch.inf, self._top(), found).to(log_p.dtype)

    def _icdf(self, p: Tensor) -> Tensor:
        return count_quantile(self, p, upper=False)

    def _isf(self, q: Tensor) -> Tensor:
        return count_quantile(self, q, upper=True)


class Successes(GivenChance, Trials):
    """Such counts, given by `probs` p or `logits` log(p / (1-p))."""

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

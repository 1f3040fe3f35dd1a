"""Distributions of proportions: the beta and the Dirichlet distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constraints import Independent, positive, simplex, unit_interval
from ..exp_family import ExponentialFamily
from ..param import Param, param
from ..samplers import gamma_slope, log_standard_gamma, moved_inside
from ..special import (
    beta_log_density,
    betainc,
    betaincc,
    betainccinv,
    betaincinv,
    log_beta,
    log_betainc,
    log_betaincc,
    log_factorial_excess,
    multi_log_beta,
)
from ..values import extremes, gradient_possible, highest, lowest
from .edges import xlog1py, xlogy

__all__ = ["Beta", "Dirichlet"]

ROUND, PEAKED = 40.0, 6.0  # concentrations up to the one, or from the other on, have exact implicit derivatives
FAR = 20.0
_TINY_SHARE = math.exp(-FAR)
_SHORT = 32  # entries of a vector
_DIGITS_TO_SPARE = 1e7  # in double precision a sum of `lgamma` at such numbers keeps the digits of a single one


def _all_small(total: Tensor) -> bool:
    """Whether the concentrations are seen to be so small that in log B(a, b), as a difference, no digit cancels."""
    return highest(total) < 16


def no_digit_cancels(total: Tensor) -> bool:
    """Whether the concentrations are seen to be so small that a density keeps its accuracy as a sum of `lgamma`."""
    return highest(total) < (128 if total.dtype == torch.float64 else 12)


def _slopes(a: Tensor, rest: Tensor, log_g: Tensor, odds: Tensor) -> Tensor:
    """The derivatives in `a` of `odds`, the logs of x / (1 - x) for shares x of Beta(a, rest) made of gamma draws g.

    The share of one entry moves all others in proportion. Implicit ones, -(dF/da) / f, as these vary least: Figurnov,
    Mohamed and Mnih (2018), "Implicit reparameterization gradients", eq. 5. Where a small concentration meets a
    large one the library's are wrong by up to all of their size, and the path is that of the gamma draws, which hardly
    varies more there (`test_draws_of_two_noises_move_as_their_expectation`).
    """
    if (highest(a) <= ROUND and highest(rest) <= ROUND) or min(lowest(a), lowest(rest)) >= PEAKED:
        return _implicit_slopes(a, rest, odds)
    sure = torch.maximum(a, rest).le(ROUND) | torch.minimum(a, rest).ge(PEAKED)
    sure = sure.all(-1, keepdim=True)  # one path for all shares of a vector
    safe = torch.where(sure, a, 1.0), torch.where(sure, rest, 1.0), torch.where(sure, odds, 0.0)
    return torch.where(sure, _implicit_slopes(*safe), gamma_slope(a, log_g))


def _implicit_slopes(a: Tensor, rest: Tensor, odds: Tensor) -> Tensor:
    wide_a, wide_rest, z = (v.to(torch.float64) for v in (a, rest, odds))
    total, held = wide_a + wide_rest, z.clamp(-FAR, FAR)
    x = held.sigmoid()
    slopes = torch._dirichlet_grad(x, wide_a, total) / x
    seen = extremes(z)
    if seen is None or max(-seen[0], seen[1]) > FAR:  # where one tail is a power of the share
        excess = torch.digamma(total) - torch.digamma(wide_a)
        low = (wide_a.reciprocal() - excess - z) / wide_a
        high = excess / wide_rest.clamp(min=torch.finfo(a.dtype).tiny)
        slopes = torch.where(z < -FAR, low, torch.where(z > FAR, high, slopes))
    return slopes.to(a.dtype)


def _plain_slopes(a: Tensor, log_g: Tensor) -> Tensor | None:
    """`_slopes` for the shares of a vector, in few operations; None unless looks show that no care is needed.

    Where the smallest share is not tiny, neither is what the others leave of any.
    """
    wide, x = a.to(torch.float64), log_g.to(torch.float64).softmax(-1)
    if a.shape[-1] < 2 or not lowest(x) >= _TINY_SHARE:
        return None
    total = wide.sum(-1, keepdim=True)
    if highest(total) <= ROUND or lowest(wide) >= PEAKED:
        return (torch._dirichlet_grad(x, wide, total.expand_as(wide)) / x).to(a.dtype)
    small_among_large = highest(wide) < PEAKED and lowest(total) > ROUND + PEAKED
    return gamma_slope(a, log_g) if small_among_large else None


def _others(values: Tensor) -> Tensor:
    """The sum of all other entries along the last dimension, without cancellation for the largest."""
    count = values.shape[-1]
    if count <= _SHORT:
        return values @ (1 - torch.eye(count, dtype=values.dtype, device=values.device))
    places = torch.arange(count, device=values.device)
    largest = places == values.argmax(-1, keepdim=True)
    small = torch.where(largest, 0.0, values).sum(-1, keepdim=True)
    return torch.where(largest, small, values.sum(-1, keepdim=True) - values)


def _shares(log_weights: Tensor) -> Tensor:
    """`softmax` over the last dimension, written out for large batches: the library's is slow over short vectors.

    Overwrites its argument.
    """
    if log_weights.numel() < 1000 or log_weights.shape[-1] > _SHORT:
        return log_weights.softmax(-1)
    weights = log_weights.sub_(log_weights.amax(-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(-1, keepdim=True))


def _peak(concentration: Tensor) -> Tensor:
    """The mode over the last dimension; where the density has no inner maximum, the corner of the largest entry."""
    excess = (concentration - 1).clamp(min=0)
    total = excess.sum(-1, keepdim=True)
    places = torch.arange(concentration.shape[-1], device=concentration.device)
    corner = (places == concentration.argmax(-1, keepdim=True)).to(excess.dtype)
    inner = total > 0
    return torch.where(inner, excess / torch.where(inner, total, 1.0), corner)


def _moved_shares(a: Tensor, log_g: Tensor) -> Tensor:
    """The shares of gamma draws with these logs, which follow the concentrations along their implicit path."""
    given = a.detach()
    slopes = _plain_slopes(given, log_g)
    if slopes is not None:  # a share's odds move as the log of its weight does
        return torch.addcmul(log_g, a - given, slopes).softmax(-1)
    x = _shares(log_g.clone()).clamp(min=torch.finfo(a.dtype).tiny)
    moves = (a - given) * (x * _slopes(given, _others(given), log_g, x.log() - _others(x).log()))
    return torch.addcmul(x + moves, x, moves.sum(-1, keepdim=True), value=-1)


class Beta(ExponentialFamily):
    """Beta(concentration1 a, concentration0 b):  density  x**(a-1) * (1-x)**(b-1) / B(a, b),  0 <= x <= 1.

    >>> Beta(2.0, 2.0).mean
    tensor(0.5000)
    """

    concentration1: Param = param(positive)
    concentration0: Param = param(positive)
    support = unit_interval
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        a, b = self.concentration1.expand(shape), self.concentration0.expand(shape)
        both = torch.stack([a, b])
        log_g = log_standard_gamma(both.detach(), generator)
        first, second = log_g.unbind()
        odds = first - second
        facts = torch.finfo(odds.dtype)
        x = odds.sigmoid().clamp(facts.tiny, 1 - facts.eps / 2)
        if not gradient_possible(a, b):
            return x
        y = (-odds).sigmoid().clamp(facts.tiny, 1 - facts.eps / 2)
        given = both.detach()
        wide = (v.movedim(0, -1) for v in (given, given.flip(0), log_g, torch.stack([odds, -odds])))
        up, down = ((both - given) * _slopes(*wide).movedim(-1, 0)).unbind()
        return x + x * y * (up - down)

    def _log_prob(self, x: Tensor) -> Tensor:
        a, b = self.concentration1, self.concentration0
        n = a + b
        if not no_digit_cancels(n):
            return beta_log_density(a, b, x)
        normalizer = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(n)
        return xlogy(a - 1, x) + xlog1py(b - 1, x) - normalizer

    def _cdf(self, x: Tensor) -> Tensor:
        return betainc(self.concentration1, self.concentration0, x)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log_betainc(self.concentration1, self.concentration0, x)

    def _sf(self, x: Tensor) -> Tensor:
        return betaincc(self.concentration1, self.concentration0, x)

    def _log_sf(self, x: Tensor) -> Tensor:
        return log_betaincc(self.concentration1, self.concentration0, x)

    def _icdf(self, p: Tensor) -> Tensor:
        return betaincinv(self.concentration1, self.concentration0, p)

    def _isf(self, q: Tensor) -> Tensor:
        return betainccinv(self.concentration1, self.concentration0, q)

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        n = a + b
        return (a / n) * (b / n) / (n + 1)

    @property
    def mode(self) -> Tensor:
        return _peak(torch.stack([self.concentration1, self.concentration0], -1))[..., 0]

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        n = a + b
        if not _all_small(n):
            inner = (n - 2) * torch.digamma(n) - (a - 1) * torch.digamma(a) - (b - 1) * torch.digamma(b)
            return log_beta(a, b) + inner
        every = torch.stack([a, b, n])
        slope = torch.digamma(every)
        first, second, both = torch.addcmul(torch.lgamma(every) + slope, every, slope, value=-1).unbind()
        return first + second - both - slope[2]

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return self.concentration1 - 1, self.concentration0 - 1

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        a, b = (eta + 1 for eta in natural_params)
        return log_beta(a, b)


def _log_density(a: Tensor, x: Tensor) -> Tensor:
    """The log density of a Dirichlet with concentrations `a`."""
    n = a.sum(-1)
    if no_digit_cancels(n):
        return _plain_log_density(a, n, x)
    if a.dtype == x.dtype == torch.float32 and highest(n) < _DIGITS_TO_SPARE:
        wide = a.to(torch.float64)
        return _plain_log_density(wide, wide.sum(-1), x.to(torch.float64)).to(a.dtype)
    # lgamma in Stirling's form: its powers go into those of n x/a, which is about 1 where the density is large
    powers = xlogy(a - 1, x * (n.unsqueeze(-1) / a)) - log_factorial_excess(a)
    return powers.sum(-1) + (log_factorial_excess(n) + (a.shape[-1] - 1) * n.log())


def _plain_log_density(a: Tensor, n: Tensor, x: Tensor) -> Tensor:
    return (xlogy(a - 1, x) - torch.lgamma(a)).sum(-1) + torch.lgamma(n)


class Dirichlet(ExponentialFamily):
    """Dirichlet(concentration a):  density  prod_i x_i**(a_i-1) / B(a),  x on the simplex.

    >>> Dirichlet([1.0, 3.0]).mean
    tensor([0.2500, 0.7500])
    """

    concentration: Param = param(Independent(positive, 1))
    support = simplex
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        a = self.concentration if self.concentration.shape == shape else self.concentration.expand(shape)
        log_g = log_standard_gamma(a.detach(), generator)
        if gradient_possible(a):
            return _moved_shares(a, log_g)
        return moved_inside(_shares(log_g), torch.finfo(a.dtype).tiny)

    def _log_prob(self, x: Tensor) -> Tensor:
        return _log_density(self.concentration, x)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        n = self.concentration.sum(-1, keepdim=True)
        share = self.concentration / n
        return share * ((n - self.concentration) / n) / (n + 1)

    @property
    def mode(self) -> Tensor:
        return _peak(self.concentration)

    def entropy(self) -> Tensor:
        a = self.concentration
        n, k = a.sum(-1), a.shape[-1]
        if _all_small(n):
            terms = torch.addcmul(torch.lgamma(a), a - 1, torch.digamma(a), value=-1)
            return torch.addcmul(terms.sum(-1) - torch.lgamma(n), n - k, torch.digamma(n))
        return multi_log_beta(a) + (n - k) * torch.digamma(n) - ((a - 1) * torch.digamma(a)).sum(-1)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.concentration - 1,)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        return multi_log_beta(natural_params[0] + 1)

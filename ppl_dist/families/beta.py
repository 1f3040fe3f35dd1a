"""Distributions of proportions: the beta and the Dirichlet distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from ..constraints import Independent, positive, simplex, unit_interval
from ..exp_family import ExponentialFamily
from ..param import Param, param
from ..samplers import log_standard_gamma, moved_inside
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
from ..values import gradient_possible, highest
from .edges import xlog1py, xlogy

__all__ = ["Beta", "Dirichlet"]


def _all_small(total: Tensor) -> bool:
    """Whether the concentrations are seen to be so small that in log B(a, b), as a difference, no digit cancels."""
    return highest(total) < 16


def no_digit_cancels(total: Tensor) -> bool:
    """Whether the concentrations are seen to be so small that a density keeps its accuracy as a sum of `lgamma`."""
    return highest(total) < (128 if total.dtype == torch.float64 else 12)


def _change(x: Tensor, a: Tensor, total: Tensor) -> Tensor:
    """Zero, with the implicit derivative of a share x of Beta(a, total - a) in `a`, over 1 - x.

    -(dF/da) / f keeps the quantile where it is: Figurnov, Mohamed and Mnih (2018), "Implicit reparameterization
    gradients", eq. 5. The share of one entry moves all others in proportion.
    """
    slope = torch._dirichlet_grad(x, a.detach(), total.detach())
    return (a - a.detach()) * slope


def _shares(log_weights: Tensor) -> Tensor:
    """`softmax` over the last dimension, written out for large batches: the library's is slow over short vectors.

    Overwrites its argument.
    """
    if log_weights.numel() < 1000 or log_weights.shape[-1] > 32:
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
        first, second = log_standard_gamma(torch.stack([a, b]).detach(), generator).unbind()
        odds = first - second
        facts = torch.finfo(odds.dtype)
        x = odds.sigmoid().clamp(facts.tiny, 1 - facts.eps / 2)
        if not gradient_possible(a, b):
            return x
        y = (-odds).sigmoid().clamp(facts.tiny, 1 - facts.eps / 2)
        return x + y * _change(x, a, a + b) - x * _change(y, b, a + b)

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
        wanted = gradient_possible(a)
        x = _shares(log_standard_gamma(a.detach() if wanted else a, generator))
        x = moved_inside(x, torch.finfo(a.dtype).tiny)
        if not wanted:
            return x
        moves = _change(x, a, a.sum(-1, keepdim=True).expand(shape))
        return x + moves - x * moves.sum(-1, keepdim=True)

    def _log_prob(self, x: Tensor) -> Tensor:
        a = self.concentration
        n = a.sum(-1)
        if no_digit_cancels(n):
            return (xlogy(a - 1, x) - torch.lgamma(a)).sum(-1) + torch.lgamma(n)
        # lgamma in Stirling's form: its powers go into those of n x/a, which is about 1 where the density is large
        powers = xlogy(a - 1, x * (n.unsqueeze(-1) / a)) - log_factorial_excess(a)
        return powers.sum(-1) + (log_factorial_excess(n) + (a.shape[-1] - 1) * n.log())

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

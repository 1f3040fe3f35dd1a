"""Counts of categories over many draws, from a fixed law and from one drawn from a Dirichlet law."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..constraints import Independent, dependent_property, multinomial, nonnegative_integer, positive
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import log_standard_gamma
from ..special import log_beta
from ..special.binomial import log_count_share, poisson_surprise
from ..values import highest, lowest
from .categorical import Categories, inverted
from .counting import expected_log_factorials, log_masses, plain_precision, unit_vectors, widened
from .counts import Binomial
from .finite import BetaBinomial

__all__ = ["DirichletMultinomial", "Multinomial", "expected_log_share"]

_FEW = 100  # up to so many draws it is faster to make them one by one


class Counting(Distribution):
    """What stands first in a law of the counts of categories: how many draws they count."""

    total_count: Param = param(nonnegative_integer, default=1)

    @dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return multinomial(self.total_count)


def _pairs(x: Tensor) -> Tensor:
    return torch.stack([x[..., ::2], x[..., 1::2]], -1)


def draw_counts(total_count: Tensor, weights: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """Counts of shape S + B + (K,) over `total_count` draws from `weights`, shape B + (K,) or S + B + (K,).

    Few draws, as one look at the counts on the CPU tells, are made and counted; elsewhere, and inside a capture,
    where there is nothing to look at, the count is split by binomial draws.
    """
    if total_count.is_cpu and not torch.compiler.is_compiling() and shape.numel():
        try:
            top = total_count.max().item()
        except RuntimeError:  # inside vmap, and on tensors that are traced
            top = torch.inf
        if top <= _FEW:
            return _counted(total_count, weights, shape, generator, int(top))
    return _split(total_count, weights, shape, generator)


def _counted(
    total_count: Tensor, weights: Tensor, shape: torch.Size, generator: torch.Generator | None, top: int
) -> Tensor:
    batch = weights.shape[:-1]
    copies = len(shape) - 1 - len(batch)
    u = torch.rand((*shape[:-1], top), dtype=torch.float64, device=weights.device, generator=generator)
    levels = u.flatten(0, copies - 1).movedim(0, -2) if copies else u.unsqueeze(-2)
    index = inverted(weights, levels.flatten(-2).contiguous()).reshape(levels.shape)
    index = index.movedim(-2, 0).reshape(u.shape) if copies else index.squeeze(-2)
    thrown = torch.arange(top, device=weights.device) < total_count.unsqueeze(-1)
    zeros = torch.zeros(shape, dtype=weights.dtype, device=weights.device)
    return zeros.scatter_add(-1, index, thrown.to(weights.dtype).expand(index.shape))


def _split(total_count: Tensor, weights: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """Split the categories in halves, and the count between them, again and again: log2 K binomial draws."""
    k = shape[-1]
    depth = (k - 1).bit_length()
    masses = [pad(weights.to(torch.float64), (0, 2**depth - k))]  # what a share near 1 leaves keeps its digits
    for _ in range(depth):
        masses.append(_pairs(masses[-1]).sum(-1))
    counts = total_count.expand(shape[:-1]).unsqueeze(-1)
    for mass in reversed(masses[:-1]):
        pair = _pairs(mass)
        both = pair.sum(-1)
        share = torch.where(both > 0, pair[..., 0] / torch.where(both > 0, both, 1.0), 0.0).expand(counts.shape)
        left = torch.binomial(counts.to(torch.float64), share, generator=generator).to(counts.dtype)
        counts = torch.stack([left, counts - left], -1).flatten(-2)
    return counts[..., :k]


def _log_powers(x: Tensor, given: Tensor, is_log: bool) -> Tensor:
    """x log p, and 0 with its derivative where x = 0, for `given` p or log p."""
    if lowest(given) > (-torch.inf if is_log else 0):
        return x * (given if is_log else given.log())
    return x * torch.where(x == 0, 0.0, given) if is_log else torch.xlogy(x, given + (x == 0))


def _log_mass(n: Tensor, x: Tensor, given: Tensor, is_log: bool) -> Tensor:
    """log of n! prod_k p_k**x_k / x_k! as a quotient of Poisson masses of the means n p_k.

    Each of them knows its mean, so that the rounding of p, which in x log p is multiplied by x, is by x - n p alone.
    """
    every = n.unsqueeze(-1)
    p, safe = (given.exp() if is_log else given), torch.where(x == 0, 0.5, given)
    parts = poisson_surprise(x, every, p, safe if is_log else safe.log(), x - every * p)
    nothing = torch.zeros_like(n)
    return poisson_surprise(n, n, torch.ones_like(n), nothing, nothing) - parts.sum(-1)


class Multinomial(Categories, Counting):
    """Multinomial(total_count n, probs p, or logits):  mass  n! prod_k p_k**x_k / x_k!,  x_k >= 0, sum x_k = n.

    `total_count` may differ from entry to entry; both parameters are normalised over their last dimension.

    >>> Multinomial(4, probs=[1.0, 1.0, 2.0]).mean
    tensor([1., 1., 2.])
    """

    def _set_event_shape(self) -> None:
        self._event_shape = self._given().shape[-1:]

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return draw_counts(self.total_count, self.probs, shape, generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        n, is_log = self.total_count, "logits" in self.__dict__
        dtype = torch.promote_types(x.dtype, n.dtype)
        if plain_precision(dtype, highest(n)) == dtype:
            n, x = n.to(dtype), x.to(dtype)
            terms = _log_powers(x, self._given(), is_log)
            log_mass = (n + 1).lgamma() + (terms - (x + 1).lgamma()).sum(-1)
        else:
            n, x = widened(n, x)
            log_mass = _log_mass(n, x, self._given().to(torch.float64), is_log)
        # the constraint, as torch has it, lets smaller sums through; they have no mass
        return torch.where(x.sum(-1) == n, log_mass, -torch.inf).to(dtype)

    @property
    def mean(self) -> Tensor:
        return self.total_count.unsqueeze(-1) * self.probs

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.probs)

    @property
    def mode(self) -> Tensor:
        """One by one to the largest p_k / (x_k + 1), which gains most; the mean rounded down is on the way."""
        probs, x = self.probs, self.mean.floor()
        for _ in range(self._event_shape[-1] - 1):
            open_ = x.sum(-1, keepdim=True) < self.total_count.unsqueeze(-1)
            best = unit_vectors((probs / (x + 1)).argmax(-1), self._event_shape[-1], x.dtype)
            x = x + best * open_
        return x

    def entropy(self) -> Tensor:
        n, probs = self.total_count, self.probs
        expected = expected_log_factorials(n, probs)
        if expected is None:
            log_mass = log_masses(Binomial(n.unsqueeze(-1), probs, validate_args=False))
            k = torch.arange(len(log_mass), dtype=n.dtype, device=n.device).reshape((-1,) + (1,) * probs.dim())
            expected = (log_mass.exp() * (k + 1).lgamma()).sum(0)
        entropy: Tensor = (expected + n.unsqueeze(-1) * torch.special.entr(probs)).sum(-1) - (n + 1).lgamma()
        return entropy


def _log_share(a: Tensor, x: Tensor) -> Tensor:
    """log G(x+a) / (x! G(a)) for whole x >= 0: -log(x B(a, x)), without cancellation for large arguments."""
    counted = x > 0
    safe = torch.where(counted, x, 1.0)
    return torch.where(counted, -safe.log() - log_beta(a, safe), 0.0)


def expected_log_share(p: DirichletMultinomial, a: Tensor) -> Tensor:
    """E[sum_k log G(X_k + a_k) / (X_k! G(a_k))] for X ~ p: each X_k alone is beta-binomial. Sums over 0 ... n."""
    own = p.concentration
    if own.shape[-1] == 1:
        return _log_share(a, p.total_count.unsqueeze(-1)).sum(-1)
    others = own.unsqueeze(-2).masked_fill(torch.eye(own.shape[-1], dtype=torch.bool, device=own.device), 0.0).sum(-1)
    log_mass = log_masses(BetaBinomial(own, others, p.total_count.unsqueeze(-1), validate_args=False))
    k = torch.arange(len(log_mass), dtype=own.dtype, device=own.device).reshape((-1,) + (1,) * (log_mass.dim() - 1))
    return (log_mass.exp() * _log_share(a, k)).sum((0, -1))


def _categories(concentration: Tensor) -> torch.Size:
    """The event shape: without a category there is nothing to draw."""
    if concentration.shape[-1] == 0:
        raise ValueError("DirichletMultinomial: `concentration` must have at least one category, got none.")
    return concentration.shape[-1:]


class DirichletMultinomial(Distribution):
    """DirichletMultinomial(concentration a, total_count n):  Multinomial counts with probs from Dirichlet(a).

    mass  n! G(A) / G(n+A) prod_k G(x_k+a_k) / (x_k! G(a_k)),  A = sum a_k,  x_k >= 0, sum x_k = n. `total_count` may
    differ from entry to entry.

    >>> DirichletMultinomial([1.0, 1.0], 4).log_prob(torch.tensor([4.0, 0.0])).exp()
    tensor(0.2000)
    """

    concentration: Param = param(Independent(positive, 1))
    total_count: Param = param(nonnegative_integer, default=1)

    @dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return multinomial(self.total_count)

    def _set_event_shape(self) -> None:
        self._event_shape = _categories(self.concentration)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        weights = log_standard_gamma(self.concentration.expand(shape), generator).softmax(-1)
        return draw_counts(self.total_count, weights, shape, generator)

    def _normalizer(self, a: Tensor) -> Tensor:
        """log n! G(A) / G(n+A)."""
        return -_log_share(a.sum(-1), self.total_count.to(a.dtype))

    def _log_prob(self, x: Tensor) -> Tensor:
        dtype = torch.promote_types(x.dtype, self.total_count.dtype)
        a, n, x = widened(self.concentration, self.total_count, x)
        total, every = a.sum(-1), n.unsqueeze(-1)
        parts = log_count_share(a, x, total.unsqueeze(-1), every).sum(-1)
        log_mass = parts - log_count_share(total, n, total, n)
        return torch.where(x.sum(-1) == n, log_mass, -torch.inf).to(dtype)

    @property
    def mean(self) -> Tensor:
        a = self.concentration
        return self.total_count.unsqueeze(-1) * (a / a.sum(-1, keepdim=True))

    @property
    def variance(self) -> Tensor:
        a, n = self.concentration, self.total_count.unsqueeze(-1)
        total = a.sum(-1, keepdim=True)
        share = a / total
        return n * share * ((total - a) / total) * ((total + n) / (1 + total))

    def entropy(self) -> Tensor:
        return -self._normalizer(self.concentration) - expected_log_share(self, self.concentration)

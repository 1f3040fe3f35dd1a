"""Conjugate priors: the pairs there are, and the law of an observation when the parameter is integrated out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .distribution import Distribution
from .families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    Multinomial,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    Poisson,
)
from .samplers import draw
from .shapes import broadcast_shapes

__all__ = ["PRIORS", "STATISTICS", "Predictive"]

# the parameter of a likelihood that a prior is conjugate to, the numbers of the prior to which an observation adds its
# statistics, and the distribution with other such numbers
PRIORS: dict[type, tuple[str, Callable[[Any], tuple[Tensor, ...]], Callable[..., Any]]] = {
    Beta: ("probs", lambda d: (d.concentration1, d.concentration0), Beta),
    Gamma: ("rate", lambda d: (d.concentration, d.rate), Gamma),
    Dirichlet: ("probs", lambda d: (d.concentration,), Dirichlet),
    Normal: ("loc", lambda d: (d.loc / d.scale**2, d.scale**-2), lambda w, p: Normal(w / p, p.rsqrt())),
}
# by prior and likelihood, the statistics of an observation
STATISTICS: dict[tuple[type, type], Callable[[Any, Tensor], tuple[Tensor, ...]]] = {
    (Beta, Bernoulli): lambda d, x: (x, 1 - x),
    (Beta, Binomial): lambda d, x: (x, d.total_count - x),
    (Beta, Geometric): lambda d, x: (torch.ones_like(x), x),
    (Beta, NegativeBinomial): lambda d, x: (x, d.total_count),
    (Gamma, Poisson): lambda d, x: (x, torch.ones_like(x)),
    (Gamma, Exponential): lambda d, x: (torch.ones_like(x), x),
    (Gamma, Gamma): lambda d, x: (d.concentration, x),
    (Dirichlet, Categorical): lambda d, x: (one_hot(x.long(), d.probs.shape[-1]),),
    (Dirichlet, OneHotCategorical): lambda d, x: (x,),
    (Dirichlet, Multinomial): lambda d, x: (x,),
    (Normal, Normal): lambda d, x: (x / d.scale**2, d.scale**-2),
}


class Predictive(Distribution):
    """A distribution `fn` of which one parameter is integrated out over `prior`, which is conjugate to it.

    With z for the parameter, p(x) = p(z) p(x | z) / p(z | x) at any z. What shares one z is one draw: the log density
    has the batch shape of z, where that of a draw may be wider.
    """

    support = None  # it depends on the instance here, and so does whether a draw is pathwise

    def __init__(self, prior: Any, fn: Any) -> None:
        super().__init__(fn.batch_shape, fn.event_shape)
        self.fn, self.prior = fn, prior
        self.support, self.has_rsample = fn.support, fn.has_rsample  # type: ignore[misc]  # of the class elsewhere

    def rsample(self, sample_shape: Any = (), *, generator: torch.Generator | None = None) -> Tensor:
        if sample_shape:  # draws of their own have a parameter of their own each
            return torch.stack([self.rsample(sample_shape[1:], generator=generator) for _ in range(sample_shape[0])])
        return draw(self._given(draw(self.prior, torch.Size(), generator)), torch.Size(), generator)

    def log_prob(self, value: Tensor) -> Tensor:
        posterior = self.posterior(value)
        z = posterior.mean.detach()
        likelihood = self._total(self._given(z).log_prob(value), value, self.prior.batch_shape)
        total: Tensor = self.prior.log_prob(z) + likelihood - posterior.log_prob(z)
        return total

    def posterior(self, value: Tensor) -> Any:
        """The law of the parameter given that this value was drawn."""
        _, numbers, build = PRIORS[type(self.prior)]
        pairs = zip(numbers(self.prior), STATISTICS[type(self.prior), type(self.fn)](self.fn, value), strict=True)
        return build(*(old + self._total(added, value, old.shape) for old, added in pairs))

    def _total(self, terms: Tensor, value: Tensor, shape: torch.Size) -> Tensor:
        """The sum over all that shares one parameter: from batch and event dimensions to `shape`."""
        events = len(shape) - len(self.prior.batch_shape)
        batch = broadcast_shapes([self.batch_shape, value.shape[: value.dim() - self.event_dim]])
        return terms.expand(batch + terms.shape[terms.dim() - events :]).sum_to_size(shape)

    def _given(self, z: Tensor) -> Any:
        fn, key = copy.copy(self.fn), PRIORS[type(self.prior)][0]
        vars(fn)[key] = z.expand(vars(fn)[key].shape)
        return fn

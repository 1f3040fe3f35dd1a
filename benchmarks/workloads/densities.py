"""What loops written by hand share: mean-field Normals over pairs of leaves, and a few log densities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "PARTICLES",
    "Gaussian",
    "bounds",
    "dirichlet",
    "gaussians",
    "leaf",
    "log_dirichlet",
    "normal",
    "pair",
    "standard_divergence",
]

PARTICLES = 10
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

LogWeight = Callable[..., Tensor]
Loss = Callable[..., Tensor]


def leaf(value: Any) -> Tensor:
    """A tensor to be learned."""
    return torch.as_tensor(value).clone().requires_grad_()


def normal(z: Tensor, log_scale: Tensor | float) -> Tensor:
    """Log density of a Normal with this scale, at the standardised value z."""
    return -0.5 * z * z - log_scale - HALF_LOG_2PI


def standard_divergence(loc: Tensor, log_scale: Tensor) -> Tensor:
    """KL(Normal(loc, scale) || Normal(0, 1)), all entries together."""
    return 0.5 * ((2 * log_scale).exp() + loc * loc - 1).sum() - log_scale.sum()


def pair(loc: Any, scale: Any) -> list[Tensor]:
    """The two leaves of a `Gaussian`."""
    return [leaf(loc), leaf(torch.as_tensor(scale).log())]


def gaussians(leaves: Sequence[Tensor]) -> list[Gaussian]:
    """One for each pair of leaves."""
    return [Gaussian(*each) for each in zip(leaves[::2], leaves[1::2], strict=True)]


class Gaussian(NamedTuple):
    """Independent Normals in a guide, by location and the logarithm of the scale."""

    loc: Tensor
    log_scale: Tensor

    def draw(self, particles: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """A value, and its log density entry by entry."""
        noise = torch.randn(particles + self.loc.shape)
        return self.loc + self.log_scale.exp() * noise, normal(noise, self.log_scale)

    def divergence(self) -> Tensor:
        """KL from the standard Normal, all entries together."""
        return standard_divergence(self.loc, self.log_scale)


def dirichlet(concentration: Tensor) -> Tensor:
    """A draw that carries a gradient."""
    gammas = torch.distributions.Gamma(concentration, torch.ones(()), validate_args=False).rsample()
    return gammas / gammas.sum(-1, keepdim=True)


def log_dirichlet(p: Tensor, concentration: Tensor) -> Tensor:
    """Log density of a Dirichlet."""
    terms = (concentration - 1) * p.log() - concentration.lgamma()
    return terms.sum(-1) + concentration.sum(-1).lgamma()


def bounds(log_weight: LogWeight, *, importance: bool = False) -> dict[str, Loss]:
    """The bounds whose gradient goes through the draws, each a function of the leaves and the data.

    Args:
        log_weight: of a shape, the leaves and the data: log p(x, z) - log q(z) at draws of that shape to the left of
            all others; entries may be left to be added up.
        importance: whether `log_weight` has such draws, and so an importance-weighted bound.
    """

    def loss(leaves: Sequence[Tensor], *data: Tensor) -> Tensor:
        return -log_weight((), leaves, *data).sum()

    def weighted(leaves: Sequence[Tensor], *data: Tensor) -> Tensor:
        return -(log_weight((PARTICLES,), leaves, *data).logsumexp(0) - math.log(PARTICLES)).sum()

    found = {"Trace_ELBO": loss, "TraceGraph_ELBO": loss}
    return {**found, "RenyiELBO": weighted} if importance else found

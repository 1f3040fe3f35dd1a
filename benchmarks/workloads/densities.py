"""What loops written by hand share: a mean-field Normal, and a few log densities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["PARTICLES", "Gaussian", "bounds", "dirichlet", "leaf", "log_dirichlet", "normal", "standard_divergence"]

PARTICLES = 10
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

LogWeight = Callable[[tuple[int, ...]], Tensor]


def leaf(value: Any) -> Tensor:
    """A tensor to be learned."""
    return torch.as_tensor(value).clone().requires_grad_()


def normal(z: Tensor, log_scale: Tensor | float) -> Tensor:
    """Log density of a Normal with this scale, at the standardised value z."""
    return -0.5 * z * z - log_scale - HALF_LOG_2PI


def standard_divergence(loc: Tensor, log_scale: Tensor) -> Tensor:
    """KL(Normal(loc, scale) || Normal(0, 1)), all entries together."""
    return 0.5 * ((2 * log_scale).exp() + loc * loc - 1).sum() - log_scale.sum()


class Gaussian:
    """Independent Normals in a guide, by location and the logarithm of the scale."""

    def __init__(self, loc: Any, scale: Any) -> None:
        self.loc, self.log_scale = leaf(loc), leaf(torch.as_tensor(scale).log())
        self.leaves = [self.loc, self.log_scale]

    def draw(self, particles: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """A value, and its log density entry by entry."""
        noise = torch.randn(particles + self.loc.shape)
        return self.loc + self.log_scale.exp() * noise, normal(noise, self.log_scale)

    def divergence(self) -> Tensor:
        """KL from the standard Normal, all entries together."""
        return standard_divergence(self.loc, self.log_scale)


def dirichlet(concentration: Tensor) -> Tensor:
    """A draw that carries a gradient."""
    return torch.distributions.Dirichlet(concentration, validate_args=False).rsample()


def log_dirichlet(p: Tensor, concentration: Tensor) -> Tensor:
    """Log density of a Dirichlet."""
    terms = (concentration - 1) * p.log() - concentration.lgamma()
    return terms.sum(-1) + concentration.sum(-1).lgamma()


def bounds(log_weight: LogWeight, *, importance: bool = False) -> dict[str, Callable[[], Tensor]]:
    """The bounds whose gradient goes through the draws.

    Args:
        log_weight: log p(x, z) - log q(z) at draws of a shape to the left of all others; entries may be left to be
            added up.
        importance: whether `log_weight` has such draws, and so an importance-weighted bound.
    """

    def loss() -> Tensor:
        return -log_weight(()).sum()

    def weighted() -> Tensor:
        return -(log_weight((PARTICLES,)).logsumexp(0) - math.log(PARTICLES)).sum()

    found = {"Trace_ELBO": loss, "TraceGraph_ELBO": loss}
    return {**found, "RenyiELBO": weighted} if importance else found

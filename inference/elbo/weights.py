"""Importance weights of particles, log p(x, z) - log q(z); per entry of a plate where its entries are independent."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppl import Trace
from ppl.runtime import Frame, Site
from ppl_dist.shapes import broadcast_shapes

from ..baselines import PARTICLES
from ..surrogate import latent_sites, only

__all__ = ["Weights", "check_one_draw", "importance_weights"]

Run = tuple[Trace, Trace]  # of the model and of the guide


class Weights(NamedTuple):
    """The log densities that weights are made of, laid out as the batches of the sites are.

    Attributes:
        model: log p(x, z); the particles lie along `dim`, and the plates of `frames` where they always do.
        guide: log q(z).
        dim: the dimension of the particles.
        frames: the plates that all sites are in: their entries have weights of their own.
        scale: what each entry counts for, where a minibatch of these plates stands for more.
        latents: the latent sites of the guide, run by run.
    """

    model: Tensor
    guide: Tensor
    dim: int
    frames: tuple[Frame, ...]
    scale: float
    latents: list[list[Site]]

    @property
    def log_weights(self) -> Tensor:
        """The log importance weights."""
        return self.model - self.guide

    def log_mean_exp(self, terms: Tensor) -> Tensor:
        """The log of the average of exp(terms) over the particles."""
        return terms.logsumexp(self.dim, keepdim=True) - log(terms.shape[self.dim])

    def of_run(self, x: Tensor, run: int) -> Tensor:
        """What belongs to one run of several; all of it where there is one run with all particles."""
        return x if len(self.latents) == 1 else x.select(self.dim, run)


def importance_weights(runs: Sequence[Run]) -> Weights:
    """The weights of the particles of one run that has them all, or of several runs that have one each."""
    sites = [site for run in runs for trace in run for site in trace.values() if site.type == "sample"]
    frames = _shared(sites)
    scale = prod(f.full_size / max(f.size, 1) for f in frames)
    dim = next((f.dim for site in sites for f in site.cond_indep_stack if f.name == PARTICLES and f.dim), None)
    kept = frozenset(f.dim for f in frames if f.dim is not None) | ({dim} if dim else set())
    logs = [[_log_density(trace, kept, scale) for trace in run] for run in runs]
    if dim is None:  # a dimension for the particles, left of all others
        shape = broadcast_shapes([density.shape for run in logs for density in run])
        logs = [[density.expand(shape)[None] for density in run] for run in logs]
        dim = -1 - len(shape)
    model, guide = (torch.cat([run[role] for run in logs], dim) for role in (0, 1))
    latents = [latent_sites(guide) for _, guide in runs]
    return Weights(model, guide, dim, frames, scale, latents)


def check_one_draw(bound: Any, guide_trace: Trace, *, pathwise: bool = False) -> None:
    """Raise if the guide draws a site several times for one particle, or by an estimator that a weight does not allow.

    An estimator of the first derivative may leave out what has expectation zero, as a score has in the evidence lower
    bound and has not under a weight.

    Raises:
        ValueError: a site has an estimator that does not fit.
    """
    for site in guide_trace.values():
        estimator = site.infer.get("_estimator")
        if estimator is None:
            continue
        if "_enumerate_dim" in site.infer or not estimator.any_order or (pathwise and not estimator.through):
            raise ValueError(
                f'{type(bound).__name__}: site "{site.name}" has the estimator "{estimator.name}", expected one '
                f"{'pathwise ' * pathwise}draw for each particle. "
                f'Try infer={{"estimator": "{"pathwise" if pathwise else "score"}"}} without "samples", or Trace_ELBO.'
            )


def _shared(sites: Sequence[Site]) -> tuple[Frame, ...]:
    """The plates that all sites are in, but for that of the particles."""
    first, *others = [site.cond_indep_stack for site in sites] or [()]
    return tuple(
        f for f in first if f.dim is not None and f.name != PARTICLES and all(f in frames for frames in others)
    )


def _log_density(trace: Trace, kept: frozenset[int], scale: float) -> Tensor:
    total: Tensor = torch.zeros(())
    for site in trace.values():
        if site.type == "sample":
            total = total + only(site.log_prob, kept)
    return total if scale == 1.0 else total / scale

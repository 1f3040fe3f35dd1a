"""Exact enumeration of a site's finite support, or of the largest part of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppl.messages import frames_text
from ppl.runtime import Site
from ppl_dist.samplers import standard_uniform

from .estimator import Context, Estimator, Part, has_rows, laid_out, log_density, samples

__all__ = ["Enumerate", "has_list"]


class Enumerate(Estimator):
    """The sum over the support, each value weighted by its probability: no noise, for as many evaluations.

    With `infer={"budget": k}` only the k most probable values are summed, and the rest is drawn from, once or
    `"samples"` times: Liu, Regier, Tripuraneni, Jordan, McAuliffe 2019, "Rao-Blackwellized Stochastic Gradients for
    Discrete Distributions".
    """

    name = "enumerate"
    any_order = True

    def check(self, site: Site) -> None:
        if not has_list(site.fn):
            raise self.refuse(site, "has no enumerate_support", 'Try infer={"estimator": "score"}.')
        budget = site.infer.get("budget", 1)
        if not isinstance(budget, int) or budget < 1:
            raise ValueError(
                f'site "{site.name}": "budget" must be a whole number, at least 1, got {budget!r}. '
                f'Try infer={{"estimator": "enumerate", "budget": 2}}.'
            )

    def rows(self, site: Site) -> bool:
        return True

    def draw(self, site: Site) -> None:
        budget = site.infer.get("budget")
        support = site.fn.enumerate_support(expand=bool(budget is not None or site.infer.get("expand")))
        if budget is not None and budget < len(support):
            support = _chosen(site, support, budget)
        site.value = laid_out(support, site)

    def expect(self, site: Site, parts: list[Part], context: Context) -> list[Part]:
        dim = site.infer["_enumerate_dim"]
        weights = _weights(site, log_density(site), dim)
        return [self._summed(site, part, weights, dim) if has_rows(part.cost, site) else part for part in parts]

    def describe(self, site: Site) -> str:
        count, budget = len(site.fn.enumerate_support(expand=False)), site.infer.get("budget")
        if budget is None or budget >= count:
            return f"{self.name} ({count} values)"
        return f"{self.name} ({budget} of {count} values, and {samples(site)} drawn from the rest)"

    def _summed(self, site: Site, part: Part, weights: Tensor, dim: int) -> Part:
        if lost := [frame for frame in site.cond_indep_stack if frame.dim is not None and frame not in part.frames]:
            raise ValueError(
                f'site "{site.name}": it is enumerated inside {frames_text(tuple(lost))}, and a cost outside depends '
                f"on all its entries together, which has too many combinations to sum. "
                f'Try infer={{"estimator": "score"}} there.'
            )
        # what has no probability has no cost, whatever log density stands there
        cost = torch.where(weights > 0, part.cost, 0.0) * weights
        return part._replace(cost=cost.sum(dim, keepdim=True))


def has_list(fn: Any) -> bool:
    """Whether the values of a distribution can be listed; entries that are one event together have too many."""
    return getattr(fn, "has_enumerate_support", False) and not getattr(fn, "reinterpreted_batch_ndims", 0)


def _weights(site: Site, log_prob: Tensor, dim: int) -> Tensor:
    """The probability of each row; of a row that was drawn, over the probability of drawing it."""
    weights, budget = log_prob.exp(), site.infer.get("budget")
    if budget is None or budget >= weights.shape[dim]:
        return weights
    summed = weights.narrow(dim, 0, budget)
    drawn = weights.narrow(dim, budget, weights.shape[dim] - budget)
    rest = (1 - summed.detach().sum(dim, keepdim=True)).clamp(min=0) / samples(site)
    known = torch.where(drawn > 0, drawn.detach(), 1.0)
    return torch.cat([summed, drawn / known * rest], dim)


def _chosen(site: Site, support: Tensor, budget: int) -> Tensor:
    """The most probable values of each entry of the batch, and draws from the others."""
    with torch.no_grad():
        probs = site.fn.log_prob(support).exp()
        order = probs.argsort(0, descending=True)
        rest = probs.gather(0, order[budget:])
        uniforms = standard_uniform(torch.Size((samples(site), *rest.shape)), rest, site.generator)
        # the first of independent exponential clocks with these rates to ring is a draw with these probabilities
        drawn = (-uniforms.log() / rest).argmin(1)
        places = torch.cat([order[:budget], order[budget:].gather(0, drawn)])
        event = support.shape[support.dim() - len(site.fn.event_shape) :]
        index = places.reshape(places.shape + (1,) * len(event)).expand(places.shape + event)
        return support.gather(0, index)

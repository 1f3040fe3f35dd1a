"""The evidence lower bound by Monte Carlo: log p(x, z) - log q(z) at draws z of the guide."""

from __future__ import annotations

from ppl import Trace
from ppl.runtime import Site

from ..surrogate import Cost
from .base import ELBO

__all__ = ["Trace_ELBO"]


class Trace_ELBO(ELBO):
    """ELBO = E_q[log p(x, z) - log q(z)], each term of it a Monte Carlo estimate.

    >>> Trace_ELBO(num_particles=10, vectorize_particles=True).num_particles
    10
    """

    def costs(self, model_trace: Trace, guide_trace: Trace) -> list[Cost]:
        found: list[Cost] = []
        order: dict[str, int] = {}
        for site in guide_trace.nodes.values():
            if site.type == "sample":
                if not site.is_observed:
                    order[site.name] = len(order) + 1
                found.append(cost_of(site, len(order), 1.0, None if site.is_observed else site))
        after = 0
        places: list[tuple[Site, int]] = []
        for site in model_trace.nodes.values():
            if site.type == "sample":
                # everything so far in the model may depend on the latents met so far, and these on all that the
                # guide drew before them
                after = max(after, order.get(site.name, 0))
                places.append((site, after))
        return found + self._model_costs(places)

    def _model_costs(self, places: list[tuple[Site, int]]) -> list[Cost]:
        """Hook: the costs of the model's sites, each with how many latent sites of the guide it may depend on."""
        return [cost_of(site, after, -1.0) for site, after in places]


def cost_of(site: Site, after: int, weight: float, density_of: Site | None = None) -> Cost:
    """The log density of a site as a cost; what it depends on is known where `TraceGraph_ELBO` has followed it."""
    on = site.infer.get("_parents")
    if on is not None and not site.is_observed:
        on |= {site.name}
    return Cost(site.log_prob, after, site.cond_indep_stack, site.log_prob_sum, weight, on, density_of)

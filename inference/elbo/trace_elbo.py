"""The evidence lower bound by Monte Carlo: log p(x, z) - log q(z) at draws z of the guide."""

from __future__ import annotations

from ppl import Trace
from ppl.runtime import Site

from ..surrogate import Cost
from .base import ELBO

__all__ = ["Places", "Trace_ELBO", "cost_of", "places"]

Places = list[tuple[Site, int]]  # sites, each with how many latent sites of the guide it may depend on


class Trace_ELBO(ELBO):
    """ELBO = E_q[log p(x, z) - log q(z)], each term of it a Monte Carlo estimate.

    >>> Trace_ELBO(num_particles=10, vectorize_particles=True).num_particles
    10
    """

    def costs(self, model_trace: Trace, guide_trace: Trace) -> list[Cost]:
        guide, model = places(model_trace, guide_trace)
        found = [cost_of(site, after, 1.0, None if site.is_observed else site) for site, after in guide]
        return found + self._model_costs(model)

    def _model_costs(self, model: Places) -> list[Cost]:
        """Hook: the costs of the sites of the model."""
        return [cost_of(site, after, -1.0) for site, after in model]


def places(model_trace: Trace, guide_trace: Trace) -> tuple[Places, Places]:
    """The sample sites of guide and model, each with how many latent sites of the guide it may depend on."""
    guide: Places = []
    order: dict[str, int] = {}
    for site in guide_trace.nodes.values():
        if site.type == "sample":
            if not site.is_observed:
                order[site.name] = len(order) + 1
            guide.append((site, len(order)))
    model: Places = []
    after = 0
    for site in model_trace.nodes.values():
        if site.type == "sample":
            # everything so far in the model may depend on the latents met so far, and these on all that the guide
            # drew before them
            after = max(after, order.get(site.name, 0))
            model.append((site, after))
    return guide, model


def cost_of(site: Site, after: int, weight: float, density_of: Site | None = None) -> Cost:
    """The log density of a site as a cost; what it depends on is known where `TraceGraph_ELBO` has followed it."""
    on = site.infer.get("_parents")
    if on is not None and not site.is_observed:
        on |= {site.name}
    return Cost(site.log_prob, after, site.cond_indep_stack, site.log_prob_sum, weight, on, density_of)

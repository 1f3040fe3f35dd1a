"""The evidence lower bound with divergences in closed form where there are any."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppl import Trace
from ppl.runtime import Site
from ppl.trace import SiteFilter
from ppl_dist import kl_divergence

from ..surrogate import Cost
from .trace_elbo import Trace_ELBO, cost_of, places

__all__ = ["TraceMeanField_ELBO"]


class TraceMeanField_ELBO(Trace_ELBO):
    """`Trace_ELBO`, less noisy: E[log q - log p] of a latent site is KL(q || p), where that has a closed form.

    The divergence stands in for what it is the expectation of, given the sites before. So it is taken where guide and
    model draw what the site depends on before it, count it alike (plates, scale, mask), and have a registered pair of
    families; elsewhere the term is a Monte Carlo estimate as in `Trace_ELBO`, which is the same in expectation.

    Attributes:
        terms: by latent site of the latest run, "analytic" or "monte carlo".

    >>> import ppl, ppl_dist as dist
    >>> bound = TraceMeanField_ELBO()
    >>> bound.loss(lambda: ppl.sample("z", dist.Normal(1.0, 1.0)), lambda: ppl.sample("z", dist.Normal(0.0, 1.0)))
    0.5
    >>> bound.terms
    {'z': 'analytic'}
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.terms: dict[str, str] = {}
        self._without: set[tuple[Any, Any]] = set()  # pairs of families that have no closed form

    def costs(self, model_trace: Trace, guide_trace: Trace) -> list[Cost]:
        guide, model = places(model_trace, guide_trace)
        found = [site.infer.get("_divergence") or cost_of(site, after, -1.0) for site, after in model]
        for site, after in guide:
            if not _analytic(model_trace, site.name):
                found.append(cost_of(site, after, 1.0, None if site.is_observed else site))
        return found

    def _scores(self, model_trace: Trace, guide_trace: Trace) -> SiteFilter:
        guide, model = places(model_trace, guide_trace)
        drawn = {site.name: (site, after) for site, after in guide if not site.is_observed}
        for site, after in model:
            divergence = self._divergence(drawn[site.name], site, after) if site.name in drawn else None
            if divergence is not None:
                site.infer["_divergence"] = divergence
        self.terms = {name: "analytic" if _analytic(model_trace, name) else "monte carlo" for name in drawn}
        return lambda name, site: not _analytic(model_trace, name)

    def _divergence(self, drawn: tuple[Site, int], site: Site, after: int) -> Cost | None:
        """KL(q || p) at a site, as a cost of the sites before it."""
        own, place = drawn
        # the model may have met sites by now that the guide draws after this one
        if after != place or not _count_alike(own, site):
            return None
        pair = _kinds(own.fn), _kinds(site.fn)
        if pair in self._without:
            return None
        try:
            value = kl_divergence(own.fn, site.fn)
        except NotImplementedError:
            self._without.add(pair)
            return None
        if isinstance(site.scale, Tensor) or site.scale != 1.0:
            value = value * site.scale
        if site.mask is not None:
            value = torch.where(torch.as_tensor(site.mask, device=value.device), value, 0.0)
        return Cost(value, place - 1, site.cond_indep_stack)


def _analytic(model_trace: Trace, name: str) -> bool:
    return name in model_trace.nodes and "_divergence" in model_trace.nodes[name].infer


def _count_alike(own: Site, site: Site) -> bool:
    """Whether guide and model have a site in the same plates, and give its entries the same weights."""
    frames = set(own.cond_indep_stack) == set(site.cond_indep_stack)
    return frames and _same(own.scale, site.scale) and _same(own.mask, site.mask)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or torch.equal(one, other)
    return not isinstance(one, Tensor) and not isinstance(other, Tensor) and bool(one == other)


def _kinds(fn: Any) -> tuple[Any, ...]:
    """The family of a distribution, and of those it is made of."""
    base = getattr(fn, "base_dist", None)
    return (type(fn),) if base is None else (type(fn), *_kinds(base))

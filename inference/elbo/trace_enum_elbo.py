"""The evidence lower bound with discrete sites of the model summed out, which the guide then does without."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import ppl_dist as dist
from ppl import Trace, handlers
from ppl.messages import call_text, family
from ppl.runtime import Site, enclosing

from ..estimating import NeedsRows, estimate
from ..estimators.enumerated import has_list
from ..surrogate import Cost
from .base import Program
from .elimination import Factor, eliminate, factor_of, size
from .trace_elbo import Places, Trace_ELBO

__all__ = ["TraceEnum_ELBO"]


class TraceEnum_ELBO(Trace_ELBO):
    """`Trace_ELBO` with log p(x, z) summed over all values of the discrete sites that the model enumerates.

    These are the latent sites of the model with `infer={"enumerate": "parallel"}` that the guide does not have. They
    are summed out inside the plates they stand in, so that a plate of n sites with k values costs n k terms and not
    k^n; chains and trees cost as much as their links, and may use `ppl.handlers.markov` to be long. Sites of the guide
    with the same mark are summed too, weighted by the guide, as with every bound.

    A mask on a site that is summed out does not take its law away. A scale multiplies the log of the sum, and must be
    the same for all sites that are summed together.

    Raises:
        ValueError: while running, if the sites to sum cannot be told apart by plates, or are scaled differently.
        NotImplementedError: while running, if the values of a site cannot be listed, or `markov` gave one dimension to
            two sites that must be summed together.

    >>> import torch, ppl
    >>> def mixture():
    ...     k = ppl.sample("k", dist.Bernoulli(0.25), infer={"enumerate": "parallel"})
    ...     ppl.sample("x", dist.Normal(4 * k, 1.0), obs=torch.tensor(0.0))
    >>> loss = TraceEnum_ELBO().loss(mixture, lambda: None)
    >>> round(loss, 4)  # -log(0.75 N(0; 0, 1) + 0.25 N(0; 4, 1))
    1.2065
    """

    def compute_marginals(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> dict[str, dist.Distribution]:
        """The posterior of each site that is summed out, given the data and one run of the guide.

        Args:
            model: the model, run on `args` and `kwargs`.
            guide: the guide, run on the same; what it draws is given, in all rows and particles.
            *args: passed to both.
            **kwargs: passed to both.

        Returns:
            By name of the site, its distribution entry by entry: of the family of the site where that is Categorical,
            Bernoulli or OneHotCategorical, otherwise Empirical on its values.
        """
        with torch.no_grad():
            model_trace, guide_trace = self.traces(model, guide, args, kwargs)
        variables, factors, _ = self._split([(site, 0) for site in model_trace.values() if site.type == "sample"])
        if not variables:
            return {}
        rows = _rows(guide_trace)
        with torch.enable_grad():
            probes = {name: _probe(site, factors, rows).requires_grad_() for name, site in variables.items()}
            raised = [_raised(f, variables[f.site], probes[f.site]) if f.site in probes else f for f in factors]
            totals = [marginal.value.sum() for marginal in eliminate(raised, variables)]
            # the log marginal moves with the log density of a value by the probability of that value
            found = torch.autograd.grad(totals, list(probes.values()), materialize_grads=True)
        return {name: _posterior(site, probs) for (name, site), probs in zip(variables.items(), found, strict=True)}

    def _model_costs(self, model: Places) -> list[Cost]:
        variables, factors, others = self._split(model)
        costs = super()._model_costs(others)
        for marginal in eliminate(factors, variables):
            value = marginal.value * marginal.scale
            costs.append(Cost(value, marginal.after, tuple(marginal.frames), weight=-1.0))
        return costs

    def _split(self, model: Places) -> tuple[dict[str, Site], list[Factor], Places]:
        """The sites to sum out, the factors that depend on one of them, and the other sites."""
        variables = {site.name: site for site, _ in model if self._sums_out(site)}
        factors, others = [], []
        for site, after in model:
            factor = factor_of(site, variables, after) if variables else None
            if factor is not None and factor.on:
                factors.append(factor)
            else:
                others.append((site, after))
        return variables, factors, others

    def _replayed(self, model: Program, guide_trace: Trace) -> Program:
        return _Layout(super()._replayed(model, guide_trace), guide_trace)

    def _sums_out(self, site: Site) -> bool:
        return "_summed" in site.infer


class _Layout(handlers.enum):
    """Lay out the sites to be summed, left of the plates and of all rows that the guide has drawn."""

    def __init__(self, fn: Program, guide_trace: Trace) -> None:
        first = next(enclosing(estimate)).first_available_dim
        self.known = first is not None
        super().__init__(fn, min([(first or -1) + 1, *_rows(guide_trace)]) - 1)

    def process(self, site: Site) -> None:
        if site.type == "sample" and site.value is None and _asks(site):
            if not has_list(site.fn):
                raise NotImplementedError(
                    f'site "{site.name}": the model cannot be summed over it: expected a distribution with '
                    f"enumerate_support, got {family(site.fn)}. "
                    f'Try sample("{site.name}", {call_text(site.fn)}) in the guide.'
                )
            if not self.known:
                raise NeedsRows(site.name)
            site.infer |= {"enumerate": "parallel", "_summed": True}
        if "_summed" in site.infer or self.born:  # before the first of them no dimension is taken
            super().process(site)


def _rows(guide_trace: Trace) -> set[int]:
    return {site.infer["_enumerate_dim"] for site in guide_trace.values() if "_enumerate_dim" in site.infer}


def _asks(site: Site) -> bool:
    """Whether a site asks for all its values, rather than for some of them."""
    asked = site.infer.get("enumerate") or site.infer.get("estimator") == "enumerate"
    return bool(asked) and not site.infer.keys() & {"num_samples", "budget"}


def _probe(site: Site, factors: list[Factor], rows: set[int]) -> Tensor:
    """Zeros, one per value of a site, entry of its plates, and row of the guide: of shape (values,) + batch."""
    widest = {dim: max(size(factor.value, dim) for factor in factors) for dim in rows}
    widest = {dim: n for dim, n in widest.items() if n > 1}
    own: Tensor = site.unscaled_log_prob
    plates = {frame.dim: size(own, frame.dim) for frame in site.cond_indep_stack if frame.dim is not None}
    sizes = widest | plates
    batch = [sizes.get(dim, 1) for dim in range(min(sizes, default=0), 0)]
    return torch.zeros([size(own, site.infer["_enumerate_dim"]), *batch], dtype=own.dtype, device=own.device)


def _raised(factor: Factor, site: Site, probe: Tensor) -> Factor:
    ones = (1,) * (-site.infer["_enumerate_dim"] - probe.dim())
    return factor._replace(value=factor.value + probe.reshape(probe.shape[:1] + ones + probe.shape[1:]))


def _posterior(site: Site, probs: Tensor) -> dist.Distribution:
    """The distribution that gives the values of a site, along the first dimension, these probabilities."""
    kind, masses = type(site.fn), probs.movedim(0, -1)
    if len(probs) == 1:  # nothing moves with the only value
        masses = torch.ones_like(masses)
    if kind is dist.Bernoulli:
        return dist.Bernoulli(probs=masses[..., 1].clamp(0, 1))
    if kind is dist.Categorical:
        return dist.Categorical(probs=masses)
    if kind is dist.OneHotCategorical:
        return dist.OneHotCategorical(probs=masses)
    batch, event = probs.shape[1:], site.fn.event_shape
    own = site.value.shape[site.value.dim() - len(batch) - len(event) :]
    values = site.value.reshape(-1, *own).expand(-1, *batch, *event).movedim(0, len(batch))
    return dist.Empirical(values, masses.log())

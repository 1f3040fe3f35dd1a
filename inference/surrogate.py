"""The engine for gradients of expectations: sites and costs in, one differentiable surrogate out.

The value of the surrogate is the sum of the costs, and its gradient is an unbiased estimate of the
gradient of their expectation (Schulman, Heess, Weber, Abbeel 2015, "Gradient Estimation Using Stochastic
Computation Graphs", theorem 1):

    d/dt E[sum_c c]  =  E[ sum_c dc/dt  +  sum_i dlog p(z_i)/dt * (sum of costs downstream of z_i - b_i) ]

A pathwise site has its derivative inside the costs and adds nothing. A score site adds one term: its log
density times the costs downstream of it, held constant, less a baseline.

Which costs are downstream is read from two declarations. Program order: a cost depends on the sites up to
`Cost.after`, so what was paid before a draw never multiplies its score. Plates: inside a plate, index
k of a site is independent of index j of a cost, so each entry multiplies only its own; unless a site
drawn between the two lies outside the plate and may have carried one to the other.
This module is the only one that knows about score functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ppl import Trace
from ppl.messages import did_you_mean, listed
from ppl.runtime import Frame, Site
from ppl_dist.shapes import broadcast_shapes

from .baselines import Baselines, DecayingAverage, baseline_of

__all__ = ["Cost", "surrogate_loss"]

ESTIMATORS = ("pathwise", "score")


class Cost(NamedTuple):
    """Something to be minimised in expectation.

    Attributes:
        value: the cost, of the shape of the plates it lives in.
        after: it depends on the first `after` sites at most (the program order of the trace).
        frames: the plates that own its dimensions.
        total: the sum of `value`, where that is already known.
        weight: what it counts for in the loss: 1, or -1 for a log density to be raised.
    """

    value: Tensor
    after: int
    frames: tuple[Frame, ...] = ()
    total: Tensor | None = None
    weight: float = 1.0

    def sum(self) -> Tensor:
        """The sum of `value`, as a 0-dim tensor."""
        if self.total is not None:
            return self.total
        return self.value if self.value.dim() == 0 else self.value.sum()


def surrogate_loss(
    sites: Trace | Sequence[Site],
    costs: Tensor | Mapping[str, Tensor] | Sequence[Cost],
    *,
    baselines: Baselines | None = None,
) -> Tensor:
    """One scalar whose value is the sum of the costs and whose gradient estimates that of its expectation.

    Args:
        sites: the stochastic program: a trace, or its sample sites in program order.
        costs: a tensor that depends on every site; or a cost per site name, paid right after that site
            (rewards of a policy, negated); or a sequence of `Cost`. Shapes are those of the plates.
        baselines: the memory of running baselines; needed if a site asks for one.

    Returns:
        A 0-dim tensor; `.backward()` gives gradients for everything the sites and costs depend on.

    Raises:
        ValueError: a cost has dimensions that no plate owns, names an unknown site, or is of integer type;
            a site names an estimator that is unknown or that its family cannot have.

    >>> import torch, ppl, ppl_dist as dist
    >>> logit = torch.tensor(0.0, requires_grad=True)
    >>> with ppl.handlers.trace() as tr:
    ...     action = ppl.sample("action", dist.Bernoulli(logits=logit))
    >>> surrogate_loss(tr, {"action": -action}).backward()
    """
    stochastic = _stochastic(sites)
    listed = _as_costs(costs, stochastic)
    loss = _total(listed)
    scored = [estimator_of(site) == "score" for site in stochastic]
    return loss + _score_terms(stochastic, scored, listed, baselines) if any(scored) else loss


def estimator_of(site: Site) -> str:
    """`pathwise` where the family has a pathwise derivative and nothing else was asked, else `score`.

    Raises:
        ValueError: the estimator is unknown, or pathwise for a family without `rsample`.
    """
    asked = site.infer.get("estimator")
    if asked is None:
        return "pathwise" if site.fn.has_rsample else "score"
    if asked not in ESTIMATORS:
        raise ValueError(
            f'site "{site.name}": unknown estimator {asked!r}. Expected one of {", ".join(ESTIMATORS)}. '
            f'Try infer={{"estimator": "score"}}.'
        )
    if asked == "pathwise" and not site.fn.has_rsample:
        raise ValueError(
            f'site "{site.name}": {type(site.fn).__name__} has no pathwise derivative (no rsample). '
            f'Try infer={{"estimator": "score"}}.'
        )
    return str(asked)


def _stochastic(sites: Trace | Sequence[Site]) -> list[Site]:
    rows = list(sites.nodes.values()) if isinstance(sites, Trace) else sites
    return [site for site in rows if site.type == "sample" and not site.is_observed]


def _total(costs: Sequence[Cost]) -> Tensor:
    """The weighted sum of all costs; those of one weight are added first, so that a sign costs one operation."""
    sums: dict[float, Tensor] = {}
    for cost in costs:
        known = sums.get(cost.weight)
        sums[cost.weight] = cost.sum() if known is None else known + cost.sum()
    total = sums.pop(1.0, None)
    for weight, value in sums.items():
        if total is None:
            total = value * weight
            continue
        total = total - value if weight == -1.0 else total + value * weight
    return torch.zeros(()) if total is None else total


# Costs as users give them


def _as_costs(costs: Tensor | Mapping[str, Tensor] | Sequence[Cost], sites: list[Site]) -> Sequence[Cost]:
    if isinstance(costs, Tensor):
        return [_checked(costs, len(sites), _owners(costs, sites), "the cost")]
    if not isinstance(costs, Mapping):
        return costs
    order = {site.name: position for position, site in enumerate(sites, 1)}
    found = []
    for name, value in costs.items():
        if name not in order:
            raise ValueError(
                f'surrogate_loss: a cost is given for "{name}", which is no latent site{did_you_mean(name, order)} '
                f'Sites: {listed(order)}. Try {{"{next(reversed(order), name)}": cost}}.'
            )
        frames = sites[order[name] - 1].cond_indep_stack
        found.append(_checked(torch.as_tensor(value), order[name], frames, f'the cost of site "{name}"'))
    return found


def _owners(cost: Tensor, sites: list[Site]) -> tuple[Frame, ...]:
    """The plates of the program whose dimension and size match a dimension of the cost."""
    frames = {frame for site in sites for frame in site.cond_indep_stack}
    return tuple(f for f in frames if f.dim is not None and cost.dim() >= -f.dim and cost.shape[f.dim] in (f.size, 1))


def _checked(value: Tensor, after: int, frames: tuple[Frame, ...], what: str) -> Cost:
    if not value.is_floating_point():
        raise ValueError(f"surrogate_loss: {what} must be floating, got {value.dtype}. Try cost.float().")
    owned = {frame.dim: frame.size for frame in frames if frame.dim is not None}
    for dim in range(-value.dim(), 0):
        if value.shape[dim] != 1 and owned.get(dim) != value.shape[dim]:
            plates = ", ".join(f'"{f.name}" (dim {f.dim}, size {f.size})' for f in frames) or "none"
            raise ValueError(
                f"surrogate_loss: {what} has shape {tuple(value.shape)}, and no plate owns dim {dim}. "
                f"Plates: {plates}. Either sum it first:  cost.sum({dim}),  or sample the sites it depends on inside "
                f"a plate there."
            )
    return Cost(value, after, frames)


# Score terms


def _score_terms(
    sites: Sequence[Site], scored: Sequence[bool], costs: Sequence[Cost], baselines: Baselines | None
) -> Tensor:
    """The sum of the score terms: zero in value, each site's score times its advantage in gradient.

    One sweep from the last site to the first collects the costs as they become downstream, so that rewards-to-go
    over a long program take linear time.
    """
    waiting = sorted(costs, key=lambda cost: cost.after)
    downstream = _Downstream()
    terms: Tensor | None = None
    for order in range(len(sites), 0, -1):
        site = sites[order - 1]
        while waiting and waiting[-1].after >= order:
            downstream.add(waiting.pop())
        downstream.pass_by(site)
        cost = downstream.total() if scored[order - 1] else None
        if cost is None:
            continue
        log_prob = _score(site)
        if not log_prob.requires_grad:
            continue
        before = _baseline(site, cost, log_prob, baselines)
        term = (log_prob * (cost if before is None else cost - before)).sum()
        terms = term if terms is None else terms + term
    return torch.zeros(()) if terms is None else terms - terms.detach()


def _score(site: Site) -> Tensor:
    """The log density of a site's own draw, masked but not scaled: a minibatch scales the cost, not the score."""
    log_prob = site.unscaled_log_prob
    if log_prob is None:
        value = site.value.detach() if isinstance(site.value, Tensor) else site.value
        log_prob = site.fn.log_prob(value)
    if site.mask is None or site.mask is True:
        return log_prob  # type: ignore[no-any-return]  # a site holds anything; here it is a tensor
    mask = torch.as_tensor(site.mask, device=log_prob.device)
    return torch.where(mask, log_prob, torch.zeros_like(log_prob))


def _baseline(site: Site, cost: Tensor, log_prob: Tensor, baselines: Baselines | None) -> Tensor | None:
    rule = baseline_of(site)
    if rule is None:
        return None
    if isinstance(rule, DecayingAverage):
        if baselines is None:
            raise ValueError(
                f'site "{site.name}": a decaying-average baseline needs a memory, and none was given. '
                f"Try baselines = Baselines() once, and surrogate_loss(trace, costs, baselines=baselines) each time."
            )
        return baselines.use(site.name, rule, cost, site.cond_indep_stack)
    shape = log_prob.shape
    try:
        fits = broadcast_shapes([rule.shape, shape]) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f'site "{site.name}": the baseline has shape {tuple(rule.shape)}, which does not broadcast to the batch '
            f"shape {tuple(shape)} of the site. Try a baseline of that shape."
        )
    return rule


class _Downstream:
    """The costs met so far, added up per set of plates that still tell their entries apart."""

    def __init__(self) -> None:
        self._sums: dict[frozenset[Frame], Tensor] = {}

    def add(self, cost: Cost) -> None:
        value = cost.value.detach()
        frames = frozenset(frame for frame in cost.frames if frame.dim is not None)
        self._put(frames, value if cost.weight == 1.0 else value * cost.weight)

    def _put(self, frames: frozenset[Frame], value: Tensor) -> None:
        known = self._sums.get(frames)
        self._sums[frames] = value if known is None else known + value

    def pass_by(self, site: Site) -> None:
        """Sum out the plates that `site` is not in, for it and for all sites before it.

        A site outside a plate may depend on every entry of it, and every entry of a later cost on that site.
        """
        own = frozenset(frame for frame in site.cond_indep_stack if frame.dim is not None)
        before, self._sums = self._sums, {}
        for frames, value in before.items():
            shared = frames & own
            kept = {frame.dim for frame in shared}
            outside = [dim for dim in range(-value.dim(), 0) if dim not in kept and value.shape[dim] != 1]
            self._put(shared, value.sum(outside, keepdim=True) if outside else value)

    def total(self) -> Tensor | None:
        """Their sum."""
        total: Tensor | None = None
        for value in self._sums.values():
            total = value if total is None else total + value
        return total

"""The engine for gradients of expectations: sites and costs in, one differentiable surrogate out.

What is wanted is the gradient of E[sum of costs], where the parameters move the draws too (Schulman, Heess, Weber,
Abbeel 2015, "Gradient Estimation Using Stochastic Computation Graphs"). The engine walks the latent sites from the
last to the first and keeps the cost-to-go: all that is still to be paid, as a function of the draws so far. At each
site the estimator of the site puts in its place the expectation over the draw, as in Bellman's equation. What is left
at the end has the value of the costs, and a gradient that is, in expectation, that of their expectation.

Which costs depend on a draw is read from declarations, and the rest of the cost-to-go passes it by. Program order: a
cost depends on the sites up to `Cost.after`, or on those that provenance says (`ppl.handlers.track`). Plates: inside a
plate, index k of a site is independent of index j of a cost, so each entry pays for its own; unless a site drawn
between the two lies outside the plate and may have carried one to the other. Rows: a site that is drawn in several
values at once has a batch dimension of its own, and a cost that lacks it does not depend on the site.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppl import Trace
from ppl.messages import did_you_mean, listed
from ppl.provenance import parents, provenance, untracked
from ppl.runtime import Frame, Site
from ppl_dist import validation_enabled_now

from .baselines import Baselines
from .estimators import Context, Estimator, Guard, Part, estimator_of
from .estimators.estimator import has_rows, not_differentiable

__all__ = ["Cost", "surrogate_loss"]


class Cost(NamedTuple):
    """Something to be minimised in expectation.

    Attributes:
        value: the cost, of the shape of the plates it lives in.
        after: it depends on the first `after` latent sites at most (the program order of the trace).
        frames: the plates that own its dimensions.
        total: the sum of `value`, where that is already known.
        weight: what it counts for in the loss: 1, or -1 for a log density to be raised.
        on: the names of the sites it depends on, where that is known better than by program order.
        density_of: the site whose own log density it is, scaled and masked, if it is one.
    """

    value: Tensor
    after: int
    frames: tuple[Frame, ...] = ()
    total: Tensor | None = None
    weight: float = 1.0
    on: frozenset[str] | None = None
    density_of: Site | None = None

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

    Derivatives of every order are right in expectation where the estimators of all sites can have them (pathwise,
    score, enumerate); elsewhere a second differentiation is an error.

    Args:
        sites: the stochastic program: a trace, or its sample sites in program order. If it ran under
            `ppl.handlers.track`, which costs depend on which sites is known from the values.
        costs: a tensor that depends on every site; or a cost per site name, paid right after that site
            (rewards of a policy, negated); or a sequence of `Cost`. Shapes are those of the plates: an entry depends on
            the same entry of the draws in its plate, so what mixes the entries is to be summed.
        baselines: the memory of running baselines; needed if a site asks for one.

    Returns:
        A 0-dim tensor; `.backward()` gives gradients for everything the sites and costs depend on.

    Raises:
        ValueError: a cost has dimensions that no plate owns, names an unknown site, or is of integer type;
            a site names an estimator that is unknown or that its family cannot have.
        RuntimeError: a site was not drawn the way its estimator needs.

    >>> import torch, ppl, ppl_dist as dist
    >>> logit = torch.tensor(0.0, requires_grad=True)
    >>> with ppl.handlers.trace() as tr:
    ...     action = ppl.sample("action", dist.Bernoulli(logits=logit))
    >>> surrogate_loss(tr, {"action": -action}).backward()
    """
    stochastic = latent_sites(sites)
    paid = _as_costs(costs, stochastic)
    estimators = [site.infer.get("_estimator") or estimator_of(site) for site in stochastic]
    if not any(map(_acts, stochastic, estimators)):
        return _total(paid)
    return _Sweep(stochastic, estimators, paid, baselines).loss()


def latent_sites(sites: Trace | Sequence[Site]) -> list[Site]:
    """The sample sites that are not observed, in order."""
    rows = list(sites.nodes.values()) if isinstance(sites, Trace) else sites
    return [site for site in rows if site.type == "sample" and not site.is_observed]


def _acts(site: Site, estimator: Estimator) -> bool:
    """Whether there is anything to do at a site but to differentiate through it."""
    if not estimator.plain(site) and "_estimator" not in site.infer:
        raise RuntimeError(
            f'site "{site.name}": the estimator "{estimator.name}" must draw the site itself, and did not. '
            f"Try with inference.estimate():  around the program."
        )
    return not estimator.through or "_enumerate_dim" in site.infer


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


# The sweep

Share = tuple[frozenset[Frame], int]  # plates, and one bit per site that it depends on
Pool = dict[Share, Tensor]


class _Sweep:
    """One walk over the sites, from the last to the first, with the cost-to-go of each."""

    def __init__(
        self, sites: list[Site], estimators: list[Estimator], costs: Sequence[Cost], memory: Baselines | None
    ) -> None:
        self.sites, self.estimators, self.costs = sites, estimators, costs
        self.memory = None if memory is None else memory.as_of_now()
        guards = [site.infer["_guard"] for site in sites if "_guard" in site.infer]
        self.guard: Guard = guards[0] if guards else Guard()
        self.bits = {site.name: 1 << place for place, site in enumerate(sites)}
        self.rows = frozenset(_rows(sites))
        self.tracked = all("_given" in site.infer for site in sites)
        self.acting = [_acts(site, estimator) for site, estimator in zip(sites, estimators, strict=True)]
        self.own: dict[str, Any] = {}

    def loss(self) -> Tensor:
        """The surrogate."""
        first = self.acting.index(True)
        pool, settled = self._start(first)
        for place in range(len(self.sites) - 1, first - 1, -1):
            self._pass(place, pool)
        terms = settled + [value if value.dim() == 0 else value.sum() for value in pool.values()]
        return reduce(torch.add, terms) if terms else torch.zeros(())

    def _start(self, first: int) -> tuple[Pool, list[Tensor]]:
        """The costs that may depend on a draw that matters; and those that do not, added up."""
        pool: Pool = {}
        settled = []
        paths = self._paths() if validation_enabled_now() and torch.is_grad_enabled() else []
        for cost in self.costs:
            for site, along in paths:
                _check_path(cost, site, along)
            waits = self._waits(cost)
            if cost.density_of is not None:
                self.own[cost.density_of.name] = cost.weight
            if waits >> first:
                value = cost.value if cost.weight == 1.0 else cost.value * cost.weight
                _put(pool, (_vectorised(cost.frames), waits), value)
            else:
                settled.append(cost)
        return pool, [_total(settled)] if settled else []

    def _paths(self) -> list[tuple[Site, Tensor]]:
        """The sites whose estimators differentiate the costs along the draw, and along what.

        Those that a later site without a derivative depends on are left out: costs may depend on them through it.
        """
        found = []
        for place, (site, estimator) in enumerate(zip(self.sites, self.estimators, strict=True)):
            later = zip(self.sites[place + 1 :], self.acting[place + 1 :], strict=True)
            along = estimator.path(site)
            if along is not None and not any(acts and _reaches(site, other) for other, acts in later):
                found.append((site, along))
        return found

    def _waits(self, cost: Cost) -> int:
        return (1 << cost.after) - 1 if cost.on is None else self._sites(cost.on)

    def _pass(self, place: int, pool: Pool) -> None:
        """Take the expectation over one site of all shares that depend on it."""
        site, bit = self.sites[place], 1 << place
        met = [share for share in pool if share[1] & bit]
        if not met:
            return
        own, before = _vectorised(site.cond_indep_stack), self._before(place)
        dims = self._dims(own)
        left: Pool = {}
        for share in met:
            # a site outside a plate may depend on every entry of it, and every entry of a later cost on that site
            frames = share[0] & own
            _put(left, (frames, (share[1] & ~bit) | before), only(pool.pop(share), self._dims(frames)))
        if self.acting[place]:
            parts = [Part(cost, frames, waits, self._dims(frames)) for (frames, waits), cost in left.items()]
            waits = reduce(or_, (waits for _, waits in left), before)
            context = Context(self._own(site), self.memory, self.guard, own, waits, dims)
            left = {}
            for part in self.estimators[place].expect(site, parts, context):
                _put(left, (part.frames, part.waits), part.cost)
        for share, value in left.items():
            _put(pool, share, value)

    def _dims(self, frames: frozenset[Frame]) -> frozenset[int]:
        dims = {frame.dim for frame in frames if frame.dim is not None}
        return self.rows.union(dims)

    def _before(self, place: int) -> int:
        """The sites that the draw of this one may depend on."""
        site = self.sites[place]
        known = site.infer.get("_parents")
        if known is None and self.tracked:
            known = parents(site)
        return (1 << place) - 1 if known is None else self._sites(known)

    def _sites(self, names: frozenset[str]) -> int:
        return reduce(or_, (self.bits.get(name, 0) for name in names), 0)

    def _own(self, site: Site) -> Any:
        """How often the log density of a site counts, entry by entry."""
        weight = self.own.get(site.name)
        if weight is None:
            return 0.0
        weight = weight * site.scale
        return weight if site.mask is None else torch.where(torch.as_tensor(site.mask), weight, 0.0)


def _reaches(site: Site, other: Site) -> bool:
    """Whether the law of another site depends on the rows of a site."""
    shape, dim = other.fn.batch_shape, site.infer["_enumerate_dim"]
    return bool(len(shape) >= -dim and shape[dim] > 1)


def _check_path(cost: Cost, site: Site, along: Tensor) -> None:
    """Raise if a cost changes with the rows of a site, and no derivative says how."""
    if cost.density_of is not None or not has_rows(cost.value, site):
        return  # the log density of a draw may be that of its noise, which changes from row to row by itself
    total, found = cost.value.sum(), None
    if total.requires_grad:
        (found,) = torch.autograd.grad(total, along, retain_graph=True, allow_unused=True)
    if found is None:
        raise not_differentiable(site)


def _rows(sites: Sequence[Site]) -> dict[int, str]:
    """The dimensions of rows, each with the name of its site.

    Raises:
        ValueError: two sites share one, or a plate has taken it.
    """
    rows: dict[int, str] = {}
    for site in sites:
        dim = site.infer.get("_enumerate_dim")
        if dim is not None and rows.setdefault(dim, site.name) != site.name:
            raise ValueError(
                f'surrogate_loss: the rows of sites "{rows[dim]}" and "{site.name}" lie along one dimension, {dim}. '
                f"Try one estimate(program) around both."
            )
    return rows


def _vectorised(frames: Sequence[Frame]) -> frozenset[Frame]:
    return frozenset(frame for frame in frames if frame.dim is not None)


def only(value: Tensor, dims: frozenset[int]) -> Tensor:
    """`value` summed over all dimensions but these."""
    outside = [dim for dim in range(-value.dim(), 0) if dim not in dims and value.shape[dim] != 1]
    return value.sum(outside, keepdim=True) if outside else value


def _put(pool: Pool, share: Share, value: Tensor) -> None:
    known = pool.get(share)
    pool[share] = value if known is None else known + value


# Costs as users give them


def _as_costs(costs: Tensor | Mapping[str, Tensor] | Sequence[Cost], sites: list[Site]) -> Sequence[Cost]:
    if isinstance(costs, Tensor):
        return [_checked(costs, len(sites), _owners(costs, sites), "the cost", sites)]
    if not isinstance(costs, Mapping):
        return costs
    return list(_named(costs, sites))


def _named(costs: Mapping[str, Tensor], sites: list[Site]) -> Iterator[Cost]:
    order = {site.name: position for position, site in enumerate(sites, 1)}
    for name, value in costs.items():
        if name not in order:
            raise ValueError(
                f'surrogate_loss: a cost is given for "{name}", which is no latent site{did_you_mean(name, order)} '
                f'Sites: {listed(order)}. Try {{"{next(reversed(order), name)}": cost}}.'
            )
        frames = sites[order[name] - 1].cond_indep_stack
        yield _checked(torch.as_tensor(value), order[name], frames, f'the cost of site "{name}"', sites)


def _owners(cost: Tensor, sites: list[Site]) -> tuple[Frame, ...]:
    """The plates of the program whose dimension and size match a dimension of the cost."""
    frames = {frame for site in sites for frame in site.cond_indep_stack}
    return tuple(f for f in frames if f.dim is not None and cost.dim() >= -f.dim and cost.shape[f.dim] in (f.size, 1))


def _checked(value: Tensor, after: int, frames: tuple[Frame, ...], what: str, sites: list[Site]) -> Cost:
    if not value.is_floating_point():
        raise ValueError(f"surrogate_loss: {what} must be floating, got {value.dtype}. Try cost.float().")
    owned: dict[int | None, int | None] = {frame.dim: frame.size for frame in frames if frame.dim is not None}
    owned |= {site.infer["_enumerate_dim"]: None for site in sites if "_enumerate_dim" in site.infer}
    for dim in range(-value.dim(), 0):
        if value.shape[dim] != 1 and owned.get(dim, 0) not in (None, value.shape[dim]):
            plates = ", ".join(f'"{f.name}" (dim {f.dim}, size {f.size})' for f in frames) or "none"
            raise ValueError(
                f"surrogate_loss: {what} has shape {tuple(value.shape)}, and no plate owns dim {dim}. "
                f"Plates: {plates}. Either sum it first:  cost.sum({dim}),  or sample the sites it depends on inside "
                f"a plate there."
            )
    present = tuple(f for f in frames if f.dim is not None and value.dim() >= -f.dim and value.shape[f.dim] == f.size)
    on = provenance(value)
    for site in sites if on else ():  # what Python has read may have decided what the cost is
        on |= site.infer.get("_read", frozenset())
    return Cost(untracked(value), after, present, on=on or None)

"""Antithetic pairs of categories: two draws that differ as often as they can, and the difference of their costs."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ppl.runtime import Site
from ppl_dist import Bernoulli, Categorical, OneHotCategorical
from ppl_dist.samplers import standard_uniform
from ppl_dist.shapes import sum_rightmost

from .entries import entries_of, spread
from .estimator import Context, Estimator, Part, has_rows, laid_out, once, samples, slope
from .sampled import mean

__all__ = ["Disarm"]


class Disarm(Estimator):
    """The gradient 1/2 w (f(z) - f(y)) d(log q(z) - log q(y)) from a pair z, y that is antithetic entry by entry.

    Both follow q. With w = q(z) q(y) / p(z, y) the expectation is that of independent draws, where f(y) is the
    baseline of z and the other way round. Dong, Mnih, Tucker 2020, "DisARM: An Antithetic Gradient Estimator for Binary
    Latent Variables", eq. 8; 2021, "Coupled Gradient Estimators for Discrete Latent Variables", section 4.

    `infer={"samples": n}` averages n pairs.
    """

    name = "disarm"
    families: tuple[Any, ...] = (Bernoulli, Categorical, OneHotCategorical)

    def check(self, site: Site) -> None:
        if not isinstance(entries_of(site)[0], self.families):
            known = " or ".join(family.__name__ for family in self.families)
            raise self.refuse(site, f"is no {known}", 'Try infer={"estimator": "score"}.')

    def rows(self, site: Site) -> bool:
        return True

    @torch.no_grad()
    def draw(self, site: Site) -> None:
        entries, _ = entries_of(site)
        probs, order = _log_table(entries).exp().sort(-1)
        # of what the categories before have left, each takes this share: at most a half, but for the last
        sticks = probs / probs.flip(-1).cumsum(-1).flip(-1)
        shape = torch.Size((samples(site), *sticks.shape))
        u = standard_uniform(shape, sticks.to(torch.float64), site.generator)  # in single precision none is rare
        ends = torch.cat([_first(u <= sticks), _first(1 - u <= sticks)])
        places = order.expand(ends.shape + order.shape[-1:]).gather(-1, ends.unsqueeze(-1)).squeeze(-1)
        support = entries.enumerate_support(expand=False)
        site.value = laid_out(support.reshape(-1, *entries.event_shape)[places], site)
        earlier = torch.minimum(*ends.chunk(2)).unsqueeze(-1)
        weights = self.weights(sticks, u).expand(shape).gather(-1, earlier).squeeze(-1)
        site.infer["_weights"] = laid_out(torch.cat([weights, weights]), site)

    def weights(self, sticks: Tensor, u: Tensor) -> Tensor:
        """q(z) q(y) / p(z, y), by the place at which the first of the two ends; 0 at the last, where z = y.

        p(i, j) = prod_{k<i} (1 - 2 s_k) s_i prod_{i<k<j} (1 - s_k) s_j for places i < j and shares s, while
        q(i) = prod_{k<i} (1 - s_k) s_i.
        """
        s = sticks[..., :-1]
        passed = ((1 - s) ** 2 / (1 - 2 * s)).cumprod(-1).roll(1, -1)
        passed[..., :1] = 1.0
        return torch.nn.functional.pad(passed * (1 - s), (0, 1))

    def expect(self, site: Site, parts: list[Part], context: Context) -> list[Part]:
        entries, event = entries_of(site)
        log_prob = entries.log_prob(site.value)
        averaged = [part._replace(cost=once(mean(part.cost, site), site, context.guard, log_prob)) for part in parts]
        costs = [part.cost.detach() for part in parts if has_rows(part.cost, site)]
        if not costs or not log_prob.requires_grad:
            return averaged
        cost, dim = reduce(torch.add, costs), site.infer["_enumerate_dim"]
        pairs = cost.shape[dim] // 2
        gap = spread(cost - cost.roll(pairs, dim), event) * site.infer["_weights"]
        # the log density is a cost too, whose explicit derivative has expectation zero
        by = (gap - spread(context.own, event)) / (2 * pairs)
        term = slope(log_prob, by, site, context.guard, *(part.cost for part in parts))
        return [*averaged, context.part(sum_rightmost(term, event).sum(dim, keepdim=True))]


def _log_table(entries: Any) -> Tensor:
    """The log probabilities of the categories, along the last dimension."""
    logits: Tensor = entries.logits
    if isinstance(entries, Bernoulli):
        return torch.nn.functional.logsigmoid(torch.stack([-logits, logits], -1))
    return logits


def _first(hits: Tensor) -> Tensor:
    """The place of the first that is true along the last dimension."""
    return hits.to(torch.uint8).argmax(-1)

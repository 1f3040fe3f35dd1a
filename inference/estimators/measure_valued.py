"""The derivative of a law in a parameter as a multiple of the difference of two laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppl.messages import family, listed
from ppl.runtime import Site
from ppl_dist import Bernoulli, Exponential, Gamma, Geometric, Laplace, Normal, Poisson, Weibull
from ppl_dist.samplers import draw_from, standard_exponential, standard_normal
from ppl_dist.shapes import sum_rightmost

from .entries import entries_of
from .estimator import Context, Estimator, Part, has_rows, laid_out, log_density, once, samples, slope

__all__ = ["MeasureValued"]

Generator = torch.Generator | None


class Weak(NamedTuple):
    """d p / d parameter = constant * (law of `positive` - law of `negative`), entry by entry of the batch."""

    constant: Tensor
    positive: Tensor
    negative: Tensor


Rule = Callable[[Any, Tensor, Generator], Weak]  # of a distribution and draws of it


def _more(x: Tensor, generator: Generator) -> Tensor:
    return standard_exponential(x.shape, x, generator)


def _normal_loc(fn: Any, x: Tensor, generator: Generator) -> Weak:
    rayleigh = fn.scale * (2 * _more(x, generator)).sqrt()
    return Weak(1 / (fn.scale * math.sqrt(2 * math.pi)), fn.loc + rayleigh, fn.loc - rayleigh)


def _normal_scale(fn: Any, x: Tensor, generator: Generator) -> Weak:
    # a coordinate of a normal vector in three dimensions is its length, which is Maxwell, times a uniform
    vector = standard_normal(torch.Size((3, *x.shape)), x, generator)
    maxwell = vector.norm(dim=0).copysign(vector[0])
    return Weak(1 / fn.scale, fn.loc + fn.scale * maxwell, fn.loc + fn.scale * vector[0])


def _laplace_loc(fn: Any, x: Tensor, generator: Generator) -> Weak:
    side = fn.scale * _more(x, generator)
    return Weak(0.5 / fn.scale, fn.loc + side, fn.loc - side)


def _laplace_scale(fn: Any, x: Tensor, generator: Generator) -> Weak:
    return Weak(1 / fn.scale, x + (fn.scale * _more(x, generator)).copysign(x - fn.loc), x)


def _exponential_rate(fn: Any, x: Tensor, generator: Generator) -> Weak:
    return Weak(1 / fn.rate, x, x + _more(x, generator) / fn.rate)


def _gamma_rate(fn: Any, x: Tensor, generator: Generator) -> Weak:
    return Weak(fn.concentration / fn.rate, x, x + _more(x, generator) / fn.rate)


def _weibull_scale(fn: Any, x: Tensor, generator: Generator) -> Weak:
    hazard = (x / fn.scale) ** fn.concentration + _more(x, generator)
    return Weak(fn.concentration / fn.scale, fn.scale * hazard ** (1 / fn.concentration), x)


def _poisson_rate(fn: Any, x: Tensor, generator: Generator) -> Weak:
    return Weak(torch.ones_like(fn.rate), x + 1, x)


def _bernoulli_probs(fn: Any, x: Tensor, generator: Generator) -> Weak:
    return Weak(torch.ones_like(fn.probs), torch.ones_like(x), torch.zeros_like(x))


def _geometric_probs(fn: Any, x: Tensor, generator: Generator) -> Weak:
    return Weak(1 / fn.probs, x, x + 1 + draw_from(fn.sample, generator, x.shape[: x.dim() - len(fn.batch_shape)]))


RULES: dict[type, dict[str, Rule | None]] = {  # None where a family has a parameter that there is no rule for
    Normal: {"loc": _normal_loc, "scale": _normal_scale},
    Laplace: {"loc": _laplace_loc, "scale": _laplace_scale},
    Exponential: {"rate": _exponential_rate},
    Gamma: {"concentration": None, "rate": _gamma_rate},
    Weibull: {"scale": _weibull_scale, "concentration": None},
    Poisson: {"rate": _poisson_rate},
    Bernoulli: {"probs": _bernoulli_probs},
    Geometric: {"probs": _geometric_probs},
}


class MeasureValued(Estimator):
    """The difference of the cost at draws from two other laws, for each parameter and each entry of the event.

    A derivative of a density integrates to zero: it is a constant times a difference of two densities, and the cost
    need not be smooth. The pairs are coupled. Mohamed, Rosca, Figurnov, Mnih 2020, "Monte Carlo Gradient Estimation in
    Machine Learning", section 6 and table 1.

    The cost is evaluated at the draw itself, and twice for each parameter that needs a gradient and each entry of the
    event: for few parameters. `infer={"samples": n}` averages n of all this.
    """

    name = "measure_valued"

    def check(self, site: Site) -> None:
        entries, _ = entries_of(site)
        rules = RULES.get(type(entries))
        if rules is None:
            known = listed(kind.__name__ for kind in RULES)
            raise self.refuse(site, f"is none of {known}", 'Try infer={"estimator": "score"}.')
        lacking = [name for name, rule in rules.items() if rule is None and _moves(entries, name)]
        if lacking:
            lacks = f"has no rule for the gradient of its {listed(lacking)}"
            raise self.refuse(site, lacks, 'Try infer={"estimator": "score"}.')

    def rows(self, site: Site) -> bool:
        return True

    def draw(self, site: Site) -> None:
        entries, event = entries_of(site)
        needed = [(name, rule) for name, rule in RULES[type(entries)].items() if rule and _moves(entries, name)]
        with torch.no_grad():
            x = draw_from(entries.sample, site.generator, (samples(site),))
            weak = {name: rule(entries, x, site.generator) for name, rule in needed}
            each = _one_by_one(x, event)
            moved = [torch.where(each, side, x) for _, *pair in weak.values() for side in pair]
            site.value = laid_out(torch.cat([x[None], *moved]).flatten(0, 1), site)
        site.infer["_constants"] = {name: constant for name, (constant, _, _) in weak.items()}

    def expect(self, site: Site, parts: list[Part], context: Context) -> list[Part]:
        dim, count = site.infer["_enumerate_dim"], samples(site)
        told = [part for part in parts if has_rows(part.cost, site)]
        if not told:
            return parts
        self._check_alone(site, told)
        found = [part for part in parts if not has_rows(part.cost, site)]
        density = log_density(site)
        found += [
            part._replace(cost=once(_average(part.cost, dim, count), site, context.guard, density)) for part in told
        ]
        cost = reduce(torch.add, [part.cost.detach() for part in told])
        ties = [part.cost for part in told]
        found += [context.part(term) for term in self._slopes(site, cost, context, ties)]
        # the log density is a cost too, whose explicit derivative has expectation zero
        score = _average(density, dim, count)
        return [*found, context.part((score.detach() - score) * context.own)]

    def _slopes(self, site: Site, cost: Tensor, context: Context, ties: list[Tensor]) -> Iterator[Tensor]:
        entries, event = entries_of(site)
        dim, count = site.infer["_enumerate_dim"], samples(site)
        own = entries.batch_shape[len(entries.batch_shape) - event :]
        many = own.numel() * count
        for place, (name, constant) in enumerate(site.infer["_constants"].items()):
            start = count + 2 * place * many
            gap = cost.narrow(dim, start, many) - cost.narrow(dim, start + many, many)
            each: Tensor = gap.unflatten(dim, (own.numel(), count))  # type: ignore[no-untyped-call]  # torch has no types there
            each = each.mean(dim, keepdim=True).movedim(dim - 1, -1)
            by = constant * each.reshape(each.shape[:-1] + own)
            yield sum_rightmost(slope(getattr(entries, name), by, site, context.guard, *ties), event)

    def _check_alone(self, site: Site, parts: list[Part]) -> None:
        """All entries of a batch move at once, so that each must have costs of its own."""
        shape = site.fn.batch_shape
        for dim in range(-len(shape), 0):
            if shape[dim] != 1 and not all(dim in part.dims for part in parts):
                raise ValueError(
                    f'site "{site.name}": expected a cost for each entry of dim {dim} of {family(site.fn)}, of batch '
                    f"shape {tuple(shape)}, and one depends on all its entries together, where the estimator "
                    f'"{self.name}" moves them one by one. Try infer={{"estimator": "score"}} there.'
                )


def _moves(entries: Any, parameter: str) -> bool:
    """Whether a parameter needs a gradient."""
    return bool(getattr(entries, parameter).requires_grad)


def _one_by_one(x: Tensor, event: int) -> Tensor:
    """For each entry of the event, where it stands in draws `x`."""
    own = x.shape[x.dim() - event :]
    places = torch.eye(own.numel(), dtype=torch.bool, device=x.device)
    return places.reshape(-1, *(1,) * (x.dim() - event), *own)


def _average(x: Tensor, dim: int, count: int) -> Tensor:
    """The average of the first rows, which are the draws themselves."""
    return x.narrow(dim, 0, count).mean(dim, keepdim=True)

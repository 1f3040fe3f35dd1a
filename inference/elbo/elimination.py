"""Discrete sites of a model summed out exactly, one at a time and inside the plates they stand in.

What is summed is a product of densities, each the factor of a site, over all values of some of the sites, the
variables. A variable is multiplied only with the factors that have it, and within the innermost plates first: there
every entry of the plate is a sum of its own, and what is left of the plate when its variables are gone is a product
over its entries, in the plates around. So the cost grows with the number of entries, and not with that of their
combinations (Obermeyer et al. 2019, "Tensor Variable Elimination for Plated Factor Graphs", algorithm 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import count
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppl.messages import call_text, frames_text, listed, number
from ppl.runtime import Frame, Site
from ppl_dist.shapes import broadcast_shapes

__all__ = ["Factor", "eliminate", "factor_of", "log_sum_exp", "size"]

Variables = Mapping[str, Site]  # the sites to sum out, by name


class Factor(NamedTuple):
    """A log density, or what is left of several when variables that they shared have been summed out.

    Attributes:
        value: the log density (nats), before it is scaled.
        frames: the plates that own its dimensions.
        on: the variables that it depends on.
        scale: what it counts for, when all its variables are summed out.
        site: the name of a site that it is made of.
        after: how many latent sites of the guide it may depend on.
    """

    value: Tensor
    frames: frozenset[Frame]
    on: frozenset[str]
    scale: Any
    site: str
    after: int = 0


def factor_of(site: Site, variables: Variables, after: int = 0) -> Factor:
    """The factor of a sample site whose log-probability is computed, in a model that `ppl.handlers.enum` laid out.

    What a mask leaves out does not count. A variable keeps its law under a mask: without it, the sum over its values
    would count how many they are.

    Raises:
        ValueError: the site depends together on entries that a plate declares independent.
    """
    value: Tensor = site.unscaled_log_prob
    if site.mask is not None and site.name not in variables:
        value = torch.where(torch.as_tensor(site.mask, device=value.device), value, 0.0)
    names = site.infer.get("_dim_to_name", {}).items()
    on = frozenset(name for dim, name in names if name in variables and value.dim() >= -dim and value.shape[dim] > 1)
    frames = _vectorised(site)
    for name in variables:
        if name in on and not _vectorised(variables[name]) <= frames:
            raise _entangled(site.name, [name], variables)
    return Factor(value, frames, on, site.scale, site.name, after)


def eliminate(factors: Iterable[Factor], variables: Variables) -> list[Factor]:
    """Sum the variables out.

    Args:
        factors: those of all sites that depend on a variable; others come back as they are.
        variables: the sites to sum out, by name, each with a batch dimension of its own, `infer["_enumerate_dim"]`,
            which variables that never meet in a factor may share.

    Returns:
        Log marginals, which depend on no variable, each in the plates that are left of it. Where no value is possible
        a log marginal is -inf, with zero gradient.

    Raises:
        ValueError: the sum has as many terms as the entries of a plate have combinations, or factors to be summed
            together differ in scale.
        NotImplementedError: two variables share a dimension and meet.
    """
    marginals: list[Factor] = []
    waiting: dict[frozenset[Frame], list[Factor]] = {}
    for factor in factors:
        waiting.setdefault(factor.frames, []).append(factor)
    while waiting:
        frames = max(waiting, key=len)
        for factor in _without_locals(waiting.pop(frames), frames, variables):
            if factor.on:
                outer = _outwards(factor, variables)
                waiting.setdefault(outer.frames, []).append(outer)
            else:
                marginals.append(factor)
    return marginals


def log_sum_exp(x: Tensor, dim: int) -> Tensor:
    """log sum exp(x) along a dimension, which stays; -inf with zero gradient, not nan, where all of `x` is -inf."""
    impossible = (x == -inf).all(dim, keepdim=True)
    return torch.where(impossible, -inf, torch.where(impossible, 0.0, x).logsumexp(dim, keepdim=True))


def _without_locals(factors: list[Factor], frames: frozenset[Frame], variables: Variables) -> list[Factor]:
    """The factors of one set of plates when the variables in just these plates are summed out, the cheapest first."""
    left = dict(enumerate(factors))
    keys = count(len(left))
    met: dict[str, list[int]] = {}  # by variable, the keys of the factors that have it
    for key, factor in left.items():
        for name in factor.on:
            met.setdefault(name, []).append(key)

    def price(name: str) -> tuple[bool, int]:
        bucket = [left[key] for key in met[name]]
        if _clash(bucket, variables):
            return True, 0
        return False, broadcast_shapes([factor.value.shape for factor in bucket]).numel()

    prices = {name: price(name) for name in variables if name in met and _vectorised(variables[name]) == frames}
    while prices:
        name = min(prices, key=prices.__getitem__)
        del prices[name]
        used = met.pop(name)
        new = next(keys)
        left[new] = _summed(variables[name], [left.pop(key) for key in used], variables)
        for other in left[new].on:
            met[other] = [*(key for key in met[other] if key not in used), new]
            if other in prices:
                prices[other] = price(other)
    return list(left.values())


def _summed(variable: Site, factors: list[Factor], variables: Variables) -> Factor:
    """The product of the factors that have a variable, summed over its values."""
    first, on = factors[0], _union(factors)
    if _clash(factors, variables):
        raise _share(on, variables)
    for other in factors[1:]:
        if not _equal(first.scale, other.scale):
            raise _scales_differ(variable, first, other)
    total = reduce(torch.add, [factor.value for factor in factors])
    after = max(factor.after for factor in factors)
    return first._replace(
        value=log_sum_exp(total, variable.infer["_enumerate_dim"]), on=on - {variable.name}, after=after
    )


def _outwards(factor: Factor, variables: Variables) -> Factor:
    """The product of a factor over the entries of the plates that none of its variables is in."""
    names = [name for name in variables if name in factor.on]
    kept = frozenset[Frame]().union(*(_vectorised(variables[name]) for name in names))
    if kept == factor.frames:  # each plate has a variable, and no variable has all plates
        raise _entangled(factor.site, names, variables)
    lost = [f.dim for f in factor.frames - kept if f.dim is not None and factor.value.dim() >= -f.dim]
    if isinstance(factor.scale, Tensor) and any(size(factor.scale, dim) > 1 for dim in lost):
        raise _scale_varies(factor, names)
    return factor._replace(value=factor.value.sum(lost, keepdim=True) if lost else factor.value, frames=kept)


def _vectorised(site: Site) -> frozenset[Frame]:
    return frozenset(frame for frame in site.cond_indep_stack if frame.dim is not None)


def _union(factors: Iterable[Factor]) -> frozenset[str]:
    return frozenset[str]().union(*(factor.on for factor in factors))


def _dims(names: Iterable[str], variables: Variables) -> list[int]:
    return [variables[name].infer["_enumerate_dim"] for name in names]


def _clash(factors: Iterable[Factor], variables: Variables) -> bool:
    """Whether two variables of the factors have the same dimension."""
    dims = _dims(_union(factors), variables)
    return len(set(dims)) < len(dims)


def size(x: Tensor, dim: int) -> int:
    """How many entries a tensor has along a batch dimension, which it may lack."""
    return x.shape[dim] if x.dim() >= -dim else 1


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return torch.equal(torch.as_tensor(one), torch.as_tensor(other))
    return bool(one == other)


# Errors


def _in_the_guide(names: Sequence[str], variables: Variables, estimator: str) -> str:
    fn = call_text(variables[names[0]].fn)
    return f'Try sample("{names[0]}", {fn}, infer={{"estimator": "{estimator}"}}) in the guide.'


def _entangled(site: str, names: Sequence[str], variables: Variables) -> ValueError:
    where = " and ".join(f'"{name}" in {frames_text(variables[name].cond_indep_stack)}' for name in names)
    return ValueError(
        f'site "{site}": it depends on {where}, on all entries together, and these have too many combinations to sum. '
        f"Expected it to depend on one entry at a time. {_in_the_guide(names, variables, 'score')}"
    )


def _scales_differ(variable: Site, one: Factor, other: Factor) -> ValueError:
    return ValueError(
        f'site "{variable.name}": to sum over its values, expected one scale for all sites that share them, got '
        f'{number(one.scale)} at "{one.site}" and {number(other.scale)} at "{other.site}". '
        f"{_in_the_guide([variable.name], {variable.name: variable}, 'enumerate')}"
    )


def _scale_varies(factor: Factor, names: Sequence[str]) -> ValueError:
    return ValueError(
        f'site "{factor.site}": its scale has shape {tuple(factor.scale.shape)}, expected one number for all entries, '
        f"because {listed(names)} outside the plate is summed out. Try scale=scale.mean()."
    )


def _share(names: Iterable[str], variables: Variables) -> NotImplementedError:
    shared = [name for name in variables if name in names]
    return NotImplementedError(
        f"eliminate: the sites {listed(shared)} have the dimensions {_dims(shared, variables)} and meet in one sum, "
        f"where expected were dimensions of their own. Try range in the place of markov."
    )

"""Families against `torch.distributions`: score, draw and entropy on one thread, with validation on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import thread_time
from typing import Any

import torch
import torch.distributions as td
from torch import Tensor

import ppl_dist as dist

from .report import Cell, Figure, Report, ratio
from .timing import Contender, microseconds

__all__ = ["PARAMETERS", "maker", "run", "shared"]

SMALL, MIDDLE, LARGE = BATCHES = 10, 10_000, 1_000_000
SCORE, DRAW, ENTROPY = OPERATIONS = ("construct + log_prob", "construct + rsample", "entropy")
GEOMETRIC = {SMALL: 1 / 1.5, LARGE: 1 / 1.3}  # the mean ratio ours / torch, by issue 3
SLOWEST = 1 / 0.95  # and the largest, at every batch
EFFORT = {SMALL: (1, 50), MIDDLE: (2, 10), LARGE: (20, 1)}  # rounds are divided by the first; calls in a block
Key = tuple[str, str]  # operation, side
Ratios = dict[tuple[str, str, int], float]  # family, operation, batch


def _between(low: float, high: float, *shape: int) -> Tensor:
    return torch.linspace(low, high, torch.Size(shape).numel()).reshape(shape)


# Parameters of a batch of n, by family; a family that both libraries have and that lacks a row is an error.
PARAMETERS: dict[str, Callable[[int], dict[str, Tensor]]] = {
    "Bernoulli": lambda n: {"logits": _between(-1.0, 1.0, n)},
    "Beta": lambda n: {"concentration1": _between(1.0, 3.0, n), "concentration0": _between(2.0, 4.0, n)},
    "Binomial": lambda n: {"total_count": torch.full((n,), 10.0), "probs": _between(0.1, 0.9, n)},
    "Categorical": lambda n: {"logits": _between(-1.0, 1.0, n, 5)},
    "Cauchy": lambda n: {"loc": _between(-1.0, 1.0, n), "scale": _between(0.5, 2.0, n)},
    "Chi2": lambda n: {"df": _between(1.0, 3.0, n)},
    "ContinuousBernoulli": lambda n: {"probs": _between(0.1, 0.9, n)},
    "Dirichlet": lambda n: {"concentration": _between(1.0, 3.0, n, 3)},
    "Exponential": lambda n: {"rate": _between(0.5, 2.0, n)},
    "FisherSnedecor": lambda n: {"df1": _between(1.0, 3.0, n), "df2": _between(2.0, 4.0, n)},
    "Gamma": lambda n: {"concentration": _between(1.0, 3.0, n), "rate": _between(0.5, 2.0, n)},
    "GeneralizedPareto": lambda n: {
        "loc": _between(-1.0, 1.0, n),
        "scale": _between(0.5, 2.0, n),
        "concentration": _between(-0.4, 0.4, n),
    },
    "Geometric": lambda n: {"probs": _between(0.1, 0.9, n)},
    "Gumbel": lambda n: {"loc": _between(-1.0, 1.0, n), "scale": _between(0.5, 2.0, n)},
    "HalfCauchy": lambda n: {"scale": _between(0.5, 2.0, n)},
    "HalfNormal": lambda n: {"scale": _between(0.5, 2.0, n)},
    "InverseGamma": lambda n: {"concentration": _between(1.0, 3.0, n), "rate": _between(0.5, 2.0, n)},
    "Kumaraswamy": lambda n: {"concentration1": _between(1.0, 3.0, n), "concentration0": _between(2.0, 4.0, n)},
    "Laplace": lambda n: {"loc": _between(-1.0, 1.0, n), "scale": _between(0.5, 2.0, n)},
    "LKJCholesky": lambda n: {"dim": 3, "concentration": _between(0.5, 3.0, n)},
    "LogNormal": lambda n: {"loc": _between(-1.0, 1.0, n), "scale": _between(0.5, 1.0, n)},
    "LowRankMultivariateNormal": lambda n: {
        "loc": _between(-1.0, 1.0, n, 3),
        "cov_factor": _between(-1.0, 1.0, n, 3, 1),
        "cov_diag": _between(0.5, 2.0, n, 3),
    },
    "MixtureSameFamily": lambda n: {
        "logits": _between(-1.0, 1.0, n, 5),
        "loc": _between(-2.0, 2.0, n, 5),
        "scale": _between(0.5, 2.0, n, 5),
    },
    "LogisticNormal": lambda n: {"loc": _between(-1.0, 1.0, n, 3), "scale": _between(0.5, 1.0, n, 3)},
    "Multinomial": lambda n: {"total_count": 10, "probs": _between(0.1, 0.9, n, 5)},
    "MultivariateNormal": lambda n: {"loc": _between(-1.0, 1.0, n, 3), "scale_tril": torch.eye(3).repeat(n, 1, 1)},
    "NegativeBinomial": lambda n: {"total_count": _between(1.0, 5.0, n), "probs": _between(0.1, 0.9, n)},
    "Normal": lambda n: {"loc": _between(-1.0, 1.0, n), "scale": _between(0.5, 2.0, n)},
    "OneHotCategorical": lambda n: {"logits": _between(-1.0, 1.0, n, 5)},
    "OneHotCategoricalStraightThrough": lambda n: {"logits": _between(-1.0, 1.0, n, 5)},
    "Pareto": lambda n: {"scale": _between(0.5, 2.0, n), "alpha": _between(1.0, 3.0, n)},
    "Poisson": lambda n: {"rate": _between(0.5, 5.0, n)},
    "RelaxedBernoulli": lambda n: {"temperature": torch.tensor(0.5), "logits": _between(-1.0, 1.0, n)},
    "RelaxedOneHotCategorical": lambda n: {"temperature": torch.tensor(0.5), "logits": _between(-1.0, 1.0, n, 5)},
    "StudentT": lambda n: {"df": _between(1.0, 9.0, n), "loc": _between(-1.0, 1.0, n), "scale": _between(0.5, 2.0, n)},
    "Uniform": lambda n: {"low": _between(-2.0, -1.0, n), "high": _between(1.0, 2.0, n)},
    "VonMises": lambda n: {"loc": _between(-1.0, 1.0, n), "concentration": _between(0.5, 5.0, n)},
    "Weibull": lambda n: {"scale": _between(0.5, 2.0, n), "concentration": _between(1.0, 3.0, n)},
    "Wishart": lambda n: {"df": _between(4.0, 9.0, n), "scale_tril": torch.eye(3).repeat(n, 1, 1)},
}


def _mixture(library: Any, *, logits: Tensor, loc: Tensor, scale: Tensor, validate_args: bool = True) -> Any:
    """A mixture with its parts, whose construction counts as its own."""
    components = library.Normal(loc, scale, validate_args=validate_args)
    return library.MixtureSameFamily(library.Categorical(logits=logits), components, validate_args=validate_args)


# how to make what takes distributions, from either library
BUILDERS: dict[str, Callable[..., Any]] = {"MixtureSameFamily": _mixture}


def maker(name: str, library: Any) -> Callable[..., Any]:
    """What builds a family of one of the libraries from its `PARAMETERS`."""
    return partial(BUILDERS[name], library) if name in BUILDERS else getattr(library, name)


def shared() -> list[str]:
    """Names of the families that both libraries have."""
    bases = {"Distribution", "ExponentialFamily", "Independent", "TransformedDistribution"}
    return [name for name in dist.__all__ if _is_family(name) and hasattr(td, name) and name not in bases]


def _is_family(name: str) -> bool:
    thing = getattr(dist, name)
    return isinstance(thing, type) and issubclass(thing, dist.Distribution)


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `quick` does as little as possible."""
    times: dict[str, list[Cell]] = {name: [] for name in shared()}
    ratios: Ratios = {}
    for batch in BATCHES:
        share, calls = EFFORT[batch]
        for name, row in times.items():
            entrants = dict(contenders(name, SMALL if quick else batch))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Singular sample", UserWarning)  # torch's Wishart, at good parameters
                found = microseconds(
                    entrants, rounds=max(1, rounds // share), calls=1 if quick else calls, clock=thread_time
                )
            for operation in OPERATIONS:
                row.extend(_cells(operation, found))
                if (operation, "torch") in found:
                    ratios[name, operation, batch] = found[operation, "ours"] / found[operation, "torch"]
    columns = [
        heading for batch in BATCHES for operation in OPERATIONS for heading in (_short(operation, batch), "ratio")
    ]
    title = "Families, validation on, at batch 10, 1e4 and 1e6: microseconds of ours, and ratio ours / torch"
    return Report(title, ("", *columns), list(times.items()), list(figures(ratios)))


def _short(operation: str, batch: int) -> str:
    return f"{operation.removeprefix('construct + ')} {batch:.0e}".replace("e+0", "e")


def _cells(operation: str, times: Mapping[Key, float]) -> list[Cell]:
    """Ours, and the ratio where torch has the operation too."""
    if (operation, "torch") not in times:
        return ["-", "-"]
    ours, theirs = times[operation, "ours"], times[operation, "torch"]
    return [ours, ours / theirs]


def figures(ratios: Ratios) -> Iterator[Figure]:
    """What issue 3 asks: the geometric means, and no entry slower than torch's."""
    for batch, bound in GEOMETRIC.items():
        logs = [math.log(value) for (_, _, size), value in ratios.items() if size == batch]
        yield ratio(f"batch {batch}, geometric mean: ours / torch", math.exp(sum(logs) / len(logs)), 1.0, bound)
    for batch in BATCHES:
        name, operation, _ = worst = max((key for key in ratios if key[2] == batch), key=lambda key: ratios[key])
        yield ratio(f"batch {batch}, slowest entry, {name} {operation}: ours / torch", ratios[worst], 1.0, SLOWEST)


def contenders(name: str, batch: int) -> Iterator[tuple[Key, Contender]]:
    """Each operation on both sides, on the same parameters and the same value."""
    parameters = PARAMETERS[name](batch)
    value = maker(name, dist)(**parameters).sample()  # by ours, which are always inside the support
    entropies = []
    for side, library in (("ours", dist), ("torch", td)):
        make = partial(maker(name, library), **parameters)
        yield (SCORE, side), Contender(partial(_construct_and_score, make, value))
        yield (DRAW, side), Contender(partial(_construct_and_draw, make))
        entropies.append(((ENTROPY, side), Contender(make().entropy)))
    try:
        entropies[-1][1].call()
    except NotImplementedError:  # torch has none
        return
    yield from entropies


def _construct_and_score(make: Callable[[], Any], value: Tensor) -> Tensor:
    score: Tensor = make().log_prob(value)
    return score


def _construct_and_draw(make: Callable[[], Any]) -> Tensor:
    made = make()
    draw: Tensor = made.rsample() if made.has_rsample else made.sample()
    return draw

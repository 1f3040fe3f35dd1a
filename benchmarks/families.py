"""Families against `torch.distributions`: construct, construct and `log_prob`, and draw, with validation on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
import torch.distributions as td
from torch import Tensor

import ppl_dist as dist

from .report import Cell, Figure, Report, ratio
from .timing import Contender, microseconds

__all__ = ["run", "shared"]

SMALL, LARGE = 10, 10_000
BUILD, DENSITY, DRAW = OPERATIONS = ("construct", "+ log_prob", "rsample")
ASKED = {"Normal": 1.0, "Gamma": 1.0}  # construct + log_prob at the small batch, by issue 2
Key = tuple[str, str, str]  # family, operation, side


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
    "Dirichlet": lambda n: {"concentration": _between(1.0, 3.0, n, 3)},
    "Exponential": lambda n: {"rate": _between(0.5, 2.0, n)},
    "Gamma": lambda n: {"concentration": _between(1.0, 3.0, n), "rate": _between(0.5, 2.0, n)},
    "Geometric": lambda n: {"probs": _between(0.1, 0.9, n)},
    "Gumbel": lambda n: {"loc": _between(-1.0, 1.0, n), "scale": _between(0.5, 2.0, n)},
    "HalfCauchy": lambda n: {"scale": _between(0.5, 2.0, n)},
    "HalfNormal": lambda n: {"scale": _between(0.5, 2.0, n)},
    "InverseGamma": lambda n: {"concentration": _between(1.0, 3.0, n), "rate": _between(0.5, 2.0, n)},
    "Kumaraswamy": lambda n: {"concentration1": _between(1.0, 3.0, n), "concentration0": _between(2.0, 4.0, n)},
    "Laplace": lambda n: {"loc": _between(-1.0, 1.0, n), "scale": _between(0.5, 2.0, n)},
    "LogNormal": lambda n: {"loc": _between(-1.0, 1.0, n), "scale": _between(0.5, 1.0, n)},
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
    "Uniform": lambda n: {"low": _between(-2.0, -1.0, n), "high": _between(1.0, 2.0, n)},
    "Weibull": lambda n: {"scale": _between(0.5, 2.0, n), "concentration": _between(1.0, 3.0, n)},
}


def shared() -> list[str]:
    """Names of the families that both libraries have."""
    bases = {"Distribution", "Independent", "TransformedDistribution"}
    return [name for name in dist.__all__ if _is_family(name) and hasattr(td, name) and name not in bases]


def _is_family(name: str) -> bool:
    thing = getattr(dist, name)
    return isinstance(thing, type) and issubclass(thing, dist.Distribution)


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `quick` does as little as possible."""
    rows: list[tuple[str, list[Cell]]] = []
    figures: list[Figure] = []
    for batch, calls in ((SMALL, 1 if quick else 50), (LARGE, 1 if quick else 10)):
        entrants = {key: contender for name in shared() for key, contender in contenders(name, batch)}
        times = microseconds(entrants, rounds=rounds, calls=calls)
        rows += [(f"{name}, batch {batch}", _cells(name, times)) for name in shared()]
        if batch == SMALL:
            figures = [_asked(name, bound, times) for name, bound in ASKED.items()]
    columns = [heading for operation in OPERATIONS for heading in (operation, "torch", "ratio")]
    return Report("Families, validation on: microseconds, ours and torch's", ("", *columns), rows, figures)


def _cells(name: str, times: Mapping[Key, float]) -> list[Cell]:
    found: list[Cell] = []
    for operation in OPERATIONS:
        ours, theirs = times[name, operation, "ours"], times[name, operation, "torch"]
        found += [ours, theirs, ours / theirs]
    return found


def _asked(name: str, bound: float, times: Mapping[Key, float]) -> Figure:
    label = f"{name}, batch {SMALL}, construct + log_prob: ours / torch"
    return ratio(label, times[name, DENSITY, "ours"], times[name, DENSITY, "torch"], bound)


def contenders(name: str, batch: int) -> Iterator[tuple[Key, Contender]]:
    """Each operation on both sides, on the same parameters and the same value."""
    parameters = PARAMETERS[name](batch)
    value = getattr(td, name)(**parameters).sample()
    for side, library in (("ours", dist), ("torch", td)):
        make = partial(getattr(library, name), **parameters, validate_args=True)
        ready = make()
        yield (name, BUILD, side), Contender(make)
        yield (name, DENSITY, side), Contender(partial(_construct_and_score, make, value))
        yield (name, DRAW, side), Contender(ready.rsample if ready.has_rsample else ready.sample)


def _construct_and_score(make: Callable[[], Any], value: Tensor) -> Tensor:
    score: Tensor = make().log_prob(value)
    return score

"""Densities and distribution functions against those of `torch.distributions`, with validation on.

Torch's are wrong in the tails: what being right costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from time import thread_time

import torch
import torch.distributions as td
from torch import Tensor

import ppl_dist as dist

from .families import PARAMETERS, maker, shared
from .report import Cell, Figure, Report, ratio
from .timing import Contender, microseconds

__all__ = ["run"]

BATCH, FEW = 10_000, 10
METHODS = ("log_prob", "cdf", "icdf")
SLOWEST = 2.0  # times torch's, by issue 4
SIDES = {"ours": dist, "torch": td}


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `quick` does as little as possible."""
    rows: list[tuple[str, list[Cell]]] = []
    ratios: dict[tuple[str, str], float] = {}
    for name in shared():
        entrants = dict(contenders(name, FEW if quick else BATCH))
        found = microseconds(entrants, rounds=max(1, rounds // 4), calls=1, clock=thread_time)
        cells: list[Cell] = []
        for method in METHODS:
            if (method, "torch") in found:
                ratios[name, method] = found[method, "ours"] / found[method, "torch"]
                cells += [found[method, "ours"], ratios[name, method]]
            else:
                cells += ["-", "-"]
        rows.append((name, cells))
    columns = [heading for method in METHODS for heading in (method, "ratio")]
    title = "Density, distribution function and quantile at batch 1e4: microseconds of ours, and ratio ours / torch"
    return Report(title, ("", *columns), rows, list(figures(ratios)))


def contenders(name: str, batch: int) -> Iterator[tuple[tuple[str, str], Contender]]:
    """Each method that torch has, on both sides, at the same parameters and values."""
    parameters = PARAMETERS[name](batch)
    both = {side: maker(name, library)(**parameters) for side, library in SIDES.items()}
    value = both["ours"].sample()
    level = torch.rand(value.shape)
    for method, at in zip(METHODS, (value, value, level), strict=True):
        if _has(both["torch"], method, at) and _has(both["ours"], method, at):
            for side, d in both.items():
                yield (method, side), Contender(partial(getattr(d, method), at))


def _has(d: td.Distribution | dist.Distribution, method: str, at: Tensor) -> bool:
    try:
        getattr(d, method)(at)
    except NotImplementedError:
        return False
    return True


def figures(ratios: dict[tuple[str, str], float]) -> Iterator[Figure]:
    """The slowest entry of each method, and the others beyond the bound."""
    for method in METHODS:
        those = {key: value for key, value in ratios.items() if key[1] == method}
        for key in sorted(those, key=lambda key: -those[key]):
            if key == max(those, key=lambda key: those[key]) or those[key] > SLOWEST:
                yield ratio(f"{method}, {key[0]}: ours / torch", those[key], 1.0, SLOWEST)

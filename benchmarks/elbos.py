"""One eager SVI step for every workload and bound: ours, Pyro's, and a loop written by hand where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .report import NOT_INSTALLED, Cell, Figure, Report, ratio
from .timing import microseconds
from .workloads import WORKLOADS
from .workloads.contenders import (
    HAND,
    HAND_FUSED,
    OURS,
    PYRO,
    UNCHECKED,
    UNFUSED,
    Bound,
    check_same_loss,
    contenders,
    mean_and_error,
)
from .workloads.densities import PARTICLES

__all__ = ["CASES", "run"]

COLUMNS = (OURS, UNFUSED, PYRO, UNCHECKED, HAND, HAND_FUSED)
PAIRS = ((OURS, PYRO, 1 / 3), (OURS, HAND, 1.5), (OURS, HAND_FUSED, None))


AT_ONCE = {"num_particles": PARTICLES, "vectorize_particles": True}


class Case(NamedTuple):
    """A bound, and the workloads that it suits."""

    bound: Bound
    workloads: Sequence[str]


CASES = (
    Case(Bound("Trace_ELBO"), tuple(WORKLOADS)),
    Case(Bound("TraceGraph_ELBO"), tuple(WORKLOADS)),
    Case(Bound("TraceMeanField_ELBO"), ("logistic regression", "VAE", "Bayesian net")),
    Case(Bound("RenyiELBO", AT_ONCE), ("eight schools", "VAE")),
    Case(Bound("ReweightedWakeSleep", AT_ONCE), ("eight schools",)),
)


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `quick` does as little as possible."""
    times = {
        (str(bound), name): measure(bound, name, rounds=rounds, quick=quick) for bound, names in CASES for name in names
    }
    rows = [(f"{bound}: {name}", _cells(row)) for (bound, name), row in times.items()]
    title = "One SVI step, microseconds; all of a row have the same expected loss at the start"
    return Report(title, ("", *COLUMNS), rows, figures(times))


def measure(bound: Bound, name: str, *, rounds: int, quick: bool) -> dict[str, float]:
    """Microseconds of each contender, once all agree on the loss at the start."""
    programs = contenders(WORKLOADS[name](), bound)
    check_same_loss(name, {who: mean_and_error(program, 20 if quick else 200) for who, program in programs.items()})
    return microseconds({who: p.contender for who, p in programs.items()}, rounds=rounds, calls=1 if quick else 3)


def _cells(row: Mapping[str, float]) -> list[Cell]:
    missing = {PYRO: NOT_INSTALLED, UNCHECKED: NOT_INSTALLED}
    return [row.get(name, missing.get(name, "-")) for name in COLUMNS]


def figures(times: Mapping[tuple[str, str], Mapping[str, float]]) -> list[Figure]:
    """Ours against each of the others, row by row, and the geometric mean over the workloads of a bound."""
    found = []
    for ours, other, asked in PAIRS:
        each: dict[str, list[float]] = {}
        for (bound, name), row in times.items():
            if other in row:
                found.append(ratio(f"{bound}, {name}: {ours} / {other}", row[ours], row[other], asked))
                each.setdefault(bound, []).append(row[ours] / row[other])
        for bound, ratios in each.items():
            mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
            found.append(Figure(f"{bound}, geometric mean of {len(ratios)} workloads: {ours} / {other}", mean, asked))
    return found

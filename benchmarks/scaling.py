"""What becomes of a step, and of the first one, with more sites and with more particles."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Container, Mapping
from itertools import pairwise
from tempfile import TemporaryDirectory

from .first_step import fresh
from .report import NOT_INSTALLED, Cell, Figure, Report
from .timing import installed, microseconds
from .workloads.compiled import OURS_STEP, makers
from .workloads.contenders import HAND_FUSED, NUMPYRO, OURS, PYRO, Bound, Workload, check_same_loss, mean_and_error
from .workloads.eight_schools import eight_schools
from .workloads.many_sites import CROWDS

__all__ = ["figures", "run"]

PARTICLES = (1, 10, 100)
STEPS, FIRST = (OURS, OURS_STEP, NUMPYRO, PYRO, HAND_FUSED), (OURS_STEP, NUMPYRO)
COLUMNS = (*STEPS, *(f"cold first step, s: {who}" for who in FIRST))
LINEAR = 1.0  # the power of the number of sites
PATIENCE = 600.0  # seconds for a first step; whoever takes longer is left out, and its cell says so

Times = dict[str, Cell]


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `quick` takes the smallest of each."""
    crowds, particles = (list(CROWDS)[:1], PARTICLES[:1]) if quick else (list(CROWDS), PARTICLES)
    rounds = min(rounds, 10)  # a thousand sites take long, and scaling is told in factors of ten
    by_sites = {name: of_sites(name, rounds) for name in crowds}
    by_particles = {count: measure(eight_schools(), count, rounds=rounds) for count in particles}
    rows = [(name, _cells(times)) for name, times in by_sites.items()]
    rows += [(f"eight schools, {count} particles", _cells(times)) for count, times in by_particles.items()]
    title = "One SVI step, microseconds; the first step, with compiling and an empty cache on disk, seconds"
    return Report(title, ("", *COLUMNS), rows, figures(by_sites))


def of_sites(name: str, rounds: int) -> Times:
    """Seconds of the first step, and microseconds of those after it."""
    first = first_steps(name)
    late = {who for who in FIRST if isinstance(first.get(_first(who)), str)}
    return first | measure(CROWDS[name](), 1, rounds=rounds, late=late)


def measure(workload: Workload, particles: int, *, rounds: int, late: Container[str] = ()) -> Times:
    """Microseconds of a step of each contender but those that are late."""
    options = {"num_particles": particles, "vectorize_particles": True} if particles > 1 else {}
    found = makers(workload, Bound("Trace_ELBO", options), 1)
    programs = {
        who: found[who]() for who in STEPS if who in found and who not in late and (particles == 1 or who != HAND_FUSED)
    }
    check_same_loss("scaling", {who: mean_and_error(program, 20) for who, program in programs.items()})
    return dict(microseconds({who: p.contender for who, p in programs.items()}, rounds=rounds, calls=None))


def first_steps(name: str) -> Times:
    """Seconds of the first step, in processes of their own."""
    found: Times = {}
    for who in FIRST if installed("numpyro") is not None else FIRST[:1]:
        with TemporaryDirectory() as cache:
            try:
                found[_first(who)] = fresh(name, who, cache, PATIENCE)["first"]
            except subprocess.TimeoutExpired:
                found[_first(who)] = f"> {PATIENCE:.0f}"
    return found


def _first(who: str) -> str:
    return f"cold first step, s: {who}"


def _cells(times: Times) -> list[Cell]:
    absent = {PYRO: "pyro", NUMPYRO: "numpyro", _first(NUMPYRO): "numpyro"}
    gone = {column for column, peer in absent.items() if installed(peer) is None}
    return [times.get(column, NOT_INSTALLED if column in gone else "-") for column in COLUMNS]


def figures(by_sites: Mapping[str, Times]) -> list[Figure]:
    """How the time to compile, and that of a step, grow with the number of sites: as a power of it."""
    counts = {int(name.split()[0]): times for name, times in by_sites.items()}
    found = []
    for column in (_first(OURS_STEP), OURS_STEP):
        for fewer, more in pairwise(sorted(counts)):
            less, much = counts[fewer][column], counts[more][column]
            if isinstance(less, str) or isinstance(much, str):
                continue
            power = math.log(much / less) / math.log(more / fewer)
            found.append(Figure(f"{column}, {fewer} to {more} sites: as which power", power, LINEAR))
    return found

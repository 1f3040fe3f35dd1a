"""Where everybody ends: the loss after the same number of steps from the same start, with the same optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from .compiled import COLUMNS, absent
from .report import Figure, Report
from .workloads import WORKLOADS
from .workloads.compiled import OURS_RUN, OURS_STEP, makers
from .workloads.contenders import HAND, OURS, Bound, Program, mean_and_error

__all__ = ["run"]

STEPS = 1_000


def run(*, rounds: int, quick: bool = False) -> Report:
    """Train everybody on every workload; `quick` takes two steps. Nothing is timed, so `rounds` has no say."""
    steps, draws = (2, 10) if quick else (STEPS, 400)
    torch.manual_seed(0)
    ends: dict[str, dict[str, tuple[float, float]]] = {}
    for name, make in WORKLOADS.items():
        workload = make()
        contenders = makers(workload, Bound(workload.bound), steps)
        ends[name] = {who: trained(contender, steps, draws) for who, contender in contenders.items()}
    rows = [(name, [row[who][0] if who in row else absent(who, ends) for who in COLUMNS]) for name, row in ends.items()]
    found = [gap(name, who, row) for name, row in ends.items() for who in (OURS, OURS_STEP, OURS_RUN)]
    return Report(f"Loss after {steps} steps (nats), mean of {draws} estimates", ("", *COLUMNS), rows, found)


def trained(make: Callable[[], Program], steps: int, draws: int) -> tuple[float, float]:
    """The loss at the end and its Monte Carlo standard error."""
    program = make()
    with program.around():
        for _ in range(steps // program.steps):
            program.step()
    return mean_and_error(program, draws)


def gap(name: str, who: str, ends: dict[str, tuple[float, float]]) -> Figure:
    """How far one of ours ends from the loop by hand, in errors of the two estimates.

    Their draws differ, and so do their paths: some more than the errors of the estimates is to be expected.
    """
    (mine, error), (theirs, its_error) = ends[who], ends[HAND]
    return Figure(f"{name}: {who} - {HAND}", (mine - theirs) / math.hypot(error, its_error), unit="standard errors")

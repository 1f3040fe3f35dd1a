"""One SVI step of eight schools (centred, mean-field guide): ours, Pyro, NumPyro, and a torch loop written by hand.

Before anything is timed, each contender estimates its loss at the common starting point: a contender that computes
something else than the others is an error, not a row.
"""

from __future__ import annotations

from collections.abc import Mapping

from .report import NOT_INSTALLED, Cell, Figure, Report, ratio
from .timing import microseconds
from .workloads.contenders import (
    HAND,
    HAND_FUSED,
    NUMPYRO,
    OURS,
    PYRO,
    UNCHECKED,
    UNFUSED,
    Bound,
    Program,
    check_same_loss,
    contenders,
    mean_and_error,
    of_numpyro,
)
from .workloads.eight_schools import eight_schools

__all__ = ["run"]


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `quick` does as little as possible."""
    programs = build()
    starts = {name: mean_and_error(program, 200 if quick else 2000) for name, program in programs.items()}
    check_same_loss("svi", starts)
    times = microseconds({name: p.contender for name, p in programs.items()}, rounds=rounds, calls=1 if quick else 10)
    rows: list[tuple[str, list[Cell]]] = []
    for name in (OURS, UNFUSED, HAND, HAND_FUSED, PYRO, UNCHECKED, NUMPYRO):
        cells: list[Cell] = [NOT_INSTALLED] * 3
        if name in times:
            cells = [times[name], *starts[name]]
        rows.append((name, cells))
    title = "One SVI step of eight schools: microseconds; the loss at the start (nats) must be the same for all"
    return Report(title, ("", "step", "loss at start", "std. error"), rows, figures(times))


def figures(times: Mapping[str, float]) -> list[Figure]:
    """What issue 2 asks about, and the like-for-like pairs."""
    pairs = [
        (OURS, PYRO, 1 / 3),
        (OURS, UNCHECKED, None),
        (OURS, HAND, 1.5),
        (OURS, HAND_FUSED, 1.5),
        (UNFUSED, HAND, 1.5),
        (UNFUSED, PYRO, None),
        (OURS, NUMPYRO, None),
    ]
    return [ratio(f"{a} / {b}", times[a], times.get(b, NOT_INSTALLED), asked) for a, b, asked in pairs]


def build() -> dict[str, Program]:
    """Every contender that is installed, at the common starting point."""
    programs = contenders(eight_schools(), Bound("Trace_ELBO"))
    numpyro = of_numpyro(eight_schools(), Bound("Trace_ELBO"))
    return programs if numpyro is None else {**programs, NUMPYRO: numpyro}

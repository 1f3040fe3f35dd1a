"""The compiled step: eight workloads, one SVI step, everybody eager and compiled, in one process and on one thread.

A compiled run is timed as what it does for a step once it is compiled: ours is `run` on an `SVI` that has run before;
NumPyro's is `update` under `lax.scan`, jitted once and called again (`SVI.run` of NumPyro compiles anew at each call).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from .report import NOT_INSTALLED, Figure, Report, ratio
from .timing import microseconds
from .workloads import WORKLOADS
from .workloads.compiled import HAND_COMPILED, HAND_TRACED, NUMPYRO_RUN, OURS_RUN, OURS_STEP, PYRO_JIT, makers
from .workloads.contenders import (
    HAND,
    HAND_FUSED,
    NUMPYRO,
    OURS,
    PYRO,
    UNCHECKED,
    Bound,
    Program,
    Workload,
    by_hand,
    check_same_loss,
    mean_and_error,
)

__all__ = ["COLUMNS", "PAIRS", "PICTURE", "absent", "draw", "figures", "run", "run_length"]

OF_PYRO, OF_NUMPYRO = (PYRO, UNCHECKED, PYRO_JIT), (NUMPYRO, NUMPYRO_RUN)
COLUMNS = (OURS, OURS_STEP, OURS_RUN, *OF_PYRO, *OF_NUMPYRO, HAND, HAND_FUSED, HAND_COMPILED, HAND_TRACED)
PICTURE = Path("out/benchmarks-compiled.png")
RUN = 0.25  # seconds of eager steps that a timed run replaces
# Ours, the other, what is asked of each workload, and of their geometric mean.
PAIRS = (
    (OURS, PYRO, 1 / 3, 1 / 4),
    (OURS, HAND, 1.3, None),
    (OURS, HAND_FUSED, None, None),
    (OURS_STEP, NUMPYRO, 1.0, None),
    (OURS_RUN, NUMPYRO_RUN, 1.0, None),
    (OURS_STEP, HAND_COMPILED, 1.1, None),
    (OURS_STEP, HAND_TRACED, None, None),
    (OURS_STEP, PYRO_JIT, None, None),
)

Times = Mapping[str, Mapping[str, float]]


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure, and draw the table; `quick` does as little as possible."""
    times = {name: measure(name, make(), rounds=rounds, quick=quick) for name, make in WORKLOADS.items()}
    draw(times, PICTURE)
    rows = [(name, [row.get(who, absent(who, times)) for who in COLUMNS]) for name, row in times.items()]
    title = f"One SVI step, microseconds; all of a row have the same expected loss at the start; drawn in {PICTURE}"
    return Report(title, ("", *COLUMNS), rows, figures(times))


def measure(name: str, workload: Workload, *, rounds: int, quick: bool) -> dict[str, float]:
    """Microseconds per step of each contender, once all agree on the loss at the start."""
    bound = Bound(workload.bound)
    length = 2 if quick else run_length(by_hand(workload, bound, fused=False))
    programs = {who: make() for who, make in makers(workload, bound, length).items()}
    check_same_loss(name, {who: mean_and_error(program, 20 if quick else 200) for who, program in programs.items()})
    return microseconds({who: p.contender for who, p in programs.items()}, rounds=rounds, calls=1 if quick else None)


def run_length(program: Program) -> int:
    """How many steps a run should have, in hundreds, from the time of an eager step."""
    program.step()
    start = perf_counter()
    program.step()
    return 100 * max(1, min(20, round(RUN / (100 * (perf_counter() - start)))))


def absent(who: str, rows: Mapping[str, Mapping[str, object]]) -> str:
    """What stands in place of a contender: one that takes part in another row cannot do this one."""
    return "-" if any(who in row for row in rows.values()) else NOT_INSTALLED


def figures(times: Times) -> list[Figure]:
    """Ours against each of the others, row by row, and the geometric mean over the workloads."""
    found = []
    for ours, other, asked, asked_mean in PAIRS:
        both = {name: (row[ours], row.get(other, absent(other, times))) for name, row in times.items()}
        found += [ratio(f"{name}: {ours} / {other}", mine, theirs, asked) for name, (mine, theirs) in both.items()]
        logs = [math.log(mine / theirs) for mine, theirs in both.values() if isinstance(theirs, float)]
        if logs:
            mean = math.exp(math.fsum(logs) / len(logs))
            found.append(Figure(f"geometric mean of {len(logs)}: {ours} / {other}", mean, asked_mean))
    return found


def draw(times: Times, path: Path) -> None:
    """How many times longer than our compiled step each takes: a marker of its own for everybody, on a log axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.7 * len(times)), layout="constrained")
    places = range(len(times))
    others = [who for who in COLUMNS if who != OURS_STEP and any(who in row for row in times.values())]
    for who, marker in zip(others, "os^vD<>pPX*", strict=False):
        filled = "black" if who.startswith("ours") else "0.6" if who.startswith("by hand") else "white"
        ratios = [row.get(who, math.nan) / row[OURS_STEP] for row in times.values()]
        axes.plot(ratios, places, marker, ls="", mfc=filled, mec="black", ms=9, label=who)
    axes.axvline(1.0, color="black", lw=1)
    axes.set(xscale="log", yticks=places, yticklabels=list(times), ylim=(len(times) - 0.5, -0.5))
    axes.set_xlabel("time of a step / time of our compiled step (right of the line: slower than ours)")
    axes.grid(axis="x", color="0.85")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)

"""Eight schools for 10^5 steps, eager and compiled: the same bound at the end, and memory that does not grow."""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter

import torch

import inference
import ppl
import ppl_dist

from .report import Cell, Figure, Report
from .workloads.contenders import Bound, on_torch
from .workloads.eight_schools import eight_schools

__all__ = ["resident", "run"]

PARTS, DRAWS = 10, 20_000
RATE = 1e-3
ERRORS = 5  # of a difference that is Normal: one false alarm in 1.7 million


def run(*, rounds: int, quick: bool = False) -> Report:
    """Take all steps of both; `quick` takes twenty. Nothing is repeated, so `rounds` has no say."""
    part, draws = (2, 20) if quick else (10_000, DRAWS)
    rows: list[tuple[str, list[Cell]]] = []
    ends, growths = {}, {}
    for name, compiled in (("eager", False), ("compiled", True)):
        (mean, error), sizes, seconds = trained(part, draws, compile=compiled)
        ends[name], growths[name] = (mean, error), sizes[-1] - sizes[1]
        rows.append((name, [mean, error, seconds, *sizes]))
    (mean, error), (other, its_error) = ends["compiled"], ends["eager"]
    gap = abs(mean - other) / math.hypot(error, its_error)
    found = [Figure("|loss, compiled - eager|", gap, ERRORS, "standard errors")]
    found += [Figure(f"growth, {who}, from {2 * part} steps on", growths[who], 1.0, "MB") for who in growths]
    columns = ("", "loss at the end", "std. error", "seconds", *(f"MB at {k * part:,}" for k in range(1, PARTS + 1)))
    return Report(f"Eight schools, {PARTS * part:,} steps: loss (nats), resident memory (MB)", columns, rows, found)


def trained(part: int, draws: int, *, compile: bool) -> tuple[tuple[float, float], list[float], float]:
    """Mean and standard error of the loss at the end, the memory after each part, and the time of all steps."""
    workload = eight_schools()
    model, guide = workload.programs(on_torch(ppl, ppl_dist))
    optim, loss = inference.optim.Adam(lr=RATE), Bound(workload.bound).of(inference)
    svi = inference.SVI(model, guide, optim, loss, store=ppl.ParamStore(), seed=0, compile=compile)
    sizes = []
    start = perf_counter()
    for _ in range(PARTS):
        svi.run(part, *workload.data, progress=False)
        sizes.append(resident())
    seconds = perf_counter() - start
    torch.manual_seed(0)
    losses = torch.tensor([svi.evaluate_loss(*workload.data) for _ in range(draws)], dtype=torch.float64)
    return (losses.mean().item(), losses.std().item() / math.sqrt(draws)), sizes, seconds


def resident() -> float:
    """Megabytes of this process that are in memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

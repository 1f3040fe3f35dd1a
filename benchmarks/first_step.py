"""Before the second step: how long the first one takes, and how much memory a step needs, in processes of their own.

`python -m benchmarks.first_step WORKLOAD CONTENDER BEGAN` is such a process; it prints what it found as JSON. `BEGAN`
is the time when it was started, from `time.time()`. The compiler is imported when it is first used, so its import
counts in the first step; "with imports" adds the interpreter, torch and the library.

Memory is what all tensors of the process hold between steps, and the most that a step takes from the allocator on top
of it.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from .report import Cell, Figure, Report, ratio
from .workloads import WORKLOADS
from .workloads.compiled import HAND_COMPILED, OURS_STEP, makers
from .workloads.contenders import HAND_FUSED, Bound
from .workloads.many_sites import CROWDS

__all__ = ["bytes_of_step", "bytes_of_tensors", "fresh", "run"]

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("cold, s", "warm, s", "cold with imports, s", "warm with imports, s")
COLUMNS = (*TIMES, "memory, MB", HAND_COMPILED, HAND_FUSED)


def run(*, rounds: int, quick: bool = False) -> Report:
    """Ours with an empty and with a filled cache on disk, the loops by hand for their memory. `rounds` has no say."""
    rows: list[tuple[str, list[Cell]]] = []
    found: list[Figure] = []
    for name in WORKLOADS:
        with TemporaryDirectory() as cache:
            cold, warm = (fresh(name, OURS_STEP, cache) for _ in range(2))
            hand, eager = (fresh(name, who, cache)["memory"] for who in (HAND_COMPILED, HAND_FUSED))
        times = [each[key] for key in ("first", "whole") for each in (cold, warm)]
        rows.append((name, [*times, warm["memory"], hand, eager]))
        found += figures(name, cold["first"], warm["first"], warm["memory"], hand)
    title = "The first compiled step of ours, seconds; the most memory that a later step needs, megabytes"
    return Report(title, ("", *COLUMNS), rows, found)


def figures(name: str, cold: float, warm: float, memory: float, by_hand: float) -> list[Figure]:
    """What is asked of a workload."""
    return [
        Figure(f"{name}: first step, cold cache", cold, 10.0, "s"),
        Figure(f"{name}: first step, warm cache on disk", warm, 2.0, "s"),
        ratio(f"{name}: memory of a step, {OURS_STEP} / {HAND_COMPILED}", memory, by_hand, 1.1),
    ]


def fresh(name: str, who: str, cache: str, patience: float | None = None) -> dict[str, float]:
    """What a new process with its compiled code in `cache` says of a workload or one of `CROWDS`.

    Raises:
        subprocess.TimeoutExpired: after `patience` seconds.
    """
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
    line = [sys.executable, "-m", "benchmarks.first_step", name, who, str(time.time())]
    done = subprocess.run(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=patience
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])  # the profiler may print as well
    return found


def main(name: str, who: str, began: str) -> None:
    """The new process."""
    torch.set_num_threads(1)
    workload = {**WORKLOADS, **CROWDS}[name]()
    make = makers(workload, Bound(workload.bound), 1)[who]
    start = time.perf_counter()
    program = make()
    program.step()
    first, whole = time.perf_counter() - start, time.time() - float(began)
    for _ in range(3):  # what is made once is made now
        program.step()
    memory = (bytes_of_tensors() + bytes_of_step(program.step)) / 1e6
    print(json.dumps({"first": first, "whole": whole, "memory": memory}))


def bytes_of_tensors() -> int:
    """What all tensors of the process hold together, shared storage counted once."""
    gc.collect()
    kinds = (torch.Tensor, torch.nn.Parameter)  # and none of the tensors without memory that a compiler works with
    storages = [each.untyped_storage() for each in gc.get_objects() if type(each) in kinds]
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())


def bytes_of_step(step: Callable[[], Any]) -> int:
    """The most that a step has taken from torch's allocator at any one time, beyond what it found there."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    held = highest = 0
    for _, change in sorted(changes, key=lambda each: each[0]):
        held += change
        highest = max(highest, held)
    return highest


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How far `log_prob` is from the memory limit at a million entries, and where its time goes, kernel by kernel.

The limit is the time of `torch.add(x, y, out=z)`, which moves three floats per entry, scaled to the floats that the
density must move at least: its parameters and the value are read once, the answer is written once. A kernel is one
pass over the entries; that many passes, of several floats each and some through `lgamma` or `log`, make up the time.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from time import thread_time
from typing import Any

import torch
import torch.distributions as td
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import ppl_dist as dist

from .families import PARAMETERS, shared
from .report import Cell, Report
from .timing import Contender, microseconds

__all__ = ["FARTHEST", "Passes", "run"]

LARGE = 1_000_000
COLUMNS = ("", "torch, x limit", "ours, x limit", "passes", "of them costly", "costliest kernel", "its share, %")
COSTLY = 2.0  # in limits of one pass: what computes more than it moves
# The families whose log_prob torch leaves farthest from the limit, the farthest first.
FARTHEST = (
    "LogisticNormal",
    "Multinomial",
    "Dirichlet",
    "RelaxedOneHotCategorical",
    "Kumaraswamy",
    "InverseGamma",
    "VonMises",
    "ContinuousBernoulli",
    "Beta",
    "Binomial",
    "FisherSnedecor",
    "Weibull",
    "NegativeBinomial",
    "Chi2",
    "StudentT",
)


class Passes(TorchDispatchMode):
    """Counts the kernels that touch at least `entries` entries, and adds up the seconds of each kind."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.entries = entries
        self.count: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = thread_time()
        result = func(*args, **(kwargs or {}))
        elapsed = thread_time() - start
        touched = [value.numel() for value in (*args, result) if isinstance(value, Tensor)]
        if touched and max(touched) >= self.entries and not func.is_view:
            name = func.overloadpacket.__name__
            self.count[name] += 1
            self.seconds[name] += elapsed  # type: ignore[assignment]  # a Counter adds floats too
        return result


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `quick` does as little as possible."""
    batch = 10 if quick else LARGE
    x, y, z = (torch.rand(batch) for _ in range(3))
    add = Contender(partial(torch.add, x, y, out=z))
    rows: list[tuple[str, list[Cell]]] = []
    for name in FARTHEST:
        if name in shared():
            rows.append((name, _row(name, batch, add, max(1, rounds // 10))))
    return Report(
        "log_prob at 1e6, validation off: time in memory limits, and the passes that explain it", COLUMNS, rows, ()
    )


def _row(name: str, batch: int, add: Contender, rounds: int) -> list[Cell]:
    parameters = PARAMETERS[name](batch)
    value = getattr(td, name)(**parameters).sample()
    theirs = getattr(td, name)(**parameters, validate_args=False)
    ours = getattr(dist, name)(**parameters, validate_args=False)
    scored = ours.log_prob(value)
    tensors = [p for p in parameters.values() if isinstance(p, Tensor)]
    floats = sum(t.numel() for t in (*tensors, value, scored))
    calls = {
        "add": add,
        "torch": Contender(partial(theirs.log_prob, value)),
        "ours": Contender(partial(ours.log_prob, value)),
    }
    times = microseconds(calls, rounds=rounds, calls=1, clock=thread_time)
    limit = times["add"] * floats / (3 * batch)
    with Passes(batch) as passes:
        ours.log_prob(value)
    costly = [k for k, seconds in passes.seconds.items() if 1e6 * seconds > COSTLY * times["add"] * passes.count[k]]
    kernel, seconds = max(passes.seconds.items(), key=lambda pair: pair[1])
    share = 100 * seconds / sum(passes.seconds.values())
    counted: list[Cell] = [float(passes.count.total()), float(sum(passes.count[k] for k in costly)), kernel, share]
    return [times["torch"] / limit, times["ours"] / limit, *counted]

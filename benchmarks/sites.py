"""Time per site: a model of 100 scalar Normal sites, bare, traced, and traced with its log-density."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import torch.distributions as td

import ppl
import ppl_dist as dist

from .report import NOT_INSTALLED, Cell, Figure, Report, ratio
from .timing import Contender, installed, microseconds

__all__ = ["run"]

SITES = 100
HANDLERS = 10
LOOP, KEPT, MODEL, TRACE, TOTAL = COLUMNS = (
    "construct, draw",
    "and keep",
    "model",
    "trace",
    "trace, log_prob_sum",
)
OURS, MORE, PYRO, UNCHECKED, TORCH = ROWS = (
    "ours",
    "ours, ten handlers more",
    "Pyro, defaults",
    "Pyro, no validation",
    "torch.distributions",
)
Key = tuple[str, str]


class Idle(ppl.Handler):
    """A handler that sees every site twice and does nothing: what it costs is the mechanism."""

    def process(self, site: ppl.Site) -> None:
        pass

    def finish(self, site: ppl.Site) -> None:
        pass


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `quick` does as little as possible."""
    times = microseconds(contenders(), rounds=rounds, calls=1 if quick else 4)
    cells: dict[Key, Cell] = {key: time / SITES for key, time in times.items()}
    absent = NOT_INSTALLED if (PYRO, TRACE) not in cells else "-"
    gaps = {row: absent if row in (PYRO, UNCHECKED) else "-" for row in ROWS}
    rows = [(row, [cells.get((row, column), gaps[row]) for column in COLUMNS]) for row in ROWS]
    title = f"A model of {SITES} scalar Normal sites: microseconds per site"
    return Report(title, ("", *COLUMNS), rows, figures(cells))


def figures(cells: Mapping[Key, Cell]) -> list[Figure]:
    """What issues 2 and 5 ask about, from the cells of the table."""
    plain, traced, deep = cells[OURS, MODEL], cells[OURS, TRACE], cells[MORE, TRACE]
    assert isinstance(plain, float) and isinstance(traced, float) and isinstance(deep, float)
    found = [
        Figure("the tracing handler's own share (trace less model)", traced - plain, 1.5, "us/site"),
        Figure("one handler more (an idle one, both ways)", (deep - traced) / HANDLERS, 0.7, "us/site"),
        ratio(f"{TRACE} / {LOOP}: ours", traced, cells[OURS, LOOP], 1.25),
        ratio(f"{TRACE} / {KEPT}: ours", traced, cells[OURS, KEPT]),
    ]
    for peer in (PYRO, UNCHECKED):
        asked = 1 / 3 if peer == PYRO else None
        for column in (TRACE, TOTAL):
            theirs = cells.get((peer, column), NOT_INSTALLED)
            found.append(ratio(f"{column}: ours / {peer}", cells[OURS, column], theirs, asked))
        found.append(ratio(f"log_prob_sum alone: ours / {peer}", _sum(cells, OURS), _sum(cells, peer), asked))
    found.append(ratio(f"{LOOP}: ours / torch.distributions", cells[OURS, LOOP], cells[TORCH, LOOP]))
    return found


def _sum(cells: Mapping[Key, Cell], row: str) -> Cell:
    """What the log density adds to a trace."""
    total, traced = cells.get((row, TOTAL), NOT_INSTALLED), cells.get((row, TRACE), NOT_INSTALLED)
    return total - traced if isinstance(total, float) and isinstance(traced, float) else NOT_INSTALLED


def contenders() -> dict[Key, Contender]:
    """Everything that is timed, by row and column."""
    ours = partial(model, ppl.sample, dist.Normal)
    traced = ppl.handlers.trace(ours).get_trace
    deep: Callable[..., Any] = ours
    for _ in range(HANDLERS):
        deep = Idle(deep)
    found = {
        (TORCH, LOOP): Contender(partial(loop, partial(td.Normal, validate_args=True))),
        (OURS, LOOP): Contender(partial(loop, dist.Normal)),
        (OURS, KEPT): Contender(partial(keep, dist.Normal)),
        (OURS, MODEL): Contender(ours),
        (OURS, TRACE): Contender(traced),
        (OURS, TOTAL): Contender(lambda: traced().log_prob_sum()),
        (MORE, TRACE): Contender(ppl.handlers.trace(deep).get_trace),
    }
    pyro = installed("pyro")
    if pyro is not None:
        found |= _of_pyro(pyro, PYRO, validation=True) | _of_pyro(pyro, UNCHECKED, validation=False)
    return found


def _of_pyro(pyro: ModuleType, row: str, *, validation: bool) -> dict[Key, Contender]:
    theirs = partial(model, pyro.sample, pyro.distributions.Normal)
    traced = pyro.poutine.trace(theirs).get_trace
    calls: dict[str, Callable[[], Any]] = {
        LOOP: partial(loop, pyro.distributions.Normal),
        MODEL: theirs,
        TRACE: traced,
        TOTAL: lambda: traced().log_prob_sum(),
    }
    around = partial(pyro.validation_enabled, validation)  # Pyro's switch is one for the process
    return {(row, column): Contender(call, around) for column, call in calls.items()}


def model(sample: Callable[..., Any], normal: Callable[..., Any]) -> None:
    """The same program for every library."""
    for i in range(SITES):
        sample(f"x{i}", normal(0.0, 1.0))


def loop(normal: Callable[..., Any]) -> None:
    """The model's draws without its sites."""
    for _ in range(SITES):
        normal(0.0, 1.0).rsample()


def keep(normal: Callable[..., Any]) -> dict[str, Any]:
    """The same, keeping what a trace keeps: memory that is not given back at once costs time."""
    kept = {}
    for i in range(SITES):
        fn = normal(0.0, 1.0)
        kept[f"x{i}"] = (fn, fn.rsample())
    return kept

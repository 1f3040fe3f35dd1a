"""Times of several contenders, taken in turns so that a slow moment of the machine is shared by all."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from itertools import repeat
from time import perf_counter
from types import ModuleType
from typing import Any, TypeVar

import torch

__all__ = ["Contender", "installed", "microseconds", "one_core"]

Key = TypeVar("Key", bound=Hashable)
BLOCK = 0.01  # seconds


@dataclass(frozen=True)
class Contender:
    """What is timed.

    Attributes:
        call: a call without arguments.
        around: a context that is entered before the clock starts.
        steps: how many of what one counts a call does.
    """

    call: Callable[[], Any]
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    steps: int = 1


@contextmanager
def one_core() -> Iterator[None]:
    """This process, and what it starts, on one core: XLA takes as many threads as there are, whatever it is told."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def installed(name: str) -> ModuleType | None:
    """The module, or None where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return None


def microseconds(
    contenders: Mapping[Key, Contender], *, rounds: int, calls: int | None, clock: Callable[[], float] = perf_counter
) -> dict[Key, float]:
    """Microseconds per step: for each contender the fastest of `rounds` blocks of `calls` calls.

    Where `calls` is None, a contender's block has as many calls as take 10 milliseconds.

    Give `time.thread_time` as `clock` where all work is done by the calling thread: then other programs do not count.

    One round times a block of every contender, so all see the same machine; the fastest block is the one that was
    disturbed least. Each round has its own order, the same in every run, so that nobody always follows the contender
    that leaves the caches worst. The first block of each warms up and does not count.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect(1)  # all generations take long in a process that has imported much, and are kept from running below
    gc.freeze()  # what the imports left behind does not weigh on the collections that a contender causes
    try:
        for contender in contenders.values():
            _block(contender, calls or 1, clock)
        counts = {key: calls or _filling(contender, clock) for key, contender in contenders.items()}
        best = dict.fromkeys(contenders, float("inf"))
        order, shuffle = list(contenders), random.Random(0).shuffle
        for _ in range(rounds):
            shuffle(order)
            for key in order:
                best[key] = min(best[key], _block(contenders[key], counts[key], clock))
    finally:
        gc.unfreeze()
        torch.set_num_threads(threads)
    return {key: 1e6 * seconds / (counts[key] * contenders[key].steps) for key, seconds in best.items()}


def _filling(contender: Contender, clock: Callable[[], float]) -> int:
    return max(1, round(BLOCK / _block(contender, 1, clock)))


def _block(contender: Contender, calls: int, clock: Callable[[], float]) -> float:
    call = contender.call
    with contender.around():
        start = clock()
        for _ in repeat(None, calls):
            call()
        return clock() - start

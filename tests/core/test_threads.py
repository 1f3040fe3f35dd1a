"""Threads do not see each other's handlers, stores or seeds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch

import ppl_dist as dist
from ppl import ParamStore, get_param_store, param, plate, sample
from ppl import handlers as h
from ppl.runtime import current

ROUNDS = 60


def together(*tasks: Callable[[threading.Barrier], Any]) -> list[Any]:
    """Run the tasks in threads that wait for each other at each step, and give what they return."""
    barrier = threading.Barrier(len(tasks), timeout=30)
    out: list[Any] = [None] * len(tasks)

    def call(i: int) -> None:
        try:
            out[i] = tasks[i](barrier)
        except BaseException as error:
            out[i] = error
            barrier.abort()

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in out:
        if isinstance(result, BaseException):
            raise result
    return out


def task(name: str, size: int, seed: int) -> Callable[[threading.Barrier], list[Any]]:
    def run(barrier: threading.Barrier) -> list[Any]:
        seen = []
        with ParamStore() as store:
            for step in range(ROUNDS):
                with h.trace() as tr, h.seed(rng_seed=seed + step):
                    barrier.wait()
                    loc = param(f"{name}_loc", float(seed))
                    with plate(f"{name}_plate", size):
                        barrier.wait()
                        x = sample(f"{name}_x", dist.Normal(loc, 1.0))
                        for i in plate(f"{name}_loop", 2):
                            barrier.wait()
                            sample(f"{name}_y{i}", dist.Normal(x, 1.0))
                seen.append((list(tr), tr[f"{name}_x"].value.tolist(), tr.log_prob_sum().item()))
            assert list(store) == [f"{name}_loc"]
        assert current() is None
        return seen

    return run


def alone(one: Callable[[threading.Barrier], Any]) -> Any:
    return together(one)[0]


def test_two_threads_give_what_each_gives_alone() -> None:
    a, b = task("a", 3, seed=1), task("b", 5, seed=1000)
    expected = [alone(a), alone(b)]
    assert together(a, b) == expected


def test_one_handler_object_serves_two_threads() -> None:
    def model(name: str, barrier: threading.Barrier) -> None:
        for i in range(5):
            barrier.wait()
            sample(f"{name}{i}", dist.Normal(0.0, 1.0))

    shared = h.trace(h.seed(h.condition(model, data={"a0": 1.0, "b0": 2.0}), rng_seed=4))
    strict = h.trace(h.seed(model, rng_seed=4))

    def worker(name: str) -> Callable[[threading.Barrier], Any]:
        return lambda barrier: strict.get_trace(name, barrier)

    first, second = together(worker("a"), worker("b"))
    assert list(first) == [f"a{i}" for i in range(5)] and list(second) == [f"b{i}" for i in range(5)]
    for i in range(5):  # each run had a generator of its own
        assert torch.equal(first[f"a{i}"].value, second[f"b{i}"].value)

    def misspelt(barrier: threading.Barrier) -> str:
        try:
            shared("a", barrier)
        except ValueError as error:
            return str(error)
        return ""

    messages = together(misspelt, misspelt)
    assert all('no site "b0"' in message for message in messages)


def test_a_new_thread_starts_with_an_empty_stack_and_the_process_wide_store() -> None:
    process_wide = get_param_store()

    def look(barrier: threading.Barrier) -> tuple[Any, ...]:
        return current(), get_param_store()

    with ParamStore(), h.trace(), plate("data", 3):
        assert alone(look) == (None, process_wide)

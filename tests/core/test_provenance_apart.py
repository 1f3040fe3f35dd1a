"""Runs under `track` at the same time, in threads and in tasks, do not see each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import torch

import ppl_dist as dist
from ppl import handlers, parents, sample
from ppl.handlers import track

Normal = dist.Normal


def dependencies(model: Callable[[], Any]) -> dict[str, str]:
    trace = handlers.trace(track(model)).get_trace()
    return {name: " ".join(sorted(parents(site))) for name, site in trace.items()}


def test_two_threads_do_not_see_each_other() -> None:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        both.wait()
        float(z)
        both.wait()
        sample("after", Normal(0.0, 1.0))

    def other() -> None:
        a = sample("a", Normal(0.0, 1.0))
        both.wait()
        both.wait()
        sample("b", Normal(a, 1.0))

    both, found = threading.Barrier(2), {}
    runs = [threading.Thread(target=lambda m=m: found.update(dependencies(m))) for m in (model, other)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert found == {"z": "", "after": "z", "a": "", "b": "a"}


def test_tasks_that_take_turns_do_not_see_each_other() -> None:
    async def task(name: str, *, reads: bool) -> dict[str, set[str]]:
        with handlers.trace() as trace, track():
            z = sample(f"{name}_z", Normal(0.0, 1.0))
            await asyncio.sleep(0)
            if reads:
                float(z)
            await asyncio.sleep(0)
            sample(f"{name}_x", Normal(z, 1.0))
            if reads:
                await asyncio.sleep(0)
            sample(f"{name}_y", Normal(0.0, 1.0))
        return {site: set(parents(trace[site])) for site in trace}

    async def together() -> Any:
        return await asyncio.gather(task("a", reads=True), task("b", reads=False), task("c", reads=True))

    a, b, c = asyncio.run(together())
    assert a == {"a_z": set(), "a_x": {"a_z"}, "a_y": {"a_z"}}
    assert b == {"b_z": set(), "b_x": {"b_z"}, "b_y": set()}
    assert c == {"c_z": set(), "c_x": {"c_z"}, "c_y": {"c_z"}}
    assert torch._C._len_torch_function_stack() == 0

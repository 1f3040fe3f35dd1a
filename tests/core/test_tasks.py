"""Tasks of one event loop, and generators, do not see each other's handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import ppl_dist as dist
from ppl import ParamStore, Trace, param, plate, sample
from ppl import handlers as h
from ppl.runtime import current


async def task(name: str, value: float, seed: int) -> Trace:
    with ParamStore(), h.trace() as tr, h.seed(rng_seed=seed), h.condition(data={f"{name}_a": value}):
        param(f"{name}_loc", value)
        await asyncio.sleep(0)
        sample(f"{name}_a", dist.Normal(0.0, 1.0))
        with plate(f"{name}_plate", 2):
            await asyncio.sleep(0)
            sample(f"{name}_b", dist.Normal(0.0, 1.0))
            for i in plate(f"{name}_loop", 2):
                await asyncio.sleep(0)
                sample(f"{name}_c{i}", dist.Normal(0.0, 1.0))
    return tr


def shown(tr: Trace) -> list[tuple[Any, ...]]:
    return [(s.name, s.is_observed, s.value.tolist(), s.cond_indep_stack) for s in tr.values()]


def test_tasks_that_take_turns_give_what_each_gives_alone() -> None:
    async def together() -> list[Trace]:
        return list(await asyncio.gather(*(task(name, i, seed=i) for i, name in enumerate("abc"))))

    alone = [asyncio.run(task(name, i, seed=i)) for i, name in enumerate("abc")]
    assert list(map(shown, asyncio.run(together()))) == list(map(shown, alone))
    assert current() is None


def test_a_cancelled_task_leaves_nothing_behind() -> None:
    async def outer() -> Any:
        waiting = asyncio.create_task(task("a", 0.0, seed=0))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return current()

    assert asyncio.run(outer()) is None


def test_a_generator_that_is_closed_restores_the_stack() -> None:
    def draws() -> Iterator[torch.Tensor]:
        with h.scale(scale=2.0), plate("data", 3):
            while True:
                yield sample("x", dist.Normal(0.0, 1.0))

    with h.mask(mask=True):
        before = current()
        for x in draws():
            assert x.shape == (3,)
            break
        assert current() is before
    assert current() is None

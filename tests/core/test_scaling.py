"""Large programs run, and what a site costs does not grow with what is around it: counted in calls, not in time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch

import ppl_dist as dist
from ppl import Handler, plate, sample
from ppl import handlers as h
from ppl.runtime import current

FN = dist.Normal(0.0, 1.0)


class Idle(Handler):
    def process(self, site: Any) -> None:
        pass


def calls(run: Callable[[], Any]) -> int:
    """How many Python functions a run enters."""
    count = 0

    def see(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


def sites(n: int) -> None:
    for i in range(n):
        sample(f"x{i}", FN)


def test_ten_thousand_sites_in_fifty_handlers_and_twenty_plates() -> None:
    with h.trace() as tr, ExitStack() as around:
        for _ in range(50):
            around.enter_context(h.scale(scale=1.0))
        for i in range(20):
            around.enter_context(plate(f"p{i}", 1))
        sites(10_000)
    assert current() is None
    drawn = [site for site in tr.values() if site.type == "sample"]
    assert len(drawn) == 10_000
    assert all(site.value.shape == (1,) * 20 and len(site.cond_indep_stack) == 20 for site in drawn)
    assert torch.isfinite(tr.log_prob_sum())


@pytest.mark.parametrize("handlers", [1, 50])
def test_the_cost_of_a_site_is_flat_in_the_number_of_sites(handlers: int) -> None:
    def run(n: int) -> int:
        model: Any = sites
        for _ in range(handlers):
            model = Idle(model)
        return calls(lambda: h.trace(model)(n))

    few, many = run(100) - run(0), run(10_000) - run(0)
    assert many == 100 * few


def test_every_further_handler_costs_the_same() -> None:
    def run(n: int) -> int:
        model: Any = sites
        for _ in range(n):
            model = Idle(model)
        return calls(lambda: model(100))

    assert run(50) - run(49) == run(3) - run(2)
    assert run(50) - run(49) < 1.2 * 100  # one call for each of the sites, and some to enter

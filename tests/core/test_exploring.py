"""`escape` and `queue`: leaving runs, and visiting every run of a discrete model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from queue import LifoQueue, Queue
from typing import Any

import pytest
import torch

import ppl_dist as dist
from ppl import Trace, plate, sample
from ppl import handlers as h
from ppl.runtime import current


def model() -> Any:
    """Eight settings: a bit, a choice out of three if it is set, and two bits in a plate."""
    a = sample("a", dist.Bernoulli(0.3))
    mu = sample("mu", dist.Normal(0.0, 1.0))
    k = sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5]))) if a == 1 else torch.tensor(0)
    with plate("p", 2):
        c = sample("c", dist.Bernoulli(0.2 + 0.1 * k))
    sample("y", dist.Normal(a + mu, 1.0), obs=torch.tensor(0.5))
    return a, k, c


def started(kind: type[Queue[Trace]] = Queue) -> Queue[Trace]:
    traces: Queue[Trace] = kind()
    traces.put(Trace())
    return traces


def all_traces(traces: Queue[Trace], fn: Any = model, **options: Any) -> Iterator[Trace]:
    explored = h.trace(h.queue(fn, queue=traces, **options))
    while not traces.empty():
        yield explored.get_trace()


@pytest.mark.parametrize("kind", [Queue, LifoQueue])
def test_every_setting_is_visited_once_and_the_weights_add_up(kind: Any) -> None:
    discrete = lambda name, site: name in ("a", "k", "c")  # noqa: E731
    found = list(all_traces(started(kind)))
    settings = [(tr["a"].value.item(), tr["k"].value.item() if "k" in tr else None, *tr["c"].value) for tr in found]
    expected = itertools.product([(0.0, None), *((1.0, k) for k in range(3))], [0.0, 1.0], [0.0, 1.0])
    assert sorted(map(str, settings)) == sorted(str((*ak, torch.tensor(c), torch.tensor(d))) for ak, c, d in expected)
    weights = torch.stack([tr.log_prob_sum(discrete) for tr in found]).exp()
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    ones = torch.stack([tr["c"].value[1] for tr in found])
    exact = torch.tensor(0.7 * 0.2 + 0.3 * (0.2 * 0.2 + 0.3 * 0.3 + 0.5 * 0.4))  # p(c[1] = 1)
    torch.testing.assert_close((weights * ones).sum(), exact)


def test_first_in_first_out_is_breadth_first() -> None:
    lengths = [len(tr) for tr in all_traces(started())]
    assert lengths == sorted(lengths)
    assert all_traces is not None
    deep = [int("k" in tr) for tr in all_traces(started(LifoQueue))]
    assert deep == sorted(deep, reverse=True)  # the last extension first


def test_the_trace_holds_the_complete_run_alone() -> None:
    for tr in all_traces(started()):
        expected = ["a", "mu", "k", "p", "c", "y"]
        assert list(tr) == [name for name in expected if name != "k" or tr["a"].value == 1]
        assert len(tr["c"].value) == 2
    assert current() is None


def test_draws_and_minibatches_are_replayed() -> None:
    def program() -> None:
        with plate("data", 1000, subsample_size=3) as i:
            sample("z", dist.Normal(0.0, 1.0))
        sample("a", dist.Bernoulli(0.5))
        assert len(i) == 3

    first, second = all_traces(started(), program)
    assert torch.equal(first["data"].value, second["data"].value)
    assert torch.equal(first["z"].value, second["z"].value)


def test_num_samples_and_functions_of_ones_own() -> None:
    torch.manual_seed(0)
    assert len(list(all_traces(started(), num_samples=2))) in (4, 6, 8)

    def extend(partial: Trace, site: Any, num_samples: int | None) -> list[Trace]:
        chosen = site.copy()
        chosen.value = torch.tensor(1.0)
        return [Trace({**partial, site.name: chosen})]

    only_a = lambda partial, site: site.name == "a" and "a" not in partial  # noqa: E731
    (tr,) = all_traces(started(), extend_fn=extend, escape_fn=only_a)
    assert tr["a"].value == 1.0 and tr["c"].value.shape == (2,)


def test_a_context_manager_is_one_try() -> None:
    traces, results = started(), []
    tries = 0
    while not traces.empty():
        tries += 1
        with h.trace() as tr, h.queue(queue=traces):
            results.append(model())
        assert bool(tr) == (len(tr) > 0)
    assert len(results) == 16 and tries == 16 + 1 + 1 + 4  # a, k, and c after each of the four
    assert current() is None


def test_conditions_inside_are_not_explored_and_scopes_outside_rename() -> None:
    given = h.condition(model, data={"a": 1.0})
    assert len(list(all_traces(started(), given))) == 12
    traces = started()
    explored = h.trace(h.scope(h.queue(model, queue=traces), prefix="s"))
    names = []
    while not traces.empty():
        names.append(list(explored.get_trace()))
    assert len(names) == 16 and all(name.startswith("s/") for run in names for name in run)


def test_queues_nest() -> None:
    def outer(inner: Queue[Trace]) -> float:
        b: float = sample("b", dist.Bernoulli(0.5)).item()
        a: float = h.queue(lambda: sample("a", dist.Bernoulli(0.5)).item(), queue=inner)()
        return 2 * b + a

    traces = started()
    explored = h.queue(outer, queue=traces, escape_fn=lambda partial, site: site.name == "b" and site.value is None)
    assert [explored(started()) for _ in range(2)] == [0.0, 2.0] and traces.empty()


def test_escape() -> None:
    log: list[str] = []

    def leaves() -> None:
        try:
            with plate("p", 3):
                log.append("before")
                sample("x", dist.Normal(0.0, 1.0))
                log.append("after")
        except Exception:
            log.append("caught")

    with h.scale(scale=2.0), pytest.raises(h.NonlocalExit) as info:
        before = current()
        try:
            h.trace(h.escape(leaves, escape_fn=lambda site: site.name == "x"))()
        finally:
            assert current() is before
    assert log == ["before"]
    assert info.value.site.name == "x" and info.value.site.value is None
    assert not hasattr(info.value, "__notes__")
    h.escape(leaves, escape_fn=lambda site: False)()
    assert log == ["before", "before", "after"]

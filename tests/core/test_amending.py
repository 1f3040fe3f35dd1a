"""`scope`, `infer_config`, `broadcast`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import ppl_dist as dist
from ppl import Frame, Handler, ParamStore, Site, deterministic, param, plate, sample
from ppl import handlers as h


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def part(size: int = 20, n: int | None = None) -> Any:
    loc = param("loc", 0.5)
    with plate("data", size, subsample_size=n) as i:
        x = sample("x", dist.Normal(loc, 1.0))
    deterministic("d", x)
    return i, x


def test_scope_renames_everything() -> None:
    tr = h.trace(h.scope(part, prefix="a")).get_trace(3)
    assert list(tr) == ["a/loc", "a/data", "a/x", "a/d"] == [site.name for site in tr.values()]
    assert tr["a/x"].cond_indep_stack == (Frame("a/data", -1, 3, 3),)


def test_scopes_nest_and_leave_what_is_outside() -> None:
    with h.trace() as tr, plate("outer", 2), h.scope(prefix="a"), h.scope(prefix="b", divider="."):
        part(3)
    assert [name for name in tr if name.endswith("x")] == ["a/b.x"]
    assert [frame.name for frame in tr["a/b.x"].cond_indep_stack] == ["outer", "a/b.data"]


def test_two_scopes_have_plates_and_minibatches_of_their_own() -> None:
    def model() -> tuple[Any, ...]:
        first = h.scope(part, prefix="a")(100, 4)
        second = h.scope(part, prefix="b")(50, 5)
        with h.scope(prefix="a"), plate("data", 100, subsample_size=4) as again:
            sample("z", dist.Normal(0.0, 1.0))
        return first, second, again

    with h.trace() as tr:
        (i, x), (j, _), again = model()
    assert (len(i), len(j)) == (4, 5) and torch.equal(again, i)
    assert torch.equal(tr["a/data"].value, i) and torch.equal(tr["b/data"].value, j)
    assert tr["a/x"].scale == 25.0 and tr["b/x"].scale == 10.0
    (k, y), _, _ = h.replay(model, trace=tr)()
    assert torch.equal(k, i) and y is x
    with h.trace():
        assert not torch.equal(model()[0][0], i)  # a new run draws anew


def test_types_left_alone() -> None:
    def names(*kinds: str) -> list[str]:
        return list(h.trace(h.scope(part, prefix="a", hide_types=kinds)).get_trace(9, 3))

    assert names("param") == ["loc", "a/data", "a/x", "a/d"]
    assert names("plate", "deterministic") == ["a/loc", "data", "a/x", "d"]
    with h.trace() as tr, h.scope(prefix="a", hide_types=["plate"]):
        i, _ = part(100, 4)
    assert tr["a/x"].cond_indep_stack[0].name == "data"
    with h.trace():
        with h.scope(prefix="a", hide_types=["plate"]):
            i, _ = part(100, 4)
        with plate("data", 100, subsample_size=4) as j:
            assert torch.equal(i, j)


def test_parameters_in_scopes_are_their_own() -> None:
    with ParamStore() as store:
        h.scope(part, prefix="a")(2)
        h.scope(part, prefix="b")(2)
        assert list(store) == ["a/loc", "b/loc"]


def test_infer_config_adds_to_what_a_site_carries() -> None:
    def model() -> None:
        param("loc", 0.5)
        sample("x", dist.Bernoulli(0.5), infer={"a": 1, "b": 2})
        sample("y", dist.Bernoulli(0.5), obs=1.0)
        deterministic("d", torch.zeros(()))

    tr = h.trace(h.infer_config(model, config_fn=lambda site: {"b": site.name, "c": 4})).get_trace()
    assert tr["x"].infer == {"a": 1, "b": "x", "c": 4}
    assert tr["y"].infer == {"b": "y", "c": 4} and tr["loc"].infer == {"b": "loc", "c": 4}
    assert tr["d"].infer == {}


class rows(Handler):
    """Says that sites are independent along dim -2, and leaves it at that."""

    def process(self, site: Site) -> None:
        site.cond_indep_stack = (Frame("rows", -2, 4, 4), *site.cond_indep_stack)


def test_broadcast() -> None:
    def model() -> Any:
        with plate("columns", 3):
            return sample("x", dist.Normal(torch.zeros(3), 1.0))

    assert rows(model)().shape == (3,)
    assert h.broadcast(rows(model))().shape == (4, 3)
    assert h.broadcast(model)().shape == (3,)
    with h.broadcast(), plate("open"), plate("n", 2):
        assert sample("x", dist.Normal(0.0, 1.0)).shape == (2, 1)
    with pytest.raises(ValueError, match=r'plate "rows" has size 4 at dim -2'), h.broadcast(), rows():
        sample("x", dist.Normal(torch.zeros(2, 3), 1.0))

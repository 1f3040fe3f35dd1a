"""Laws every handler obeys: neutral, idempotent, commuting; and the stack is as it was, whatever happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import ppl_dist as dist
from ppl import Handler, ParamStore, Trace, deterministic, factor, param, plate, sample
from ppl import handlers as h
from ppl.runtime import current

Model = Callable[..., Any]
Wrap = Callable[[Model], Model]
Y = torch.tensor([0.5, -1.0, 2.0])


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def model() -> torch.Tensor:
    loc = param("loc", 0.5)
    mu = sample("mu", dist.Normal(loc, 1.0))
    tau = sample("tau", dist.Gamma(2.0, 2.0))
    factor("prefer", -mu.square())
    deterministic("twice", 2 * mu)
    with plate("data", 3):
        theta = sample("theta", dist.Normal(mu, tau))
        sample("y", dist.Normal(theta, 1.0), obs=Y)
    return theta


def run(fn: Model) -> tuple[list[tuple[Any, ...]], float]:
    """What a run looks like from outside, under one fixed seed: its sites, and the log joint density."""
    torch.manual_seed(7)
    tr = h.trace(fn).get_trace()
    rows = [(s.name, s.type, s.is_observed, s.value.tolist(), s.cond_indep_stack) for s in tr.values()]
    return rows, tr.log_prob_sum().item()


@pytest.fixture
def recorded() -> Trace:
    torch.manual_seed(3)
    return h.trace(model).get_trace()


NEUTRAL: dict[str, Wrap] = {
    "trace": h.trace,
    "replay": lambda fn: h.replay(fn, trace=Trace()),
    "condition": lambda fn: h.condition(fn, data={}),
    "do": lambda fn: h.do(fn, data={}),
    "substitute": lambda fn: h.substitute(fn, data={}),
    "block": lambda fn: h.block(fn, hide=[]),
    "mask": lambda fn: h.mask(fn, mask=True),
    "scale": lambda fn: h.scale(fn, scale=1.0),
    "plate": plate("outer", 1, dim=-9),
    "base": Handler,
}
ACTIVE: dict[str, Wrap] = {
    "trace": h.trace,
    "condition": lambda fn: h.condition(fn, data={"mu": 0.25}),
    "do": lambda fn: h.do(fn, data={"mu": 0.25}),
    "substitute": lambda fn: h.substitute(fn, data={"tau": 0.75, "loc": torch.tensor(0.1)}),
    "block": lambda fn: h.block(fn, hide=["tau"]),
    "mask": lambda fn: h.mask(fn, mask=False),
    "scale": lambda fn: h.scale(fn, scale=3.0),
    "seed": lambda fn: h.seed(fn, rng_seed=11),
}


def test_every_handler_has_a_row() -> None:
    names = set(h.__all__) - {"Handler"}
    assert names <= set(NEUTRAL) | {"seed"}
    assert names <= set(ACTIVE) | {"replay"}


@pytest.mark.parametrize("name", [*NEUTRAL, *(f"active {n}" for n in ACTIVE)])
def test_neutral_on_an_empty_model(name: str) -> None:
    wrap = ACTIVE[name.removeprefix("active ")] if name.startswith("active") else NEUTRAL[name]
    tr = h.trace(wrap(lambda: None)).get_trace()
    assert len([site for site in tr.values() if site.name != "outer"]) == 0
    assert wrap(lambda a, *, b: (a, b))(1, b=2) == (1, 2)
    assert current() is None


@pytest.mark.parametrize("name", [n for n in NEUTRAL if n != "plate"])
def test_neutral_settings_change_nothing(name: str) -> None:
    assert run(NEUTRAL[name](model)) == run(model)


@pytest.mark.parametrize("name", [n for n in ACTIVE if n != "scale"])
def test_idempotent(name: str) -> None:
    wrap = ACTIVE[name]
    assert run(wrap(wrap(model))) == run(wrap(model))


def test_replay_is_idempotent_and_replays_itself(recorded: Trace) -> None:
    once = run(h.replay(model, trace=recorded))
    assert run(h.replay(h.replay(model, trace=recorded), trace=recorded)) == once
    assert once[0] == [(s.name, s.type, s.is_observed, s.value.tolist(), s.cond_indep_stack) for s in recorded.values()]


def test_scales_multiply() -> None:
    torch.manual_seed(0)
    plain = run(model)[1]
    assert run(ACTIVE["scale"](ACTIVE["scale"](model)))[1] == pytest.approx(9 * plain, rel=1e-5)


COMMUTING = [
    ("mask", "scale"),
    ("mask", "condition"),
    ("mask", "block"),
    ("scale", "condition"),
    ("scale", "substitute"),
    ("scale", "seed"),
    ("condition", "seed"),
    ("condition", "substitute"),
    ("condition", "trace"),
    ("do", "substitute"),
    ("do", "scale"),
    ("do", "seed"),
    ("block", "scale"),
    ("trace", "seed"),
]


@pytest.mark.parametrize(("first", "second"), COMMUTING, ids=lambda n: n)
def test_commuting_pairs(first: str, second: str) -> None:
    a, b = ACTIVE[first], ACTIVE[second]
    assert run(a(b(model))) == run(b(a(model)))


def test_condition_and_do_on_one_site_do_not_commute() -> None:
    outer_do = h.trace(ACTIVE["do"](ACTIVE["condition"](model))).get_trace()
    assert outer_do["mu"].type == "deterministic"
    with pytest.raises(ValueError, match='condition: no site "mu"'):
        ACTIVE["condition"](ACTIVE["do"](model))()


def test_block_hides_from_the_outside_only() -> None:
    hidden = h.block(hide=["mu"])
    assert h.trace(hidden(ACTIVE["condition"](model))).get_trace().get("mu") is None
    with pytest.raises(ValueError, match='condition: no site "mu"'):
        ACTIVE["condition"](hidden(model))()


@pytest.mark.parametrize("name", [*ACTIVE, "plate"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_stack_restored_after_errors(name: str, error: type[BaseException]) -> None:
    def fails() -> None:
        sample("mu", dist.Normal(0.0, 1.0))
        raise error("stop")

    with h.scale(scale=2.0):
        before = current()
        wrapped = plate("p", 4)(fails) if name == "plate" else ACTIVE[name](fails)
        with pytest.raises(error):
            wrapped()
        assert current() is before
    assert current() is None


def test_stack_restored_after_break_and_after_errors_in_a_loop() -> None:
    with h.trace():
        before = current()
        for i in plate("p", 3):
            if i == 1:
                break
        assert current() is before
        with pytest.raises(RuntimeError, match="stop"):
            for _ in plate("q", 3):
                raise RuntimeError("stop")
        assert current() is before


def test_a_loop_kept_alive_is_dropped_when_what_encloses_it_ends() -> None:
    with h.trace():
        loop = iter(plate("p", 3))
        next(loop)
    assert current() is None
    with h.scale(scale=2.0):
        before = current()
        loop.close()  # it no longer owns anything here
        assert current() is before


def test_an_error_inside_a_handler_restores_the_stack() -> None:
    class Fails(Handler):
        def process(self, site: Any) -> None:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no") as info:
        Fails(model)()
    assert current() is None
    assert any('while at site "loc" (param)' in note for note in info.value.__notes__)


class _Log(Handler):
    def __init__(self, log: list[str], name: str, fn: Model | None = None) -> None:
        super().__init__(fn)
        self.log, self.name = log, name

    def process(self, site: Any) -> None:
        self.log.append(f"process {self.name}")

    def finish(self, site: Any) -> None:
        self.log.append(f"finish {self.name}")


def test_order_of_the_steps() -> None:
    log: list[str] = []
    with _Log(log, "outer"), _Log(log, "inner"):
        sample("x", dist.Normal(0.0, 1.0))
    assert log == ["process inner", "process outer", "finish outer", "finish inner"]


def test_finish_runs_only_for_handlers_that_saw_process() -> None:
    log: list[str] = []
    with _Log(log, "outer"), h.block(), _Log(log, "inner"):
        sample("x", dist.Normal(0.0, 1.0))
    assert log == ["process inner", "finish inner"]


def test_the_three_ways_of_use_agree() -> None:
    @h.condition(data={"mu": 0.25})
    def decorated() -> Any:
        return model()

    def managed() -> Any:
        with h.condition(data={"mu": 0.25}):
            return model()

    assert run(decorated) == run(managed) == run(h.condition(model, data={"mu": 0.25}))


def test_a_handler_object_is_reentrant() -> None:
    twice = h.scale(scale=2.0)
    with h.trace() as tr, twice, twice:
        sample("x", dist.Normal(0.0, 1.0), obs=0.0)
    assert tr["x"].scale == 4.0

    def recurse(n: int) -> None:
        sample(f"x{n}", dist.Normal(0.0, 1.0))
        if n:
            wrapped(n - 1)

    wrapped = h.trace(recurse)
    assert list(wrapped.get_trace(2)) == ["x2", "x1", "x0"]


def test_a_wrapper_keeps_the_signature_and_the_name() -> None:
    import inspect

    def named(x: int, *, y: int = 2) -> int:
        return x + y

    wrapped = h.trace(h.scale(named, scale=2.0))
    assert str(inspect.signature(wrapped)).startswith("(x: 'int', *, y: 'int' = 2)")
    assert wrapped.__name__ == "named"
    assert wrapped(1) == 3

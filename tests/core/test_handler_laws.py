"""Laws every handler obeys over every program: neutral, idempotent, commuting; and the stack is as it was, whatever
happened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from queue import Queue
from typing import Any

import pytest
import torch

import ppl_dist as dist
from inference.reparam import AutoReparam
from ppl import Handler, ParamStore, Trace, plate, sample
from ppl import handlers as h
from ppl.runtime import current
from tests.support.programs import PROGRAMS, Program

Model = Callable[..., Any]
Wrap = Callable[[Model], Model]


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


@dataclass(frozen=True)
class Row:
    """What the laws need to know of a handler.

    Attributes:
        neutral: a setting that changes nothing; None where there is none.
        active: a setting that changes something, for a program.
        idempotent: whether doing it twice is doing it once.
        commutes: the handlers that it can change places with, in these settings; each pair is listed once.
        programs: those to which the active setting applies.
    """

    neutral: Wrap | None
    active: Callable[[Program], Wrap]
    idempotent: bool = True
    commutes: tuple[str, ...] = ()
    programs: Collection[str] = tuple(PROGRAMS)


def on_latent(kind: Any) -> Callable[[Program], Wrap]:
    return lambda program: lambda fn: kind(fn, data={program.latent: program.value})


def always(wrap: Wrap) -> Callable[[Program], Wrap]:
    return lambda program: wrap


def one_try() -> Queue[Trace]:
    traces: Queue[Trace] = Queue()
    traces.put(Trace())
    return traces


def replayed(program: Program) -> Wrap:
    torch.manual_seed(3)
    recorded = h.trace(program.model).get_trace()
    return lambda fn: h.replay(fn, trace=recorded)


# Programs in which all that happens to latent sites is conjugate; the others `collapse` refuses.
CONJUGATE = ("discrete", "events", "loop", "foreign")

ROWS: dict[str, Row] = {
    "trace": Row(h.trace, always(h.trace), commutes=("seed", "mask", "scale", "condition", "substitute")),
    "replay": Row(lambda fn: h.replay(fn, trace=Trace()), replayed, commutes=("seed", "mask", "scale")),
    "condition": Row(lambda fn: h.condition(fn, data={}), on_latent(h.condition), commutes=("seed", "mask", "scale")),
    "do": Row(lambda fn: h.do(fn, data={}), on_latent(h.do), commutes=("seed", "mask", "scale")),
    "substitute": Row(
        lambda fn: h.substitute(fn, data={}), on_latent(h.substitute), commutes=("seed", "mask", "scale")
    ),
    "block": Row(
        lambda fn: h.block(fn, hide=[]),
        lambda program: lambda fn: h.block(fn, hide=[program.latent]),
        commutes=("mask", "scale"),
    ),
    "mask": Row(
        lambda fn: h.mask(fn, mask=True), always(lambda fn: h.mask(fn, mask=False)), commutes=("seed", "scale")
    ),
    "scale": Row(
        lambda fn: h.scale(fn, scale=1.0),
        always(lambda fn: h.scale(fn, scale=3.0)),
        idempotent=False,
        commutes=("seed",),
    ),
    "seed": Row(None, always(lambda fn: h.seed(fn, rng_seed=11))),
    "uncondition": Row(None, always(h.uncondition), commutes=("seed", "mask", "scale", "infer_config", "scope")),
    "lift": Row(
        lambda fn: h.lift(fn, prior={}),
        always(lambda fn: h.lift(fn, prior=dist.Uniform(0.4, 0.6))),
        commutes=("seed", "condition", "scope"),  # not mask and scale: what is lifted outside them is not weighted
    ),
    "scope": Row(
        lambda fn: h.scope(fn, prefix="", divider=""),
        always(lambda fn: h.scope(fn, prefix="part")),
        idempotent=False,
        commutes=("seed", "mask", "scale", "infer_config"),
    ),
    "infer_config": Row(
        lambda fn: h.infer_config(fn, config_fn=lambda site: {}),
        always(lambda fn: h.infer_config(fn, config_fn=lambda site: {"note": 1})),
        commutes=("seed", "mask", "scale", "condition", "substitute", "do", "replay", "block"),
    ),
    "broadcast": Row(h.broadcast, always(h.broadcast), commutes=("seed", "mask", "scale", "condition", "substitute")),
    "escape": Row(lambda fn: h.escape(fn, escape_fn=lambda site: False), always(h.escape), programs=()),
    "queue": Row(
        lambda fn: h.queue(fn, queue=one_try(), escape_fn=lambda partial, site: False), always(h.queue), programs=()
    ),
    "enum": Row(
        None,
        always(lambda fn: h.enum(fn, first_available_dim=-9)),
        commutes=("seed", "mask", "scale", "infer_config"),
    ),
    "track": Row(
        h.track,
        always(h.track),
        commutes=("seed", "mask", "scale", "condition", "substitute", "do", "block", "replay", "trace"),
    ),
    "collapse": Row(None, always(h.collapse), commutes=("seed", "track"), programs=CONJUGATE),
    "reparam": Row(
        lambda fn: h.reparam(fn, config={}),
        always(lambda fn: h.reparam(fn, config=AutoReparam(0.0))),
        commutes=("mask", "scale", "seed", "trace"),
    ),
    "markov": Row(h.markov, always(h.markov), commutes=("seed", "mask", "scale", "condition", "block", "scope")),
}
CASES = [(name, program) for name in ROWS for program in PROGRAMS]
ACTIVE = [(name, program) for name, program in CASES if program in ROWS[name].programs]
PAIRS = [(a, b, program) for a, program in ACTIVE for b in ROWS[a].commutes if program in ROWS[b].programs]


def run(fn: Model) -> tuple[list[tuple[Any, ...]], str]:
    """What a run looks like from outside, under one fixed seed: its sites, and the log joint density.

    Values in words, so that a missing observation equals itself.
    """
    torch.manual_seed(7)
    tr = h.trace(fn).get_trace()
    rows = [(s.name, s.type, s.is_observed, str(s.value.tolist()), s.cond_indep_stack) for s in tr.values()]
    return rows, f"{tr.log_prob_sum().item():.4f}"


def active(name: str, program: Program) -> Wrap:
    return ROWS[name].active(program)


def test_every_handler_has_a_row() -> None:
    assert set(ROWS) == set(h.__all__) - {"Handler", "NonlocalExit"}


@pytest.mark.parametrize("name", ROWS)
def test_neutral_on_an_empty_program(name: str) -> None:
    row = ROWS[name]
    wraps = [row.neutral, row.active(PROGRAMS["schools"]) if row.programs else None]
    for wrap in wraps:
        if wrap is not None:
            assert len(h.trace(wrap(lambda: None)).get_trace()) == 0
            assert wrap(lambda a, *, b: (a, b))(1, b=2) == (1, 2)
            assert current() is None


@pytest.mark.parametrize(("name", "program"), CASES)
def test_a_neutral_setting_changes_nothing(name: str, program: str) -> None:
    wrap, model = ROWS[name].neutral, PROGRAMS[program].model
    if wrap is not None:
        assert run(wrap(model)) == run(model)


@pytest.mark.parametrize(("name", "program"), [case for case in ACTIVE if ROWS[case[0]].idempotent])
def test_idempotent(name: str, program: str) -> None:
    wrap, model = active(name, PROGRAMS[program]), PROGRAMS[program].model
    assert run(wrap(wrap(model))) == run(wrap(model))


@pytest.mark.parametrize(("name", "other", "program"), PAIRS)
def test_commuting_pairs(name: str, other: str, program: str) -> None:
    model = PROGRAMS[program].model
    a, b = active(name, PROGRAMS[program]), active(other, PROGRAMS[program])
    assert run(a(b(model))) == run(b(a(model)))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_replayed_trace_is_the_trace(program: str) -> None:
    model = PROGRAMS[program].model
    torch.manual_seed(3)
    recorded = h.trace(model).get_trace()
    again = run(h.replay(model, trace=recorded))
    rows = [(s.name, s.type, s.is_observed, str(s.value.tolist()), s.cond_indep_stack) for s in recorded.values()]
    assert again == (rows, f"{recorded.log_prob_sum().item():.4f}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_condition_then_uncondition_restores(program: str) -> None:
    model, wrap = PROGRAMS[program].model, active("condition", PROGRAMS[program])
    assert run(h.uncondition(wrap(model))) == run(h.uncondition(model))


@pytest.mark.parametrize("program", PROGRAMS)
def test_scales_multiply(program: str) -> None:
    model = PROGRAMS[program].model
    torch.manual_seed(7)
    plain = h.trace(model).get_trace().log_prob_sum().item()
    torch.manual_seed(7)
    twice = h.trace(h.scale(h.scale(model, scale=3.0), scale=3.0)).get_trace().log_prob_sum().item()
    assert twice == pytest.approx(9 * plain, rel=1e-5)


class _Breaks(Handler):
    """Fails at the site of a given number."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.left, self.error = at, error

    def finish(self, site: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.error


@pytest.mark.parametrize(("name", "program"), ACTIVE)
def test_the_stack_is_restored_wherever_a_run_fails(name: str, program: str) -> None:
    model = PROGRAMS[program].model
    wrap = active(name, PROGRAMS[program])
    with ParamStore():
        sites = len(h.trace(model).get_trace())
    for kind in (ValueError, KeyboardInterrupt):
        for at in (0, sites // 2, sites - 1):
            with h.scale(scale=2.0):
                before = current()
                with pytest.raises(kind, match="stop"):
                    wrap(_Breaks(at, kind("stop"))(model))()
                assert current() is before
            assert current() is None


model = PROGRAMS["schools"].model
condition_mu, do_mu = (on_latent(kind)(PROGRAMS["schools"]) for kind in (h.condition, h.do))


def test_condition_and_do_on_one_site_do_not_commute() -> None:
    outer_do = h.trace(do_mu(condition_mu(model))).get_trace()
    assert outer_do["mu"].type == "deterministic"
    with pytest.raises(ValueError, match='condition: no site "mu"'):
        condition_mu(do_mu(model))()


def test_block_hides_from_the_outside_only() -> None:
    hidden = h.block(hide=["mu"])
    assert h.trace(hidden(condition_mu(model))).get_trace().get("mu") is None
    with pytest.raises(ValueError, match='condition: no site "mu"'):
        condition_mu(hidden(model))()


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

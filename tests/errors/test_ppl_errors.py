"""Every deliberate error of `ppl` says where, what was expected, what it got and what to try; and the advice works.

Each test: the call that fails, the parts its message must hold, and, where the advice is code, that code as it stands
in the message, which is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import ppl
import ppl_dist as dist
from ppl import ParamStore, check_shapes, deterministic, observe, param, plate, sample
from ppl import handlers as h
from tests.errors.reading import advice, fails, model

Normal = dist.Normal


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


# Names


@pytest.mark.parametrize("handler", [h.condition, h.do, h.substitute], ids=lambda k: k.__name__)
def test_a_misspelt_name(handler: Any) -> None:
    message = fails(
        ValueError,
        handler(model, data={"mu": 0.0, "thetaa": torch.zeros(3)}),
        f"{handler.__name__}: no ",
        '"thetaa" in the model; did you mean "theta"?',
        "Sites: mu, tau, theta",
    )
    better = advice(message, r'did you mean "(\w+)"')
    handler(model, data={"mu": 0.0, better: torch.zeros(3)})()


def test_a_name_like_no_other() -> None:
    with pytest.raises(ValueError, match=r'condition: no site "zzz" in the model\. Sites: mu, tau, theta, obs\.'):
        h.condition(model, data={"zzz": 0.0})()


def test_substitute_does_not_reach_observed_sites() -> None:
    with pytest.raises(ValueError, match='substitute: no latent site or parameter "obs"'):
        h.substitute(model, data={"obs": torch.zeros(3)})()


def test_data_of_the_wrong_kind() -> None:
    message = fails(TypeError, lambda: h.condition(model, data=3), "condition:", "dictionary", "got int")  # type: ignore[arg-type]
    one_site = lambda: sample("x", Normal(0.0, 1.0))  # noqa: E731
    eval(advice(message), {"condition": h.condition, "model": one_site})()


def test_a_duplicate_site_name() -> None:
    def twice(name: str) -> None:
        with h.trace():
            sample("x", Normal(0.0, 1.0))
            sample(name, Normal(0.0, 1.0))

    message = fails(ValueError, lambda: twice("x"), 'site "x"', "already taken by a sample site", 'Try sample("x_2"')
    twice(eval(advice(message, r"Try sample\((.+?),")))


def test_a_duplicate_site_name_in_a_loop() -> None:
    def loop(name: Callable[[int], str]) -> None:
        with h.trace():
            for i in plate("data", 2):
                sample(name(i), Normal(0.0, 1.0))

    message = fails(ValueError, lambda: loop(lambda i: "x"), 'site "x"', 'Try sample(f"x_{i}"')
    code = advice(message, r"Try sample\((.+?),")
    loop(lambda i: eval(code, {"i": i}))


def test_a_deterministic_named_like_a_sample() -> None:
    def clash() -> None:
        with h.trace():
            sample("x", Normal(0.0, 1.0))
            deterministic("x", torch.zeros(()))

    fails(ValueError, clash, 'site "x"', "sample site", 'Try deterministic("x_2", ...)')


# Plates


def within(outer: str, inner: str) -> Callable[[], Any]:
    def enter() -> None:
        with eval(outer, {"plate": plate}), eval(inner, {"plate": plate}):
            pass

    return enter


def test_two_plates_on_one_dim() -> None:
    outer, inner = 'plate("outer", 10)', 'plate("inner", 20, dim=-1)'
    message = fails(
        ValueError,
        within(outer, inner),
        'plate "inner": dim -1 is already used by plate "outer". Try plate("inner", 20, dim=-2).',
    )
    within(outer, advice(message))()


def test_a_plate_inside_itself() -> None:
    outer = 'plate("data", 10)'
    message = fails(ValueError, within(outer, 'plate("data", 10)'), 'plate "data"', "encloses it already")
    within(outer, advice(message))()


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        ('plate("data", 5, 6)', ("subsample_size must lie between 0 and size", "subsample_size 6, size 5")),
        ('plate("data", -2)', ("between 0 and size", "size -2")),
        ('plate("data", 5, dim=0)', ("must be negative, got 0",)),
        ('plate("data", subsample_size=3)', ("needs the full size",)),
        ('plate("data", 5, 3, subsample=[0, 1])', ("a vector of subsample_size = 3 indices, got shape (2,)",)),
    ],
)
def test_sizes_that_make_no_sense(call: str, parts: tuple[str, ...]) -> None:
    message = fails(ValueError, lambda: eval(call), 'plate "data"', *parts)
    code = advice(message)
    if code.startswith("plate("):
        with eval(code, {"plate": plate, "size": 5}):
            pass


def test_a_loop_over_a_plate_of_open_size() -> None:
    message = fails(ValueError, lambda: list(plate("data")), 'plate "data"', "a loop needs a size, got None")
    assert len(list(eval(advice(message)))) == 10


def test_two_plates_of_one_name_and_other_sizes() -> None:
    def run(second: str) -> None:
        with h.trace():
            with plate("data", 10, 5):
                pass
            with eval(second, {"plate": plate}):
                pass

    message = fails(
        ValueError,
        lambda: run('plate("data", 8)'),
        'plate "data"',
        "size 10 and subsample_size 5",
        "size 8 and subsample_size 8",
    )
    run(advice(message, r"Try another name: (.+)\.$"))


def test_a_batch_shape_that_does_not_fit_the_plate() -> None:
    def run(fn: Any) -> None:
        with plate("data", 4):
            sample("y", fn)

    parts = ('site "y"', "Normal has batch shape (3,)", 'plate "data" has size 4 at dim -1', "to_event(1)")
    fails(ValueError, lambda: run(Normal(torch.zeros(3), 1.0)), *parts)
    run(Normal(torch.zeros(4), 1.0))
    run(Normal(torch.zeros(1), 1.0))
    run(Normal(torch.zeros(3), 1.0).to_event(1))


def test_a_replayed_minibatch_of_another_size() -> None:
    def program(n: int) -> None:
        with plate("data", 10, subsample_size=n):
            pass

    guide = h.trace(program).get_trace(3)
    fails(ValueError, lambda: h.replay(program, trace=guide)(4), 'plate "data"', "expected 4 indices", "gave (3,)")
    h.replay(program, trace=guide)(3)


def test_a_parameter_that_does_not_fit_a_subsampled_plate() -> None:
    def run(size: int) -> None:
        with plate("data", 10, subsample_size=2):
            param(f"p{size}", torch.zeros(size), event_dim=0)

    fails(ValueError, lambda: run(7), 'param "p7"', "shape (7,) has size 7 at dim -1", 'plate "data" has size 10')
    run(10)
    run(1)


# Shapes of observations and of finished traces


def observed(fn: Any, value: torch.Tensor, size: int | None = None) -> ppl.Trace:
    with h.trace() as tr:
        if size is None:
            observe("y", fn, value)
        else:
            with plate("data", size):
                observe("y", fn, value)
    tr.log_prob_sum()
    return tr


@pytest.mark.parametrize("shape", [(7,), (8, 1)], ids=str)
def test_a_wrong_shaped_observation(shape: tuple[int, ...]) -> None:
    value = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    message = fails(
        ValueError,
        lambda: observed(Normal(0.0, 1.0), value, 8),
        'site "y": the observed value has shape ' + str(shape),
        "Normal has shape (8,)",
        'plate "data" (dim -1, size 8)',
    )
    if shape == (8, 1):
        observed(Normal(0.0, 1.0), eval(advice(message, r"Try obs=(.+)\."), {"value": value}), 8)
    else:
        assert "Try a value of shape (8,)" in message
        observed(Normal(0.0, 1.0), torch.zeros(8), 8)


def test_a_wrong_event_shape() -> None:
    fn = Normal(torch.zeros(3), 1.0).to_event(1)
    parts = ("observed value has shape (5, 1)", "Normal.to_event(1) has shape (3,) (batch (), event (3,))")
    message = fails(ValueError, lambda: observed(fn, torch.zeros(5, 1)), *parts)
    assert "last dimensions are (3,)" in message
    observed(fn, torch.zeros(5, 3))


def test_a_column_against_a_row_outside_plates() -> None:
    fn = Normal(torch.zeros(8), 1.0)
    fails(ValueError, lambda: observed(fn, torch.zeros(5, 1)), "shape (5, 1)", "shape (8,)")


def test_a_batch_dimension_outside_any_plate() -> None:
    def run(fn: Any, where: Any = None) -> None:
        with h.trace() as tr:
            if where is None:
                sample("z", fn)
            else:
                with where:
                    sample("z", fn)
        check_shapes(tr)

    fn = Normal(torch.zeros(3), 1.0)
    message = fails(
        ValueError,
        lambda: run(fn),
        'site "z": log_prob has shape (3,) but the enclosing plates give (). Either put it in a plate',
        "or make the last dimension part of the event:",
        'sample("z", Normal(...).to_event(1))',
    )
    assert "z  3 |    3 |" in message  # the table of shapes
    run(fn, eval(advice(message, r"in a plate:  (.+),$")))
    method = advice(message, r"Normal\(\.\.\.\)(\S+)\)\.")
    run(eval("fn" + method, {"fn": fn}))


def test_data_wider_than_the_model() -> None:
    y = torch.zeros(4, 5)
    message = fails(
        ValueError,
        lambda: check_shapes(observed(Normal(0.0, 1.0), y)),
        "log_prob has shape (4, 5)",
        "the last 2 dimensions",
    )
    method = advice(message, r"Normal\(\.\.\.\)(.+)\)\.$")
    check_shapes(observed(eval("fn" + method, {"fn": Normal(0.0, 1.0)}), y))


def test_an_unclaimed_dimension_beside_a_plate() -> None:
    def run(fn: Any) -> None:
        with h.trace() as tr, plate("data", 8, dim=-1):
            sample("z", fn)
        check_shapes(tr)

    parts = ("log_prob has shape (3, 8) but the enclosing plates give (8,)", 'plate("z_plate", 3, dim=-2)')
    message = fails(ValueError, lambda: run(Normal(torch.zeros(3, 8), 1.0)), *parts)
    with eval(advice(message, r"in a plate:  (.+),$")):
        run(Normal(torch.zeros(3, 8), 1.0))
    assert "part of the event" in message


def test_a_log_prob_of_another_size_than_the_plate() -> None:
    with h.trace() as tr, plate("data", 8):
        sample("z", Normal(0.0, 1.0))
    tr["z"].value = torch.zeros(5)
    tr["z"].fn = Normal(0.0, 1.0)
    parts = ('site "z"', "log_prob has shape (5,)", 'plate "data" has size 8 at dim -1')
    fails(ValueError, lambda: check_shapes(tr), *parts)


def test_shapes_that_are_right_pass() -> None:
    check_shapes(h.trace(model).get_trace())
    with h.trace() as tr, plate("open"):
        sample("y", Normal(0.0, 1.0), obs=torch.zeros(9))
    check_shapes(tr)


# Notes


def test_an_error_in_a_model_carries_the_site_the_plates_and_the_shapes() -> None:
    class Broken(Normal):  # type: ignore[misc]
        def rsample(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            raise ArithmeticError("no draw")

    def run() -> None:
        sample("mu", Normal(torch.zeros(2), 1.0).to_event(1))
        with plate("data", 3):
            sample("x", Broken(torch.zeros(3), torch.ones(3)))

    with pytest.raises(ArithmeticError, match="no draw") as info:
        h.trace(h.trace(run)).get_trace()
    notes = "\n".join(info.value.__notes__)
    assert 'while at site "x" (sample, Broken, inside plate "data" (dim -1, size 3))' in notes
    assert notes.count("sites so far") == 1
    assert "  mu   | 2    | 2" in notes


def test_an_error_between_sites_carries_the_shapes_too() -> None:
    def run() -> None:
        mu = sample("mu", Normal(0.0, 1.0))
        Normal(mu, -1.0)

    with pytest.raises(ValueError, match="scale") as info:
        h.trace(run).get_trace()
    assert any(note.startswith("sites so far") for note in info.value.__notes__)


def test_an_error_in_log_prob_names_the_site() -> None:
    with h.trace() as tr:
        sample("rate", dist.Gamma(2.0, 1.0), obs=torch.tensor(-1.0))
    with pytest.raises(ValueError, match="Gamma") as info:
        tr.log_prob_sum()
    assert 'in the log_prob of site "rate" (sample, Gamma)' in info.value.__notes__


def test_the_table_of_a_long_trace_is_cut() -> None:
    def run() -> None:
        for i in range(100):
            sample(f"x{i}", Normal(0.0, 1.0))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop") as info:
        h.trace(run).get_trace()
    (note,) = info.value.__notes__
    assert note.startswith("sites so far (the last 24 of 100):") and note.count("\n") == 25


@pytest.mark.parametrize("observed", [False, True], ids=["latent", "observed"])
@pytest.mark.parametrize(
    "weight", [h.mask(mask=torch.tensor([True] * 3)), h.scale(scale=torch.ones(3))], ids=["mask", "scale"]
)
def test_a_weight_wider_than_its_site(weight: ppl.Handler, observed: bool) -> None:
    obs = torch.tensor(0.5) if observed else None

    def run() -> None:
        with h.trace() as tr, weight:
            sample("z", Normal(0.0, 1.0), obs=obs)
        tr.compute_log_prob()
        check_shapes(tr)

    kind = type(weight).__name__
    parts = (f'site "z": the {kind} has shape (3,)', "batch shape () inside no plate", "would count 3 times")
    message = fails(ValueError, run, *parts)
    with eval(advice(message, r"Try a plate around it:  (.+)\.$")), h.trace() as tr, weight:
        sample("z", Normal(0.0, 1.0))
    tr.compute_log_prob()
    check_shapes(tr)


def test_a_factor_with_a_dimension_outside_any_plate() -> None:
    log_factor = torch.ones(3, 2)

    def run(call: str) -> None:
        with h.trace() as tr:
            eval(call, {"factor": ppl.factor, "log_factor": log_factor})
        check_shapes(tr)

    message = fails(ValueError, lambda: run('factor("f", log_factor)'), 'site "f"', "(3, 2)", "add up the last 2")
    run(advice(message, r"add up the last 2 dimensions:  (.+)\.$"))

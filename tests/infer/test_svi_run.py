"""Runs: their result, the callback, Ctrl-C, the progress bar; and two threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppl
import ppl_dist as dist
from inference import SVI, SVIRun, Trace_ELBO, optim
from inference.progress import progress_bar
from ppl import ParamStore, module, observe, param, plate, sample
from ppl_dist import constraints

Normal = dist.Normal
X = torch.tensor([0.3, 1.9, 0.8, 1.1])


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def model() -> None:
    z = sample("z", Normal(0.0, 2.0))
    with plate("data", 4):
        observe("x", Normal(z, 1.5), X)


def guide() -> None:
    sample("z", Normal(param("loc", 0.0), param("scale", 1.0, constraint=constraints.positive)))


def svi(model: Callable[..., Any] = model, guide: Callable[..., Any] = guide) -> SVI:
    return SVI(model, guide, optim.Adam(lr=0.05), seed=0)


def test_a_run_is_its_steps() -> None:
    with ParamStore():
        stepped = svi()
        losses = [stepped.step() for _ in range(30)]
        values = {name: value.item() for name, value in ppl.get_param_store().items()}
    run = svi().run(30, progress=False)
    assert run.losses.tolist() == pytest.approx(losses, rel=1e-6)
    assert {name: value.item() for name, value in run.params.items()} == values
    assert not run.interrupted
    assert repr(run) == f"SVIRun(30 steps, last loss {run.losses[-1]:.6g})"
    assert repr(SVIRun(torch.zeros(0), {}, interrupted=True)) == "SVIRun(0 steps, interrupted)"


def test_a_second_run_goes_on() -> None:
    one = svi()
    halves = torch.cat([one.run(10, progress=False).losses, one.run(10, progress=False).losses])
    with ParamStore():
        whole = svi().run(20, progress=False).losses
    assert torch.equal(halves, whole)


def test_a_callback_sees_every_step_and_can_stop() -> None:
    seen: list[tuple[int, float]] = []

    def callback(number: int, loss: float) -> bool:
        seen.append((number, loss))
        return number == 7

    run = svi().run(100, progress=False, callback=callback)
    assert len(run.losses) == 7 and not run.interrupted
    assert [number for number, _ in seen] == list(range(1, 8))
    assert [loss for _, loss in seen] == pytest.approx(run.losses.tolist())


@pytest.mark.parametrize("progress", [True, False], ids=["with_a_bar", "without"])
def test_ctrl_c_between_steps_returns_what_was_learned(progress: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def callback(number: int, loss: float) -> None:
        if number == 5:
            raise KeyboardInterrupt

    run = svi().run(50, progress=progress, callback=callback)
    assert run.interrupted and len(run.losses) == 5
    assert "Interrupted after 5 of 50 steps; what was learned so far is kept." in capsys.readouterr().err
    assert run.params["loc"].item() == ppl.get_param_store()["loc"].item() != 0.0
    assert repr(run).endswith("interrupted)")


def test_ctrl_c_inside_the_model_leaves_the_last_whole_step(capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def interrupted() -> None:
        calls.append(1)
        model()
        if len(calls) == 4:
            raise KeyboardInterrupt

    one = svi(interrupted)
    run = one.run(50, progress=False)
    assert run.interrupted and len(run.losses) == 3
    assert "after 3 of 50 steps" in capsys.readouterr().err
    assert ppl.runtime.current() is None
    with ParamStore():
        assert torch.equal(svi().run(3, progress=False).params["loc"], run.params["loc"])
    assert one.run(2, progress=False).losses.shape == (2,)  # and it can go on


def test_another_error_is_not_swallowed() -> None:
    def broken() -> None:
        raise RuntimeError("the user's own")

    with pytest.raises(RuntimeError, match="the user's own"):
        svi(broken).run(3, progress=False)


def test_no_steps() -> None:
    run = svi().run(0, progress=False)
    assert run.losses.shape == (0,) and run.params == {}


def test_the_bar_shows_the_smoothed_loss(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, enabled=True) as bar:
        for loss in (1.0, 2.0, 3.0):
            bar.update(loss)
    weights = torch.tensor([0.98**2, 0.98, 1.0])
    expected = (weights * torch.tensor([1.0, 2.0, 3.0])).sum() / weights.sum()
    err = capsys.readouterr().err
    assert f"loss {expected:.4g}" in err and "3/3" in err


def test_no_bar_where_none_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    svi().run(3, progress=False)
    assert capsys.readouterr().err == ""


def mixed_model() -> None:
    k = sample("k", dist.Bernoulli(0.3))
    observe("x", Normal(k + sample("z", Normal(0.0, 1.0)), 1.0), torch.tensor(1.0))


def mixed_guide() -> None:
    sample("k", dist.Bernoulli(logits=param("logit", 0.2)))
    sample("z", Normal(param("loc", 0.0), 1.0))


def test_a_run_says_once_which_gradients_are_not_pathwise(capsys: pytest.CaptureFixture[str]) -> None:
    one = svi(mixed_model, mixed_guide)
    assert one.estimators == {}
    one.run(2)
    told = 'Gradients that are not pathwise: score, decaying average, at "k".'
    assert capsys.readouterr().err.count(told) == 1
    assert one.estimators == {"k": "score, decaying average", "z": "pathwise"}
    one.run(2)
    assert "pathwise" not in capsys.readouterr().err


@pytest.mark.parametrize("how", ["all_pathwise", "no_bar", "steps"])
def test_nothing_is_said(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    if how == "all_pathwise":
        svi().run(2)
    elif how == "no_bar":
        svi(mixed_model, mixed_guide).run(2, progress=False)
    else:
        svi(mixed_model, mixed_guide).step()
    assert "pathwise" not in capsys.readouterr().err


# ---------------------------------------------------------------------- two threads


Learned = tuple[list[float], dict[str, list[Any]]]


def learn(task: str, wait: Callable[[], Any]) -> Learned:
    """A run of its own kind for each task, on the same names; `wait` makes threads interleave inside the model."""
    size = {"a": 3, "b": 7}[task]
    x = torch.linspace(-1.0, 2.0, size)
    torch_free = torch.Generator().manual_seed(size)
    net = nn.Linear(size, 1)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=torch_free))

    def own_model() -> None:
        wait()
        z = sample("z", Normal(0.0, 1.0 + size))
        k = sample("k", dist.Bernoulli(0.3))
        with plate("data", size, subsample_size=size - 1) as i:
            wait()
            observe("x", Normal(z + k * param("shift", 0.1), 1.0), x[i])

    def own_guide() -> None:
        wait()
        loc = module("net", net)(x).squeeze()
        sample("z", Normal(loc, param("scale", 1.0, constraint=constraints.positive)))
        wait()
        sample("k", dist.Bernoulli(logits=param("logit", 0.2)), infer={"baseline": "decaying_average"})

    elbo = Trace_ELBO(2, vectorize_particles=task == "b")
    run = SVI(own_model, own_guide, optim.Adam(lr=0.05), elbo, store=ParamStore(), seed=size).run(12, progress=False)
    return run.losses.tolist(), {name: value.tolist() for name, value in run.params.items()}


def together(tasks: dict[str, Callable[[], Any]]) -> dict[str, Learned]:
    found: dict[str, Any] = {}

    def call(task: str) -> None:
        try:
            found[task] = learn(task, tasks[task])
        except BaseException as error:
            found[task] = error

    threads = [threading.Thread(target=call, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for result in found.values():
        if isinstance(result, BaseException):
            raise result
    return found


def test_two_threads_learn_what_each_learns_alone() -> None:
    alone = {task: learn(task, lambda: None) for task in ("a", "b")}
    # each waits for the other for a moment inside model and guide, so that their steps overlap for certain
    barrier = threading.Barrier(2)

    def wait() -> None:
        try:
            barrier.wait(0.01)
        except threading.BrokenBarrierError:
            barrier.reset()

    for _ in range(2):
        assert together({"a": wait, "b": wait}) == alone


def test_threads_do_not_lose_the_checks_of_others() -> None:
    """While one thread runs without checks, another that starts is checked on its first step."""
    inside, done = threading.Event(), threading.Event()
    steps: list[int] = []

    def slow_model() -> None:
        steps.append(1)
        model()
        if len(steps) == 2:
            inside.set()
            done.wait(30)

    def bad_model() -> None:
        observe("x", Normal(param("loc", 0.0), torch.tensor(-1.0)), 0.0)

    def first() -> None:
        SVI(slow_model, guide, optim.Adam(lr=0.1), store=ParamStore(), seed=0).run(2, progress=False)

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert inside.wait(30)
        with pytest.raises(ValueError, match="`scale` must be positive"):
            SVI(bad_model, lambda: None, optim.Adam(lr=0.1), store=ParamStore(), seed=0).step()
    finally:
        done.set()
        thread.join(30)


def test_losses_fall() -> None:
    def smooth(losses: Tensor) -> float:
        return losses.mean().item()

    run = svi().run(400, progress=False)
    assert smooth(run.losses[-100:]) < smooth(run.losses[:20])


def test_nothing_stays_active_after_an_interrupt_in_an_unlucky_place() -> None:
    """Ctrl-C between entering a handler and the body of its `with` leaves an entry; it must not outlive the run."""
    store = ParamStore()

    def unlucky() -> None:
        ppl.handlers.scale(scale=2.0).__enter__()
        store.__enter__()
        raise KeyboardInterrupt

    assert SVI(unlucky, unlucky, optim.Adam(lr=0.1), seed=0).run(3, progress=False).interrupted
    assert ppl.runtime.current() is None
    assert ppl.get_param_store() is not store

"""Clipping and schedules of `inference.optim`, against loops written by hand with torch's optimisers and schedulers."""

from __future__ import annotations

import copy
import inspect
import io
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from inference import SVI, Optim, optim
from inference.optim import Update
from ppl import ParamStore, get_param_store, observe, param
from ppl_dist import Normal

STEPS = 12
SHAPES = {"a": (2,), "b": (3, 2)}


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def start(name: str) -> Tensor:
    size = SHAPES[name]
    return torch.linspace(-1.0, 2.0, Tensor(*size).numel(), dtype=torch.float64).reshape(size)


def model(late: bool = True) -> None:
    """No latent site: the loss is a function of the parameters."""
    for name in ["a", "b"] if late else ["a"]:
        observe(f"x_{name}", Normal(param(name, start(name)), 0.5).to_event(len(SHAPES[name])), target(name))


def target(name: str) -> Tensor:
    return 0.5 - 3.0 * start(name)


def guide(late: bool = True) -> None:
    pass


def negative_log_density(leaves: dict[str, Tensor]) -> Tensor:
    constant = math.log(2 * math.pi) / 2 + math.log(0.5)
    scores = {name: (leaf - target(name)) / 0.5 for name, leaf in leaves.items()}
    return torch.stack([(z**2 / 2 + constant).sum() for z in scores.values()]).sum()


def by_hand(
    make: Callable[[list[Tensor]], Optimizer],
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    clip: Callable[[list[Tensor]], Any] = lambda leaves: None,
    period: int = 1,
) -> dict[str, Tensor]:
    """The parameters after `STEPS` steps of a loop that owes nothing to us; the schedule moves every `period` steps."""
    leaves = {name: start(name).requires_grad_() for name in SHAPES}
    optimizer = make(list(leaves.values()))
    scheduler = schedule(optimizer) if schedule else None
    for n in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss = negative_log_density(leaves)
        loss.backward()
        clip(list(leaves.values()))
        optimizer.step()
        if scheduler is not None and n % period == 0:
            if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
                scheduler.step(loss.item())
            else:
                scheduler.step()
    return leaves


def learned(recipe: Any, after: Callable[[int, float], Any] = lambda n, loss: None) -> dict[str, Tensor]:
    svi = SVI(model, guide, recipe, store=ParamStore(), seed=0)
    for n in range(1, STEPS + 1):
        after(n, svi.step())
    return svi.get_params(svi.state)


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    for name, leaf in theirs.items():
        torch.testing.assert_close(ours[name], leaf.detach(), rtol=1e-10, atol=1e-12)
        assert not torch.equal(leaf, start(name))


def sequential(optimizer: Optimizer) -> LRScheduler:
    parts = [lr_scheduler.ConstantLR(optimizer, 0.1, 3), lr_scheduler.ExponentialLR(optimizer, 0.7)]
    return lr_scheduler.SequentialLR(optimizer, parts, [3])


def chained(optimizer: Optimizer) -> LRScheduler:
    parts: list[LRScheduler] = [lr_scheduler.LinearLR(optimizer), lr_scheduler.StepLR(optimizer, 4)]
    return lr_scheduler.ChainedScheduler(parts, optimizer)


SCHEDULES: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "chained": chained,
    "constant": partial(lr_scheduler.ConstantLR, factor=0.25, total_iters=4),
    "cosine": partial(lr_scheduler.CosineAnnealingLR, T_max=8),
    "cyclic": partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3, cycle_momentum=False),
    "exponential": partial(lr_scheduler.ExponentialLR, gamma=0.8),
    "lambda": partial(lr_scheduler.LambdaLR, lr_lambda=lambda n: 1.0 / (1 + n)),
    "linear": partial(lr_scheduler.LinearLR, total_iters=6),
    "milestones": partial(lr_scheduler.MultiStepLR, milestones=[2, 5], gamma=0.3),
    "multiplicative": partial(lr_scheduler.MultiplicativeLR, lr_lambda=lambda n: 0.9),
    "one_cycle": partial(lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=STEPS + 1),
    "plateau": partial(lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0, threshold=0.3),
    "polynomial": partial(lr_scheduler.PolynomialLR, total_iters=9),
    "sequential": sequential,
    "step": partial(lr_scheduler.StepLR, step_size=3),
    "warm_restarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=5),
}


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_schedule_moves_after_every_step(name: str) -> None:
    theirs = by_hand(partial(torch.optim.Adam, lr=0.05), SCHEDULES[name])
    assert_same(learned(optim.Adam(lr=0.05, schedule=SCHEDULES[name])), theirs)
    fixed = by_hand(partial(torch.optim.Adam, lr=0.05))
    assert not torch.equal(fixed["a"], theirs["a"])


@pytest.mark.parametrize("limit", [0.3, 5.0, 1e6])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam], ids=["sgd", "adam"])
def test_clipping_the_norm_of_all_gradients(kind: Any, limit: float) -> None:
    theirs = by_hand(partial(kind, lr=0.01), clip=lambda leaves: clip_grad_norm_(leaves, limit))
    assert_same(learned(Optim(kind, lr=0.01, clip_norm=limit)), theirs)
    assert_same(learned(Optim(kind, {"lr": 0.01}, {"clip_norm": limit})), theirs)


@pytest.mark.parametrize("limit", [0.3, 5.0, 1e6])
def test_clipping_the_entries_of_gradients(limit: float) -> None:
    theirs = by_hand(partial(torch.optim.SGD, lr=0.01), clip=lambda leaves: clip_grad_value_(leaves, limit))
    assert_same(learned(optim.SGD(lr=0.01, clip_value=limit)), theirs)
    assert_same(learned(optim.SGD({"lr": 0.01}, {"clip_value": limit})), theirs)


def test_the_norm_is_clipped_before_the_entries() -> None:
    def clip(leaves: list[Tensor]) -> None:
        clip_grad_norm_(leaves, 10.0)
        clip_grad_value_(leaves, 4.0)

    theirs = by_hand(partial(torch.optim.SGD, lr=0.01), clip=clip)
    assert_same(learned(optim.SGD(lr=0.01, clip_norm=10.0, clip_value=4.0)), theirs)


@pytest.mark.parametrize("lrd", [1.0, 0.9])
def test_clipped_adam(lrd: float) -> None:
    """The first step already moves with `lr * lrd`."""
    theirs = by_hand(
        partial(torch.optim.Adam, lr=0.05 * lrd, betas=(0.8, 0.95)),
        partial(lr_scheduler.ExponentialLR, gamma=lrd),
        lambda leaves: clip_grad_value_(leaves, 2.0),
    )
    options = {"lr": 0.05, "betas": (0.8, 0.95), "clip_norm": 2.0, "lrd": lrd}
    assert_same(learned(optim.ClippedAdam(options)), theirs)
    assert_same(learned(optim.ClippedAdam(**options)), theirs)


# The state of a run

RECIPES: dict[str, Optim] = {
    **{name: optim.Adam(lr=0.05, clip_norm=3.0, schedule=schedule) for name, schedule in SCHEDULES.items()},
    "by_name": Optim(
        torch.optim.AdamW, lambda name: {"lr": 0.1 if name == "a" else 0.02}, schedule=SCHEDULES["cosine"]
    ),
    "clipped": optim.ClippedAdam(lr=0.05, lrd=0.9),
}


@pytest.mark.parametrize("name", list(RECIPES))
def test_update_equals_step(name: str) -> None:
    svi = SVI(model, guide, RECIPES[name], store=ParamStore(), seed=0)
    state = svi.init()
    for _ in range(STEPS):
        before = copy.deepcopy(state.optim_state)
        after, loss = svi.update(state)
        again, _ = svi.update(state)
        assert str(before) == str(state.optim_state)
        assert str(after.optim_state) == str(again.optim_state)
        assert loss.item() == svi.step()
        state = after
    for leaf, other in zip(state.params.leaves.values(), svi.state.params.leaves.values(), strict=True):
        assert torch.equal(leaf, other)


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_run_continued_from_its_state_equals_one_run(name: str) -> None:
    whole = learned(RECIPES[name])
    part = SVI(model, guide, RECIPES[name], store=ParamStore(), seed=0)
    for _ in range(5):
        part.step()
    state = part.state
    for _ in range(STEPS - 5):
        state, _ = SVI(model, guide, RECIPES[name], store=ParamStore()).update(state)
    for key, value in part.get_params(state).items():
        assert torch.equal(value, whole[key])


def test_a_plain_state_of_a_schedule_is_saved_and_read() -> None:
    svi = SVI(model, guide, RECIPES["plateau"], seed=0)
    for _ in range(5):
        svi.step()
    buffer = io.BytesIO()
    torch.save(svi.state.optim_state, buffer)
    buffer.seek(0)
    assert str(torch.load(buffer, weights_only=True)) == str(svi.state.optim_state)


def test_a_state_without_a_schedule_starts_it() -> None:
    svi = SVI(model, guide, optim.Adam(lr=0.05), seed=0)
    state, _ = svi.update(svi.init())
    scheduled = SVI(model, guide, optim.Adam(lr=0.05, schedule=SCHEDULES["exponential"]), seed=0)
    assert scheduled.update(state)[0].optim_state["param_groups"][0]["lr"] == pytest.approx(0.04)


# Parameters that appear later


@pytest.mark.parametrize("name", ["chained", "exponential", "plateau", "sequential", "one_cycle"])
def test_a_late_parameter_joins_the_schedule(name: str) -> None:
    """One group: the schedule goes on where it stood."""
    schedule = SCHEDULES[name]
    svi = SVI(model, guide, optim.SGD(lr=0.01, momentum=0.9, schedule=schedule), seed=0)
    losses = [svi.step(n > 3) for n in range(STEPS)]
    rate = svi.state.optim_state["param_groups"][0]["lr"]
    alone = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01, momentum=0.9)
    scheduler = schedule(alone)
    for loss in losses:
        alone.step()
        scheduler.step(loss) if name == "plateau" else scheduler.step()
    assert rate == pytest.approx(alone.param_groups[0]["lr"], rel=1e-12)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_late_parameter_with_options_of_its_own(name: str) -> None:
    """The groups of known parameters keep their rates; the new one is scheduled from its own rate."""
    rates = {"a": 0.01, "b": 0.002}
    recipe = Optim(torch.optim.Adam, lambda name: {"lr": rates[name]}, schedule=SCHEDULES[name])
    late, early = (SVI(model, guide, recipe, store=ParamStore(), seed=0) for _ in range(2))
    for n in range(STEPS):
        late.step(n > 3)
        early.step(False)
    groups = late.state.optim_state["param_groups"]
    assert len(groups) == 2
    if name != "plateau":  # which saw other losses
        assert groups[0]["lr"] == pytest.approx(early.state.optim_state["param_groups"][0]["lr"])


# Schedules that the program moves on itself

BY_HAND: dict[str, tuple[Any, dict[str, Any]]] = {
    "ConstantLR": (lr_scheduler.ConstantLR, {"factor": 0.25}),
    "CosineAnnealingLR": (lr_scheduler.CosineAnnealingLR, {"T_max": 3}),
    "CosineAnnealingWarmRestarts": (lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 2}),
    "CyclicLR": (lr_scheduler.CyclicLR, {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "cycle_momentum": False}),
    "ExponentialLR": (lr_scheduler.ExponentialLR, {"gamma": 0.5}),
    "LambdaLR": (lr_scheduler.LambdaLR, {"lr_lambda": lambda n: 1.0 / (1 + n)}),
    "LinearLR": (lr_scheduler.LinearLR, {"total_iters": 6}),
    "MultiStepLR": (lr_scheduler.MultiStepLR, {"milestones": [1, 2]}),
    "MultiplicativeLR": (lr_scheduler.MultiplicativeLR, {"lr_lambda": lambda n: 0.7}),
    "OneCycleLR": (lr_scheduler.OneCycleLR, {"max_lr": 0.2, "total_steps": 10}),
    "PolynomialLR": (lr_scheduler.PolynomialLR, {"total_iters": 3}),
    "ReduceLROnPlateau": (lr_scheduler.ReduceLROnPlateau, {"patience": 0, "threshold": 0.5}),
    "StepLR": (lr_scheduler.StepLR, {"step_size": 2}),
}


@pytest.mark.parametrize("name", list(BY_HAND))
def test_a_schedule_moved_on_by_the_program(name: str) -> None:
    """As scripts for Pyro do it: an epoch of steps, then `scheduler.step()`."""
    kind, settings = BY_HAND[name]
    scheduler = getattr(optim, name)(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, **settings}, {"clip_norm": 4.0}
    )
    scheduler.step(*[0.0] * (name == "ReduceLROnPlateau"))  # nothing has been built: there is nothing to move

    def epoch(n: int, loss: float) -> None:
        if n % 4 == 0:
            scheduler.step(*[loss] * (name == "ReduceLROnPlateau"))

    theirs = by_hand(
        partial(torch.optim.Adam, lr=0.05),
        partial(kind, **settings),
        lambda leaves: clip_grad_norm_(leaves, 4.0),
        period=4,
    )
    assert_same(learned(scheduler, epoch), theirs)


def test_a_schedule_moved_on_by_the_program_is_in_the_state() -> None:
    scheduler = optim.ExponentialLR({"optimizer": torch.optim.SGD, "optim_args": {"lr": 0.1}, "gamma": 0.5})
    svi = SVI(model, guide, scheduler, seed=0)
    svi.step(False)
    scheduler.step()
    state = svi.state
    scheduler.step()
    svi.step(True)  # a new parameter: the optimiser is built again
    scheduler.step()
    assert svi.state.optim_state["param_groups"][0]["lr"] == pytest.approx(0.0125)
    assert state.optim_state["param_groups"][0]["lr"] == pytest.approx(0.05)
    assert svi.update(state, False)[0].optim_state["scheduler"]["last_epoch"] == 1


# Names


def test_every_optimiser_of_torch_that_needs_no_closure_has_its_name() -> None:
    known = {
        name
        for name, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind not in (Optimizer, torch.optim.LBFGS)
    }
    assert known <= set(optim.__all__)


def test_every_schedule_of_torch_that_is_not_made_of_schedules_has_its_name() -> None:
    made_of_others = {"LRScheduler", "SequentialLR", "ChainedScheduler"}
    assert set(lr_scheduler.__all__) - made_of_others == set(BY_HAND) <= set(optim.__all__)


NAMED = ["ASGD", "Adadelta", "Adafactor", "Adagrad", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"]


@pytest.mark.parametrize("name", NAMED)
def test_an_optimiser_by_its_name(name: str) -> None:
    kind = getattr(torch.optim, name)
    recipe = getattr(optim, name)({"lr": 0.02})
    assert repr(recipe) == f"Optim({name}, lr=0.02)"
    assert_same(learned(recipe), by_hand(partial(kind, lr=0.02)))


def test_what_a_recipe_says_of_itself() -> None:
    recipe = optim.Adam({"lr": 0.1}, clip_norm=2.0)
    assert repr(recipe) == "Optim(Adam, lr=0.1, clip_norm=2.0)"
    assert repr(optim.Adam(lambda name: {"lr": 0.1})) == "Optim(Adam, per parameter)"


def test_the_two_halves_of_a_step() -> None:
    """`apply` moves the leaves, `advance` the numbers of the next `apply`; together they are `step`."""
    leaf = torch.ones(2, requires_grad=True)
    update = optim.SGD(lr=1.0, clip_value=0.5, schedule=SCHEDULES["exponential"]).update([("w", leaf)])
    assert isinstance(update, Update)
    leaf.grad = torch.tensor([3.0, -0.25])
    update.apply()
    assert leaf.tolist() == [0.5, 1.25] and update.optimizer.param_groups[0]["lr"] == 1.0
    update.advance(0.0)
    assert leaf.tolist() == [0.5, 1.25] and update.optimizer.param_groups[0]["lr"] == 0.8
    assert len(get_param_store()) == 0


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
@pytest.mark.parametrize(
    "options",
    [{}, {"amsgrad": True}, {"maximize": True, "weight_decay": 0.1}, {"betas": (0.5, 0.7), "eps": 0.1}],
    ids=str,
)
def test_a_step_by_the_kernel_is_that_of_torch_bit_for_bit(kind: str, options: dict[str, Any]) -> None:
    ours, theirs = ([start(name).requires_grad_() for name in SHAPES] for _ in range(2))
    update = getattr(optim, kind)(lr=0.1, **options).update(list(zip(SHAPES, ours, strict=True)))
    plain = getattr(torch.optim, kind)(theirs, lr=0.1, fused=True, **options)
    for step in range(STEPS):
        for leaves in (ours, theirs):
            for place, leaf in enumerate(leaves):
                # at times a loss does not depend on a parameter
                leaf.grad = None if step % 3 == place else (leaf.detach() - 0.3 * step).sin()
        update.step(0.0)
        plain.step()
        assert all(map(torch.equal, ours, theirs))
    left, right = (each.state_dict()["state"] for each in (update, plain))
    assert all(torch.equal(left[i][name], right[i][name]) for i in right for name in right[i])


def test_the_kernel_takes_every_step_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = torch.zeros(3, requires_grad=True)
    update = optim.Adam(lr=0.1).update([("a", leaf)])
    steps: list[int] = []
    whole = torch.optim.Adam.step

    def counted(self: Optimizer, *args: Any) -> Any:
        steps.append(1)
        return whole(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    for _ in range(3):
        leaf.grad = torch.ones(3)
        update.step(0.0)
    assert len(steps) == 1


def test_hooks_on_an_optimiser_of_the_program_are_called() -> None:
    calls: list[int] = []

    def hooked(leaves: Any) -> Optimizer:
        made = torch.optim.Adam(leaves, lr=0.1, fused=True)
        made.register_step_post_hook(lambda *_: calls.append(1))
        return made

    SVI(model, guide, hooked, seed=0).run(4, progress=False)
    assert len(calls) == 4


def test_a_learning_rate_by_place_is_told_its_name() -> None:
    rate: Any = 0.01
    with pytest.raises(TypeError, match=r"Adam: expected a dictionary of options, got 0\.01\. Try Adam\(lr=0\.01\)\."):
        optim.Adam(rate)
    assert optim.Adam(lr=0.01).options == {"lr": 0.01}

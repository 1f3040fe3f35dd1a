"""Optimisers, clipping and schedules in a compiled step: the losses and parameters of the eager step."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

import ppl_dist as dist
from inference import Optim, optim
from ppl import observe, param, plate, sample
from tests.support.compiling import Program, assert_as_eager

pytestmark = pytest.mark.usefixtures("interpreted")

DATA = torch.tensor([0.3, -1.2, 0.8])
SLOW = partial(lr_scheduler.CosineAnnealingLR, T_max=6)


def units() -> tuple[Program, Program]:
    """Two parameters of different shapes, one of them positive, and a matrix."""

    def model() -> None:
        with plate("units", 3):
            z = sample("z", dist.Normal(0.0, 1.0))
            mixed = param("mix", torch.tensor([[1.0, 0.2], [0.1, 0.7]])).sum() * z
            observe("y", dist.Normal(mixed, 0.5), DATA)

    def guide() -> None:
        loc = param("loc", torch.tensor([0.2, -0.4, 0.1]))
        scale = param("scale", torch.tensor(0.7), constraint=dist.constraints.positive)
        with plate("units", 3):
            sample("z", dist.Normal(loc, scale))

    return model, guide


OPTIMISERS: dict[str, Any] = {
    "SGD": optim.SGD(lr=0.02),
    "SGD, momentum": optim.SGD(lr=0.02, momentum=0.9),
    "SGD, Nesterov and decay": optim.SGD(lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.1),
    "SGD, dampening and maximize": optim.SGD(lr=0.001, momentum=0.5, dampening=0.1, maximize=True),
    "Adam": optim.Adam(lr=0.05),
    "Adam, amsgrad and decay": optim.Adam(lr=0.05, betas=(0.8, 0.95), amsgrad=True, weight_decay=0.1),
    "AdamW": optim.AdamW(lr=0.05),
    "ClippedAdam": optim.ClippedAdam(lr=0.05, clip_norm=0.5),
    "ClippedAdam, decaying": optim.ClippedAdam(lr=0.05, lrd=0.9),
    "RMSprop": optim.RMSprop(lr=0.02),
    "RMSprop, centred with momentum": optim.RMSprop(lr=0.02, centered=True, momentum=0.5),
    "Adagrad": optim.Adagrad(lr=0.05),
    "Adagrad, decaying": optim.Adagrad(lr=0.05, lr_decay=0.1),
    "Adadelta": optim.Adadelta(lr=0.5),
    "Adamax": optim.Adamax(lr=0.05),
    "NAdam": optim.NAdam(lr=0.05),
    "RAdam": optim.RAdam(lr=0.05),
    "ASGD": optim.ASGD(lr=0.02, t0=2),
    "Rprop": optim.Rprop(lr=0.02),
    "Adafactor": optim.Adafactor(lr=0.05),
    "a plain callable": partial(torch.optim.Adam, lr=0.05),
    "Optim": Optim(torch.optim.AdamW, lr=0.05),
}


@pytest.mark.parametrize("optimizer", OPTIMISERS)
def test_optimisers(optimizer: str) -> None:
    assert_as_eager(units, optimizer=OPTIMISERS[optimizer], steps=8)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("limits", [{"clip_norm": 0.5}, {"clip_value": 0.2}, {"clip_norm": 1.0, "clip_value": 0.2}], ids=str)
def test_clipping(kind: str, limits: dict[str, float]) -> None:
    assert_as_eager(units, optimizer=getattr(optim, kind)(lr=0.1, **limits))


SCHEDULES: dict[str, Any] = {
    "CosineAnnealingLR": SLOW,
    "ExponentialLR": partial(lr_scheduler.ExponentialLR, gamma=0.8),
    "OneCycleLR, momentum": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=10),
    "ReduceLROnPlateau": partial(lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.5, threshold=0.5),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_schedules(kind: str, schedule: str) -> None:
    """The numbers that a schedule moves are inputs: at most one graph more than without."""
    options = {"momentum": 0.8} if kind == "SGD" else {}
    optimizer = getattr(optim, kind)(lr=0.02, schedule=SCHEDULES[schedule], **options)
    found = assert_as_eager(units, graphs=None, optimizer=optimizer, steps=8)
    assert len(found.svi.compiled) <= 2
    (group,) = found.svi.state.optim_state["param_groups"]
    assert group["lr"] != 0.02


def test_schedules_moved_by_the_program() -> None:
    arguments = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "gamma": 0.7}

    def run(compile: Any) -> Any:
        schedule = optim.ExponentialLR(arguments)
        return steps_with(schedule, compile)

    eager, compiled = run(False), run("eager draws")
    assert compiled.losses == pytest.approx(eager.losses, rel=1e-5)
    assert len(compiled.svi.compiled) <= 2


def steps_with(schedule: Any, compile: Any) -> Any:
    from tests.support.compiling import steps_of

    def moving(step: int) -> tuple[Any, ...]:
        if step:
            schedule.step()
        return ()

    return steps_of(units, compile, optimizer=schedule, arguments=moving, steps=6)


def test_options_by_parameter() -> None:
    optimizer = optim.Adam(lambda name: {"lr": 0.2 if name == "loc" else 0.01, "betas": (0.5, 0.9)})
    found = assert_as_eager(units, optimizer=optimizer)
    assert len(found.svi.state.optim_state["param_groups"]) == 4 - 1


def test_options_by_parameter_under_a_schedule() -> None:
    optimizer = optim.Adam(lambda name: {"lr": 0.2 if name == "loc" else 0.01}, schedule=SLOW, clip_norm=5.0)
    found = assert_as_eager(units, optimizer=optimizer, steps=6)
    rates = [group["lr"] for group in found.svi.state.optim_state["param_groups"]]
    assert rates == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)

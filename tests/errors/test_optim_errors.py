"""Every deliberate error of `inference.optim` says where, what was expected, what it got and what to try."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from inference import SVI, Optim, optim
from ppl import ParamStore, observe, param
from ppl_dist import Normal

from .reading import advice, fails


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def model() -> None:
    observe("x", Normal(param("loc", 0.0), 1.0), 0.3)


def step(recipe: Any) -> float:
    return SVI(model, lambda: None, recipe, seed=0).step()


def adam_with(text: str) -> Any:
    """`optim.Adam` with the argument that a message suggests."""
    return eval(f"optim.Adam(lr=0.01, {text})", {"optim": optim, "torch": torch, "functools": functools})


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_not_positive(name: str, limit: float) -> None:
    message = fails(
        ValueError, lambda: optim.Adam(lr=0.1, **{name: limit}), f"Optim: {name} must be positive, got {limit}."
    )
    step(adam_with(advice(message, r"Try (.+?), or None")))
    fails(ValueError, lambda: optim.Adam({"lr": 0.1}, {name: limit}), f"{name} must be positive")


@pytest.mark.parametrize(
    ("clip_args", "got"),
    [({"clip": 1.0}, "'clip'"), (lambda name: {"clip_norm": 1.0}, "function")],
    ids=["dictionary", "function"],
)
def test_clip_args_that_hold_something_else(clip_args: Any, got: str) -> None:
    where = "Optim: clip_args must be a mapping with clip_norm or clip_value, for all parameters"
    message = fails(TypeError, lambda: optim.SGD({"lr": 0.1}, clip_args), where, f"got {got}.")
    step(adam_with(advice(message)))


def test_a_schedule_that_cannot_be_called() -> None:
    message = fails(TypeError, lambda: optim.Adam(lr=0.1, schedule=0.9), "schedule must build a scheduler, got float.")
    step(adam_with(advice(message)))


def test_a_schedule_that_builds_something_else() -> None:
    recipe = optim.Adam(lr=0.1, schedule=lambda optimizer: 0.9)
    message = fails(TypeError, lambda: step(recipe), "Optim: schedule must build a scheduler, got float.")
    step(adam_with(advice(message)))


def test_an_option_that_the_optimiser_does_not_take() -> None:
    message = fails(TypeError, lambda: optim.Adam(betass=(0.9, 0.99)), 'Adam: no option "betass"; did you mean "betas"')
    assert "betas" in advice(message, "Try one of: (.+)").split(", ")


def test_an_option_for_one_parameter_that_the_optimiser_does_not_take() -> None:
    """torch would ignore it."""
    recipe = Optim(torch.optim.SGD, lambda name: {"lr": 0.1, "momentm": 0.9})
    fails(TypeError, lambda: step(recipe), 'SGD: no option "momentm"; did you mean "momentum"?', "Try one of: lr, ")


def test_an_optimiser_of_ones_own_that_takes_any_option() -> None:
    class Own(torch.optim.SGD):
        def __init__(self, params: Any, **options: Any) -> None:
            super().__init__(params, lr=options.pop("rate"), **options)

    assert step(Optim(Own, rate=0.1)) > 0


def test_a_schedule_by_its_name_without_an_optimiser() -> None:
    message = fails(
        ValueError,
        lambda: optim.ExponentialLR({"gamma": 0.5, "optimizer": torch.optim.SGD}),
        "ExponentialLR: optim_args lacks optim_args, got gamma, optimizer.",
    )
    settings = eval(advice(message).replace("...", '"gamma": 0.5'), {"torch": torch})
    step(optim.ExponentialLR(settings))


def test_a_setting_that_the_schedule_does_not_take() -> None:
    settings = {"optimizer": torch.optim.SGD, "optim_args": {"lr": 0.1}, "gama": 0.5}
    fails(
        TypeError,
        lambda: optim.StepLR(settings),
        'StepLR: no option "gama"; did you mean "gamma"?',
        "Try one of: step_size, gamma,",
    )

"""What a compiled step says when it cannot be one, and when its loss is not finite."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppl_dist as dist
from inference import SVI, optim
from ppl import ParamStore, observe, param, plate, sample
from tests.support.compiling import Program, compiling

pytestmark = pytest.mark.usefixtures("interpreted")

DATA = torch.tensor([0.3, -1.2, 0.8])
LOOK = "looks at the value of a tensor. Try torch.where or a mask."


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def guide() -> None:
    sample("z", dist.Normal(param("loc", 0.3), 0.7))


def gaussian() -> None:
    observe("y", dist.Normal(sample("z", dist.Normal(0.0, 1.0)), 0.5), 0.4)


def branching() -> None:
    z = sample("z", dist.Normal(0.0, 1.0))
    loc = z if z > 0 else -z  # here
    observe("y", dist.Normal(loc, 0.5), 0.4)


def item() -> None:
    z = sample("z", dist.Normal(0.0, 1.0))
    observe("y", dist.Normal(z + 0.1 * z.item(), 0.5), 0.4)  # here


def shape() -> None:
    z = sample("z", dist.Normal(0.0, 1.0))
    kept = DATA[z < DATA]  # here
    observe("y", dist.Normal(z, 0.5), 0.4 + kept.sum())


def array() -> None:
    z = sample("z", dist.Normal(0.0, 1.0))
    shift = np.tanh(z.detach().numpy())  # here
    observe("y", dist.Normal(z + float(shift), 0.5), 0.4)


def python_draws() -> None:
    z = sample("z", dist.Normal(0.0, 1.0))
    observe("y", dist.Normal(z, 0.5), float(np.random.default_rng(0).normal()) + 0.0 * np.random.rand())


def steps(model: Program, compile: Any, count: int = 4) -> tuple[list[float], SVI]:
    np.random.seed(0)
    svi = SVI(model, guide, optim.Adam(lr=0.05), store=ParamStore(), seed=1, compile=compile)
    return [svi.step() for _ in range(count)], svi


def told(model: Program) -> str:
    """The one warning of a run that goes on eagerly, and gives what the eager run gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        losses, svi = steps(model, "eager draws")
    assert losses == steps(model, False)[0]
    assert svi.compiled == []
    (warning,) = caught
    assert warning.filename == __file__  # the line that took the step
    message = str(warning.message)
    assert message.startswith("SVI: this step cannot be compiled and runs eagerly: ")
    assert "Try " in message
    return message


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (branching, LOOK),
        (item, LOOK),
        (shape, "makes a tensor whose shape depends on values. Try torch.where or a mask."),
        (array, "turns a tensor into a numpy array. Try torch.where or a mask."),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_values_that_python_reads(model: Program, what: str) -> None:
    message = told(model)
    assert what in message
    found = re.search(r"eagerly: (.+):(\d+): `(.+)` ", message)
    assert found is not None, message
    file, number, text = found.groups()
    assert file == __file__
    assert text.endswith("# here")
    with open(__file__) as lines:
        assert lines.readlines()[int(number) - 1].strip() == text


def test_the_advice_for_a_branch() -> None:
    def instead() -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        observe("y", dist.Normal(torch.where(z > 0, z, -z), 0.5), 0.4)

    assert "Try torch.where" in told(branching)
    losses, svi = steps(instead, "eager draws")
    assert len(svi.compiled) == 1
    assert losses == pytest.approx(steps(branching, False)[0], rel=1e-5)


def test_draws_of_numpy() -> None:
    def instead() -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        observe("y", dist.Normal(z, 0.5), torch.rand(()))

    assert "the program draws from `numpy.random`, which a graph cannot do. Try torch.rand." in told(python_draws)
    _, svi = steps(instead, "eager draws")
    assert len(svi.compiled) == 1


def test_an_optimiser_that_reads_its_state() -> None:
    svi = SVI(gaussian, guide, optim.Adafactor(lr=0.05), store=ParamStore(), seed=1, compile=True)
    with pytest.warns(UserWarning, match=r"the optimiser Adafactor looks at .*Try optim\.Adam\."):
        losses = [svi.step() for _ in range(3)]
    assert all(np.isfinite(losses))


def test_a_generator_of_the_program() -> None:
    generator = torch.Generator().manual_seed(0)

    def model() -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        observe("y", dist.Normal(z + torch.randn((), generator=generator), 0.5), 0.4)

    with pytest.warns(UserWarning, match="draws from a generator of its own") as caught:
        steps(model, "eager draws")
    assert len(caught) == 1
    assert "Try SVI(..., seed=0) or torch.manual_seed(0) in its place." in str(caught[0].message)


# A loss that is not finite


def failing(data: torch.Tensor) -> None:
    z = sample("z", dist.Normal(0.0, 1.0))
    with plate("rows", 3):
        observe("y", dist.Normal(z, 0.5), data)


def data_guide(data: torch.Tensor) -> None:
    guide()


def test_a_nan_names_site_and_step_and_leaves_no_mark() -> None:
    data = DATA.clone()
    svi = SVI(failing, data_guide, optim.Adam(lr=0.05), store=ParamStore(), seed=1, compile="eager draws")
    svi.run(3, data, progress=False)
    assert len(svi.compiled) == 1
    before = svi.state
    data[1] = torch.nan
    with pytest.raises(ValueError, match=r"SVI: the loss is nan at step 4\b") as info:
        svi.step(data)
    message = "\n".join([str(info.value), *getattr(info.value, "__notes__", ())])
    assert '"y"' in message
    assert "Try another initial value" in message
    after = svi.state
    assert (after.step, before.step) == (3, 3)
    assert torch.equal(after.params["loc"], before.params["loc"])
    for name, value in before.optim_state["state"][0].items():
        assert torch.equal(after.optim_state["state"][0][name], value)
    data.copy_(DATA)  # and the run goes on as if nothing had been
    untouched = SVI(failing, data_guide, optim.Adam(lr=0.05), store=ParamStore(), seed=1, compile="eager draws")
    assert svi.step(data) == untouched.run(4, data, progress=False).losses[-1].item()


def test_versions_are_told() -> None:
    """The versions of torch that the recording was tested with hold the one that runs these tests."""
    assert torch.__version__.startswith(compiling.TESTED)


def test_too_many_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    import inference.compiled_step

    monkeypatch.setattr(inference.compiled_step, "KEPT", 1)

    def model(data: torch.Tensor) -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        with plate("rows", len(data)):
            observe("y", dist.Normal(z, 0.5), data)

    svi = SVI(model, data_guide, optim.Adam(lr=0.05), store=ParamStore(), seed=1, compile="eager draws")
    with pytest.warns(UserWarning, match="the arguments have had more shapes than graphs are kept for") as caught:
        for size in range(1, 9):
            svi.step(torch.ones(size))
    assert len(caught) == 1


def test_nothing_that_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Inductor and without `torch.compile` the run is the eager one, and says what to install."""

    def missing(*args: Any, **kwargs: Any) -> Any:
        raise ImportError("no such part of torch")

    rooms = [importlib.import_module(f"inference.{name}") for name in ("compile", "compile.machine", "recorded_step")]
    monkeypatch.setattr(rooms[1], "compiled", missing)
    monkeypatch.setattr(rooms[1].torch, "compile", lambda module: missing)
    monkeypatch.setattr(rooms[1], "directory", lambda: Path("/nowhere"))
    monkeypatch.setattr(rooms[2], "build", rooms[0].build)
    with pytest.warns(UserWarning) as caught:
        losses, svi = steps(gaussian, True)
    said = [str(each.message) for each in caught]
    assert said[0] == "compile: slower than it could be, because of ImportError: no such part of torch"
    assert said[1].endswith("nothing here compiles it (ImportError). Try to install g++.")
    assert len(said) == 2
    assert svi.compiled == []
    assert losses == steps(gaussian, False)[0]

"""The demo programs: a few steps draw the pictures, a full run checks its answer, a wrong answer is no success."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PICTURES = {
    "eight_schools": ["eight_schools.png"],
    "vae_digits": ["vae_digits.png", "vae_loss.png"],
    "reinforce_cartpole": ["reinforce_cartpole.png"],
}


@pytest.fixture(params=PICTURES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def program(name: str) -> ModuleType:
    return importlib.import_module(f"examples.{name}")


def run_alone(name: str, *options: str, block: str | None = None) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, as `make demo` starts it; `block` names a package it cannot import."""
    path = ROOT / "examples" / f"{name}.py"
    hide = f"sys.modules[{block!r}] = None; " if block else ""
    start = f"import runpy, sys; {hide}sys.argv[0] = {str(path)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", start, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def is_drawn(path: Path) -> bool:
    """Whether the picture has a readable size and more than one colour."""
    from matplotlib.image import imread

    picture = imread(path)
    return min(picture.shape[:2]) > 300 and picture.std() > 0.02


def test_a_few_steps_draw_the_pictures(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(name).main(["--steps", "2", "--no-check", "--out", str(tmp_path / "new")]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == PICTURES[name]
    assert all(is_drawn(path) for path in (tmp_path / "new").iterdir())
    printed = capsys.readouterr().out
    assert all(picture in printed for picture in PICTURES[name])


def test_a_wrong_answer_is_no_success(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(name).main(["--steps", "1", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "WRONG: " in printed.err
    assert "Checked: " not in printed.out


def test_a_wrong_answer_reaches_the_exit_code(tmp_path: Path) -> None:
    ended = run_alone("eight_schools", "--steps", "1", "--out", str(tmp_path))
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("WRONG: mu: mean ")


@pytest.mark.parametrize(
    ("name", "package", "asks"),
    [("vae_digits", "sklearn", "needs scikit-learn"), ("reinforce_cartpole", "gymnasium", "needs gymnasium")],
)
def test_a_missing_extra_is_one_line(name: str, package: str, asks: str, tmp_path: Path) -> None:
    ended = run_alone(name, "--out", str(tmp_path), block=package)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert asks in ended.stderr
    assert "[examples]" in ended.stderr


def test_the_bound_of_the_library_is_the_one_by_hand() -> None:
    digits = program("vae_digits")
    vae, data = digits.Autoencoder(), (torch.rand(40, digits.PIXELS) > 0.5).float()
    with torch.no_grad():
        by_hand, by_library = digits.bound_by_hand(vae, data, 200), digits.bound_by_library(vae, data, 200)
    error = (by_hand.var() / 200 + by_library.var() / 200).sqrt()
    assert abs(by_hand.mean() - by_library.mean()) < 4 * error


def test_a_return_counts_steps_until_the_pole_falls() -> None:
    cartpole = program("reinforce_cartpole")
    carts = cartpole.environments(4)

    def always_left(observation: torch.Tensor) -> torch.Tensor:
        return torch.tensor([50.0, -50.0]).expand(len(observation), 2)

    costs, returns = cartpole.play(always_left, carts, seed=0)
    assert (returns >= 8).all()  # the pole cannot fall sooner, and under one-sided pushes it does not last
    assert (returns <= 11).all()
    assert len(costs) == returns.max()
    assert torch.equal(returns, -sum(costs.values()))


@pytest.mark.slow
def test_the_full_program_is_right(name: str, tmp_path: Path) -> None:
    ended = run_alone(name, "--out", str(tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Checked: " in ended.stdout

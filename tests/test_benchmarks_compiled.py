"""The benchmarks of the compiled step: the parts are right, and each runs once at a tiny size."""

from __future__ import annotations

import importlib
import math
import mmap
import sys
from functools import partial
from pathlib import Path
from time import perf_counter

import pytest
import torch

from benchmarks import compiled, first_step, long_run, report, scaling, timing
from benchmarks.workloads import WORKLOADS, contenders, many_sites
from benchmarks.workloads import compiled as compiling

MODULES = ("compiled", "first_step", "final_loss", "scaling", "long_run")


@pytest.fixture(autouse=True)
def _no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyro", "numpyro"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.slow
# of the part of torch that `torch.compile` imports for the step by hand
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", MODULES)
def test_benchmark_runs_without_peers(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On eight schools alone."""
    module = importlib.import_module(f"benchmarks.{name}")
    if hasattr(module, "WORKLOADS"):
        monkeypatch.setattr(module, "WORKLOADS", {"eight schools": WORKLOADS["eight schools"]})
    monkeypatch.setattr(compiled, "PICTURE", tmp_path / "table.png")
    answer = module.run(rounds=1, quick=True)
    numbers = [cell for _, cells in answer.rows for cell in cells if isinstance(cell, float)]
    assert numbers
    assert all(math.isfinite(number) for number in numbers)
    assert all(len(cells) == len(answer.columns) - 1 for _, cells in answer.rows)
    assert (tmp_path / "table.png").exists() == (name == "compiled")


@pytest.mark.parametrize("workload", WORKLOADS)
def test_step_by_hand_is_that_of_torchs_adam(workload: str) -> None:
    """The whole step as one function ends where backward and `torch.optim.Adam` end, with the same draws."""
    made = WORKLOADS[workload]()
    bound = contenders.Bound(made.bound)
    ends = []
    for make in (
        partial(contenders.by_hand, fused=False),
        partial(compiling.by_hand_compiled, compiler=lambda step: step),
    ):
        program = make(made, bound)
        torch.manual_seed(0)
        ends.append(torch.tensor([program.step() for _ in range(4)]))
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-3)


def test_many_sites_are_the_same_program_by_hand() -> None:
    programs = contenders.contenders(many_sites.many_sites(7), contenders.Bound("Trace_ELBO"))
    contenders.check_same_loss("sites", {name: contenders.mean_and_error(p, 200) for name, p in programs.items()})


def test_figures_follow_from_the_times() -> None:
    times = {"a": {compiled.OURS: 2.0, compiled.OURS_STEP: 1.0, compiled.OURS_RUN: 0.5, compiled.PYRO: 8.0}}
    times["b"] = {**times["a"], compiled.PYRO: 5.0, compiled.NUMPYRO: 0.5}
    found = {figure.label: figure for figure in compiled.figures(times)}
    row, other = (found[f"{name}: {compiled.OURS} / {compiled.PYRO}"] for name in "ab")
    assert (row.value, row.asked, row.holds, other.holds) == (0.25, 1 / 3, True, False)
    mean = found[f"geometric mean of 2: {compiled.OURS} / {compiled.PYRO}"]
    assert (mean.value, mean.asked) == (pytest.approx(math.sqrt(0.1)), 1 / 4)
    slower = found[f"b: {compiled.OURS_STEP} / {compiled.NUMPYRO}"]
    assert (slower.value, slower.holds) == (2.0, False)
    assert found[f"a: {compiled.OURS_STEP} / {compiled.NUMPYRO}"].value == "-"
    assert found[f"a: {compiled.OURS_RUN} / {compiled.NUMPYRO_RUN}"].value == report.NOT_INSTALLED


def test_table_is_drawn(tmp_path: Path) -> None:
    times = {name: {who: 1.0 + place for place, who in enumerate(compiled.COLUMNS)} for name in WORKLOADS}
    del times["VAE"][compiled.PYRO_JIT]
    compiled.draw(times, tmp_path / "out" / "table.png")
    assert (tmp_path / "out" / "table.png").stat().st_size > 10_000


def test_runs_are_as_long_as_the_steps_are_short() -> None:
    def program(seconds: float) -> contenders.Program:
        return contenders.Program(lambda: _wait(seconds), torch.zeros)

    assert compiled.run_length(program(0.05)) == 100
    assert 100 <= compiled.run_length(program(0.0005)) <= 500
    assert compiled.run_length(program(0.0)) == 2000


def test_calls_of_a_block_follow_from_the_time_of_one() -> None:
    calls: list[float] = []
    counted = timing.Contender(lambda: calls.append(_wait(0.002)), steps=2)
    [time_of_step] = timing.microseconds({"it": counted}, rounds=1, calls=None).values()
    assert time_of_step >= 1000  # each call does two
    assert 3 <= len(calls) <= 2 + 5


def test_memory_of_a_step_is_its_highest_point() -> None:
    def step() -> torch.Tensor:
        first = torch.ones(1_000)  # 4 kB
        second = torch.ones(2_000)  # 12 kB together: the highest point
        del second
        return first + torch.ones(500).sum()

    assert 12_000 <= first_step.bytes_of_step(step) <= 12_000 + 512
    before = first_step.bytes_of_tensors()
    kept = torch.ones(1_000)
    views = [kept[:10], kept[5:]]
    assert first_step.bytes_of_tensors() == before + 4_000 and len(views) == 2


def test_scaling_is_told_as_a_power() -> None:
    columns = (f"cold first step, s: {scaling.OURS_STEP}", scaling.OURS_STEP)
    times = {f"{count} sites": dict.fromkeys(columns, 3.0 * count**1.5) for count in (10, 100)}
    assert [figure.value for figure in scaling.figures(times)] == pytest.approx([1.5, 1.5])
    assert not any(figure.holds for figure in scaling.figures(times))


def test_a_first_step_that_takes_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "PATIENCE", 0.01)
    found = scaling.first_steps("10 sites")
    assert set(found.values()) == {"> 0"}
    times = {"10 sites": {**found, scaling.OURS_STEP: 2.0}, "100 sites": {**found, scaling.OURS_STEP: 20.0}}
    assert [figure.value for figure in scaling.figures(times)] == pytest.approx([1.0])


def test_resident_memory_is_that_of_the_process() -> None:
    before = long_run.resident()
    held = mmap.mmap(-1, 40_000_000)  # and not a tensor, which may get memory that another test has given back
    for page in range(0, len(held), mmap.PAGESIZE):
        held[page] = 1
    assert 35 < long_run.resident() - before < 60
    held.close()


def _wait(seconds: float) -> float:
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass
    return 0.0

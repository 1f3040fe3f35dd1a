"""Every benchmark runs once at a tiny size; how fast anything is, no test asks.

Importing Pyro patches torch.distributions for the whole process, so the peers are hidden from the tests that run here;
the last test runs everything that is installed, in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import pkgutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import benchmarks
from benchmarks import __main__ as command
from benchmarks import elbos, families, passes, report, sites, svi_eight_schools, tails, timing
from benchmarks.workloads import WORKLOADS, contenders

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyro", "numpyro"):
        monkeypatch.setitem(sys.modules, name, None)


def values(answer: report.Report) -> list[report.Cell]:
    return [cell for _, cells in answer.rows for cell in cells]


def figure(answer: report.Report, label: str) -> report.Figure:
    return next(f for f in answer.figures if f.label == label)


def test_every_module_imports() -> None:
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__)]
    assert {"timing", "report", "sites", "svi_eight_schools", "elbos", "families", "passes", "variance"} <= set(names)
    for name in names:
        assert importlib.import_module(f"benchmarks.{name}").__doc__


COMPILED = {"compiled", "first_step", "final_loss", "scaling", "long_run"}  # see test_benchmarks_compiled.py


@pytest.mark.parametrize("name", [name for name in command.BENCHMARKS if name not in COMPILED])
def test_benchmark_runs_without_peers(name: str) -> None:
    answer = command.BENCHMARKS[name](rounds=1, quick=True)
    cells = values(answer)
    numbers = [cell for cell in cells if isinstance(cell, float)]
    lowest = -1 if name in ("passes", "variance") else 0  # of a tiny batch no pass need be costly, no draw vary
    assert numbers and all(math.isfinite(number) and number > lowest for number in numbers)
    words = {cell for cell in cells if isinstance(cell, str)} - {"-"}
    assert name == "passes" or words == (set() if name in ("families", "tails", "variance") else {report.NOT_INSTALLED})
    assert all(len(cells) == len(answer.columns) - 1 for _, cells in answer.rows)
    for row, _ in answer.rows:
        assert row in str(answer)


def test_missing_pyro_is_said_and_not_judged() -> None:
    answer = sites.run(rounds=1, quick=True)
    row = next(line for line in str(answer).splitlines() if line.startswith("Pyro, defaults"))
    assert row.count("not installed") == len(sites.COLUMNS)
    against = figure(answer, "trace: ours / Pyro, defaults")
    assert (against.value, against.asked, against.holds) == ("not installed", 1 / 3, None)


def test_site_shares_are_differences_of_the_table() -> None:
    cells = dict.fromkeys(((sites.TORCH, sites.LOOP), (sites.OURS, sites.LOOP), (sites.OURS, sites.KEPT)), 8.0)
    cells |= {(sites.OURS, sites.MODEL): 5.0, (sites.OURS, sites.TRACE): 6.0, (sites.OURS, sites.TOTAL): 9.0}
    cells |= {(sites.MORE, sites.TRACE): 8.5, (sites.PYRO, sites.TRACE): 30.0, (sites.PYRO, sites.TOTAL): 36.0}
    own, more, bare, _, traced, total, alone, *_ = sites.figures(cells)
    assert (own.value, own.asked, own.holds) == (1.0, 1.5, True)
    assert (more.value, more.asked) == (0.25, 0.7)
    assert (bare.value, bare.asked, bare.holds) == (0.75, 1.25, True)
    assert (traced.value, traced.holds) == (0.2, True)
    assert (total.value, total.holds) == (0.25, True)
    assert (alone.value, alone.holds) == (0.5, False)


def test_programs_start_at_the_same_loss() -> None:
    starts = {name: contenders.mean_and_error(p, 400) for name, p in svi_eight_schools.build().items()}
    assert len(starts) == 4
    contenders.check_same_loss("svi", starts)
    wrong = {**starts, contenders.OURS: (starts[contenders.HAND][0] + math.log(5.0), 0.05)}
    with pytest.raises(ValueError, match=r"benchmark svi: ours, eager .* Make both the same model and guide"):
        contenders.check_same_loss("svi", wrong)


@pytest.mark.parametrize("name", [contenders.OURS, contenders.HAND, contenders.HAND_FUSED])
def test_steps_lower_the_loss(name: str) -> None:
    program = svi_eight_schools.build()[name]
    before, error = contenders.mean_and_error(program, 200)
    for _ in range(200):
        program.step()
    after, its_error = contenders.mean_and_error(program, 200)
    assert after < before - 3 * math.hypot(error, its_error)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_ours_and_the_loop_by_hand_come_as_far(workload: str) -> None:
    """The losses after as many steps agree to 5 standard errors and a tenth of the way."""
    programs = contenders.contenders(WORKLOADS[workload](), contenders.Bound("Trace_ELBO"))
    ends = {}
    for name in (contenders.HAND, contenders.OURS):
        before = contenders.mean_and_error(programs[name], 20)[0]
        for _ in range(20):
            programs[name].step()
        ends[name] = contenders.mean_and_error(programs[name], 40)
        assert ends[name][0] < before
    (hand, error), (ours, its_error) = ends.values()
    assert abs(ours - hand) <= 5 * math.hypot(error, its_error) + 0.1 * (before - ours)


def test_elbo_figures_follow_from_the_times() -> None:
    slow = {contenders.OURS: 2.0, contenders.PYRO: 8.0, contenders.HAND: 1.0}
    fast = {contenders.OURS: 2.0, contenders.PYRO: 2.0, contenders.HAND: 4.0}
    found = {f.label: f for f in elbos.figures({("Trace_ELBO", "a"): slow, ("Trace_ELBO", "b"): fast})}
    row = found[f"Trace_ELBO, a: {contenders.OURS} / {contenders.PYRO}"]
    assert (row.value, row.asked, row.holds) == (0.25, 1 / 3, True)
    assert not found[f"Trace_ELBO, a: {contenders.OURS} / {contenders.HAND}"].holds
    mean = found[f"Trace_ELBO, geometric mean of 2 workloads: {contenders.OURS} / {contenders.PYRO}"]
    assert mean.value == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore:Singular sample:UserWarning")  # of torch's Wishart, at good parameters
def test_every_shared_family_has_parameters() -> None:
    assert {"Normal", "Gamma"} <= set(families.shared()) <= set(families.PARAMETERS)
    for name in families.shared():
        call = {key: contender.call for key, contender in families.contenders(name, 7)}
        for operation in families.OPERATIONS:
            if (operation, "torch") in call:
                ours, torchs = call[operation, "ours"](), call[operation, "torch"]()
                assert ours.shape == torchs.shape
                assert ours.shape[:1] == (7,)
                if operation != families.DRAW:
                    torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Gamma", "Normal", "Weibull"])
def test_tails_are_compared_at_the_same_values(name: str) -> None:
    call = {key: contender.call for key, contender in tails.contenders(name, 7)}
    assert {method for method, _ in call} == {"log_prob", "cdf"} | ({"icdf"} if name != "Gamma" else set())
    for (method, _), ours in call.items():
        torch.testing.assert_close(ours(), call[method, "torch"](), rtol=1e-4, atol=1e-5)


def test_family_figures_follow_from_the_ratios() -> None:
    ratios = {("A", families.SCORE, batch): 0.25 for batch in families.BATCHES}
    ratios |= {("B", families.DRAW, batch): 1.0 for batch in families.BATCHES}
    small, large, *slowest = families.figures(ratios)
    assert (small.value, small.holds, large.value, large.holds) == (0.5, True, 0.5, True)
    assert [f.value for f in slowest] == [1.0, 1.0, 1.0]
    assert all("slowest entry, B construct + rsample" in f.label for f in slowest)
    worse = list(families.figures({**ratios, ("B", families.DRAW, 10): 4.0}))
    assert not worse[2].holds


def test_passes_count_what_touches_every_entry() -> None:
    x = torch.rand(100)
    with passes.Passes(100) as counted:
        (x.log() + x.exp()).reshape(10, 10)
        x[:3].sin()
    assert counted.count == {"log": 1, "exp": 1, "add": 1}
    assert set(counted.seconds) == set(counted.count)


def test_minimum_of_alternating_rounds() -> None:
    log: list[str] = []

    def slow() -> None:
        log.append("slow")
        time.sleep(0.004)

    @contextmanager
    def around() -> Iterator[None]:
        log.append("in")
        yield
        log.append("out")

    contenders = {
        "slow": timing.Contender(slow),
        "fast": timing.Contender(lambda: log.append("fast"), around),
    }
    threads = torch.get_num_threads()
    times = timing.microseconds(contenders, rounds=2, calls=2)
    blocks = [["slow", "slow"], ["in", "fast", "fast", "out"]]
    assert len(log) == 3 * 6
    for start in (0, 6, 12):  # the warm-up and two rounds: each has one block of both, in either order
        assert log[start : start + 6] in ([*blocks[0], *blocks[1]], [*blocks[1], *blocks[0]])
    assert times["slow"] >= 4000 > times["fast"] > 0
    assert torch.get_num_threads() == threads


def test_figures_show_what_is_asked() -> None:
    held, broken = report.ratio("a / b", 1.0, 4.0, 1 / 3), report.ratio("a / c", 2.0, 1.0, 1.5)
    assert held.cells() == ["a / b", "0.25", "asked: <= 1/3", "holds"]
    assert broken.cells() == ["a / c", "2", "asked: <= 1.5", "DOES NOT HOLD"]
    assert report.ratio("a / d", 1.0, report.NOT_INSTALLED).cells() == ["a / d", "not installed", "", ""]


def test_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["svj"])
    assert "no benchmark 'svj'; there are: sites, svi, families, passes" in capsys.readouterr().err


@pytest.mark.slow
def test_command_with_whatever_is_installed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "benchmarks", "sites", "svi", "elbos", "--quick"]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "out" / "benchmarks.json").read_text(encoding="utf-8"))
    assert list(data["benchmarks"]) == ["sites", "svi", "elbos"]
    pyro_rows = [row for b in data["benchmarks"].values() for row in b["rows"] if row[0] == "Pyro, defaults"]
    expected = str if command.environment()["pyro-ppl"] == report.NOT_INSTALLED else float
    assert len(pyro_rows) == 2
    assert all(isinstance(cell, expected) for row in pyro_rows for cell in row[1:])
    assert all(b["title"] in done.stdout for b in data["benchmarks"].values())

"""What is on disk is found again where it is right, and made again where it is broken or of another machine."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.compile import Graph, Moved, record

graphs = importlib.import_module("inference.compile.graph")
library = importlib.import_module("inference.compile.libraries").library
ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import warnings
import torch
import inference
warnings.simplefilter("error")
print(inference.compile(lambda x: 2 * x + 1)(torch.arange(3.0)).tolist())
"""
KILLING = """#!/bin/sh
g++ "$@" || exit 1
while [ "$1" != "-o" ] && [ $# -gt 0 ]; do shift; done
case "$2" in *main.so) truncate -s 1000 "$2"; kill -9 $PPID;; esac
"""


def run(cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    names = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=names, capture_output=True, text=True, check=False)


def assert_right(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[1.0, 3.0, 5.0]\n"


@pytest.mark.slow
def test_a_library_that_is_cut_short_is_made_again(tmp_path: Path) -> None:
    """A process that is killed while the compiler writes, then files cut where loading them would end a process."""
    compiler, cache = tmp_path / "g++", tmp_path / "cache"
    compiler.write_text(KILLING)
    compiler.chmod(0o755)
    assert run(cache, CXX=str(compiler)).returncode == -9
    assert [path.stat().st_size for path in cache.rglob("*.main.so")] == [1000]
    assert not list(cache.glob("ppl-*.so"))
    assert_right(run(cache))
    made = {path: path.read_bytes() for path in cache.glob("ppl-*.so")}
    assert len(made) == 2  # the program, and the loop that calls it
    for path, content in made.items():
        path.write_bytes(content[:1000])
    assert_right(run(cache))
    assert {path.name for path in cache.glob("ppl-*.so")} == {path.name for path in made}
    assert all(path.stat().st_size > 1000 for path in made)


DAMAGES = {
    "empty": lambda content: b"",
    "no digest": lambda content: content[:5],
    "cut": lambda content: content[:-1],
    "altered": lambda content: b"W" + content[1:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_only_what_is_whole_is_taken(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "ppl-it.so"
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return b"whole"

    for _ in range(2):
        assert library(path, make) == str(path)
    assert len(made) == 1
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    library(path, make)
    assert len(made) == 2
    assert path.read_bytes() == whole


def test_a_second_try_relies_on_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers that were compiled before may be cut short too."""
    machine, tried = importlib.import_module("inference.compile.machine"), []

    def compiled(graph: Graph, steps: int, options: dict[str, Any]) -> bytes:
        tried.append(options)
        if options.get("cpp_cache_precompile_headers", True):
            raise RuntimeError
        return b"code"

    monkeypatch.setattr(machine, "_library", compiled)
    assert machine._machine_code(doubling(), 1) == b"code"
    assert len(tried) == 2


def doubling() -> Graph:
    return record(lambda state, data: Moved([], [2 * data[0]]), [], [torch.zeros(3)])


@pytest.fixture
def _ground_anew() -> Iterator[None]:
    """What machine code stands on is read again in the test, and after it."""
    graphs._ground.cache_clear()
    yield
    graphs._ground.cache_clear()


@pytest.mark.usefixtures("_ground_anew")
@pytest.mark.parametrize("what", ["processor", "torch", "family"])
def test_machine_code_of_another_machine_is_not_taken(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A home directory may be shared by machines whose processors know other instructions."""
    graph = doubling()
    before = graph.key(1)
    graphs._ground.cache_clear()
    assert graph.key(1) == before
    graphs._ground.cache_clear()
    if what == "processor":
        monkeypatch.setattr(Path, "read_text", lambda path: "model name\t: x\nflags\t\t: fpu sse2\n")
    elif what == "torch":
        monkeypatch.setattr(torch.version, "git_version", "another")
    else:
        monkeypatch.setattr(graphs.platform, "machine", lambda: "another")
    assert graph.key(1) != before

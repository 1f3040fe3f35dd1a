"""What a graph cannot hold, in words: the file, the line, and the construct."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

__all__ = ["Untraceable", "explained", "outside"]

_OURS = [Path(__file__).parent, *(Path(__file__).parent.parent / name for name in ("ppl", "ppl_dist"))]
_TORCH = Path(torch.__file__).parent
_CONSTRUCTS = {
    "_local_scalar_dense": "looks at the value of a tensor",
    "data-dependent": "looks at the value of a tensor",
    "DataDependentOutput": "looks at the value of a tensor",
    "DynamicOutputShape": "makes a tensor whose shape depends on values",
    "nonzero": "makes a tensor whose shape depends on values",
    "numpy": "turns a tensor into a numpy array",
}


class Untraceable(Exception):
    """The program cannot be recorded as a graph; the message says where and why."""


@contextmanager
def explained() -> Iterator[None]:
    """Errors become `Untraceable`: whether they are about the graph or about the program, an eager run will show."""
    try:
        yield
    except Untraceable:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        construct = next((words for sign, words in _CONSTRUCTS.items() if sign in said), None)
        what = f"raises {said.splitlines()[0]}" if construct is None else f"{construct}. Try torch.where or a mask."
        raise Untraceable(f"{_place(error)} {what}") from error


def _place(error: BaseException) -> str:
    """The line of the program that led there: file, number and text."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not any(home in Path(frame.filename).parents for home in (*_OURS, _TORCH))]
    frame = theirs[-1] if theirs else frames[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{frame.filename}:{frame.lineno}: `{line}`"


def outside() -> int:
    """The stack level, for a warning, of the line outside this package that led here."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "inference":
        frame, level = frame.f_back, level + 1
    return level

"""Which site an error belongs to, when it was raised before `sample` could be called.

In `sample("z", Normal(0.0, scale))` a bad `scale` fails inside `Normal`, which knows nothing of "z". The source of the
line does: this module finds the enclosing call of `sample` or `observe` and reads the name off it.
"""

from __future__ import annotations

import ast
import linecache
import threading
from functools import lru_cache
from pathlib import Path
from traceback import extract_tb
from typing import Any

__all__ = ["annotate", "site_being_built"]

_PRIMITIVES = frozenset({"sample", "observe"})
_PARSING = threading.Lock()


def annotate(error: BaseException) -> None:
    """Add the name of the site as a note, unless the error says already where it belongs."""
    said = getattr(error, "__notes__", ())
    if not any(note.startswith(("while at site", "while building")) for note in said):
        note = site_being_built(error)
        if note is not None:
            error.add_note(note)


def site_being_built(error: BaseException) -> str | None:
    """`while building the distribution of site "z" (model.py, line 7)`, or None where no such call is found."""
    for step in reversed(extract_tb(error.__traceback__)):
        start, end = (step.lineno, step.colno), (step.end_lineno, step.end_colno)
        around = [call for call in _primitives("".join(linecache.getlines(step.filename))) if _holds(call, start, end)]
        if around:
            call = max(around, key=lambda call: (call.lineno, call.col_offset))  # the innermost starts last
            name = getattr(call.args[0], "value", None)  # of a literal
            told = f'"{name}"' if isinstance(name, str) else ast.unparse(call.args[0])
            return f"while building the distribution of site {told} ({Path(step.filename).name}, line {call.lineno})"
    return None


def _holds(call: Any, start: Any, end: Any) -> bool:
    """Strictly: an error of the primitive itself is annotated where it is raised."""
    own = (call.lineno, call.col_offset), (call.end_lineno, call.end_col_offset)
    return None not in start + end and own[0] <= start and end <= own[1] and own != (start, end)


@lru_cache(maxsize=32)
def _primitives(source: str) -> tuple[ast.Call, ...]:
    """The calls of primitives in a file; none where it cannot be read: a note must never replace the error it is for.

    Python 3.11 counts the depth of what it parses once for all threads, and raises SystemError when two of them parse
    at once: ours take turns, and people's own may still be parsing.
    """
    try:
        with _PARSING:
            tree = ast.parse(source)
    except (SyntaxError, ValueError, SystemError, RecursionError):
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) in _PRIMITIVES)


def _called(call: ast.Call) -> str | None:
    return getattr(call.func, "attr", getattr(call.func, "id", None)) if call.args else None

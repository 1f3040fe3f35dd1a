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
from types import TracebackType

__all__ = ["annotate", "site_being_built"]

_PRIMITIVES = frozenset({"sample", "observe"})
_PARSING = threading.Lock()
_Span = tuple[int, int, int, int]


def annotate(error: BaseException) -> None:
    """Add the name of the site as a note, unless the error says already where it belongs."""
    said = getattr(error, "__notes__", ())
    if not any(note.startswith(("while at site", "while building")) for note in said):
        note = site_being_built(error)
        if note is not None:
            error.add_note(note)


def site_being_built(error: BaseException) -> str | None:
    """`while building the distribution of site "z" (model.py, line 7)`, or None where no such call is found."""
    steps: list[TracebackType] = []
    step = error.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    for step in reversed(steps):
        found = _enclosing(step)
        if found is not None:
            name, line = found
            file = Path(step.tb_frame.f_code.co_filename).name
            return f"while building the distribution of site {name} ({file}, line {line})"
    return None


def _enclosing(step: TracebackType) -> tuple[str, int] | None:
    """The name and line of the primitive among whose arguments this frame stood."""
    code = step.tb_frame.f_code
    line, end_line, column, end_column = list(code.co_positions())[step.tb_lasti // 2]
    source = "".join(linecache.getlines(code.co_filename, step.tb_frame.f_globals))
    if not source or line is None or end_line is None or column is None or end_column is None:
        return None
    here = (line, column, end_line, end_column)
    calls = [call for call in _primitives(source) if _inside(here, _span(call))]
    if not calls:
        return None
    call = max(calls, key=lambda node: _span(node)[:2])  # the innermost starts last
    name = call.args[0]
    given = name.value if isinstance(name, ast.Constant) else None
    return (f'"{given}"' if isinstance(given, str) else ast.unparse(name)), call.lineno


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
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_primitive(node))


def _is_primitive(call: ast.Call) -> bool:
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return called in _PRIMITIVES and bool(call.args)


def _span(node: ast.expr) -> _Span:
    return node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def _inside(inner: _Span, outer: _Span) -> bool:
    """Strictly inside: an error of the primitive itself is annotated where it is raised."""
    return outer[:2] <= inner[:2] and inner[2:] <= outer[2:] and inner != outer

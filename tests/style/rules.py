"""The house rules of STYLE.md that can be read off the source: functions from a file's path and text to complaints."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

Rule = Callable[[str, str], list[str]]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ppl_dist", "ppl", "inference")
OUTSIDE = {"torch", "numpy", "tqdm", "matplotlib", "gymnasium", "sklearn"}
MAY_IMPORT = {
    "ppl_dist": {"torch"},
    "ppl": {"torch", "ppl_dist", "matplotlib"},  # the last where a model is drawn, inside of functions
    "inference": {"torch", "numpy", "tqdm", "matplotlib", "ppl", "ppl_dist"},
    "examples": {*OUTSIDE, *PACKAGES},
}
# Files that may import by star: only a re-export that the first contract (ARCHITECTURE, section 1) cannot do without.
STAR_ALLOWED: frozenset[str] = frozenset()
LONGEST_FILE = 450
DERIVED = {"__init__", "expand", "__repr__"}


def source_files(*rooms: str) -> list[str]:
    """Paths, relative to the root, of the Python files in `rooms`."""
    return [p.relative_to(ROOT).as_posix() for room in rooms for p in sorted((ROOT / room).rglob("*.py"))]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that is imported absolutely; `from a import b` gives both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute chain, or "" where the chain starts at something else than a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def mentions(tree: ast.AST, module: str) -> list[int]:
    """Lines that import `module` or something below it, or reach it as an attribute."""
    lines = {line for line, name in imported(tree) if f"{name}.".startswith(f"{module}.")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node) == module:
            lines.add(node.lineno)
    return sorted(lines)


def import_direction(path: str, text: str) -> list[str]:
    """Nothing imports upward, and each room imports only what ARCHITECTURE section 2 gives it."""
    room = path.split("/", maxsplit=1)[0]
    allowed = MAY_IMPORT.get(room)
    if allowed is None:
        return []
    allowed = allowed | {room} | sys.stdlib_module_names
    found = {(line, name.split(".")[0]) for line, name in imported(ast.parse(text))}
    return [f"{path}:{line}: {room} may not import {name}" for line, name in sorted(found) if name not in allowed]


def no_torch_distributions(path: str, text: str) -> list[str]:
    """Only tests and benchmarks know torch's own distributions."""
    return [f"{path}:{line}: uses torch.distributions" for line in mentions(ast.parse(text), "torch.distributions")]


def no_bare_not_implemented(path: str, text: str) -> list[str]:
    """A NotImplementedError names the family and the method."""
    complaints = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Raise):
            continue
        empty_call = isinstance(node.exc, ast.Call) and not node.exc.args
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        named = isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
        if named and (empty_call or raised is node.exc):
            complaints.append(f"{path}:{node.lineno}: NotImplementedError without a message")
    return complaints


def only_f_strings(path: str, text: str) -> list[str]:
    """Text is put together by f-strings, not by `.format(` or `%`."""
    complaints = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            complaints.append(f"{path}:{node.lineno}: .format( instead of an f-string")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            left = node.left
            if isinstance(left, ast.JoinedStr) or (isinstance(left, ast.Constant) and isinstance(left.value, str)):
                complaints.append(f"{path}:{node.lineno}: % instead of an f-string")
    return complaints


def no_star_import(path: str, text: str) -> list[str]:
    """Names are imported one by one."""
    if path in STAR_ALLOWED:
        return []
    return [f"{path}:{line}: import *" for line, name in imported_or_relative(text) if name.endswith("*")]


def imported_or_relative(text: str) -> Iterator[tuple[int, str]]:
    """(line, name) of every `from ... import name`, relative ones too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, alias.name


def families_only_declare(path: str, text: str) -> list[str]:
    """What the base derives from a declaration is written by no family."""
    if not path.startswith("ppl_dist/families/"):
        return []
    complaints = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and member.name in DERIVED:
                    complaints.append(
                        f"{path}:{member.lineno}: {node.name} writes {member.name}, which the base derives"
                    )
    return complaints


def short_file(path: str, text: str) -> list[str]:
    """A room that outgrows 450 lines is split by reason-to-open."""
    lines = len(text.splitlines())
    return [f"{path}: {lines} lines, more than {LONGEST_FILE}"] if lines > LONGEST_FILE else []


def pytree_modules(sources: dict[str, str]) -> list[str]:
    """The files that touch torch's private tree module; one is allowed."""
    return [path for path, text in sources.items() if mentions(ast.parse(text), "torch.utils._pytree")]


def code_lines(text: str) -> dict[str, int]:
    """Lines that are neither blank, comment nor docstring, for each class of a file, and under "" for all of it."""
    lines, tree = text.splitlines(), ast.parse(text)
    documented: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            documented |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code = [i for i, line in enumerate(lines, 1) if i not in documented and line.strip() and line.strip()[0] != "#"]
    counts = {"": len(code)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            first = min([d.lineno for d in node.decorator_list], default=node.lineno)
            counts[node.name] = sum(first <= i <= (node.end_lineno or 0) for i in code)
    return counts

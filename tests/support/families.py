"""The one table of families that every law walks: parameters, a reference, what a family lacks, known gaps.

Adding a family is adding a row in `rows/`. A law asks `each("law", where=...)` for its parametrisation; no law
knows which family it is looking at.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import rows
from .table import Case, Row

__all__ = ["FAMILIES", "Case", "Row", "continuous", "each", "each_family", "on_line", "smooth"]

FAMILIES: tuple[Row, ...] = tuple(
    row
    for module in sorted(found.name for found in pkgutil.iter_modules(rows.__path__))
    for row in importlib.import_module(f"{rows.__name__}.{module}").ROWS
)


def each(law: str, where: Callable[[Row, Case], bool] = lambda row, case: True) -> pytest.MarkDecorator:
    """Parametrise a law over the rows and cases it speaks about; known gaps become strict xfails."""
    return pytest.mark.parametrize("row, case", list(_params(law, where)))


def each_family(law: str, where: Callable[[Row], bool] = lambda row: True) -> pytest.MarkDecorator:
    """Parametrise a law over families, with the first case of each."""
    first = _params(law, lambda row, case: case is row.cases[0] and where(row))
    return pytest.mark.parametrize("row, case", list(first))


def _params(law: str, where: Callable[[Row, Case], bool]) -> Iterator[Any]:
    for row in FAMILIES:
        for one in row.cases:
            if where(row, one):
                reason = row.gaps.get(f"{law}:{one.name}", row.gaps.get(law))
                marks = [] if reason is None else [pytest.mark.xfail(strict=True, reason=reason)]
                yield pytest.param(row, one, id=f"{row.name}-{one.name}", marks=marks)


def smooth(row: Row, case: Case) -> bool:
    """Parameters inside their domain: perturbing them means something."""
    return "edge" not in case.traits


def continuous(row: Row, case: Case) -> bool:
    return row.kind == "continuous"


def on_line(row: Row, case: Case) -> bool:
    """Laws over numbers, not vectors, that have a distribution function."""
    return row.has("cdf", case)

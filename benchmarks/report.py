"""What a benchmark says: a table of times, and figures, some of them beside what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NOT_INSTALLED", "Cell", "Figure", "Report", "ratio"]

Cell = float | str
NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Figure:
    """One number to judge: a ratio of minima, or a time where `unit` says so; smaller is better."""

    label: str
    value: Cell
    asked: float | None = None
    unit: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the figure is within what is asked; None where nothing is asked or a peer is missing."""
        if self.asked is None or isinstance(self.value, str):
            return None
        return self.value <= self.asked

    def cells(self) -> list[str]:
        """Label, value, what is asked, and whether it holds."""
        value = self.value if isinstance(self.value, str) else f"{self.value:.3g} {self.unit}".strip()
        verdict = {None: "", True: "holds", False: "DOES NOT HOLD"}[self.holds]
        return [self.label, value, "" if self.asked is None else f"asked: <= {_bound(self.asked)}", verdict]


@dataclass(frozen=True)
class Report:
    """A benchmark's answer.

    Attributes:
        title: what was measured, and in which unit the table is.
        columns: headings of the table, the first one above the labels.
        rows: label and cells.
        figures: what follows from the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    figures: Sequence[Figure]

    def __str__(self) -> str:
        table = [list(self.columns), *([label, *map(_shown, cells)] for label, cells in self.rows)]
        blocks = [[self.title], _aligned(table, numbers=True), _aligned([figure.cells() for figure in self.figures])]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def as_data(self) -> dict[str, Any]:
        """The same as plain lists and dictionaries."""
        figures = [
            {"label": f.label, "value": f.value, "unit": f.unit, "asked": f.asked, "holds": f.holds}
            for f in self.figures
        ]
        rows = [[label, *cells] for label, cells in self.rows]
        return {"title": self.title, "columns": list(self.columns), "rows": rows, "figures": figures}


def ratio(label: str, ours: Cell, theirs: Cell, asked: float | None = None) -> Figure:
    """`ours / theirs`, or the reason why one of them is missing."""
    missing = next((cell for cell in (ours, theirs) if isinstance(cell, str)), None)
    if missing is not None:
        return Figure(label, missing, asked)
    assert isinstance(ours, float) and isinstance(theirs, float)
    return Figure(label, ours / theirs, asked)


def _bound(asked: float) -> str:
    part = 1 / asked if asked > 0 else 0.0
    return f"1/{part:g}" if 0 < asked < 1 and abs(part * 10 - round(part * 10)) < 1e-9 else f"{asked:g}"


def _shown(cell: Cell) -> str:
    return cell if isinstance(cell, str) else f"{cell:.2f}"


def _aligned(table: list[list[str]], *, numbers: bool = False) -> list[str]:
    """Lines with columns of equal width; with `numbers`, all but the first are flush right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if numbers and place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]

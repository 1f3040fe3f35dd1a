"""docs/accuracy.md: how near to the exact values every method comes, and what each family is held to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..support.families import FAMILIES
from ..support.table import INVERSES, TAILS, Accuracy, Row
from .measure import errors
from .values import read

PATH = Path(__file__).resolve().parents[2] / "docs" / "accuracy.md"
MARK = "<!-- from here on `python -m tests.accuracy page` writes -->"
GROUPS = {"density": ("log_prob",), "tails": TAILS[:2], "logs of tails": TAILS[2:], "quantiles": INVERSES}
MEASURED = "measured"
DTYPES = (torch.float64, torch.float32)


def text(*, measured: bool = True) -> str:
    """The page: what is written by hand, up to the mark, and the tables, with or without their figures."""
    opening = PATH.read_text(encoding="utf-8").partition(MARK)[0]
    return opening + "\n".join([MARK, "", *tables(measured=measured)]) + "\n"


def shape(page: str) -> str:
    """A page without its measured figures, which differ in the last digit from machine to machine."""
    return re.sub(r"\d+e[-+]\d+ / \d+e[-+]\d+", MEASURED, page)


def tables(*, measured: bool) -> Iterator[str]:
    yield "## What was measured"
    yield ""
    yield "| family | points | " + " | ".join(GROUPS) + " |"
    yield "|---|--:|" + "--:|" * len(GROUPS)
    looser = []
    for row in FAMILIES:
        for accuracy in row.accuracy:
            yield line(row, accuracy, measured=measured)
            looser += [f"| {row.name} | {key} | {bound:g} | {why} |" for key, (bound, why) in accuracy.looser.items()]
    if looser:
        yield from [
            "",
            "## Bounds that are looser",
            "",
            "| family | method, dtype | bound | why |",
            "|---|---|--:|---|",
        ]
        yield from looser


def line(row: Row, accuracy: Accuracy, *, measured: bool) -> str:
    cells = [_cell(row, accuracy, methods) if measured else MEASURED for methods in GROUPS.values()]
    return f"| {row.name}({', '.join(accuracy.grid)}) | {len(read(row, accuracy))} | {' | '.join(cells)} |"


def _cell(row: Row, accuracy: Accuracy, methods: tuple[str, ...]) -> str:
    worst = [max(_worst(row, accuracy, method, dtype) for method in methods) for dtype in DTYPES]
    return " / ".join(f"{w:.0e}" for w in worst)


def _worst(row: Row, accuracy: Accuracy, method: str, dtype: torch.dtype) -> float:
    """The largest error where the problem is well conditioned: where the stated bound is what holds."""
    found = errors(row, accuracy, method, dtype)
    well = found.allowed <= accuracy.bound(method, dtype)
    return float(np.max(found.error[well], initial=0.0))


def main() -> None:
    PATH.write_text(text(), encoding="utf-8")

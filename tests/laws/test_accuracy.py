"""Every method keeps its stated accuracy over the whole grid of parameters, from one end of the floats to the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.accuracy import measure, page, values
from tests.support.families import FAMILIES
from tests.support.table import STATED, Accuracy, Row

DTYPES = (torch.float64, torch.float32)


def cases() -> Iterator[Any]:
    for row in FAMILIES:
        for accuracy in row.accuracy:
            for method in STATED:
                for dtype in DTYPES:
                    name = str(dtype).removeprefix("torch.")
                    grid = "-".join(accuracy.grid)
                    yield pytest.param(row, accuracy, method, dtype, id=f"{row.name}-{grid}-{method}-{name}")


@pytest.mark.parametrize("row, accuracy, method, dtype", list(cases()))
def test_error_is_within_the_stated_bound(row: Row, accuracy: Accuracy, method: str, dtype: torch.dtype) -> None:
    found = measure.errors(row, accuracy, method, dtype)
    assert found.worst() <= 1, found.describe()


GRIDS = [
    pytest.param(row, accuracy, id=f"{row.name}-{'-'.join(accuracy.grid)}")
    for row in FAMILIES
    for accuracy in row.accuracy
]


@pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
@pytest.mark.parametrize("row, accuracy", GRIDS)
def test_error_of_each_setting_alone(row: Row, accuracy: Accuracy, dtype: torch.dtype) -> None:
    """In a batch with extreme ones, moderate settings do not show the formula that is theirs alone."""
    found = [measure.errors(row, accuracy, method, dtype, alone=True) for method in STATED]
    assert all(f.worst() <= 1 for f in found), "\n".join(f.describe() for f in found if f.worst() > 1)


@pytest.mark.parametrize("row, accuracy", GRIDS)
def test_kept_values_are_what_mpmath_says(row: Row, accuracy: Accuracy) -> None:
    """The grid is the one that is declared; two lines of the file are computed anew."""
    kept = values.read(row, accuracy)
    assert {tuple(p.setting.values()) for p in kept} == {tuple(s.values()) for s in values.settings(accuracy)}
    for old in (kept[len(kept) // 5], kept[-len(kept) // 3]):
        new = values.again(row, accuracy, old)
        for name in ("log_prob", "cdf", "sf"):
            gap = abs(getattr(new, name) - getattr(old, name))
            assert getattr(new, name) == getattr(old, name) or gap <= 1e-16 * abs(getattr(new, name)), (old, name)
        np.testing.assert_allclose(new.slack, old.slack, rtol=0.06, atol=1e-300)


def test_the_page_lists_every_grid_and_bound() -> None:
    """Measured figures apart: `python -m tests.accuracy page` brings it up to date."""
    assert page.shape(page.text(measured=False)) == page.shape(page.PATH.read_text(encoding="utf-8"))

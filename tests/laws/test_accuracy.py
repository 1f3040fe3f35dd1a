"""Every method keeps its stated accuracy over the whole grid of parameters, from one end of the floats to the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.accuracy import measure
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

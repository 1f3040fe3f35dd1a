"""The table of pairs of a model and a guide, and how one is added to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppl import param

Program = Callable[[], Any]


class Pair(NamedTuple):
    model: Program
    guide: Program


PROGRAMS: dict[str, Pair] = {}


def pair(make: Callable[[], tuple[Program, Program]]) -> None:
    PROGRAMS[make.__name__] = Pair(*make())


def values(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def scalar(name: str, number: float) -> Tensor:
    """A parameter of shape ()."""
    return param(name, torch.tensor(number, dtype=torch.float64))

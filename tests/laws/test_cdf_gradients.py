"""Distribution functions have first and second derivatives in the value and in every parameter."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppl_dist import biject_to
from ppl_dist.constraints.scalar import bounds_of
from tests.laws.test_gradients import build, free
from tests.support.families import Case, Row, each, on_line, smooth

TAILS = ("cdf", "survival_function", "log_cdf", "log_survival_function")


def varies(row: Row, case: Case) -> bool:
    return on_line(row, case) and smooth(row, case) and row.kind != "point"


def tails(row: Row, case: Case, method: str) -> tuple[list[Tensor], Callable[..., Tensor]]:
    """The leaves, parameters in free coordinates and, for a continuum, the value; and the method as their function."""
    names, coordinates = free(row, case)
    x = row.points(case)
    x = x[[min(3, len(x) // 3), 2 * len(x) // 3]]  # on either side of the median, where some laws have a kink
    d = row.make(case)
    low, high = bounds_of(d.support)
    steady = getattr(d, method)(x).isfinite()
    if row.kind == "mixed":  # an atom stays where it is while its parameter moves
        steady = steady & (x != low) & (x != high)

    def finite(value: Tensor) -> Tensor:
        return value[steady]

    if row.kind != "continuous":  # a value among atoms cannot be moved
        return coordinates, lambda *u: finite(getattr(build(row, case, names, u), method)(x))
    to_support = biject_to(d.support)
    leaves = [*coordinates, to_support.inv(x).detach().requires_grad_()]
    return leaves, lambda *u: finite(getattr(build(row, case, names, u[:-1]), method)(to_support(u[-1])))


@each("cdf: gradient", where=varies)
def test_first_derivatives_of_the_tails(row: Row, case: Case) -> None:
    for method in TAILS if case is row.cases[0] else TAILS[2:]:
        leaves, function = tails(row, case, method)
        if leaves:
            assert torch.autograd.gradcheck(function, leaves, rtol=1e-4, atol=1e-6), method


@each("cdf: second derivative", where=lambda row, case: varies(row, case) and case is row.cases[0])
def test_second_derivatives_of_the_tails(row: Row, case: Case) -> None:
    for method in TAILS:
        leaves, function = tails(row, case, method)
        if leaves:
            assert torch.autograd.gradgradcheck(function, leaves, rtol=1e-3, atol=1e-5), method

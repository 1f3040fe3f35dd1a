"""Programs whose like parts are computed as one: what they give, against the same operations one by one, and torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.compiling import compiling, recorded

packing = importlib.import_module("inference.compile.packing")

N = 12
Program = Callable[..., Sequence[Tensor]]


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed, whether it is worth it or not."""
    monkeypatch.setattr(packing, "WORTH", 9)


def rows(*shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) + i for i in range(N)]


def run_of(graph: Any, state: Sequence[Tensor], data: Sequence[Tensor]) -> list[Tensor]:
    """The state after a run by Python, then what else there is; packed where it can be."""
    found = compiling.packed(graph)
    given = [each.clone() for each in state]
    inputs = [*given, *data, *graph.lifted]
    if found is None:
        out = compiling.lowered(graph, 1)[0](torch.tensor(3), *inputs)
        return [*given, *out]
    together = found.packing.inputs(inputs)
    out = compiling.lowered(found.graph, 1)[0](torch.tensor(3), *together)
    found.packing.put_back(together, inputs)
    return [*given, *out]


def in_place_and_not(*xs: Tensor) -> list[Tensor]:
    """A sum that is written to one of its terms has the dtype of that term, and is not the sum."""
    found, wide = [], torch.full((3,), 0.1, dtype=torch.float64)
    for x in xs:
        each = x.clone()
        found += [each + wide, each < 0.1, each.add_(wide)]
    return found


def powers(*xs: Tensor) -> list[Tensor]:
    """`pow_.Scalar` has a number as its exponent, and `pow.Scalar` as its base."""
    return [(x * 1).pow_(2.0) for x in xs]


def turned_in_place(*xs: Tensor) -> list[Tensor]:
    found = []
    for x in xs:
        each = x * 2
        before = each.detach()
        found += [before, each.t_()]
    return found


def several_at_once(*xs: Tensor) -> list[Tensor]:
    made = [x * 2 for x in xs]
    torch._foreach_add_(made, 1.0)
    return made


def into_a_result(*xs: Tensor) -> list[Tensor]:
    blank = torch.empty(3)
    torch.full((3,), 2.0, out=blank)
    return [(x * blank).sin() for x in xs]


def single_numbers(*xs: Tensor) -> list[Tensor]:
    """A number of double precision is rounded before it is compared with float32."""
    tenths = [torch.tensor([0.1, 0.2, 0.3]) + 0 * x for x in xs]
    return [(x < torch.tensor(0.1 + 1e-9 * i, dtype=torch.float64)).float().sin() for i, x in enumerate(tenths)]


def lists_of_one(*xs: Tensor) -> list[Tensor]:
    return [torch.stack([x.exp()]).sum(0, keepdim=True) + torch.cat([x.exp()]) for x in xs]


def one_row_of_a_gradient(*xs: Tensor) -> list[Tensor]:
    x = xs[0].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(x[2].sin().sum() + (x**2).sum() + x.exp().sum(), x)
    return [gradient, *(y.sin() for y in xs)]


def rows_of_gradients(*xs: Tensor) -> list[Tensor]:
    """At places in no order, some of them twice, one counted from the end."""
    x = xs[0].detach().requires_grad_()
    read = [(x[place] * (1.5 + i)).sin().sum() for i, place in enumerate((2, 0, -1, 2, 1, 0, 2, 1, 0, 2))]
    (gradient,) = torch.autograd.grad(torch.stack(read).sum() + (x.T[1] ** 2).sum(), x)
    return [gradient, *(y.sin() for y in xs)]


def factors(*xs: Tensor) -> list[Tensor]:
    return [torch.linalg.cholesky(x @ x.mT + 3 * torch.eye(3)) for x in xs]


def several_results(*xs: Tensor) -> list[Tensor]:
    found = []
    for x in xs:
        most, where = x.exp().max(-1)
        found += [most, where, *x.sin().split(2)]
    return found


def rolled_numbers(*xs: Tensor) -> list[Tensor]:
    return [x.exp().sum().roll(1) for x in xs]


def complex_numbers(*xs: Tensor) -> list[Tensor]:
    return [torch.view_as_complex(x.exp()[:, :2].contiguous()).real.exp() for x in xs]


def joined(*xs: Tensor) -> list[Tensor]:
    found = [torch.stack([x.sin() for x in xs], dim) for dim in (0, 1, -1)]
    found += [torch.cat([x.sin() for x in reversed(xs)], dim) for dim in (0, 1, -1)]
    return [*found, torch.stack([x.sin() for x in xs[::3]])]


def polynomials(*xs: Tensor) -> list[Tensor]:
    """Sums within each part, and a sum over all, some of it twice."""
    parts = [1.5 + x + x * x + x**3 * i + (0.5 * i - x) for i, x in enumerate(xs)]
    total = parts[0] + parts[3]
    for part in parts:
        total = total + part
    return [total, *parts]


PROGRAMS: dict[str, tuple[Program, tuple[int, ...]]] = {
    program.__name__: (program, shape)
    for shape, programs in {
        (3,): (in_place_and_not, powers, several_at_once, into_a_result, single_numbers, lists_of_one, polynomials),
        (3, 3): (turned_in_place, one_row_of_a_gradient, rows_of_gradients, factors, several_results, rolled_numbers),
        (2, 3): (complex_numbers, joined, polynomials),
    }.items()
    for program in programs
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_are_those_of_torch(name: str) -> None:
    """To float32 rounding of sums in another order, and with the same strides."""
    program, shape = PROGRAMS[name]
    xs = rows(*shape)
    graph = recorded(program, xs)
    found, wanted = run_of(graph, [], xs), program(*(x.clone() for x in xs))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-6)
        assert one.stride() == other.stride()


def beside_the_old_state(*state: Tensor) -> list[Tensor]:
    return [*((x + 1).sin() for x in state), torch.stack(state), state[2]]


def swapped_and_turned(*state: Tensor) -> list[Tensor]:
    half = N // 2
    return [*(x.T for x in state[half:]), *(x.T for x in state[:half]), *(x.sin() for x in state)]


@pytest.mark.parametrize("program", [beside_the_old_state, swapped_and_turned])
def test_state_is_read_before_it_is_written(program: Program) -> None:
    state = rows(3, 3)
    found, wanted = run_of(recorded(program, [], state), state, []), program(*state)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_data_that_is_written_to_is_left_alone() -> None:
    assert compiling.packed(recorded(lambda *xs: [x.add_(1) * 2 for x in xs], rows(3))) is None


def test_a_check_of_one_is_a_check_of_all() -> None:
    good = [torch.eye(3) for _ in range(N)]
    graph = recorded(lambda *xs: [torch.linalg.cholesky(x) for x in xs], good)
    assert compiling.packed(graph) is not None
    assert torch.equal(run_of(graph, [], good)[4], torch.eye(3))
    with pytest.raises(RuntimeError, match="positive-definite"):
        run_of(graph, [], [*good[:5], -torch.eye(3), *good[6:]])


LAWS: list[Callable[[], Tensor]] = [
    lambda: torch.empty(3).log_normal_(),
    lambda: torch.empty(3).cauchy_(),
    lambda: torch.empty(3).bernoulli_(torch.tensor([0.1, 0.5, 0.9])),
]


@pytest.mark.parametrize("law", LAWS, ids=["log_normal_", "cauchy_", "bernoulli_"])
def test_draws_of_torchs_generator_are_each_of_its_own(law: Callable[[], Tensor]) -> None:
    """Twelve triples of coins, the least varied, are all the same with a probability below 10^-4."""
    xs = rows(3)
    found = run_of(recorded(lambda *xs: [law() + 0 * x.sin().exp() for x in xs], xs), [], xs)
    assert len({tuple(each.tolist()) for each in found}) > 1


def test_draws_that_nobody_reads_move_torchs_generator_on() -> None:
    def program(*xs: Tensor) -> list[Tensor]:
        torch.randn(3)
        return [(torch.randn(3) + x).sin() for x in xs]

    xs = rows(3)
    graph = recorded(program, xs, as_eager=True)
    assert compiling.packed(graph) is not None
    torch.manual_seed(0)
    wanted = program(*xs)
    torch.manual_seed(0)
    for one, other in zip(run_of(graph, [], xs), wanted, strict=True):
        torch.testing.assert_close(one, other)

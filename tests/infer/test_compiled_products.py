"""Products of matrices and vectors in a graph, and what is computed once in it, against products in double."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from inference.compile.once import computed_once
from tests.support.compiling import compiling

Function = Callable[..., Tensor]
_aten = torch.ops.aten


def recorded(function: Function, *given: Tensor) -> compiling.Graph:
    return compiling.record(lambda state, data: compiling.Moved([], [function(*data)]), [], given)


def operations(function: Function, *given: Tensor) -> list[object]:
    module, _ = compiling.lowered(recorded(function, *given), 1)
    return [node.target for node in module.graph.nodes]


def interpreted(function: Function, *given: Tensor) -> Tensor:
    module, _ = compiling.lowered(recorded(function, *given), 1)
    (found,) = module(torch.zeros((), dtype=torch.int64), *given)
    return found


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def rows(count: int, length: int) -> Tensor:
    return normal(count, length)


def columns(count: int, length: int) -> Tensor:
    return normal(length, count).T


def apart(count: int, length: int) -> Tensor:
    """Neither rows nor columns are contiguous."""
    return normal(2 * count, 3 * length)[1::2, 2::3]


def repeated(count: int, length: int) -> Tensor:
    return normal(1, length).expand(count, length)


SHAPES = [(0, 0), (0, 3), (3, 0), (1, 1), (1, 5_000), (5_000, 1), (31, 33), (32, 32), (10_000, 54), (54, 10_000)]


@pytest.mark.parametrize("laid_out", [rows, columns, apart, repeated])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matrix_times_vector(shape: tuple[int, int], laid_out: Callable[[int, int], Tensor]) -> None:
    """To float32 rounding: n terms may err by n / 2^24 of the sum of their absolute values (Higham 2002, eq. 3.5)."""
    given = normal(shape[0]), laid_out(*shape), normal(2, shape[1])[1]
    added, matrix, vector = (each.double() for each in given)
    size = added.abs() + matrix.abs() @ vector.abs()
    for function, wanted in (
        (lambda a, m, v: torch.mv(m, v), matrix @ vector),
        (lambda a, m, v: torch.addmv(a, m, v, beta=0.5, alpha=-2.0), 0.5 * added - 2.0 * (matrix @ vector)),
    ):
        found = interpreted(function, *given)
        assert found.shape == wanted.shape and found.dtype == torch.float32
        assert ((found - wanted).abs() <= (shape[1] + 3) * 2.0**-23 * size).all()


def test_nothing_is_read_of_what_is_added_with_no_weight() -> None:
    matrix, vector, added = normal(40, 40), normal(40), torch.full((40,), torch.nan)
    found = interpreted(lambda a, m, v: torch.addmv(a, m, v, beta=0), added, matrix, vector)
    torch.testing.assert_close(found, matrix @ vector)


def test_large_matrices_go_to_the_library() -> None:
    """The gradient by the vector is a product with the transposed matrix, and goes there too."""

    def slope(matrix: Tensor, vector: Tensor) -> Tensor:
        return torch.func.grad(lambda v: (matrix @ v).tanh().sum())(vector)

    assert operations(slope, normal(64, 16), normal(16)).count(_aten.mm.default) == 2
    assert operations(slope, normal(16, 16), normal(16)).count(_aten.mm.default) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_dtypes(dtype: torch.dtype) -> None:
    matrix, vector = normal(64, 32, dtype=dtype), normal(32, dtype=dtype)
    torch.testing.assert_close(interpreted(torch.mv, matrix, vector), matrix @ vector)


def stored(function: Function, *given: Tensor) -> list[Sequence[int]]:
    """Shapes of what is computed once."""
    module, _ = compiling.lowered(recorded(function, *given), 1)
    computed_once(module)
    return [list(each.args[1]) for each in module.graph.nodes if each.target is _aten.as_strided.default]


def test_what_something_larger_reads_is_computed_once() -> None:
    matrix, row, number = normal(40, 30), normal(30), torch.tensor(2.0)
    assert stored(lambda m, r, n: m * r.exp() * n.log(), matrix, row, number) == [[30], []]
    assert stored(lambda m, r: m * r.exp()[2], matrix, row) == [[30]]  # one row of which is read
    assert stored(lambda m, r: m.exp() + r, matrix, row) == []  # an input has memory
    assert stored(lambda r, n: r.exp().log1p() * r, row, number) == []  # all of one size


def test_computed_once_in_machine_code(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Inductor finds that a product does nothing, and what is left of it is a view with an offset."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))

    def program(matrix: Tensor, row: Tensor) -> Tensor:
        part, whole = row[3:], row[7]
        read = part * torch.ones(5), part**1, part + torch.zeros(5), part.exp(), whole * torch.ones(()), whole.exp()
        turned = (matrix.T.exp() * part[:, None]).contiguous()
        large = matrix.repeat(40, 5)
        product = large @ (row.repeat(4)[:25]).tanh()
        return torch.cat([*((matrix * each).sum(0) for each in read), turned.sum(1), product, large.T @ product.tanh()])

    matrix, row = normal(6, 5), normal(8)
    graph = recorded(program, matrix, row)
    (found,) = compiling.build(graph)([torch.zeros((), dtype=torch.int64), matrix, row])
    torch.testing.assert_close(found.double(), program(matrix.double(), row.double()), rtol=1e-4, atol=1e-4)

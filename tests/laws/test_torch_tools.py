"""`torch.func`, `torch.compile` and `make_fx` go through construction, densities and draws of every family."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import ppl_dist as dist
from ppl_dist.constraints import LowerCholesky, Symmetric
from tests.support.families import Case, Row, each, each_family, smooth


@each("vmap: construction")
def test_vmap_over_construction_and_log_prob(row: Row, case: Case) -> None:
    params = case.tensors()
    x = row.points(case)[:1].squeeze(0)
    stacked = [torch.stack([value] * 3) for value in params.values()]
    values = torch.stack([x] * 3)

    def log_prob(x: Tensor, *given: Tensor) -> Tensor:
        return row.new(**dict(zip(params, given, strict=True)), **case.static).log_prob(x)

    mapped = torch.func.vmap(log_prob)(values, *stacked)
    expected = row.make(case).log_prob(x)
    torch.testing.assert_close(mapped, expected.expand((3, *expected.shape)))


@each("vmap: tree")
def test_vmap_over_the_distribution_itself(row: Row, case: Case) -> None:
    d = row.make(case)
    params = {name: torch.stack([value] * 3) for name, value in full(row, case).items()}
    batched = row.new(**params, **case.static)
    x = torch.stack([row.points(case)[0]] * 3)
    seen = []

    def log_prob(d: dist.Distribution, x: Tensor) -> Tensor:
        seen.append((type(d), d.batch_shape))
        return d.log_prob(x)

    mapped = torch.func.vmap(log_prob)(batched, x)
    assert seen == [(type(d), d.batch_shape)]
    torch.testing.assert_close(mapped, d.log_prob(x))


def full(row: Row, case: Case) -> dict[str, Tensor]:
    """The parameters at the full batch shape, as a distribution stores them."""
    d = row.make(case)
    return {name: row.read(d, name) for name in case.params}


@each("vmap: sample", where=lambda row, case: case is row.cases[0])
def test_vmap_over_draws(row: Row, case: Case) -> None:
    params = [torch.stack([value] * 3) for value in case.tensors().values()]

    def draw(*given: Tensor) -> Tensor:
        return row.new(**dict(zip(case.params, given, strict=True)), **case.static).sample()

    assert torch.func.vmap(draw, randomness="different")(*params).shape == (3, *row.make(case).shape())


def total(row: Row, case: Case) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """The summed log density as a function of the parameters, and the parameters."""
    x, names = row.points(case)[2:4], list(case.params)

    def log_prob(*given: Tensor) -> Tensor:
        return row.new(**dict(zip(names, given, strict=True)), **case.static).log_prob(x).sum()

    return log_prob, tuple(case.tensors().values())


def first_and_smooth(row: Row, case: Case) -> bool:
    return case is row.cases[0] and row.kind != "point" and smooth(row, case)


@each("func: grad", where=first_and_smooth)
def test_func_grad_is_the_gradient(row: Row, case: Case) -> None:
    log_prob, params = total(row, case)
    leaves = [value.requires_grad_() for value in case.tensors().values()]
    expected = torch.autograd.grad(log_prob(*leaves), leaves, allow_unused=True, materialize_grads=True)
    got = torch.func.grad(log_prob, argnums=tuple(range(len(params))))(*params)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)  # torch's forward mode does that
@each("func: hessian", where=first_and_smooth)
def test_func_hessian_is_the_slope_of_the_gradient(row: Row, case: Case) -> None:
    """Forward mode over reverse mode: each block against a symmetric difference of gradients."""
    log_prob, params = total(row, case)
    numbers = tuple(range(len(params)))
    blocks = torch.func.hessian(log_prob, argnums=numbers)(*params)
    gradient = torch.func.grad(log_prob, argnums=numbers)
    for j, value in enumerate(params):
        if row.constraint(case, list(case.params)[j]).is_discrete:
            continue
        direction = torch.full_like(value, 1e-6) if value.dim() < 1 else torch.linspace(0.5, 1, value.numel()) * 1e-6
        direction = direction.to(value.dtype).reshape(value.shape)
        kind = row.constraint(case, list(case.params)[j])
        if isinstance(kind, Symmetric):
            direction = direction + direction.mT
        elif isinstance(kind, LowerCholesky):
            direction = direction.tril()
        ahead = gradient(*params[:j], value + direction, *params[j + 1 :])
        behind = gradient(*params[:j], value - direction, *params[j + 1 :])
        for i in numbers:
            if row.constraint(case, list(case.params)[i]).is_discrete:
                continue
            along = (
                (blocks[i][j] * direction).sum(tuple(range(-value.dim(), 0)))
                if value.dim()
                else blocks[i][j] * direction
            )
            torch.testing.assert_close(along, (ahead[i] - behind[i]) / 2, rtol=1e-4, atol=1e-11)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def one_per_parameterisation(row: Row, case: Case) -> bool:
    same = [other for other in row.cases if other.params.keys() == case.params.keys()]
    return case is same[0]


def as_function(row: Row, case: Case) -> tuple[Callable[..., Tensor], list[Tensor]]:
    names = list(case.params)

    def log_prob(x: Tensor, *given: Tensor) -> Tensor:
        return row.new(**dict(zip(names, given, strict=True)), **case.static).log_prob(x)

    return log_prob, [row.points(case), *case.tensors().values()]


def as_draw(row: Row, case: Case) -> tuple[Callable[..., Tensor], list[Tensor]]:
    names = list(case.params)

    def draw(*given: Tensor) -> Tensor:
        return row.new(**dict(zip(names, given, strict=True)), **case.static).sample((4,))

    return draw, [*case.tensors().values()]


@each("compile: log_prob", where=one_per_parameterisation)
def test_compile_log_prob(row: Row, case: Case) -> None:
    function, arguments = as_function(row, case)
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*arguments), function(*arguments))


def draws_one_per_parameterisation(row: Row, case: Case) -> bool:
    return one_per_parameterisation(row, case) and "long" not in case.traits


@each("compile: sample", where=draws_one_per_parameterisation)
def test_compile_sample(row: Row, case: Case) -> None:
    function, arguments = as_draw(row, case)
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    torch.manual_seed(0)
    expected = function(*arguments)
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(*arguments), expected)


@each("make_fx: log_prob", where=one_per_parameterisation)
def test_make_fx_log_prob(row: Row, case: Case) -> None:
    """Traced with validation at its default; the graph answers for other values too."""
    function, arguments = as_function(row, case)
    graph = make_fx(function)(*arguments)
    torch.testing.assert_close(graph(*arguments), function(*arguments))
    moved = [arguments[0].flip(0), *arguments[1:]]
    torch.testing.assert_close(graph(*moved), function(*moved))


@each("make_fx: sample", where=draws_one_per_parameterisation)
def test_make_fx_sample(row: Row, case: Case) -> None:
    function, arguments = as_draw(row, case)
    graph = make_fx(function)(*arguments)
    torch.manual_seed(0)
    expected = function(*arguments)
    torch.manual_seed(0)
    torch.testing.assert_close(graph(*arguments), expected)


@each_family("compile: validation", where=lambda row: bool(row.bad))
def test_compiling_leaves_validation_on(row: Row, case: Case) -> None:
    function, arguments = as_function(row, case)
    before = dist.validation_enabled_now()
    torch.compile(function, fullgraph=True, backend="eager")(*arguments)
    assert dist.validation_enabled_now() is before is True
    bad = {k: torch.tensor(v, dtype=torch.float64) for k, v in {**case.params, **row.bad[0]}.items()}
    with pytest.raises(ValueError, match=row.name):
        row.new(**bad, **case.static)

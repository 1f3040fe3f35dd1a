"""Densities of vectors against mpmath at 50 digits, within the bounds of the law for numbers: tests/laws/test_accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from ppl_dist import special
from tests.accuracy.measure import ROUNDINGS
from tests.support.exact import mp, xlogy
from tests.support.table import STATED

F64, F32 = torch.float64, torch.float32
DTYPES = pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
Formula = Callable[[list[Any]], Any]


def allowed(formula: Formula, inputs: Sequence[float], dtype: torch.dtype) -> tuple[Any, float]:
    """The exact value at these numbers, and the error that is allowed: the stated one or that of rounded inputs."""
    numbers = [mp.mpf(v) for v in inputs]
    exact, step = formula(numbers), mp.mpf(10) ** -22
    moved = (formula([*numbers[:i], v * (1 + step), *numbers[i + 1 :]]) for i, v in enumerate(numbers) if v != 0)
    slack = mp.fsum(abs(value - exact) for value in moved) / step
    stated = STATED["log_prob"][0 if dtype == F64 else 1] * max(1, abs(exact))
    return exact, float(max(stated, ROUNDINGS * torch.finfo(dtype).eps * slack))


def hold(got: Tensor, formula: Formula, rows: Sequence[Sequence[float]]) -> None:
    for value, inputs in zip(got.tolist(), rows, strict=True):
        exact, bound = allowed(formula, inputs, got.dtype)
        assert abs(value - exact) <= bound, (inputs, value, float(exact), bound)


def dirichlet(numbers: list[Any]) -> Any:
    half = len(numbers) // 2
    a, x = numbers[:half], numbers[half:]
    terms = [xlogy(c - 1, v) - mp.loggamma(c) for c, v in zip(a, x, strict=True)]
    return mp.fsum(terms) + mp.loggamma(mp.fsum(a))


CONCENTRATIONS = (
    (1e-8, 1.0, 1e8),
    (1e-8, 1e-8, 1e-8),
    (1e8, 1e8, 1e8),
    (1.0, 1.0, 1.0),
    (0.5, 3.0, 7.0),
    (0.5, 0.5, 1e4),
    (30.0, 1e-3, 1e4, 1e8),
    (5.0, 40.0, 1e3),
    (1e4, 1.0),
    (0.3,) * 9,
    (1e6,) * 20,
)


def near_corners(a: Tensor) -> Iterator[Tensor]:
    """The mean, the middle, and vectors with one coordinate that leaves next to nothing for others, or has it."""
    k = len(a)
    yield (a / a.sum()).clamp(min=1e-38)
    yield torch.full_like(a, 1 / k)
    for i in range(min(k, 4)):
        for small in (1.2e-38, 1e-20, 1e-7, 0.01):
            low = torch.full_like(a, (1 - small) / (k - 1))
            low[i] = small
            yield low
            high = torch.full_like(a, small)
            high[i] = 1 - (k - 1) * small
            yield high


@DTYPES
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_dirichlet_density(concentration: tuple[float, ...], dtype: torch.dtype) -> None:
    a = torch.tensor(concentration, dtype=dtype)
    x = torch.stack(list(near_corners(a)))
    hold(dist.Dirichlet(a, validate_args=False).log_prob(x), dirichlet, [a.tolist() + row for row in x.tolist()])


@DTYPES
def test_dirichlet_density_in_one_batch(dtype: torch.dtype) -> None:
    """As above, where every row takes the form that the largest one needs."""
    a = torch.tensor([c for c in CONCENTRATIONS if len(c) == 3], dtype=dtype)
    x = torch.stack([torch.stack(list(near_corners(row))) for row in a], 1)
    got = dist.Dirichlet(a, validate_args=False).log_prob(x)
    for i in range(len(a)):
        hold(got[:, i], dirichlet, [a[i].tolist() + row for row in x[:, i].tolist()])


@pytest.mark.parametrize("concentration", [(0.8, 2.0, 3.0), (0.8, 200.0, 1e6)])
def test_dirichlet_gradient_next_to_a_face(concentration: tuple[float, ...]) -> None:
    """(a - 1)/x at a subnormal x: -2e38 is a number of float32, 1/x is none."""
    x = torch.tensor([1e-39, 0.25, 0.75], requires_grad=True)
    (slope,) = torch.autograd.grad(dist.Dirichlet(torch.tensor(concentration), validate_args=False).log_prob(x), x)
    want = (torch.tensor(concentration).double() - 1) / x.detach().double()
    torch.testing.assert_close(slope.double(), want, rtol=1e-5, atol=0.0)


def multi_log_beta(numbers: list[Any]) -> Any:
    return mp.fsum(mp.loggamma(c) for c in numbers) - mp.loggamma(mp.fsum(numbers))


@DTYPES
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_multi_log_beta(concentration: tuple[float, ...], dtype: torch.dtype) -> None:
    a = torch.tensor([concentration], dtype=dtype)
    hold(special.multi_log_beta(a), multi_log_beta, a.tolist())


def multivariate_t(n: int) -> Formula:
    def formula(numbers: list[Any]) -> Any:
        df, x, loc, entries = numbers[0], numbers[1 : n + 1], numbers[n + 1 : 2 * n + 1], iter(numbers[2 * n + 1 :])
        z: list[Any] = []
        log_det = mp.mpf(0)
        for i in range(n):
            *row, diagonal = (next(entries) for _ in range(i + 1))
            z.append((x[i] - loc[i] - mp.fsum(v * w for v, w in zip(row, z, strict=True))) / diagonal)
            log_det += mp.log(diagonal)
        constant = mp.loggamma((df + n) / 2) - mp.loggamma(df / 2) - mp.mpf(n) / 2 * mp.log(df * mp.pi) - log_det
        return constant - (df + n) / 2 * mp.log1p(mp.fsum(v * v for v in z) / df)

    return formula


FACTORS = (
    ((1.0, 0.0), (0.0, 1.0)),
    ((2.0, 0.0, 0.0), (0.5, 1.0, 0.0), (-1.0, 0.25, 3.0)),
    ((1e-8, 0.0), (1e-8, 1e8)),
)


@DTYPES
@pytest.mark.parametrize("factor", FACTORS)
def test_multivariate_t_density(factor: tuple[tuple[float, ...], ...], dtype: torch.dtype) -> None:
    scale, n = torch.tensor(factor, dtype=dtype), len(factor)
    loc = torch.arange(n).to(dtype)
    units = torch.tensor([[1.0, -0.5, 0.25], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0]], dtype=dtype)[:, :n]
    far = torch.tensor([0.0, 1e-30, 1e-3, 1.0, 30.0, 1e12, 1e20, 1e29, 1e38], dtype=dtype)
    x = (loc + far[:, None, None] * (units @ scale.T)).clamp(-3e38, 3e38).reshape(-1, n)
    lower = [v for i, row in enumerate(scale.tolist()) for v in row[: i + 1]]
    for df in (1e-8, 1e-3, 1.0, 7.0, 30.0, 1e4, 1e8):
        freedom = torch.tensor(df, dtype=dtype)
        got = dist.MultivariateStudentT(freedom, loc, scale, validate_args=False).log_prob(x)
        hold(got, multivariate_t(n), [[freedom.item(), *row, *loc.tolist(), *lower] for row in x.tolist()])


def test_multivariate_t_far_out_has_finite_gradients() -> None:
    x = torch.tensor([[1e30, -1e30], [0.5, 1.0]], requires_grad=True)
    df, loc, scale = torch.tensor(3.0), torch.zeros(2), torch.eye(2)
    leaves = [v.requires_grad_() for v in (df, loc, scale)]
    value = dist.MultivariateStudentT(*leaves, validate_args=False).log_prob(x)
    gradients = torch.autograd.grad(value.sum(), [x, *leaves])
    assert all(g.isfinite().all() for g in gradients)
    torch.testing.assert_close(gradients[0][0], torch.tensor([-2.5e-30, 2.5e-30]))

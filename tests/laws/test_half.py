"""Parameters in half precision: every elementwise family draws and scores on the CPU, rounded once at the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ppl_dist.constraints.scalar import bounds_of
from tests.support.families import Case, Row, each_family, on_line

HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])


def elementwise(row: Row) -> bool:
    """Families of numbers; what is built around another one rounds as often as its parts do."""
    return row.kind != "point" and row.build is None and not row.make(row.cases[0]).event_shape


def rounded(row: Row, case: Case, dtype: torch.dtype) -> Tensor:
    """Points of the support that rounding moves neither outside it nor onto an end, where the density may jump."""
    exact, support = row.points(case), row.make(case).support
    x = exact.to(dtype)
    low, high = bounds_of(support)
    at_end, was_at_end = (((v == low) | (v == high)) & torch.isfinite(v) for v in (x, exact))
    return x[(support.check(x) & ~(at_end & ~was_at_end)).reshape(len(x), -1).all(-1)]


@HALVES
@each_family("half: log_prob", where=elementwise)
def test_log_prob_is_exact_to_the_last_rounding(row: Row, case: Case, dtype: torch.dtype) -> None:
    d = row.make(case, dtype)
    x = rounded(row, case, dtype)
    got = d.log_prob(x)
    assert got.dtype == dtype
    expected = row.judge(case, dtype).log_prob(x.double().numpy())
    np.testing.assert_allclose(got.double().numpy(), expected, rtol=torch.finfo(dtype).eps, atol=1e-5)


@HALVES
@each_family("half: sample", where=elementwise)
def test_draws_are_of_the_dtype_and_have_a_density(row: Row, case: Case, dtype: torch.dtype) -> None:
    d = row.make(case, dtype)
    x = d.sample((500,))
    whole = row.make(case).sample().dtype
    assert x.dtype == (dtype if whole.is_floating_point else whole)
    assert torch.isfinite(x.double()).all()
    assert torch.isfinite(d.log_prob(x)).all()  # checked: a draw outside the support would be an error
    wide = row.make(case).sample((20_000,)).double()
    spread = wide.std(0) + 1e-3 * wide.abs().mean(0)
    assert ((x.double().median(0).values - wide.median(0).values).abs() <= 0.4 * spread + 1).all()


@HALVES
@each_family("half: gradient", where=lambda row: elementwise(row) and row.kind == "continuous")
def test_gradients_come_back_in_half_precision(row: Row, case: Case, dtype: torch.dtype) -> None:
    leaves = {name: value.requires_grad_() for name, value in case.tensors(dtype).items()}
    d = row.new(**leaves, **case.static)
    d.log_prob(row.points(case, dtype)[3:6]).sum().backward()
    assert all(leaf.grad is not None and leaf.grad.dtype == dtype for leaf in leaves.values())
    assert any((leaf.grad != 0).any() for leaf in leaves.values() if leaf.grad is not None)
    if d.has_rsample:
        assert d.rsample((3,)).requires_grad


@HALVES
@each_family("half: cdf", where=lambda row: elementwise(row) and on_line(row, row.cases[0]))
def test_distribution_functions(row: Row, case: Case, dtype: torch.dtype) -> None:
    d, x = row.make(case, dtype), rounded(row, case, dtype)
    got = d.cdf(x)
    assert got.dtype == dtype
    np.testing.assert_allclose(
        got.double().numpy(), row.judge(case, dtype).cdf(x.double().numpy()), rtol=torch.finfo(dtype).eps, atol=1e-6
    )


def test_to_changes_how_it_is_computed() -> None:
    from ppl_dist import Gamma

    d = Gamma(torch.tensor(2.0, dtype=torch.bfloat16), 1.0)
    assert d.rate.dtype == d.sample().dtype == torch.bfloat16
    assert d.to(torch.float32).sample().dtype == torch.float32
    assert d.to(torch.float32).to(torch.float16).log_prob(torch.tensor(1.0, dtype=torch.float16)).dtype == torch.float16
    assert d.expand((3,)).sample().dtype == torch.bfloat16
    x, log_prob = d.rsample_and_log_prob((2,))
    assert x.dtype == log_prob.dtype == torch.bfloat16
    assert d.log_prob(torch.tensor(1.0)).dtype == torch.float32


@HALVES
def test_rounding_leaves_draws_off_the_ends_where_a_density_is_infinite(dtype: torch.dtype) -> None:
    from ppl_dist import Beta, Gamma, LogNormal

    for d in (Beta(0.2, 0.2), Gamma(0.05, 1.0), LogNormal(0.0, 20.0)):
        half = d.to(dtype)
        x = half.sample((5000,))
        assert torch.isfinite(x).all() and torch.isfinite(half.log_prob(x)).all()

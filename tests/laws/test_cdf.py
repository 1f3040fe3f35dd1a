"""Distribution functions: against exact values, as integrals of the density, inverted, and far out in the tails."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ppl_dist import Truncated
from tests.support.families import Case, Row, continuous, each, on_line
from tests.support.references import Line


def line_and_continuous(row: Row, case: Case) -> bool:
    return continuous(row, case) and on_line(row, case)


def discrete(row: Row, case: Case) -> bool:
    return row.kind == "discrete" and on_line(row, case)


@each("cdf", where=on_line)
def test_against_exact_values(row: Row, case: Case) -> None:
    d, judge, x = row.make(case), row.judge(case), row.points(case)
    for ours, exact in [(d.cdf, judge.cdf), (d.survival_function, judge.sf)]:
        np.testing.assert_allclose(ours(x).numpy(), exact(x.numpy()), rtol=1e-9, atol=1e-300)
    for ours, exact in [(d.log_cdf, judge.log_cdf), (d.log_survival_function, judge.log_sf)]:
        np.testing.assert_allclose(ours(x).numpy(), exact(x.numpy()), rtol=1e-9, atol=1e-13)


@each("cdf: slope", where=line_and_continuous)
def test_the_slope_of_the_cdf_is_the_density(row: Row, case: Case) -> None:
    d = row.make(case)
    x = row.points(case).requires_grad_()
    (slope,) = torch.autograd.grad(d.cdf(x).sum(), x)
    np.testing.assert_allclose(slope.numpy(), d.log_prob(x).exp().detach().numpy(), rtol=1e-7)


@each("cdf: ends", where=on_line)
def test_beyond_the_support_the_cdf_is_zero_or_one(row: Row, case: Case) -> None:
    d = row.make(case, validate_args=False)
    far = torch.full(d.batch_shape, torch.inf, dtype=torch.float64)
    assert (d.cdf(far) == 1).all() and (d.survival_function(far) == 0).all()
    assert (d.cdf(-far) == 0).all() and (d.survival_function(-far) == 1).all()


@each("icdf", where=line_and_continuous)
def test_icdf_inverts_the_cdf(row: Row, case: Case) -> None:
    d, judge = row.make(case), row.judge(case)
    levels = np.array([1e-3, 0.1, 0.25, 0.5, 0.7, 0.95, 0.999])
    p = torch.as_tensor(levels).reshape((-1,) + (1,) * len(d.batch_shape)).expand((-1, *d.batch_shape))
    np.testing.assert_allclose(d.icdf(p).numpy(), judge.quantile(levels), rtol=1e-8)
    np.testing.assert_allclose(d.cdf(d.icdf(p)).numpy(), p.numpy(), rtol=1e-7)
    np.testing.assert_allclose(d.isf(1 - p).numpy(), d.icdf(p).numpy(), rtol=1e-8)
    assert torch.equal(d.quantile(p), d.icdf(p))
    np.testing.assert_allclose(d.median.numpy(), judge.quantile(np.array([0.5]))[0], rtol=1e-8, atol=1e-12)


@each("icdf: ends", where=line_and_continuous)
def test_icdf_at_zero_and_one_is_the_edge_of_the_support(row: Row, case: Case) -> None:
    d, judge = row.make(case), row.judge(case)
    zero, one = torch.zeros(d.batch_shape, dtype=torch.float64), torch.ones(d.batch_shape, dtype=torch.float64)
    low, high = judge.quantile(np.array([0.0, 1.0]))
    np.testing.assert_array_equal(d.icdf(zero).numpy(), low)
    np.testing.assert_array_equal(d.icdf(one).numpy(), high)


@each("icdf: counts", where=discrete)
def test_icdf_of_counts_is_the_smallest_that_reaches_the_level(row: Row, case: Case) -> None:
    d, judge = row.make(case), row.judge(case)
    levels = np.array([1e-3, 0.123, 0.337, 0.612, 0.955, 0.9991])
    p = torch.as_tensor(levels).reshape((-1,) + (1,) * len(d.batch_shape)).expand((-1, *d.batch_shape))
    np.testing.assert_array_equal(d.icdf(p).double().numpy(), judge.quantile(levels))


@each("cdf: between counts", where=discrete)
def test_between_counts_the_cdf_is_flat(row: Row, case: Case) -> None:
    d, x = row.make(case), row.points(case)
    torch.testing.assert_close(d.cdf(x + 0.5), d.cdf(x), rtol=0, atol=0)
    torch.testing.assert_close(d.survival_function(x + 0.5), d.survival_function(x), rtol=0, atol=0)


@each("mass between", where=lambda row, case: line_and_continuous(row, case) and case is row.cases[0])
def test_a_density_cut_to_an_interval_is_divided_by_its_mass(row: Row, case: Case) -> None:
    d, x = row.make(case), row.points(case)
    low, value, high = x[len(x) // 4], x[len(x) // 2], x[3 * len(x) // 4]
    cut = Truncated(d, low, high).log_prob(value)
    torch.testing.assert_close(cut, d.log_prob(value) - (d.cdf(high) - d.cdf(low)).log(), rtol=1e-10, atol=1e-10)


TAILS = np.array([1e-8, 1e-20, 1e-100, 1e-250])


def far(levels: np.ndarray, judge: Line) -> torch.Tensor:
    """scipy's quantiles at the levels of the tails, kept to where floats can tell the points apart."""
    low, high = np.nextafter(judge.quantile(np.array([0.0])), 1), judge.quantile(np.array([1.0]))
    low = np.where(judge.quantile(np.array([0.0])) == 0, 1e-300, low)
    return torch.as_tensor(np.clip(np.clip(np.nan_to_num(levels), low, high), *judge.ends))


def assert_undone(log_tail: Callable[[np.ndarray], np.ndarray], x: np.ndarray, q: np.ndarray, judge: Line) -> None:
    """log q lies between the exact log tails a few floats to either side of x."""
    low, high = judge.quantile(np.array([0.0, 1.0]))
    step = 8 * np.finfo(float).eps * np.abs(x) + 1e-300
    around = np.stack([log_tail(np.clip(moved, low, high)) for moved in (x - step, x + step)])
    slack = 1e-9 * np.abs(np.log(q))
    assert np.all((around.min(0) - slack <= np.log(q)) & (np.log(q) <= around.max(0) + slack)), (around, np.log(q))


@each("tails: upper", where=line_and_continuous)
def test_upper_tail(row: Row, case: Case) -> None:
    """The log of the survival function keeps its digits where the survival function is tiny, and isf undoes it."""
    d, judge = row.make(case), row.judge(case)
    x = far(judge.upper_quantile(TAILS), judge)
    np.testing.assert_allclose(d.log_survival_function(x).numpy(), judge.log_sf(x.numpy()), rtol=1e-9, atol=1e-14)
    q = torch.as_tensor(TAILS).reshape((-1,) + (1,) * len(d.batch_shape)).expand((-1, *d.batch_shape))
    x = d.isf(q)
    assert_undone(judge.log_sf, x.numpy(), q.numpy(), judge)


@each("tails: lower", where=line_and_continuous)
def test_lower_tail(row: Row, case: Case) -> None:
    d, judge = row.make(case), row.judge(case)
    x = far(judge.quantile(TAILS), judge)
    np.testing.assert_allclose(d.log_cdf(x).numpy(), judge.log_cdf(x.numpy()), rtol=1e-9, atol=1e-14)
    q = torch.as_tensor(TAILS).reshape((-1,) + (1,) * len(d.batch_shape)).expand((-1, *d.batch_shape))
    x = d.icdf(q)
    assert_undone(judge.log_cdf, x.numpy(), q.numpy(), judge)


@each("tails: beyond floats", where=line_and_continuous)
def test_log_sf_beyond_the_smallest_float(row: Row, case: Case) -> None:
    """Three times as far out as the 1e-250 quantile: many of these probabilities have no float of their own."""
    d, judge = row.make(case), row.judge(case)
    edge = judge.quantile(np.array([1.0]))
    x = torch.as_tensor(
        np.where(np.isinf(edge), 3 * judge.upper_quantile(np.array([1e-250])), judge.quantile(np.array([0.999])))
    )
    x = torch.minimum(x, torch.as_tensor(np.minimum(judge.ends[1], 1e280)))
    np.testing.assert_allclose(d.log_survival_function(x).numpy(), judge.log_sf(x.numpy()), rtol=1e-9)

"""`log_prob` is the log density of the reference, and the densities add up to one."""

from __future__ import annotations

import math

import numpy as np
import torch

from ppl_dist import biject_to
from ppl_dist.shapes import unflatten_mask
from tests.support.families import Case, Row, continuous, each, on_line


@each("log_prob")
def test_log_prob_in_double_precision(row: Row, case: Case) -> None:
    x = row.points(case)
    expected = row.judge(case).log_prob(x.double().numpy())
    np.testing.assert_allclose(row.make(case).log_prob(x).numpy(), expected, rtol=1e-10, atol=1e-10)


@each("log_prob float32")
def test_log_prob_in_single_precision(row: Row, case: Case) -> None:
    """Within a few roundings of the terms, and of the inputs: an input rounded moves the density by its slope."""
    eps = torch.finfo(torch.float32).eps
    x = row.points(case, torch.float32)
    got = row.make(case, torch.float32).log_prob(x)
    assert got.dtype == torch.float32
    expected = row.judge(case, torch.float32).log_prob(x.double().numpy())
    leaf = x.double().requires_grad_()
    log_prob = row.make(case)._log_prob(leaf)  # unchecked: rounded to single precision, a row of length one has another
    slope = torch.autograd.grad(log_prob.sum(), leaf)[0] if log_prob.requires_grad else torch.zeros_like(leaf)
    moved = (slope * leaf.detach()).abs()
    moved = moved.flatten(moved.dim() - row.make(case).event_dim).sum(-1) if row.make(case).event_dim else moved
    allowed = 16 * eps * (1 + np.abs(expected) + moved.nan_to_num().numpy())
    with np.errstate(invalid="ignore"):
        error = np.abs(got.double().numpy() - expected)
    assert np.all((error <= allowed) | (got.double().numpy() == expected)), (error, allowed)


NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


@each("total mass: line", where=lambda row, case: continuous(row, case) and on_line(row, case))
def test_mass_on_the_line(row: Row, case: Case) -> None:
    """Integrates exp(log_prob) in the unconstrained coordinate, between far quantiles, panel by panel."""
    d, judge = row.make(case), row.judge(case)
    levels = np.concatenate([10.0 ** -np.arange(9, 1, -1), np.linspace(0.02, 0.98, 33), 1 - 10.0 ** -np.arange(2, 10)])
    x = torch.as_tensor(np.clip(judge.panels(levels), *judge.ends))
    transform = biject_to(d.support)
    edges = transform.inv(x)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    u = middle + half * torch.as_tensor(NODES).reshape((-1,) + (1,) * middle.dim())
    y, log_det = transform.call_and_log_det(u)
    weights = torch.as_tensor(WEIGHTS).reshape((-1,) + (1,) * middle.dim())
    # below an upper end the coordinate runs backwards
    mass = (weights * half.abs() * (d.log_prob(y) + log_det).exp()).sum((0, 1))
    expected = judge.cdf(x[-1].numpy()) - judge.cdf(x[0].numpy())
    np.testing.assert_allclose(mass.numpy(), expected, rtol=1e-7)


def few_coordinates(row: Row, case: Case) -> bool:
    return continuous(row, case) and not on_line(row, case) and "many" not in case.traits


@each("total mass: plane", where=few_coordinates)
def test_mass_in_the_plane(row: Row, case: Case) -> None:
    """Trapezoids over unconstrained space, whitened by the draws' own spread: exact for smooth tails."""
    d = row.make(case)[(0,) * len(row.make(case).batch_shape)]
    transform = biject_to(d.support)
    u = transform.inv(d.sample((4000,)))
    shape, u = u.shape[1:], u.flatten(1)
    dims = u.shape[-1]
    scale = torch.linalg.cholesky(u.mT.cov().reshape(dims, dims))
    axis = torch.linspace(-16, 16, 401 if dims < 3 else 81, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * dims).reshape(-1, dims)
    y, log_det = transform.call_and_log_det((u.mean(0) + grid @ scale.mT).reshape(-1, *shape))
    log_det = log_det if log_det.dim() == 1 else log_det.sum(-1)
    inside = d.support.check(y)
    middle = y[len(y) // 2]  # stands in for what rounding put outside
    log_prob = torch.where(inside, d.log_prob(torch.where(unflatten_mask(inside, d.event_dim), y, middle)), -math.inf)
    cell = (axis[1] - axis[0]) ** dims * scale.diagonal().prod()
    torch.testing.assert_close(
        (log_prob + log_det).exp().sum() * cell, torch.ones((), dtype=y.dtype), rtol=1e-5, atol=0
    )


@each("total mass: counts", where=lambda row, case: row.kind == "discrete" and on_line(row, case))
def test_mass_of_counts(row: Row, case: Case) -> None:
    d = row.make(case, validate_args=False)  # entries may end at different counts: what lies above has no mass
    top = int(np.max(row.judge(case).quantile(np.array([1 - 1e-15]))))
    k = torch.arange(top + 6, dtype=torch.float64)
    k = k.reshape((-1,) + (1,) * len(d.batch_shape))
    mass = d.log_prob(k.expand((-1, *d.batch_shape))).exp().sum(0)
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-10, atol=0)


@each("enumerate_support", where=lambda row, case: row.has("enumerate_support", case))
def test_enumerated_support_is_all_of_it(row: Row, case: Case) -> None:
    d = row.make(case)
    values = d.enumerate_support()
    assert values.shape[1:] == d.batch_shape + d.event_shape
    assert len(torch.unique(values, dim=0)) == len(values)
    mass, inside = d.log_prob(values).exp(), d.support.check(values)
    assert inside.reshape(len(values), -1).any(1).all()  # of some entry: counts of different ends share one list
    assert (mass[~inside] == 0).all()
    torch.testing.assert_close(mass.sum(0), torch.ones_like(mass[0]))
    slim = d.enumerate_support(expand=False)
    assert slim.shape == (len(values),) + (1,) * len(d.batch_shape) + d.event_shape
    assert (slim == values).all()


@each("entropy", where=lambda row, case: row.has("entropy"))
def test_entropy(row: Row, case: Case) -> None:
    expected = row.judge(case).entropy()
    np.testing.assert_allclose(row.make(case).entropy().numpy(), expected, rtol=1e-9, atol=1e-10)


@each("mode", where=lambda row, case: row.has("mode"))
def test_no_point_is_likelier_than_the_mode(row: Row, case: Case) -> None:
    d = row.make(case, validate_args=False)
    mode = d.mode
    assert mode.shape == d.batch_shape + d.event_shape
    rivals = torch.cat([row.points(case), d.sample((200,)).to(mode.dtype)])
    at_mode = d.log_prob(mode)
    assert ((d.log_prob(rivals) <= at_mode + 1e-9 * (1 + at_mode.abs())) | mode_is_missing(mode, d.event_dim)).all()


def mode_is_missing(mode: torch.Tensor, event_dim: int) -> torch.Tensor:
    """Where the density has no single peak, the mode is nan."""
    missing = mode.isnan()
    return missing.flatten(missing.dim() - event_dim).any(-1) if event_dim else missing

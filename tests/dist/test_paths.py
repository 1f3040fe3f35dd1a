"""How draws move with the parameters, over parameters from 1e-3 to 1e6.

A number drawn as a function of one noise stays the quantile of one probability, so that dx/dt = -(dF/dt) / f, with F
our own distribution function in double precision, whose derivatives other tests hold. A draw made of two noises moves
so on average: what has an expectation in closed form is compared there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from tests.support.statistics import assert_mean

N = 1500
TINY, LARGE, HUGE = 1e-3, 1e3, 1e6


def _mixture(loc: Tensor, weight: Tensor) -> Any:
    parts = dist.Normal(torch.stack([loc, -loc], -1), 1.0)
    return dist.MixtureSameFamily(dist.Categorical(probs=torch.stack([weight, 1 - weight], -1)), parts)


def _round_the_circle(concentration: Tensor) -> Any:
    return dist.VonMises(torch.zeros_like(concentration), concentration)


def _truncated(concentration: Tensor, rate: Tensor) -> Any:
    return dist.Truncated(dist.Gamma(concentration, rate), 1.0, 3.0)


def _far(df: Tensor, scale: Tensor) -> Any:
    return dist.Truncated(dist.StudentT(df, 0.0, scale), 30.0, 40.0)


ONE_NOISE: list[tuple[Callable[..., Any], list[tuple[float, ...]]]] = [
    (dist.Gamma, [(TINY, 1.0), (0.01, TINY), (0.29, 1.0), (0.31, 1.0), (1.0, HUGE), (9.0, 1.0), (LARGE, 1.0), (HUGE, 1.0)]),
    (dist.InverseGamma, [(0.01, 1.0), (0.5, HUGE), (30.0, 1.0), (HUGE, 1.0)]),
    (dist.Chi2, [(TINY,), (3.0,), (HUGE,)]),
    (dist.Beta, [(TINY, TINY), (0.01, 30.0), (0.05, 0.3), (2.0, 0.5), (30.0, 1.0), (7.0, HUGE), (HUGE, HUGE)]),
    (_round_the_circle, [(TINY,), (1.0,), (30.0,), (LARGE,), (HUGE,)]),
    (dist.Weibull, [(1.0, 0.1), (2.0, 3.0), (1.0, LARGE)]),
    (dist.GeneralizedPareto, [(0.0, 1.0, 5.0), (1.0, TINY, 0.5), (0.0, 1.0, -0.5)]),
    (_mixture, [(0.5, 0.5), (2.0, 0.999), (3.0, TINY)]),
    (_truncated, [(TINY, 1.0), (2.0, 1.0), (30.0, 1.0), (2.0, LARGE)]),
    (_far, [(0.5, 1.0), (30.0, 1.0), (HUGE, 1.0)]),
]


@pytest.mark.parametrize(
    ("family", "params"),
    [pytest.param(f, p, id=f"{f.__name__}{p}") for f, rows in ONE_NOISE for p in rows],
)
def test_draws_move_along_their_quantile(family: Callable[..., Any], params: tuple[float, ...]) -> None:
    torch.manual_seed(1)
    given = [torch.full((N,), value, dtype=torch.float64, requires_grad=True) for value in params]
    x = family(*given).rsample()
    moved = torch.autograd.grad(x.sum(), given)
    d, x = family(*given), x.detach()
    log_p, log_q = d.log_cdf(x), d.log_survival_function(x)
    lower = log_p.detach() < log_q.detach()
    # by the smaller tail, in logs: -(dF/dt) / f = -+ (d log tail / dt) tail / f
    tail = torch.where(lower, log_p, log_q)
    slopes = torch.autograd.grad(tail.sum(), given)
    weight = (tail.detach() - d.log_prob(x).detach()).exp() * torch.where(lower, -1.0, 1.0).double()
    held = (tail.detach() > -12) & (x.abs() > 1e-290)
    for got, slope in zip(moved, slopes, strict=True):
        wanted = slope * weight
        error = (got - wanted).abs() - 2e-3 * wanted.abs() - 1e-9 * (1 + x.abs())
        assert held.any() and (error[held] <= 0).all(), f"off by {error[held].max()} at {wanted[error[held].argmax()]}"


def trigamma(a: Tensor) -> Tensor:
    return torch.polygamma(1, a)


def _part(a: Tensor, b: Tensor) -> Tensor:
    return dist.Beta(a, b).rsample().log()


def _share(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    x = dist.Dirichlet(torch.stack([a, b, c], -1)).rsample()
    return x[:, 0].log() - x[:, 2].log()


def _size(df: Tensor) -> Tensor:
    return dist.StudentT(df).rsample().abs().log()


def _radius(df: Tensor) -> Tensor:
    zeros = torch.zeros(len(df), 2, dtype=df.dtype)
    x = dist.MultivariateStudentT(df, zeros, torch.eye(2, dtype=df.dtype).expand(len(df), 2, 2)).rsample()
    return x[:, 1].abs().log()


def _ratio(df1: Tensor, df2: Tensor) -> Tensor:
    return dist.FisherSnedecor(df1, df2).rsample().log()


def _fall_of_chi(df: Tensor) -> Tensor:
    """The derivative of log df - E[log chi-square] in df."""
    return 1 / df - 0.5 * trigamma(0.5 * df)


# the log of something drawn, its parameters, and the derivatives of its expectation
TWO_NOISES: list[tuple[Callable[..., Tensor], list[tuple[float, ...]], Callable[..., tuple[Any, ...]]]] = [
    (
        _part,
        [(0.05, 0.05), (0.05, LARGE), (3.0, HUGE), (3.0, 100.0), (2.0, 0.5), (LARGE, 2.0)],
        lambda a, b: (trigamma(a) - trigamma(a + b), -trigamma(a + b)),
    ),
    (
        _share,
        [(0.05, 0.1, 0.2), (1.0, 2.0, 0.5), (2.0, LARGE, 3.0), (HUGE, 2.0, HUGE)],
        lambda a, b, c: (trigamma(a), 0 * b, -trigamma(c)),
    ),
    (_size, [(0.02,), (0.5,), (3.0,), (LARGE,)], lambda df: (0.5 * _fall_of_chi(df),)),
    (_radius, [(0.02,), (0.5,), (3.0,), (LARGE,)], lambda df: (0.5 * _fall_of_chi(df),)),
    (_ratio, [(0.05, 0.02), (1.0, 5.0), (LARGE, 0.02)], lambda m, n: (-_fall_of_chi(m), _fall_of_chi(n))),
]


@pytest.mark.parametrize(
    ("draw", "params", "slopes"),
    [pytest.param(f, p, s, id=f"{f.__name__}{p}") for f, rows, s in TWO_NOISES for p in rows],
)
def test_draws_of_two_noises_move_as_their_expectation(
    draw: Callable[..., Tensor], params: tuple[float, ...], slopes: Callable[..., tuple[Any, ...]]
) -> None:
    torch.manual_seed(2)
    given = [torch.full((20_000,), value, dtype=torch.float64, requires_grad=True) for value in params]
    moved = torch.autograd.grad(draw(*given).sum(), given)
    for got, wanted in zip(moved, slopes(*(v.detach()[:1] for v in given)), strict=True):
        assert torch.isfinite(got).all()
        assert_mean(got.numpy(), wanted.numpy(), slack=1e-4 * float(wanted.abs()))


@pytest.mark.parametrize("concentration", [(2.0, 3.0), (7.0, 900.0), (5.0,) * 12], ids=["round", "peaked", "many"])
def test_shares_move_as_their_expectation(concentration: tuple[float, ...]) -> None:
    """d E[x_0] / d a_0 = (n - a_0) / n^2, within five standard errors: a false alarm in a million."""
    a = torch.tensor(concentration, dtype=torch.float64).expand(20_000, -1).clone().requires_grad_()
    x = dist.Dirichlet(a).rsample(generator=torch.Generator().manual_seed(0))
    (slopes,) = torch.autograd.grad(x[:, 0].sum(), a)
    n, each = sum(concentration), slopes[:, 0]
    assert abs(each.mean() - (n - concentration[0]) / n**2) < 5 * each.std() / math.sqrt(len(each))

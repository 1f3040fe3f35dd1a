"""Families of matrices at the edges of their parameters, where the laws' table does not go."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import ppl_dist as dist
from ppl_dist import Distribution, constraints


@pytest.mark.parametrize("family", [dist.Wishart, dist.InverseWishart])
@pytest.mark.parametrize("excess", [1e-3, 0.1])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_draws_are_positive_definite_however_few_the_degrees_of_freedom(
    family: type[Distribution], excess: float, n: int, request: pytest.FixtureRequest
) -> None:
    if family is dist.InverseWishart and (excess, n) == (1e-3, 2):
        request.applymarker(pytest.mark.xfail(strict=True, reason="entries near 1e34 in float32: one draw is singular"))
    scale = torch.linspace(0.5, 2.0, n).diag() + 0.3
    df = torch.tensor(n - 1 + excess, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = family(df, scale).rsample((2000,))
    assert dist.constraints.positive_definite.check(x).all()
    (slope,) = torch.autograd.grad(x.log().diagonal(dim1=-2, dim2=-1).mean(), df)
    assert torch.isfinite(slope)


@pytest.mark.parametrize("concentration", [1e-3, 0.05])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_correlations_are_positive_definite_however_small_the_concentration(concentration: float, n: int) -> None:
    assert dist.constraints.corr_matrix.check(dist.LKJ(n, concentration).sample((5000,))).all()
    assert dist.constraints.corr_cholesky.check(dist.LKJCholesky(n, concentration).sample((5000,))).all()


@pytest.mark.parametrize("family", [dist.LKJ, dist.LKJCholesky])
def test_a_single_variable_has_one_correlation_matrix(family: type[Distribution]) -> None:
    d = family(1, torch.tensor([0.5, 2.0]))
    one = torch.ones(2, 1, 1)
    for value in (d.sample(), d.mean, d.mode):
        torch.testing.assert_close(value, one)
    for zero in (d.log_prob(one), d.entropy(), dist.kl_divergence(d, family(1))):
        torch.testing.assert_close(zero, torch.zeros(2))
    assert (d.variance == 0).all()


@pytest.mark.parametrize("dim", [0, -1, 2.0, None])
def test_a_dimension_is_a_positive_integer(dim: object) -> None:
    with pytest.raises(ValueError, match=rf"LKJ: `dim` must be a positive integer, got {dim!r}"):
        dist.LKJ(dim, 1.0)


def test_the_mode_of_correlations_is_the_identity_from_the_flat_density_on() -> None:
    for family in (dist.LKJ, dist.LKJCholesky):
        mode = family(3, torch.tensor([0.5, 1.0, 2.0])).mode
        assert mode[0].isnan().all()
        assert (mode[1:] == torch.eye(3)).all()


def test_the_mode_of_wishart_exists_above_n_plus_one() -> None:
    mode = dist.Wishart(torch.tensor([3.0, 4.0]), torch.eye(2)).mode
    assert mode[0].isnan().all()
    torch.testing.assert_close(mode[1], torch.eye(2))


def test_moments_of_inverse_wishart_where_there_are_none() -> None:
    d = dist.InverseWishart(torch.tensor([2.5, 4.0, 6.0]), torch.eye(2))
    assert (d.mean[0].diagonal() == math.inf).all() and d.mean[0, 0, 1].isnan()
    assert torch.isfinite(d.mean[1:]).all()
    assert (d.variance[:2] == math.inf).all() and torch.isfinite(d.variance[2]).all()


def test_infinite_degrees_of_freedom_give_the_normal_distribution() -> None:
    loc, factor = torch.tensor([0.0, 1.0]), torch.tensor([[1.0, 0.0], [0.5, 2.0]])
    df = torch.tensor(math.inf, requires_grad=True)
    t, normal = dist.MultivariateStudentT(df, loc, factor), dist.MultivariateNormal(loc, scale_tril=factor)
    x = normal.sample((5,))
    torch.testing.assert_close(t.log_prob(x), normal.log_prob(x))
    torch.testing.assert_close(t.entropy(), normal.entropy())
    torch.testing.assert_close(t.variance, normal.variance)
    assert torch.autograd.grad(t.log_prob(x).sum(), df)[0] == 0


def test_attributes_of_the_scale() -> None:
    factor = torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=torch.float64)
    t = dist.MultivariateStudentT(3.0, torch.zeros(2, dtype=torch.float64), factor)
    torch.testing.assert_close(t.covariance_matrix, factor @ factor.mT)
    torch.testing.assert_close(t.precision_matrix @ t.covariance_matrix, torch.eye(2, dtype=torch.float64))
    low = dist.LowRankMultivariateNormal(t.loc, factor[:, :1], factor.diagonal())
    torch.testing.assert_close(low.scale_tril @ low.scale_tril.mT, low.covariance_matrix)
    torch.testing.assert_close(low.precision_matrix @ low.covariance_matrix, torch.eye(2, dtype=torch.float64))


def test_a_thin_factor_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"event sizes differ: loc 2, rows of cov_factor 3, cov_diag 2"):
        dist.LowRankMultivariateNormal(torch.zeros(2), torch.ones(3, 1), torch.ones(2))


def test_what_a_family_keeps_for_itself_is_no_parameter() -> None:
    d = dist.LowRankMultivariateNormal(torch.zeros(2), torch.ones(2, 1), torch.ones(2))
    assert "inner_tril" in vars(d)
    d = d.expand((3,))
    assert d.inner_tril.shape == (3, 1, 1)
    assert "inner_tril" not in repr(d) and "inner_tril" not in d.arg_constraints
    with pytest.raises(TypeError, match="inner_tril"):
        type(d)(d.loc, d.cov_factor, d.cov_diag, inner_tril=d.inner_tril)


@pytest.mark.parametrize("place", [(7, 0, 1), (7, 0, 2), (7, 1, 2), (7, 0, 0), (7, 2, 2), (7, 2, 0)])
@pytest.mark.parametrize("bad", [2.0, -1.0, 0.0, math.nan, math.inf])
def test_a_large_batch_of_factors_is_judged_as_each_of_them(place: tuple[int, int, int], bad: float) -> None:
    factors = torch.eye(3).repeat(200, 1, 1)
    factors[place] = bad
    assert constraints.lower_cholesky.holds(factors) == bool(constraints.lower_cholesky.check(factors).all())


def test_draws_need_their_gamma_draws_for_the_gradient() -> None:
    df = torch.full((4,), 3.0, requires_grad=True)
    dist.MultivariateStudentT(df, torch.zeros(4, 2), torch.eye(2).repeat(4, 1, 1)).rsample().square().sum().backward()
    assert df.grad is not None and df.grad.isfinite().all()

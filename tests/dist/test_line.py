"""What the laws cannot ask of the families on the line: extremes of their parameters, and paths on the circle."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from ppl_dist.special.von_mises import concentration_slope, length_deficit
from tests.support.statistics import assert_mean, assert_uniform

F64 = torch.float64


def double(value: float | list[float]) -> Tensor:
    return torch.tensor(value, dtype=F64)


def test_student_t_with_many_degrees_of_freedom_is_normal() -> None:
    df = double([1e8, math.inf]).requires_grad_()
    x = double([[-30.0], [-1.0], [0.3]])
    ours, normal = dist.StudentT(df), dist.Normal(double(0.0), double(1.0))
    torch.testing.assert_close(ours.log_prob(x), normal.log_prob(x).expand(3, 2), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.log_cdf(x), normal.log_cdf(x).expand(3, 2), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.entropy(), normal.entropy().expand(2), rtol=1e-7, atol=0)
    (gradient,) = torch.autograd.grad(ours.log_prob(x).sum() + ours.cdf(x).sum() + ours.icdf(double(0.3)).sum(), df)
    assert gradient.isfinite().all() and gradient[1] == 0
    single = dist.StudentT(torch.tensor([1e8, math.inf])).log_prob(torch.tensor(1.0))
    torch.testing.assert_close(single, torch.full((2,), -1.4189385))


def test_fisher_snedecor_where_the_ratio_leaves_the_range_of_floats() -> None:
    # exact values by mpmath
    d = dist.FisherSnedecor(double([2700.0, 1e-4]), double([6e-4, 2700.0]))
    x = double([1.5e304, 1e-305])
    torch.testing.assert_close(d.log_prob(x), double([-708.71543940044784, 692.34938505380927]), rtol=1e-10, atol=0)
    torch.testing.assert_close(torch.func.vmap(d.log_prob)(x.expand(2, 2)), d.log_prob(x).expand(2, 2))


def test_student_t_keeps_digits_near_its_centre() -> None:
    p = double([0.5 - 1e-12, 0.5, 0.5 + 1e-12]).requires_grad_()
    x = dist.StudentT(double(1.0)).icdf(p)
    torch.testing.assert_close(x, math.pi * (p - 0.5), rtol=1e-14, atol=0)
    torch.testing.assert_close(torch.autograd.grad(x.sum(), p)[0], torch.full_like(p, math.pi))
    t = double([-2.0, 0.0, 1.0]).requires_grad_()
    df = double([0.7, 3.0, 2e3]).requires_grad_()
    for method in ("cdf", "log_cdf", "log_survival_function"):
        assert torch.autograd.gradcheck(lambda df, t, m=method: getattr(dist.StudentT(df), m)(t), (df, t))
        assert torch.autograd.gradgradcheck(lambda t, m=method: getattr(dist.StudentT(df.detach()), m)(t), (t,))
    levels = double([0.01, 0.45, 0.8]).requires_grad_()
    assert torch.autograd.gradcheck(lambda df, p: dist.StudentT(df).icdf(p), (df, levels))


def test_student_t_without_a_mean() -> None:
    d = dist.StudentT(double([0.5, 1.0, 2.0, 3.0]))
    assert d.mean.isnan().tolist() == [True, True, False, False]
    assert d.variance[:2].isnan().all() and d.variance[2] == math.inf


def test_generalized_pareto_is_smooth_through_the_exponential_law() -> None:
    c = double([-1e-7, 0.0, 1e-7]).requires_grad_()
    d = dist.GeneralizedPareto(double(0.0), double(1.0), c)
    torch.testing.assert_close(d.log_prob(double(2.0)), double([-2.0] * 3), rtol=0, atol=1e-6)
    (slope,) = torch.autograd.grad(d.log_prob(double(2.0)).sum(), c)  # z^2/2 - z = 0 at z = 2
    torch.testing.assert_close(slope, torch.zeros(3, dtype=F64), rtol=0, atol=1e-6)
    uniform = dist.GeneralizedPareto(double(1.0), double(2.0), double(-1.0))
    torch.testing.assert_close(uniform.log_prob(double([1.0, 3.0])), double([-math.log(2)] * 2))
    assert uniform.icdf(double(1.0)) == 3.0


def test_continuous_bernoulli_of_huge_logits() -> None:
    left, right = (dist.ContinuousBernoulli(logits=double(t)) for t in (-500.0, 20.0))
    exact = -math.log(1 / 500) + (20 - math.log(20)) - 1 - 20 / 500
    torch.testing.assert_close(dist.kl_divergence(left, right), double(exact))
    single = dist.ContinuousBernoulli(logits=torch.tensor([-1e6, 1e6]))
    torch.testing.assert_close(single.entropy(), torch.full((2,), 1 - math.log(1e6)))


@pytest.mark.parametrize("k", [1e-4, 0.3, 5.0, 90.0, 1e6])
def test_von_mises_draws_follow_the_law(k: float) -> None:
    d = dist.VonMises(double([0.4, 3.0]), double(k))
    assert_uniform(d.cdf(d.sample((4000,))).numpy())
    lengths = torch.cos(d.sample((100_000,)) - d.loc)
    assert_mean(lengths.numpy(), 1 - d.variance.numpy())


def test_von_mises_of_extreme_concentration() -> None:
    at_mode = dist.VonMises(torch.tensor(0.0), torch.tensor([1e6, 1e8])).log_prob(torch.tensor(0.0))
    torch.testing.assert_close(at_mode, torch.tensor([5.9888163, 8.2914014]))
    k = torch.tensor([0.0, 1e-3, 1e3, 1e6], requires_grad=True)
    flat = dist.VonMises(torch.tensor(0.0), k, validate_args=False).log_prob(torch.tensor(0.0))
    (slope,) = torch.autograd.grad(flat.sum(), k)
    torch.testing.assert_close(slope, length_deficit(k.detach().double()).float(), rtol=1e-5, atol=0)


def test_von_mises_keeps_digits_of_tiny_probabilities() -> None:
    d = dist.VonMises(double(0.0), double([1e-4, 0.5, 5.0]))
    torch.testing.assert_close(d.icdf(double(1e-20)), double([-math.pi] * 3), rtol=1e-13, atol=0)
    torch.testing.assert_close(d.icdf(double(0.25)), -d.isf(double(0.25)))


def test_von_mises_draws_move_along_the_circle() -> None:
    """E[cos x] = A cos m and E[sin x] = A sin m; the path in k is the derivative of the quantile about the mode."""
    loc, k = (double([value] * 4000).requires_grad_() for value in (2.8, 3.0))
    x = dist.VonMises(loc, k).rsample()
    m, c = double(2.8).requires_grad_(), double(3.0).requires_grad_()
    length = 1 - length_deficit(c)
    for function, mean in ((torch.cos, length * m.cos()), (torch.sin, length * m.sin())):
        got = torch.autograd.grad(function(x).sum(), (loc, k), retain_graph=True)
        expected = torch.autograd.grad(mean, (m, c), retain_graph=True)
        for draws, exact in zip(got, expected, strict=True):
            assert_mean(draws.numpy(), exact.numpy())
    k = double([0.2, 3.0, 3.0, 400.0]).requires_grad_()
    p = double([0.2, 0.01, 0.6, 0.9])
    x = dist.VonMises(double(0.0), k).icdf(p)
    (slope,) = torch.autograd.grad(x.sum(), k)
    torch.testing.assert_close(concentration_slope(k.detach(), x.detach()), slope, rtol=1e-9, atol=0)


@pytest.mark.parametrize("concentration", [1e-3, 0.7, 9.0])
def test_von_mises_in_large_batches(concentration: float) -> None:
    k = torch.full((20_000,), concentration)
    few, many = dist.VonMises(0.3, k[:10].double()), dist.VonMises(0.3, k)
    assert torch.allclose(many.log_prob(torch.tensor(1.0)), few.log_prob(torch.tensor(1.0))[0].float(), atol=1e-6)
    assert_mean((many.sample() - 0.3).cos().numpy(), 1 - few.variance[0].item())

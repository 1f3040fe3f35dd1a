"""Truncated, censored, empirical, improper and unit distributions, beyond what every family obeys."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

import ppl_dist as dist
from ppl_dist import constraints
from tests.support.statistics import assert_mean

mp = mpmath.mp.clone()
mp.dps = 60


def double(*values: object) -> list[torch.Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def exact_log_prob(x: float, low: float, high: float) -> float:
    a, b, z = mp.mpf(low), mp.mpf(high), mp.mpf(x)
    mass = (mp.erfc(a / mp.sqrt(2)) - mp.erfc(b / mp.sqrt(2))) / 2
    return float(-z * z / 2 - mp.log(2 * mp.pi) / 2 - mp.log(mass))


FAR = [(30.0, 31.0, 30.25), (8.0, math.inf, 9.0), (38.0, 45.0, 38.125), (1.0, 1.0 + 2**-20, 1.0), (-1.0, 2.0, 0.5)]


@pytest.mark.parametrize("low, high, x", FAR)
@pytest.mark.parametrize("sign", [1, -1])
def test_far_tails_of_the_normal(low: float, high: float, x: float, sign: int) -> None:
    ends, value = sorted((sign * low, sign * high)), sign * x
    exact = exact_log_prob(x, low, high)
    ours = dist.TruncatedNormal(*double(0.0, 1.0, *ends))
    wrapped = dist.Truncated(dist.Normal(*double(0.0, 1.0)), *ends)
    for d, rtol in ((ours, 1e-12), (wrapped, 1e-12)):
        np.testing.assert_allclose(d.log_prob(*double(value)).item(), exact, rtol=rtol)
        p = double([1e-9, 0.3, 0.5, 0.999])[0]
        q = d.icdf(p)
        rounding = 32 * np.finfo(float).eps * q.abs() * d.log_prob(q).exp()  # of the quantile, to a few floats
        assert ((d.cdf(q) - p).abs() <= rounding + 1e-12 * p).all()
        assert d.support.check(d.sample((1000,))).all()
    np.testing.assert_allclose(wrapped.mean.item(), ours.mean.item(), rtol=1e-12)
    single = dist.TruncatedNormal(0.0, 1.0, *(torch.tensor(end) for end in ends))
    assert single.log_prob(torch.tensor(value)).item() == pytest.approx(exact, rel=1e-5)
    draws = single.sample((1000,))
    assert (draws >= ends[0]).all() and (draws <= ends[1]).all()


def test_against_scipy_and_the_call_form_of_numpyro() -> None:
    d = dist.TruncatedNormal(loc=torch.tensor(0.5, dtype=torch.float64), low=None, high=1.5)
    law = stats.truncnorm(-37.0, 1.0, loc=0.5)  # scipy's entropy is nan at an infinite end
    x = torch.linspace(-2, 1.5, 9, dtype=torch.float64)
    np.testing.assert_allclose(d.log_prob(x).numpy(), law.logpdf(x.numpy()), rtol=1e-12)
    np.testing.assert_allclose([d.mean, d.variance, d.entropy()], [law.mean(), law.var(), law.entropy()], rtol=1e-10)
    assert dist.TruncatedNormal().log_prob(0.0).item() == pytest.approx(-0.9189385)
    assert d.support == constraints.less_than_eq(torch.tensor(1.5, dtype=torch.float64))


MAKERS = {
    "normal": lambda m, s, a, b: dist.TruncatedNormal(m, s, a, b),
    "wrapped normal": lambda m, s, a, b: dist.Truncated(dist.Normal(m, s), a, b),
    "gamma": lambda m, s, a, b: dist.Truncated(dist.Gamma(m, s), a, b),
    "logistic": lambda m, s, a, b: dist.Truncated(dist.Logistic(m, s), a, b),
}


@pytest.mark.parametrize("name", MAKERS)
def test_gradient_of_draws_is_that_of_the_quantile(name: str) -> None:
    p = double([0.01, 0.4, 0.97])[0]
    given = [v.requires_grad_() for v in double(1.2, 0.7, 0.5, 3.0)]
    assert torch.autograd.gradcheck(lambda *v: MAKERS[name](*v).icdf(p), given, rtol=1e-5)
    make = MAKERS[name]
    x = make(*given).rsample((50,))
    got = torch.autograd.grad(x.sum(), given)
    level = make(*double(1.2, 0.7, 0.5, 3.0)).cdf(x.detach())
    expected = torch.autograd.grad(make(*given).icdf(level).sum(), given)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def test_masses_of_truncated_counts_sum_to_one() -> None:
    rate = torch.tensor([0.1, 3.0, 40.0], dtype=torch.float64, requires_grad=True)
    d = dist.Truncated(dist.Poisson(rate), low=1)
    k = torch.arange(1.0, 200.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(d.log_prob(k).exp().sum(0), torch.ones_like(rate))
    torch.testing.assert_close(d.mean, rate / (1 - (-rate).exp()), rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(lambda r: dist.Truncated(dist.Poisson(r), 1, 50).log_prob(k[:9]), [rate])
    with pytest.raises(ValueError, match="Truncated: the value must"):
        d.log_prob(torch.tensor(0.0))
    die = dist.Truncated(dist.Binomial(10, *double(0.5)), 2, 4.5)
    assert die.has_enumerate_support and die.enumerate_support().tolist() == [2.0, 3.0, 4.0]
    torch.testing.assert_close(die.log_prob(die.enumerate_support()).exp().sum(), torch.ones(()).double())


def test_moments_that_a_heavy_tail_lacks() -> None:
    assert dist.Truncated(dist.Cauchy(0.0, 1.0), low=1.0).mean == math.inf
    assert dist.Truncated(dist.Cauchy(0.0, 1.0), high=1.0).mean == -math.inf
    both = dist.Truncated(dist.Cauchy(*double(0.0, 1.0)), -1.0, 3.0)
    expected = 0.5 * math.log(10 / 2) / (math.atan(3) + math.atan(1))
    assert both.mean.item() == pytest.approx(expected, rel=1e-10)


def test_truncating_a_density_with_a_kink() -> None:
    d = dist.Truncated(dist.Laplace(*double(0.0, 1.0)), -1.0, 2.0)
    mass = 1 - (math.exp(-1) + math.exp(-2)) / 2
    right, left = 1 - 3 * math.exp(-2), 1 - 2 * math.exp(-1)
    assert d.mean.item() == pytest.approx((right - left) / 2 / mass, rel=1e-12)


def test_masses_of_a_censored_count_and_gradients_of_clipped_draws() -> None:
    d = dist.Censored(dist.Poisson(*double(3.0)), 2, 5)
    k = torch.arange(2.0, 6.0, dtype=torch.float64)
    masses = d.log_prob(k).exp()
    law = stats.poisson(3.0)
    np.testing.assert_allclose(masses.numpy(), [law.cdf(2), law.pmf(3), law.pmf(4), law.sf(4)], rtol=1e-12)
    mean = (masses * k).sum()
    torch.testing.assert_close(d.mean, mean)
    torch.testing.assert_close(d.variance, (masses * (k - mean) ** 2).sum())
    torch.testing.assert_close(d.entropy(), -(masses * masses.log()).sum())
    ends = [v.requires_grad_() for v in double(-0.5, 1.0)]
    x = dist.Censored(dist.Normal(*double(0.0, 1.0)), *ends).rsample((1000,))
    low, high = torch.autograd.grad(x.sum(), ends)
    assert low == (x == -0.5).sum() and high == (x == 1.0).sum()


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="Truncated: one draw of Dirichlet has shape"):
        dist.Truncated(dist.Dirichlet(torch.ones(3)), 0.1)
    with pytest.raises(TypeError, match="Truncated: expected a distribution of ppl_dist, got float"):
        dist.Truncated(1.0, 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Truncated: batch shapes do not broadcast"):
        dist.Truncated(dist.Normal(torch.zeros(2), 1.0), torch.zeros(3))
    with pytest.raises(ValueError, match="Censored: `low` must"):
        dist.Censored(dist.Poisson(1.0), 0.5)
    with pytest.raises(NotImplementedError, match="Censored has no mode"):
        _ = dist.Censored(dist.Normal(0.0, 1.0), 0.5).mode


def test_empirical() -> None:
    samples, log_weights = double([[1.0, 3.0, 1.0], [2.0, 5.0, 4.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    d = dist.Empirical(samples, log_weights)
    assert d.batch_shape == (2,) and d.event_shape == () and d.sample_size == 3
    masses = log_weights.softmax(-1)
    torch.testing.assert_close(d.log_prob(torch.tensor([1.0, 5.0])).exp(), torch.stack([2 * masses[0, 0], masses[1, 1]]))
    assert (d.log_prob(torch.tensor([7.0, 7.0])) == -math.inf).all()
    torch.testing.assert_close(d.mean, (masses * samples).sum(-1))
    assert d.mode[0] == 3.0 and d.median.tolist() == [3.0, 4.0]
    assert_mean(d.sample((20_000,)).numpy(), d.mean.numpy())
    assert d.expand((4, 2))[1].sample((3,)).shape == (3, 2)
    np.testing.assert_allclose(d.entropy()[1].item(), math.log(3))
    vectors = dist.Empirical(torch.eye(3), torch.zeros(3))
    assert vectors.event_shape == (3,) and vectors.sample((5,)).shape == (5, 3)
    assert vectors.log_prob(torch.eye(3)).exp().tolist() == pytest.approx([1 / 3] * 3)
    assert torch.equal(vectors.enumerate_support(), torch.eye(3))


def test_improper_uniform_and_unit() -> None:
    d = dist.ImproperUniform(constraints.positive, (2,), (3,))
    assert d.log_prob(torch.ones(4, 2, 3)).shape == (4, 2)
    with pytest.raises(ValueError, match="ImproperUniform: the value must"):
        d.log_prob(-torch.ones(2, 3))
    off = dist.ImproperUniform(constraints.positive, (), (), validate_args=False)
    assert off.log_prob(torch.tensor([-1.0, 1.0])).tolist() == [-math.inf, 0.0]
    with pytest.raises(NotImplementedError, match=r"ImproperUniform has no sample.*Try a proper prior"):
        d.sample()
    assert d.expand((5, 2)).batch_shape == (5, 2)
    unit = dist.Unit(torch.tensor([0.5, -1.0]), has_rsample=True)
    x = unit.rsample((3,))
    assert x.shape == (3, 2, 0) and unit.has_rsample and not dist.Unit(0.0).has_rsample
    assert torch.equal(unit.log_prob(x), torch.tensor([0.5, -1.0]).expand(3, 2))
    assert unit.expand((4, 2)).to_event(1).log_prob(unit.expand((4, 2)).sample()).tolist() == [-0.5] * 4


def test_counts_looked_up_are_the_quantiles_of_their_levels() -> None:
    d = dist.Truncated(dist.Poisson(*double([3.0, 40.0])), low=1.0, high=30.0)
    levels = torch.rand(200, 2, dtype=torch.float64)
    torch.testing.assert_close(d._counted(levels), d._quantile(levels, 1 - levels), rtol=0, atol=0)

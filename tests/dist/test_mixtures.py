"""Mixtures and inflated counts beyond the laws: torch's answers, gaps, paths, supports, big K, foreign components."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from scipy import optimize, stats
from torch import Tensor
from torch.utils import _pytree

import ppl
import ppl_dist as dist
from ppl import handlers
from ppl_dist import Distribution, constraints
from tests.dist.test_foreign_bases import Shifted


def double(*values: Any) -> list[Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def normals(probs: Any, loc: Any, scale: Any, **kwargs: Any) -> dist.MixtureSameFamily:
    probs, loc, scale = (torch.as_tensor(v, dtype=torch.float64) for v in (probs, loc, scale))
    return dist.MixtureSameFamily(dist.Categorical(probs), dist.Normal(loc, scale), **kwargs)


def vectors(library: Any) -> Any:
    loc, scale = torch.arange(12.0).reshape(2, 3, 2), torch.tensor([1.0, 2.0])
    return library.MixtureSameFamily(
        library.Categorical(torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])),
        library.Independent(library.Normal(loc, scale), 1),
    )


SITES: dict[str, Callable[[], Distribution]] = {
    "numbers": lambda: normals([[0.2, 0.8], [0.5, 0.5]], [[0.0, 1.0], [2.0, 3.0]], [1.0, 2.0]),
    "vectors": lambda: vectors(dist),
    "correlated": lambda: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2, 3)), dist.MultivariateNormal(torch.zeros(2, 3, 2), torch.eye(2))
    ),
    "one after another": lambda: dist.MixtureGeneral(
        dist.Categorical(torch.ones(2, 2)), [dist.Normal(torch.zeros(2), 1.0), dist.Cauchy(0.0, 1.0)]
    ),
    "vectors of two kinds": lambda: dist.MixtureGeneral(
        dist.Categorical(torch.ones(2, 2)),
        [dist.Normal(torch.zeros(2, 3), 1.0).to_event(1), dist.MultivariateNormal(torch.zeros(3), torch.eye(3))],
        support=constraints.real_vector,
    ),
    "counts": lambda: dist.ZeroInflated(dist.Poisson(torch.ones(2)), gate=torch.tensor([0.2, 0.5])),
    "counts, logits": lambda: dist.ZeroInflated(dist.Geometric(logits=torch.zeros(2)), gate_logits=0.5),
    "shorthand": lambda: dist.ZeroInflatedPoisson(torch.ones(2), gate=0.5),
    "a mixture of mixtures": lambda: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2, 2)), normals(torch.ones(2, 2, 3), torch.randn(2, 2, 3), 1.0).to(torch.float32)
    ),
}


@pytest.mark.parametrize("name", SITES)
def test_they_are_values_like_any_distribution(name: str) -> None:
    d = SITES[name]()
    x = d.sample((5,), generator=torch.Generator().manual_seed(3))
    assert torch.equal(x, d.sample((5,), generator=torch.Generator().manual_seed(3)))
    assert x.shape == (5, 2, *d.event_shape) and d.support.check(x).all()
    log_prob = d.log_prob(x)
    assert log_prob.shape == (5, 2)
    leaves, spec = _pytree.tree_flatten(d)
    for same in (copy.deepcopy(d), pickle.loads(pickle.dumps(d)), _pytree.tree_unflatten(leaves, spec)):
        torch.testing.assert_close(same.log_prob(x), log_prob)
    wide = d.expand((3, 2))
    assert type(wide) is type(d) and wide.shape() == (3, 2, *d.event_shape)
    torch.testing.assert_close(wide[1].log_prob(x), log_prob)
    torch.testing.assert_close(d[..., 1].log_prob(x[:, 1]), log_prob[:, 1])
    torch.testing.assert_close(d.to_event(1).log_prob(x), log_prob.sum(-1))
    assert d.to(torch.float64).log_prob(x.to(torch.float64)).dtype == torch.float64
    inner = torch.func.vmap(lambda d, x: d.log_prob(x), in_dims=(0, 1), out_dims=1)(
        _pytree.tree_map(torch.clone, d), x
    )
    torch.testing.assert_close(inner, log_prob)
    assert repr(d).startswith(f"{type(d).__name__}(") and "\n" not in repr(d)


@pytest.mark.parametrize("name", SITES)
def test_they_serve_as_sites(name: str) -> None:
    def model() -> Tensor:
        with ppl.plate("data", 2):
            return ppl.sample("x", SITES[name]())

    trace = handlers.trace(handlers.seed(model, rng_seed=0)).get_trace()
    assert trace["x"].value.shape == SITES[name]().shape()
    assert trace.log_prob_sum().isfinite()


def test_vectors_are_those_of_torch() -> None:
    ours, theirs = vectors(dist), vectors(td)
    x = theirs.sample((7,))
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance, theirs.variance)
    assert not ours.has_rsample
    with pytest.raises(NotImplementedError, match=r"MixtureSameFamily has no rsample.*Try sample\(\)"):
        ours.rsample()
    draws = ours.sample((40_000,))
    torch.testing.assert_close(draws.mean(0), ours.mean, rtol=0, atol=0.1)
    torch.testing.assert_close(draws.var(0), ours.variance, rtol=0.05, atol=0)


def test_what_torch_refuses_is_refused() -> None:
    weights = torch.ones(3)
    for mixing, components, message in [
        (dist.Bernoulli(0.5), dist.Normal(torch.zeros(3), 1.0), "must be a Categorical, got Bernoulli. Try"),
        (dist.OneHotCategorical(weights), dist.Normal(torch.zeros(3), 1.0), "must be a Categorical, got OneHot"),
        (dist.Categorical(weights), 3, "`component_distribution` must be a distribution, got int"),
        (dist.Categorical(weights), dist.Normal(torch.zeros(4), 1.0), r"has 3; got batch shape \(4,\)"),
        (dist.Categorical(weights), dist.Normal(0.0, 1.0), r"has 3; got batch shape \(\)"),
        (dist.Categorical(torch.ones(2, 3)), dist.Normal(torch.zeros(5, 3), 1.0), r"do not broadcast: \(2,\), \(5,\)"),
    ]:
        with pytest.raises(ValueError, match=rf"^MixtureSameFamily.*{message}"):
            dist.MixtureSameFamily(mixing, components)


def test_batch_shapes_broadcast_both_ways() -> None:
    weights, loc = torch.rand(4, 3), torch.randn(4, 3)
    x = torch.randn(4)
    whole = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(loc, 1.0))
    for i in range(4):
        shared = dist.MixtureSameFamily(dist.Categorical(weights[i]), dist.Normal(loc, 1.0))
        assert shared.batch_shape == shared.mixture_distribution.batch_shape == (4,)
        torch.testing.assert_close(shared.log_prob(x)[i], whole.log_prob(x)[i])
        assert shared.sample((6,)).shape == (6, 4)
        spread = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(loc[i], 1.0))
        assert spread.batch_shape == (4,) and spread.component_distribution.batch_shape == (4, 3)
        torch.testing.assert_close(spread.log_prob(x)[i], whole.log_prob(x)[i])


def test_a_component_that_ends_early_gives_nothing_beyond_its_end() -> None:
    """The support is the union: torch asks every component, and refuses its own draws."""
    low, high = (v.requires_grad_() for v in double([0.0, 1.0], [1.0, 3.0]))
    weights = double([0.25, 0.75])[0].requires_grad_()
    d = dist.MixtureSameFamily(dist.Categorical(weights), dist.Uniform(low, high))
    assert isinstance(d.support, constraints.MixtureSameFamilyConstraint)
    x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    log_prob = d.log_prob(x)
    np.testing.assert_allclose(log_prob.exp().detach(), [0.25, 0.375])
    grads = torch.autograd.grad(log_prob.sum(), [x, low, high, weights])
    assert all(g.isfinite().all() for g in grads)
    np.testing.assert_allclose(grads[2], [-1.0, -0.5])
    with pytest.raises(ValueError, match="MixtureSameFamily: the value must"):
        d.log_prob(3.5)
    unchecked = dist.MixtureSameFamily(dist.Categorical(weights), dist.Uniform(low, high), validate_args=False)
    far = torch.tensor([3.5, 0.5], dtype=torch.float64, requires_grad=True)
    outside = unchecked.log_prob(far)
    assert outside[0] == -torch.inf and outside[1].isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(outside[1] + outside[0], [far, low, high, weights]))
    np.testing.assert_allclose(d.icdf(torch.tensor([0.0, 0.125, 0.625, 1.0])).detach(), [0.0, 0.5, 2.0, 3.0])
    assert d.support.check(d.sample((1000,))).all()
    np.testing.assert_allclose(unchecked.cdf(torch.tensor([-1.0, 4.0], dtype=torch.float64)).detach(), [0.0, 1.0])


def test_a_weight_of_zero_leaves_no_trace() -> None:
    weights = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    loc = torch.tensor([5.0, 0.0], dtype=torch.float64, requires_grad=True)
    d = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(loc, 1.0))
    alone = dist.Normal(loc[1], 1.0)
    x = torch.linspace(-3, 9, 13, dtype=torch.float64)
    for method in ("log_prob", "cdf", "log_cdf", "survival_function", "log_survival_function"):
        torch.testing.assert_close(getattr(d, method)(x), getattr(alone, method)(x))
    grads = torch.autograd.grad(d.log_prob(x).sum(), [weights, loc])
    assert all(g.isfinite().all() for g in grads) and grads[1][0] == 0
    p = torch.tensor([0.01, 0.5, 0.99], dtype=torch.float64)
    torch.testing.assert_close(d.icdf(p), alone.icdf(p))
    assert d.sample((20_000,)).max() < 6
    none_there = dist.MixtureSameFamily(dist.Categorical(weights), dist.Uniform(loc - 1, loc))
    low = none_there.log_prob(torch.tensor(4.5, dtype=torch.float64))
    assert low == -torch.inf and all(g.isfinite().all() for g in torch.autograd.grad(low, [weights, loc]))
    never = dist.MixtureSameFamily(dist.Categorical(logits=torch.tensor([-torch.inf, 0.0])), dist.Cauchy(loc, 1.0))
    assert never.log_prob(torch.tensor(0.0)).isfinite()
    infinite = dist.MixtureGeneral(dist.Categorical([0.0, 1.0]), [dist.Cauchy(0.0, 1.0), dist.Normal(2.0, 1.0)])
    assert infinite.mean == 2.0 and infinite.variance == 1.0


def test_quantiles_between_components_that_lie_far_apart() -> None:
    d = normals([0.5, 0.5], [-20.0, 20.0], 1.0)
    assert d.median.abs() < 1e-12  # F is one half to the last digit over most of the gap
    wide = normals([0.5, 0.5], [-1e3, 1e3], 1.0)
    assert wide.median.abs() < 1.0
    uneven = normals([0.3, 0.7], [-1e4, 1e4], [1.0, 2.0])
    p = torch.tensor([1e-12, 0.1, 0.299999, 0.300001, 0.5, 1 - 1e-9], dtype=torch.float64)
    x = uneven.icdf(p)
    assert (x.diff() > 0).all() and x[2] < -9e3 and x[3] > 9e3
    np.testing.assert_allclose(uneven.cdf(x), p, rtol=1e-10)
    np.testing.assert_allclose(uneven.isf(uneven.survival_function(x))[1:], x[1:], rtol=1e-9)


def test_quantiles_keep_their_digits_in_both_tails() -> None:
    d = normals([0.9, 0.1], [0.0, 1.0], [1.0, 3.0])
    for q in (1e-5, 1e-30, 1e-200):
        tail = lambda x, q=q: stats.norm.logsf((x - 1) / 3) + np.log(0.1 + 0.9 * _share(x)) - np.log(q)  # noqa: E731
        exact = optimize.brentq(tail, 0, 200, xtol=1e-14, rtol=1e-14)
        np.testing.assert_allclose(d.isf(torch.tensor(q, dtype=torch.float64)), exact, rtol=1e-12)


def _share(x: float) -> float:
    return float(np.exp(stats.norm.logsf(x) - stats.norm.logsf((x - 1) / 3)))


def test_the_quantile_is_differentiable_in_level_and_parameters() -> None:
    weights, loc, scale = double([0.3, 0.7], [-1.0, 2.0], [0.5, 1.5])
    p = torch.tensor([0.05, 0.4, 0.97], dtype=torch.float64)
    inputs = [v.requires_grad_() for v in (p, weights, loc, scale)]

    def quantile(p: Tensor, weights: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        d = dist.MixtureSameFamily(dist.Categorical(weights, validate_args=False), dist.Normal(loc, scale))
        return torch.stack([d.icdf(p), d.isf(p)])

    assert torch.autograd.gradcheck(quantile, inputs, eps=1e-5, rtol=1e-5)


COMPONENTS: dict[str, Callable[..., Distribution]] = {
    "Normal": lambda a, b: dist.Normal(a, b),
    "Gamma": lambda a, b: dist.Gamma(a.exp() + 1, b),
    "Laplace": lambda a, b: dist.Laplace(a, b),
    "LogNormal": lambda a, b: dist.LogNormal(a, b / 2),
    "Beta": lambda a, b: dist.Beta(a.exp() + 1, b + 1),
}


@pytest.mark.parametrize("family", COMPONENTS)
def test_a_draw_follows_its_quantile(family: str) -> None:
    """The gradient of a draw is that of the quantile at the draw's own level, by central differences."""
    weights, a, b = double([0.3, 0.7], [-0.3, 0.9], [0.6, 1.2])

    def make(weights: Tensor, a: Tensor, b: Tensor) -> dist.MixtureSameFamily:
        return dist.MixtureSameFamily(dist.Categorical(weights), COMPONENTS[family](a, b), validate_args=False)

    leaves = [v.expand(8, 2).clone().requires_grad_() for v in (weights, a, b)]
    x = make(*leaves).rsample(generator=torch.Generator().manual_seed(1))
    level = make(weights, a, b).cdf(x.detach())
    for which, got in enumerate(torch.autograd.grad(x.sum(), leaves)):
        for k in range(2):
            step = torch.zeros(2, dtype=torch.float64)
            step[k] = 1e-5
            ends = []
            for sign in (1, -1):
                moved = [weights, a, b]
                moved[which] = moved[which] + sign * step
                ends.append(make(*moved).icdf(level))
            torch.testing.assert_close(got[:, k], (ends[0] - ends[1]) / 2e-5, rtol=2e-3, atol=1e-6)


def test_the_gradient_of_an_expectation_with_common_levels() -> None:
    weights, loc, scale = double([0.4, 0.6], [-0.5, 1.0], [1.0, 0.7])
    leaves = [v.requires_grad_() for v in (weights, loc, scale)]
    levels = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000

    def expectation(weights: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        d = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(loc, scale), validate_args=False)
        return d.icdf(levels).sin().mean()

    got = torch.autograd.grad(expectation(*leaves), leaves)
    for which, gradient in enumerate(got):
        for k in range(2):
            step = torch.zeros(2, dtype=torch.float64)
            step[k] = 1e-5
            ends = []
            for sign in (1, -1):
                moved = [v.detach() for v in leaves]
                moved[which] = moved[which] + sign * step
                ends.append(expectation(*moved))
            torch.testing.assert_close(gradient[k], (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-7)


def test_many_components() -> None:
    k = 3000
    loc = torch.linspace(-3, 3, k, dtype=torch.float64)
    d = normals(torch.ones(k), loc, 0.01)
    x = torch.linspace(-2.5, 2.5, 5, dtype=torch.float64)
    expected = np.log(stats.norm(loc[None], 0.01).pdf(x[:, None]).mean(-1))
    np.testing.assert_allclose(d.log_prob(x), expected, rtol=1e-10)
    np.testing.assert_allclose(d.icdf(d.cdf(x)), x, rtol=1e-9, atol=1e-12)
    assert stats.kstest(d.sample((5000,)).numpy(), stats.uniform(-3, 6).cdf).pvalue > 1e-6


def test_components_of_other_libraries_and_styles() -> None:
    loc, x = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([0.3, 1.0])
    ours = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), dist.Normal(loc, 1.0))
    foreign = dist.MixtureSameFamily(td.Categorical(torch.ones(3)), td.Normal(loc, 1.0))
    own = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), Shifted(loc))
    torch.testing.assert_close(foreign.log_prob(x), ours.log_prob(x))
    torch.testing.assert_close(foreign.cdf(x), ours.cdf(x))
    torch.testing.assert_close(foreign.icdf(torch.tensor(0.2)), ours.icdf(torch.tensor(0.2)))
    torch.testing.assert_close(own.log_prob(x), ours.log_prob(x) + 0.5 * np.log(2 * np.pi))
    for d in (foreign, own):
        assert not d.has_rsample
        assert d.sample((5,), generator=torch.Generator().manual_seed(0)).shape == (5,)
        assert d.expand((4,)).sample((5,)).shape == (5, 4)
    mixed = dist.MixtureGeneral(dist.Categorical([0.5, 0.5]), [td.Normal(0.0, 1.0), dist.Normal(0.0, 1.0)], support=constraints.real)
    torch.testing.assert_close(mixed.log_prob(x), dist.Normal(0.0, 1.0).log_prob(x))


def test_a_general_mixture_asks_each_component_only_where_it_lives() -> None:
    rate = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    parts = [dist.Gamma(rate, 1.0), dist.Normal(rate, 1.0), dist.Beta(rate, 2.0)]
    d = dist.MixtureGeneral(dist.Categorical(torch.ones(3)), parts, support=constraints.real)
    x = torch.tensor([-1.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    law = [stats.gamma(2.0), stats.norm(2.0, 1.0), stats.beta(2.0, 2.0)]
    expected = np.log(sum(one.pdf(x.detach().numpy()) for one in law) / 3)
    log_prob = d.log_prob(x)
    np.testing.assert_allclose(log_prob.detach(), expected, rtol=1e-6)
    grads = torch.autograd.grad(log_prob.sum(), [x, rate])
    assert all(g.isfinite().all() for g in grads)
    np.testing.assert_allclose(grads[0][0], 3.0)  # that of the normal alone


def test_errors_of_a_general_mixture() -> None:
    half = dist.Categorical([0.5, 0.5])
    normal = dist.Normal(0.0, 1.0)
    with pytest.raises(ValueError, match="has 2 components, but `component_distributions` has 1"):
        dist.MixtureGeneral(half, [normal])
    with pytest.raises(ValueError, match="the components' supports differ: Real.*Try support="):
        dist.MixtureGeneral(half, [normal, dist.HalfNormal(1.0)])
    with pytest.raises(ValueError, match="the components' event shapes differ"):
        dist.MixtureGeneral(half, [normal, dist.Dirichlet(torch.ones(3))])
    with pytest.raises(ValueError, match=r"do not broadcast: \(\), \(2,\), \(3,\)"):
        dist.MixtureGeneral(half, [dist.Normal(torch.zeros(2), 1.0), dist.Normal(torch.zeros(3), 1.0)])


def test_what_has_no_closed_form_says_what_to_do() -> None:
    d = normals([0.5, 0.5], [0.0, 1.0], 1.0)
    with pytest.raises(NotImplementedError, match="no entropy in closed form. Try a Monte Carlo estimate: -d.log_prob"):
        d.entropy()
    with pytest.raises(NotImplementedError, match="no mode in closed form"):
        d.mode  # noqa: B018  # reading is the point
    with pytest.raises(NotImplementedError, match="no closed-form kl_divergence.*Try register_kl.*monte_carlo"):
        dist.kl_divergence(d, d)


def test_a_zero_far_below_the_smallest_float() -> None:
    """The mass at zero is exp(-2000): its log is exact whatever the gate."""
    rate = torch.tensor(2000.0, dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    assert dist.ZeroInflatedPoisson(rate, gate=0.0).log_prob(zero) == -2000
    np.testing.assert_allclose(dist.ZeroInflatedPoisson(rate, gate=1e-300).log_prob(zero), np.log(1e-300))
    logits = dist.ZeroInflatedPoisson(rate, gate_logits=-1e4).log_prob(zero)
    np.testing.assert_allclose(logits, -2000)


def test_gates_at_their_ends_have_finite_gradients() -> None:
    gate, rate = (v.requires_grad_() for v in double([0.0, 1.0], [2.0, 2.0]))
    log_prob = dist.ZeroInflatedPoisson(rate, gate=gate).log_prob(torch.zeros(2))
    slopes = torch.autograd.grad(log_prob.sum(), [gate, rate])
    np.testing.assert_allclose(slopes[0], [np.exp(2) - 1, 1 - np.exp(-2)])
    np.testing.assert_allclose(slopes[1], [-1.0, 0.0], atol=1e-15)


def test_inflated_counts_of_other_signs_and_errors() -> None:
    d = dist.ZeroInflated(dist.DiscreteUniform(torch.tensor(-2.0, dtype=torch.float64), 2.0), gate=0.5)
    k = torch.arange(-2.0, 3.0, dtype=torch.float64)
    mass = np.array([0.1, 0.1, 0.6, 0.1, 0.1])
    np.testing.assert_allclose(d.log_prob(k).exp(), mass)
    np.testing.assert_allclose(d.cdf(k), mass.cumsum())
    np.testing.assert_allclose(d.survival_function(k), mass[::-1].cumsum()[::-1] - mass, atol=1e-15)
    np.testing.assert_array_equal(d.icdf(torch.as_tensor(mass.cumsum() - 0.05)), k)
    np.testing.assert_array_equal(d.isf(torch.as_tensor(1 - mass.cumsum() + 0.05)), k)
    np.testing.assert_allclose(d.entropy(), stats.entropy(mass))
    assert d.mode == 0
    with pytest.raises(TypeError, match="ZeroInflated: expected a distribution of ppl_dist, got float"):
        dist.ZeroInflated(0.5, gate=0.5)  # type: ignore[arg-type]
    assert dist.ZeroInflated(dist.DiscreteUniform(torch.tensor(0), torch.tensor(5)), gate=0.5).gate == 0.5
    with pytest.raises(ValueError, match="ZeroInflated: `base_dist` must be a distribution of counts, got Normal"):
        dist.ZeroInflated(dist.Normal(0.0, 1.0), gate=0.5)
    with pytest.raises(ValueError, match="ZeroInflated: zero is outside the support"):
        dist.ZeroInflated(dist.DiscreteUniform(1, 6), gate=0.5)
    with pytest.raises(ValueError, match="exactly one of `gate`, `gate_logits` must be given, got none"):
        dist.ZeroInflated(dist.Poisson(1.0))
    with pytest.raises(ValueError, match=r"do not broadcast: gate \(2,\), base_dist \(3,\)"):
        dist.ZeroInflated(dist.Poisson(torch.ones(3)), gate=torch.ones(2) / 2)


def test_the_shorthand_is_the_wrapper() -> None:
    gate, x = torch.tensor([0.2, 0.7]), torch.tensor([0.0, 4.0])
    rate, r, logits = torch.tensor([1.0, 5.0]), torch.tensor(2.5), torch.tensor(0.3)
    pairs = [
        (dist.ZeroInflatedPoisson(rate, gate=gate), dist.ZeroInflated(dist.Poisson(rate), gate=gate)),
        (
            dist.ZeroInflatedNegativeBinomial(r, logits=logits, gate_logits=gate),
            dist.ZeroInflated(dist.NegativeBinomial(r, logits=logits), gate_logits=gate),
        ),
    ]
    for short, long in pairs:
        for method in ("log_prob", "cdf", "survival_function", "log_cdf"):
            torch.testing.assert_close(getattr(short, method)(x), getattr(long, method)(x))
        for name in ("mean", "variance", "mode", "median"):
            torch.testing.assert_close(getattr(short, name), getattr(long, name))
        torch.testing.assert_close(short.entropy(), long.entropy())


@pytest.mark.parametrize("event", [(), (2,)], ids=str)
@pytest.mark.parametrize("sample", [(), (6,), (1, 6)], ids=str)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("plate", [True, False], ids=["plate", "samples"])
def test_densities_are_those_of_torch_in_every_layout(
    batch: tuple[int, ...], sample: tuple[int, ...], event: tuple[int, ...], *, plate: bool
) -> None:
    random = torch.Generator().manual_seed(0)
    loc, logits = (torch.randn(*batch, 4, *shape, generator=random) for shape in (event, ()))
    scale = torch.rand(4, *event, generator=random) + 0.5
    x = torch.randn((*sample, *batch, *event), generator=random)
    answers = []
    for library in (dist, td):
        leaves = [value.clone().requires_grad_() for value in (loc, scale, logits, x)]
        parts = library.Independent(library.Normal(*leaves[:2]), len(event))
        mixed = library.MixtureSameFamily(library.Categorical(logits=leaves[2]), parts)
        log_prob = (mixed.expand((*sample, *batch)) if plate else mixed).log_prob(leaves[3])
        answers.append([log_prob, *torch.autograd.grad(log_prob.sum(), leaves)])
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_narrow_value_meets_a_wide_batch() -> None:
    mixed = normals([0.2, 0.8], [0.0, 1.0], [1.0, 2.0]).expand([3])
    torch.testing.assert_close(mixed.log_prob(torch.tensor(0.5)), mixed.log_prob(torch.full((3,), 0.5)))

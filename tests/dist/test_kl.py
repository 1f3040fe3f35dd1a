"""KL divergences: nonnegative, zero on itself, equal to a Monte Carlo estimate and to torch's, found by the MRO."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td

import ppl_dist as dist
from ppl_dist import Distribution, kl_divergence, register_kl
from ppl_dist.kl import register_infinite
from ppl_dist.kl.registry import _infinite, _lookup, _rules
from tests.support.families import FAMILIES, Case, Row, each, smooth
from tests.support.statistics import assert_mean

ROWS = {row.family: row for row in FAMILIES}


def double(*values: Any) -> list[torch.Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


EXAMPLES: dict[type[Distribution], list[Distribution]] = {
    dist.Normal: [dist.Normal(*double(0.3, 1.2)), dist.Normal(*double([-0.5, 2.0], [0.7, 3.0]))],
    dist.Cauchy: [dist.Cauchy(*double(0.3, 1.2)), dist.Cauchy(*double([-0.5, 1.0], [0.7, 2.0]))],
    dist.LogNormal: [dist.LogNormal(*double(0.1, 0.4)), dist.LogNormal(*double([-0.5, 0.6], [0.3, 0.5]))],
    dist.HalfNormal: [dist.HalfNormal(*double(1.3)), dist.HalfNormal(*double([0.8, 2.0]))],
    dist.HalfCauchy: [dist.HalfCauchy(*double(1.3)), dist.HalfCauchy(*double([0.8, 2.0]))],
    dist.Gamma: [dist.Gamma(*double(2.5, 1.5)), dist.Gamma(*double([3.0, 4.0], [1.0, 2.0]))],
    dist.Exponential: [dist.Exponential(*double(1.5)), dist.Exponential(*double([0.7, 2.0]))],
    dist.Beta: [dist.Beta(*double(2.5, 1.5)), dist.Beta(*double([3.0, 2.0], [1.0, 2.0]))],
    dist.Dirichlet: [dist.Dirichlet(*double([2.0, 1.5, 3.0])), dist.Dirichlet(*double([[1.0, 2.0, 3.0], [2.0] * 3]))],
    dist.Uniform: [dist.Uniform(*double(0.1, 0.9)), dist.Uniform(*double([0.0, -1.0], [1.0, 2.0]))],
    dist.Bernoulli: [dist.Bernoulli(*double(0.3)), dist.Bernoulli(logits=double([0.7, -2.0])[0])],
    dist.Categorical: [
        dist.Categorical(*double([0.3, 0.7])),
        dist.Categorical(logits=double([[0.7, -0.3], [0.1, 0.2]])[0]),
    ],
    dist.Poisson: [dist.Poisson(*double(2.5)), dist.Poisson(*double([0.7, 4.0]))],
    dist.MultivariateNormal: [
        dist.MultivariateNormal(*double([0.1, 0.2], [[1.0, 0.3], [0.3, 2.0]])),
        dist.MultivariateNormal(*double([[0.5, 0.2], [1.0, -1.0]]), scale_tril=double([[0.8, 0.0], [0.4, 1.5]])[0]),
    ],
    dist.Laplace: [dist.Laplace(*double(0.3, 1.2)), dist.Laplace(*double([-0.5, 1.0], [0.7, 2.0]))],
    dist.Logistic: [dist.Logistic(*double(0.3, 1.2)), dist.Logistic(*double([-0.5, 1.0], [0.7, 2.0]))],
    dist.Gumbel: [dist.Gumbel(*double(0.3, 1.2)), dist.Gumbel(*double([-0.5, 1.0], [0.9, 2.0]))],
    dist.Weibull: [dist.Weibull(*double(1.2, 2.5)), dist.Weibull(*double([0.8, 1.5], [2.0, 3.0]))],
    dist.Pareto: [dist.Pareto(*double(0.2, 7.0)), dist.Pareto(*double([0.05, 0.3], [8.0, 6.0]))],
    dist.Chi2: [dist.Chi2(*double(2.5)), dist.Chi2(*double([3.0, 4.0]))],
    dist.InverseGamma: [dist.InverseGamma(*double(5.5, 1.5)), dist.InverseGamma(*double([6.0, 7.0], [1.0, 2.0]))],
    dist.Kumaraswamy: [dist.Kumaraswamy(*double(2.5, 1.5)), dist.Kumaraswamy(*double([3.0, 2.0], [1.0, 2.0]))],
    dist.Geometric: [dist.Geometric(*double(0.3)), dist.Geometric(logits=double([0.7, -2.0])[0])],
    dist.Binomial: [dist.Binomial(*double(4.0, 0.3)), dist.Binomial(*double([4.0, 9.0], [0.5, 0.2]))],
    dist.NegativeBinomial: [
        dist.NegativeBinomial(*double(4.0, 0.3)),
        dist.NegativeBinomial(*double([4.0, 2.5], [0.5, 0.2])),
    ],
    dist.OneHotCategorical: [
        dist.OneHotCategorical(*double([0.3, 0.7])),
        dist.OneHotCategorical(logits=double([[0.7, -0.3], [0.1, 0.2]])[0]),
    ],
    dist.Multinomial: [
        dist.Multinomial(*double(3.0, [0.3, 0.7])),
        dist.Multinomial(*double([3.0, 5.0], [[0.5, 0.5], [0.1, 0.9]])),
    ],
    dist.DiscreteUniform: [
        dist.DiscreteUniform(*double(1.0, 4.0)),
        dist.DiscreteUniform(*double([0.0, 1.0], [5.0, 3.0])),
    ],
    dist.BetaBinomial: [
        dist.BetaBinomial(*double(2.0, 3.0, 4.0)),
        dist.BetaBinomial(*double([1.5, 2.0], [2.5, 1.0], [4.0, 9.0])),
    ],
    dist.GammaPoisson: [dist.GammaPoisson(*double(4.0, 1.5)), dist.GammaPoisson(*double([3.0, 2.5], [1.0, 2.0]))],
    dist.LowRankMultivariateNormal: [
        dist.LowRankMultivariateNormal(*double([0.1, 0.2], [[1.0], [0.3]], [0.3, 2.0])),
        dist.LowRankMultivariateNormal(*double([[0.5, 0.2], [1.0, -1.0]], [[0.8], [0.4]], [[0.8, 0.4], [1.5, 0.5]])),
    ],
    dist.MultivariateStudentT: [
        dist.MultivariateStudentT(*double(df, [0.1, 0.2], [[1.0, 0.0], [0.3, 2.0]])) for df in (5.0, [3.0, 9.0])
    ],
    dist.Wishart: [
        dist.Wishart(*double(4.5, [[1.0, 0.3], [0.3, 2.0]])),
        dist.Wishart(*double([5.0, 3.5]), scale_tril=double([[0.8, 0.0], [0.4, 1.5]])[0]),
    ],
    dist.InverseWishart: [
        dist.InverseWishart(*double(4.5, [[1.0, 0.3], [0.3, 2.0]])),
        dist.InverseWishart(*double([5.0, 3.5]), scale_tril=double([[0.8, 0.0], [0.4, 1.5]])[0]),
    ],
    dist.LKJCholesky: [dist.LKJCholesky(3, *double(1.5)), dist.LKJCholesky(3, *double([0.7, 4.0]))],
    dist.LKJ: [dist.LKJ(3, *double(1.5)), dist.LKJ(3, *double([0.7, 4.0]))],
    dist.MixtureSameFamily: [
        dist.MixtureSameFamily(dist.Categorical(*double([0.3, 0.7])), dist.Normal(*double([0.0, 2.0], 1.0))),
        dist.MixtureSameFamily(dist.Categorical(*double([[0.3, 0.7]] * 2)), dist.Normal(*double([[0.0, 2.0]] * 2, 1.0))),
    ],
    dist.MixtureGeneral: [
        dist.MixtureGeneral(dist.Categorical(*double(weights)), [dist.Normal(*double(loc, 1.0))])
        for weights, loc in [([1.0], 0.0), ([[1.0], [1.0]], [0.0, 2.0])]
    ],
    dist.ZeroInflated: [
        dist.ZeroInflated(dist.Poisson(*double(3.0)), gate=0.3),
        dist.ZeroInflated(dist.Poisson(*double([1.0, 4.0])), gate_logits=double([0.5, -2.0])[0]),
    ],
    dist.ZeroInflatedPoisson: [
        dist.ZeroInflatedPoisson(*double(3.0), gate=0.3),
        dist.ZeroInflatedPoisson(*double([1.0, 4.0]), gate=0.1),
    ],
    dist.ZeroInflatedNegativeBinomial: [
        dist.ZeroInflatedNegativeBinomial(*double(3.0), probs=0.5, gate=0.3),
        dist.ZeroInflatedNegativeBinomial(*double([1.0, 4.0]), probs=0.6, gate=0.1),
    ],
    dist.TruncatedNormal: [
        dist.TruncatedNormal(*double(0.3, 1.2, -0.5, 1.0)),
        dist.TruncatedNormal(*double([-0.5, 3.0], [0.7, 2.0], [-1.0, -0.5], 1.5)),
    ],
    dist.Truncated: [dist.Truncated(dist.Gamma(*double(a, 1.5)), 0.5, 3.0) for a in (2.0, [1.0, 3.0])],
    dist.Censored: [dist.Censored(dist.Normal(*double(loc, 1.2)), -1.0, 2.0) for loc in (0.3, [0.0, 1.0])],
    dist.ContinuousBernoulli: [
        dist.ContinuousBernoulli(*double(0.3)),
        dist.ContinuousBernoulli(logits=double([2.5, -4.0])[0]),
    ],
    dist.GeneralizedPareto: [
        dist.GeneralizedPareto(*double(0.3, 1.2, 0.1)),
        dist.GeneralizedPareto(*double([0.3, 0.5], [0.9, 2.0], [0.2, -0.1])),
    ],
    dist.VonMises: [dist.VonMises(*double(0.3, 1.2)), dist.VonMises(*double([-0.5, 3.0], [0.7, 20.0]))],
    dist.StudentT: [dist.StudentT(*double(6.0, 0.3, 1.2)), dist.StudentT(*double([5.0, 7.0], [0.9, 2.0], [0.2, 1.0]))],
    dist.FisherSnedecor: [
        dist.FisherSnedecor(*double(3.0, 9.0)),
        dist.FisherSnedecor(*double([4.0, 2.0], [12.0, 9.0])),
    ],
    dist.LogisticNormal: [
        dist.LogisticNormal(*double([0.3, -0.2], [1.2, 0.5])),
        dist.LogisticNormal(*double([[0.5, 0.2], [1.0, -1.0]], [0.7, 0.9])),
    ],
    dist.GaussianRandomWalk: [
        dist.GaussianRandomWalk(*double(1.2), num_steps=3),
        dist.GaussianRandomWalk(*double([0.7, 2.0]), num_steps=3),
    ],
    dist.ZeroSumNormal: [
        dist.ZeroSumNormal(*double(1.2), event_shape=(2, 3)),
        dist.ZeroSumNormal(*double([0.7, 2.0]), event_shape=(2, 3)),
    ],
    dist.OrderedLogistic: [
        dist.OrderedLogistic(*double(0.3, [-1.0, 0.5])),
        dist.OrderedLogistic(*double([0.7, -2.0], [-1.5, 1.0])),
    ],
    dist.OneHotCategoricalStraightThrough: [
        dist.OneHotCategoricalStraightThrough(*double([0.3, 0.7])),
        dist.OneHotCategoricalStraightThrough(logits=double([[0.7, -0.3], [0.1, 0.2]])[0]),
    ],
    dist.LogitRelaxedBernoulli: [
        dist.LogitRelaxedBernoulli(*double(0.7, 0.3)),
        dist.LogitRelaxedBernoulli(double([0.3, 2.0])[0], logits=double([0.5, -1.0])[0]),
    ],
    dist.RelaxedBernoulli: [
        dist.RelaxedBernoulli(*double(0.7, 0.3)),
        dist.RelaxedBernoulli(double([0.5, 2.0])[0], logits=double([0.5, -1.0])[0]),
    ],
    dist.ExpRelaxedCategorical: [dist.ExpRelaxedCategorical(*double(t, [0.3, 0.7])) for t in (0.7, [0.5, 2.0])],
    dist.RelaxedOneHotCategorical: [dist.RelaxedOneHotCategorical(*double(t, [0.3, 0.7])) for t in (0.7, [0.5, 2.0])],
    dist.DirichletMultinomial: [
        dist.DirichletMultinomial(*double([0.5, 2.0], 4.0)),
        dist.DirichletMultinomial(*double([[3.0, 1.0], [0.7, 0.2]], [4.0, 6.0])),
    ],
    dist.ProjectedNormal: [dist.ProjectedNormal(*double(m)) for m in ([1.0, -0.5], [[2.0, 0.0], [0.0, 3.0]])],
    dist.Delta: [dist.Delta(*double(0.5)), dist.Delta(*double([0.25, 0.75]))],
}


def pairs(infinite: bool) -> list[Any]:
    """Every registered pair of families."""
    rules = [(p, q) for (p, q), rule in _rules.items() if p in EXAMPLES and q in EXAMPLES]
    return [
        pytest.param(p, q, id=f"{p.__name__}-{q.__name__}") for p, q in rules if (_rules[p, q] is _infinite) == infinite
    ]


def test_every_family_has_an_example_and_a_divergence_to_itself() -> None:
    assert set(EXAMPLES) == set(ROWS)
    open_form = {kind for kind, row in ROWS.items() if not row.has("kl_divergence")}
    assert [kind.__name__ for kind in EXAMPLES if _lookup(kind, kind) is None and kind not in open_form] == []


@each("kl: itself", where=lambda row, case: smooth(row, case) and row.has("kl_divergence"))
def test_zero_on_itself(row: Row, case: Case) -> None:
    value = kl_divergence(row.make(case), row.make(case))
    assert value.shape == row.make(case).batch_shape
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-9)


# infinite at some parameters because the log density on the right has no mean: draws do not show it
NO_MOMENT = {
    (dist.Laplace, dist.Gumbel),
    (dist.Logistic, dist.Gumbel),
    (dist.HalfNormal, dist.InverseGamma),
    (dist.Exponential, dist.InverseGamma),
    (dist.HalfCauchy, dist.Weibull),
    (dist.Uniform, dist.InverseGamma),
}
# finite, with a log density on the right that has no variance; quadrature judges these in test_kl_methods.py
NO_VARIANCE = {(dist.Laplace, dist.Gumbel), (dist.Logistic, dist.Gumbel)}


@pytest.mark.parametrize("p, q", pairs(infinite=False))
def test_nonnegative_and_equal_to_monte_carlo(p: type[Distribution], q: type[Distribution]) -> None:
    for left in EXAMPLES[p]:
        for right in EXAMPLES[q]:
            value = kl_divergence(left, right)
            assert value.shape == torch.broadcast_shapes(left.batch_shape, right.batch_shape)
            assert (value >= -1e-14).all()
            wide = left.expand(value.shape)
            x = wide.sample((20_000,))
            with dist.validating(False):
                ratio = wide.log_prob(x) - right.log_prob(x.to(torch.float64))
            infinite = value.isinf()
            if infinite.any() and (p, q) not in NO_MOMENT:  # some value of the left side has no density on the right
                far = wide.isf(torch.full_like(value, 1e-15)) if wide.event_dim == 0 else x[0]
                with dist.validating(False):
                    beyond = right.log_prob(far.to(torch.float64))
                assert (ratio.isinf().any(0) | beyond.isinf())[infinite].all()
            if not infinite.all() and (p, q) not in NO_VARIANCE:
                assert_mean(ratio[:, ~infinite].numpy(), value[~infinite].numpy(), slack=1e-9)


@pytest.mark.parametrize("p, q", pairs(infinite=True))
def test_infinite_pairs_are_infinite(p: type[Distribution], q: type[Distribution]) -> None:
    left, right = EXAMPLES[p][1], EXAMPLES[q][0]
    value = kl_divergence(left, right)
    assert (value == math.inf).all()
    assert value.shape == torch.broadcast_shapes(left.batch_shape, right.batch_shape)
    assert value.dtype == torch.float64


TORCH = {row.family: row.peer for row in FAMILIES if row.peer is not None}


def in_torch(d: Distribution) -> Any:
    given = {name: value for name, value in vars(d).items() if name in d.arg_constraints}
    if "scale_tril" in given:
        given = {n: value for n, value in given.items() if n not in {"covariance_matrix", "precision_matrix"}}
    static = {name: vars(d)[name] for name in d._spec.static}
    return TORCH[type(d)](**static, **given, validate_args=False)


# torch calls these infinite already where the two intervals share an end
TOUCHING = {(dist.Uniform, dist.ContinuousBernoulli), (dist.ContinuousBernoulli, dist.Uniform)}


@pytest.mark.parametrize("p, q", pairs(infinite=False) + pairs(infinite=True))
def test_equal_to_torch_where_torch_has_the_pair(p: type[Distribution], q: type[Distribution]) -> None:
    if p not in TORCH or q not in TORCH:
        others = {p, q} - set(TORCH) - {dist.Multinomial}  # torch's takes one plain count, and has no divergence
        assert not any(hasattr(td, kind.__name__) for kind in others)
        return
    if "*:kl_divergence" in ROWS[p].torch_wrong:
        return
    for left in EXAMPLES[p]:
        for right in EXAMPLES[q]:
            try:
                theirs = td.kl_divergence(in_torch(left), in_torch(right))
            except NotImplementedError:
                continue
            value = kl_divergence(left, right)
            theirs = theirs.detach().expand(value.shape)
            asked = theirs.isfinite() | ((p, q) not in TOUCHING)
            np.testing.assert_allclose(value[asked].numpy(), theirs[asked].numpy(), rtol=1e-9, atol=1e-10)


def test_gradients_flow_to_both_sides() -> None:
    loc, scale = (v.requires_grad_() for v in double(0.5, 1.5))
    value = kl_divergence(dist.Normal(loc, scale), dist.Normal(loc * 2, 1.0))
    got = torch.autograd.grad(value, [loc, scale])
    torch.testing.assert_close(torch.stack(got), torch.tensor([0.5, 1.5 - 1 / 1.5], dtype=torch.float64))


def test_independent_sums_over_its_event() -> None:
    p, q = dist.Normal(torch.zeros(3, 2), 1.0), dist.Normal(torch.ones(3, 2), 2.0)
    torch.testing.assert_close(kl_divergence(p.to_event(1), q.to_event(1)), kl_divergence(p, q).sum(-1))
    with pytest.raises(NotImplementedError, match=r"same number of dimensions, got 1 and 2. Try to_event\(1\) on both"):
        kl_divergence(p.to_event(1), q.to_event(2))


def test_vectors_of_normals_beside_the_multivariate_normal() -> None:
    loc, scale = double([[0.5, 0.2], [1.0, -1.0]], [0.8, 1.5])
    apart = dist.Normal(loc, scale).to_event(1)
    same = dist.MultivariateNormal(loc, scale_tril=scale.diag())
    for full in EXAMPLES[dist.MultivariateNormal]:
        torch.testing.assert_close(kl_divergence(apart, full), kl_divergence(same, full))
        torch.testing.assert_close(kl_divergence(full, apart), kl_divergence(full, same))
    with pytest.raises(NotImplementedError, match=r"needs one dimension of Normal variables, got Independent\(Laplace"):
        kl_divergence(dist.Laplace(loc, scale).to_event(1), same)


def test_an_inverse_wishart_diverges_as_the_inverses_do() -> None:
    p, q = EXAMPLES[dist.InverseWishart]
    inverses = [dist.Wishart(d.df, precision_matrix=d.covariance_matrix) for d in (p, q)]
    torch.testing.assert_close(kl_divergence(p, q), kl_divergence(*inverses))


def test_matrices_of_different_sizes_have_no_divergence() -> None:
    with pytest.raises(ValueError, match=r"event shapes differ: \(2, 2\), \(3, 3\)"):
        kl_divergence(dist.LKJ(2), dist.LKJ(3))


def test_independent_of_unequal_depth_keep_what_only_one_of_them_moves() -> None:
    p, q = dist.Normal(torch.zeros(4, 3, 2), 1.0), dist.Normal(torch.ones(3, 2), 2.0)
    expected = kl_divergence(p, q).sum((-2, -1))
    nested = q.to_event(1).to_event(1)
    torch.testing.assert_close(kl_divergence(p.to_event(2), nested), expected)
    torch.testing.assert_close(kl_divergence(nested, p.to_event(2)), kl_divergence(q, p).sum((-2, -1)))


class Plain(dist.Distribution):
    """A user's class around a normal law, that does not declare its parameters."""

    support = dist.constraints.real

    def __init__(self, loc: torch.Tensor) -> None:
        self.law = dist.Normal(loc, 1.0)
        super().__init__(loc.shape)


def test_expanded_distributions_have_the_divergence_of_what_is_inside(rules: None) -> None:
    @register_kl(Plain, Plain)
    def rule(p: Plain, q: Plain) -> torch.Tensor:
        return kl_divergence(p.law, q.law)

    p, q = Plain(torch.tensor([0.0, 1.0])), Plain(torch.tensor(2.0))
    wide = p.expand((3, 2))
    assert type(wide) is dist.ExpandedDistribution
    inner = torch.tensor([2.0, 0.5])
    torch.testing.assert_close(kl_divergence(wide, q), inner.expand(3, 2))
    torch.testing.assert_close(kl_divergence(q, wide), inner.expand(3, 2))
    torch.testing.assert_close(kl_divergence(wide, q.expand((3, 1))), inner.expand(3, 2))


@pytest.mark.parametrize("kind", EXAMPLES)
def test_expanding_one_side_gives_the_broadcast_shape(kind: type[Distribution]) -> None:
    left, right = EXAMPLES[kind][0], EXAMPLES[kind][1]
    if (kind, kind) in _rules or kind is dist.Delta:
        value = kl_divergence(left, right)
        torch.testing.assert_close(kl_divergence(left, right.expand((3, 2))), value.expand(3, 2))
        torch.testing.assert_close(kl_divergence(left.expand((3, 1)), right), value.expand(3, 2))


def test_a_mask_leaves_out_entries_of_either_side() -> None:
    p, q = dist.Normal(torch.zeros(3), 1.0), dist.Normal(torch.ones(3), 2.0)
    mask, full = torch.tensor([True, False, True]), kl_divergence(p, q)
    expected = torch.where(mask, full, 0.0)
    torch.testing.assert_close(kl_divergence(p.mask(mask), q.mask(mask)), expected)
    torch.testing.assert_close(kl_divergence(p.mask(mask), q), expected)
    torch.testing.assert_close(kl_divergence(p, q.mask(mask)), expected)
    torch.testing.assert_close(kl_divergence(p.mask(True), q), full)
    torch.testing.assert_close(kl_divergence(p.mask(False), q), torch.zeros(3))


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_point_mass_on_either_side(kind: type[Distribution]) -> None:
    other = EXAMPLES[kind][1]
    value = other.sample()
    point = dist.Delta(value.double(), event_dim=other.event_dim)
    torch.testing.assert_close(kl_divergence(point, other), -other.log_prob(value.double()))
    certain = other.log_prob(value.double()) == 0
    backward = kl_divergence(other, point)
    assert backward.shape == other.batch_shape
    if not other.is_discrete:
        assert (backward == math.inf).all() or kind is dist.Delta
    else:
        assert (backward == torch.where(certain, 0.0, math.inf)).all()


def test_a_discrete_law_may_have_all_its_mass_in_the_point() -> None:
    point = dist.Delta(torch.tensor([0.0, 1.0]))
    laws: list[Distribution] = [dist.Poisson(0.0), dist.Bernoulli(probs=0.0), dist.Binomial(0, 0.5)]
    for law in laws:
        assert kl_divergence(law, point).tolist() == [0.0, math.inf]


def test_counts_that_may_leave_the_right_support() -> None:
    p = dist.Poisson(torch.tensor([0.0, 2.0]))
    assert kl_divergence(p, dist.Binomial(3, 0.5)).tolist() == [pytest.approx(3 * math.log(2)), math.inf]


def test_a_bijection_changes_no_divergence() -> None:
    exp = [dist.transforms.ExpTransform()]
    p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
    ours = kl_divergence(dist.TransformedDistribution(p, exp), dist.TransformedDistribution(q, exp))
    torch.testing.assert_close(ours, kl_divergence(p, q))
    with pytest.raises(NotImplementedError, match="the transforms must be equal bijections"):
        kl_divergence(dist.TransformedDistribution(p, exp), dist.TransformedDistribution(q, []))


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> None:
    from ppl_dist.kl import registry

    monkeypatch.setattr(registry, "_rules", dict(registry._rules))
    monkeypatch.setattr(registry, "_found", {})


class Bell(dist.Normal):
    """A user's subclass, without anything of its own."""


def test_a_subclass_finds_its_parents_rule_and_may_have_a_better_one(rules: None) -> None:
    torch.testing.assert_close(kl_divergence(Bell(0.0, 1.0), dist.Normal(1.0, 1.0)), torch.tensor(0.5))

    @register_kl(Bell, dist.Normal)
    def rule(p: Bell, q: dist.Normal) -> torch.Tensor:
        return torch.tensor(7.0)

    assert kl_divergence(Bell(0.0, 1.0), dist.Normal(1.0, 1.0)) == 7.0
    assert kl_divergence(Bell(0.0, 1.0), Bell(1.0, 1.0)) == 7.0
    assert kl_divergence(dist.Normal(0.0, 1.0), Bell(1.0, 1.0)) == 0.5
    register_infinite(Bell, dist.Poisson)
    assert kl_divergence(Bell(0.0, 1.0), dist.Poisson(1.0)) == math.inf


def test_a_missing_pair_says_which_exist_and_the_advice_works() -> None:
    p, q = dist.Dirichlet(torch.ones(2)), dist.MultivariateNormal(torch.zeros(2), torch.eye(2))
    with pytest.raises(NotImplementedError) as info:
        kl_divergence(p, q)
    text = str(info.value)
    assert text.startswith(
        "Dirichlet has no closed-form kl_divergence to MultivariateNormal. Registered for Dirichlet: "
    )
    assert "Dirichlet" in text.partition("Registered for Dirichlet: ")[2].partition(".")[0]
    assert 'Try register_kl(Dirichlet, MultivariateNormal), or an estimate: kl_divergence(p, q, method="mont' in text
    assert torch.isfinite(kl_divergence(p, q, method="monte_carlo").value)


def test_register_kl_takes_distribution_classes() -> None:
    with pytest.raises(TypeError, match="register_kl: expected two Distribution classes, got <class 'int'>"):
        register_kl(dist.Normal, int)

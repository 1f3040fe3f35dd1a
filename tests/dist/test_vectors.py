"""Vectors with structure and ordered categories: identities with what they are made of, edges, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributions as td
from torch import Tensor

import ppl_dist as dist
from ppl_dist import constraints, kl_divergence, transforms
from ppl_dist.special.logistic import sigmoid_moments, softplus_mean
from tests.support.exact import mp


def double(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


SHAPES: list[tuple[Any, Any]] = [
    (0.5, 2.0),
    (0.5, [1.0, 2.0, 0.5]),
    ([0.5, 1.0, -1.0], 2.0),
    ([[0.5], [1.0]], [1.0, 2.0, 0.5]),
    ([[[0.5, 1.0]], [[1.0, 0.0]]], [[1.0], [2.0], [0.5]]),
]


@pytest.mark.parametrize("loc, scale", SHAPES)
def test_a_number_serves_every_coordinate_as_in_torch(loc: Any, scale: Any) -> None:
    ours, theirs = dist.LogisticNormal(double(loc), double(scale)), td.LogisticNormal(double(loc), double(scale))
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    x = ours.sample((4,))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-9, atol=1e-9)
    assert ours.expand((2, *ours.batch_shape)).sample().shape == (2, *ours.shape())
    assert (ours.mean.sum(-1) - 1).abs().max() < 1e-12


def test_shared_event_shapes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"LogisticNormal: event shapes do not broadcast: loc \(2,\), scale \(3,\)"):
        dist.LogisticNormal(torch.zeros(2), torch.ones(3))


def test_logistic_normal_is_stick_breaking_of_a_normal() -> None:
    loc, scale = double([0.3, -1.0, 2.0]), double([0.5, 1.0, 2.0])
    chain = dist.TransformedDistribution(dist.Normal(loc, scale), transforms.StickBreakingTransform())
    d = dist.LogisticNormal(loc, scale)
    x = d.sample((50,))
    torch.testing.assert_close(d.log_prob(x), chain.log_prob(x))
    other = dist.LogisticNormal(loc + 1, scale)
    moved = dist.TransformedDistribution(dist.Normal(loc + 1, scale), transforms.StickBreakingTransform())
    torch.testing.assert_close(kl_divergence(d, other), kl_divergence(chain, moved))


def test_logistic_normal_has_no_density_on_the_boundary_and_draws_inside() -> None:
    d = dist.LogisticNormal(torch.zeros(2, requires_grad=True), 1.0)
    x = torch.tensor([[0.0, 0.5, 0.5], [0.2, 0.3, 0.5], [0.5, 0.5, 0.0]], requires_grad=True)
    log_prob = d.log_prob(x)
    assert (log_prob == -torch.inf).tolist() == [True, False, True]
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(log_prob.sum(), [x, d.loc]))
    far = dist.LogisticNormal(torch.tensor([300.0, -300.0]), 1.0).sample((100,))
    assert (far > 0).all() and constraints.simplex.check(far).all()


@pytest.mark.parametrize(
    "m, scale", [(-4.0, 1e-3), (0.0, 0.3), (-30.0, 0.999), (0.7, 1.0), (12.0, 1.5), (-2.0, 7.0), (4.0, 40.0)]
)
def test_means_of_logistic_functions_against_mpmath(m: float, scale: float) -> None:
    steps = [m + k * scale for k in (-16, -8, -4, -2, 0, 2, 4, 8, 16)]
    kinks = [x for x in (-40.0, -10.0, -3.0, 0.0, 3.0, 10.0, 40.0) if abs(x - m) < 16 * scale]

    def mean(function: Callable[[Any], Any]) -> Any:
        edges = sorted({*steps, *kinks})
        weight = lambda z: mp.exp(-(((z - m) / scale) ** 2) / 2)  # noqa: E731
        return mp.quad(lambda z: function(z) * weight(z), edges) / scale / mp.sqrt(2 * mp.pi)

    low = mean(lambda z: 1 / (1 + mp.exp(-z if m < 0 else z)))
    variance = mean(lambda z: (1 / (1 + mp.exp(-z if m < 0 else z)) - low) ** 2)
    share, rest, spread = sigmoid_moments(double(m), double(scale))
    torch.testing.assert_close(torch.minimum(share, rest), double(float(low)), rtol=1e-13, atol=0)
    torch.testing.assert_close(share + rest, double(1.0), rtol=1e-15, atol=0)
    torch.testing.assert_close(spread, double(float(variance)), rtol=1e-11, atol=0)
    expected = double(float(mean(lambda z: mp.log1p(mp.exp(z)))))
    torch.testing.assert_close(softplus_mean(double(m), double(scale)), expected, rtol=1e-13, atol=0)


def test_derivatives_of_the_logistic_means() -> None:
    m, s = double([-3.0, 0.0, 0.5, 4.0]).requires_grad_(), double([0.3, 0.8, 1.7, 3.0]).requires_grad_()
    assert torch.autograd.gradcheck(sigmoid_moments, (m, s))
    assert torch.autograd.gradcheck(softplus_mean, (m, s))


def test_a_walk_is_a_multivariate_normal_and_a_sum_of_steps() -> None:
    d = dist.GaussianRandomWalk(double([0.5, 2.0]), num_steps=4)
    factor = d.scale[:, None, None] * torch.ones(4, 4, dtype=torch.float64).tril()
    same = dist.MultivariateNormal(torch.zeros(4, dtype=torch.float64), scale_tril=factor)
    x = d.sample((20,))
    torch.testing.assert_close(d.log_prob(x), same.log_prob(x))
    torch.testing.assert_close(d.entropy(), same.entropy())
    torch.testing.assert_close(kl_divergence(d, d.expand((2, 2))[::1, :1]), kl_divergence(same, same[:1]).expand(2, 2))
    assert dist.GaussianRandomWalk().event_shape == (1,)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (3, 1, 2)])
def test_zero_sum_normal_is_the_isometric_image_of_white_noise(shape: tuple[int, ...]) -> None:
    d = dist.ZeroSumNormal(double(1.7), shape)
    transform = transforms.ZeroSumTransform(len(shape))
    inner = transform.inverse_shape(torch.Size(shape))
    white = dist.Normal(torch.zeros(inner, dtype=torch.float64), 1.7).to_event(len(shape))
    same = dist.TransformedDistribution(white, transform)
    x = d.sample((20,))
    torch.testing.assert_close(d.log_prob(x), same.log_prob(x))
    torch.testing.assert_close(d.entropy(), same.entropy())
    assert same.support == d.support and same.support.check(same.sample((20,))).all()
    assert dist.ZeroSumNormal(1.0, event_shape=5).event_shape == (5,)


def test_ordered_logistic_has_the_masses_of_its_cutpoints() -> None:
    d = dist.OrderedLogistic(double([0.3, -1.0]), double([-1.0, 0.5, 2.0]))
    back = transforms.SimplexToOrderedTransform(d.predictor.unsqueeze(-1))(d.probs)
    torch.testing.assert_close(back, d.cutpoints)
    torch.testing.assert_close(d.log_prob(d.enumerate_support()).T, d.logits)
    torch.testing.assert_close(d.probs.sum(-1), torch.ones(2, dtype=torch.float64))
    assert d.param_shape == d.probs.shape == (2, 4)
    table = dist.Categorical(logits=d.logits)
    torch.testing.assert_close(kl_divergence(d, d[1]), kl_divergence(table, table[1]))


def test_ordered_logistic_keeps_the_digits_of_small_masses() -> None:
    """Differences of two sigmoids would give 0 for both."""
    far = dist.OrderedLogistic(double(-50.0), double([0.0, 1.0]))
    torch.testing.assert_close(far.log_prob(torch.tensor(1)), double(-50.45867514538708))
    torch.testing.assert_close(far.log_survival_function(torch.tensor(0)), double(-50.0))
    close = dist.OrderedLogistic(torch.tensor(1.0), torch.tensor([0.0, 1e-9]))
    expected = torch.tensor(1e-9 * 0.19661193324).log()
    torch.testing.assert_close(close.log_prob(torch.tensor(1)), expected)


REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: dist.GaussianRandomWalk(1.0, 0), ValueError, "`num_steps` must be a positive integer, got 0"),
    (lambda: dist.GaussianRandomWalk(1.0, 2.0), ValueError, r"`num_steps` must be a positive integer, got 2\.0"),
    (lambda: dist.ZeroSumNormal(1.0, ()), ValueError, r"`event_shape` must have .* got \(\)\. Try event_shape=\(3,\)"),
    (lambda: dist.ZeroSumNormal(1.0, (2, 0)), ValueError, r"`event_shape` must have .* got \(2, 0\)\. Try"),
    (
        lambda: dist.ZeroSumNormal(1.0, (3,)).log_prob(torch.ones(3)),
        ValueError,
        "the value must sum to zero along the last dimension",
    ),
    (
        lambda: dist.ZeroSumNormal(1.0, (3, 2)).log_prob(torch.ones(3, 2)),
        ValueError,
        "the value must sum to zero along each of the last 2 dimensions",
    ),
    (lambda: dist.OrderedLogistic(0.0, [1.0, 0.0]), ValueError, "`cutpoints` must be strictly increasing"),
    (lambda: dist.OrderedLogistic(0.0, 1.0), ValueError, r"`cutpoints` needs at least 1 dimension"),
    (
        lambda: kl_divergence(dist.GaussianRandomWalk(1.0, 2), dist.GaussianRandomWalk(1.0, 3)),
        ValueError,
        r"event shapes differ: \(2,\), \(3,\)\. They must be equal",
    ),
    (
        lambda: kl_divergence(dist.OrderedLogistic(0.0, [1.0]), dist.OrderedLogistic(0.0, [1.0, 2.0])),
        ValueError,
        r"the numbers of categories differ: 2, 3\. They must be equal",
    ),
    (lambda: constraints.zero_sum(0), ValueError, r"zero_sum: event_dim must be at least 1, got 0\. Try zero_sum\(1\)"),
]


@pytest.mark.parametrize("build, kind, text", REFUSED, ids=lambda v: "")
def test_what_is_refused_says_why(build: Callable[[], object], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        build()


WORDS = {
    constraints.sphere: "have length one",
    constraints.corr_matrix: "be a correlation matrix",
    constraints.corr_cholesky: "be lower triangular with a positive diagonal and rows of length one",
    constraints.unit_lower_cholesky: "be lower triangular with ones on the diagonal",
    constraints.softplus_lower_cholesky: "be lower triangular with a positive diagonal",
    constraints.softplus_positive: "be positive",
    constraints.positive_ordered_vector: "be positive and strictly increasing",
}


@pytest.mark.parametrize("constraint", WORDS, ids=repr)
def test_a_value_outside_is_told_in_words(constraint: constraints.Constraint) -> None:
    class Held(dist.Distribution):
        """A family over the set."""

        support = constraint

    shape = (2,) * constraint.event_dim
    held = Held(event_shape=shape)
    with pytest.raises(ValueError, match=f"Held: the value must {WORDS[constraint]}"):
        held.log_prob(torch.full(shape, -1.0))

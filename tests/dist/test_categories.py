"""Laws over categories at their limits: many classes, rare ones, saturated relaxations, counts inside a graph."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import ppl_dist as dist
from tests.support.rows.categories import DirichletMultinomial
from tests.support.rows.discrete import Multinomial
from tests.support.statistics import assert_frequencies, assert_mean


def test_more_categories_than_single_precision_counts() -> None:
    k = 2**24 + 3
    weights = torch.zeros(k)
    weights[-1], weights[5] = 3.0, 1.0
    d = dist.Categorical(weights)
    draws = d.sample((4000,))
    assert_frequencies(np.array([(draws == 5).sum().item(), (draws == k - 1).sum().item()]), np.array([0.25, 0.75]))
    torch.testing.assert_close(d.log_prob(torch.tensor([5, k - 1])), torch.tensor([0.25, 0.75]).log())


def test_a_category_rarer_than_the_rounding_of_single_precision_is_drawn_as_often_as_it_should() -> None:
    n, rare = 2_000_000, 2e-5
    draws = dist.Categorical(torch.tensor([1.0, rare, 0.0, 0.0])).sample((n,))
    counts = torch.bincount(draws, minlength=4).numpy()
    assert_frequencies(counts, np.array([1 / (1 + rare), rare / (1 + rare), 0.0, 0.0]))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_batches_that_are_copies_draw_apart(shape: tuple[int, ...]) -> None:
    d = dist.Categorical(torch.tensor([[0.5, 0.5], [0.0, 1.0]])).expand((400, 2))
    draws = d.sample(shape)
    assert draws.shape == (*shape, 400, 2)
    assert (draws[..., 1] == 1).all()
    assert_mean(draws[..., 0].double().reshape(-1, 1).numpy(), 0.5)


@pytest.mark.parametrize("size", [3, 3000])
def test_normalising_large_and_small_logits(size: int) -> None:
    """A large tensor is looked at, and takes the guarded way where its exponentials would overflow."""
    for scale in (1.0, 1000.0):
        logits = scale * torch.randn(size, 4)
        torch.testing.assert_close(dist.Categorical(logits=logits).logits, logits.log_softmax(-1))


def test_straight_through_draws_are_unit_vectors_that_move_as_their_probs() -> None:
    p = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64, requires_grad=True)
    d = dist.OneHotCategoricalStraightThrough(p)
    x = d.rsample((100,))
    assert ((x == 0) | (x == 1)).all() and (x.sum(-1) == 1).all()
    weights = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    (got,) = torch.autograd.grad((x * weights).sum(-1).mean(), p, retain_graph=True)
    (expected,) = torch.autograd.grad((d.mean * weights).sum(), p)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("temperature", [1e-3, 0.05, 1.0, 1e3])
def test_saturated_relaxed_draws_keep_a_finite_density(temperature: float) -> None:
    for d in (
        dist.RelaxedBernoulli(temperature, logits=torch.tensor([-80.0, 0.0, 80.0])),
        dist.RelaxedOneHotCategorical(temperature, logits=torch.tensor([80.0, 0.0, -80.0])),
    ):
        x, log_prob = d.rsample_and_log_prob((500,))
        assert d.support.check(x).all()
        assert torch.isfinite(log_prob).all() and torch.isfinite(d.log_prob(x)).all()


def test_a_saturated_draw_has_the_density_of_its_logit() -> None:
    """The value rounds to an end; its density does not."""
    d = dist.RelaxedBernoulli(torch.tensor(0.01), logits=torch.tensor(0.5))
    y = d.base_dist.rsample((200,), generator=torch.Generator().manual_seed(1)).double()
    _, log_prob = d.rsample_and_log_prob((200,), generator=torch.Generator().manual_seed(1))
    exact = d.to(torch.float64).base_dist.log_prob(y) + torch.logaddexp(y, 0 * y) + torch.logaddexp(-y, 0 * y)
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-5, atol=1e-4)


def test_relaxed_bernoulli_moments_of_a_uniform_law() -> None:
    d = dist.RelaxedBernoulli(torch.tensor(1.0, dtype=torch.float64), 0.5)
    torch.testing.assert_close(d.variance, torch.tensor(1 / 12, dtype=torch.float64), rtol=1e-14, atol=0)
    torch.testing.assert_close(d.entropy(), torch.tensor(0.0, dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_relaxed_bernoulli_moments_have_gradients(temperature: float) -> None:
    t = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    logits = torch.tensor([-2.0, 0.7], dtype=torch.float64, requires_grad=True)

    def moments(t: Tensor, logits: Tensor) -> Tensor:
        d = dist.RelaxedBernoulli(t, logits=logits)
        return torch.stack([d.mean, d.variance, d.entropy()])

    eps = 1e-6 if temperature != 1.0 else 1e-4
    assert torch.autograd.gradcheck(moments, (t, logits), eps=eps, atol=1e-6)


def test_the_mode_of_the_log_relaxed_law_is_its_peak() -> None:
    d = dist.ExpRelaxedCategorical(0.5, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64))
    peak = math.lgamma(3) + 2 * math.log(0.5) - 3 * math.log(3)
    torch.testing.assert_close(d.log_prob(d.mode), torch.tensor(peak, dtype=torch.float64))


def counts_of(name: str, count: float) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]:
    n, weights = torch.tensor([count, 3.0], dtype=torch.float64), torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)

    def draw(n: Tensor, weights: Tensor) -> Tensor:
        if name == "Multinomial":
            return dist.Multinomial(n, weights).sample((5000,))
        return dist.DirichletMultinomial(weights, n).sample((5000,))

    return draw, n, weights


@pytest.mark.parametrize("way", ["eager", "compile", "make_fx"])
@pytest.mark.parametrize("count", [7.0, 130.0])
@pytest.mark.parametrize("name", ["Multinomial", "DirichletMultinomial"])
def test_counts_follow_the_same_law_whether_thrown_or_split(name: str, count: float, way: str) -> None:
    draw, n, weights = counts_of(name, count)
    if way == "compile":
        draw = torch.compile(draw, fullgraph=True, backend="eager")
    elif way == "make_fx":
        with dist.validating(False):
            draw = make_fx(draw)(n, weights)
    draws = draw(n, weights).numpy()
    if name == "Multinomial":
        Multinomial(n.numpy(), weights.numpy()).assert_fits(draws)
    else:
        DirichletMultinomial(weights.numpy(), n.numpy()).assert_fits(draws)


def test_dirichlet_multinomial_of_a_large_count_and_a_large_concentration() -> None:
    """With two equal concentrations of one, every count is equally likely; with huge ones, the law is multinomial."""
    n = torch.tensor(1e8, dtype=torch.float64)
    half = torch.tensor([5e7, 5e7], dtype=torch.float64)
    flat = dist.DirichletMultinomial(torch.ones(2, dtype=torch.float64), n)
    torch.testing.assert_close(flat.log_prob(half), -(n + 1).log(), rtol=1e-7, atol=0)
    x = torch.tensor([2.0, 1.0, 4.0], dtype=torch.float64)
    wide = dist.DirichletMultinomial(1e14 * torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64), 7)
    fixed = dist.Multinomial(7, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64))
    torch.testing.assert_close(wide.log_prob(x), fixed.log_prob(x), rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: dist.RelaxedBernoulli(p[0], logits=p[1]).log_prob(torch.tensor(0.3, dtype=torch.float64)),
        lambda p: dist.RelaxedOneHotCategorical(p[0], logits=p).log_prob(torch.tensor([0.2, 0.8], dtype=torch.float64)),
        lambda p: dist.Multinomial(3, logits=p).log_prob(torch.tensor([1.0, 2.0], dtype=torch.float64)),
        lambda p: dist.DirichletMultinomial(p, 3).log_prob(torch.tensor([1.0, 2.0], dtype=torch.float64)),
    ],
    ids=["RelaxedBernoulli", "RelaxedOneHotCategorical", "Multinomial", "DirichletMultinomial"],
)
def test_hessians(make: Callable[[Tensor], Tensor]) -> None:
    p = torch.tensor([0.7, 1.2], dtype=torch.float64)
    hessian = torch.func.jacrev(torch.func.grad(make))(p)
    h = 1e-5
    for i, step in enumerate(h * torch.eye(2, dtype=torch.float64)):
        slope = (torch.func.grad(make)(p + step) - torch.func.grad(make)(p - step)) / (2 * h)
        torch.testing.assert_close(hessian[i], slope, rtol=1e-6, atol=1e-7)

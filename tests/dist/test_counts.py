"""What the laws cannot say of counts: torch's Multinomial, tables of unequal lengths, ranges below zero."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributions as td

import ppl_dist as dist
from tests.support.rows.discrete import compositions

PROBS = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], dtype=torch.float64)


def test_multinomial_agrees_with_torch_at_one_count() -> None:
    ours, theirs = dist.Multinomial(6, PROBS), td.Multinomial(6, PROBS)
    x = theirs.sample((20,))
    for name in ("mean", "variance", "batch_shape", "event_shape", "param_shape", "probs", "logits"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-10, atol=1e-10)
    assert ours.sample((2,)).dtype == theirs.sample((2,)).dtype


@pytest.mark.parametrize("count", [0, 1, 5])
def test_multinomial_has_mass_one_and_the_likeliest_mode(count: int) -> None:
    d = dist.Multinomial(count, PROBS[:, None])
    values = torch.tensor(list(compositions(count, 3)), dtype=torch.float64)
    log_mass = d.log_prob(values)
    torch.testing.assert_close(log_mass.exp().sum(-1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(d.log_prob(d.mode)[:, 0], log_mass.amax(-1))


def test_a_smaller_sum_has_no_mass() -> None:
    assert dist.Multinomial(4, PROBS[0]).log_prob(torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)) == -math.inf


@pytest.mark.parametrize(
    "d",
    [
        dist.Binomial(torch.tensor([2.0, 5.0], dtype=torch.float64), 0.3),
        dist.Binomial(torch.tensor([2.0, 5.0], dtype=torch.float64), 0.3).mask(True),
        dist.BetaBinomial(0.5, 2.0, torch.tensor([2.0, 5.0], dtype=torch.float64)),
        dist.DiscreteUniform(0, torch.tensor([2.0, 5.0], dtype=torch.float64)),
        dist.Truncated(dist.Poisson(torch.tensor(3.0, dtype=torch.float64)), high=torch.tensor([2.0, 5.0])),
        dist.ZeroInflated(dist.Binomial(torch.tensor([2.0, 5.0], dtype=torch.float64), 0.3), gate=0.5),
    ],
    ids=lambda d: type(d).__name__,
)
def test_counts_of_different_ends_share_one_list(d: dist.Distribution) -> None:
    values = d.enumerate_support()
    assert values.shape == (6, 2)
    assert torch.equal(d.enumerate_support(expand=False), values[:, :1])
    mass = d.log_prob(values).exp()
    assert (mass[3:, 0] == 0).all()
    torch.testing.assert_close(mass.sum(0), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(torch.special.entr(mass).sum(0), d.entropy())
    for outside in (6.0, -1.0, 2.5, math.nan):
        with pytest.raises(ValueError, match="the value must"):
            d.log_prob(torch.tensor([1.0, outside], dtype=torch.float64))
    with pytest.raises(ValueError, match="1 of 2 entries is not"):
        d.log_prob(torch.tensor([6.0, 3.0], dtype=torch.float64))


def test_one_end_for_all_leaves_nothing_outside_to_list() -> None:
    with pytest.raises(ValueError, match="the value must"):
        dist.Binomial(torch.tensor([2.0, 2.0]), 0.3).log_prob(torch.tensor(3.0))


def test_a_list_has_no_gradient_above_an_entry_of_its_own() -> None:
    probs = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    d = dist.Binomial(torch.tensor([2.0, 5.0], dtype=torch.float64), probs)
    (slope,) = torch.autograd.grad((d.log_prob(d.enumerate_support()).exp()).sum(), probs)
    torch.testing.assert_close(slope, torch.zeros_like(slope))


def test_discrete_uniform_below_zero() -> None:
    d = dist.DiscreteUniform(-3, 2)
    values = d.enumerate_support()
    assert values.tolist() == [-3, -2, -1, 0, 1, 2]
    assert set(d.sample((400,)).tolist()) == set(values.tolist())
    torch.testing.assert_close(d.cdf(values.float()), torch.arange(1, 7) / 6)
    assert (d.icdf(torch.arange(1, 7) / 6) == values).all()
    assert (d.isf(1 - torch.arange(1, 6) / 6) == values[:-1]).all()
    assert dist.DiscreteUniform(4, 4).sample() == 4


def test_a_list_runs_from_the_lowest_end_to_the_highest() -> None:
    d = dist.DiscreteUniform(torch.tensor([-1.0, 4.0]), torch.tensor([2.0, 5.0]))
    assert d.enumerate_support(expand=False).flatten().tolist() == [-1, 0, 1, 2, 3, 4, 5]
    assert (d.log_prob(d.enumerate_support()).exp().round(decimals=2).sum(0) == 1).all()
    assert d[1].enumerate_support().tolist() == [4, 5]
    assert d.expand((0, 2)).enumerate_support().shape == (0, 0, 2)


@pytest.mark.parametrize("count", [1.0, 30.0, 1e6])
def test_binomial_entropy_has_the_gradient_of_its_closed_limit(count: float) -> None:
    """H = log(2 pi e n p q)/2 + O(1/n), and that of one trial for n = 1."""
    p = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(dist.Binomial(count, p).entropy(), p)
    exact = math.log(0.7 / 0.3) if count == 1 else 0.5 / 0.3 - 0.5 / 0.7
    assert math.isclose(slope.item(), exact, rel_tol=1e-9 if count == 1 else 1 / count)


def test_negative_binomial_entropy_moves_through_one() -> None:
    """At r = 1 two exponentials meet: the slope comes from both sides."""
    r = torch.tensor([1 - 1e-4, 1.0, 1 + 1e-4], dtype=torch.float64, requires_grad=True)
    entropy = dist.NegativeBinomial(r, 0.4).entropy()
    (slope,) = torch.autograd.grad(entropy.sum(), r)
    torch.testing.assert_close(slope[1], (entropy[2] - entropy[0]).detach() / 2e-4, rtol=1e-6, atol=0)


def test_integer_values_are_scored_in_the_precision_of_the_parameters() -> None:
    d = dist.NegativeBinomial(torch.tensor(7.5, dtype=torch.float64), 0.4)
    torch.testing.assert_close(
        d.log_prob(torch.tensor(9)), d.log_prob(torch.tensor(9.0, dtype=torch.float64)), rtol=1e-15, atol=0
    )


def test_a_quantile_of_zero_has_no_sign() -> None:
    zero = dist.NegativeBinomial(torch.tensor(1e-8), probs=torch.tensor(0.5)).icdf(torch.tensor([0.9, 0.5]))
    assert (zero == 0).all() and not zero.signbit().any()

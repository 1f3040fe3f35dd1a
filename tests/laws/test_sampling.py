"""Draws follow the reference law, have its moments, and depend on nothing but the generator."""

from __future__ import annotations

import numpy as np
import torch

from tests.support.families import Case, Row, each
from tests.support.statistics import assert_mean

DRAWS = 20_000


@each("sampler fits density")
def test_sampler_fits_the_reference(row: Row, case: Case) -> None:
    draws = row.make(case).sample((DRAWS,))
    row.judge(case).assert_fits(draws.double().numpy())


@each("sampler fits density, expanded")
def test_one_draw_of_many_copies_fits_the_reference(row: Row, case: Case) -> None:
    d = row.make(case)
    draws = d.expand((DRAWS, *d.batch_shape)).sample()  # samplers may take another way where each copy draws once
    row.judge(case).assert_fits(draws.double().numpy())


@each("draw and density together", where=lambda row, case: row.pathwise(case))
def test_rsample_and_log_prob_is_the_draw_with_its_log_prob(row: Row, case: Case) -> None:
    d = row.make(case)
    value, log_prob = d.rsample_and_log_prob((200,), generator=torch.Generator().manual_seed(5))
    assert torch.equal(value, d.rsample((200,), generator=torch.Generator().manual_seed(5)))
    x = value.detach().requires_grad_()
    scored = d.log_prob(x)
    slope = torch.autograd.grad(scored.sum(), x)[0] if scored.requires_grad else torch.zeros_like(x)
    rounding = torch.finfo(x.dtype).eps * (slope * x.detach()).abs()  # of the draw, which its own density was spared
    rounding = rounding.flatten(x.dim() - d.event_dim).sum(-1) if d.event_dim else rounding
    gap = torch.where(log_prob == scored, 0.0, (log_prob - scored).abs())
    assert (gap <= 1e-8 * (1 + scored.abs()) + 4 * rounding.nan_to_num()).all()


@each("sampler float32")
def test_draws_stay_inside_the_support_in_single_precision(row: Row, case: Case) -> None:
    d = row.make(case, torch.float32)
    draws = d.sample((DRAWS,))
    assert d.support.check(draws).all()
    assert torch.isfinite(d.log_prob(draws)).all()


@each("moments: monte carlo", where=lambda row, case: row.has("variance") and "heavy" not in case.traits)
def test_draws_have_the_mean_and_variance(row: Row, case: Case) -> None:
    judge = row.judge(case)
    draws = row.make(case).sample((DRAWS,)).double().numpy()
    assert_mean(draws, judge.mean)
    assert_mean((draws - judge.mean) ** 2, judge.variance)


@each("mean", where=lambda row, case: row.has("mean"))
def test_mean(row: Row, case: Case) -> None:
    np.testing.assert_allclose(row.make(case).mean.numpy(), row.judge(case).mean, rtol=1e-10, atol=1e-12)


@each("variance", where=lambda row, case: row.has("variance"))
def test_variance_and_stddev(row: Row, case: Case) -> None:
    d, expected = row.make(case), row.judge(case).variance
    np.testing.assert_allclose(d.variance.numpy(), expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(d.stddev.numpy(), np.sqrt(expected), rtol=1e-10, atol=1e-14)
    assert d.variance.shape == d.mean.shape == d.batch_shape + d.event_shape


@each("generator")
def test_generator_makes_draws_reproducible_and_touches_nothing_else(row: Row, case: Case) -> None:
    d = row.make(case)
    before = torch.get_rng_state()
    first = d.sample((50,), generator=torch.Generator().manual_seed(7))
    again = d.sample((50,), generator=torch.Generator().manual_seed(7))
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())
    wrapped = d.expand((2, *d.batch_shape)).to_event(1)
    a, b = (wrapped.sample((3,), generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())


@each("generator: seeds", where=lambda row, case: bool((row.judge(case).variance > 1e-6).any()))
def test_other_seeds_give_other_draws(row: Row, case: Case) -> None:
    d = row.make(case)
    draws = [d.sample((500,), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    assert not torch.equal(*draws)
    torch.manual_seed(3)
    first = d.sample((50,))
    torch.manual_seed(3)
    assert torch.equal(first, d.sample((50,)))

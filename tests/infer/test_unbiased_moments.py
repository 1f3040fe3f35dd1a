"""Mean and variance of gradients in closed form: the score function pays for the right costs, and for nothing else.

The mean over all outcomes of a program, each with its probability, is the exact gradient to rounding: no Monte Carlo.
Variances come from 40,000 copies of a program in a plate, each with parameters of its own; within 4 of their standard
errors, which a correct estimator leaves once in 16,000 comparisons (there are 24).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from inference import ELBO, Trace_ELBO, TraceGraph_ELBO
from ppl import ParamStore, observe, plate, sample
from ppl_dist import Bernoulli, Normal
from tests.support.enumeration import outcomes
from tests.support.stochastic import PROGRAMS
from tests.support.unbiased import (
    ESTIMATORS,
    STANDARD_ERRORS,
    Asking,
    Estimates,
    compare,
    exact,
    flat_grad,
    latent,
    pairs,
    score,
)

COPIES, STEPS = 40_000, 4


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_mean_over_all_outcomes_is_the_exact_gradient(program: str) -> None:
    estimates = Estimates(PROGRAMS[program], ESTIMATORS["score_number"], Trace_ELBO())
    with ParamStore() as store:
        found = outcomes(lambda: flat_grad(estimates.loss(), store.leaves))
        mean = sum(weight.detach() * gradient for weight, gradient in found)
    torch.testing.assert_close(mean, exact(program)[1], rtol=1e-6, atol=1e-7)


SUMMED = [program for program, setting in pairs() if setting == "enumerate"]


@pytest.mark.parametrize("program", [name for name in SUMMED if not any(site.fn.has_rsample for site in latent(name))])
def test_what_is_enumerated_does_not_vary(program: str) -> None:
    draws = Estimates(PROGRAMS[program], ESTIMATORS["enumerate"], Trace_ELBO()).draw(2)
    torch.testing.assert_close(draws, exact(program)[1].expand_as(draws), rtol=1e-10, atol=1e-12)


def step_cost(z: Tensor, q: Tensor) -> Tensor:
    """What a step of `independent_steps` costs: log q(z) - log p(z) - log p(x | z)."""
    return Bernoulli(logits=q).log_prob(z) - Bernoulli(logits=PRIOR).log_prob(z) - Normal(z, 0.6).log_prob(SEEN)


PRIOR, SEEN, START = (torch.tensor(number, dtype=torch.float64) for number in (0.3, 1.2, -0.4))


def gradients(elbo: ELBO, **asked: Any) -> Tensor:
    """Of a chain of steps that do not depend on each other, (steps, copies)."""
    logits = START.expand(STEPS, COPIES).clone().requires_grad_()

    def model() -> None:
        with plate("copies", COPIES):
            for t in range(STEPS):
                z = sample(f"z{t}", Bernoulli(logits=PRIOR))
                observe(f"x{t}", Normal(z, 0.6), SEEN)

    def guide() -> None:
        with plate("copies", COPIES):
            for t in range(STEPS):
                sample(f"z{t}", Bernoulli(logits=logits[t]))

    loss = elbo.differentiable_loss(model, Asking(guide, score(**asked)))
    return torch.autograd.grad(loss, logits)[0]


def moment(f: Tensor) -> Tensor:
    """The mean over a step's outcomes 0 and 1 of what has the values `f` there."""
    p = START.sigmoid()
    return (1 - p) * f[0] + p * f[1]


Z = torch.tensor([0.0, 1.0], dtype=torch.float64)
SCORE, COST = Z - START.sigmoid(), step_cost(Z, START)


def assert_variance(draws: Tensor, expected: Tensor) -> None:
    squares = (draws - moment(SCORE * COST)) ** 2
    found = compare(squares[:, None], expected[None])
    assert found.precision < 0.05
    assert (found.off <= STANDARD_ERRORS).all(), f"variance {squares.mean()}, expected {expected}, {found}"


@pytest.mark.parametrize("baseline", [0.0, 1.5])
def test_a_score_pays_for_later_steps_unless_provenance_knows_better(baseline: float) -> None:
    """The variance of score * (own cost + later costs - baseline), the later ones independent of the draw."""
    mean, spread = moment(COST), moment(COST**2) - moment(COST) ** 2
    in_order, followed = (gradients(elbo, baseline=baseline) for elbo in (Trace_ELBO(), TraceGraph_ELBO()))
    for t in range(STEPS):
        later = STEPS - 1 - t
        paid = COST - baseline + later * mean
        noise = moment(SCORE**2) * later * spread
        assert_variance(in_order[t], moment(SCORE**2 * paid**2) + noise - moment(SCORE * COST) ** 2)
        alone = moment(SCORE**2 * (COST - baseline) ** 2) - moment(SCORE * COST) ** 2
        assert_variance(followed[t], alone)


def test_variance_of_two_samples_that_leave_one_out() -> None:
    """Half the difference of the costs where the two differ, else nothing."""
    differ = 2 * START.sigmoid() * (1 - START.sigmoid())
    expected = ((COST[1] - COST[0]) / 2) ** 2 * differ * (1 - differ)
    for draws in gradients(TraceGraph_ELBO(), baseline="leave_one_out", samples=2):
        assert_variance(draws, expected)


def test_samples_divide_the_variance() -> None:
    alone = moment(SCORE**2 * COST**2) - moment(SCORE * COST) ** 2
    for draws in gradients(TraceGraph_ELBO(), baseline="none", samples=5):
        assert_variance(draws, alone / 5)

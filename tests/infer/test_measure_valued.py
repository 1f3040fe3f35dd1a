"""`measure_valued`: each row of the table against a closed form, and programs against their exact expectations.

Each component lies within 4 standard errors from 60 repeats or more (a correct estimator fails one in about 5,000), and
the standard error is below 2% of the norm of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from inference import Trace_ELBO, estimate, surrogate_loss
from inference.estimators.measure_valued import RULES
from ppl import ParamStore, observe, param, plate, sample
from ppl import handlers as h
from tests.errors.reading import advice, fails
from tests.infer.test_surrogate_unbiased import PROGRAMS, Pair, estimates, exact
from tests.support.enumeration import exact_expectation

Bernoulli, Normal, Poisson = dist.Bernoulli, dist.Normal, dist.Poisson
EPISODES, REPEATS, ROWS = 2000, 60, -4


def leaf(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def flat(loss: Tensor, leaves: list[Tensor]) -> Tensor:
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, leaves)])


def assert_unbiased(draws: Tensor, wanted: Tensor, tolerance: float = 0.02) -> None:
    mean, error = draws.mean(0), draws.std(0) / draws.shape[0] ** 0.5
    assert error.norm() < tolerance * wanted.norm(), (error, wanted)
    assert ((mean - wanted).abs() <= 4 * error + 1e-9).all(), (mean, error, wanted)


def assert_expected(program: Callable[[], Tensor], leaves: list[Tensor], wanted: Tensor, samples: int = 1) -> None:
    """Value and gradient of the estimated cost of `program` are those of `wanted`, its expectation."""
    values, found = [], []
    for seed in range(REPEATS):
        chosen = estimate(estimator="measure_valued", samples=samples, first_available_dim=ROWS)
        with h.seed(rng_seed=seed), h.trace() as tr, chosen, plate("episodes", EPISODES, dim=-3):
            cost = program()
        loss = surrogate_loss(tr, cost) / EPISODES
        values.append(loss.detach())
        found.append(flat(loss, leaves))
    assert_unbiased(torch.stack(found), flat(wanted, leaves))
    assert_unbiased(torch.stack(values)[:, None], wanted.detach()[None])


# The table


class Row(NamedTuple):
    """A family, its parameters, a cost and the expectation of the cost."""

    fn: Callable[..., Any]
    numbers: tuple[float, ...]
    cost: Callable[[Tensor], Tensor]
    mean: Callable[..., Tensor]


def square(x: Tensor) -> Tensor:
    return x**2


def cube(x: Tensor) -> Tensor:
    return x**3


def step(x: Tensor) -> Tensor:
    return (x > 1.0).to(x.dtype)


TABLE = {
    "Normal": Row(Normal, (0.7, 1.3), cube, lambda m, s: m**3 + 3 * m * s**2),
    "Normal of a step": Row(Normal, (0.7, 1.3), step, lambda m, s: torch.special.ndtr((m - 1) / s)),
    "Laplace": Row(dist.Laplace, (0.7, 0.6), cube, lambda m, b: m**3 + 6 * m * b**2),
    "Exponential": Row(dist.Exponential, (1.3,), square, lambda r: 2 / r**2),
    "Gamma": Row(lambda r: dist.Gamma(2.5, r), (1.3,), square, lambda r: 2.5 * 3.5 / r**2),
    "Weibull": Row(
        lambda s: dist.Weibull(s, 1.5), (1.3,), square, lambda s: s**2 * torch.lgamma(torch.tensor(1 + 2 / 1.5)).exp()
    ),
    "Poisson": Row(Poisson, (1.3,), square, lambda r: r**2 + r),
    "Bernoulli": Row(lambda p: Bernoulli(probs=p), (0.3,), lambda z: (z - 0.2) ** 2, lambda p: 0.04 + 0.6 * p),
    "Bernoulli by logits": Row(
        lambda a: Bernoulli(logits=a), (0.4,), lambda z: (z - 0.2) ** 2, lambda a: 0.04 + 0.6 * a.sigmoid()
    ),
    "Geometric": Row(dist.Geometric, (0.6,), square, lambda p: (1 - p) / p**2 + ((1 - p) / p) ** 2),
}


@pytest.mark.parametrize("name", list(TABLE))
def test_a_row_of_the_table(name: str) -> None:
    row = TABLE[name]
    leaves = [leaf(number) for number in row.numbers]
    arguments = [x[0] for x in leaves]
    assert_expected(lambda: row.cost(sample("z", row.fn(*arguments))), leaves, row.mean(*arguments), samples=2)


def test_every_family_of_the_table_has_a_row() -> None:
    assert {kind.__name__ for kind in RULES} == {name.split()[0] for name in TABLE}


# Programs


M, S, A = leaf(0.3, -0.5), leaf(0.7, 1.2), leaf(0.4, -1.1)


def test_each_entry_of_an_event_has_its_own_pair() -> None:
    def program() -> Tensor:
        return (sample("z", Normal(M, S).to_event(1)).sum(-1) + 0.5) ** 2

    assert_expected(program, [M, S], (M.sum() + 0.5) ** 2 + (S**2).sum(), samples=3)


def test_an_event_of_two_dimensions() -> None:
    rates = torch.tensor([[0.5, 1.0, 1.5], [2.0, 0.7, 0.2]], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, 3.0]], dtype=torch.float64)
    mean = (rates * weights).sum()

    def program() -> Tensor:
        return (sample("z", Poisson(rates).to_event(2)) * weights).sum((-1, -2)) ** 2

    assert_expected(program, [rates], mean**2 + (rates * weights**2).sum())


def test_entries_of_a_plate_pay_for_themselves() -> None:
    def program() -> Tensor:
        with plate("data", 2):
            z = sample("z", Normal(M, S))
        return (z - torch.tensor([0.5, 1.5], dtype=torch.float64)) ** 2

    target = torch.tensor([0.5, 1.5], dtype=torch.float64)
    assert_expected(program, [M, S], ((M - target) ** 2 + S**2).sum())


def test_vectors_in_a_plate() -> None:
    rates = torch.tensor([[0.5, 1.0, 1.5], [2.0, 0.7, 0.2]], dtype=torch.float64, requires_grad=True)

    def program() -> Tensor:
        with plate("data", 2):
            z = sample("z", Poisson(rates).to_event(1))
        return z.sum(-1) ** 2

    total = rates.sum(-1)
    assert_expected(program, [rates], (total**2 + total).sum())


def test_two_draws_one_after_the_other() -> None:
    def program() -> Tensor:
        first = sample("first", Normal(M[0], S[0]))
        second = sample("second", Poisson((0.3 * first + M[1]).exp()))
        return second * (first + 2.0)

    # E[exp(t x)] and E[x exp(t x)] of a normal x
    t = 0.3
    grown = (t * M[0] + t**2 * S[0] ** 2 / 2 + M[1]).exp()
    assert_expected(program, [M, S], grown * (M[0] + t * S[0] ** 2 + 2.0) + 0 * S.sum())


def test_beside_other_estimators() -> None:
    def program() -> Tensor:
        first = sample("first", Bernoulli(logits=A[0]), infer={"estimator": "disarm"})
        second = sample("second", Bernoulli(logits=A[1] * first + 0.3))
        third = sample("third", Bernoulli(logits=second - 0.5 * A[0]), infer={"estimator": "enumerate"})
        return (first + 2 * second - third - 0.7) ** 2

    assert_expected(program, [A], exact_expectation(program))


def test_a_draw_that_feeds_a_pathwise_one() -> None:
    def program() -> Tensor:
        first = sample("first", Bernoulli(logits=A[0]))
        second = sample("second", Normal(A[1] + first, 0.2), infer={"estimator": "pathwise"})
        return (second + 2 * first + 1.0) ** 2

    assert_expected(program, [A], exact_expectation(program))


# Bounds


ALONE = [
    "bernoulli_latent_bernoulli_likelihood",
    "chain_of_two",
    "plate_with_a_probability_per_datum",
    "nested_plates",
    "subsampled_plate",
    "masked_data",
    "masked_latents",
    "pathwise_then_score",
    "score_then_pathwise",
]


@pytest.mark.parametrize("name", ALONE)
def test_gradient_of_a_bound_is_that_of_its_expectation(name: str) -> None:
    model, guide = PROGRAMS[name]
    subsampled = "subsample" in name  # one minibatch is shared by all particles, so more repeats are needed
    elbo = Trace_ELBO(num_particles=400 if subsampled else 2000, vectorize_particles=True)
    with ParamStore() as store:
        pair = Pair(model, estimate(guide, estimator="measure_valued"))
        draws = estimates(pair, store, elbo, 300 if subsampled else REPEATS)
    assert_unbiased(draws, exact(name)[1], 0.05 if subsampled else 0.02)


def test_where_the_guide_is_the_posterior_the_gradient_does_not_vary() -> None:
    def model() -> None:
        sample("z", Normal(torch.tensor([0.3, -1.0]), 0.5).to_event(1))

    def guide() -> None:
        loc, scale = param("loc", torch.tensor([0.3, -1.0])), param("scale", torch.tensor(0.5))
        sample("z", Normal(loc, scale).to_event(1), infer={"estimator": "measure_valued"})

    with ParamStore() as store:
        draws = estimates(Pair(model, guide), store, Trace_ELBO(num_particles=2), 10)
    torch.testing.assert_close(draws, torch.zeros_like(draws), rtol=0, atol=1e-5)


def test_a_parameter_without_gradient_takes_no_rows() -> None:
    with h.trace() as tr, estimate(estimator="measure_valued"):
        sample("both", Normal(M[0], S[0]))
        sample("loc", Normal(M[0], 1.0))
        sample("none", Normal(0.0, 1.0))
    assert [tr[name].value.numel() for name in ("both", "loc", "none")] == [5, 3, 1]


# Errors


def run(fn: Any, infer: dict[str, Any]) -> Tensor:
    with h.trace() as tr, estimate():
        z = sample("z", fn, infer=infer)
    return surrogate_loss(tr, z.double() ** 2)


@pytest.mark.parametrize(
    ("fn", "lacks"),
    [
        (dist.Cauchy(M[0], 1.0), "Cauchy is none of Normal, Laplace, Exponential"),
        (dist.Gamma(S[0], 1.0), "Gamma has no rule for the gradient of its concentration"),
    ],
    ids=["family", "parameter"],
)
def test_a_family_or_parameter_without_a_rule(fn: Any, lacks: str) -> None:
    message = fails(
        ValueError, lambda: run(fn, {"estimator": "measure_valued"}), f'site "z": {lacks}', 'estimator "measure_valued"'
    )
    run(fn, eval(advice(message, r"Try infer=(\{.+\})"))).backward()


def test_a_cost_of_all_entries_of_a_plate_together() -> None:
    def loss(infer: dict[str, Any]) -> Tensor:
        with h.trace() as tr, estimate(first_available_dim=-2):
            with plate("data", 2):
                z = sample("z", Poisson(S), infer=infer)
            total = z.sum(-1, keepdim=True)
            observe("x", Normal(0.0, 1.0), 0.0)
        return surrogate_loss(tr, total**2)

    message = fails(
        ValueError,
        lambda: loss({"estimator": "measure_valued"}),
        'site "z"',
        "expected a cost for each entry of dim -1 of Poisson, of batch shape (2,)",
        "one depends on all its entries together",
    )
    loss(eval(advice(message, r"Try infer=(\{.+\})"))).backward()


def test_a_second_derivative_is_refused() -> None:
    def second(infer: dict[str, Any]) -> None:
        (first,) = torch.autograd.grad(run(Poisson(S[0]), infer), S, create_graph=True)
        torch.autograd.grad(first.sum(), S)

    message = fails(RuntimeError, lambda: second({"estimator": "measure_valued"}), 'site "z"', "first derivative only")
    second(eval(advice(message, r"Try infer=(\{.+?\})")))

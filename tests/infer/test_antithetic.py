"""`arm` and `disarm`: the law of the pair, the gradient in expectation, and the variance that they promise.

The noise of a pair enters by polynomials between known points, so that expectations over it are exact sums (Gauss and
Legendre). Where programs are sampled, each component lies within 4 standard errors from 60 repeats or more (a correct
estimator fails one in about 5,000), and the standard error is below 2% of the norm of the gradient.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from inference import Trace_ELBO, estimate, surrogate_loss
from inference.estimators import disarm
from ppl import ParamStore, param, plate, sample
from ppl import handlers as h
from tests.errors.reading import advice, fails
from tests.infer.test_surrogate_unbiased import PROGRAMS, Pair, estimates, exact
from tests.support.enumeration import exact_expectation

Bernoulli, Categorical, OneHot = dist.Bernoulli, dist.Categorical, dist.OneHotCategorical
ESTIMATORS = ["arm", "disarm"]
ROWS = -4  # left of the plates of the programs below, and of the episodes


def leaf(*numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def assert_unbiased(draws: Tensor, wanted: Tensor, tolerance: float = 0.02) -> None:
    mean, error = draws.mean(0), draws.std(0) / draws.shape[0] ** 0.5
    assert error.norm() < tolerance * wanted.norm(), (error, wanted)
    assert ((mean - wanted).abs() <= 4 * error + 1e-9).all(), (mean, error, wanted)


# The pair, exactly


def noise(probs: Tensor) -> Iterator[tuple[Tensor, float]]:
    """Nodes and weights of the uniform numbers of one pair, one per category."""
    ascending = np.sort(probs.detach().numpy())
    ends = [sorted({0.0, p, 1 - p, 1.0}) for p in (ascending / ascending[::-1].cumsum()[::-1])[:-1]]
    nodes, weights = np.polynomial.legendre.leggauss(2)
    rules = []
    for breaks in ends:
        pieces = list(itertools.pairwise(breaks))
        rules.append([(a + (b - a) * (x + 1) / 2, (b - a) * w / 2) for a, b in pieces for x, w in zip(nodes, weights)])  # noqa: B905
    for picked in itertools.product(*rules):
        yield torch.tensor([u for u, _ in picked] + [0.5], dtype=torch.float64), float(np.prod([w for _, w in picked]))


class Outcome(NamedTuple):
    pair: tuple[int, int]
    gradient: Tensor
    weight: float


def outcomes(
    monkeypatch: pytest.MonkeyPatch, table: Tensor, law: Callable[[Tensor], Any], f: Tensor, estimator: str
) -> list[Outcome]:
    """Every pair that the estimator may draw, with the gradient in `table` of the cost `f` by category."""
    found = []
    with torch.no_grad():
        fn = law(table)
        probs = torch.stack([fn.log_prob(value).exp() for value in fn.enumerate_support()])
    for u, weight in noise(probs):
        monkeypatch.setattr(disarm, "standard_uniform", lambda shape, *_, u=u: u.expand(shape))
        with h.trace() as tr, estimate(estimator=estimator):
            z = sample("z", law(table))
        place = (z @ torch.arange(len(f), dtype=z.dtype) if z.dim() == 2 else z).long()
        (gradient,) = torch.autograd.grad(surrogate_loss(tr, f[place]), table)
        found.append(Outcome((int(place[0]), int(place[1])), gradient, weight))
    return found


LAWS: dict[str, tuple[Callable[[Tensor], Any], list[float]]] = {
    "bernoulli": (lambda t: Bernoulli(logits=t[0]), [0.7]),
    "bernoulli_by_probs": (lambda t: Bernoulli(probs=t[0]), [0.35]),
    "even": (lambda t: Bernoulli(logits=t[0]), [0.0]),
    "categorical": (lambda t: Categorical(logits=t), [0.4, -1.2, 0.9, -0.3]),
    "alike": (lambda t: Categorical(logits=t), [0.0, 0.0, 0.0, 0.0]),
    "one_hot": (lambda t: OneHot(logits=t), [0.4, -1.2, 2.5]),
}
BINARY = ("bernoulli", "bernoulli_by_probs", "even")
F = torch.tensor([1.0, -2.5, 0.7, 4.0], dtype=torch.float64)
CASES = [(name, "disarm") for name in LAWS] + [(name, "arm") for name in LAWS if name in BINARY]


def exact_gradient(table: Tensor, law: Callable[[Tensor], Any], f: Tensor) -> Tensor:
    fn = law(table)
    probs = torch.stack([fn.log_prob(value).exp() for value in fn.enumerate_support()])
    return torch.autograd.grad((probs * f[: len(probs)]).sum(), table)[0]


@pytest.mark.parametrize(("name", "estimator"), CASES)
def test_the_expectation_over_all_pairs_is_the_gradient(
    name: str, estimator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    law, numbers = LAWS[name]
    table = leaf(*numbers)
    f = F[: max(2, len(numbers))]
    found = outcomes(monkeypatch, table, law, f, estimator)
    mean = sum((o.weight * o.gradient for o in found), start=torch.zeros(()))
    torch.testing.assert_close(mean, exact_gradient(table, law, f), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", list(LAWS))
def test_both_draws_have_the_law_of_the_site_and_differ_as_stated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    law, numbers = LAWS[name]
    table = leaf(*numbers)
    found = outcomes(monkeypatch, table, law, F[: max(2, len(numbers))], "disarm")
    fn = law(table.detach())
    q = torch.stack([fn.log_prob(value).exp() for value in fn.enumerate_support()])
    joint = torch.zeros(len(q), len(q), dtype=torch.float64)
    for o in found:
        joint[o.pair] += o.weight
    torch.testing.assert_close(joint.sum(1), q, rtol=0, atol=1e-12)
    torch.testing.assert_close(joint.sum(0), q, rtol=0, atol=1e-12)
    order = q.argsort()
    for i, j in itertools.combinations(range(len(q)), 2):
        left = [q[order[k:]].sum() for k in range(len(q))]
        share = [q[order[k]] / left[k] for k in range(len(q))]
        both = torch.stack([torch.ones(()).double(), *(1 - 2 * share[k] for k in range(i))]).prod() * share[i]
        other = torch.stack([torch.ones(()).double(), *(1 - share[k] for k in range(i + 1, j))]).prod() * share[j]
        torch.testing.assert_close(joint[order[i], order[j]], both * other, rtol=1e-10, atol=1e-12)


def test_for_a_bernoulli_the_weight_is_the_chance_of_the_likelier_value() -> None:
    with h.trace() as tr, estimate(estimator="disarm"):
        sample("z", Bernoulli(logits=leaf(-1.3)[0]), infer={"samples": 50})
    weights, z = tr["z"].infer["_weights"], tr["z"].value
    differ = z[:50] != z[50:]
    torch.testing.assert_close(
        weights[:50], torch.where(differ, torch.sigmoid(torch.tensor(1.3, dtype=torch.float64)), 0.0)
    )


@pytest.mark.parametrize("target", [0.499, 0.45])
@pytest.mark.parametrize("logit", [-2.0, -0.3, 0.0, 1.0])
def test_variance_is_at_most_that_of_arm_and_of_two_independent_draws(
    target: float, logit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, f = leaf(logit), (torch.tensor([0.0, 1.0], dtype=torch.float64) - target) ** 2
    law = LAWS["bernoulli"][0]
    squares = {
        name: sum(float(o.weight * o.gradient**2) for o in outcomes(monkeypatch, table, law, f, name))
        for name in ESTIMATORS
    }
    p = float(table.detach().sigmoid())
    independent = 2 * p * (1 - p) * float((f[1] - f[0]) / 2) ** 2  # leave-one-out with two: (f - f')(s - s') / 2
    assert squares["disarm"] <= squares["arm"] * (1 + 1e-12)
    assert squares["disarm"] <= independent * (1 + 1e-12)


# Programs that are sampled


class Case(NamedTuple):
    """A program that gives its cost, its parameters, and the same with scalar sites."""

    program: Callable[..., Tensor]
    leaves: list[Tensor]
    twin: Callable[..., Tensor] | None = None
    binary: bool = True


def scalar(a: Tensor) -> Tensor:
    return (sample("z", Bernoulli(logits=a[0])) - 0.2) ** 2


def by_probs(p: Tensor) -> Tensor:
    return (sample("z", Bernoulli(probs=p[0])) - 0.2) ** 2


def joint_cost(z: Tensor) -> Tensor:
    return (z * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)).sum(-1).exp() + z.prod(-1)


def vector(a: Tensor) -> Tensor:
    return joint_cost(sample("z", Bernoulli(logits=a).to_event(1)))


def vector_by_entries(a: Tensor) -> Tensor:
    return joint_cost(torch.stack([sample(f"z{i}", Bernoulli(logits=a[i])) for i in range(3)], -1))


def entries_of_a_plate(a: Tensor) -> Tensor:
    with plate("data", 3):
        z = sample("z", Bernoulli(logits=a))
    return (z - torch.tensor([0.1, 0.9, 0.3], dtype=torch.float64)) ** 2


def plate_then_a_cost_outside(a: Tensor) -> Tensor:
    with plate("data", 3):
        z = sample("z", Bernoulli(logits=a))
    return (z * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)).sum(-1, keepdim=True).exp()


def vectors_in_a_plate(a: Tensor, b: Tensor) -> Tensor:
    with plate("data", 2):
        z = sample("z", Bernoulli(logits=torch.stack([a, b])).to_event(1))
    return joint_cost(z)


def vectors_in_a_plate_by_entries(a: Tensor, b: Tensor) -> Tensor:
    rows = [[sample(f"z{i}{j}", Bernoulli(logits=x[j])) for j in range(3)] for i, x in enumerate((a, b))]
    return torch.stack([joint_cost(torch.stack(row, -1)) for row in rows]).sum()


def one_after_the_other(a: Tensor, b: Tensor) -> Tensor:
    first = sample("first", Bernoulli(logits=a[0]))
    second = sample("second", Bernoulli(logits=b[0] * first + b[1]))
    return (first + 2 * second - 0.7) ** 2


def one_after_a_vector(a: Tensor, b: Tensor) -> Tensor:
    first = sample("first", Bernoulli(logits=a).to_event(1))
    second = sample("second", Bernoulli(logits=b[0] * joint_cost(first) + b[1]))
    return (first.sum(-1) + 2 * second - 0.7) ** 2


def one_after_a_vector_by_entries(a: Tensor, b: Tensor) -> Tensor:
    first = torch.stack([sample(f"z{i}", Bernoulli(logits=a[i])) for i in range(3)], -1)
    second = sample("second", Bernoulli(logits=b[0] * joint_cost(first) + b[1]))
    return (first.sum(-1) + 2 * second - 0.7) ** 2


def plate_after_a_global(a: Tensor, b: Tensor) -> Tensor:
    first = sample("first", Bernoulli(logits=a[0]))
    with plate("data", 3):
        z = sample("z", Bernoulli(logits=b * (1 + first)))
    return (z + first - torch.tensor([0.1, 0.9, 0.3], dtype=torch.float64)) ** 2


LOSS = torch.tensor([1.0, 4.0, -2.0, 0.5], dtype=torch.float64)


def categorical(a: Tensor) -> Tensor:
    return LOSS[sample("z", Categorical(logits=a))]


def one_hot(a: Tensor) -> Tensor:
    return (sample("z", OneHot(logits=a)) * LOSS).sum(-1) ** 2


def one_hot_by_index(a: Tensor) -> Tensor:
    return LOSS[sample("z", Categorical(logits=a))] ** 2


def categories_one_after_the_other(a: Tensor, b: Tensor) -> Tensor:
    first = sample("first", Categorical(logits=a))
    second = sample("second", Categorical(logits=torch.stack([b, b.flip(0), 2 * b, b * 0])[first]))
    return LOSS[first] * (second + 0.3)


def categories_as_one_event(a: Tensor, b: Tensor) -> Tensor:
    z = sample("z", Categorical(logits=torch.stack([a, b])).to_event(1))
    return (LOSS[z] + 1.5).prod(-1)


def categories_as_one_event_by_entries(a: Tensor, b: Tensor) -> Tensor:
    return (LOSS[sample("z0", Categorical(logits=a))] + 1.5) * (LOSS[sample("z1", Categorical(logits=b))] + 1.5)


A, B, Q = leaf(0.4, -1.1, 0.8), leaf(-0.7, 0.2, 1.5), leaf(0.1, -1.5, 1.0, 0.3)
CASES_SAMPLED = {
    "scalar": Case(scalar, [A]),
    "by_probs": Case(by_probs, [leaf(0.3)]),
    "vector": Case(vector, [A], vector_by_entries),
    "entries_of_a_plate": Case(entries_of_a_plate, [A]),
    "plate_then_a_cost_outside": Case(plate_then_a_cost_outside, [A]),
    "vectors_in_a_plate": Case(vectors_in_a_plate, [A, B], vectors_in_a_plate_by_entries),
    "one_after_the_other": Case(one_after_the_other, [A, B]),
    "one_after_a_vector": Case(one_after_a_vector, [A, B], one_after_a_vector_by_entries),
    "plate_after_a_global": Case(plate_after_a_global, [A, B]),
    "categorical": Case(categorical, [Q], None, False),
    "one_hot": Case(one_hot, [Q], one_hot_by_index, False),
    "categories_one_after_the_other": Case(categories_one_after_the_other, [Q, leaf(0.3, -0.8, 0.9)], None, False),
    "categories_as_one_event": Case(
        categories_as_one_event, [Q, leaf(0.3, -0.8, 0.9, 0.0)], categories_as_one_event_by_entries, False
    ),
}
RUNS = [(name, e) for name, case in CASES_SAMPLED.items() for e in ESTIMATORS if case.binary or e == "disarm"]


def flat(loss: Tensor, leaves: list[Tensor]) -> Tensor:
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, leaves)])


def gradients(case: Case, estimator: str, samples: int | None = None, episodes: int = 2000) -> tuple[Tensor, Tensor]:
    """Sixty estimates of the expected cost and of its gradient, each from many episodes at once."""
    values, found = [], []
    for seed in range(60):
        chosen = estimate(estimator=estimator, samples=samples, first_available_dim=ROWS)
        with h.seed(rng_seed=seed), h.trace() as tr, chosen, plate("episodes", episodes, dim=-3):
            cost = case.program(*case.leaves)
        loss = surrogate_loss(tr, cost) / episodes
        values.append(loss.detach())
        found.append(flat(loss, case.leaves))
    return torch.stack(values), torch.stack(found)


@pytest.mark.parametrize(("name", "estimator"), RUNS)
def test_gradient_and_value_are_those_of_the_expectation(name: str, estimator: str) -> None:
    case = CASES_SAMPLED[name]
    expected = exact_expectation(lambda: (case.twin or case.program)(*case.leaves).sum())
    values, found = gradients(case, estimator)
    assert_unbiased(found, flat(expected, case.leaves))
    assert_unbiased(values[:, None], expected.detach()[None])


def test_several_pairs_are_averaged() -> None:
    case = CASES_SAMPLED["vector"]
    expected = exact_expectation(lambda: vector_by_entries(A))
    _, single = gradients(case, "disarm")
    _, triple = gradients(case, "disarm", samples=3)
    assert_unbiased(triple, flat(expected, [A]))
    assert triple.var(0).sum() < 0.5 * single.var(0).sum()  # a third, for variances from 60 repeats each


BOUNDS = [(name, "disarm") for name in PROGRAMS] + [(name, "arm") for name in ("chain_of_two", "nested_plates")]
NOISY = ("subsampled_plate", "score_normal_between_pathwise_and_discrete")  # by other draws than those of the pairs


@pytest.mark.parametrize(("name", "estimator"), BOUNDS)
def test_gradient_of_a_bound_is_that_of_its_expectation(name: str, estimator: str) -> None:
    model, guide = PROGRAMS[name]
    subsampled = "subsample" in name  # one minibatch is shared by all particles, so more repeats are needed
    elbo = Trace_ELBO(num_particles=400 if subsampled else 2000, vectorize_particles=True)
    with ParamStore() as store:
        pair = Pair(model, estimate(guide, estimator=estimator))
        draws = estimates(pair, store, elbo, 300 if subsampled else 60)
    assert_unbiased(draws, exact(name)[1], 0.05 if name in NOISY else 0.02)


def test_looped_particles_average_single_ones() -> None:
    model, guide = PROGRAMS["chain_of_two"]
    pair = Pair(model, estimate(guide, estimator="disarm"))
    with ParamStore() as store:
        with h.seed(rng_seed=torch.Generator().manual_seed(0)):
            singles = [estimates(pair, store, Trace_ELBO(), 1) for _ in range(5)]
        with h.seed(rng_seed=torch.Generator().manual_seed(0)):
            looped = estimates(pair, store, Trace_ELBO(num_particles=5), 1)
    torch.testing.assert_close(looped[0], torch.cat(singles).mean(0))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_where_the_guide_is_the_posterior_the_gradient_does_not_vary(estimator: str) -> None:
    def model() -> None:
        with plate("data", 3):
            sample("z", Bernoulli(logits=torch.tensor([0.3, -1.0, 2.0])))

    def guide() -> None:
        with plate("data", 3):
            sample("z", Bernoulli(logits=param("q", torch.tensor([0.3, -1.0, 2.0]))))

    with ParamStore() as store:
        draws = estimates(Pair(model, estimate(guide, estimator=estimator)), store, Trace_ELBO(num_particles=4), 20)
    torch.testing.assert_close(draws, torch.zeros_like(draws), rtol=0, atol=1e-6)


# Edges


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("numbers", [[-300.0, 300.0], [0.0, -90.0]])
def test_chances_near_zero_and_one_give_finite_gradients(estimator: str, numbers: list[float]) -> None:
    logits = torch.tensor(numbers, requires_grad=True)
    with h.seed(rng_seed=0), h.trace() as tr, estimate(estimator=estimator, samples=20):
        z = sample("z", Bernoulli(logits=logits).to_event(1))
    loss = surrogate_loss(tr, z.sum(-1) ** 2)
    assert loss.isfinite()
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_a_category_without_mass_is_never_drawn() -> None:
    probs = torch.tensor([0.0, 0.3, 0.0, 0.7], requires_grad=True)
    with h.seed(rng_seed=0), h.trace() as tr, estimate(estimator="disarm", samples=500):
        z = sample("z", Categorical(probs=probs))
    assert set(z.tolist()) == {1, 3}
    (gradient,) = torch.autograd.grad(surrogate_loss(tr, LOSS.float()[z]), probs)
    assert gradient.isfinite().all()


def test_one_category_costs_nothing() -> None:
    logits = leaf(0.4)
    with h.trace() as tr, estimate(estimator="disarm"):
        z = sample("z", Categorical(logits=logits))
    (gradient,) = torch.autograd.grad(surrogate_loss(tr, LOSS[z].mean() + 0 * logits.sum()), logits)
    assert gradient.tolist() == [0.0]


def test_a_seed_gives_the_same_pair() -> None:
    def pair() -> Tensor:
        with h.seed(rng_seed=3), estimate(estimator="disarm"):
            value: Tensor = sample("z", Categorical(logits=torch.zeros(50, 4)).to_event(1))
        return value

    assert torch.equal(pair(), pair())


# Errors


def run(fn: Any, infer: dict[str, Any]) -> Tensor:
    with h.trace() as tr, estimate():
        z = sample("z", fn, infer=infer)
    return surrogate_loss(tr, z.float() ** 2)


@pytest.mark.parametrize(
    ("estimator", "fn", "needs"),
    [
        ("disarm", dist.Poisson(leaf(2.0)[0]), "is no Bernoulli or Categorical or OneHotCategorical"),
        ("arm", Categorical(logits=leaf(0.1, 0.4)), "is no Bernoulli"),
    ],
    ids=["disarm", "arm"],
)
def test_a_family_that_it_is_not_for(estimator: str, fn: Any, needs: str) -> None:
    name = type(fn).__name__
    message = fails(
        ValueError, lambda: run(fn, {"estimator": estimator}), f'site "z": {name} {needs}', f'estimator "{estimator}"'
    )
    run(fn, eval(advice(message, r"Try infer=(\{.+\})"))).backward()


def test_a_second_derivative_is_refused() -> None:
    logits = leaf(0.3)

    def second(infer: dict[str, Any]) -> None:
        (first,) = torch.autograd.grad(run(Bernoulli(logits=logits[0]), infer), logits, create_graph=True)
        torch.autograd.grad(first.sum(), logits)

    message = fails(RuntimeError, lambda: second({"estimator": "disarm"}), 'site "z"', "the first derivative only")
    second(eval(advice(message, r"Try infer=(\{.+?\})")))

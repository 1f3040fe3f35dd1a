"""Trace_ELBO: its value by hand, exact posteriors of conjugate models, particles, minibatches, masks and scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from scipy import special, stats
from torch import Tensor

import ppl
import ppl_dist as dist
from inference import ELBO, SVI, Cost, Trace_ELBO, optim
from ppl import ParamStore, observe, param, plate, sample
from ppl import handlers as h
from ppl_dist import constraints

Program = Callable[..., Any]
Normal = dist.Normal


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# ---------------------------------------------------------------------- by hand


def test_value_is_log_q_less_log_p() -> None:
    def model() -> None:
        z = sample("z", Normal(double(0.5)[0], 2.0))
        observe("x", Normal(z, 0.7), double(1.2)[0])

    def guide() -> Tensor:
        z: Tensor = sample("z", Normal(double(0.1)[0], 0.4))
        return z

    with h.seed(rng_seed=3):
        z = h.seed(guide, rng_seed=3)().item()
        got = Trace_ELBO().loss(model, guide)
    log_q = stats.norm(0.1, 0.4).logpdf(z)
    log_p = stats.norm(0.5, 2.0).logpdf(z) + stats.norm(z, 0.7).logpdf(1.2)
    assert got == pytest.approx(log_q - log_p, rel=1e-12)


def test_scales_and_masks_count_as_in_the_trace() -> None:
    x, kept = double(0.3, 9.0, -0.4), torch.tensor([True, False, True])

    def model() -> None:
        with h.scale(scale=2.0), plate("data", 3), h.mask(mask=kept):
            observe("x", Normal(double(0.2)[0], 1.0), x)

    loss = Trace_ELBO().loss(model, lambda: None)
    assert loss == pytest.approx(-2.0 * (stats.norm(0.2, 1).logpdf(0.3) + stats.norm(0.2, 1).logpdf(-0.4)))


def test_a_factor_counts() -> None:
    assert Trace_ELBO().loss(lambda: ppl.factor("f", double(1.5)[0]), lambda: None) == -1.5


def test_auxiliary_sites_of_the_guide_count_in_the_guide_alone() -> None:
    def model() -> None:
        sample("z", Normal(double(0.0)[0], 1.0))

    def guide() -> None:
        aux = sample("aux", Normal(double(0.0)[0], 1.0), infer={"is_auxiliary": True})
        sample("z", Normal(0.0 * aux, 1.0))

    with h.seed(rng_seed=0):
        aux = h.trace(h.seed(guide, rng_seed=0)).get_trace()["aux"].value
        assert Trace_ELBO().loss(model, guide) == pytest.approx(stats.norm.logpdf(aux.item()))


def test_loss_and_grads_adds_to_the_gradients() -> None:
    def guide() -> None:
        sample("z", Normal(param("loc", double(0.7)[0]), 1.0))

    def model() -> None:
        sample("z", Normal(double(0.0)[0], 1.0))

    elbo = Trace_ELBO()
    losses = [h.seed(elbo.loss_and_grads, rng_seed=1)(model, guide) for _ in range(2)]
    assert losses[0] == losses[1]
    leaf = ppl.get_param_store().leaves["loc"]
    assert leaf.grad is not None
    with h.seed(rng_seed=1):
        single = torch.autograd.grad(elbo.differentiable_loss(model, guide), leaf)[0]
    torch.testing.assert_close(leaf.grad, 2 * single)


def test_the_loss_alone_leaves_no_gradient() -> None:
    def model() -> None:
        observe("x", Normal(param("loc", 0.7), 1.0), 0.0)

    Trace_ELBO().loss(model, lambda: None)
    assert ppl.get_param_store().leaves["loc"].grad is None


# ---------------------------------------------------------------------- conjugate models


class Conjugate(NamedTuple):
    model: Program
    family: Callable[[Tensor, Tensor], Any]  # of the guide, from its two parameters
    start: tuple[float, float]
    first_constraint: Any
    posterior: tuple[float, float]
    log_evidence: float


def normal_normal() -> Conjugate:
    x = double(0.3, 1.9, 0.8, 1.1)
    precision = 1 / 4.0 + 4 / 1.5**2
    loc = (0.5 / 4.0 + x.sum().item() / 1.5**2) / precision

    def model() -> None:
        mu = sample("z", Normal(double(0.5)[0], 2.0))
        with plate("data", 4):
            observe("x", Normal(mu, 1.5), x)

    cov = 4.0 * torch.ones(4, 4, dtype=torch.float64) + 1.5**2 * torch.eye(4, dtype=torch.float64)
    evidence = stats.multivariate_normal(torch.full((4,), 0.5).numpy(), cov.numpy()).logpdf(x.numpy())
    return Conjugate(model, Normal, (0.0, 1.0), constraints.real, (loc, precision**-0.5), float(evidence))


def beta_bernoulli() -> Conjugate:
    x = double(1, 1, 0, 1, 0, 1, 1)

    def model() -> None:
        p = sample("z", dist.Beta(double(2.0)[0], 3.0))
        with plate("data", 7):
            observe("x", dist.Bernoulli(probs=p), x)

    evidence = special.betaln(2 + 5, 3 + 2) - special.betaln(2, 3)
    return Conjugate(model, dist.Beta, (1.5, 1.5), constraints.positive, (7.0, 5.0), float(evidence))


def gamma_poisson() -> Conjugate:
    x = double(3, 5, 2, 4)

    def model() -> None:
        rate = sample("z", dist.Gamma(double(2.0)[0], 0.5))
        with plate("data", 4):
            observe("x", dist.Poisson(rate), x)

    a, b, n, total = 2.0, 0.5, 4, 14.0
    evidence = a * math.log(b) - (a + total) * math.log(b + n) + special.gammaln(a + total) - special.gammaln(a)
    evidence -= special.gammaln(x.numpy() + 1).sum()
    return Conjugate(model, dist.Gamma, (8.0, 2.0), constraints.positive, (a + total, b + n), float(evidence))


CONJUGATE = {make.__name__: make() for make in (normal_normal, beta_bernoulli, gamma_poisson)}


@pytest.mark.parametrize("name", list(CONJUGATE))
def test_at_the_exact_posterior_every_draw_gives_the_evidence(name: str) -> None:
    case = CONJUGATE[name]

    def guide() -> None:
        sample("z", case.family(*double(*case.posterior)))

    losses = torch.tensor([Trace_ELBO().loss(case.model, guide) for _ in range(50)], dtype=torch.float64)
    torch.testing.assert_close(-losses, torch.full_like(losses, case.log_evidence), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", list(CONJUGATE))
def test_svi_recovers_the_posterior_and_the_evidence(name: str) -> None:
    case = CONJUGATE[name]

    def guide() -> None:
        first = param("first", double(case.start[0])[0], constraint=case.first_constraint)
        second = param("second", double(case.start[1])[0], constraint=constraints.positive)
        sample("z", case.family(first, second))

    def fit(lr: float, steps: int) -> None:
        svi = SVI(case.model, guide, optim.Adam(lr=lr, betas=(0.9, 0.99)), elbo, seed=0)
        svi.run(steps, progress=False)

    elbo = Trace_ELBO(num_particles=256, vectorize_particles=True)
    for lr, steps in ((0.05, 300), (0.005, 200), (0.001, 300)):
        fit(lr, steps)
    store = ppl.get_param_store()
    found = case.family(store["first"].detach(), store["second"].detach())
    exact = case.family(*double(*case.posterior))
    # in units of the posterior: its mean within 2% of its sd, its sd within 2%
    assert abs(found.mean - exact.mean) < 0.02 * exact.stddev
    assert abs(found.stddev / exact.stddev - 1) < 0.02

    check = Trace_ELBO()
    losses = torch.tensor([check.loss(case.model, guide) for _ in range(1000)], dtype=torch.float64)
    error = losses.std() / 1000**0.5
    assert error < 2e-3
    # the gap is KL(q || p), of second order in the errors above: below 1e-3 nats
    assert abs(-losses.mean() - case.log_evidence) < 4 * error + 1e-3


# ---------------------------------------------------------------------- particles


def test_vectorised_and_looped_particles_agree_in_expectation() -> None:
    x = torch.arange(6.0, dtype=torch.float64).reshape(2, 3) / 5

    def model(x: Tensor) -> None:
        w = sample("w", Normal(double(0.0)[0], 1.0))
        with plate("rows", 2, dim=-2), plate("columns", 3, dim=-1):
            z = sample("z", Normal(w, 1.0))
            observe("x", Normal(z, 0.5), x)

    def guide(x: Tensor) -> None:
        sample("w", Normal(param("loc", double(0.3)[0]), 0.5))
        with plate("rows", 2, dim=-2), plate("columns", 3, dim=-1):
            sample("z", Normal(x * param("gain", double(0.7)[0]), 0.4))

    def gradients(elbo: ELBO, repeats: int) -> tuple[Tensor, Tensor]:
        found = []
        for _ in range(repeats):
            loss = elbo.differentiable_loss(model, guide, x)
            leaves = list(ppl.get_param_store().leaves.values())
            found.append(torch.stack([loss.detach(), *torch.autograd.grad(loss, leaves)]))
        draws = torch.stack(found)
        return draws.mean(0), draws.std(0) / repeats**0.5

    looped, looped_error = gradients(Trace_ELBO(num_particles=10), 150)
    at_once, at_once_error = gradients(Trace_ELBO(num_particles=500, vectorize_particles=True), 50)
    error = (looped_error**2 + at_once_error**2).sqrt()
    assert error.norm() < 0.05 * at_once.norm()
    assert ((looped - at_once).abs() < 4 * error).all()


def test_values_that_do_not_depend_on_the_draw_are_exact_under_both() -> None:
    def model() -> None:
        with plate("data", 3):
            observe("x", Normal(param("loc", double(0.4)[0]), 1.0), double(0.1, 0.2, 0.9))

    losses = []
    for elbo in (Trace_ELBO(), Trace_ELBO(7), Trace_ELBO(7, vectorize_particles=True)):
        loss = elbo.differentiable_loss(model, lambda: None)
        leaf = ppl.get_param_store().leaves["loc"]
        losses.append(torch.stack([loss.detach(), *torch.autograd.grad(loss, [leaf])]))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(losses[2], losses[0], rtol=1e-12, atol=1e-14)


def particle_dims(elbo: ELBO, model: Program, guide: Program) -> set[int | None]:
    traces = elbo.traces(model, guide, (), {})
    frames = [frame for tr in traces for site in tr.values() for frame in site.cond_indep_stack]
    return {frame.dim for frame in frames if frame.name == "num_particles"}


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_max_plate_nesting_is_found(depth: int) -> None:
    def model() -> None:
        plates = [plate(f"p{i}", 2, dim=-1 - i) for i in range(depth)]
        for p in plates:
            p.__enter__()
        sample("z", Normal(0.0, 1.0))
        for p in reversed(plates):
            p.__exit__(None, None, None)

    assert particle_dims(Trace_ELBO(3, vectorize_particles=True), model, model) == {-1 - depth}


def test_max_plate_nesting_is_taken_as_given() -> None:
    def model() -> None:
        sample("z", Normal(0.0, 1.0))

    elbo = Trace_ELBO(3, max_plate_nesting=4, vectorize_particles=True)
    assert particle_dims(elbo, model, model) == {-5}


def test_finding_the_nesting_does_not_change_the_draws() -> None:
    def model() -> None:
        sample("z", Normal(double(0.0)[0], 1.0))

    def guide() -> None:
        sample("z", Normal(double(0.5)[0], 1.0))

    elbo = Trace_ELBO(3, vectorize_particles=True)
    first, second = (h.seed(elbo.loss, rng_seed=0)(model, guide) for _ in range(2))
    assert first == second


# ---------------------------------------------------------------------- minibatches


def test_minibatches_give_unbiased_losses_and_gradients() -> None:
    """Every minibatch, by enumeration: the mean over all of them is the loss on all data."""
    data = double(0.3, 1.9, 0.8, -1.1)

    def model(rows: list[int] | None) -> None:
        loc = param("loc", double(0.4)[0])
        with plate("data", 4, subsample=rows) as i:
            observe("x", Normal(loc, 1.0), data[i])

    def evaluate(rows: list[int] | None) -> Tensor:
        loss = Trace_ELBO().differentiable_loss(model, lambda rows: None, rows)
        (grad,) = torch.autograd.grad(loss, list(ppl.get_param_store().leaves.values()))
        return torch.stack([loss.detach(), grad])

    pairs = [[i, j] for i in range(4) for j in range(i)]
    torch.testing.assert_close(torch.stack([evaluate(rows) for rows in pairs]).mean(0), evaluate(None))


def test_model_and_guide_see_the_same_minibatch() -> None:
    seen = []

    def program() -> None:
        with plate("data", 100, subsample_size=5) as i:
            seen.append(i.tolist())
            sample("z", Normal(torch.zeros(5), 1.0))

    Trace_ELBO().loss(program, program)
    assert seen[0] == seen[1]


def test_num_particles_must_be_positive() -> None:
    with pytest.raises(ValueError, match="num_particles must be at least 1, got 0"):
        Trace_ELBO(0)


def test_a_bound_without_costs_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match=r"ELBO does not define costs"):
        ELBO().loss(lambda: None, lambda: None)


def test_a_bound_of_ones_own() -> None:
    """A subclass that scales every cost: the loss, its gradient and its particles follow."""

    class Half(Trace_ELBO):
        def costs(self, model_trace: Any, guide_trace: Any) -> list[Cost]:
            found = super().costs(model_trace, guide_trace)
            return [cost._replace(weight=0.5 * cost.weight) for cost in found]

    def model() -> None:
        sample("z", Normal(double(0.0)[0], 1.0))

    def guide() -> None:
        sample("z", Normal(double(0.5)[0], 1.0))

    whole, half = (h.seed(elbo.loss, rng_seed=0)(model, guide) for elbo in (Trace_ELBO(2), Half(2)))
    assert half == pytest.approx(0.5 * whole)


def test_an_infinite_plate_nesting_is_found_by_running() -> None:
    def program() -> None:
        with plate("p", 2):
            sample("z", Normal(param("loc", 0.0), 1.0))

    bound = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=math.inf)
    assert bound.traces(program, program, (), {})[1]["z"].value.shape == (3, 2)

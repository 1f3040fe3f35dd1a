"""RenyiELBO: values and gradients against the bound written out over all outcomes of all particles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from inference import Baselines, RenyiELBO, Trace_ELBO
from ppl import ParamStore, observe, param, plate, sample
from ppl import handlers as h

Program = Callable[..., Any]
Bernoulli, Normal = dist.Bernoulli, dist.Normal
ORDERS = [0.0, 0.5, -1.0, 2.0]


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[ParamStore]:
    with ParamStore() as store:
        yield store


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def discrete() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Bernoulli(logits=double(0.4)[0]))
        observe("x", Normal(param("w", double(1.3)[0]) * z, 0.7), double(0.9)[0])

    def guide() -> None:
        sample("z", Bernoulli(logits=param("q", double(-0.6)[0])))

    return model, guide


def exact_bound(alpha: float, particles: int) -> Tensor:
    """The expected loss of `discrete`, outcome by outcome; differentiable in "w" and "q"."""
    w, q = param("w", double(1.3)[0]), param("q", double(-0.6)[0])
    values = double(0.0, 1.0)
    log_q = Bernoulli(logits=q).log_prob(values)
    log_p = Bernoulli(logits=double(0.4)[0]).log_prob(values)
    log_w = log_p + Normal(w * values, 0.7).log_prob(double(0.9)[0]) - log_q
    total = torch.zeros((), dtype=torch.float64)
    for outcome in itertools.product((0, 1), repeat=particles):
        picked = list(outcome)
        bound = (((1 - alpha) * log_w[picked]).logsumexp(0) - math.log(particles)) / (1 - alpha)
        total = total - log_q[picked].sum().exp() * bound
    return total


def gradients(loss: Tensor, store: ParamStore) -> Tensor:
    return torch.stack(torch.autograd.grad(loss, [store.leaves[name] for name in ("w", "q")]))


def assert_unbiased(draws: Tensor, exact: Tensor) -> None:
    """Each component within 4 standard errors (a right one fails once in 16,000 times), the error below 2 %."""
    mean, error = draws.mean(0), draws.std(0) / len(draws) ** 0.5
    assert error.norm() < 0.02 * exact.norm(), (error, exact)
    assert ((mean - exact).abs() < 4 * error).all(), (mean, error, exact)


@pytest.mark.parametrize("baseline", ["none", "leave_one_out", "decaying_average"])
@pytest.mark.parametrize("vectorized", [True, False], ids=["vectorized", "looped"])
@pytest.mark.parametrize("alpha", ORDERS)
def test_score_gradients_are_those_of_the_exact_bound(
    alpha: float, vectorized: bool, baseline: str, _own_store: ParamStore
) -> None:
    model, guide = discrete()
    # many bounds at once, as the entries of a plate, which have weights of their own
    particles, copies = (3, 60_000) if vectorized else (2, 30_000)
    elbo, memory = RenyiELBO(alpha, num_particles=particles, vectorize_particles=vectorized), Baselines()
    draws = []
    with h.seed(rng_seed=0), h.infer_config(config_fn=lambda site: {"baseline": baseline}):
        for _ in range(20):
            loss = elbo.differentiable_loss(_plated(model, copies), _plated(guide, copies), baselines=memory)
            draws.append(gradients(loss / copies, _own_store))
    assert_unbiased(torch.stack(draws), gradients(exact_bound(alpha, particles), _own_store))


def _plated(program: Program, size: int) -> Program:
    def run() -> None:
        with plate("copies", size):
            program()

    return run


def gaussian_chain() -> tuple[Program, Program]:
    """Two latents, the second drawn around the first, in the model and in the guide."""

    def model() -> None:
        a = sample("a", Normal(double(0.0)[0], 1.0))
        b = sample("b", Normal(a, 1.0))
        observe("x", Normal(param("w", double(1.3)[0]) * b, 0.7), double(0.9)[0])

    def guide() -> None:
        a = sample("a", Normal(param("q", double(0.6)[0]), 0.9))
        sample("b", Normal(0.5 * a + param("c", double(-0.3)[0]), param("log_scale", double(-0.3)[0]).exp()))

    return model, guide


def draws_of(elbo: RenyiELBO, programs: tuple[Program, Program], copies: int, repeats: int) -> dict[str, Tensor]:
    """Gradients of the average loss of many copies, by parameter."""
    model, guide = (_plated(program, copies) for program in programs)
    found = []
    with ParamStore() as store, h.seed(rng_seed=1):
        for _ in range(repeats):
            loss = elbo.differentiable_loss(model, guide) / copies
            found.append(torch.autograd.grad(loss, list(store.leaves.values())))
        return dict(zip(store.leaves, map(torch.stack, zip(*found, strict=True)), strict=True))


@pytest.mark.parametrize("vectorized", [True, False], ids=["vectorized", "looped"])
def test_doubly_reparameterized_gradients_have_the_same_mean(vectorized: bool) -> None:
    programs, copies = gaussian_chain(), 5_000
    usual = draws_of(RenyiELBO(0, 5, vectorize_particles=True), programs, copies, 40)
    elbo = RenyiELBO(0, 5, vectorize_particles=vectorized, doubly_reparameterized=True)
    doubly = draws_of(elbo, programs, copies, 40)
    assert set(usual) == set(doubly) == {"q", "c", "log_scale", "w"}
    for name, draws in doubly.items():
        error = (draws.var(0) / 40 + usual[name].var(0) / 40).sqrt()
        assert error < 0.1 * doubly["w"].mean(0).abs()
        assert (draws.mean(0) - usual[name].mean(0)).abs() < 4 * error, name


def test_doubly_reparameterized_gradients_do_not_fade_with_the_particles() -> None:
    """Rainforth et al. 2018: the usual signal-to-noise ratio falls as 1 / sqrt(K); this one grows as sqrt(K)."""
    programs = gaussian_chain()
    ratios = {}
    for doubly in (False, True):
        for particles in (2, 64):
            elbo = RenyiELBO(0, particles, vectorize_particles=True, doubly_reparameterized=doubly)
            draws = draws_of(elbo, programs, 50, 200)["c"]
            ratios[doubly, particles] = (draws.mean() / draws.std()).abs().item()
    assert ratios[True, 64] > 1.5 * ratios[True, 2]
    assert ratios[True, 64] > 3 * ratios[False, 64]


def test_a_bound_of_many_particles_is_the_evidence() -> None:
    """x ~ Normal(0, sqrt(1 + 0.7^2)) marginally; at 20,000 particles the bound is within 0.01 nats."""

    def model() -> None:
        z = sample("z", Normal(double(0.0)[0], 1.0))
        observe("x", Normal(z, 0.7), double(0.9)[0])

    def guide() -> None:
        sample("z", Normal(double(0.3)[0], 0.9))

    evidence = Normal(double(0.0)[0], math.sqrt(1.49)).log_prob(double(0.9)[0]).item()
    with h.seed(rng_seed=0):
        loss = RenyiELBO(num_particles=20_000, vectorize_particles=True).loss(model, guide)
    assert abs(loss + evidence) < 0.01


@pytest.mark.parametrize("vectorized", [True, False], ids=["vectorized", "looped"])
def test_entries_of_a_common_plate_have_weights_of_their_own(vectorized: bool) -> None:
    """A minibatch of 2 of 6 copies, a bound each: 6 / 2 times their sum; no entry with the draws of another."""

    def model() -> None:
        with plate("data", 6, subsample_size=2):
            z = sample("z", Normal(double(0.0)[0], 1.0))
            observe("x", Normal(z, 0.7), double(0.9)[0])

    def guide() -> None:
        with plate("data", 6, subsample_size=2):
            sample("z", Normal(double(0.1)[0], 1.1))

    elbo = RenyiELBO(num_particles=2_000, vectorize_particles=vectorized)
    evidence = Normal(double(0.0)[0], math.sqrt(1.49)).log_prob(double(0.9)[0]).item()
    with h.seed(rng_seed=0):
        assert elbo.loss(model, guide) == pytest.approx(-6 * evidence, abs=0.2)


def test_a_latent_outside_the_plate_weighs_all_data_together() -> None:
    x = double(0.2, 1.4, -0.5)

    def model() -> None:
        z = sample("z", Normal(double(0.0)[0], 1.0))
        with plate("data", 3):
            observe("x", Normal(z, 0.7), x)

    def guide() -> None:
        sample("z", Normal(double(0.3)[0], 0.6))

    covariance = torch.eye(3, dtype=torch.float64) * 0.49 + 1.0
    evidence = dist.MultivariateNormal(torch.zeros(3, dtype=torch.float64), covariance).log_prob(x).item()
    with h.seed(rng_seed=0):
        loss = RenyiELBO(num_particles=50_000, vectorize_particles=True).loss(model, guide)
    assert loss == pytest.approx(-evidence, abs=0.02)


def test_one_particle_is_the_evidence_lower_bound_at_every_order() -> None:
    model, guide = gaussian_chain()
    with h.seed(rng_seed=0):
        expected = Trace_ELBO().loss(model, guide)
    for alpha in ORDERS:
        with h.seed(rng_seed=0):
            assert RenyiELBO(alpha, num_particles=1).loss(model, guide) == pytest.approx(expected, rel=1e-12)

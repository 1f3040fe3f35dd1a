"""Programs on which a gradient engine goes wrong without a word: each is right, or an error that says what to do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppl_dist as dist
from inference import (
    Baselines,
    DecayingAverage,
    LearnedBaseline,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    config_enumerate,
    estimate,
    surrogate_loss,
)
from ppl import ParamStore, factor, observe, param, plate, sample
from ppl import handlers as h

Program = Callable[..., Any]
Bernoulli, Normal = dist.Bernoulli, dist.Normal


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[ParamStore]:
    with ParamStore() as store:
        yield store


def leaf(number: float) -> Tensor:
    return torch.tensor(number, dtype=torch.float64, requires_grad=True)


def mean_gradient(loss: Callable[[], Tensor], x: Tensor, repeats: int) -> tuple[float, float]:
    """The mean of the gradient and its standard error."""
    with h.seed(rng_seed=torch.Generator().manual_seed(0)):
        found = torch.stack([torch.autograd.grad(loss(), x)[0] for _ in range(repeats)])
    return found.mean().item(), found.std().item() / repeats**0.5


# Rows


@pytest.mark.parametrize("advice", [{"samples": 1}, {"samples": 1, "baseline": "none"}])
def test_one_sample_is_a_sample(advice: dict[str, Any]) -> None:
    p = leaf(0.3)

    def loss() -> Tensor:
        with h.trace() as tr, estimate(estimator="score", **advice):
            z = sample("z", Bernoulli(probs=p))
        return surrogate_loss(tr, 3 * z, baselines=Baselines())

    mean, error = mean_gradient(loss, p, 2000)
    assert abs(mean - 3.0) < 4 * error < 1.0


def test_a_plate_opened_after_the_rows_is_not_taken_for_them() -> None:
    p = leaf(0.3)

    def program() -> None:
        z = sample("z", Bernoulli(probs=p), infer={"estimator": "enumerate"})
        with plate("d", 2):
            sample("w", Normal(2 * z, 1.0))

    with pytest.raises(ValueError, match='plate "d" has dim -1, not right of -1'):
        estimate(program)()
    with h.trace() as tr, estimate(first_available_dim=-2):
        program()
    loss = surrogate_loss(tr, {"w": tr["w"].fn.loc})
    assert loss.item() == pytest.approx(1.2)
    assert torch.autograd.grad(loss, p)[0].item() == pytest.approx(4.0)


def growing(plates: int) -> tuple[Program, Program]:
    return _growing_model, _growing_guide


def _nested(plates: int, body: Callable[[], Any]) -> None:
    if plates == 0:
        body()
        return
    with plate(f"p{plates}", 2):
        _nested(plates - 1, body)


def _growing_model(plates: int) -> None:
    z = sample("z", Bernoulli(0.4))
    _nested(plates, lambda: observe("x", Normal(z, 1.0), torch.tensor(0.3)))


def _growing_guide(plates: int) -> None:
    sample("z", Bernoulli(logits=param("q", 0.2)), infer={"estimator": "enumerate"})


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("bound", [Trace_ELBO, TraceEnum_ELBO])
def test_a_program_that_opens_more_plates_than_before(bound: Any, particles: int) -> None:
    elbo = bound(num_particles=particles, vectorize_particles=True)
    elbo.loss(_growing_model, _growing_guide, 0)
    for plates in (2, 0, 3):
        expected = Trace_ELBO().loss(_growing_model, _growing_guide, plates)
        assert elbo.loss(_growing_model, _growing_guide, plates) == pytest.approx(expected, rel=1e-5)


def test_two_blocks_of_rows_in_one_program() -> None:
    with h.trace() as tr:
        with estimate(estimator="enumerate"):
            a = sample("a", Bernoulli(0.3))
        with estimate(estimator="enumerate"):
            b = sample("b", Bernoulli(0.3))
    with pytest.raises(ValueError, match=r'rows of sites "a" and "b" lie along one dimension, -1. Try one estimate'):
        surrogate_loss(tr, a * b)
    with h.trace() as tr, estimate(estimator="enumerate"):
        a, b = sample("a", Bernoulli(0.3)), sample("b", Bernoulli(0.3))
    assert surrogate_loss(tr, a * b).item() == pytest.approx(0.09)


@pytest.mark.parametrize("merge", [torch.sum, lambda z: torch.stack([z, 2 * z]).sum(0).max()], ids=["sum", "max"])
def test_a_program_that_merges_the_rows(merge: Callable[[Tensor], Tensor]) -> None:
    def model() -> None:
        z = sample("z", Bernoulli(0.4))
        observe("x", Normal(merge(z), 1.0), torch.tensor(0.3))

    def guide() -> None:
        sample("z", Bernoulli(logits=param("q", 0.2)))

    with pytest.raises(ValueError, match='site "x": it depends on site "z", which is drawn in rows along dim -1'):
        Trace_ELBO().loss(model, estimate(guide, estimator="enumerate"))
    Trace_ELBO().loss(model, estimate(guide, estimator="score"))


# Baselines


def test_a_learned_baseline_does_not_train_what_its_inputs_come_from() -> None:
    loc = leaf(0.2)
    network = nn.Linear(1, 1).double()

    def gradient(*, learned: bool) -> Tensor:
        with h.seed(rng_seed=0), h.trace() as tr:
            a = sample("a", Normal(loc, 1.0))
            rule = LearnedBaseline(network, a[None]) if learned else "none"
            with plate("one", 1):
                z = sample("z", Bernoulli(logits=leaf(0.0)), infer={"baseline": rule})
        loss = surrogate_loss(tr, a + z)
        return torch.autograd.grad(loss, loc)[0]

    torch.testing.assert_close(gradient(learned=True), gradient(learned=False))


def test_an_average_does_not_see_the_draw_that_it_is_subtracted_for() -> None:
    """Two particles of one name with one joint cost; and one trace that is asked for its surrogate twice."""
    q = leaf(-0.4)
    memory = Baselines()

    def loss() -> Tensor:
        with h.trace() as tr:
            z = sample("z", Bernoulli(logits=q), infer={"baseline": DecayingAverage(0.0)})
        surrogate_loss(tr, 3 * z, baselines=memory)
        return surrogate_loss(tr, 3 * z, baselines=memory)

    mean, error = mean_gradient(loss, q, 4000)
    p = q.sigmoid().item()
    assert abs(mean - 3 * p * (1 - p)) < 4 * error < 0.1


def test_particles_of_one_name_do_not_see_each_other_in_a_running_average() -> None:
    def model() -> None:
        z = sample("z", Bernoulli(logits=torch.tensor(0.4, dtype=torch.float64)))
        observe("x", Normal(1.3 * z, 0.7), torch.tensor(0.9, dtype=torch.float64))

    def guide() -> None:
        sample("z", Bernoulli(logits=param("q", leaf(-0.6))), infer={"baseline": DecayingAverage(0.0)})

    elbo, memory = RenyiELBO(0, num_particles=2), Baselines()
    elbo.differentiable_loss(model, guide, baselines=memory)
    q = param("q")
    mean, error = mean_gradient(lambda: elbo.differentiable_loss(model, guide, baselines=memory), q, 4000)
    values = torch.tensor([0.0, 1.0], dtype=torch.float64)
    log_q = Bernoulli(logits=q).log_prob(values)
    log_p = Bernoulli(logits=torch.tensor(0.4, dtype=torch.float64)).log_prob(values)
    log_w = log_p + Normal(1.3 * values, 0.7).log_prob(torch.tensor(0.9, dtype=torch.float64)) - log_q
    exact: Any = sum(
        -log_q[[i, j]].sum().exp() * log_w[[i, j]].logsumexp(0) for i, j in itertools.product((0, 1), repeat=2)
    )
    assert abs(mean - torch.autograd.grad(exact, q)[0].item()) < 4 * error < 0.1


def test_particles_without_weight_leave_the_gradient_finite() -> None:
    def model() -> None:
        z = sample("z", Bernoulli(0.4))
        factor("possible", torch.where(z > 0, 0.0, -torch.inf))

    def guide() -> None:
        sample("z", Bernoulli(logits=param("q", torch.tensor(0.2))))

    elbo = RenyiELBO(num_particles=3, vectorize_particles=True)
    for seed in range(8):
        with h.seed(rng_seed=seed):
            loss = elbo.differentiable_loss(model, guide)
        assert not loss.isnan()


# Bounds


def test_a_score_that_is_left_out_is_not_left_out_under_a_weight() -> None:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        observe("x", Normal(z, 1.0), torch.tensor(2.0))

    def guide() -> None:
        sample("z", Normal(param("m", 0.0), 1.0), infer={"estimator": "path_derivative"})

    with pytest.raises(ValueError, match='site "z" has the estimator "path_derivative", expected one draw'):
        RenyiELBO(num_particles=5).loss(model, guide)


def test_a_guide_with_randomness_of_its_own_is_not_run_twice() -> None:
    def model() -> None:
        sample("z", Normal(0.0, 1.0))

    def guide() -> None:
        sample("z", Normal(param("m", 0.0) + 3 * torch.randn(()), 1.0))

    with pytest.raises(ValueError, match='expected the same density of site "z", got another'):
        RenyiELBO(doubly_reparameterized=True).loss(model, guide)


def test_scales_are_powers_as_numbers_and_as_tensors() -> None:
    """A number and a tensor say the same; a factor near 1 changes little."""

    def model(rate: Any) -> None:
        with plate("data", 4, subsample_size=2), h.scale(scale=rate):
            z = sample("z", Normal(0.0, 1.0))
            observe("x", Normal(z, 1.0), torch.tensor(0.8))

    def guide(rate: Any) -> None:
        with plate("data", 4, subsample_size=2), h.scale(scale=rate):
            sample("z", Normal(param("m", 0.1), 1.0))

    def loss(rate: Any) -> float:
        with h.seed(rng_seed=0):
            return RenyiELBO(num_particles=4).loss(model, guide, rate)

    assert loss(2.0) == pytest.approx(loss(torch.tensor(2.0)))
    assert loss(0.999) == pytest.approx(loss(1.0), rel=0.01)


def test_switches_among_the_arguments_are_other_programs() -> None:
    """Dependencies that were found without a part of the program do not serve with it."""

    def model(*, on: bool) -> None:
        z = sample("z", Bernoulli(logits=torch.tensor(0.3, dtype=torch.float64)))
        mean = 3 * z if on else torch.zeros((), dtype=torch.float64)
        observe("x", Normal(mean, 1.0), torch.tensor(2.0, dtype=torch.float64))

    def guide(*, on: bool) -> None:
        sample("z", Bernoulli(logits=param("q", leaf(-0.4))), infer={"baseline": "none"})

    elbo = TraceGraph_ELBO()
    for _ in range(5):
        elbo.loss(model, guide, on=False)
    q = param("q")
    mean, error = mean_gradient(lambda: elbo.differentiable_loss(model, guide, on=True), q, 3000)
    exact, error_of_it = mean_gradient(lambda: Trace_ELBO().differentiable_loss(model, guide, on=True), q, 3000)
    assert abs(mean - exact) < 4 * (error**2 + error_of_it**2) ** 0.5 < 0.3


def test_a_look_at_a_program_draws_nothing_of_its_randomness() -> None:
    def model() -> None:
        z = sample("z", Bernoulli(0.4))
        observe("x", Normal(z + torch.randn(()), 1.0), torch.tensor(0.3))

    def guide() -> None:
        sample("z", Bernoulli(logits=param("q", 0.2)))

    def losses(elbo: Any) -> list[float]:
        torch.manual_seed(0)
        return [elbo.differentiable_loss(model, guide).item() for _ in range(4)]

    assert losses(TraceGraph_ELBO()) == losses(Trace_ELBO())


def test_dreams_do_not_train_an_auxiliary_draw() -> None:
    def model(observations: Any) -> None:
        z = sample("z", Normal(0.0, 1.0))
        observe("x", Normal(z, 1.0), observations["x"])

    def guide(observations: Any) -> None:
        a = sample("a", Normal(torch.zeros(()), param("s", torch.tensor(1.5))), infer={"is_auxiliary": True})
        sample("z", Normal(a, 1.0))

    elbo, data = (
        ReweightedWakeSleep(insomnia=0.0, model_has_params=False, num_sleep_particles=1),
        {"x": torch.tensor(0.3)},
    )
    elbo.loss(model, guide, observations=data)
    s = param("s")
    mean, error = mean_gradient(lambda: elbo.differentiable_loss(model, guide, observations=data), s, 2000)
    assert abs(mean) < 4 * error < 0.5  # the score of a draw without a gradient


def test_a_minibatch_is_not_dreamt() -> None:
    def model(observations: Any) -> None:
        with plate("data", 6, subsample_size=2) as rows:
            z = sample("z", Normal(0.0, 1.0))
            observe("x", Normal(z, 1.0), observations["x"][rows])

    def guide(observations: Any) -> None:
        with plate("data", 6, subsample_size=2) as rows:
            sample("z", Normal(param("w", 0.1) * observations["x"][rows], 1.0))

    data = {"x": torch.zeros(6)}
    with pytest.raises(ValueError, match='plate "data" has a minibatch of 2 of 6'):
        ReweightedWakeSleep(insomnia=0.5).loss(model, guide, observations=data)
    ReweightedWakeSleep(insomnia=1.0).loss(model, guide, observations=data)


def test_a_guide_that_cannot_be_hashed() -> None:
    @dataclass
    class Guide:
        start: float

        def __call__(self) -> None:
            sample("z", Bernoulli(logits=param("q", self.start)))

    Trace_ELBO().loss(lambda: sample("z", Bernoulli(0.4)), Guide(0.2))


def test_local_draws_as_existing_scripts_ask_for_them() -> None:
    """One draw of a site that is to be enumerated with `num_samples=1` keeps its score."""

    def model() -> None:
        z = sample("z", Bernoulli(logits=torch.tensor(0.3, dtype=torch.float64)))
        observe("x", Normal(3 * z, 1.0), torch.tensor(2.0, dtype=torch.float64))

    def guide() -> None:
        sample("z", Bernoulli(logits=param("q", leaf(-0.4))))

    elbo, memory = Trace_ELBO(), Baselines()
    asked = config_enumerate(guide, num_samples=1)
    elbo.differentiable_loss(model, asked, baselines=memory)
    q = param("q")
    mean, error = mean_gradient(lambda: elbo.differentiable_loss(model, asked, baselines=memory), q, 3000)
    (exact,) = torch.autograd.grad(elbo.differentiable_loss(model, estimate(guide, estimator="enumerate")), q)
    assert abs(mean - exact.item()) < 4 * error < 0.3

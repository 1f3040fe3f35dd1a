"""Every deliberate error of estimators, baselines and bounds has four parts, and what it suggests runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppl_dist as dist
from inference import (
    SVI,
    Baselines,
    LearnedBaseline,
    LeaveOneOut,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    estimate,
    optim,
    surrogate_loss,
)
from ppl import ParamStore, observe, param, plate, sample
from ppl import handlers as h
from tests.errors.reading import advice, fails

Program = Callable[..., Any]


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def coin(entries: int = 0) -> Any:
    return dist.Bernoulli(logits=torch.full((entries,) if entries else (), 0.3, requires_grad=True))


def loss_of(
    fn: Any, size: int = 0, cost: Callable[[Tensor], Tensor] = torch.square, **infer: Any
) -> Callable[[], Tensor]:
    """The surrogate of a cost of one site that is drawn as it asks, in a plate of that size, or in none."""

    def call() -> Tensor:
        with h.trace() as tr, estimate(first_available_dim=-2):
            if size:
                with plate("data", size):
                    z = sample("z", fn, infer=infer)
            else:
                z = sample("z", fn, infer=infer)
        loss = surrogate_loss(tr, cost(z), baselines=Baselines())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    return call


def follow(message: str, fn: Any, size: int = 0) -> None:
    """Run the `infer={...}` that the message suggests, at a site of its own."""
    loss_of(fn, size, **eval(advice(message, r"Try infer=(\{.+?\})")))()


# A site and its estimator


def test_a_family_without_a_pathwise_derivative() -> None:
    message = fails(
        ValueError, loss_of(coin(), estimator="pathwise"), 'site "z": Bernoulli has no rsample', '"pathwise" needs'
    )
    follow(message, coin())


def test_an_infinite_support_is_not_enumerated() -> None:
    fn = dist.Poisson(torch.tensor(2.0, requires_grad=True))
    message = fails(ValueError, loss_of(fn, estimator="enumerate"), 'site "z": Poisson has no enumerate_support')
    follow(message, fn)


@pytest.mark.parametrize("budget", [0, 2.5, "two"])
def test_a_budget_that_is_no_count(budget: Any) -> None:
    call = loss_of(coin(), estimator="enumerate", budget=budget)
    follow(fails(ValueError, call, 'site "z": "budget" must be a whole number', f"got {budget!r}"), coin())


@pytest.mark.parametrize("samples", [0, -1, 2.0])
def test_a_number_of_samples_that_is_no_count(samples: Any) -> None:
    call = loss_of(coin(), samples=samples)
    follow(fails(ValueError, call, 'site "z": "samples" must be a whole number', f"got {samples!r}"), coin())


def test_a_misspelt_estimator_of_a_program() -> None:
    message = fails(
        ValueError, lambda: estimate(estimator="enumerat"), "unknown estimator 'enumerat'", 'did you mean "enumerate"?'
    )
    eval(advice(message, r"Try (estimate\(program, .+?\))"), {"estimate": estimate, "program": loss_of(coin())})()


def test_rows_without_the_handler_that_draws_them() -> None:
    with h.trace() as tr:
        sample("z", coin(), infer={"estimator": "enumerate"})
    message = fails(
        RuntimeError,
        lambda: surrogate_loss(tr, torch.tensor(1.0)),
        'site "z": the estimator "enumerate" must draw',
        "did not",
    )
    statement = advice(message, r"Try (with .+?:)").replace("inference.", "")
    scope: dict[str, Any] = {"estimate": estimate, "sample": sample, "coin": coin, "h": h}
    exec(f"with h.trace() as tr:\n  {statement}\n    sample('z', coin(), infer={{'estimator': 'enumerate'}})", scope)
    surrogate_loss(scope["tr"], scope["tr"]["z"].value).backward()


def test_a_plate_where_the_rows_should_go() -> None:
    def program() -> None:
        with plate("data", 3):
            sample("z", coin(), infer={"estimator": "enumerate"})

    message = fails(ValueError, estimate(program), 'estimate: at site "z", plate "data" has dim -1', "not right of -1")
    eval(advice(message, r"Try (estimate\(.+?\))"), {"estimate": estimate, "program": program})()


def test_a_cost_outside_the_plate_of_an_enumerated_site() -> None:
    def total(z: Tensor) -> Tensor:
        return z.sum(-1, keepdim=True) ** 2

    where = 'site "z": it is enumerated inside plate "data" (dim -1, size 3)'
    got = "a cost outside depends on all its entries together"
    message = fails(ValueError, loss_of(coin(), 3, total, estimator="enumerate"), where, got)
    loss_of(coin(), 3, total, **eval(advice(message, r"Try infer=(\{.+?\})")))()


def test_a_second_derivative_that_would_be_of_an_estimate() -> None:
    loc = torch.tensor(0.3, requires_grad=True)

    def gradient(estimator: str) -> Tensor:
        with h.trace() as tr, estimate():
            z = sample("z", dist.Normal(loc, 1.0), infer={"estimator": estimator, "baseline": "none"})
        return torch.autograd.grad(surrogate_loss(tr, z**4), loc, create_graph=True)[0]

    first = gradient("path_derivative")
    message = fails(
        RuntimeError,
        lambda: torch.autograd.grad(first, loc),
        "expected to be differentiated once, got a second time",
        'the estimator of site "z"',
    )
    torch.autograd.grad(gradient(eval(advice(message, r"Try infer=(\{.+?\})"))["estimator"]), loc)


# Baselines


def test_one_draw_alone_cannot_be_left_out() -> None:
    message = fails(
        ValueError, loss_of(coin(), baseline="leave_one_out"), 'site "z"', "leaves one draw out, and there is only one"
    )
    follow(message, coin())


def test_a_plate_to_compare_in_that_is_not_there() -> None:
    call = loss_of(coin(), 3, baseline=LeaveOneOut("dat"))
    message = fails(ValueError, call, 'leaves one out of plate "dat"', 'Plates: plate "data" (dim -1, size 3)')
    follow(message, coin(), 3)


def test_a_batch_average_without_a_batch() -> None:
    follow(
        fails(ValueError, loss_of(coin(), baseline="batch_average"), "averages over a plate, and there is none"), coin()
    )


def test_a_network_that_gives_a_baseline_of_another_shape() -> None:
    rule = LearnedBaseline(nn.Linear(2, 5), torch.zeros(2))
    fails(ValueError, loss_of(coin(), 3, baseline=rule), "the baseline has shape (5,)", "batch shape (3,)")
    loss_of(coin(), 3, baseline=LearnedBaseline(nn.Linear(2, 3), torch.zeros(2)))()


# Bounds


def gaussian() -> tuple[Program, Program]:
    def model(observations: dict[str, Any] | None = None) -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        observe("x", dist.Normal(z, 1.0), 0.3)

    def guide(observations: dict[str, Any] | None = None) -> None:
        sample("z", dist.Normal(param("loc", 0.1), 1.0))

    return model, guide


def test_a_guide_that_enumerates_what_the_model_does_not_have() -> None:
    model, _ = gaussian()

    def guide() -> None:
        sample("z", dist.Normal(0.0, 1.0))
        sample("c", dist.Bernoulli(logits=param("q", 0.1)), infer={"estimator": "enumerate"})

    call = lambda: Trace_ELBO().loss(model, guide)  # noqa: E731
    fails(
        ValueError,
        call,
        'site "c": the guide has this latent site and the model does not',
        "Latent sites of the model: z",
    )


def test_renyi_of_order_one() -> None:
    message = fails(ValueError, lambda: RenyiELBO(alpha=1), "alpha must not be 1", "That is the evidence lower bound")
    eval(advice(message, r"Try (Trace_ELBO\(\))")).loss(*gaussian())


def test_doubly_reparameterised_of_another_order() -> None:
    message = fails(ValueError, lambda: RenyiELBO(0.5, doubly_reparameterized=True), "needs alpha 0", "got 0.5")
    eval(advice(message, r"Try (RenyiELBO\(.+?\))")).loss(*gaussian())


@pytest.mark.parametrize("bound", [RenyiELBO(0, 2), ReweightedWakeSleep(2)], ids=lambda bound: type(bound).__name__)
def test_weights_of_several_draws_for_one_particle(bound: Any) -> None:
    model, guide = gaussian()
    name = type(bound).__name__
    call = lambda: bound.loss(model, estimate(guide, samples=3))  # noqa: E731
    message = fails(ValueError, call, f'{name}: site "z" has the estimator', "expected one draw for each particle")
    assert eval(advice(message, r"Try infer=(\{.+?\})")) == {"estimator": "score"}


def test_doubly_reparameterised_without_a_pathwise_draw() -> None:
    model, guide = gaussian()
    bound = RenyiELBO(doubly_reparameterized=True)
    call = lambda: bound.loss(model, estimate(guide, estimator="score"))  # noqa: E731
    message = fails(ValueError, call, 'RenyiELBO: site "z" has the estimator "score"', "expected one pathwise draw")
    bound.loss(model, estimate(guide, **eval(advice(message, r"Try infer=(\{.+?\})"))))


def test_insomnia_is_a_share() -> None:
    message = fails(ValueError, lambda: ReweightedWakeSleep(insomnia=2.0), "insomnia must lie in [0, 1]", "got 2.0")
    eval(f"ReweightedWakeSleep({advice(message)})").loss(*gaussian())


def test_dreams_need_the_data_as_a_keyword() -> None:
    svi = SVI(*gaussian(), optim.SGD(lr=0.1), ReweightedWakeSleep(insomnia=0.0), store=ParamStore(), seed=0)
    message = fails(TypeError, svi.step, "model and guide take the data as a keyword, got none")
    eval(advice(message, r"Try (svi.step\(.+?\)), or"), {"svi": svi, "x": torch.tensor(0.3)})

"""TraceMeanField_ELBO: closed forms, the expectation of Trace_ELBO with less noise, and where it must not apply."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl
import ppl_dist as dist
from inference import Trace_ELBO
from inference.elbo.trace_mean_field_elbo import TraceMeanField_ELBO
from ppl import ParamStore, observe, param, plate, sample
from ppl import handlers as h
from tests.support.enumeration import exact_elbo_loss

Program = Callable[..., Any]
Bernoulli, Categorical, Normal = dist.Bernoulli, dist.Categorical, dist.Normal
X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


ZERO = double(0.0)[0]


def gradients(loss: Tensor) -> Tensor:
    leaves = list(ppl.get_param_store().leaves.values())
    found = torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True)
    return torch.cat([gradient.reshape(-1) for gradient in found])


# Closed forms


@pytest.mark.parametrize(
    ("q", "p"),
    [
        (lambda: Normal(param("a", double(0.3)[0]), 0.5), lambda: Normal(ZERO, 1.0)),
        (lambda: dist.Gamma(param("a", double(2.0)[0]), 1.5), lambda: dist.Gamma(double(1.0)[0], 1.0)),
        (lambda: Categorical(logits=param("a", double(0.3, -1.0, 0.0))), lambda: Categorical(double(0.2, 0.3, 0.5))),
        (
            lambda: Normal(param("a", double(0.3, 0.1)), 0.5).to_event(1),
            lambda: Normal(torch.zeros(2).double(), 1.0).to_event(1),
        ),
    ],
    ids=["Normal", "Gamma", "Categorical", "Normal.to_event"],
)
def test_a_single_site_has_no_noise(q: Callable[[], Any], p: Callable[[], Any]) -> None:
    bound = TraceMeanField_ELBO()
    loss = bound.differentiable_loss(lambda: sample("z", p()), lambda: sample("z", q()))
    exact = dist.kl_divergence(q(), p())
    torch.testing.assert_close(loss, exact)
    torch.testing.assert_close(gradients(loss), gradients(exact))
    assert bound.terms == {"z": "analytic"}


def test_minibatches_and_masks_weigh_the_divergence() -> None:
    kept = torch.tensor([True, False])

    def model() -> None:
        with plate("data", 6, subsample=[0, 2]), h.mask(mask=kept), h.scale(scale=0.5):
            sample("z", Normal(ZERO, 1.0))

    def guide() -> None:
        with plate("data", 6, subsample=[0, 2]), h.mask(mask=kept.clone()), h.scale(scale=0.5):
            sample("z", Normal(double(1.0, 5.0), 1.0))

    assert TraceMeanField_ELBO().loss(model, guide) == pytest.approx(0.5 * 3 * 0.5)
    assert TraceMeanField_ELBO(3, vectorize_particles=True).loss(model, guide) == pytest.approx(0.5 * 3 * 0.5)


# The same expectation


def pair(estimator: str) -> tuple[Program, Program]:
    """Discrete sites, one depending on another in model and guide, inside a plate and outside."""

    def model() -> None:
        s = sample("s", Bernoulli(logits=param("w", double(0.4, -0.3))[0]))
        with plate("data", 2):
            k = sample("k", Categorical(logits=s[..., None] * double(0.2, -0.5, 0.9)))
            observe("x", Normal(k + s * param("w")[1], 1.0), X[:2])

    def guide() -> None:
        infer = {"estimator": estimator, "baseline": "none"}
        s = sample("s", Bernoulli(logits=param("q", double(0.7)[0])), infer=dict(infer))
        with plate("data", 2):
            logits = param("r", double(0.3, 0.1, -0.6)) * (1 + s[..., None])
            sample("k", Categorical(logits=logits), infer=dict(infer))

    return model, guide


def test_enumerated_it_is_exact() -> None:
    bound = TraceMeanField_ELBO()
    loss, exact = bound.differentiable_loss(*pair("enumerate")), exact_elbo_loss(*pair("score"))
    assert bound.terms == {"s": "analytic", "k": "analytic"}
    torch.testing.assert_close(loss, exact, rtol=0, atol=1e-10)
    torch.testing.assert_close(gradients(loss), gradients(exact), rtol=0, atol=1e-10)


def test_score_functions_are_unbiased() -> None:
    """The mean of 200 means of 50 draws, 6 entries: 5 standard errors, a false alarm in 3e5."""
    exact = exact_elbo_loss(*pair("score"))
    bound, found = TraceMeanField_ELBO(50, vectorize_particles=True), []
    for _ in range(200):
        loss = bound.differentiable_loss(*pair("score"))
        found.append(torch.cat([loss.detach()[None], gradients(loss)]))
    entries, wanted = torch.stack(found), torch.cat([exact.detach()[None], gradients(exact)])
    assert (abs(entries.mean(0) - wanted) <= 5 * entries.std(0) / 200**0.5 + 1e-9).all()


def test_pathwise_gradients_vary_less() -> None:
    """The gradient in the mean is m + (z - x) / 9 and not z + (z - x) / 9: a hundredth of the variance."""

    def model() -> None:
        z = sample("z", Normal(ZERO, 1.0))
        observe("x", Normal(z, 3.0), X[0])

    def guide() -> None:
        sample("z", Normal(param("m", double(0.7)[0]), 0.5))

    variances = []
    for bound in (TraceMeanField_ELBO(), Trace_ELBO()):
        with h.seed(rng_seed=0):
            variances.append(torch.stack([gradients(bound.differentiable_loss(model, guide)) for _ in range(50)]).var())
    torch.testing.assert_close(variances[0] * 100, variances[1])


# Where it does not apply


def test_a_site_that_the_model_draws_after_a_later_one_of_the_guide() -> None:
    def model() -> None:
        a = sample("a", Bernoulli(logits=double(0.3)[0]))
        sample("b", Bernoulli(logits=a - 0.2))

    def guide() -> None:
        b = sample("b", Bernoulli(logits=param("q", double(0.7)[0])), infer={"estimator": "enumerate"})
        sample("a", Bernoulli(logits=param("r", double(0.1)[0]) + b), infer={"estimator": "enumerate"})

    bound = TraceMeanField_ELBO()
    loss, exact = bound.differentiable_loss(model, guide), exact_elbo_loss(model, guide)
    assert bound.terms == {"b": "monte carlo", "a": "analytic"}
    torch.testing.assert_close(loss, exact)
    torch.testing.assert_close(gradients(loss), gradients(exact))


def both_ways(model: Program, guide: Program) -> TraceMeanField_ELBO:
    """The bound, after its loss was found to be that of Trace_ELBO on the same draws."""
    bound = TraceMeanField_ELBO()
    losses = [h.seed(kind.loss, rng_seed=0)(model, guide) for kind in (bound, Trace_ELBO())]
    assert losses[0] == pytest.approx(losses[1])
    return bound


def test_a_pair_without_a_closed_form() -> None:
    bound = both_ways(lambda: sample("z", dist.Logistic(ZERO, 1.0)), lambda: sample("z", Normal(ZERO, 1.0)))
    assert bound.terms == {"z": "monte carlo"}
    bound.loss(lambda: sample("z", Normal(ZERO, 2.0)), lambda: sample("z", Normal(ZERO, 1.0)))
    assert bound.terms == {"z": "analytic"}


@pytest.mark.parametrize("around", [lambda: h.scale(scale=2.0), lambda: h.mask(mask=torch.tensor([True, False, True]))])
def test_a_site_that_the_model_weighs_otherwise(around: Callable[[], Any]) -> None:
    def model() -> None:
        with plate("data", 3), around():
            sample("z", Normal(ZERO, 1.0))

    def guide() -> None:
        with plate("data", 3):
            sample("z", Normal(X, 1.0))

    assert both_ways(model, guide).terms == {"z": "monte carlo"}


def test_a_plate_that_the_guide_does_not_open() -> None:
    def model() -> None:
        with plate("data", 3):
            sample("z", Normal(ZERO, 1.0))

    def guide() -> None:
        with plate("others", 3):
            sample("z", Normal(X, 1.0))

    assert both_ways(model, guide).terms == {"z": "monte carlo"}


def test_auxiliary_sites_of_the_guide() -> None:
    def guide() -> None:
        aux = sample("aux", Normal(ZERO, 1.0), infer={"is_auxiliary": True})
        sample("z", Normal(aux, 1.0))

    bound = TraceMeanField_ELBO()
    with h.seed(rng_seed=0):
        loss = bound.loss(lambda: sample("z", Normal(ZERO, 1.0)), guide)
    aux = h.trace(h.seed(guide, rng_seed=0)).get_trace()["aux"].value
    assert bound.terms == {"aux": "monte carlo", "z": "analytic"}
    assert loss == pytest.approx((Normal(0.0, 1.0).log_prob(aux) + aux**2 / 2).item())

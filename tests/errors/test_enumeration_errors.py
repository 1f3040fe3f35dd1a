"""What cannot be summed out of a model says so in four parts; the advice is run."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from inference import Trace_ELBO
from inference.elbo.trace_enum_elbo import TraceEnum_ELBO
from inference.enumerating import config_enumerate
from ppl import ParamStore, observe, param, plate, sample
from tests.errors.reading import advice, fails

Bernoulli, Categorical, Normal = dist.Bernoulli, dist.Categorical, dist.Normal
ENUM = {"enumerate": "parallel"}
X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def weights() -> Tensor:
    return param("w", torch.tensor([0.2, -0.5, 0.9], dtype=torch.float64))


def loc() -> Tensor:
    return param("loc", torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64))


def nothing() -> None:
    pass


def mixture() -> None:
    with plate("data", 3):
        k = sample("k", Categorical(logits=weights()), infer=ENUM)
        observe("x", Normal(loc()[k], 1.0), X)


def test_a_guide_that_enumerates_what_the_model_does_not_have() -> None:
    def guide() -> None:
        sample("j", Bernoulli(0.5), infer=ENUM)

    message = fails(ValueError, lambda: TraceEnum_ELBO().loss(mixture, guide), 'site "j": the guide has')
    assert 'infer={"is_auxiliary": True}' in message


def test_a_latent_site_that_nobody_enumerates() -> None:
    def model() -> None:
        sample("k", Bernoulli(0.5))

    fails(ValueError, lambda: TraceEnum_ELBO().loss(model, nothing), 'site "k": the model has this latent site')
    assert TraceEnum_ELBO().loss(config_enumerate(model), nothing) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("infer", [{"num_samples": 3}, {"budget": 1}])
def test_a_site_that_is_not_summed_in_full(infer: dict[str, int]) -> None:
    def model() -> None:
        sample("k", Bernoulli(0.5), infer=ENUM | infer)

    fails(ValueError, lambda: TraceEnum_ELBO().loss(model, nothing), 'site "k": the model has this latent site')


@pytest.mark.parametrize("nesting", [None, 1])
def test_values_that_cannot_be_listed(nesting: int | None) -> None:
    def model() -> None:
        k = sample("k", dist.Poisson(2.0), infer=ENUM)
        observe("x", Normal(k, 1.0), 0.5)

    message = fails(
        NotImplementedError,
        lambda: TraceEnum_ELBO(max_plate_nesting=nesting).loss(model, nothing),
        'site "k": the model cannot be summed over it',
        "expected a distribution with enumerate_support, got Poisson",
    )
    code = advice(message, r"Try (sample\(.+?\)) in the guide").replace("...", "1.5")
    TraceEnum_ELBO(max_plate_nesting=nesting).loss(
        model, lambda: eval(code, {"sample": sample, "Poisson": dist.Poisson})
    )


def test_entries_that_are_one_event_cannot_be_listed() -> None:
    def model() -> None:
        sample("k", Bernoulli(torch.full((3,), 0.5)).to_event(1), infer=ENUM)

    fails(NotImplementedError, lambda: TraceEnum_ELBO().loss(model, nothing), "got Bernoulli.to_event(1)")


def minibatch_below() -> None:
    k = sample("k", Categorical(logits=weights()), infer=ENUM)
    with plate("data", 6, subsample=[0, 2]):
        observe("x", Normal(loc()[k], 1.0), X[:2])


def test_the_advice_where_scales_differ_works() -> None:
    message = fails(ValueError, lambda: TraceEnum_ELBO().loss(minibatch_below, nothing), "expected one scale")
    code = advice(message, r"Try (sample\(.+?\)) in the guide").replace("...", "logits=q")
    names = {"sample": sample, "Categorical": Categorical}
    loss = TraceEnum_ELBO().loss(
        minibatch_below, lambda: eval(code, names | {"q": param("q", torch.zeros(3).double())})
    )
    likelihood = 3 * Normal(loc(), 1.0).log_prob(X[:2, None]).sum(0)
    assert loss == pytest.approx((log(1 / 3) - (weights().log_softmax(0) + likelihood).mean()).item())


def test_the_advice_where_entries_are_needed_together_works() -> None:
    def model() -> None:
        with plate("data", 3):
            k = sample("k", Bernoulli(logits=weights()), infer=ENUM)
        observe("x", Normal(k.sum(-1, keepdim=True), 1.0), X[:1])

    message = fails(ValueError, lambda: TraceEnum_ELBO().loss(model, nothing), "too many combinations")
    code = advice(message, r"Try (sample\(.+?\)) in the guide").replace("...", "0.5")

    def guide() -> None:
        with plate("data", 3):
            eval(code, {"sample": sample, "Bernoulli": Bernoulli})

    TraceEnum_ELBO().loss(model, guide)


def test_rows_of_the_guide_that_are_needed_together() -> None:
    """Entries of a plate that the guide enumerates meet in the sum over a site outside."""

    def model() -> None:
        a = sample("a", Bernoulli(logits=weights()[0]), infer=ENUM)
        with plate("data", 3):
            k = sample("k", Bernoulli(logits=weights()[1] * a))
            observe("x", Normal(k + a, 1.0), X)

    def guide() -> None:
        with plate("data", 3):
            sample("k", Bernoulli(logits=param("q", torch.zeros(3).double())), infer=ENUM)

    fails(ValueError, lambda: TraceEnum_ELBO().loss(model, guide), "too many combinations to sum", '"score"')


def test_the_other_bounds_do_not_sum_the_model() -> None:
    fails(ValueError, lambda: Trace_ELBO().loss(mixture, nothing), 'site "k": the model has this latent site')

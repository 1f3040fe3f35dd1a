"""Bounds under rebar and relax, with control variates set on purpose: their gradients are the exact ones.

Each component within 4 standard errors, the standard error below 2% of the norm, as in `test_relaxed`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import ppl
import ppl_dist as dist
from inference import Trace_ELBO
from inference.estimators.relaxed import Interpolated
from ppl import ParamStore, observe, param, sample
from tests.support.enumeration import exact_elbo_loss
from tests.support.relaxing import (
    CONTROLLED,
    EXACT,
    PAIRS,
    SILLY,
    Pair,
    Using,
    assert_unbiased,
    bound_gradients,
    flat_grad,
    learnt,
    set_controls,
    values,
)

Bernoulli, Normal, OneHot = dist.Bernoulli, dist.Normal, dist.OneHotCategorical
Program = Callable[[], Any]


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    torch.manual_seed(0)
    with ParamStore():
        yield


@pytest.mark.parametrize(("estimator", "silly"), list(zip(CONTROLLED, SILLY, strict=True)))
@pytest.mark.parametrize("name", list(PAIRS))
def test_gradient_of_a_bound(name: str, estimator: str, silly: str) -> None:
    with Using(estimator):
        draws, exact = bound_gradients(PAIRS[name], EXACT[name], silly, turns=3 if name == "minibatch" else 1)
    assert_unbiased(draws, exact)


@pytest.mark.parametrize("other", ["score", "enumerate", "rebar"])
@pytest.mark.parametrize("place", ["a", "b"])
def test_before_and_after_a_site_of_another_estimator(other: str, place: str) -> None:
    with Using("relax", **{place: other}):
        draws, exact = bound_gradients(PAIRS["chain"], PAIRS["chain"], "hot_and_too_much")
    assert_unbiased(draws, exact)


def test_a_site_that_lacks_the_rows_of_an_earlier_one() -> None:
    def model() -> None:
        a, b = (sample(name, Bernoulli(logits=values(0.2)[0])) for name in "ab")
        observe("x", Normal(a + 1.5 * a * b - b, 0.8), values(0.7)[0])

    def guide() -> None:
        for name in "ab":
            sample(name, Bernoulli(logits=param(f"q{name}", values(-0.5)[0])))

    pair = Pair(model, guide)
    with Using("relax", samples=100, a="enumerate"):
        elbo = Trace_ELBO(max_plate_nesting=0)
        with ParamStore() as store:
            elbo.loss(*pair)
            set_controls(store, "cold_and_wrong_way")
            draws = torch.stack([flat_grad(elbo.differentiable_loss(*pair), learnt(store)) for _ in range(200)])
    with ParamStore() as store:
        exact = flat_grad(exact_elbo_loss(*pair), store.leaves)
    mean, error = draws.mean(0), draws.std(0) / len(draws) ** 0.5
    assert ((mean - exact).abs() < 4 * error).all() and error.norm() < 0.1 * exact.norm()


def test_several_draws_of_a_site() -> None:
    pair = PAIRS["chain"]
    with Using("rebar", samples=3):
        draws, exact = bound_gradients(pair, pair, "cold_and_wrong_way")
    assert_unbiased(draws, exact)


@pytest.mark.parametrize("estimator", ["gumbel_softmax", "straight_through", *CONTROLLED])
@pytest.mark.parametrize("name", list(PAIRS))
def test_bounds_score_relaxed_values_linearly(name: str, estimator: str) -> None:
    with Using(estimator), ParamStore():
        elbo = Trace_ELBO(max_plate_nesting=1)
        model_trace, guide_trace = elbo.traces(*PAIRS[name], (), {})
        for trace in (model_trace, guide_trace):
            for site in trace.values():
                relaxed = site.type == "sample" and not site.is_observed and not site.fn.has_rsample
                assert isinstance(site.fn, Interpolated) == relaxed
        torch.autograd.grad(elbo.differentiable_loss(*PAIRS[name]), list(ppl.get_param_store().leaves.values()))

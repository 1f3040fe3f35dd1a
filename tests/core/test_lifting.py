"""`lift`, `random_module`, `uncondition`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributions as torch_dist
from torch import nn

import ppl
import ppl_dist as dist
from ppl import ParamStore, check_shapes, factor, module, param, plate, sample
from ppl import handlers as h


@pytest.fixture(autouse=True)
def store() -> Iterator[ParamStore]:
    with ParamStore() as own:
        yield own


def regression() -> torch.Tensor:
    w = param("w", torch.zeros(2, 3))
    rate = param("rate", lambda: torch.tensor(1.0), constraint=dist.constraints.positive)
    return sample("y", dist.Normal(w.sum() * rate, 1.0), obs=0.5)


def test_lifted_parameters_are_latent_sites_that_the_store_does_not_hold(store: ParamStore) -> None:
    prior = {"w": dist.Normal(1.0, 2.0), "rate": dist.Gamma(2.0, 1.0)}
    tr = h.trace(h.lift(regression, prior=prior)).get_trace()
    assert tr.stochastic_nodes == ["w", "rate"] and tr.param_nodes == [] and len(store) == 0
    w, rate = tr["w"].value, tr["rate"].value
    assert w.shape == (2, 3) and tr["w"].fn.event_shape == (2, 3)
    exact = torch_dist.Normal(1.0, 2.0).log_prob(w).sum() + torch_dist.Gamma(2.0, 1.0).log_prob(rate)
    exact = exact + torch_dist.Normal(w.sum() * rate, 1.0).log_prob(torch.tensor(0.5))
    torch.testing.assert_close(tr.log_prob_sum(), exact)
    check_shapes(tr)


def test_the_rest_stays_learnable(store: ParamStore) -> None:
    tr = h.trace(h.lift(regression, prior={"w": dist.Normal(0.0, 1.0)})).get_trace()
    assert tr.stochastic_nodes == ["w"] and tr.param_nodes == ["rate"] == list(store)


def test_a_parameter_that_is_registered_stays_registered(store: ParamStore) -> None:
    param("w", torch.ones(2, 3))
    prior = lambda site: dist.Normal(float(len(site.name)), 0.001)  # noqa: E731
    tr = h.trace(h.lift(lambda: param("w"), prior=prior)).get_trace()
    assert tr["w"].value.shape == (2, 3) and (tr["w"].value - 1).abs().max() < 0.01
    assert store["w"].tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    ("prior", "text"),
    [
        (dist.Normal(torch.zeros(3), 1.0), "Normal.to_event(2)"),
        (dist.Normal(torch.zeros(3), 1.0).to_event(1), "Normal.to_event(1).to_event(1)"),
        (dist.Normal(torch.zeros(2, 3), 1.0).to_event(2), "Normal.to_event(2)"),
        (torch_dist.Normal(0.0, 1.0), "Normal.to_event(2)"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_prior_is_widened_to_its_parameter(prior: Any, text: str) -> None:
    tr = h.trace(h.lift(lambda: param("w", torch.zeros(2, 3)), prior=prior)).get_trace()
    assert tr["w"].value.shape == (2, 3) and len(tr["w"].value.unique()) == 6
    assert f"latent  {text}" in repr(tr)
    check_shapes(tr)


def test_batch_dimensions_that_event_dim_leaves_out() -> None:
    with h.trace() as tr, h.lift(prior=dist.Normal(0.0, 1.0)), plate("data", 4):
        w = param("w", torch.zeros(4, 3), event_dim=1)
        sample("x", dist.Normal(w, 1.0).to_event(1))
    tr.compute_log_prob()
    assert tr["w"].log_prob.shape == (4,)
    check_shapes(tr)


def test_a_parameter_with_an_entry_per_index_of_a_minibatch_is_a_local_variable() -> None:
    def drawn() -> torch.Tensor:
        value: torch.Tensor = sample("w", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        return value

    def read() -> torch.Tensor:
        return param("w", torch.zeros(12, 3), event_dim=1)

    def model(w: Any) -> None:
        shared = param("shared", torch.zeros(3), event_dim=1)
        with plate("data", 12, subsample=[7, 2]):
            sample("x", dist.Normal(w() + shared, 1.0).to_event(1), obs=torch.zeros(2, 3))

    torch.manual_seed(0)
    lifted = h.trace(h.lift(model, prior={"w": dist.Normal(0.0, 1.0)})).get_trace(read)
    torch.manual_seed(0)
    plain = h.trace(model).get_trace(drawn)
    assert lifted["w"].value.shape == (2, 3) and lifted["w"].scale == plain["w"].scale == 6.0
    torch.testing.assert_close(lifted.log_prob_sum(), plain.log_prob_sum())
    check_shapes(lifted)


def test_a_parameter_read_twice_is_drawn_once() -> None:
    def model() -> bool:
        return param("w", torch.zeros(2)) is param("w")

    for prior in (dist.Normal(0.0, 1.0), {"w": dist.Normal(0.0, 1.0)}):
        tr = h.trace(h.lift(model, prior=prior)).get_trace()
        assert list(tr) == ["w"]
        assert h.scope(h.lift(model, prior=prior), prefix="a")()


def test_lifted_sites_can_be_conditioned_and_replayed() -> None:
    lifted = h.lift(regression, prior=dist.Gamma(2.0, 1.0))
    tr = h.trace(h.condition(lifted, data={"rate": 2.0})).get_trace()
    assert tr["rate"].is_observed
    again = h.trace(h.replay(lifted, trace=tr)).get_trace()
    assert again["w"].value is tr["w"].value and again["rate"].value is not tr["rate"].value


def test_modules(store: ParamStore) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    prior = {"0.weight": dist.Normal(0.0, 1.0), "net$$$2.bias": dist.Normal(5.0, 0.001)}
    with h.trace() as tr:
        drawn = h.lift(module, prior=prior)("net", net)
    assert tr.stochastic_nodes == ["net$$$0.weight", "net$$$2.bias"]
    assert list(store) == ["net$$$0.bias", "net$$$2.weight"]
    x = torch.randn(7, 2)
    hidden = torch.tanh(x @ tr["net$$$0.weight"].value.T + net[0].bias)
    torch.testing.assert_close(drawn(x), hidden @ net[2].weight.T + tr["net$$$2.bias"].value)


def test_random_module(store: ParamStore) -> None:
    net = nn.Linear(2, 1)
    draw = ppl.random_module("net", net, prior=dist.Normal(0.0, 1.0))
    with h.trace() as tr:
        first = draw()
    assert tr.stochastic_nodes == ["net$$$weight", "net$$$bias"] and len(store) == 0
    assert first.weight is tr["net$$$weight"].value and first is not net
    assert not torch.equal(draw().weight, first.weight)


def observed() -> Any:
    x = sample("x", dist.Normal(0.0, 1.0))
    with plate("data", 3):
        y = sample("y", dist.Normal(x, 1.0), obs=torch.tensor([1.0, 2.0, 3.0]), infer={"a": 1})
    factor("f", 2.0)
    return y


def test_uncondition() -> None:
    tr = h.trace(h.uncondition(observed)).get_trace()
    assert tr.stochastic_nodes == ["x", "y"] and tr.observation_nodes == ["f"]
    assert tr["y"].value.shape == (3,) and not torch.equal(tr["y"].value, torch.tensor([1.0, 2.0, 3.0]))
    assert tr["y"].infer["was_observed"] is True and tr["y"].infer["a"] == 1
    assert tr["y"].infer["obs"].tolist() == [1.0, 2.0, 3.0]
    exact = torch_dist.Normal(0.0, 1.0).log_prob(tr["x"].value)
    exact = exact + torch_dist.Normal(tr["x"].value, 1.0).log_prob(tr["y"].value).sum() + 2.0
    torch.testing.assert_close(tr.log_prob_sum(), exact)


def test_uncondition_undoes_condition() -> None:
    torch.manual_seed(0)
    plain = sample("x", dist.Normal(0.0, 1.0))
    torch.manual_seed(0)
    given = h.condition(lambda: sample("x", dist.Normal(0.0, 1.0)), data={"x": 9.0})
    assert h.uncondition(given)() == plain
    assert h.condition(h.uncondition(given), data={"x": 8.0})() == 8.0

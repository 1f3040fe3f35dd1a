"""Dependencies of models against the ones written by hand, and what tagging must not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import ppl_dist as dist
from inference import SVI, Trace_ELBO
from inference.optim import Optim
from ppl import (
    ParamStore,
    deterministic,
    factor,
    handlers,
    module,
    observe,
    param,
    parents,
    plate,
    provenance,
    sample,
    untracked,
)
from ppl.handlers import track
from tests.support.dependencies import dependencies

Normal = dist.Normal


def test_chain() -> None:
    def model() -> None:
        a = sample("a", Normal(0.0, 1.0))
        b = sample("b", Normal(a, 1.0))
        c = sample("c", Normal(torch.sin(b) + 1, b.exp()))
        observe("d", Normal(c, 1.0), 0.5)

    assert dependencies(model) == {"a": "", "b": "a", "c": "b", "d": "c"}


def test_collider_and_what_comes_after_an_observation() -> None:
    def model() -> None:
        a = sample("a", Normal(0.0, 1.0))
        b = sample("b", Normal(0.0, 1.0))
        y = sample("y", Normal(a * b, 1.0), obs=torch.tensor(1.0))
        sample("z", Normal(y, 1.0), obs=torch.tensor(1.0))
        sample("w", Normal(0.0, 1.0), obs=a + 1)

    assert dependencies(model) == {"a": "", "b": "", "y": "a b", "z": "y", "w": "a"}


def test_plates_of_both_kinds() -> None:
    def model() -> None:
        mu = sample("mu", Normal(0.0, 1.0))
        with plate("data", 3):
            theta = sample("theta", Normal(mu, 1.0))
            with plate("inner", 2, dim=-2):
                sample("y", Normal(theta, 1.0), obs=torch.zeros(2, 3))
        state = torch.tensor(0.0)
        for i in plate("time", 3):
            state = sample(f"x_{i}", Normal(state, theta[i].exp()))

    expected = {"mu": "", "theta": "mu", "y": "theta", "x_0": "theta", "x_1": "theta x_0", "x_2": "theta x_1"}
    assert dependencies(model) == expected


def test_parameters_factors_deterministic_sites_and_interventions() -> None:
    def model() -> None:
        w = param("w", torch.tensor(0.5))
        a = sample("a", Normal(w, 1.0))
        twice = deterministic("twice", 2 * a)
        sample("b", Normal(twice, 1.0))
        factor("f", a + w)

    assert dependencies(model) == {"w": "", "a": "w", "twice": "a", "b": "a twice", "f": "a w"}
    forced = handlers.do(model, data={"a": torch.tensor(1.0)})
    assert dependencies(forced) == {"w": "", "a": "", "twice": "a", "b": "a twice", "f": "a w"}


def test_masks_scales_and_nested_distributions() -> None:
    def model() -> None:
        a = sample("a", Normal(0.0, 1.0))
        b = sample("b", Normal(torch.zeros(2), 1.0).to_event(1))
        with handlers.mask(mask=a > 0):
            sample("masked", Normal(0.0, 1.0))
        with handlers.scale(scale=a.exp()):
            sample("scaled", Normal(0.0, 1.0))
        shifted = dist.TransformedDistribution(Normal(0.0, 1.0), [dist.transforms.AffineTransform(a, 1.0)])
        sample("moved", shifted)
        sample("mixed", dist.MixtureSameFamily(dist.Categorical(logits=b), Normal(b + a, 1.0)))

    expected = {"a": "", "b": "", "masked": "a", "scaled": "a", "moved": "a", "mixed": "a b"}
    assert dependencies(model) == expected


def test_distributions_of_torch_and_of_people() -> None:
    class Mine:
        has_rsample = False
        batch_shape = event_shape = torch.Size()

        def __init__(self, drawn: Callable[[], Tensor]) -> None:
            self.drawn = drawn

        def sample(self) -> Tensor:
            return self.drawn()

        def log_prob(self, value: Tensor) -> Tensor:
            return torch.zeros(())

    def model() -> None:
        a = sample("a", torch.distributions.Normal(0.0, 1.0))
        b = sample("b", torch.distributions.Independent(torch.distributions.Normal(a.expand(2), 1.0), 1))
        c = sample("c", Mine(b.sum))
        steps = [torch.distributions.transforms.AffineTransform(0.0, c.exp())]
        sample("d", torch.distributions.TransformedDistribution(torch.distributions.Normal(0.0, 1.0), steps))

    assert dependencies(model) == {"a": "", "b": "a", "c": "b", "d": "c"}


def test_a_network_passes_names_on_and_is_named_itself() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.ReLU(inplace=True))

    def model() -> None:
        with plate("data", 4):
            z = sample("z", Normal(torch.zeros(4, 2), 1.0).to_event(1))
            sample("x", Normal(module("net", net)(z), 1.0).to_event(1))

    got = dependencies(model)
    names = [f"net$$${name}" for name, _ in net.named_parameters()]
    assert got == {**dict.fromkeys(names, ""), "z": "", "x": " ".join(sorted([*names, "z"]))}
    assert all(type(value) is torch.nn.Parameter for value in net.parameters())


def test_names_do_not_leak_into_data() -> None:
    data = torch.zeros(3)
    with track():
        y = sample("y", Normal(torch.zeros(3), 1.0), obs=data)
        assert provenance(y) == {"y"}
    assert provenance(data) == frozenset()
    assert type(data) is Tensor
    assert untracked(y).data_ptr() == data.data_ptr()
    assert type(untracked(y)) is Tensor
    assert untracked(3) == 3


def test_leaves_stay_leaves() -> None:
    with track():
        z = sample("z", Normal(0.0, 1.0))
        w = torch.zeros_like(z, requires_grad=True)
    assert w.is_leaf
    (w * 2).backward()
    assert untracked(w.grad).item() == 2.0


def test_a_run_that_fails_leaves_nothing_behind() -> None:
    with pytest.raises(RuntimeError, match="stop"), track(), track():
        raise RuntimeError("stop")
    assert torch._C._len_torch_function_stack() == 0


@pytest.mark.parametrize("mode", ["real", "fake"])
def test_a_graph_is_recorded_through_it(mode: str) -> None:
    def loss(loc: Tensor, y: Tensor) -> Tensor:
        def model() -> None:
            z = sample("z", Normal(loc, 1.0))
            sample("y", Normal(z.exp(), 1.0), obs=y)

        trace = handlers.trace(track(model)).get_trace()
        assert parents(trace["y"]) == {"z"}
        assert provenance(trace["z"].value) == {"z"}
        return trace.log_prob_sum()

    given = torch.tensor(0.5), torch.tensor(1.0)
    graph = make_fx(loss, tracing_mode=mode)(*given)
    torch.manual_seed(0)
    expected = loss(*given)
    torch.manual_seed(0)
    assert graph(*given).item() == expected.item()


def test_inside_vmap_it_works_as_outside() -> None:
    def run(loc: Tensor) -> Tensor:
        trace = handlers.trace(track(lambda: sample("y", Normal(sample("z", Normal(loc, 1.0)), 1.0)))).get_trace()
        assert parents(trace["y"]) == {"z"}
        return trace.log_prob_sum()

    assert torch.func.vmap(run, randomness="different")(torch.zeros(3)).shape == (3,)


def test_inside_itself_it_changes_nothing() -> None:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        if z > 0:
            sample("x", Normal(z, 1.0))
        sample("y", Normal(0.0, 1.0))

    torch.manual_seed(0)
    once = dependencies(model)
    torch.manual_seed(0)
    assert dependencies(track(model)) == once


def test_svi_takes_the_same_steps() -> None:
    def model(y: Tensor) -> None:
        mu = sample("mu", Normal(0.0, 10.0))
        tau = sample("tau", dist.Gamma(2.0, 2.0))
        k = sample("k", dist.Bernoulli(0.5))
        with plate("data", len(y)):
            sample("y", Normal(mu + k, tau), obs=y)

    def guide(y: Tensor) -> None:
        sample("mu", Normal(param("loc", 0.5), param("scale", 1.0, constraint=dist.constraints.positive)))
        sample("tau", dist.Gamma(param("a", 2.0, constraint=dist.constraints.positive), 2.0))
        sample("k", dist.Bernoulli(param("p", 0.3, constraint=dist.constraints.unit_interval)))

    def steps(model: Callable[..., Any], guide: Callable[..., Any]) -> tuple[list[float], dict[str, Tensor]]:
        torch.manual_seed(0)
        with ParamStore() as store:
            svi = SVI(model, guide, Optim(torch.optim.Adam, lr=0.1), Trace_ELBO())
            losses = [svi.step(torch.tensor([0.5, 1.5])) for _ in range(5)]
            return losses, {name: leaf.detach() for name, leaf in store.leaves.items()}

    losses, leaves = steps(model, guide)
    under, tracked = steps(track(model), track(guide))
    assert under == losses
    assert all(torch.equal(tracked[name], leaf) for name, leaf in leaves.items())

"""What each handler does to a model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributions as torch_dist

import ppl
import ppl_dist as dist
from ppl import ParamStore, Trace, deterministic, factor, observe, param, plate, sample
from ppl import handlers as h


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def chain() -> torch.Tensor:
    x = sample("x", dist.Normal(0.0, 1.0))
    y = sample("y", dist.Normal(x, 1.0))
    return sample("z", dist.Normal(y, 1.0), obs=torch.tensor(3.0))


def normal(value: torch.Tensor | float, loc: torch.Tensor | float = 0.0) -> float:
    return torch_dist.Normal(torch.as_tensor(loc), 1.0).log_prob(torch.as_tensor(value)).sum().item()


def test_primitives_without_handlers() -> None:
    assert sample("x", dist.Normal(0.0, 1.0), obs=2).item() == 2
    assert sample("x", dist.Normal(0.0, 1.0), True).item() == 1.0
    assert observe("x", dist.Normal(0.0, 1.0), [1.0, 2.0]).tolist() == [1.0, 2.0]
    assert deterministic("d", torch.tensor(4.0)).item() == 4.0
    factor("f", 1.0)
    loc = torch.tensor(0.0, requires_grad=True)
    assert sample("x", dist.Normal(loc, 1.0)).requires_grad


def test_foreign_distributions_are_welcome() -> None:
    def model() -> None:
        with plate("data", 4):
            p = sample("p", torch_dist.Beta(2.0, 2.0))
            sample("k", torch_dist.Bernoulli(p), obs=torch.tensor([0.0, 1.0, 1.0, 0.0]))

    tr = h.trace(h.seed(model, rng_seed=0)).get_trace()
    p = tr["p"].value
    exact = torch_dist.Beta(2.0, 2.0).log_prob(p).sum() + torch_dist.Bernoulli(p).log_prob(tr["k"].value).sum()
    torch.testing.assert_close(tr.log_prob_sum(), exact)


def test_condition() -> None:
    tr = h.trace(h.condition(chain, data={"x": 0.5, "y": torch.tensor(1.0)})).get_trace()
    assert tr.stochastic_nodes == []
    assert tr.observation_nodes == ["x", "y", "z"]
    assert tr.log_prob_sum().item() == pytest.approx(normal(0.5) + normal(1.0, 0.5) + normal(3.0, 1.0), rel=1e-5)


def test_condition_replaces_data_and_takes_a_trace() -> None:
    tr = h.trace(h.condition(chain, data={"z": 1.5})).get_trace()
    assert tr["z"].value.item() == 1.5
    again = h.trace(h.condition(chain, data=tr)).get_trace()
    assert again["x"].is_observed and again["x"].value is tr["x"].value
    assert again.log_prob_sum().item() == pytest.approx(tr.log_prob_sum().item())


def test_a_trace_as_data_may_hold_other_sites() -> None:
    with h.trace() as tr:
        sample("extra", dist.Normal(0.0, 1.0))
        sample("x", dist.Normal(0.0, 1.0))
    assert h.trace(h.condition(chain, data=tr)).get_trace()["x"].is_observed


def test_do() -> None:
    tr = h.trace(h.do(chain, data={"y": 10.0})).get_trace()
    assert tr["y"].type == "deterministic" and tr["y"].infer["intervened"] is True
    assert tr["y"].value.item() == 10.0
    assert tr["z"].fn.loc.item() == 10.0  # downstream sees the value
    x = tr["x"].value
    assert tr.log_prob_sum().item() == pytest.approx(normal(x) + normal(3.0, 10.0), rel=1e-5)


def test_do_overrides_an_observation() -> None:
    tr = h.trace(h.do(chain, data={"z": 10.0})).get_trace()
    assert tr.observation_nodes == [] and tr["z"].value.item() == 10.0


def test_substitute_keeps_sites_latent() -> None:
    def model() -> torch.Tensor:
        loc = param("loc", 1.0)
        return sample("x", dist.Normal(loc, 1.0))

    tr = h.trace(h.substitute(model, data={"loc": 5.0, "x": 4.0})).get_trace()
    assert tr.stochastic_nodes == ["x"] and tr.param_nodes == ["loc"]
    assert tr.log_prob_sum().item() == pytest.approx(normal(4.0, 5.0), rel=1e-5)


def test_replay_latent_sites_and_not_observed_ones() -> None:
    with h.trace() as guide:
        x = sample("x", dist.Normal(5.0, 0.1))
        sample("z", dist.Normal(0.0, 1.0), obs=torch.tensor(99.0))
    tr = h.trace(h.replay(chain, trace=guide)).get_trace()
    assert tr["x"].value is x
    assert tr["z"].value.item() == 3.0
    assert tr["y"].value is not None


def test_block_arguments() -> None:
    def shown(**kwargs: object) -> list[str]:
        return list(h.trace(h.block(chain, **kwargs)).get_trace())  # type: ignore[arg-type]

    assert shown() == []
    assert shown(hide=["x"]) == ["y", "z"]
    assert shown(expose=["x"]) == ["x"]
    assert shown(hide_types=["observe"]) == ["x", "y"]
    assert shown(expose_types=["observe"]) == ["z"]
    assert shown(hide_types=["sample"]) == ["z"]
    assert shown(expose=["y"], expose_types=["observe"]) == ["y", "z"]
    assert shown(hide_fn=lambda site: site["name"] == "y") == ["x", "z"]
    assert shown(expose_fn=lambda site: site.name == "y") == ["y"]


def test_scale_and_mask_shape_the_log_prob() -> None:
    y = torch.tensor([1.0, 2.0, 3.0])
    keep = torch.tensor([True, False, True])

    def model() -> None:
        with plate("data", 3), h.scale(scale=2.0), h.mask(mask=keep):
            sample("y", dist.Normal(0.0, 1.0), obs=y)

    tr = h.trace(model).get_trace()
    assert tr.log_prob_sum().item() == pytest.approx(2 * (normal(1.0) + normal(3.0)), rel=1e-5)
    assert tr["y"].log_prob.tolist()[1] == 0.0
    assert tr["y"].unscaled_log_prob.tolist()[0] == pytest.approx(normal(1.0), rel=1e-5)


def test_masks_nest_and_tensor_scales_broadcast() -> None:
    a, b = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    weights = torch.tensor([1.0, 10.0, 100.0])
    with h.trace() as tr, plate("data", 3), h.mask(mask=a), h.mask(mask=True), h.mask(mask=b), h.scale(scale=weights):
        sample("y", dist.Normal(0.0, 1.0), obs=torch.zeros(3))
    assert tr.log_prob_sum().item() == pytest.approx(normal(0.0), rel=1e-5)
    assert tr["y"].mask.tolist() == [True, False, False]


@pytest.mark.parametrize("keep", [torch.tensor([True, False]), False], ids=["tensor", "False"])
def test_nan_under_the_mask(keep: torch.Tensor | bool) -> None:
    loc = torch.tensor(0.5, requires_grad=True)
    rate = torch.tensor(2.0, requires_grad=True)
    y = torch.tensor([1.0, torch.nan])
    with h.trace() as tr, plate("data", 2), h.mask(mask=keep):
        sample("normal", dist.Normal(loc, 1.0), obs=y)
        sample("gamma", dist.Gamma(2.0, rate), obs=y)
        sample("vector", dist.Normal(loc.expand(2, 3), 1.0).to_event(1), obs=y[:, None].expand(2, 3))
    tr.log_prob_sum().backward()
    kept = 1.0 if isinstance(keep, torch.Tensor) else 0.0
    assert loc.grad is not None and rate.grad is not None
    assert loc.grad.item() == pytest.approx(kept * 4 * 0.5)
    assert rate.grad.item() == pytest.approx(kept * (2.0 / 2.0 - 1.0))
    assert tr["normal"].log_prob[1].item() == 0.0


def test_factor_adds_to_the_log_joint() -> None:
    with h.trace() as tr:
        factor("f", torch.tensor(-2.5))
        with plate("data", 4):
            factor("g", torch.tensor(1.0))
    assert tr["f"].is_observed
    assert tr.log_prob_sum().item() == pytest.approx(-2.5 + 4 * 1.0)


def test_seed_gives_the_same_draws_and_leaves_the_global_state() -> None:
    state = torch.get_rng_state()
    seeded = h.seed(chain, rng_seed=5)
    first, second = h.trace(seeded).get_trace(), h.trace(seeded).get_trace()
    assert [s.value.item() for s in first.values()] == [s.value.item() for s in second.values()]
    other = h.trace(h.seed(chain, rng_seed=6)).get_trace()
    assert first["x"].value.item() != other["x"].value.item()
    assert torch.equal(torch.get_rng_state(), state)


def test_seed_covers_foreign_distributions_and_minibatches() -> None:
    def model() -> list[object]:
        with plate("data", 50, subsample_size=5) as i:
            x = sample("x", torch_dist.Normal(0.0, 1.0))
        return [i.tolist(), x.tolist()]

    state = torch.get_rng_state()
    assert h.seed(model, rng_seed=1)() == h.seed(model, rng_seed=1)() != h.seed(model, rng_seed=2)()
    assert torch.equal(torch.get_rng_state(), state)


def test_seed_with_a_generator_goes_on() -> None:
    generator = torch.Generator().manual_seed(3)
    seeded = h.seed(chain, rng_seed=generator)
    first, second = h.trace(seeded).get_trace(), h.trace(seeded).get_trace()
    assert first["x"].value.item() != second["x"].value.item()
    generator.manual_seed(3)
    assert h.trace(seeded).get_trace()["x"].value.item() == first["x"].value.item()


def test_the_innermost_seed_wins() -> None:
    inner = h.seed(chain, rng_seed=1)
    alone = h.trace(inner).get_trace()["x"].value.item()
    assert h.trace(h.seed(inner, rng_seed=2)).get_trace()["x"].value.item() == alone


def test_seed_with_an_imperative_subclass() -> None:
    class Shifted(dist.Distribution):
        has_rsample = True

        def __init__(self) -> None:
            super().__init__(torch.Size(), torch.Size(), validate_args=False)

        def rsample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:  # type: ignore[override]
            return 3.0 + torch.randn(sample_shape)

    draw = h.seed(lambda: sample("x", Shifted()).item(), rng_seed=0)
    assert draw() == draw()


def test_a_misspelt_name_is_not_reported_over_another_error_or_an_empty_run() -> None:
    def fails() -> None:
        sample("theta", dist.Normal(0.0, 1.0))
        raise RuntimeError("first")

    with pytest.raises(RuntimeError, match="first"):
        h.condition(fails, data={"thetaa": 0.0})()
    h.condition(lambda: None, data={"thetaa": 0.0})()


def test_trace_object_keeps_its_latest_trace() -> None:
    tracer = h.trace(chain)
    tracer()
    first = tracer.trace
    tracer()
    assert isinstance(first, Trace) and tracer.trace is not first
    with h.trace() as tr:
        chain()
    assert tr.trace is tr


def test_a_decorated_method_is_a_method() -> None:
    class Model:
        loc = 3.0

        @h.scale(scale=0.5)
        def run(self, x: float) -> torch.Tensor:
            return sample("y", dist.Normal(self.loc, 1.0), obs=x)

    tr = h.trace(Model().run).get_trace(3.0)
    assert tr["y"].scale == 0.5 and tr.log_prob_sum().item() == pytest.approx(0.5 * normal(0.0))


def test_condition_and_do_are_at_hand() -> None:
    assert ppl.condition is h.condition and ppl.do is h.do

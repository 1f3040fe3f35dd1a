"""SVI: the pure step, the step in place, runs and their interruption, parameters that come late, checks that go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppl
import ppl_dist as dist
from inference import SVI, Optim, SVIState, Trace_ELBO, optim
from ppl import ParamStore, module, observe, param, plate, sample
from ppl_dist import constraints, validation_enabled_now

Normal = dist.Normal
DATA = torch.tensor([0.3, 1.9, 0.8, 1.1])


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def model(x: Tensor) -> None:
    z = sample("z", Normal(0.0, 2.0))
    k = sample("k", dist.Bernoulli(0.4))
    with plate("data", 4, subsample_size=3) as i:
        observe("x", Normal(z + param("shift", 0.1) * k, 1.5), x[i])


def guide(x: Tensor) -> None:
    sample("z", Normal(param("loc", 0.5), param("scale", 1.0, constraint=constraints.positive)))
    sample("k", dist.Bernoulli(logits=param("logit", 0.2)), infer={"baseline": "decaying_average"})


NAMES = ["loc", "scale", "logit", "shift"]


def per_name(name: str) -> dict[str, Any]:
    return {"lr": 0.05} if name == "loc" else {"lr": 0.01, "betas": (0.8, 0.99)}


OPTIMIZERS: dict[str, Any] = {
    "adam": optim.Adam(lr=0.05),
    "adam_with_a_dictionary": optim.Adam({"lr": 0.05}),
    "adamw": optim.AdamW(lr=0.05, weight_decay=0.1),
    "sgd_with_momentum": optim.SGD(lr=0.01, momentum=0.9),
    "partial_of_torch": functools.partial(torch.optim.Adam, lr=0.05),
    "adagrad": Optim(torch.optim.Adagrad, lr=0.05),
    "options_by_name": Optim(torch.optim.Adam, per_name),
}


def snapshot(state: SVIState) -> tuple[Any, ...]:
    """Everything in a state, as plain values."""
    leaves = {name: leaf.tolist() for name, leaf in state.params.leaves.items()}
    averages = {name: average.tolist() for name, average in state.baselines.averages.items()}
    inner = {
        index: {key: value.tolist() if isinstance(value, Tensor) else value for key, value in slots.items()}
        for index, slots in state.optim_state.get("state", {}).items()
    }
    return leaves, averages, inner, state.optim_state.get("param_groups"), state.step, state.seed


# ---------------------------------------------------------------------- pure


def test_init_registers_parameters_and_touches_nothing_else() -> None:
    random_state = torch.get_rng_state()
    state = SVI(model, guide, optim.Adam(lr=0.1), seed=0).init(DATA)
    assert sorted(state.params) == sorted(NAMES)
    assert (state.step, state.seed, state.optim_state, state.baselines.averages) == (0, 0, {}, {})
    assert len(ppl.get_param_store()) == 0
    assert torch.equal(torch.get_rng_state(), random_state)


def test_init_starts_from_what_the_store_holds() -> None:
    param("loc", 7.0)
    state = SVI(model, guide, optim.Adam(lr=0.1), seed=0).init(DATA)
    assert state.params["loc"].item() == 7.0
    assert state.params.leaves["loc"] is not ppl.get_param_store().leaves["loc"]


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_update_is_pure(name: str) -> None:
    svi = SVI(model, guide, OPTIMIZERS[name], seed=3)
    state = svi.init(DATA)
    for _ in range(4):
        before = snapshot(state)
        first, loss_1 = svi.update(state, DATA)
        second, loss_2 = svi.update(state, DATA)
        assert snapshot(state) == before
        assert snapshot(first) == snapshot(second) != before
        assert loss_1.item() == loss_2.item() and loss_1.dim() == 0
        state = first
    assert len(ppl.get_param_store()) == 0


@pytest.mark.parametrize("elbo", [Trace_ELBO(), Trace_ELBO(3), Trace_ELBO(3, vectorize_particles=True)])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_update_equals_step_bit_for_bit(name: str, elbo: Trace_ELBO) -> None:
    pure, in_place = (SVI(model, guide, OPTIMIZERS[name], elbo, seed=3) for _ in range(2))
    state = pure.init(DATA)
    for _ in range(20):
        state, loss = pure.update(state, DATA)
        assert loss.item() == in_place.step(DATA)
    assert snapshot(state)[:3] == snapshot(in_place.state)[:3]


def test_update_on_a_fresh_object_gives_the_same() -> None:
    """All that matters is in the state: a bound that has not run before, with vectorised particles, does no harm."""
    one, other = (SVI(model, guide, optim.Adam(lr=0.1), Trace_ELBO(3, vectorize_particles=True)) for _ in range(2))
    state, _ = one.update(one.init(DATA), DATA)
    assert snapshot(one.update(state, DATA)[0]) == snapshot(other.update(state, DATA)[0])


def test_the_state_of_a_run_continues_under_update() -> None:
    whole, part = (SVI(model, guide, optim.Adam(lr=0.1), store=ParamStore(), seed=5) for _ in range(2))
    for _ in range(9):
        whole.step(DATA)
    for _ in range(4):
        part.step(DATA)
    state = part.state
    for _ in range(5):
        state, _ = part.update(state, DATA)
    assert snapshot(state) == snapshot(whole.state)
    assert part.state.step == 4


def test_get_params_gives_constrained_values() -> None:
    svi = SVI(model, guide, optim.Adam(lr=0.1), seed=0)
    values = svi.get_params(svi.init(DATA))
    assert values["scale"].item() == pytest.approx(1.0)
    assert not any(value.requires_grad for value in values.values())


def net_guide(net: nn.Module) -> Callable[[Tensor], None]:
    def guide(x: Tensor) -> None:
        loc = module("net", net)(x[:2]).squeeze()
        sample("z", Normal(loc, 1.0))
        sample("k", dist.Bernoulli(0.4))

    return guide


def test_update_leaves_a_module_itself_alone() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    svi = SVI(model, net_guide(net), optim.Adam(lr=0.1), seed=0)
    state = svi.init(DATA)
    losses = []
    for _ in range(5):
        state, loss = svi.update(state, DATA)
        losses.append(loss.item())
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert not torch.equal(state.params["net$$$0.weight"], before["0.weight"])

    in_place = SVI(model, net_guide(net), optim.Adam(lr=0.1), seed=0)
    assert [in_place.step(DATA) for _ in range(5)] == losses
    assert torch.equal(net[0].weight, state.params["net$$$0.weight"])  # a step in place trains the module itself


def test_a_module_that_comes_late_is_left_alone_as_well() -> None:
    net = nn.Linear(2, 1)
    before = net.weight.detach().clone()
    late = net_guide(net)

    def growing(x: Tensor, *, grown: bool = False) -> None:
        late(x) if grown else guide(x)

    def growing_model(x: Tensor, *, grown: bool = False) -> None:
        model(x)

    svi = SVI(growing_model, growing, optim.Adam(lr=0.1), seed=0)
    state = svi.init(DATA)
    state, _ = svi.update(state, DATA)
    first, _ = svi.update(state, DATA, grown=True)
    second, _ = svi.update(state, DATA, grown=True)
    assert torch.equal(net.weight, before)
    assert torch.equal(first.params["net$$$weight"], second.params["net$$$weight"])
    assert not torch.equal(first.params["net$$$weight"], before)


# ---------------------------------------------------------------------- in place


def test_step_returns_the_loss_before_it() -> None:
    svi = SVI(model, guide, optim.SGD(lr=0.0), seed=0)
    with ppl.handlers.seed(rng_seed=0):
        assert isinstance(svi.step(DATA), float)
    assert svi.state.step == 1


def test_explicit_store_or_ambient() -> None:
    own = ParamStore()
    SVI(model, guide, optim.Adam(lr=0.1), store=own, seed=0).step(DATA)
    assert sorted(own) == sorted(NAMES) and len(ppl.get_param_store()) == 0
    SVI(model, guide, optim.Adam(lr=0.1), seed=0).step(DATA)
    ambient = ppl.get_param_store()
    assert {name: own[name].tolist() for name in own} == {name: ambient[name].tolist() for name in ambient}


def test_another_ambient_store_is_another_run() -> None:
    svi = SVI(model, guide, optim.Adam(lr=0.1), seed=0)
    svi.step(DATA)
    with ParamStore() as other:
        svi.step(DATA)
    assert snapshot(svi.state)[0] == {name: leaf.tolist() for name, leaf in other.leaves.items()}


def test_the_seed_fixes_the_run() -> None:
    def losses(seed: int) -> list[float]:
        svi = SVI(model, guide, optim.Adam(lr=0.1), store=ParamStore(), seed=seed)
        return [svi.step(DATA) for _ in range(5)]

    torch.manual_seed(1)
    first = losses(0)
    torch.manual_seed(2)
    assert losses(0) == first != losses(1)


def test_the_global_seed_fixes_a_run_without_one() -> None:
    def losses() -> Tensor:
        svi = SVI(model, guide, optim.Adam(lr=0.1), store=ParamStore())
        return svi.run(5, DATA, progress=False).losses

    ppl.set_rng_seed(7)
    first = losses()
    ppl.set_rng_seed(7)
    assert torch.equal(losses(), first)
    assert not torch.equal(losses(), first)


def test_neighbouring_seeds_and_steps_share_no_draws() -> None:
    seen = set()
    for seed in range(6):
        svi = SVI(model, guide, optim.SGD(lr=0.0), store=ParamStore(), seed=seed)
        seen |= {svi.step(DATA) for _ in range(20)}
    assert len(seen) == 120


def test_evaluate_loss_takes_no_step() -> None:
    svi = SVI(model, guide, optim.Adam(lr=0.1), seed=0)
    svi.step(DATA)
    before = snapshot(svi.state)
    assert isinstance(svi.evaluate_loss(DATA), float)
    assert snapshot(svi.state) == before


# ---------------------------------------------------------------------- parameters that come late


def growing_model(x: Tensor, grown: bool) -> None:
    z = sample("z", Normal(0.0, 2.0))
    observe("x", Normal(z + (param("late", 0.5) if grown else 0.5), 1.5), x.mean())


def growing_guide(x: Tensor, grown: bool) -> None:
    sample("z", Normal(param("loc", 0.5), 1.0))


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_late_parameter_is_learned(name: str) -> None:
    svi = SVI(growing_model, growing_guide, OPTIMIZERS[name], seed=0)
    for t in range(6):
        svi.step(DATA, t >= 3)
    assert ppl.get_param_store()["late"].item() != 0.5


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_late_parameters_under_update_equal_those_under_step(name: str) -> None:
    pure, in_place = (SVI(growing_model, growing_guide, OPTIMIZERS[name], seed=0) for _ in range(2))
    state = pure.init(DATA, False)
    for t in range(6):
        state, loss = pure.update(state, DATA, t >= 3)
        assert loss.item() == in_place.step(DATA, t >= 3)
    assert snapshot(state)[0] == snapshot(in_place.state)[0]


def test_the_moments_of_known_parameters_survive_a_late_one() -> None:
    svi = SVI(growing_model, growing_guide, optim.Adam(lr=0.1), seed=0)
    for t in range(5):
        svi.step(DATA, t >= 3)
    steps = [slots["step"].item() for slots in svi.state.optim_state["state"].values()]
    assert steps == [5.0, 2.0]


def test_a_cleared_store_is_learned_again() -> None:
    svi = SVI(growing_model, growing_guide, optim.Adam(lr=0.1), seed=0)
    svi.step(DATA, False)
    ppl.clear_param_store()
    svi.step(DATA, False)
    assert ppl.get_param_store()["loc"].item() != 0.5


def test_a_scheduled_rate_survives_a_late_parameter() -> None:
    made: list[torch.optim.Optimizer] = []

    def factory(leaves: Any) -> torch.optim.Optimizer:
        made.append(torch.optim.SGD(leaves, lr=0.1))
        return made[-1]

    svi = SVI(growing_model, growing_guide, factory, seed=0)
    svi.step(DATA, False)
    made[-1].param_groups[0]["lr"] = 0.0
    before = ppl.get_param_store()["loc"].item()
    svi.step(DATA, True)
    assert ppl.get_param_store()["loc"].item() == before


def test_a_frozen_parameter_stays() -> None:
    def fixed(x: Tensor) -> None:
        sample("z", Normal(param("loc", 0.5).detach() + 0.0 * param("other", 0.0), 1.0))
        sample("k", dist.Bernoulli(0.4))

    SVI(model, fixed, optim.Adam(lr=0.1), seed=0).step(DATA)
    assert ppl.get_param_store()["loc"].item() == 0.5


# ---------------------------------------------------------------------- checks that go after the first step


class Watched(Normal):
    """A Normal that counts how often its value checks were on."""

    seen: list[bool] = []  # noqa: RUF012 (a counter of the tests)

    def log_prob(self, value: Tensor) -> Tensor:
        Watched.seen.append(validation_enabled_now())
        return super().log_prob(value)


def watched_model(x: Tensor) -> None:
    observe("x", Watched(param("loc", 0.5), 1.0), x.mean())


def nothing(*args: Any) -> None:
    pass


def test_values_are_checked_on_the_first_step_and_then_no_more() -> None:
    Watched.seen.clear()
    svi = SVI(watched_model, nothing, optim.Adam(lr=0.1), seed=0)
    for _ in range(4):
        svi.step(DATA)
    assert Watched.seen == [True, False, False, False]
    assert validation_enabled_now()


def test_update_checks_the_first_step_of_a_state() -> None:
    Watched.seen.clear()
    svi = SVI(watched_model, nothing, optim.Adam(lr=0.1), seed=0)
    state = svi.init(DATA)
    for _ in range(3):
        state, _ = svi.update(state, DATA)
    assert Watched.seen == [True, True, False, False]  # init, then three steps


def test_the_ambient_setting_is_obeyed_and_restored() -> None:
    Watched.seen.clear()
    svi = SVI(watched_model, nothing, optim.Adam(lr=0.1), seed=0)
    with ppl.validation_enabled(False):
        svi.run(2, DATA, progress=False)
        assert not validation_enabled_now()
    assert Watched.seen == [False, False] and validation_enabled_now()


def test_the_setting_is_restored_after_an_error() -> None:
    def broken(x: Tensor) -> None:
        watched_model(x)
        if len(ppl.get_param_store()) and x.isnan().any():
            raise RuntimeError("the user's own")

    svi = SVI(broken, nothing, optim.Adam(lr=0.1), seed=0)
    svi.step(DATA)
    with pytest.raises(RuntimeError, match="the user's own"):
        svi.step(DATA * torch.nan)
    assert validation_enabled_now()


def test_checks_that_are_asked_for_stay() -> None:
    def strict(x: Tensor) -> None:
        observe("x", Normal(param("loc", 0.5), param("s", 1.0) * x.mean(), validate_args=True), 0.0)

    svi = SVI(strict, nothing, optim.Adam(lr=0.1), seed=0)
    svi.step(DATA)
    with pytest.raises(ValueError, match="`scale` must be positive"):
        svi.step(-DATA)


def test_losses_lose_no_digits() -> None:
    def exact() -> None:
        loc = param("loc", torch.tensor(1 / 3, dtype=torch.float64))
        ppl.factor("f", loc)

    def nothing() -> None:
        pass

    svi = SVI(exact, nothing, optim.Adam(lr=0.1), seed=0)
    state = svi.init()
    assert svi.update(state)[1].item() == -1 / 3
    assert svi.run(1, progress=False).losses.tolist() == [-1 / 3]

"""What a compiled step is given and keeps: minibatches, numbers, modules, dtypes, tensors from outside, its state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import inference.compiled_step
import ppl
import ppl_dist as dist
from inference import SVI, optim
from ppl import ParamStore, observe, param, plate, sample
from tests.support.compiling import Pair, Program, assert_as_eager, assert_same, steps_of

pytestmark = pytest.mark.usefixtures("interpreted")

DATA = torch.tensor([0.3, -1.2, 0.8, 0.1, 2.0, -0.4])
POSITIVE = dist.constraints.positive


def guide(*args: Any, **kwargs: Any) -> None:
    sample("z", dist.Normal(param("loc", torch.tensor(0.3)), param("scale", torch.tensor(0.7), constraint=POSITIVE)))


def mean(y: Tensor, noise: float = 0.5, *, shift: Any = 0.0) -> None:
    z = sample("z", dist.Normal(0.0, 1.0))
    with plate("rows", len(y)):
        observe("y", dist.Normal(z + shift, noise), y)


def fixed(model: Program, guide: Program = guide) -> Pair:
    return lambda: (model, guide)


# Arguments


def test_subsampled_plates() -> None:
    def model() -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        with plate("rows", 6, subsample_size=2) as rows:
            observe("y", dist.Normal(z, 0.5), DATA[rows])

    assert_as_eager(fixed(model), steps=6)


def test_a_batch_that_is_filled_anew() -> None:
    """The same dictionary, with other tensors in it at each step."""

    def refilled(model: Program, guide: Program, compile: Any) -> list[float]:
        batch: dict[str, Tensor] = {}
        svi = SVI(model, guide, optim.Adam(lr=0.05), store=ParamStore(), seed=3, compile=compile)
        losses = []
        for step in range(5):
            batch["y"] = DATA + step
            losses.append(svi.step(batch))
        return losses

    def model(batch: dict[str, Tensor]) -> None:
        mean(batch["y"])

    assert refilled(model, guide, "eager draws") == pytest.approx(refilled(model, guide, False), rel=1e-5)


def test_data_that_are_transposed_in_place() -> None:
    def model(x: Tensor) -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        observe("y", dist.Normal(z * torch.arange(4.0).reshape(2, 2), 1.0).to_event(2), x)

    def losses_with(how: Literal[False, "eager draws"]) -> list[float]:
        x = torch.tensor([[0.0, 3.0], [-2.0, 1.0]])
        svi = SVI(model, lambda _: guide(DATA), optim.Adam(lr=0.05), store=ParamStore(), seed=3, compile=how)
        losses = [svi.step(x), svi.step(x)]
        x.t_()
        return [*losses, svi.step(x), svi.step(x)]

    assert losses_with("eager draws") == pytest.approx(losses_with(False), rel=1e-5)


def test_zero_is_not_minus_zero() -> None:
    def model(y: Tensor, sign: float) -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        observe("y", dist.Normal(z + math.copysign(1.0, sign), 1.0).expand([6]).to_event(1), y)

    def losses_with(how: Literal[False, "eager draws"]) -> list[float]:
        svi = SVI(model, lambda y, _: guide(y), optim.SGD(lr=0.1), store=ParamStore(), seed=3, compile=how)
        return [svi.step(DATA, sign) for sign in (0.0, 0.0, -0.0, -0.0)]

    assert losses_with("eager draws") == pytest.approx(losses_with(False), rel=1e-5)


def test_no_gradients_are_kept() -> None:
    store = ParamStore()
    svi = SVI(mean, guide, optim.SGD(lr=0.1), store=store, seed=3, compile=True)
    svi.step(DATA)
    svi.step(DATA)
    assert [leaf.grad for leaf in store.leaves.values()] == [None] * len(store.leaves)


def test_a_hook_on_a_parameter_is_called() -> None:
    store = ParamStore()
    svi = SVI(mean, guide, optim.SGD(lr=0.1), store=store, seed=3, compile=True)
    svi.step(DATA)
    svi.step(DATA)
    assert len(svi.compiled) == 1
    leaf = next(iter(store.leaves.values()))
    calls: list[Tensor] = []
    leaf.register_hook(calls.append)  # type: ignore[no-untyped-call]
    with pytest.warns(UserWarning, match="a parameter has a hook"):
        svi.step(DATA)
    assert len(calls) == 1


def test_draws_that_are_laid_out_like_a_transposed_tensor() -> None:
    def model(y: Tensor) -> None:
        noise = torch.randn_like(torch.ones(2, 3).t()).t().view(-1)
        z = sample("z", dist.Normal(0.0, 1.0))
        observe("y", dist.Normal(z + 0.1 * noise.sum(), 1.0).expand([6]).to_event(1), y)

    svi = SVI(model, guide, optim.SGD(lr=0.1), store=ParamStore(), seed=3, compile=True)
    losses = [svi.step(DATA) for _ in range(4)]
    assert len(svi.compiled) == 1
    assert len(set(losses)) == 4


def test_a_network_by_its_own_name() -> None:
    """Registered with `ppl.module`, and then called as it is: as scripts of Pyro do."""

    def pair() -> tuple[Program, Program]:
        net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))

        def net_guide(y: Tensor) -> None:
            ppl.module("net", net)
            sample("z", dist.Normal(net(torch.ones(1)).sum(), 1.0))

        return mean, net_guide

    assert_as_eager(pair, arguments=lambda step: (DATA,))


@pytest.mark.parametrize("where", ["argument", "closed over", "parameter"])
def test_other_memory_behind_a_tensor(where: str) -> None:
    """`x.data = y` and `net.double()` leave the object as it is, and put memory of another layout behind it."""

    def losses(compile: Any) -> list[float]:
        torch.manual_seed(0)
        y, net = DATA.clone(), nn.Linear(1, 1)

        def model(given: Tensor) -> None:
            z = sample("z", dist.Normal(0.0, 1.0))
            data = y if where == "closed over" else given
            with plate("rows", len(data)):
                observe("y", dist.Normal(z.to(data.dtype), 0.5), data)

        def net_guide(given: Tensor) -> None:
            ppl.module("net", net)
            at = net(torch.ones(1, dtype=net.weight.dtype)).sum()
            sample("z", dist.Normal(at, 1.0))

        svi = SVI(model, net_guide, optim.SGD(lr=0.05), store=ParamStore(), seed=3, compile=compile)
        found = [svi.step(y) for _ in range(3)]
        if where == "parameter":
            net.double()
        else:
            y.data = torch.linspace(-1.0, 1.0, 3, dtype=torch.float64)
        return found + [svi.step(y) for _ in range(3)]

    assert losses("eager draws") == pytest.approx(losses(False), rel=1e-5)


def test_two_sizes_of_minibatch() -> None:
    """Each has a graph, and coming back to one does not compile again."""

    def batch(step: int) -> tuple[Tensor]:
        return (DATA[:4] if step % 4 < 2 else DATA[4:],)

    found = assert_as_eager(fixed(mean), graphs=2, arguments=batch, steps=9)
    assert {step.shapes for step in found.svi.compiled} == {((4,),), ((2,),)}


def test_new_tensors_of_one_shape_share_a_graph() -> None:
    assert_as_eager(fixed(mean), arguments=lambda step: (DATA + step,), steps=6)


def test_a_number_that_changes_at_every_step() -> None:
    """Annealing: a graph of the number as it was, then one that takes it."""
    found = assert_as_eager(fixed(mean), graphs=None, arguments=lambda step: (DATA, 0.5 + 0.1 * step), steps=6)
    assert len(found.svi.compiled) <= 2


def test_keyword_arguments() -> None:
    results = []
    for compile in (False, "eager draws"):
        with ParamStore() as store:
            svi = SVI(mean, guide, optim.Adam(lr=0.05), store=store, seed=0, compile=compile)  # type: ignore[arg-type]
            losses = [svi.step(DATA, shift=torch.tensor(0.1 * step)) for step in range(3)]
            results.append([*losses, svi.step(DATA, noise=0.7, shift=0.2)])
    assert results[0] == pytest.approx(results[1], rel=1e-5)


# What the programs are made of


def network(*middle: Callable[[], nn.Module]) -> Pair:
    """Regression with a network in the model; its running statistics are buffers."""

    def pair() -> tuple[Program, Program]:
        net = nn.Sequential(nn.Linear(1, 4), *(make() for make in middle), nn.Tanh(), nn.Linear(4, 1))

        def model() -> None:
            moved = ppl.module("net", net)(DATA[:, None]).squeeze(-1)
            z = sample("z", dist.Normal(0.0, 1.0))
            with plate("rows", 6):
                observe("y", dist.Normal(moved + z, 0.5), DATA.flip(0))

        model.net = net  # type: ignore[attr-defined]
        return model, guide

    return pair


def test_networks() -> None:
    assert_as_eager(network())


def test_running_statistics_of_batch_norm() -> None:
    pair, slow = network(lambda: nn.BatchNorm1d(4)), optim.SGD(lr=0.01)
    compiled, eager = (steps_of(pair, how, steps=5, optimizer=slow) for how in ("eager draws", False))
    assert len(compiled.svi.compiled) == 1
    assert compiled.losses == pytest.approx(eager.losses, rel=1e-4)
    wanted = dict(eager.svi.model.net.named_buffers())  # type: ignore[attr-defined]
    assert wanted["1.running_mean"].abs().max() > 0.05
    assert_same(dict(compiled.svi.model.net.named_buffers()), wanted, 1e-4)  # type: ignore[attr-defined]


def test_dropout() -> None:
    """Its draws come from torch's global state in an eager run: here it is only told that they change."""
    found = steps_of(network(lambda: nn.Dropout(0.5)), "eager draws", steps=5, optimizer=optim.SGD(lr=1e-12))
    assert len(found.svi.compiled) == 1
    assert len({round(loss, 3) for loss in found.losses}) == 5


def test_the_mode_of_a_network_is_seen() -> None:
    calls: list[bool] = []

    class Told(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(self.training)
            return x if self.training else -3 * x

    def losses_with(how: Literal[False, "eager draws"]) -> list[float]:
        torch.manual_seed(0)
        model, guide = network(Told)()
        svi = SVI(model, guide, optim.SGD(lr=1e-3), store=ParamStore(), seed=0, compile=how)
        losses = [svi.step() for _ in range(3)]
        model.net.eval()  # type: ignore[attr-defined]
        return losses + [svi.step() for _ in range(3)]

    eager = losses_with(False)
    calls.clear()
    assert losses_with("eager draws") == pytest.approx(eager, rel=1e-5)
    assert calls[-1] is False
    assert len(calls) == 3, "one eager step and two recordings"


@pytest.mark.parametrize("constraint", ["positive", "simplex", "lower_cholesky", "unit_interval", "ordered_vector"])
def test_constrained_parameters(constraint: str) -> None:
    start = {
        "positive": torch.tensor([0.5, 2.0]),
        "simplex": torch.tensor([0.2, 0.3, 0.5]),
        "lower_cholesky": torch.tensor([[1.0, 0.0], [0.3, 0.8]]),
        "unit_interval": torch.tensor([0.2, 0.9]),
        "ordered_vector": torch.tensor([-1.0, 0.5]),
    }[constraint]

    def model() -> None:
        value = param("value", start, constraint=getattr(dist.constraints, constraint))
        z = sample("z", dist.Normal(0.0, 1.0))
        observe("y", dist.Normal(z + (value * torch.arange(value.numel()).reshape(value.shape)).sum(), 1.0), DATA[2])

    assert_as_eager(fixed(model))


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.bfloat16, 0.1)], ids=str)
def test_dtypes(dtype: torch.dtype, rtol: float) -> None:
    def model() -> None:
        z = sample("z", dist.Normal(torch.zeros((), dtype=dtype), 1.0))
        with plate("rows", 6):
            observe("y", dist.Normal(z, 0.5), DATA.to(dtype))

    def guide() -> None:
        loc, scale = (torch.tensor(start, dtype=dtype) for start in (0.3, 0.7))
        sample("z", dist.Normal(param("loc", loc), param("scale", scale, constraint=POSITIVE)))

    found = assert_as_eager(fixed(model, guide), rtol=rtol)
    assert found.params["loc"].dtype == dtype


def test_closed_over_tensors_that_change_in_place() -> None:
    def change(compile: Any) -> list[float]:
        data = DATA.clone()
        with ParamStore() as store:
            svi = SVI(lambda: mean(data), guide, optim.Adam(lr=0.05), store=store, seed=0, compile=compile)
            losses = []
            for _ in range(4):
                losses.append(svi.step())
                data += 1.0
            return losses

    assert change("eager draws") == pytest.approx(change(False), rel=1e-5)


# State


def started(compile: Any = "eager draws", seed: int = 4) -> SVI:
    return SVI(mean, guide, optim.Adam(lr=0.05), store=ParamStore(), seed=seed, compile=compile)


def test_a_seed_fixes_the_run() -> None:
    first, again, other = (started(seed=seed).run(5, DATA, progress=False).losses for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_run_is_its_steps() -> None:
    whole, single = started(), started()
    losses = whole.run(6, DATA, progress=False).losses.tolist()
    assert losses == [single.step(DATA) for _ in range(6)]
    assert_same(single.get_params(single.state), whole.get_params(whole.state), 0.0)


@pytest.mark.parametrize("unroll", [2, 4])
def test_several_steps_in_one_graph(unroll: int) -> None:
    whole, single = started(), started()
    losses = whole.run(8, DATA, progress=False, unroll=unroll).losses.tolist()
    assert losses == pytest.approx([single.step(DATA) for _ in range(8)], rel=1e-6)
    assert whole.state.step == 8


def test_update_is_pure() -> None:
    """Given a state, the same result every time; the state given and the store stay as they were."""
    svi, eager = started(), started(False)
    start = svi.init(DATA)
    before = svi.get_params(start)
    once, _ = svi.update(start, DATA)
    values = svi.get_params(once)
    (twice, loss), (again, same) = svi.update(once, DATA), svi.update(once, DATA)
    assert_same(svi.get_params(start), before, 0.0)
    assert_same(svi.get_params(once), values, 0.0)
    assert loss == same
    assert_same(svi.get_params(again), svi.get_params(twice), 0.0)
    assert len(svi._store()) == 0
    expected, wanted = eager.update(eager.update(eager.init(DATA), DATA)[0], DATA)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert_same(svi.get_params(twice), eager.get_params(expected))


def test_a_state_is_a_copy() -> None:
    svi = started()
    svi.run(3, DATA, progress=False)
    state = svi.state
    before, moments = svi.get_params(state), {k: v.clone() for k, v in state.optim_state["state"][0].items()}
    svi.run(3, DATA, progress=False)
    assert_same(svi.get_params(state), before, 0.0)
    assert_same(state.optim_state["state"][0], moments, 0.0)
    assert state.step == 3


def test_a_callback_sees_every_step_and_can_stop() -> None:
    seen: list[tuple[int, float]] = []

    def callback(step: int, loss: float) -> bool:
        seen.append((step, loss))
        return step == 4

    run = started().run(9, DATA, progress=False, callback=callback)
    assert seen == list(enumerate(run.losses.tolist(), 1))
    assert len(seen) == 4


def test_learning_rates_changed_by_hand() -> None:
    results = []
    for compile in (False, "eager draws"):
        svi = started(compile)
        losses = []
        for step in range(5):
            losses.append(svi.step(DATA))
            svi._own().optimizer.optimizer.param_groups[0]["lr"] = 0.1 * step  # type: ignore[union-attr]
        results.append(losses)
        assert len(svi.compiled) <= 2
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_switched_on_and_off_within_a_run() -> None:
    mixed, eager = started(False), started(False)
    losses = [
        *mixed.run(2, DATA, progress=False).losses.tolist(),
        *mixed.run(3, DATA, progress=False, compile="eager draws").losses.tolist(),
        *mixed.run(2, DATA, progress=False, compile=False).losses.tolist(),
    ]
    assert losses == pytest.approx(eager.run(7, DATA, progress=False).losses.tolist(), rel=1e-5)


def test_few_graphs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference.compiled_step, "KEPT", 2)
    svi = started()
    for size in (6, 5, 4, 6):
        svi.step(DATA[:size])
        assert len(svi.compiled) <= 2
    assert [step.shapes for step in svi.compiled] == [((4,),), ((6,),)]

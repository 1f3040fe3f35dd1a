"""The parameter store: registration, constraints, ambient and explicit, functional, on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ppl_dist as dist
from ppl import ParamStore, clear_param_store, get_param_store, module, param, plate, sample
from ppl import handlers as h
from ppl_dist import constraints


@pytest.fixture(autouse=True)
def store() -> Iterator[ParamStore]:
    with ParamStore() as own:
        yield own


def test_registered_once_and_learnable(store: ParamStore) -> None:
    first = param("loc", torch.tensor([1.0, 2.0]))
    assert first is store.leaves["loc"] and first.requires_grad and first.is_leaf
    assert param("loc", torch.zeros(2)) is first  # the first value stays
    assert param("loc") is first


def test_init_kinds(store: ParamStore) -> None:
    assert param("number", 3).dtype == torch.float32
    assert param("array", [1.0, 2.0]).shape == (2,)  # type: ignore[arg-type]
    calls: list[int] = []

    def init() -> torch.Tensor:
        calls.append(1)
        return torch.ones(2, dtype=torch.float64)

    assert param("called", init).dtype == torch.float64
    param("called", init)
    assert calls == [1]
    source = torch.zeros(2)
    param("copied", source)
    with torch.no_grad():
        store.leaves["copied"].add_(1.0)
    assert source.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("constraint", "value"),
    [
        (constraints.positive, torch.tensor([0.5, 3.0])),
        (constraints.unit_interval, torch.tensor(0.25)),
        (constraints.interval(-1.0, 2.0), torch.tensor(1.5)),
        (constraints.simplex, torch.tensor([0.2, 0.3, 0.5])),
        (constraints.real_vector, torch.tensor([1.0, -1.0])),
        (constraints.lower_cholesky, torch.tensor([[1.0, 0.0], [0.5, 2.0]])),
    ],
    ids=lambda c: repr(c) if isinstance(c, constraints.Constraint) else "",
)
def test_constrained_values_round_trip(
    store: ParamStore, constraint: constraints.Constraint, value: torch.Tensor, tmp_path: Path
) -> None:
    torch.testing.assert_close(param("p", value, constraint=constraint), value)
    param("p", value, constraint)  # third by position, as well
    assert store.constraint("p") == constraint
    loss = param("p", value, constraint=constraint).square().sum()
    loss.backward()
    leaf = store.leaves["p"]
    assert leaf.grad is not None
    with torch.no_grad():
        leaf -= 5.0 * leaf.grad
    assert constraint.check(store["p"]).all()
    store.save(tmp_path / "p.pt")
    with ParamStore() as other:
        other.load(tmp_path / "p.pt")
        assert other.constraint("p") == constraint
        assert torch.equal(param("p", value, constraint=constraint), store["p"])


def test_mapping(store: ParamStore) -> None:
    param("a", 1.0)
    param("scale", 2.0, constraint=constraints.positive)
    assert list(store) == ["a", "scale"] and len(store) == 2 and "a" in store and "b" not in store
    assert {name: value.item() for name, value in store.items()} == {"a": 1.0, "scale": pytest.approx(2.0)}
    assert [name for name, _ in store.named_parameters()] == ["a", "scale"]
    leaf = store.leaves["scale"]
    store["scale"] = 5.0
    assert store["scale"].item() == pytest.approx(5.0) and store.leaves["scale"] is leaf
    store["new"] = torch.zeros(3)
    assert store["new"].requires_grad
    del store["a"]
    assert "a" not in store
    assert repr(store) == "ParamStore(scale (), new (3,))"
    store.clear()
    assert len(store) == 0


def test_ambient_stores_nest() -> None:
    outer = get_param_store()
    param("loc", 1.0)
    with ParamStore() as inner:
        assert get_param_store() is inner
        param("loc", 2.0)
        with outer:
            assert param("loc").item() == 1.0
        assert param("loc").item() == 2.0
        clear_param_store()
        assert len(inner) == 0
    assert get_param_store() is outer and param("loc").item() == 1.0


def test_the_store_is_left_after_an_error() -> None:
    outer = get_param_store()
    with pytest.raises(RuntimeError, match="stop"), ParamStore():
        raise RuntimeError("stop")
    assert get_param_store() is outer


def test_bind_makes_a_model_a_function_of_its_parameters(store: ParamStore) -> None:
    def model() -> torch.Tensor:
        return param("a", 2.0) * param("scale", 3.0, constraint=constraints.positive)

    model()

    def pure(leaves: dict[str, torch.Tensor]) -> torch.Tensor:
        with store.bind(leaves):
            return model()

    leaves = {name: leaf.detach() for name, leaf in store.leaves.items()}
    grads = torch.func.grad(pure)(leaves)
    assert grads["a"].item() == pytest.approx(3.0)
    # d/du a * t(u) against a central difference
    up, down = ({**leaves, "scale": leaves["scale"] + eps} for eps in (1e-2, -1e-2))
    assert grads["scale"].item() == pytest.approx(((pure(up) - pure(down)) / 2e-2).item(), rel=1e-3)
    assert store.leaves["a"].grad is None and store.leaves["a"].item() == 2.0


def test_a_captured_model_has_no_handlers_left_in_it(store: ParamStore) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    y = torch.tensor([0.5, -1.0, 2.0])

    def model(y: torch.Tensor) -> None:
        scale = param("scale", 3.0, constraint=constraints.positive)
        mu = sample("mu", dist.Normal(param("loc", 0.5), scale))
        with plate("data", 6, subsample_size=3), h.scale(scale=0.5):
            sample("y", dist.Normal(mu, 1.0), obs=y)

    h.trace(model).get_trace(y)

    def loss(leaves: dict[str, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        with store.bind(leaves):
            return h.trace(model).get_trace(y).log_prob_sum()

    leaves = {name: leaf.detach() for name, leaf in store.leaves.items()}
    graph = make_fx(loss)(leaves, y)
    moved = {name: leaf + 0.25 for name, leaf in leaves.items()}
    torch.manual_seed(1)
    eager = loss(moved, y + 1.0)
    torch.manual_seed(1)
    torch.testing.assert_close(graph(moved, y + 1.0), eager)


def test_state_dict_keeps_leaves_in_place(store: ParamStore) -> None:
    param("scale", 2.0, constraint=constraints.positive)
    state = store.state_dict()
    leaf = store.leaves["scale"]
    store["scale"] = 7.0
    assert state["leaves"]["scale"].item() != leaf.item()  # a snapshot
    store.load_state_dict(state)
    assert store.leaves["scale"] is leaf and store["scale"].item() == pytest.approx(2.0)


def test_a_loaded_store_needs_no_init(store: ParamStore, tmp_path: Path) -> None:
    param("scale", 2.0, constraint=constraints.positive)
    store.save(tmp_path / "params.pt")
    with ParamStore() as other:
        other.load(tmp_path / "params.pt")
        assert param("scale").item() == pytest.approx(2.0)


def test_to_keeps_identity(store: ParamStore) -> None:
    leaf = param("a", torch.zeros(2))
    leaf.sum().backward()
    assert store.to(torch.float64) is store
    assert store.leaves["a"] is leaf and leaf.dtype == torch.float64
    assert leaf.grad is not None and leaf.grad.dtype == torch.float64


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2, bias=False))


def test_module_registers_its_own_parameters(store: ParamStore) -> None:
    mine = net()
    mine[0].bias.requires_grad_(False)  # type: ignore[index]
    with h.trace() as tr:
        assert module("net", mine) is mine
    assert set(tr.param_nodes) == {f"net$$${name}" for name, p in mine.named_parameters() if p.requires_grad}
    assert store.leaves["net$$$0.weight"] is mine[0].weight  # type: ignore[index]
    assert module("net", mine) is mine


def test_module_with_other_parameters_is_a_copy_that_shares_buffers(store: ParamStore) -> None:
    mine = net()
    module("net", mine)
    other = {name: torch.zeros_like(leaf) for name, leaf in store.leaves.items()}
    x = torch.randn(5, 3)
    before = mine(x)
    with store.bind(other):
        copy = module("net", mine)
        assert copy is not mine and type(copy) is type(mine)
        assert torch.equal(copy(x), torch.zeros(5, 2))
        assert copy[1].running_mean is mine[1].running_mean  # type: ignore[index]
    torch.testing.assert_close(mine(x), before)


def test_module_is_differentiable_in_bound_leaves(store: ParamStore) -> None:
    mine = net().eval()  # `torch.func` refuses the batch counter of the training mode
    module("net", mine)
    x = torch.randn(5, 3)

    def loss(leaves: dict[str, torch.Tensor]) -> torch.Tensor:
        with store.bind(leaves):
            return module("net", mine)(x).square().sum()

    got = torch.func.grad(loss)({name: leaf.detach() for name, leaf in store.leaves.items()})
    mine(x).square().sum().backward()
    for name, p in mine.named_parameters():
        torch.testing.assert_close(got[f"net$$${name}"], p.grad, rtol=1e-4, atol=1e-6)


def test_module_recurrent_and_tied_weights(store: ParamStore) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = torch.nn.GRU(2, 3)
            self.first = torch.nn.Linear(3, 3)
            self.second = torch.nn.Linear(3, 3)
            self.second.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(self.rnn(x)[0]))

    mine = Tied()
    module("tied", mine)
    x = torch.randn(4, 1, 2)
    doubled = {name: 2 * leaf.detach() for name, leaf in store.leaves.items()}
    with store.bind(doubled):
        got = module("tied", mine)(x)
    expected = Tied()
    expected.load_state_dict({name: 2 * value for name, value in mine.state_dict().items()})
    torch.testing.assert_close(got, expected(x))


def test_substitute_reaches_a_module() -> None:
    linear = torch.nn.Linear(2, 1)
    weight = torch.tensor([[1.0, -1.0]])
    with h.substitute(data={"net$$$weight": weight, "net$$$bias": torch.zeros(1)}):
        assert module("net", linear)(torch.tensor([3.0, 1.0])).item() == 2.0


def test_loading_reaches_the_module(store: ParamStore, tmp_path: Path) -> None:
    mine = net()
    module("net", mine)
    store.save(tmp_path / "net.pt")
    fresh = net()
    for p in fresh.parameters():
        torch.nn.init.constant_(p, 9.0)
    with ParamStore() as other:
        other.load(tmp_path / "net.pt")
        assert module("net", fresh) is fresh
        assert torch.equal(fresh[0].weight, mine[0].weight)  # type: ignore[index]
        assert other.leaves["net$$$0.weight"] is fresh[0].weight  # type: ignore[index]


def test_a_module_made_anew_takes_what_was_learned(store: ParamStore) -> None:
    module("net", net())
    with torch.no_grad():
        store.leaves["net$$$0.weight"].fill_(0.5)
    again = module("net", net())
    assert again[0].weight is store.leaves["net$$$0.weight"]  # type: ignore[index]


def test_params_are_sites() -> None:
    with h.trace() as tr, plate("data", 3):
        param("scale", 2.0, constraint=constraints.positive, event_dim=0)
    site = tr["scale"]
    assert site.type == "param" and site.kwargs["constraint"] == constraints.positive
    assert site.args == (2.0,) and site.cond_indep_stack[0].name == "data"
    assert tr.log_prob_sum().item() == 0.0
    assert dist.Normal(site.value, 1.0).loc is site.value


def test_a_list_may_be_given_again() -> None:
    first = param("weights", [1.0, 2.0])  # type: ignore[arg-type]
    assert param("weights", [1.0, 2.0]) is first  # type: ignore[arg-type]

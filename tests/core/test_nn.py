"""Modules with constraints and priors: names, one draw per run, what torch asks of a module, a network that learns."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import ppl
import ppl_dist as dist
from inference import SVI, Trace_ELBO
from inference.optim import Adam
from ppl import ParamStore
from ppl import handlers as h
from ppl.nn import Module, Param, PyroModule, PyroParam, PyroSample, Sample
from ppl_dist import constraints
from tests.errors.reading import fails

X = torch.linspace(-1.0, 1.0, 6).reshape(3, 2)


@pytest.fixture(autouse=True)
def store() -> Iterator[ParamStore]:
    with ParamStore() as own:
        yield own


def normal(*shape: int) -> Any:
    return dist.Normal(0.0, 1.0).expand(list(shape)).to_event(len(shape))


class Net(Module):
    """One of each: a prior, a parameter with a constraint, one without, a plain child, containers, a shared child."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = Module[nn.Linear](2, 4)
        self.fc1.weight = Sample(normal(4, 2))
        self.plain = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.layers = nn.ModuleList([Module[nn.Linear](4, 4), nn.Linear(4, 4)])
        self.seq = Module[nn.Sequential](nn.Linear(4, 4), Module[nn.Linear](4, 1))
        self.scale = Param(2.0, constraint=constraints.positive)
        self.offset = Sample(lambda self: dist.Normal(0.0, self.scale))
        self.own = nn.Parameter(torch.zeros(()))
        self.frozen = nn.Parameter(torch.ones(()), requires_grad=False)
        self.shared = self.fc1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.plain(self.fc1(x) + self.shared(x))
        for layer in self.layers:
            y = layer(y)
        return self.seq(y) * self.scale + self.offset + self.own * self.frozen


NAMES = {
    "plain$$$0.weight": "param",
    "plain$$$0.bias": "param",
    "fc1.weight": "sample",
    "fc1.bias": "param",
    "layers$$$1.weight": "param",
    "layers$$$1.bias": "param",
    "layers.0.weight": "param",
    "layers.0.bias": "param",
    "seq.0$$$weight": "param",
    "seq.0$$$bias": "param",
    "seq.1.weight": "param",
    "seq.1.bias": "param",
    "scale": "param",
    "offset": "sample",
    "own": "param",
}


def test_sites_are_called_by_their_paths(store: ParamStore) -> None:
    net = Net()
    tr = h.trace(net).get_trace(X)
    assert {name: site.type for name, site in tr.items()} == NAMES
    assert set(store) == {name for name, kind in NAMES.items() if kind == "param"}
    learned = [p for p in net.parameters() if p.requires_grad]
    assert {id(leaf) for leaf in store.leaves.values()} == {id(leaf) for leaf in learned}
    assert store.constraint("scale") == constraints.positive
    assert tr["scale"].value.item() == pytest.approx(2.0)


def test_names_when_the_model_is_a_function_or_has_a_name() -> None:
    net = Net()
    assert list(h.trace(lambda: net.fc1.weight).get_trace()) == ["fc1.weight"]
    assert list(h.trace(lambda: net.fc1(X)).get_trace()) == ["fc1.weight", "fc1.bias"]
    root = Module("root")
    root.child = Module[nn.Linear](2, 1)
    assert list(h.trace(lambda: root.child(X)).get_trace()) == ["root.child.weight", "root.child.bias"]
    net.layers.append(Module[nn.Linear](4, 4))  # torch's list does not tell the module
    assert "layers.2.weight" in h.trace(net).get_trace(X)


def test_the_parameters_are_complete_before_the_first_call() -> None:
    names = {name for name, _ in Net().named_parameters()}
    assert "scale_unconstrained" in names and "fc1.weight" not in names and len(names) == 14
    assert isinstance(Net().scale, torch.Tensor) and not isinstance(Net().scale, nn.Parameter)


def test_one_draw_per_run(store: ParamStore) -> None:
    net = Net()

    def model() -> None:
        first, second = net(X), net(X)
        assert torch.equal(first, second)
        assert net.offset is net.offset

    model_trace = h.trace(model).get_trace()
    other = h.trace(model).get_trace()
    assert not torch.equal(model_trace["fc1.weight"].value, other["fc1.weight"].value)
    again = h.trace(h.replay(model, trace=model_trace)).get_trace()
    assert torch.equal(again["offset"].value, model_trace["offset"].value)


def test_one_draw_per_outermost_call_where_no_run_is_recorded() -> None:
    net = Net()
    net.forward = lambda: (net.fc1.weight, net.fc1.weight)  # type: ignore[method-assign]
    first, second = net()
    assert torch.equal(first, second)
    assert not torch.equal(net()[0], first)
    assert not torch.equal(net.fc1.weight, net.fc1.weight)
    with h.seed(rng_seed=0):
        third, fourth = net()
    assert torch.equal(third, fourth)


def test_draws_inside_plates_and_under_nested_runs() -> None:
    net = Module[nn.Linear](2, 1)
    net.bias = Sample(normal(1))

    def model() -> torch.Tensor:
        with ppl.plate("groups", 4):
            outer: torch.Tensor = net.bias
        assert net.bias is outer  # as the run has drawn it
        inner = h.block(h.trace(lambda: net.bias).get_trace)()
        assert inner["bias"].value is not outer
        return outer

    assert h.trace(model).get_trace()["bias"].value.shape == (4, 1)


def test_handlers_reach_the_attributes(store: ParamStore) -> None:
    net = Net()
    weight = torch.ones(4, 4)
    values = {
        "scale": torch.tensor(3.0),
        "plain$$$0.weight": weight,
        "seq.0$$$weight": weight,
        "own": torch.tensor(5.0),
    }
    given = h.trace(h.substitute(h.condition(net, data={"offset": 1.0}), data=values)).get_trace(X)
    assert given["offset"].is_observed and given["scale"].value.item() == 3.0
    plain = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    plain.load_state_dict({"0.weight": weight, "0.bias": net.plain[0].bias.detach()})
    with h.substitute(data={"plain$$$0.weight": weight}):
        assert torch.equal(net.plain(torch.ones(4)), plain(torch.ones(4)))
    assert not torch.equal(net.plain[0].weight, weight)

    class as_draws(ppl.Handler):  # a parameter that becomes a draw is drawn once per run
        def process(self, site: ppl.Site) -> None:
            if site.type == "param":
                site.type, site.fn = "sample", dist.Normal(torch.ones_like(site.args[0]), 0.01)

    lifted = as_draws(lambda: (net(X), net(X)))
    assert {site.type for site in h.trace(lifted).get_trace().values()} == {"sample"}


def test_a_minibatch_cuts_a_parameter_with_an_event_dim(store: ParamStore) -> None:
    net = Module()
    net.loc = Param(torch.arange(6.0), event_dim=0)
    with h.trace(), ppl.plate("data", 6, subsample_size=2) as i:
        assert torch.equal(net.loc, i.float())
    assert net.loc.shape == (6,)


def test_a_tensor_sets_a_parameter_and_fixes_a_draw(store: ParamStore) -> None:
    net = Net()
    leaf = net.scale_unconstrained
    net.scale = 3.0
    assert net.scale.item() == pytest.approx(3.0) and net.scale_unconstrained is leaf
    net.offset = torch.tensor(0.5)
    assert net.offset.item() == 0.5 and "offset" in net.state_dict()
    assert "offset" not in h.trace(net).get_trace(X)
    net.offset = Sample(dist.Normal(0.0, 1.0))
    assert "offset" in h.trace(net).get_trace(X) and "offset" not in net.state_dict()
    net.scale = nn.Parameter(torch.ones(()))
    assert "scale_unconstrained" not in dict(net.named_parameters()) and isinstance(net.scale, nn.Parameter)
    net.fc1.weight = nn.Parameter(torch.zeros(4, 2))
    assert "weight" in dict(net.fc1.named_parameters())


def test_declarations_in_the_body_of_a_class_and_the_spellings_of_pyro(store: ParamStore) -> None:
    assert (PyroModule, PyroParam, PyroSample) == (Module, Param, Sample)

    class Prior(PyroModule):
        width = PyroParam(1.5, constraints.positive)

        def __init__(self, start: float) -> None:
            super().__init__()
            self.start = start

        @PyroParam(constraint=constraints.positive)
        def scale(self) -> torch.Tensor:
            return torch.tensor(self.start)

        @PyroSample
        def weight(self) -> Any:
            return dist.Normal(0.0, self.scale)

        @PyroSample
        def twice(self) -> torch.Tensor:
            return 2 * self.weight

    one, two = Prior(2.0), Prior(3.0)
    assert {name for name, _ in one.named_parameters()} == {"width_unconstrained", "scale_unconstrained"}
    assert (one.scale.item(), two.scale.item()) == (pytest.approx(2.0), pytest.approx(3.0))
    tr = h.trace(lambda: one.twice).get_trace()
    assert {name: site.type for name, site in tr.items()} == {
        "scale": "param",
        "weight": "sample",
        "twice": "deterministic",
    }
    assert tr["twice"].value == 2 * tr["weight"].value
    one.weight = torch.tensor(1.0)
    assert one.weight.item() == 1.0 and isinstance(Prior.weight, Sample)


def test_copies_pickles_and_checkpoints() -> None:
    net = Net()
    net.offset = Sample(dist.Normal(0.0, 1.0))  # a lambda cannot be pickled
    net.scale = 3.0
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.scale.item() == pytest.approx(3.0)
        with ParamStore() as own:
            assert set(h.trace(other).get_trace(X)) == set(NAMES)
        assert not {id(leaf) for leaf in own.leaves.values()} & {id(leaf) for leaf in net.parameters()}
        assert type(other.fc1) is type(net.fc1) and other.shared is other.fc1
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    fresh = Net()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert fresh.scale.item() == pytest.approx(3.0)


def test_a_store_that_was_loaded_reaches_the_module(store: ParamStore) -> None:
    net = Net()
    h.trace(net).get_trace(X)
    net.scale = 5.0
    state = store.state_dict()
    with ParamStore() as other:
        other.load_state_dict(state)
        fresh = Net()
        h.trace(fresh).get_trace(X)
    assert fresh.scale.item() == pytest.approx(5.0)


def test_moving_to_another_dtype_moves_the_priors() -> None:
    net = Net().double()
    tr = h.trace(net).get_trace(X.double())
    assert {site.value.dtype for site in tr.values()} == {torch.float64}


def test_functional_call() -> None:
    net = Net()
    net.offset = torch.tensor(0.0)
    leaves = {name: leaf.detach() for name, leaf in net.named_parameters()}
    fixed = h.substitute(net, data={"fc1.weight": torch.ones(4, 2)})
    # torch, told to tie weights, would not put back the originals of a child that is reached by two paths

    def loss(leaves: dict[str, torch.Tensor]) -> torch.Tensor:
        return h.substitute(  # no parameter is a site here: the tensors belong to the caller
            lambda x: torch.func.functional_call(net, leaves, (x,), tie_weights=False).square().sum(),
            data={"fc1.weight": torch.ones(4, 2)},
        )(X)

    gradients = torch.func.grad(loss)(leaves)
    fixed(X).square().sum().backward()
    expected = {name: leaf.grad for name, leaf in net.named_parameters() if leaf.requires_grad}
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers(kind: str) -> None:
    layer = Module[getattr(nn, kind)](2, 2)
    layer.weight_hh_l0 = Sample(normal(*layer.weight_hh_l0.shape))
    tr = h.trace(layer).get_trace(X)
    assert {name: site.type for name, site in tr.items()} == {
        "weight_ih_l0": "param",
        "weight_hh_l0": "sample",
        "bias_ih_l0": "param",
        "bias_hh_l0": "param",
    }
    reference = getattr(nn, kind)(2, 2)
    reference.load_state_dict({name: site.value.detach() for name, site in tr.items()})
    with h.replay(trace=tr):
        torch.testing.assert_close(layer(X)[0], reference(X)[0])
    assert "weight_hh_l0" in h.trace(copy.deepcopy(layer)).get_trace(X)


def test_two_threads_see_their_own_draws() -> None:
    net = Net()
    found: dict[int, bool] = {}

    def work(seed: int) -> None:
        with ParamStore():
            runs = [h.trace(h.seed(net, rng_seed=seed)).get_trace(X)["fc1.weight"].value for _ in range(20)]
        found[seed] = all(torch.equal(run, runs[0]) for run in runs)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {1: True, 2: True}


def test_errors() -> None:
    def initial(value: Any) -> None:
        Module().scale = Param(value, constraint=constraints.positive)

    fails(ValueError, lambda: initial(-1.0), 'param "scale"', "must be positive", "got -1")
    edge = Param(torch.tensor([0.0, 1.0]), constraint=constraints.simplex)
    fails(ValueError, lambda: setattr(Module(), "shares", edge), 'param "shares"', "boundary of")
    fails(ValueError, lambda: initial(None), 'param "scale"', "no initial value")
    net = Net()
    fails(ValueError, lambda: setattr(net, "scale", torch.ones(2)), 'param "scale"', "shape ()", "shape (2,)")
    fails(ValueError, lambda: setattr(net, "scale", -1.0), 'param "scale"', "must be positive")
    pair = [Module[nn.Linear](2, 2), Module[nn.Linear](2, 2)]
    message = fails(ValueError, lambda: h.trace(nn.Sequential(*pair)).get_trace(X), 'site "weight"', "one", "got two")
    assert "Module[torch.nn.Sequential](first, second)" in message
    assert len(h.trace(Module[nn.Sequential](*pair)).get_trace(X)) == 4


def test_a_wrong_initial_value_leaves_what_was_there() -> None:
    layer = Module[nn.Linear](2, 1)
    with pytest.raises(ValueError, match="must be positive"):
        layer.weight = Param(-torch.ones(1, 2), constraint=constraints.positive)
    assert isinstance(layer.weight, nn.Parameter)


# A Bayesian linear regression whose posterior is known: columns of the design are orthogonal, so that it is a product
# of normals, and a guide of independent normals can be exact.

DESIGN = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [2.0, 0.0], [-2.0, 0.0]])
Y = torch.tensor([1.4, 0.3, -0.2, -1.6, 2.1, -1.8])
NOISE = 0.5


class Regression(Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = Module[nn.Linear](2, 1)
        self.line.weight = Sample(normal(1, 2))
        self.line.bias = Sample(normal(1))

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        mean = self.line(x).squeeze(-1)
        with ppl.plate("data", len(x)):
            ppl.sample("y", dist.Normal(mean, NOISE), obs=y)
        return mean


class Guide(Module):
    def __init__(self) -> None:
        super().__init__("guide")
        for name, shape in (("weight", (1, 2)), ("bias", (1,))):
            setattr(self, f"{name}_loc", Param(torch.zeros(shape)))
            setattr(self, f"{name}_scale", Param(0.3 * torch.ones(shape), constraint=constraints.positive))

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> None:
        for name, dims in (("weight", 2), ("bias", 1)):
            law = dist.Normal(getattr(self, f"{name}_loc"), getattr(self, f"{name}_scale"))
            ppl.sample(f"line.{name}", law.to_event(dims))


def test_a_bayesian_network_finds_the_conjugate_posterior(store: ParamStore) -> None:
    model, guide = Regression(), Guide()
    bound = Trace_ELBO(num_particles=8)
    svi = SVI(model, guide, Adam({"lr": 0.03}), bound, seed=0)
    svi.run(250, DESIGN, Y, progress=False)
    wide = torch.cat([DESIGN, torch.ones(len(Y), 1)], 1)
    precision = wide.T @ wide / NOISE**2 + torch.eye(3)
    mean, scale = torch.linalg.solve(precision, wide.T @ Y / NOISE**2), precision.diagonal().rsqrt()
    found = torch.cat([guide.weight_loc.flatten(), guide.bias_loc])
    spread = torch.cat([guide.weight_scale.flatten(), guide.bias_scale])
    # Seeds fixed; without noise of the gradient these agree to 1e-3. Bounds: 0.15 standard deviations, 10 per cent.
    assert ((found - mean).abs() < 0.15 * scale).all(), (found, mean)
    assert ((spread / scale - 1).abs() < 0.1).all(), (spread, scale)


def test_the_pure_step_leaves_the_modules_alone(store: ParamStore) -> None:
    model, guide = Regression(), Guide()
    before = copy.deepcopy(guide.state_dict())
    svi = SVI(model, guide, Adam({"lr": 0.1}), Trace_ELBO(), seed=0)
    state = svi.init(DESIGN, Y)
    state, _ = svi.update(state, DESIGN, Y)
    state, _ = svi.update(state, DESIGN, Y)
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())
    assert not torch.equal(state.params["guide.weight_loc"], guide.weight_loc)


def test_a_plain_torch_module_is_a_model(store: ParamStore) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def forward(self) -> None:
            ppl.module("plain", self)
            ppl.sample("z", dist.Normal(self.loc, 1.0))

    plain = Plain()
    assert list(h.trace(plain).get_trace()) == ["plain$$$loc", "z"]
    SVI(lambda: ppl.sample("z", dist.Normal(3.0, 1.0)), plain, Adam({"lr": 0.1}), seed=0).step()
    assert plain.loc.item() != 0.0


def test_initial_values_given_as_functions() -> None:
    class Both(Module):
        scale = Param(lambda self: torch.full((self.n,), 2.0), constraint=constraints.positive)

        def __init__(self, n: int) -> None:
            super().__init__()
            self.n = n
            self.shift = Param(lambda: torch.ones(2))

    net = Both(3)
    assert net.scale.tolist() == pytest.approx([2.0, 2.0, 2.0])
    assert net.shift.tolist() == [1.0, 1.0]
    assert copy.deepcopy(net).scale.shape == (3,)

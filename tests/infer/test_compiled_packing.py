"""Computations that are alike, done as one: the same results, with operations as few as for one of them."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from inference import SVI, optim
from ppl import ParamStore, observe, param, plate, sample
from tests.support.compiling import assert_as_eager, assert_same, compiling, recorded, steps_of

packing = importlib.import_module("inference.compile.packing")
values = importlib.import_module("inference.compile.values")
Packing = importlib.import_module("inference.compile.rows").Packing

POSITIVE = dist.constraints.positive
N = 12
Y = torch.linspace(-2.0, 3.0, N)
COVARIANCE = torch.tensor([[2.0, 0.3], [0.3, 1.0]])


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed, whether it is worth it or not."""
    monkeypatch.setattr(packing, "WORTH", 9)


def interpreted(graph: Any, *inputs: Tensor, counter: int = 3) -> Any:
    """What a graph gives by its packed form, and by itself."""
    found = compiling.packed(graph)
    assert found is not None
    inputs = (*inputs, *graph.lifted)
    packed = compiling.lowered(found.graph, 1)[0](torch.tensor(counter), *found.packing.inputs(inputs))
    return packed, compiling.lowered(graph, 1)[0](torch.tensor(counter), *inputs)


def each_site(**options: Any) -> None:
    """A latent and an observation for each number, with parameters of its own in the guide."""
    scales = options.get("scales", [1.0] * N)
    for i in range(N):
        z = sample(f"z{i}", dist.Normal(0.0, scales[i]))
        observe(f"y{i}", dist.Normal(z, 1.0), options.get("data", Y)[i])


def each_guide() -> None:
    for i in range(N):
        scale = param(f"scale{i}", torch.tensor(0.5), constraint=POSITIVE)
        sample(f"z{i}", dist.Normal(param(f"loc{i}", torch.tensor(0.1 * i)), scale))


def numbered() -> None:
    each_site(scales=[0.5 + i for i in range(N)])


def listed() -> None:
    each_site(data=LISTED)


def backwards() -> None:
    each_site(data=Y.flip(0)[::1].unbind())


LISTED = [torch.tensor(float(i)) for i in range(N)]


def one_latent() -> None:
    z = sample("z", dist.Normal(torch.zeros(N), 1.0).to_event(1))
    for i in plate("data", N):
        observe(f"y{i}", dist.Normal(z[i], 1.0 + i), Y[i])


def one_latent_guide() -> None:
    loc, scale = param("loc", torch.zeros(N)), param("scale", torch.full((N,), 0.5), constraint=POSITIVE)
    sample("z", dist.Normal(loc, scale).to_event(1))


def some_of_a_latent() -> None:
    """Entries read in no order, more than once, and not all of them."""
    z = sample("z", dist.Normal(torch.zeros(N), 1.0).to_event(1))
    for i, place in enumerate((7, 1, 1, 4, -1, 0, 9, 3, 2, 9)):
        observe(f"y{i}", dist.Normal(z[place], 1.0), Y[i])


def stacked() -> None:
    z = torch.stack([sample(f"z{i}", dist.Normal(0.0, 1.0)) for i in range(N)])
    observe("y", dist.Normal(z.cumsum(0), 1.0).to_event(1), Y)


def shared() -> None:
    mu = sample("mu", dist.Normal(0.0, 1.0))
    for i in range(N):
        z = sample(f"z{i}", dist.Normal(mu, 1.0))
        observe(f"y{i}", dist.Normal(z, 1.0), Y[i])


def shared_guide() -> None:
    sample("mu", dist.Normal(param("mu_loc", torch.tensor(0.3)), 0.5))
    each_guide()


def vectors() -> None:
    for i in range(N):
        z = sample(f"z{i}", dist.MultivariateNormal(torch.zeros(2), COVARIANCE))
        observe(f"y{i}", dist.MultivariateNormal(z, COVARIANCE), torch.stack([Y[i], Y[N - 1 - i]]))


def vectors_guide() -> None:
    for i in range(N):
        tril = param(f"tril{i}", torch.eye(2), constraint=dist.constraints.lower_cholesky)
        sample(f"z{i}", dist.MultivariateNormal(param(f"loc{i}", torch.zeros(2)), scale_tril=tril))


def rates() -> None:
    for i in range(8):
        rate = sample(f"z{i}", dist.Gamma(2.0, 1.0))
        observe(f"y{i}", dist.Poisson(rate), torch.tensor(float(i % 4)))


def rates_guide() -> None:
    for i in range(8):
        concentration = param(f"a{i}", torch.tensor(2.0 + i), constraint=POSITIVE)
        sample(f"z{i}", dist.Gamma(concentration, param(f"b{i}", torch.tensor(1.0), constraint=POSITIVE)))


PROGRAMS: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "sites": (each_site, each_guide),
    "numbers of their own": (numbered, each_guide),
    "tensors of their own": (listed, each_guide),
    "data in another order": (backwards, each_guide),
    "entries of one latent": (one_latent, one_latent_guide),
    "some entries of one latent": (some_of_a_latent, one_latent_guide),
    "stacked": (stacked, each_guide),
    "a latent for all": (shared, shared_guide),
    "vectors": (vectors, vectors_guide),
    "rates": (rates, rates_guide),
}


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "rates"])
@pytest.mark.usefixtures("interpreted")
def test_programs_with_many_sites(name: str) -> None:
    """All but gammas, whose draws by torch have to stay in the order of the program."""
    ran = assert_as_eager(lambda: PROGRAMS[name], steps=5, rtol=1e-4)
    assert compiling.packed(ran.svi.compiled[0].plan.graph) is not None


@pytest.mark.parametrize("name", ["numbers of their own", "some entries of one latent", "vectors", "rates"])
@pytest.mark.usefixtures("interpreted")
def test_little_is_left(name: str) -> None:
    graph = steps_of(lambda: PROGRAMS[name], True, steps=2).svi.compiled[0].plan.graph
    found = compiling.packed(graph)
    assert found is not None
    assert found.graph.operations < graph.operations / (2 if "entries" in name else 3)


@pytest.mark.usefixtures("interpreted")
def test_the_same_seed_is_the_same_run() -> None:
    ran, again = (steps_of(lambda: PROGRAMS["sites"], True, steps=4) for _ in range(2))
    assert again.losses == ran.losses


@pytest.mark.parametrize(
    "optimizer",
    [optim.SGD(lr=0.01, momentum=0.9), optim.RMSprop(lr=0.01), optim.ClippedAdam(lr=0.02), optim.ASGD()],
    ids=repr,
)
@pytest.mark.usefixtures("interpreted")
def test_optimisers(optimizer: Any) -> None:
    assert_as_eager(lambda: PROGRAMS["sites"], steps=5, optimizer=optimizer, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("interpreted")
def test_numbers_keep_the_precision_of_the_operation(dtype: torch.dtype) -> None:
    """0.999 is 1 in bfloat16, and an operation on bfloat16 multiplies by 0.999 all the same."""
    xs = [torch.full((3,), 1.0 + i, dtype=dtype) for i in range(N)]
    shared_number = recorded(lambda *xs: [x * 0.999 + 0.3 for x in xs], xs)
    of_its_own = recorded(lambda *xs: [x * (0.999 + i * 1e-4) - i * 1e-3 for i, x in enumerate(xs)], xs)
    for graph in (shared_number, of_its_own):
        packed, alone = interpreted(graph, *xs)
        assert all(torch.equal(one, other) and one.dtype == dtype for one, other in zip(packed, alone, strict=True))


def test_order_and_strides_of_outputs() -> None:
    xs = [torch.randn(3, 2) for _ in range(N)]
    graph = recorded(lambda *xs: [*((x.exp() + 1).T for x in reversed(xs)), xs[3]], xs)
    packed, alone = interpreted(graph, *xs)
    for one, other in zip(packed, alone, strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


def test_integers_and_truth() -> None:
    """Sums of truth values are "or", and those of integers do not become wider."""
    xs = [torch.tensor(i % 3, dtype=torch.int32) for i in range(N)]

    def program(*xs: Tensor) -> list[Tensor]:
        more = [x * 2 > 1 for x in xs]
        total, any_of_them = xs[0] * 3, more[0]
        for x, one in zip(xs[1:], more[1:], strict=True):
            total, any_of_them = total + x * 3, any_of_them + one
        return [total, any_of_them]

    packed, alone = interpreted(recorded(program, xs), *xs)
    assert [each.dtype for each in packed] == [torch.int32, torch.bool]
    assert packed == alone


def written_to_a_view(*xs: Tensor) -> list[Tensor]:
    made = [x * 2 for x in xs]
    for each in made:
        each[1:].add_(1.0)
    return made


def written_through_unbind(*xs: Tensor) -> list[Tensor]:
    made = [x * 2 for x in xs]
    for each in made:
        each.unbind()[0].add_(1.0)
    return made


def read_by_strides(*xs: Tensor) -> list[Tensor]:
    return [torch.as_strided(x * 2, (2,), (1,), 1) for x in xs]


@pytest.mark.parametrize("program", [written_to_a_view, written_through_unbind, read_by_strides])
def test_shared_memory_is_left_alone(program: Callable[..., list[Tensor]]) -> None:
    assert values.values_of(recorded(program, [torch.ones(3)] * N)) is None


def test_writes_to_memory_of_their_own() -> None:
    xs = [torch.full((3,), 1.0 + i) for i in range(N)]

    def program(*xs: Tensor) -> list[Tensor]:
        made = []
        for i, x in enumerate(xs):
            each = torch.zeros(3, dtype=torch.float32).copy_(x.double()).mul_(2.0)
            before = each + 1
            each.addcmul_(x, x).index_fill_(0, torch.tensor([1]), float(i))
            made += [each, before]
        return made

    packed, alone = interpreted(recorded(program, xs), *xs)
    assert all(torch.equal(one, other) for one, other in zip(packed, alone, strict=True))


DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "randn": lambda x: torch.randn(3),
    "rand": lambda x: torch.rand(3),
    "randn_like": torch.randn_like,
    "rand_like": torch.rand_like,
    "normal_": lambda x: torch.empty(3).normal_(),
    "uniform_": lambda x: torch.empty_like(x).uniform_(),
    "exponential_": lambda x: torch.empty(3).exponential_(),
    "bernoulli": lambda x: torch.bernoulli(x / 9),
    "bernoulli_": lambda x: torch.empty_like(x).bernoulli_(0.5),
    "gamma": torch._standard_gamma,
    "poisson": torch.poisson,
    "binomial": lambda x: torch.binomial(torch.full((3,), 9.0), x / 9),
    "randperm": lambda x: torch.randperm(3) * x,
}


@pytest.mark.parametrize("alike", [True, False], ids=["of one tensor", "of tensors of their own"])
@pytest.mark.parametrize("name", DRAWS)
def test_draws_of_each_are_its_own_and_are_told_apart(name: str, alike: bool) -> None:
    """The draws of a run that is looked at again are those of the run, in the order of the program.

    Two of twelve triples of the least varied, permutations, are expected to agree; half of all pairs are not.
    """
    xs = [torch.linspace(2.0, 3.0, 3) + (0 if alike else i / 10) for i in range(N)]
    graph = recorded(lambda *xs: [DRAWS[name](xs[0] if alike else x) + 2 * x.sin() for x in xs], xs)
    found = compiling.packed(graph)
    assert found is not None
    inputs = found.packing.inputs(xs)
    module = compiling.lowered(found.graph, 1)[0]
    made = [out - 2 * x.sin() for out, x in zip(module(torch.tensor(5), *inputs), xs, strict=True)]
    assert len({tuple(each.mul(1e4).round().tolist()) for each in made}) > (2 if name == "randperm" else N / 4)
    assert sorted(place for places in found.drawn for place in places) == list(range(N))
    with compiling.redrawn(graph, [torch.tensor(5), *xs]):
        again = [DRAWS[name](xs[0] if alike else x) for x in xs]
    for one, other in zip(made, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def strange_guide(scale: Tensor) -> None:
    each_guide()


def strange(scale: Tensor) -> None:
    for i in range(N):
        z = sample(f"z{i}", dist.Normal(0.0, 1.0))
        observe(f"y{i}", dist.Normal(z, scale if i == 7 else torch.ones(())), Y[i])


@pytest.mark.usefixtures("interpreted")
def test_a_loss_that_is_not_finite_names_its_site() -> None:
    svi = SVI(strange, strange_guide, optim.Adam(lr=0.01), store=ParamStore(), seed=1, compile=True)
    for _ in range(2):
        svi.step(torch.tensor(1.0))
    with pytest.raises(ValueError, match="z7"):
        svi.step(torch.tensor(float("nan")))


def test_machine_code_moves_the_state_in_place(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters are where they were, in memory of their own, also after others were put behind them."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    eager = steps_of(lambda: (each_site, each_guide), False, steps=6)
    ran = steps_of(lambda: (each_site, each_guide), "eager draws", steps=6)
    assert ran.losses == pytest.approx(eager.losses, rel=1e-4)
    assert_same(ran.params, eager.params, 1e-4)
    assert ran.svi.compiled[0].plan.kernel(1).packing is not None
    again = steps_of(lambda: (each_site, each_guide), "eager draws", steps=6)  # from the file
    assert again.losses == ran.losses
    leaf = again.svi.store.leaves["loc3"]
    leaf.data = leaf.data.clone().fill_(100.0)
    again.svi.step()
    assert 99.0 < float(leaf.detach()) < 100.0
    assert len(again.svi.compiled) == 1


def test_what_is_not_worth_it_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve operations that are alike beside twenty of a chain: copying rows costs more than it saves."""

    def program(x: Tensor, *xs: Tensor) -> list[Tensor]:
        for _ in range(20):
            x = x.sin()
        return [x, *(each.exp() for each in xs)]

    graph = recorded(program, [Y, *LISTED])
    assert compiling.packed(graph) is not None
    monkeypatch.undo()
    assert compiling.packed(graph) is None


def test_what_a_file_says_of_its_inputs() -> None:
    constants = [torch.tensor([0.1, -0.0, float("inf")]), torch.tensor([2**40, 0]), torch.tensor([1e300]).double()]
    places = [[0, 2], [1], [4, 3]]
    found = Packing.read(b"machine code" + Packing(places, 2, constants).written())
    assert (found.places, found.num_state) == (places, 2)
    for one, other in zip(found.constants, constants, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
        assert torch.equal(one.signbit(), other.signbit())
    assert Packing.read(b"machine code") is None


def test_data_that_is_part_of_the_state_follows_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several runs in one call, of machine code: what lies in rows is read anew where it shares memory."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def moved(state: list[Tensor], data: list[Tensor]) -> Any:
        after = [x + 0.1 * d.sin() for x, d in zip(state, data, strict=True)]
        return compiling.Moved(after, [torch.stack(state).sum().double()])

    def runs(data: list[Tensor], state: list[Tensor]) -> list[float]:
        found = []
        for _ in range(3):
            after, (total,) = moved(state, data)[:2]
            found.append(float(total))
            for each, new in zip(state, after, strict=True):
                each.copy_(new)
        return found

    state, data = [torch.tensor(0.3 + i / 9) for i in range(N)], [torch.tensor(1.0 + i) for i in range(N)]
    kernel = compiling.build(compiling.record(moved, state, data))
    assert kernel.packing is not None
    bound = kernel.bound([torch.tensor(0), *state, *data])
    for shared in (False, True, False):
        given = [each.detach() if shared and i % 2 else data[i] for i, each in enumerate(state)]
        for place, each in enumerate(given):
            bound.put(1 + N + place, each)
        copies = [each.clone() for each in state]
        wanted = runs([copies[i] if shared and i % 2 else data[i] for i in range(N)], copies)
        losses = (ctypes.c_double * 3)()
        assert bound.run(3, 1, losses) == 3
        assert losses[:] == pytest.approx(wanted, rel=1e-5)
        for one, other in zip(state, copies, strict=True):
            torch.testing.assert_close(one, other)

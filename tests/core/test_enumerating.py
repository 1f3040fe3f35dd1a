"""`enum` and `markov` against sums over every setting of the discrete sites, made by `itertools.product`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.distributions as torch_dist
from torch import Tensor

import ppl_dist as dist
from ppl import Trace, check_shapes, factor, markov, plate, sample
from ppl import handlers as h
from ppl.runtime import current

ALL = {"enumerate": "parallel"}
Model = Callable[[], Any]


def traced(model: Model, first: int = -1) -> Trace:
    """The trace of an enumerated run, whose every batch dimension must belong to a plate or to a visible site."""
    tr = h.trace(h.enum(model, first_available_dim=first)).get_trace()
    tr.compute_log_prob()
    check_shapes(tr)
    return tr


def evidence(tr: Trace) -> Tensor:
    """log p(observed): the sum over all enumerated sites of the product of factors, each named by `_dim_to_name`.

    Plates are multiplied over, for the factors and the variables inside (none of these models has a variable in a
    plate that a site outside depends on).
    """
    factors = []
    for site in tr.values():
        if site.type != "sample":
            continue
        names, value = site.infer["_dim_to_name"], site.log_prob.exp()
        inside = tuple(frame.name for frame in site.cond_indep_stack)
        sizes = {frame.dim: frame.size for frame in site.cond_indep_stack}
        value = value.expand(torch.broadcast_shapes(value.shape, tuple(sizes.get(d, 1) for d in range(-3, 0))))
        factors.append((inside, [names.get(dim, dim) for dim in range(-value.dim(), 0)], value))
    letters = dict(zip(dict.fromkeys(n for _, dims, _ in factors for n in dims), range(52), strict=False))
    frames = {site.name: site.cond_indep_stack for site in tr.values()}
    while any(inside for inside, _, _ in factors):  # eliminate the deepest plate
        deepest = max((inside for inside, _, _ in factors), key=len)
        group = [f for f in factors if f[0] == deepest]
        plate_dim = next(f.dim for s in frames.values() for f in s if f.name == deepest[-1])
        local = {name for name in tr if tuple(f.name for f in frames[name]) == deepest}
        args = [item for _, dims, value in group for item in (value, [letters[n] for n in dims])]
        kept = [n for n in dict.fromkeys(n for _, dims, _ in group for n in dims) if n not in local]
        left = torch.einsum(*args, [letters[n] for n in kept])
        if plate_dim in kept:
            at = kept.index(plate_dim)
            left = left.prod(at)
            kept = [n for n in kept if n != plate_dim]
        factors = [f for f in factors if f[0] != deepest] + [(deepest[:-1], kept, left)]
    args = [item for _, dims, value in factors for item in (value, [letters[n] for n in dims])]
    return torch.einsum(*args, []).log()


def by_hand(model: Model, **support: list[Tensor]) -> Tensor:
    """log of the sum over all settings, each a conditioned run."""
    settings = itertools.product(*support.values())
    given = (dict(zip(support, values, strict=True)) for values in settings)
    return torch.stack([h.trace(h.condition(model, data=d)).get_trace().log_prob_sum() for d in given]).logsumexp(0)


BITS = [torch.tensor(0.0), torch.tensor(1.0)]


def bits(n: int) -> list[Tensor]:
    return [torch.tensor(v) for v in itertools.product([0.0, 1.0], repeat=n)]


def chain(length: int, history: int = 1) -> Model:
    def model() -> None:
        past = [torch.zeros(())] * history
        for t in markov(range(length), history=history):
            logits = 0.4 * t - 1.0 + sum((i + 1.3) * x for i, x in enumerate(past))
            x = sample(f"x{t}", dist.Bernoulli(logits=logits), infer=ALL)
            past = [x, *past][:history]
            sample(f"y{t}", dist.Normal(2 * x + past[-1], 1.0), obs=0.3 * t)

    return model


@pytest.mark.parametrize(("history", "dims"), [(1, 2), (2, 3), (3, 4)])
def test_a_chain_uses_history_plus_one_dimensions(history: int, dims: int) -> None:
    tr = traced(chain(6, history))
    assert {tr[f"x{t}"].infer["_enumerate_dim"] for t in range(6)} == set(range(-dims, 0))
    assert max(site.log_prob.dim() for site in tr.values()) == dims
    exact = by_hand(chain(6, history), **{f"x{t}": BITS for t in range(6)})
    torch.testing.assert_close(evidence(tr), exact)


def test_names_of_dimensions() -> None:
    tr = traced(chain(4))
    assert tr["x0"].infer["_dim_to_name"] == {-1: "x0"}
    assert tr["x3"].infer["_dim_to_name"] == tr["y3"].infer["_dim_to_name"] == {-1: "x2", -2: "x3"}
    assert tr["x2"].value.shape == (1, 2) and tr["x3"].value.shape == (2, 1)


def two_plates() -> None:
    kind = sample("kind", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])), infer=ALL)
    with plate("outer", 2):
        a = sample("a", dist.Bernoulli(0.2 + 0.2 * kind), infer=ALL)
        sample("u", dist.Normal(a - kind, 1.0), obs=torch.tensor([0.5, -0.5]))
        with plate("inner", 2):
            b = sample("b", dist.Bernoulli(0.3 + 0.3 * a), infer={**ALL, "expand": True})
            sample("v", dist.Normal(2 * b + a, 1.0), obs=torch.tensor([[0.1, 0.2], [1.0, 2.0]]))
    sample("w", dist.Normal(kind.float(), 1.0), obs=1.0)


def test_nested_plates() -> None:
    tr = traced(two_plates, first=-3)
    assert tr["kind"].value.shape == (3, 1, 1)
    assert tr["a"].value.shape == (2, 1, 1, 1)
    assert tr["b"].value.shape == (2, 2, 1, 2, 2)  # expanded over its batch shape
    assert [tr[n].infer["_enumerate_dim"] for n in ("kind", "a", "b")] == [-3, -4, -5]
    kinds = [torch.tensor(i) for i in range(3)]
    exact = by_hand(two_plates, kind=kinds, a=bits(2), b=[b.reshape(2, 2) for b in bits(4)])
    torch.testing.assert_close(evidence(tr), exact)


def test_two_independent_and_two_dependent_sites() -> None:
    def model() -> None:
        x = sample("x", dist.Bernoulli(0.3), infer=ALL)
        y = sample("y", dist.Bernoulli(0.6), infer=ALL)
        z = sample("z", dist.Bernoulli(0.1 + 0.3 * x + 0.5 * y), infer=ALL)
        factor("f", -(x - z).abs() * y)

    tr = traced(model)
    assert tr["z"].fn.batch_shape == (2, 2) and tr["z"].value.shape == (2, 1, 1)
    torch.testing.assert_close(evidence(tr), by_hand(model, x=BITS, y=BITS, z=BITS))


def test_a_chain_inside_a_plate_and_a_plate_inside_a_chain() -> None:
    def outside() -> None:
        x = torch.zeros(())
        with plate("p", 2):
            for t in markov(range(3)):
                x = sample(f"x{t}", dist.Bernoulli(0.2 + 0.5 * x), infer=ALL)
                sample(f"y{t}", dist.Normal(x, 1.0), obs=torch.tensor([0.2, 0.8 * t]))

    def inside() -> None:
        x = torch.zeros(())
        for t in markov(range(3)):
            x = sample(f"x{t}", dist.Bernoulli(0.2 + 0.5 * x), infer=ALL)
            with plate(f"p{t}", 2):
                z = sample(f"z{t}", dist.Bernoulli(0.3 + 0.4 * x), infer=ALL)
                sample(f"y{t}", dist.Normal(x + z, 1.0), obs=torch.tensor([0.2, 0.8 * t]))

    torch.testing.assert_close(evidence(traced(outside, -2)), by_hand(outside, **{f"x{t}": bits(2) for t in range(3)}))
    support = {name: values for t in range(3) for name, values in ((f"x{t}", BITS), (f"z{t}", bits(2)))}
    torch.testing.assert_close(evidence(traced(inside, -2)), by_hand(inside, **support))


def tree(keep: bool) -> Model:
    @markov(keep=keep)
    def node(name: str, above: Any, beside: Any, depth: int) -> Any:
        x = sample(name, dist.Bernoulli(0.2 + 0.3 * above + 0.2 * beside), infer=ALL)
        if depth:
            left = node(f"{name}l", x, torch.zeros(()), depth - 1)
            node(f"{name}r", x, left if keep else torch.zeros(()), depth - 1)
        return x

    return lambda: node("n", torch.zeros(()), torch.zeros(()), 2)


@pytest.mark.parametrize("keep", [False, True], ids=["forget", "keep"])
def test_a_tree(keep: bool) -> None:
    tr = traced(tree(keep))
    dims = {name: site.infer["_enumerate_dim"] for name, site in tr.items()}
    if not keep:
        assert dims == {"n": -1, "nl": -2, "nll": -1, "nlr": -1, "nr": -2, "nrl": -1, "nrr": -1}
    names = [name for name in tr if name != "nrr"]
    torch.testing.assert_close(evidence(tr), torch.zeros(()))
    fixed = h.condition(tree(keep), data={"nrr": 1.0})
    torch.testing.assert_close(evidence(traced(fixed)), by_hand(fixed, **dict.fromkeys(names, BITS)))


def grid() -> None:
    """Each cell depends on the one above and the one to the left: the inner loop must go back to the same columns."""
    rows, columns = markov(range(3), keep=True), markov(range(3), keep=True)
    cell: dict[tuple[int, int], Any] = {}
    for i in rows:
        for j in columns:
            above, left = cell.get((i - 1, j), torch.zeros(())), cell.get((i, j - 1), torch.zeros(()))
            x = sample(f"x{i}{j}", dist.Bernoulli(0.2 + 0.3 * above + 0.4 * left), infer=ALL)
            cell[i, j] = x
            sample(f"y{i}{j}", dist.Normal(x, 1.0), obs=0.1 * i + 0.2 * j)


def test_a_grid() -> None:
    tr = traced(grid)
    exact = by_hand(grid, **{f"x{i}{j}": BITS for i in range(3) for j in range(3)})
    torch.testing.assert_close(evidence(tr), exact)
    assert min(site.infer["_enumerate_dim"] for site in tr.values() if not site.is_observed) > -9


@pytest.mark.parametrize(("keep", "dim"), [(False, -1), (True, -3)])
def test_after_a_context(keep: bool, dim: int) -> None:
    def model() -> None:
        for t in markov(range(4), keep=keep):
            sample(f"x{t}", dist.Bernoulli(0.5), infer=ALL)
        sample("z", dist.Bernoulli(0.5), infer=ALL)

    assert traced(model)["z"].infer["_enumerate_dim"] == dim


def test_a_site_that_depends_on_a_forgotten_variable_is_found() -> None:
    def model() -> None:
        x = torch.zeros(())
        for t in markov(range(3)):
            x = sample(f"x{t}", dist.Bernoulli(0.2 + 0.5 * x), infer=ALL)
        sample("late", dist.Normal(x, 1.0), obs=0.5)

    with pytest.raises(ValueError, match='site "late": log_prob has shape'):
        traced(model)


def test_separate_calls_forget_each_other_and_with_blocks_nest() -> None:
    @markov
    def step(name: str) -> None:
        sample(name, dist.Bernoulli(0.5), infer=ALL)

    def calls() -> None:
        step("a")
        step("b")

    def nested() -> None:
        context = markov(history=1)
        with context:
            sample("a", dist.Bernoulli(0.5), infer=ALL)
            with context:
                sample("b", dist.Bernoulli(0.5), infer=ALL)
                with context:
                    sample("c", dist.Bernoulli(0.5), infer=ALL)

    def dims(model: Model) -> list[int]:
        return [site.infer["_enumerate_dim"] for site in traced(model).values()]

    assert dims(calls) == [-1, -1]
    assert dims(nested) == [-1, -2, -1]


def test_what_is_left_alone() -> None:
    def model() -> None:
        sample("sequential", dist.Bernoulli(0.5), infer={"enumerate": "sequential"})
        sample("plain", dist.Bernoulli(0.5))
        sample("given", dist.Bernoulli(0.5), obs=1.0, infer=ALL)

    tr = traced(model)
    assert all(site.value.shape == () and "_enumerate_dim" not in site.infer for site in tr.values())
    assert all(site.infer["_dim_to_name"] == {} for site in tr.values())


def test_events_and_distributions_of_another_library() -> None:
    def model() -> None:
        a = sample("a", torch_dist.Bernoulli(torch.tensor(0.3)), infer=ALL)
        with plate("p", 2):
            one_hot = sample("k", dist.OneHotCategorical(torch.tensor([0.2, 0.3, 0.5])), infer=ALL)
            sample("y", torch_dist.Normal(a + one_hot @ torch.arange(3.0), 1.0), obs=torch.tensor([0.5, 2.0]))

    tr = traced(model, -2)
    assert tr["k"].value.shape == (3, 1, 1, 3)
    pairs = [torch.eye(3)[list(ij)] for ij in itertools.product(range(3), repeat=2)]
    torch.testing.assert_close(evidence(tr), by_hand(model, a=BITS, k=pairs))


def test_one_enum_in_several_threads() -> None:
    enumerated = h.enum(chain(20), first_available_dim=-1)

    def dims(_: int) -> list[int]:
        return [site.infer.get("_enumerate_dim") for site in h.trace(enumerated).get_trace().values()]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(dims, range(8)))
    assert all(row == found[0] for row in found)


def test_draws_in_place_of_a_support() -> None:
    def model() -> None:
        x = sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1), infer={**ALL, "num_samples": 5})
        y = sample("y", dist.Normal(x[..., 0], 1.0), infer={**ALL, "num_samples": 4})
        with plate("p", 2):
            sample("z", dist.Normal(y, 1.0), infer={**ALL, "num_samples": 6})

    tr = traced(model, -2)
    assert tr["x"].value.shape == (5, 1, 3)
    assert tr["y"].value.shape == (4, 5, 1)
    assert tr["z"].value.shape == (6, 4, 5, 2) and len(tr["z"].value.unique()) == 240


def test_draws_at_a_dimension_used_again() -> None:
    def model() -> None:
        x = torch.zeros(())
        for t in markov(range(4)):
            x = sample(f"x{t}", dist.Normal(x.mean() if t > 1 else x, 1.0), infer={**ALL, "num_samples": 3 + t})

    assert [tuple(site.value.shape) for site in traced(model).values()] == [(3,), (4, 3), (5,), (6, 1)]


def test_a_model_given_an_enumerated_guide() -> None:
    """E_q[log p - log q] with q enumerated and a site of the model alone summed out, against the sum by hand."""

    def guide() -> None:
        sample("z", dist.Bernoulli(0.3), infer=ALL)

    def model() -> None:
        z = sample("z", dist.Bernoulli(0.6))
        w = sample("w", dist.Bernoulli(0.2 + 0.5 * z), infer=ALL)
        sample("y", dist.Normal(w + z, 1.0), obs=0.7)

    q = traced(guide)
    p = traced(h.replay(model, trace=q), first=-2)
    assert p["w"].infer["_dim_to_name"] == {-1: "z", -2: "w"}
    log_w = (p["w"].log_prob + p["y"].log_prob).logsumexp(0)
    elbo = (q["z"].log_prob.exp() * (p["z"].log_prob + log_w - q["z"].log_prob)).sum()
    exact = torch.zeros(())
    for z, weight in ((0.0, 0.7), (1.0, 0.3)):
        joint = by_hand(h.condition(model, data={"z": z}), w=BITS)
        exact = exact + weight * (joint - torch.tensor(weight).log())
    torch.testing.assert_close(elbo, exact)


def test_one_enum_serves_many_runs() -> None:
    enumerated = h.enum(chain(3), first_available_dim=-1)
    first, second = h.trace(enumerated).get_trace(), h.trace(enumerated).get_trace()
    assert [s.infer for s in first.values()] == [s.infer for s in second.values()]


def test_the_stack_after_a_loop_that_ends_early() -> None:
    def stops(how: str) -> None:
        for t in markov(range(5)):
            if t == 2 and how == "break":
                break
            if t == 2:
                raise RuntimeError("stop")

    with h.trace():
        before = current()
        stops("break")
        assert current() is before
        with pytest.raises(RuntimeError, match="stop"):
            stops("raise")
        assert current() is before
        loop = iter(markov(range(5)))
        next(loop)
        next(loop)
        assert current() is not None and current().parent is before  # type: ignore[union-attr]  # one entry, not two
    assert current() is None
    loop.close()
    assert current() is None


def test_a_loop_over_a_generator_that_samples() -> None:
    def source() -> Iterator[Tensor]:
        for t in range(3):
            yield sample(f"s{t}", dist.Bernoulli(0.5), infer=ALL)

    def model() -> None:
        for s in markov(source()):
            sample("y", dist.Bernoulli(0.2 + 0.5 * s), obs=1.0) if s is None else None

    assert len(traced(model)) == 3


def test_a_long_chain_takes_time_in_proportion() -> None:
    run = h.enum(first_available_dim=-1)

    def model() -> None:
        with run as active:
            for t in markov(range(300)):
                sample(f"x{t}", dist.Bernoulli(0.5), infer=ALL)
                assert len(active._near({})) == 0
            assert max(len(found) for found in active.born.values()) == 1

    model()

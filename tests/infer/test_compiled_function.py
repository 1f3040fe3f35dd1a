"""`inference.compile`: the same values as the function, and never an answer about other tensors than those of now."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

import inference
import ppl
import ppl_dist as dist

pytestmark = pytest.mark.usefixtures("interpreted")

POINT = {"mu": torch.tensor(0.3), "tau": torch.tensor(1.2)}
DATA = torch.tensor([0.1, -0.7, 1.4])


def model(data: Tensor) -> None:
    mu = ppl.sample("mu", dist.Normal(0.0, 2.0))
    tau = ppl.sample("tau", dist.HalfCauchy(1.0))
    with ppl.plate("rows", len(data)):
        ppl.sample("y", dist.Normal(mu, tau), obs=data)


def test_a_density_and_its_derivatives() -> None:
    density = ppl.log_density(model, DATA)
    exact = stats.norm(0, 2).logpdf(0.3) + stats.halfcauchy.logpdf(1.2) + stats.norm(0.3, 1.2).logpdf(DATA).sum()
    assert inference.compile(density)(POINT).item() == pytest.approx(exact, rel=1e-6)
    slope = -0.3 / 4 + (DATA.double() - 0.3).sum().item() / 1.44
    gradient = inference.compile(torch.func.grad(density))
    assert gradient(POINT)["mu"].item() == pytest.approx(slope, rel=1e-5)
    curvature = inference.compile(torch.func.hessian(density))
    assert curvature(POINT)["mu"]["mu"].item() == pytest.approx(-1 / 4 - 3 / 1.44, rel=1e-5)


def test_inside_transformations() -> None:
    compiled = inference.compile(lambda x: dist.Normal(0.0, 2.0).log_prob(x))
    x = torch.tensor([0.5, -1.0])
    torch.testing.assert_close(torch.func.vmap(compiled)(x), compiled(x))
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(compiled))(x), -x / 4)


def test_outputs_keep_their_structure() -> None:
    compiled = inference.compile(lambda x, *, k: {"twice": [x * 2, "name", k], "none": None})
    found = compiled(DATA, k=3)
    assert found["twice"][1:] == ["name", 3]
    assert found["none"] is None
    torch.testing.assert_close(found["twice"][0], 2 * DATA)


def test_draws_follow_the_global_seed() -> None:
    """Means of 10,000 draws within five standard errors: false alarms 6e-7."""
    compiled = inference.compile(lambda x: dist.Normal(x, 2.0).sample())
    x = torch.full((10_000,), 3.0)
    torch.manual_seed(0)
    first, second = compiled(x), compiled(x)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(x), first)
    assert abs(first.mean().item() - 3.0) < 5 * 2.0 / math.sqrt(10_000)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_uniform_numbers_stay_below_one(dtype: torch.dtype) -> None:
    """Of 100,000 numbers in bfloat16, rounding to the nearest would make about 200 into 1."""
    found = inference.compile(torch.rand_like)(torch.zeros(100_000, dtype=dtype))
    assert 0 <= found.min() <= found.max() < 1


def test_a_gradient_of_what_is_closed_over_is_kept() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    compiled = inference.compile(lambda x: x * weight)
    compiled(DATA).sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(DATA.sum().item())
    with torch.no_grad():
        weight.fill_(5.0)
        torch.testing.assert_close(compiled(DATA), 5 * DATA)


def test_parameters_of_now() -> None:
    """Parameters appear in the call that registers them, move, and are replaced."""
    compiled = inference.compile(lambda x: x + ppl.param("shift", 1.0))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        with ppl.ParamStore() as store:
            torch.testing.assert_close(compiled(DATA), DATA + 1)
            assert type(store.leaves["shift"]) is Tensor  # and no stand-in from a recording
            torch.testing.assert_close(compiled(DATA), DATA + 1)
            store["shift"] = 4.0
            torch.testing.assert_close(compiled(DATA), DATA + 4)
            store.clear()
            store["shift"] = -2.0
            torch.testing.assert_close(compiled(DATA), DATA - 2)
        with ppl.ParamStore():
            torch.testing.assert_close(compiled(DATA), DATA + 1)
    assert any(kept is not None for kept in compiled.known.values())


def test_another_layout_behind_a_tensor() -> None:
    net = torch.nn.Linear(3, 1)
    compiled = inference.compile(net)
    with torch.no_grad():
        torch.testing.assert_close(compiled(DATA), net(DATA))
        net.double()
        torch.testing.assert_close(compiled(DATA.double()), net(DATA.double()))
        net.weight.data, net.bias.data = torch.ones(2, 3).double(), torch.zeros(2).double()
        torch.testing.assert_close(compiled(DATA.double()), net(DATA.double()))


def test_calls_that_look_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call after another that differs from it in one thing only, twice, so that it is recognised too."""

    def described(x: Any, *, scale: float = 1.0, how: Any = None) -> Any:
        values = x if isinstance(x, Tensor) else x["a"] if isinstance(x, dict) else x[0]
        return values / scale, not isinstance(x, Tensor) and type(x).__name__, how

    monkeypatch.setattr("inference.compiling.KEPT", 20)
    compiled = inference.compile(described)
    calls: list[tuple[Any, dict[str, Any]]] = [
        (DATA, {}),
        (2 * DATA, {}),
        (DATA[:2], {}),
        (DATA.double(), {}),
        (DATA.repeat(2)[::2], {}),
        ([DATA], {}),
        ((DATA,), {}),
        ({"a": DATA}, {}),
        ({"a": DATA, "b": DATA}, {}),
        ({"b": DATA, "a": 2 * DATA}, {}),
        (DATA, {"scale": 0.0}),
        (DATA, {"scale": -0.0}),
        (DATA, {"scale": 2.0}),
        (DATA, {"how": True}),
        (DATA, {"how": 1}),
        (DATA, {"how": 1.0}),
        (DATA, {"how": ["a"]}),
        (DATA, {"how": ("a",)}),
    ]
    for x, options in calls:
        for _ in range(2):
            found, wanted = compiled(x, **options), described(x, **options)
            torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=0)
            assert found[1:] == wanted[1:]
            assert type(found[2]) is type(wanted[2])
    assert len(compiled.known) == len(calls) - 1  # the second looks like the first


def test_outputs_are_new_tensors() -> None:
    compiled = inference.compile(lambda x: (2 * x, x + 1))
    first, second = compiled(DATA), compiled(DATA)
    for each in first:
        each.zero_()
    torch.testing.assert_close(second, (2 * DATA, DATA + 1))


def test_a_gradient_asked_for_later() -> None:
    x = DATA.clone()
    compiled = inference.compile(lambda x: 2 * x)
    assert not compiled(x).requires_grad
    compiled(x.requires_grad_()).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((3,), 2.0))
    with torch.no_grad():
        assert not compiled(x).requires_grad


def test_threads_do_not_mix_their_tensors() -> None:
    compiled = inference.compile(lambda x: 2 * x)
    compiled(DATA)

    def doubled(number: int) -> bool:
        return all(
            torch.equal(compiled(torch.full((3,), float(number))), torch.full((3,), 2.0 * number)) for _ in range(50)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(doubled, range(8)))


def test_few_graphs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.compiling.KEPT", 2)
    compiled = inference.compile(lambda x: 2 * x)
    for size in range(1, 5):
        compiled(torch.ones(size))
    assert len(compiled.known) == 2


def test_what_cannot_be_recorded_is_told_once() -> None:
    def signed(x: Any) -> Any:
        return x if x.sum() > 0 else -x

    compiled = inference.compile(signed)
    with pytest.warns(UserWarning, match=r"compile: signed cannot be compiled .*`return x if x\.sum\(\)") as told:
        for _ in range(2):
            torch.testing.assert_close(compiled(-DATA), -DATA if -DATA.sum() > 0 else DATA)
    assert len(told) == 1

"""A family of one's own, declared: what follows from the declaration without being written."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from ppl_dist import Param, constraints, param, static


class Laplace(dist.Distribution):
    """Two required numbers."""

    loc: Param = param(constraints.real)
    scale: Param = param(constraints.positive)
    support = constraints.real
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        u = torch.rand(shape, dtype=self.loc.dtype, generator=generator) - 0.5
        return self.loc - self.scale * u.sign() * (-2 * u.abs()).log1p()

    def _log_prob(self, x: Tensor) -> Tensor:
        return -((x - self.loc) / self.scale).abs() - (2 * self.scale).log()

    def _cdf(self, x: Tensor) -> Tensor:
        z = (x - self.loc) / self.scale
        return 0.5 - 0.5 * z.sign() * torch.expm1(-z.abs())


class Sharp(Laplace):
    """Inherits both parameters and adds one with a default, and one that is no tensor."""

    power: Param = param(constraints.positive, default=1.0)
    label: str = static(default="plain")


class Coin(dist.Distribution):
    """Two parameterisations of one number."""

    probs: Param = param(constraints.unit_interval, derive=lambda d: d.logits.sigmoid())
    logits: Param = param(constraints.real, derive=lambda d: torch.logit(d.probs))
    exactly_one = ("probs", "logits")
    support = constraints.boolean

    def _log_prob(self, x: Tensor) -> Tensor:
        return -torch.nn.functional.softplus(torch.where(x == 1, -self.logits, self.logits))

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return torch.bernoulli(self.probs.expand(shape), generator=generator)


class Ball(dist.Distribution):
    """A vector parameter: batch and event shapes follow from the constraint."""

    centre: Param = param(constraints.real_vector)
    radius: Param = param(constraints.positive)
    support = constraints.real_vector


def test_constructor_signature_and_kinds_of_arguments() -> None:
    assert str(inspect.signature(Laplace)).startswith("(loc: ")
    assert list(inspect.signature(Laplace).parameters) == ["loc", "scale", "validate_args"]
    assert list(inspect.signature(Sharp).parameters) == ["loc", "scale", "power", "label", "validate_args"]
    assert list(inspect.signature(Coin).parameters) == ["probs", "logits", "validate_args"]
    for d in (Laplace(0.0, 1.0), Laplace(0, 1), Laplace(loc=torch.tensor(0), scale=1), Laplace(torch.zeros(()), 1.0)):
        assert d.loc.dtype == d.scale.dtype == torch.float32
    assert Laplace(torch.zeros(2, dtype=torch.float64), 1.0).scale.dtype == torch.float64
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Laplace(0.0)  # type: ignore[call-arg]  # the point of the test


def test_arrays_and_lists_become_tensors() -> None:
    import numpy as np

    assert Laplace([0.0, 1.0], np.ones(2)).batch_shape == (2,)
    assert Laplace(np.zeros(2), torch.ones(2)).loc.dtype == torch.float32


def test_batch_shapes_broadcast_and_the_graph_survives() -> None:
    loc = torch.zeros(3, 1, requires_grad=True)
    d = Laplace(loc, torch.ones(2))
    assert d.batch_shape == (3, 2) and d.loc.shape == (3, 2)
    d.log_prob(torch.ones(3, 2)).sum().backward()
    assert loc.grad is not None and loc.grad.shape == (3, 1)
    full = torch.zeros(2, requires_grad=True)
    with torch.no_grad():
        assert Laplace(full, torch.ones(2)).loc is full


def test_defaults_and_static_parameters() -> None:
    d = Sharp(0.0, torch.ones(2))
    assert d.power.shape == (2,) and d.label == "plain"
    assert Sharp(0.0, 1.0, label="other").expand((3,)).label == "other"
    assert repr(Sharp(0.0, 1.0)) == "Sharp(loc: 0, scale: 1, power: 1, label: 'plain')"
    assert set(Sharp.arg_constraints) == {"loc", "scale", "power"}
    with pytest.raises(ValueError, match="Sharp: `power` must be positive"):
        Sharp(0.0, 1.0, power=-1.0)


def test_exactly_one_of_two_parameterisations() -> None:
    d = Coin(logits=torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(d.probs, d.logits.sigmoid())
    assert "probs" not in vars(d) and "probs" not in repr(d)
    assert d.expand((3, 2)).probs.shape == (3, 2)
    assert Coin(0.3).logits.shape == ()
    for given in ({}, {"probs": 0.5, "logits": 0.0}):
        with pytest.raises(ValueError, match=r"Coin: exactly one of `probs`, `logits` must be given.*Try Coin\("):
            Coin(**given)


def test_a_derived_value_made_under_no_grad_does_not_stick() -> None:
    logits = torch.zeros((), requires_grad=True)
    d = Coin(logits=logits)
    with torch.no_grad():
        assert not d.probs.requires_grad
    assert d.probs.requires_grad


def test_event_dimensions_of_parameters() -> None:
    d = Ball(torch.zeros(4, 1, 3), torch.ones(2))
    assert (d.batch_shape, d.event_shape) == ((4, 2), (3,))
    assert (d.centre.shape, d.radius.shape) == ((4, 2, 3), (4, 2))
    assert (d[1].batch_shape, d[:, 0].batch_shape, d[..., None].batch_shape) == ((2,), (4,), (4, 2, 1))
    with pytest.raises(ValueError, match=r"Ball: `centre` needs at least 1 dimension.*Try centre.reshape\(-1\)"):
        Ball(torch.tensor(0.0), 1.0)


def test_hooks_that_were_not_written_say_so() -> None:
    d = Ball(torch.zeros(3), 1.0)
    for name, call in {
        "sample": d.sample,
        "log_prob": lambda: d.log_prob(torch.zeros(3)),
        "entropy": d.entropy,
        "mean": lambda: d.mean,
        "variance": lambda: d.stddev,
        "mode": lambda: d.mode,
        "median": lambda: d.median,
        "cdf": lambda: d.cdf(torch.zeros(3)),
        "icdf": lambda: d.icdf(torch.zeros(3)),
        "enumerate_support": d.enumerate_support,
    }.items():
        with pytest.raises(NotImplementedError, match=f"Ball has no {name}"):
            call()


def test_the_rest_follows() -> None:
    d = Laplace(torch.zeros(3), torch.tensor(2.0))
    x = d.sample((5,), generator=torch.Generator().manual_seed(0))
    for same in (copy.deepcopy(d), pickle.loads(pickle.dumps(d)), d.to(torch.float32), d.expand((3,))):
        assert type(same) is Laplace
        torch.testing.assert_close(same.log_prob(x), d.log_prob(x))
    torch.testing.assert_close(d.survival_function(x), 1 - d.cdf(x))
    torch.testing.assert_close(d.log_cdf(x), d.cdf(x).log())
    mapped = torch.func.vmap(lambda d, x: d.log_prob(x), in_dims=(0, 1))(d, x)
    torch.testing.assert_close(mapped, d.log_prob(x).mT)
    compiled = torch.compile(lambda m, x: Laplace(m, 1.0).log_prob(x), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(d.loc, x), Laplace(d.loc, 1.0).log_prob(x))
    torch._dynamo.reset()


def test_a_stored_derivation_happens_once() -> None:
    calls: list[int] = []

    def take_root(d: Any) -> Tensor:
        calls.append(1)
        return d.square.sqrt()

    class Rooted(dist.Distribution):
        square: Param = param(constraints.positive)
        root: Param = param(constraints.positive, derive=take_root, stored=True)
        exactly_one = ("square", "root")
        support = constraints.real

    d = Rooted(square=torch.tensor([4.0, 9.0]))
    assert d.root.tolist() == [2.0, 3.0] and d.root is d.root
    assert len(calls) == 1
    assert d.expand((3, 2)).root.shape == (3, 2) and d[1].root == 3.0
    assert len(calls) == 1


def test_a_module_parameter_takes_the_hot_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("the general path was taken")

    for family, name in ((dist.Normal, "_as_tensors"), (dist.Dirichlet, "_assemble")):
        monkeypatch.setitem(family.__init__.__globals__, name, refuse)  # type: ignore[misc]  # of the class itself
    loc, concentration = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.ones(3))
    assert dist.Normal(loc, torch.ones(2)).loc is loc
    assert dist.Dirichlet(concentration).concentration is concentration

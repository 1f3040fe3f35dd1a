"""Operations on tagged values: what is read by Python, what is no reading, and what is followed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from ppl import observe, provenance, sample
from ppl.handlers import track
from tests.support.dependencies import dependencies

Normal = dist.Normal


READINGS: dict[str, Callable[[Tensor], Any]] = {
    "bool": lambda z: bool(z > 0),
    "if": lambda z: 1 if z > 0 else 0,
    "float": float,
    "int": int,
    "item": lambda z: z.item(),
    "tolist": lambda z: z.tolist(),
    "numpy": lambda z: z.numpy(),
    "asarray": np.asarray,
    "equal": lambda z: torch.equal(z, torch.zeros(())),
    "allclose": lambda z: torch.allclose(z, torch.zeros(())),
    "in": lambda z: 1.0 in z,
    "max": lambda z: max(z, torch.zeros(())),
    "format": lambda z: f"{z:.2f}",
    "is_nonzero": torch.is_nonzero,
    "index": lambda z: range(z.long()),
    "list index": lambda z: [1, 2, 3][z.long().clamp(0, 2)],
    "slice": lambda z: torch.arange(3)[: z.long().clamp(0, 2)],
    "boolean index": lambda z: torch.zeros(3)[z > torch.zeros(3)],
    "masked_select": lambda z: torch.zeros(3).masked_select(z > torch.zeros(3)),
    "nonzero": lambda z: z.nonzero(),
    "unique": torch.unique,
    "repeat": lambda z: torch.zeros(1).repeat_interleave(z.long().clamp(0, 2)),
    "vmap": lambda z: torch.func.vmap(lambda a: a + 1)(z.expand(3)),
    "func.grad": torch.func.grad(torch.sin),
    "backward": lambda z: (z * torch.ones((), requires_grad=True)).backward(),
}


@pytest.mark.parametrize("name", READINGS)
def test_what_is_read_reaches_every_later_site(name: str) -> None:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        sample("before", Normal(0.0, 1.0))
        READINGS[name](z)
        sample("after", Normal(0.0, 1.0))
        observe("y", Normal(0.0, 1.0), 0.0)

    got = dependencies(model)
    assert (got["z"], got["before"]) == ("", "")
    assert "z" in got["after"] and "z" in got["y"]


NO_READINGS: dict[str, Callable[[Tensor], Any]] = {
    "shape": lambda z: (z.shape, z.size(0), len(z), z.dim(), z.numel(), z.stride()),
    "kind": lambda z: (z.dtype, z.device, z.requires_grad, z.is_floating_point(), z.is_contiguous(), z.is_cuda),
    "iteration": lambda z: [a + 1 for a in z],
    "index": lambda z: (z[0], z[:2], z[torch.tensor([True, False, True])], torch.arange(9)[z.long().clamp(0, 8)]),
    "repeat": lambda z: z.repeat_interleave(3),
    "print": repr,
    "checks": lambda z: dist.Gamma(z.exp(), z.exp()).log_prob(z.exp()),
    "checks of torch": lambda z: torch.distributions.Gamma(z.exp(), z.exp()).log_prob(z.exp()),
    "entropy": lambda z: (dist.Binomial(3, z.sigmoid()).entropy(), dist.Beta(z.exp(), 1.0).cdf(z.sigmoid())),
}


@pytest.mark.parametrize("name", NO_READINGS)
def test_what_is_no_reading(name: str) -> None:
    def model() -> None:
        z = sample("z", Normal(torch.zeros(3), 1.0).to_event(1))
        NO_READINGS[name](z)
        sample("after", Normal(0.0, 1.0))

    assert dependencies(model) == {"z": "", "after": ""}


def view_written(z: Tensor) -> Tensor:
    x = torch.zeros(3)
    x[1].copy_(z)
    return x


def earlier_view(z: Tensor) -> Tensor:
    x = torch.zeros(3)
    first = x[:2]
    x[0] = z
    return first


def out(z: Tensor) -> Tensor:
    x = torch.zeros(())
    torch.add(z, 1, out=x)
    return x


def data(z: Tensor) -> Tensor:
    x = torch.zeros(())
    x.data = z
    return x


def through_a_function(z: Tensor) -> Tensor:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 2 * x

    return Twice.apply(z)


FOLLOWED: dict[str, Callable[[Tensor], Any]] = {
    "arithmetic": lambda z: 1 - z / 2,
    "view": lambda z: z.expand(3, 2).T.reshape(-1),
    "stack": lambda z: torch.stack([torch.zeros(()), z]),
    "tensor": lambda z: torch.tensor([0.0, z]),
    "full": lambda z: torch.full((2,), z),
    "named tuple": lambda z: z.expand(3).max(dim=0).values,
    "several": lambda z: z.expand(3).unbind()[1],
    "like": torch.zeros_like,
    "no_grad": lambda z: torch.no_grad()(lambda: z + 1)(),
    "detach": lambda z: z.detach().clone(),
    "operator": lambda z: torch.ops.aten.add(z, 1),
    "index": lambda z: torch.arange(3)[z.long().clamp(0, 2)],
    "grad": lambda z: torch.autograd.grad((3 * (a := z.detach().requires_grad_())).sin(), a)[0],
    "view written": view_written,
    "earlier view": earlier_view,
    "out": out,
    "data": data,
    "function": through_a_function,
    "copy": lambda z: copy.deepcopy(z.detach()),
    "pickle": lambda z: pickle.loads(pickle.dumps(z.detach())),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_is_followed(name: str) -> None:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        value = FOLLOWED[name](z)
        assert "z" in provenance(value)
        sample("x", Normal(1.0 * value, 1.0))

    assert dependencies(model)["x"] == "z"


def test_an_operation_on_two_leaves_each_its_own() -> None:
    with track():
        a, b = sample("a", Normal(0.0, 1.0)), sample("b", Normal(0.0, 1.0))
        torch.atleast_1d(a.expand(2), b.expand(2))
        assert a.to(torch.float32) is a
        a.add_(1)
        assert (provenance(a), provenance(b)) == ({"a"}, {"b"})
        a.mul_(b)
        assert provenance(a) == {"a", "b"}


def test_a_value_that_carries_no_name_counts_as_read() -> None:
    class Word:
        has_rsample = False
        batch_shape = event_shape = torch.Size()

        def sample(self) -> str:
            return "word"

        def log_prob(self, value: str) -> Tensor:
            return torch.zeros(())

    def model() -> None:
        sample("word", Word())
        sample("x", Normal(0.0, 1.0))

    assert dependencies(model) == {"word": "", "x": "word"}

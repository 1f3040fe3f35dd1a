"""Exponential families: the generic entropy and divergence are the closed ones, for our families and for people's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributions as td
from torch import Tensor

import ppl_dist as dist
from ppl_dist import ExponentialFamily, kl_divergence
from ppl_dist.exp_family import bregman
from tests.dist.test_kl import EXAMPLES

IN_TORCH = [
    name
    for name in td.__all__
    if isinstance(kind := getattr(td, name), type) and issubclass(kind, td.ExponentialFamily)
]
MEMBERS = [kind for kind in EXAMPLES if issubclass(kind, ExponentialFamily)]


@pytest.mark.parametrize("name", IN_TORCH)
def test_torchs_exponential_families_are_ours(name: str) -> None:
    assert issubclass(getattr(dist, name), ExponentialFamily)


@pytest.mark.parametrize("kind", MEMBERS)
def test_generic_entropy_and_divergence_are_the_closed_ones(kind: type[ExponentialFamily]) -> None:
    p, q = (d for d in EXAMPLES[kind] if isinstance(d, ExponentialFamily))
    if kind is dist.Poisson:
        with pytest.raises(NotImplementedError, match=r"Poisson has no mean of log k! in closed form"):
            ExponentialFamily.entropy(p)
    else:
        torch.testing.assert_close(ExponentialFamily.entropy(q), q.entropy(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(bregman(p, q), kl_divergence(p, q), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(bregman(q, p), kl_divergence(q, p), rtol=1e-9, atol=1e-10)


class Trials(ExponentialFamily):
    """A user's own, in torch's imperative style: Bernoulli trials repeated n times, the order forgotten."""

    arg_constraints = {"logits": dist.constraints.real}  # noqa: RUF012
    support = dist.constraints.nonnegative_integer

    def __init__(self, count: int, logits: Tensor, validate_args: bool | None = None) -> None:
        self.count, self.logits = count, logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.logits,)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        return self.count * torch.nn.functional.softplus(natural_params[0])


class Other(ExponentialFamily):
    """Another, with the base's hooks."""


def test_peoples_own_families_have_a_divergence_and_an_entropy_with_gradients() -> None:
    logits = torch.tensor([0.3, -1.0], dtype=torch.float64, requires_grad=True)
    p, q = Trials(1, logits), Trials(1, torch.zeros(3, 1, dtype=torch.float64))
    closed = dist.Bernoulli(logits=logits)
    torch.testing.assert_close(p.entropy(), closed.entropy())
    value = kl_divergence(p, q)
    torch.testing.assert_close(value, kl_divergence(closed, dist.Bernoulli(logits=q.logits)))

    def gradient(of: Any) -> Tensor:
        (slope,) = torch.autograd.grad(of.sum(), logits)
        return slope

    torch.testing.assert_close(gradient(p.entropy()), gradient(closed.entropy()))
    torch.testing.assert_close(gradient(value), gradient(kl_divergence(closed, dist.Bernoulli(logits=q.logits))))


def test_the_hooks_go_through_vmap() -> None:
    logits = torch.linspace(-2, 2, 5, dtype=torch.float64)
    each = torch.func.vmap(lambda v: Trials(2, v).entropy())(logits)
    torch.testing.assert_close(each, Trials(2, logits).entropy())


def test_two_families_have_no_generic_divergence_and_a_missing_hook_is_named() -> None:
    with pytest.raises(NotImplementedError, match="Trials has no closed-form kl_divergence to Normal"):
        kl_divergence(Trials(1, torch.zeros(())), dist.Normal(0.0, 1.0))
    with pytest.raises(NotImplementedError, match="Other has no _natural_params"):
        Other().entropy()
    with pytest.raises(NotImplementedError, match="Other has no _log_normalizer"):
        Other()._log_normalizer()

"""Values as people pass them: narrow integers, booleans and plain numbers; distributions indexed and moved."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from ppl_dist import constraints, transforms

NARROW = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32]

COUNTS: dict[str, Callable[[], dist.Distribution]] = {
    "Bernoulli, probs": lambda: dist.Bernoulli(0.3),
    "Bernoulli, logits": lambda: dist.Bernoulli(logits=0.3),
    "Categorical": lambda: dist.Categorical(torch.tensor([0.2, 0.8])),
    "Poisson": lambda: dist.Poisson(2.0),
    "Normal": lambda: dist.Normal(0.0, 1.0),
}


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("name", COUNTS)
def test_narrow_integers_neither_wrap_around_nor_fail(name: str, dtype: torch.dtype) -> None:
    d = COUNTS[name]()
    value = torch.tensor([0, 1])
    assert torch.equal(d.log_prob(value.to(dtype)), d.log_prob(value))
    assert torch.equal(d.cdf(value.to(dtype)), d.cdf(value))
    assert torch.equal(d.log_prob(True), d.log_prob(value[1]))  # type: ignore[arg-type]  # numbers are welcome


def test_the_largest_byte_is_a_count() -> None:
    assert torch.equal(dist.Poisson(250.0).log_prob(torch.tensor(255).byte()), dist.Poisson(250.0).log_prob(255.0))


WRAPPED: dict[str, dist.Distribution] = {
    "masked": dist.Normal(torch.zeros(2), 1.0).mask(torch.tensor([True, True])),
    "mask true": dist.Normal(torch.zeros(2), 1.0).mask(True),
    "expanded": dist.ExpandedDistribution(dist.Normal(torch.zeros(2), 1.0), (2,)),
    "transformed": dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0), []),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_take_plain_numbers(name: str) -> None:
    expected = dist.Normal(0.0, 1.0).log_prob(0.5).expand(2)
    assert torch.allclose(WRAPPED[name].log_prob(0.5), expected)  # type: ignore[arg-type]  # numbers are welcome


def test_index_by_a_scalar_tensor() -> None:
    d = dist.Normal(torch.arange(6.0).reshape(2, 3), 1.0)
    assert d[torch.tensor(1)].batch_shape == (3,)
    assert torch.equal(d[..., torch.tensor(2)].mean, torch.tensor([2.0, 5.0]))
    assert torch.equal(d.to_event(1)[torch.tensor(1)].mean, torch.tensor([3.0, 4.0, 5.0]))


def test_independent_constraint_on_an_empty_batch() -> None:
    assert constraints.independent(constraints.positive, 1).check(torch.ones(0, 3)).shape == (0,)
    assert bool(constraints.independent(constraints.positive, 1).check(torch.ones(2, 0)).all())


@pytest.mark.parametrize(
    "transform",
    [transforms.AffineTransform(torch.tensor([0.0, 10.0, 20.0]), 1.0), transforms.PowerTransform(torch.ones(3))],
    ids=["affine", "power"],
)
def test_a_transform_with_a_batch_is_not_indexed_wrongly(transform: transforms.Transform) -> None:
    d = dist.TransformedDistribution(dist.LogNormal(torch.zeros(3, 3), 1.0), transform)
    with pytest.raises(NotImplementedError, match=r"TransformedDistribution cannot be indexed.*Try indexing its par"):
        d[:, 0]
    vector = dist.TransformedDistribution(dist.Independent(dist.LogNormal(torch.zeros(3, 3), 1.0), 1), transform)
    assert torch.allclose(vector[0].log_prob(torch.full((3,), 30.0)), vector.log_prob(torch.full((3, 3), 30.0))[0])


def _chain(low: Tensor | float) -> dist.TransformedDistribution:
    parts = [transforms.ExpTransform(), transforms.AffineTransform(low, 1.0)]
    return dist.TransformedDistribution(dist.Normal(0.0, 1.0), parts)


def test_a_value_that_no_draw_of_a_chain_reaches() -> None:
    low = torch.tensor(1.0, requires_grad=True)
    value = torch.tensor([0.5, 2.0], requires_grad=True)
    with dist.validating(False):
        log_prob = _chain(low).log_prob(value)
        through_vmap = torch.func.vmap(_chain(low).log_prob)(value.detach())
    assert log_prob[0] == -torch.inf
    assert torch.equal(through_vmap, log_prob)
    assert torch.allclose(log_prob[1], dist.Normal(0.0, 1.0).log_prob(0.0))
    by_value, by_low = torch.autograd.grad(log_prob[1] + torch.where(log_prob[0] < 0, 0.0, log_prob[0]), [value, low])
    assert by_value[0] == 0
    assert bool(torch.isfinite(by_low))
    with pytest.raises(ValueError, match=r"TransformedDistribution: no draw leads .* be positive; 1 of 2 entries is"):
        _chain(1.0).log_prob(value)


def test_transforms_move_and_copy_with_their_distribution() -> None:
    loc = torch.ones((), requires_grad=True) * 2
    d = _chain(loc)
    assert d.to(torch.float64).sample().dtype is torch.float64
    assert torch.equal(copy.deepcopy(d).log_prob(torch.tensor(3.0)), d.log_prob(torch.tensor(3.0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("transform", [transforms.SigmoidTransform(), transforms.TanhTransform()], ids=repr)
def test_draws_of_a_saturating_transform_have_a_density(transform: transforms.Transform, dtype: torch.dtype) -> None:
    base = dist.Normal(torch.zeros(1000, dtype=dtype), 50.0)
    d = dist.TransformedDistribution(base, transform)
    assert bool(torch.isfinite(d.log_prob(d.sample())).all())


def test_transforms_are_at_the_top_too() -> None:
    for name in transforms.__all__:
        if name != "InverseTransform":
            assert getattr(dist, name) is getattr(transforms, name)


def test_integer_counts_keep_the_precision_of_the_parameters() -> None:
    d = dist.Poisson(torch.tensor(20.5, dtype=torch.float64))
    assert torch.equal(d.log_prob(torch.tensor(30)), d.log_prob(torch.tensor(30.0, dtype=torch.float64)))

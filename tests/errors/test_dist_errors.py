"""The deliberate errors of `ppl_dist`: where, what was expected, what came, and what to try."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

import ppl_dist as dist
from ppl_dist import transforms

zeros, ones, tensor = torch.zeros, torch.ones, torch.tensor

# name: the call, the kind of error, and its parts in order: where, expected, got, try
CASES: dict[str, tuple[Callable[[], Any], type[Exception], tuple[str, ...]]] = {
    "negative scale": (
        lambda: dist.Normal(0.0, -1.0),
        ValueError,
        ("Normal: ", "`scale` must be positive", "got -1, float32"),
    ),
    "one bad entry of many": (
        lambda: dist.Gamma(ones(3), tensor([1.0, -2.0, 3.0])),
        ValueError,
        ("Gamma: ", "`rate` must be positive", "1 of 3 entries is not (first: -2 at [1], float32)"),
    ),
    "several bad entries": (
        lambda: dist.Gamma(ones(2, 2), tensor([[1.0, -2.0], [0.0, 3.0]])),
        ValueError,
        ("Gamma: ", "`rate` must be positive", "2 of 4 entries are not (first: -2 at [0, 1], float32)"),
    ),
    "a value that is complex": (
        lambda: dist.Normal(0.0, 1.0).log_prob(tensor([1j])),
        TypeError,
        ("Normal: ", "the value must be real", "got complex64"),
    ),
    "an argument left out of an inherited constructor": (
        lambda: dist.Normal(0.0),  # type: ignore[call-arg]
        TypeError,
        ("Normal.__init__()", "missing 1 required positional argument", "'scale'"),
    ),
    "no mass above the lower end": (
        lambda: dist.Truncated(dist.Uniform(0.0, 1.0), low=5.0),
        ValueError,
        ("Truncated: ", "`low` must be less than 1", "got 5, float32"),
    ),
    "no mass below the upper end": (
        lambda: dist.Truncated(dist.Poisson(1.0), high=-1.0),
        ValueError,
        ("Truncated: ", "`high` must not be negative", "got -1, float32"),
    ),
    "no count between the ends": (
        lambda: dist.Truncated(dist.Poisson(1.0), 0.2, 0.8),
        ValueError,
        ("Truncated: ", "`high` must be at least 1", "got 0, float32"),
    ),
    "a method that a relaxation lacks": (
        lambda: dist.RelaxedOneHotCategorical(1.0, probs=ones(2) / 2).variance,
        NotImplementedError,
        ("RelaxedOneHotCategorical", "has no variance."),
    ),
    "not a number": (
        lambda: dist.Normal(float("nan"), 1.0),
        ValueError,
        ("Normal: ", "`loc` must be a number", "got nan"),
    ),
    "batch shapes": (
        lambda: dist.Gamma(ones(2), ones(3)),
        ValueError,
        ("Gamma: ", "batch shapes do not broadcast", "concentration (2,), rate (3,)", "try unsqueeze(-1)"),
    ),
    "simplex": (
        lambda: dist.Dirichlet(ones(3)).log_prob(tensor([0.5, 0.2, 0.2])),
        ValueError,
        ("Dirichlet: ", "the value must lie on the simplex (nonnegative, sum 1)", "got shape (3,), float32"),
    ),
    "event shape of the value": (
        lambda: dist.Dirichlet(ones(3)).log_prob(ones(2) / 2),
        ValueError,
        ("Dirichlet: ", "the value must end in the event shape (3,)", "got shape (2,)"),
    ),
    "shape of the value": (
        lambda: dist.Normal(zeros(3), 1.0).log_prob(zeros(2)),
        ValueError,
        ("Normal: ", "the value's shape (2,) does not broadcast with batch shape (3,)", "Sizes must be equal or 1"),
    ),
    "value outside": (
        lambda: dist.Gamma(1.0, 1.0).log_prob(tensor([1.0, -2.0])),
        ValueError,
        ("Gamma: ", "the value must not be negative", "1 of 2 entries is not (first: -2 at [1], float32)"),
    ),
    "value outside, a count": (
        lambda: dist.Poisson(1.0).log_prob(tensor(0.5)),
        ValueError,
        ("Poisson: ", "the value must be a nonnegative integer", "got 0.5"),
    ),
    "kind of value": (
        lambda: dist.Normal(0.0, 1.0).log_prob("three"),
        ValueError,
        ("Normal: ", "the value must be a tensor or a number", "got str"),
    ),
    "both parameterisations": (
        lambda: dist.Bernoulli(0.5, 0.0),
        ValueError,
        ("Bernoulli: ", "exactly one of `probs`, `logits` must be given", "got `probs`, `logits`", "Try Bernoulli("),
    ),
    "neither parameterisation": (
        dist.Bernoulli,
        ValueError,
        ("Bernoulli: ", "exactly one of `probs`, `logits` must be given", "got none", "Try Bernoulli("),
    ),
    "kind of argument": (
        lambda: dist.Normal("zero", 1.0),
        TypeError,
        ("Normal: ", "`loc` must be a tensor, a number or an array", "got str"),
    ),
    "complex parameter": (
        lambda: dist.Normal(tensor(1j), 1.0),
        TypeError,
        ("Normal: ", "`loc` must be real", "got complex64"),
    ),
    "too few dimensions": (
        lambda: dist.Dirichlet(tensor(1.0)),
        ValueError,
        ("Dirichlet: ", "`concentration` needs at least 1 dimension", "got shape ()", "Try concentration.reshape(-1)"),
    ),
    "covariance": (
        lambda: dist.MultivariateNormal(zeros(2), tensor([[1.0, 2.0], [2.0, 1.0]])),
        ValueError,
        ("MultivariateNormal: ", "`covariance_matrix` must be positive definite", "got shape (2, 2), float32"),
    ),
    "event shapes of parameters": (
        lambda: dist.MultivariateNormal(zeros(3), torch.eye(2)),
        ValueError,
        ("MultivariateNormal: ", "event shapes differ", "loc (3,)"),
    ),
    "mask": (
        lambda: dist.Normal(0.0, 1.0).mask(tensor([1, 0])),
        ValueError,
        ("mask: ", "expected a bool or a boolean tensor", "got dtype torch.int64", "Try mask.bool()"),
    ),
    "mask of another kind": (
        lambda: dist.Normal(0.0, 1.0).mask(1),
        ValueError,
        ("mask: ", "expected a bool", "got int"),
    ),
    "to_event": (
        lambda: dist.Normal(zeros(3), 1.0).to_event(2),
        ValueError,
        ("Independent: ", "reinterpreted_batch_ndims must lie in 0..1", "batch shape (3,)", "got 2"),
    ),
    "expand": (
        lambda: dist.Normal(zeros(3), 1.0).expand((4,)),
        ValueError,
        ("Normal: ", "batch shape (3,) does not expand to (4,)", "Sizes must be equal or 1"),
    ),
    "sample shape": (lambda: dist.Normal(0.0, 1.0).sample("three"), TypeError, ()),
    "probability": (
        lambda: dist.Normal(0.0, 1.0).icdf(tensor(1.5)),
        ValueError,
        ("Normal: ", "a probability must lie in [0, 1]", "got 1.5"),
    ),
    "no rsample": (
        lambda: dist.Poisson(1.0).rsample(),
        NotImplementedError,
        ("Poisson has no rsample", "not differentiable", "Try sample()"),
    ),
    "no method": (
        lambda: dist.Dirichlet(ones(3)).cdf(ones(3) / 3),
        NotImplementedError,
        ("Dirichlet has no cdf", "It has: sample, log_prob, mean"),
    ),
    "no kl": (
        lambda: dist.kl_divergence(dist.Dirichlet(ones(3)), dist.Normal(0.0, 1.0)),
        NotImplementedError,
        ("Dirichlet has no closed-form kl_divergence to Normal", "Registered for Dirichlet: ", "Try register_kl("),
    ),
    "transforms": (
        lambda: dist.TransformedDistribution(dist.Normal(0.0, 1.0), [torch.exp]),
        ValueError,
        ("TransformedDistribution: ", "expected transforms", "got builtin_function_or_method"),
    ),
    "transform too wide": (
        lambda: dist.TransformedDistribution(dist.Normal(0.0, 1.0), transforms.StickBreakingTransform()),
        ValueError,
        ("TransformedDistribution: ", "the transform needs 1 dimension(s)", "one draw of Normal has shape ()"),
    ),
    "validation switch": (
        lambda: dist.Distribution.set_default_validate_args(1),
        ValueError,
        ("set_default_validation: ", "expected True or False", "got 1"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_message_has_its_parts_in_order(name: str) -> None:
    call, kind, parts = CASES[name]
    with pytest.raises(kind) as info:
        call()
    text = "\n".join([str(info.value), *getattr(info.value, "__notes__", ())])
    at = 0
    for part in parts:
        assert part in text[at:], f"{part!r} is missing, or out of order, in: {text}"
        at = text.index(part, at) + len(part)


def test_a_note_explains_a_bad_sample_shape() -> None:
    with pytest.raises(TypeError) as info:
        dist.Normal(0.0, 1.0).sample(2.5)
    assert "expected a sequence of ints, got 2.5. Try sample_shape=(10,)" in info.value.__notes__[0]


def test_no_message_prints_a_whole_tensor() -> None:
    with pytest.raises(ValueError) as info:
        dist.Normal(zeros(1000), -ones(1000))
    assert len(str(info.value)) < 200
    assert "1000 of 1000 entries are not" in str(info.value)


def test_the_advice_works() -> None:
    assert dist.Gamma(ones(2).unsqueeze(-1), ones(3)).batch_shape == (2, 3)
    assert dist.Normal(0.0, 1.0).mask(tensor([1, 0]).bool()).batch_shape == (2,)
    assert dist.Dirichlet(tensor(1.0).reshape(-1)).event_shape == (1,)
    assert dist.Normal(0.0, 1.0).sample((10,)).shape == (10,)
    assert dist.Poisson(1.0).sample().shape == ()
    assert dist.Bernoulli(logits=0.0).probs == 0.5


def test_errors_survive_copying() -> None:
    with pytest.raises(ValueError, match="scale") as info:
        dist.Normal(0.0, -1.0)
    assert str(copy.copy(info.value)) == str(info.value)


def test_abstract_pieces_name_class_and_method() -> None:
    class Bare(dist.Distribution):
        """Nothing but shapes."""

    with pytest.raises(NotImplementedError, match=r"Bare has no log_prob|Bare has no support"):
        Bare((), ()).log_prob(zeros(()))
    with pytest.raises(NotImplementedError, match="Constraint does not define check"):
        dist.constraints.Constraint().check(zeros(()))
    with pytest.raises(NotImplementedError, match=r"Transform does not define _call\(x\)"):
        transforms.Transform()(zeros(()))

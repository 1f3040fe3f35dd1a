"""A distribution written in torch's imperative style works wherever a declared family does."""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from ppl_dist import constraints


class Logistic(dist.Distribution):
    """With its own __init__, log_prob and rsample; no expand."""

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(torch.as_tensor(loc), torch.as_tensor(scale))
        super().__init__(self.loc.shape, torch.Size(), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args is not False:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        return -z - self.scale.log() - 2 * torch.nn.functional.softplus(-z)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = torch.rand(self._extended_shape(sample_shape))
        return self.loc + self.scale * torch.logit(u, eps=1e-6)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale**2 * torch.pi**2 / 3


class LogisticWithExpand(Logistic):
    """The same with the `expand` that torch's documentation teaches."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(LogisticWithExpand, _instance)
        batch_shape = torch.Size(batch_shape)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        super(Logistic, new).__init__(batch_shape, torch.Size(), validate_args=False)
        new._validate_args = self._validate_args
        return new


BOTH = pytest.mark.parametrize("kind", [Logistic, LogisticWithExpand])


@BOTH
def test_shapes_samples_and_densities(kind: type[Logistic]) -> None:
    d = kind(torch.zeros(3), torch.tensor(2.0))
    assert (d.batch_shape, d.event_shape, d.event_dim) == ((3,), (), 0)
    scale = torch.tensor(2.0, requires_grad=True)
    assert not kind(0.0, scale).sample((4,)).requires_grad
    assert kind(0.0, scale).rsample((4,)).requires_grad
    assert d.log_prob(d.sample((5,))).shape == (5, 3)
    assert d.stddev.shape == (3,)
    assert repr(d) == f"{kind.__name__}(batch_shape: (3,), event_shape: ())"


@BOTH
def test_parameters_and_values_are_checked(kind: type[Logistic]) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__}: `scale` must be positive"):
        kind(0.0, -1.0)
    kind(0.0, -1.0, validate_args=False)
    with pytest.raises(ValueError, match=rf"{kind.__name__}: the value's shape \(2,\)"):
        kind(torch.zeros(3), 1.0).log_prob(torch.zeros(2))


@BOTH
def test_expand(kind: type[Logistic]) -> None:
    torch.manual_seed(0)
    d = kind(torch.tensor([0.0, 100.0, -100.0]), torch.tensor(1.0))
    wide = d.expand((4, 3))
    x = wide.sample((2,))
    assert x.shape == (2, 4, 3) and wide.batch_shape == (4, 3)
    assert (x.mean((0, 1)) - d.loc).abs().max() < 20
    assert len(x.unique()) == x.numel()
    torch.testing.assert_close(wide.log_prob(x), d.log_prob(x))
    assert wide.mean.shape == (4, 3)
    again = wide.expand((2, 4, 3))
    assert again.batch_shape == (2, 4, 3) and again.sample().shape == (2, 4, 3)
    with pytest.raises((ValueError, RuntimeError)):
        d.expand((4, 2))


def test_expand_of_a_size_one_dimension_draws_anew() -> None:
    wide = Logistic(torch.zeros(1, 2), torch.ones(())).expand((5, 3, 2))
    x = wide.sample((4,))
    assert x.shape == (4, 5, 3, 2)
    assert len(x.unique()) == x.numel()
    assert wide.rsample().shape == (5, 3, 2)


@BOTH
def test_to_event_and_mask(kind: type[Logistic]) -> None:
    d = kind(torch.zeros(4, 3), torch.tensor(2.0))
    x = d.sample()
    event = d.to_event(1)
    assert (event.batch_shape, event.event_shape) == ((4,), (3,))
    torch.testing.assert_close(event.log_prob(x), d.log_prob(x).sum(-1))
    assert event.rsample((2,)).shape == (2, 4, 3)
    mask = torch.tensor([True, False, True])
    torch.testing.assert_close(d.mask(mask).log_prob(x), d.log_prob(x) * mask)
    torch.testing.assert_close(d.expand((2, 4, 3)).to_event(2).log_prob(x), d.log_prob(x).sum().expand(2))


@BOTH
def test_transformed(kind: type[Logistic]) -> None:
    d = dist.TransformedDistribution(kind(torch.zeros(3), 1.0), [dist.transforms.ExpTransform()])
    x = d.sample((5,))
    torch.testing.assert_close(d.log_prob(x), d.base_dist.log_prob(x.log()) - x.log())
    assert d.has_rsample and d.expand((2, 3)).sample().shape == (2, 3)
    y, log_prob = d.rsample_and_log_prob((5,))
    torch.testing.assert_close(log_prob, d.log_prob(y), rtol=1e-4, atol=1e-5)


@BOTH
def test_vmap_copies_and_calls(kind: type[Logistic]) -> None:
    loc = torch.randn(5)
    mapped = torch.func.vmap(lambda m: kind(m, torch.tensor(1.0)).log_prob(torch.tensor(0.5)))(loc)
    torch.testing.assert_close(mapped, kind(loc, torch.tensor(1.0)).log_prob(torch.tensor(0.5)))
    d = kind(loc, torch.tensor(1.0))
    for same in (copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        torch.testing.assert_close(same.log_prob(loc), d.log_prob(loc))
    assert d((2,)).shape == (2, 5)


def test_what_it_did_not_write_is_missing_by_name() -> None:
    d = Logistic(0.0, 1.0)
    for call in (d.entropy, d.enumerate_support, lambda: d.cdf(torch.tensor(0.0)), lambda: d.icdf(torch.tensor(0.5))):
        with pytest.raises(NotImplementedError, match="Logistic has no "):
            call()


class OnlySample(dist.Distribution):
    """Sample and log_prob alone, a vector event and a support of its own."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.simplex

    def __init__(self, size: int) -> None:
        super().__init__(torch.Size(), torch.Size((size,)))

    def sample(self, sample_shape: Any = (), **kwargs: Any) -> Tensor:
        return torch.rand(self._extended_shape(sample_shape)).softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return torch.zeros(value.shape[:-1])


def test_a_vector_event_without_rsample() -> None:
    d = OnlySample(3)
    assert d.expand((4,)).sample((2,)).shape == (2, 4, 3)
    assert d.expand((4,)).log_prob(d.sample((4,))).shape == (4,)
    with pytest.raises(ValueError, match="OnlySample: the value must lie on the simplex"):
        d.log_prob(torch.ones(3))
    with pytest.raises(NotImplementedError, match="OnlySample has no rsample"):
        d.rsample()
    with pytest.raises(NotImplementedError, match="OnlySample cannot be indexed"):
        d.expand((4,))[0]

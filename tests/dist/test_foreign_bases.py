"""Wrappers around people's own classes and around torch's, which know neither `generator` nor our extra methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import ppl
import ppl_dist as dist
from ppl import handlers
from ppl_dist import constraints, transforms


class Shifted(dist.Distribution):
    """Imperative, with a sampler that takes no generator."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc
        super().__init__(loc.shape, ())

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + torch.randn(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * (value - self.loc).square()


BASES: dict[str, Callable[[], Any]] = {
    "imperative": lambda: Shifted(torch.zeros(2, 3)),
    "torch": lambda: torch.distributions.Normal(torch.zeros(2, 3), 1.0),
    "torch, no rsample": lambda: torch.distributions.Bernoulli(torch.full((2, 3), 0.5)),
}

WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "independent": lambda base: dist.Independent(base, 1),
    "masked": lambda base: dist.MaskedDistribution(base, torch.tensor([True, False, True])),
    "expanded": lambda base: dist.ExpandedDistribution(base, (4, 2, 3)),
    "transformed": lambda base: dist.TransformedDistribution(base, transforms.AffineTransform(0.0, 2.0)),
    "transformed, broadcast": lambda base: dist.TransformedDistribution(
        base, transforms.AffineTransform(torch.zeros(4, 1, 1), 2.0)
    ),
    "nested": lambda base: dist.Independent(dist.ExpandedDistribution(base, (4, 2, 3)), 2),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("base", BASES)
def test_a_generator_reaches_a_base_that_takes_none(base: str, wrapper: str) -> None:
    d = WRAPPERS[wrapper](BASES[base]())
    before = torch.get_rng_state()
    first, second = (d.sample((5,), generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (5, *d.batch_shape, *d.event_shape)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert d.log_prob(first).shape == (5, *d.batch_shape)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("base", BASES)
def test_seed_reaches_a_base_that_takes_no_generator(base: str, wrapper: str) -> None:
    d = WRAPPERS[wrapper](BASES[base]())
    runs = [handlers.trace(handlers.seed(lambda: ppl.sample("x", d), rng_seed=1)).get_trace() for _ in range(2)]
    assert torch.equal(runs[0]["x"].value, runs[1]["x"].value)
    assert torch.isfinite(runs[0].log_prob_sum())


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("base", ["imperative", "torch"])
def test_draw_and_density_together(base: str, wrapper: str) -> None:
    d = WRAPPERS[wrapper](BASES[base]())
    value, log_prob = d.rsample_and_log_prob((5,), generator=torch.Generator().manual_seed(3))
    assert torch.allclose(log_prob, d.log_prob(value), atol=1e-6)


def test_generator_reaches_sample_of_an_imperative_rsample() -> None:
    class Takes(Shifted):
        def rsample(self, sample_shape: Any = (), *, generator: torch.Generator | None = None) -> Tensor:
            return self.loc + torch.randn(self._extended_shape(sample_shape), generator=generator)

    draws = [Takes(torch.zeros(3)).sample(generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*draws)


def test_mask_around_a_class_without_a_support() -> None:
    class Bare(Shifted):
        support = dist.Distribution.support

    masked = Bare(torch.zeros(2)).mask(torch.tensor([True, False]))
    assert torch.equal(masked.log_prob(torch.ones(2)), torch.tensor([-0.5, 0.0]))

"""What `Trace.diff` says of two runs: everything that has changed, nothing that has not, and never a whole tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import ppl_dist as dist
from ppl import Trace, deterministic, param, plate, sample
from ppl import handlers as h
from ppl.params import ParamStore

Run = Callable[[], Any]


def traced(run: Run) -> Trace:
    with ParamStore():
        return h.trace(h.seed(run, rng_seed=0)).get_trace()


def changes(before: Run, after: Run, **options: float) -> list[tuple[str, str, str, str]]:
    return [tuple(found[:4]) for found in traced(before).diff(traced(after), **options)]


def x(value: Any, loc: Any = 0.0) -> Run:
    return lambda: sample("x", dist.Normal(loc, 1.0), obs=value)


def rich() -> None:
    loc = param("loc", torch.zeros(3))
    with plate("data", 3, subsample_size=2) as i:
        z = sample("z", dist.Normal(loc[i], 1.0))
    deterministic("total", z.sum())
    sample("mix", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(torch.zeros(2), 1.0)))
    sample("flow", dist.TransformedDistribution(dist.Normal(0.0, 1.0), [dist.transforms.AffineTransform(0.0, 2.0)]))
    sample("theirs", torch.distributions.Independent(torch.distributions.LogNormal(torch.zeros(2), 1.0), 1))


def test_nothing_has_changed() -> None:
    one, other = traced(rich), traced(rich)
    one.compute_log_prob(), other.compute_log_prob()
    for found in (one.diff(one), one.diff(other), one.diff(other.copy())):
        assert not found and len(found) == 0 and repr(found) == "no differences"


def test_sites_and_order() -> None:
    def draw(*names: str) -> Run:
        return lambda: [sample(name, dist.Normal(0.0, 1.0), obs=0.0) for name in names]

    assert changes(draw("a", "b"), draw("b", "c")) == [
        ("a", "site", "observed", "absent"),
        ("c", "site", "absent", "observed"),
    ]
    assert changes(draw("a", "b", "c"), draw("a", "c", "b")) == [("b", "order", "b", "c")]


def test_kind() -> None:
    latent: Run = lambda: sample("x", dist.Normal(0.0, 1.0))  # noqa: E731
    value = traced(latent)["x"].value
    assert changes(latent, x(value)) == [("x", "kind", "latent", "observed")]
    assert changes(latent, lambda: deterministic("x", value)) == [("x", "kind", "latent", "deterministic")]


def test_distribution_and_its_parameters() -> None:
    zero = torch.tensor(0.0)
    assert changes(x(zero), lambda: sample("x", dist.Laplace(0.0, 1.0), obs=zero)) == [
        ("x", "distribution", "Normal", "Laplace")
    ]
    assert changes(x(zero), x(zero, 3.0)) == [("x", "fn.loc", "0", "3")]
    bernoulli: Callable[..., Run] = lambda **how: lambda: sample("x", dist.Bernoulli(**how), obs=zero)  # noqa: E731
    assert changes(bernoulli(probs=0.5), bernoulli(logits=0.0)) == [("x", "parameters", "probs", "logits")]


def inner(scale: float) -> None:
    base = dist.Normal(torch.zeros(2), scale)
    sample("indep", base.to_event(1), obs=torch.zeros(2))
    sample("mix", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), base), obs=0.0)
    sample("flow", dist.TransformedDistribution(base, [dist.transforms.AffineTransform(0.0, scale)]), obs=torch.ones(2))
    sample("theirs", torch.distributions.LogNormal(torch.zeros(2), scale), obs=torch.ones(2))


def test_parameters_of_what_is_inside() -> None:
    found = {(site, what) for site, what, _, _ in changes(lambda: inner(1.0), lambda: inner(2.0))}
    assert {("indep", "fn.base_dist.scale"), ("mix", "fn.component_distribution.scale")} <= found
    assert {("flow", "fn.base_dist.scale"), ("flow", "fn.transforms[0].scale")} <= found
    assert ("theirs", "fn.base_dist.scale") in found
    assert all("scale" in what for _, what in found)


def test_values() -> None:
    nan, inf = math.nan, math.inf
    (found,) = traced(x(torch.tensor([1.0, nan, 3.0]))).diff(traced(x(torch.tensor([1.5, nan, 1.0]))))
    assert found.site == "x" and found.what == "value" and found.gap == 2.0
    assert found.before == "[1, nan, 3]" and found.after == "[1.5, nan, 1]"
    assert changes(x(torch.tensor([nan, inf])), x(torch.tensor([nan, inf]))) == []
    (found,) = traced(x(torch.tensor([nan, inf]))).diff(traced(x(torch.tensor([0.0, inf]))))
    assert found.gap is not None and math.isnan(found.gap)
    (found,) = traced(x(torch.tensor([-inf]))).diff(traced(x(torch.tensor([inf]))))
    assert found.gap == inf
    assert changes(x(torch.tensor([-inf])), x(torch.tensor([nan])), atol=1.0), "a number that is not close stays"


def test_tolerance() -> None:
    one, other = x(torch.tensor(1.0)), x(torch.tensor(1.25))
    assert changes(one, other) and not changes(one, other, atol=0.25) and changes(one, other, atol=0.24)


def test_shapes_dtypes_and_bools() -> None:
    zeros = torch.zeros(3)
    assert changes(x(zeros), x(torch.zeros(2, 3))) == [("x", "shape", "(3,)", "(2, 3)")]
    assert changes(x(zeros), x(zeros.double())) == [("x", "dtype", "torch.float32", "torch.float64")]
    flag: Callable[[bool], Run] = lambda on: lambda: deterministic("d", torch.tensor([on, True]))  # noqa: E731
    assert [row[:2] for row in changes(flag(True), flag(False))] == [("d", "value")]


def test_plates_scale_and_mask() -> None:
    def inside(size: int, n: int) -> Run:
        def run() -> None:
            with plate("data", size, n):
                sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(n))

        return run

    found = changes(inside(4, 4), inside(8, 8))
    assert ("x", "plates", 'plate "data" (dim -1, size 4)', 'plate "data" (dim -1, size 8)') in found
    assert ("x", "shape", "(4,)", "(8,)") in found and ("x", "fn.loc shape", "(4,)", "(8,)") in found
    assert ("x", "scale", "2", "4") in changes(inside(4, 2), inside(8, 2))
    zero = x(torch.zeros(2))
    assert changes(zero, h.mask(zero, mask=True)) == [("x", "mask", "None", "True")]
    half, both = (h.mask(zero, mask=torch.tensor([True, on])) for on in (False, True))
    assert [row[:2] for row in changes(half, both)] == [("x", "mask")]
    assert changes(zero, h.scale(zero, scale=torch.tensor(2.0))) == [("x", "scale", "1", "2")]


def test_log_prob_where_both_have_it() -> None:
    one, other = traced(x(torch.zeros(1))), traced(h.scale(x(torch.zeros(1)), scale=3.0))
    one.compute_log_prob()
    assert [found.what for found in one.diff(other)] == ["scale"]
    other.compute_log_prob()
    found = one.diff(other)[-1]
    assert found.what == "log_prob" and found.gap == pytest.approx(math.log(2 * math.pi))


def test_prints_a_table_that_fits() -> None:
    g = torch.Generator().manual_seed(0)
    big = [torch.randn(1000, 50, generator=g) for _ in range(2)]
    name = "encoder.layers.0.attention.projection.weight.of.the.first.head"
    with h.trace() as one, h.trace():
        sample(name, dist.Normal(0.0, 1.0).expand([1000, 50]), obs=big[0])
    with h.trace() as other:
        sample(name, dist.Normal(0.0, 1.0).expand([1000, 50]), obs=big[1])
    lines = repr(one.diff(other)).splitlines()
    assert lines[0] == "1 difference" and len(lines) == 2 and len(lines[1]) <= 150
    assert "±" in lines[1] and f"by {(big[0] - big[1]).abs().max():.3g}" in lines[1]


def test_values_that_are_no_tensors() -> None:
    assert changes(x(torch.tensor(0.0)), x(torch.tensor(0.0))) == []
    words: Callable[[Any], Run] = lambda value: lambda: deterministic("d", value)  # noqa: E731
    assert changes(words("a"), words("b")) == [("d", "value", "a", "b")]

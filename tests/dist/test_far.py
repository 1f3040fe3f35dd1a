"""Composites and moments far out and at their edges, held to mpmath at 50 digits in both dtypes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from ppl_dist import special
from ppl_dist.special.logistic import expit
from tests.support.exact import NORMAL, log, mp

BOUNDS = {torch.float64: 1e-12, torch.float32: 5e-6}
DTYPES = pytest.mark.parametrize("dtype", list(BOUNDS), ids=["float64", "float32"])
TAILS = ("cdf", "survival_function", "log_cdf", "log_survival_function")


def numbers(values: Tensor) -> list[Any]:
    return [mp.mpf(v) for v in values.double().tolist()]


def assert_near(got: Tensor, wanted: list[Any], *, log: bool, slack: Tensor | float = 0.0) -> None:
    """Within the bound of the dtype, relative; absolute where a logarithm is below 1. Or within `slack`."""
    exact = torch.tensor([float(v) for v in wanted], dtype=torch.float64).to(got.dtype).double()
    size = exact.abs().clamp(min=1.0 if log else torch.finfo(got.dtype).tiny)
    error = torch.where(got.double() == exact, 0.0, (got.double() - exact).abs())
    ratio = error / torch.maximum(BOUNDS[got.dtype] * size, torch.as_tensor(slack))
    assert ratio.max() <= 1, (got[ratio.argmax()], exact[ratio.argmax()])


def assert_tails(d: Any, x: Tensor, below: list[Any], above: list[Any]) -> None:
    def log_of(p: Any, q: Any) -> Any:
        return log(p) if p < 0.5 else mp.log1p(-q)

    exact = (
        below,
        above,
        [log_of(p, q) for p, q in zip(below, above, strict=True)],
        [log_of(q, p) for p, q in zip(below, above, strict=True)],
    )
    for method, wanted in zip(TAILS, exact, strict=True):
        assert_near(getattr(d, method)(x), wanted, log=method.startswith("log"))


@DTYPES
@pytest.mark.parametrize("scale", [0.5, 10.0, 1e3])
def test_draws_that_saturate_keep_their_density(dtype: torch.dtype, scale: float) -> None:
    base = dist.Normal(torch.zeros((), dtype=dtype), torch.tensor(scale, dtype=dtype))
    d = dist.TransformedDistribution(base, dist.transforms.TanhTransform())
    x, log_prob = d.rsample_and_log_prob((500,), generator=torch.Generator().manual_seed(0))
    z = numbers(base.rsample((500,), generator=torch.Generator().manual_seed(0)))
    assert x.abs().max() < 1
    assert_near(log_prob, [NORMAL.log_prob(v, 0, scale) + 2 * mp.log(mp.cosh(v)) for v in z], log=True)
    again = [NORMAL.log_prob(mp.atanh(v), 0, scale) - mp.log1p(-v) - mp.log1p(v) for v in numbers(x)]
    moves = x.double() * (2 * x.double() - x.double().atanh() / scale**2) / (1 - x.double().square())
    assert_near(d.log_prob(x), again, log=True, slack=4 * torch.finfo(dtype).eps * moves.abs())


@DTYPES
@pytest.mark.parametrize("general", [False, True])
def test_mixture_of_components_far_apart(dtype: torch.dtype, *, general: bool) -> None:
    weights = torch.tensor([0.25, 0.5, 0.25], dtype=dtype)
    loc = torch.tensor([-1e4, 0.0, 1e4], dtype=dtype)
    scale = torch.tensor([1.0, 2.0**-20, 1e8], dtype=dtype)
    mixing = dist.Categorical(weights)
    parts = [dist.Normal(m, s) for m, s in zip(loc, scale, strict=True)]
    one = dist.MixtureSameFamily(mixing, dist.Normal(loc, scale))
    d: Any = dist.MixtureGeneral(mixing, parts) if general else one
    x = torch.tensor([-3e38, -1e9, -10010.0, -1e4, -5e3, -1e-6, 0.0, 2e-6, 9990.0, 1e8, 5e9], dtype=dtype)
    given = list(zip(numbers(weights), numbers(loc), numbers(scale), strict=True))

    def total(formula: Any) -> list[Any]:
        return [mp.fsum(w * formula(v, m, s) for w, m, s in given) for v in numbers(x)]

    assert_near(d.log_prob(x), [log(p) for p in total(lambda v, m, s: mp.exp(NORMAL.log_prob(v, m, s)))], log=True)
    assert_tails(d, x, total(NORMAL.cdf), total(NORMAL.sf))


@DTYPES
def test_ends_of_a_censored_law_far_in_its_tails(dtype: torch.dtype) -> None:
    low, high = torch.tensor([-40.0, -1.0, 30.0], dtype=dtype), torch.tensor([-30.0, 40.0, 31.0], dtype=dtype)
    d = dist.Censored(dist.Normal(torch.zeros(3, dtype=dtype), 1.0), low=low, high=high)
    standard = [NORMAL.cdf(v) for v in numbers(low)], [NORMAL.sf(v) for v in numbers(high)]

    def log_of(p: Any) -> Any:
        return log(p) if p < 0.5 else mp.log1p(p - 1)

    assert_near(d.log_prob(low), [log_of(p) for p in standard[0]], log=True)
    assert_near(d.log_prob(high), [log_of(p) for p in standard[1]], log=True)
    middle = 0.5 * (low + high)
    assert_near(d.log_prob(middle), [NORMAL.log_prob(v) for v in numbers(middle)], log=True)
    assert_tails(
        d, middle, [NORMAL.cdf(v) for v in numbers(middle)], [NORMAL.sf(v) for v in numbers(middle)]
    )


@DTYPES
def test_spread_and_entropy_on_the_circle(dtype: torch.dtype) -> None:
    k = torch.tensor([1e-8, 1e-3, 1.0, 10.0, 99.0, 101.0, 1e4, 1e8], dtype=dtype)
    d = dist.VonMises(torch.zeros((), dtype=dtype), k)
    deficit = [1 - mp.besseli(1, v) / mp.besseli(0, v) for v in numbers(k)]
    log_i0 = [mp.log(2 * mp.pi * mp.besseli(0, v)) - v for v in numbers(k)]
    assert_near(d.variance, deficit, log=False)
    entropy = [a + v * b for a, v, b in zip(log_i0, numbers(k), deficit, strict=True)]
    assert_near(d.entropy(), entropy, log=True)


@DTYPES
def test_expit_below_the_normal_numbers(dtype: torch.dtype) -> None:
    z = torch.tensor([-740.0, -708.5, -100.0, -88.5, -80.0, -1.0, 0.0, 30.0, 800.0], dtype=dtype)
    assert_near(expit(z), [1 / (1 + mp.exp(-v)) for v in numbers(z)], log=False)
    z.requires_grad_()
    (slope,) = torch.autograd.grad(expit(z).sum(), z)
    assert_near(slope[:-2], [1 / (2 + mp.exp(v) + mp.exp(-v)) for v in numbers(z.detach()[:-2])], log=False)


@DTYPES
@pytest.mark.parametrize("temperature, sign", [(0.5, 1.0), (2.0, -1.0)])
def test_density_of_a_relaxed_trial_at_its_ends(dtype: torch.dtype, temperature: float, sign: float) -> None:
    x = torch.tensor([0.0, 0.5, 1.0], dtype=dtype, requires_grad=True)
    d = dist.RelaxedBernoulli(torch.tensor(temperature, dtype=dtype), logits=torch.tensor(0.3, dtype=dtype))
    log_prob = d.log_prob(x)
    assert log_prob[[0, 2]].tolist() == [sign * torch.inf] * 2
    (slope,) = torch.autograd.grad(log_prob[1], x)
    assert slope.isfinite().all()


def test_log_tails_hold_where_the_tails_underflow() -> None:
    a, x = torch.tensor(3.0, dtype=torch.float64), torch.tensor(2000.0, dtype=torch.float64)
    want = -2000.0 + math.log(2000.0**2 / 2 + 2000.0 + 1)  # Q(3, x) = e^-x (1 + x + x^2/2)
    assert special.log_gammaincc(a, x).item() == pytest.approx(want, rel=1e-14)
    b = torch.tensor(2e3, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    assert special.log_betainc(b, one, 0.5 * one).item() == pytest.approx(2e3 * math.log(0.5), rel=1e-14)

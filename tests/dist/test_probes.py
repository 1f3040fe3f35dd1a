"""Where others return a density above one, a tail of zero or draws from another law: each probe in both dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp  # type: ignore[import-untyped]  # ships no types
import pytest
import torch
from torch import Tensor

import ppl_dist as dist

F64, F32 = torch.float64, torch.float32
New = Callable[[float], Tensor]
INF = math.inf

# what is asked -> (ours from numbers of a dtype, the exact answer in float32, in float64)
PROBES: dict[str, tuple[Callable[[New], Tensor], float, float]] = {}


def probe(name: str, single: float, double: float | None = None) -> Callable[[Callable[[New], Tensor]], None]:
    def keep(ours: Callable[[New], Tensor]) -> None:
        PROBES[name] = (ours, single, single if double is None else double)

    return keep


def log_density(kind: Any, x: float, *parameters: float, **named: float) -> Callable[[New], Tensor]:
    return lambda n: kind(*map(n, parameters), **{k: n(v) for k, v in named.items()}).log_prob(n(x))


def method(name: str, kind: Any, x: float, *parameters: float) -> Callable[[New], Tensor]:
    return lambda n: getattr(kind(*map(n, parameters)), name)(n(x))


LG = mp.loggamma
BIG = 10**8
with mp.workdps(50):
    poisson = BIG * mp.log(BIG) - BIG - LG(BIG + 1)
    binomial = LG(BIG + 1) - 2 * LG(BIG // 2 + 1) - BIG * mp.log(2)
    gamma = 10**7 * mp.log(10**7) - 10**7 - LG(10**7)
    beta = LG(2 * 10**7) - 2 * LG(10**7) - (2 * 10**7 - 2) * mp.log(2)
    student = LG((BIG + 1) / mp.mpf(2)) - LG(BIG / mp.mpf(2)) - mp.log(BIG * mp.pi) / 2
    student = student - (BIG + 1) / mp.mpf(2) * mp.log1p(mp.mpf(1) / BIG)
    circle = -mp.log(2 * mp.pi) - mp.log(mp.besseli(0, 10**6) * mp.exp(-(10**6)))


def negative(p: float) -> float:
    """The log mass of ten successes before 1e8 failures, for the chance p."""
    with mp.workdps(50):
        return float(LG(BIG + 10) - LG(11) - LG(BIG) + 10 * mp.log(mp.mpf(p)) + BIG * mp.log1p(-mp.mpf(p)))


def beta_divergence(a: float, c: float) -> float:
    """KL(Beta(a, a) || Beta(c, c))."""
    with mp.workdps(50):
        a, c = mp.mpf(a), mp.mpf(c)
        normal = 2 * LG(c) - LG(2 * c) - 2 * LG(a) + LG(2 * a)
        return float(normal + 2 * (a - c) * (mp.digamma(a) - mp.digamma(2 * a)))


def tail(z: float) -> float:
    return float(mp.ncdf(z))


P_SINGLE, P_DOUBLE = torch.tensor(1e-7, dtype=F32).item(), 1e-7
SMALL_SINGLE, SMALL_DOUBLE = torch.tensor(1e-9, dtype=F32).item(), 1e-9

probe("Poisson(1e8)", float(poisson))(log_density(dist.Poisson, 1e8, 1e8))
probe("Binomial(1e8, 0.5)", float(binomial))(log_density(dist.Binomial, 5e7, 1e8, probs=0.5))
probe("Gamma(1e7, 1e7)", float(gamma))(log_density(dist.Gamma, 1.0, 1e7, 1e7))
probe("Beta(1e7, 1e7)", float(beta))(log_density(dist.Beta, 0.5, 1e7, 1e7))
probe("StudentT(1e8)", float(student))(log_density(dist.StudentT, 1.0, 1e8))
probe("NegativeBinomial(1e8, mean 10)", negative(P_SINGLE), negative(P_DOUBLE))(
    log_density(dist.NegativeBinomial, 10.0, 1e8, probs=1e-7)
)
probe("KL of Beta(1e7, 1e7)", beta_divergence(1e7, 1.01e7))(
    lambda n: dist.kl_divergence(dist.Beta(n(1e7), n(1e7)), dist.Beta(n(1.01e7), n(1.01e7)))
)
probe("VonMises(0, 1e6)", float(circle))(log_density(dist.VonMises, 0.0, 0.0, 1e6))
probe("Normal.cdf(-6)", tail(-6))(method("cdf", dist.Normal, -6.0, 0.0, 1.0))
probe("Normal.cdf(-9)", tail(-9))(method("cdf", dist.Normal, -9.0, 0.0, 1.0))
probe("Normal.icdf(1e-10)", -6.361340902404056)(method("icdf", dist.Normal, 1e-10, 0.0, 1.0))
probe("Normal.icdf(1e-20)", -9.262340089798408)(method("icdf", dist.Normal, 1e-20, 0.0, 1.0))
probe("Laplace.cdf(-30)", 0.5 * math.exp(-30))(method("cdf", dist.Laplace, -30.0, 0.0, 1.0))
probe("Cauchy.cdf(-1e8)", float(mp.atan(mp.mpf(10) ** -8) / mp.pi))(method("cdf", dist.Cauchy, -1e8, 0.0, 1.0))
for kind, parameters, exact in (
    (dist.Exponential, (1.0,), lambda x: -math.expm1(-x)),
    (dist.Weibull, (1.0, 1.0), lambda x: -math.expm1(-x)),
    (dist.HalfNormal, (1.0,), lambda x: math.erf(x / math.sqrt(2))),
    (dist.HalfCauchy, (1.0,), lambda x: 2 / math.pi * math.atan(x)),
    (dist.Kumaraswamy, (1.0, 1.0), lambda x: x),
):
    probe(f"{kind.__name__}.cdf(1e-9)", exact(SMALL_SINGLE), exact(SMALL_DOUBLE))(
        method("cdf", kind, 1e-9, *parameters)
    )
probe("Bernoulli(0)", -INF)(log_density(dist.Bernoulli, 1.0, probs=0.0))
probe("Bernoulli(1e-9)", math.log(SMALL_SINGLE), math.log(SMALL_DOUBLE))(log_density(dist.Bernoulli, 1.0, probs=1e-9))
probe("Categorical(0)", -INF)(lambda n: dist.Categorical(torch.stack([n(0.0), n(1.0)])).log_prob(torch.tensor(0)))
probe("Categorical(1e-9)", *(math.log(v / (1 + v)) for v in (SMALL_SINGLE, SMALL_DOUBLE)))(
    lambda n: dist.Categorical(torch.stack([n(1.0), n(1e-9)])).log_prob(torch.tensor(1))
)
probe("Weibull(1, 1) at 0", 0.0)(log_density(dist.Weibull, 0.0, 1.0, 1.0))
probe("Kumaraswamy(1, 1) at 0", 0.0)(log_density(dist.Kumaraswamy, 0.0, 1.0, 1.0))
probe("LogNormal at 0", -INF)(
    lambda n: dist.LogNormal(n(0.0), n(1.0), validate_args=False).log_prob(n(0.0))  # off its support
)
probe("Beta(0.5, 0.5).mode", 0.0, 0.0)(lambda n: 1 - dist.Beta(n(0.5), n(0.5)).mode.round())


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", PROBES)
def test_probe(name: str, dtype: torch.dtype) -> None:
    ours, single, double = PROBES[name]
    got = ours(lambda v: torch.tensor(v, dtype=dtype))
    want = torch.tensor(double if dtype == F64 else single, dtype=dtype)
    assert got.dtype == dtype
    torch.testing.assert_close(got, want, rtol=1e-11 if dtype == F64 else 5e-6, atol=0)


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_saturated_draws_have_a_density(dtype: torch.dtype) -> None:
    base = dist.Normal(torch.zeros((), dtype=dtype), torch.tensor(10.0, dtype=dtype))
    d = dist.TransformedDistribution(base, dist.transforms.TanhTransform())
    x, log_prob = d.rsample_and_log_prob((100_000,))
    assert log_prob.isfinite().all() and x.abs().max() <= 1


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_a_divergence_is_not_negative(dtype: torch.dtype) -> None:
    p, q = (dist.ContinuousBernoulli(logits=torch.tensor(v, dtype=dtype)) for v in (-500.0, 20.0))
    assert dist.kl_divergence(p, q).item() == pytest.approx(22.18, abs=0.01)


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_small_concentrations_are_drawn_at_the_corners(dtype: torch.dtype) -> None:
    """Of Beta(1e-3, 1e-3) 0.0004 of the mass lies in (0.4, 0.6): of 1e5 draws 41 are expected, 90 have a chance of 1e-10."""
    tiny = torch.tensor(1e-3, dtype=dtype)
    middle = dist.Beta(tiny, tiny).sample((100_000,))
    assert ((middle > 0.4) & (middle < 0.6)).sum() < 90
    vectors = dist.Dirichlet(tiny.expand(3)).sample((100_000,))
    assert not (vectors == vectors[:, :1]).all(-1).any()


def test_gradient_of_a_share_that_is_hardly_a_number() -> None:
    x = torch.tensor([1e-38, 0.5, 0.5], requires_grad=True)
    dist.Dirichlet(torch.tensor([2.0, 2.0, 2.0])).log_prob(x).backward()  # type: ignore[no-untyped-call]  # torch's gap
    assert x.grad is not None and x.grad[0].item() == pytest.approx(1e38, rel=1e-5)

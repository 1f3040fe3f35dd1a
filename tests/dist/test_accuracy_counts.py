"""Masses of vectors of counts, and of categories, held to 50 digits: the law of accuracy is about single numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from tests.support.exact import log, mp, xlogy

DTYPES = (torch.float64, torch.float32)
BOUNDS = {torch.float64: 1e-12, torch.float32: 5e-6}
ROUNDINGS = 4


def exact(values: Sequence[float], dtype: torch.dtype) -> list[Any]:
    """The numbers as the dtype holds them."""
    return [mp.mpf(v) for v in torch.tensor(values, dtype=dtype).double().tolist()]


def assert_near(got: Tensor, true: Any, moved: Any = 0) -> None:
    """Relative, absolute below 1; or a few roundings of the inputs, which move the result by `moved` each."""
    bound = max(BOUNDS[got.dtype] * max(1, abs(true)), ROUNDINGS * torch.finfo(got.dtype).eps * moved)
    rounded = torch.tensor(float(true), dtype=got.dtype).double().item()
    assert got.item() == rounded or abs(got.double().item() - rounded) <= bound, (got.item(), float(true))


def shares(weights: list[Any]) -> list[Any]:
    total = mp.fsum(weights)
    return [w / total for w in weights]


def multinomial(n: Any, x: list[Any], p: list[Any]) -> Any:
    return mp.loggamma(n + 1) + mp.fsum(xlogy(k, chance) - mp.loggamma(k + 1) for k, chance in zip(x, p, strict=True))


def dirichlet_multinomial(n: Any, x: list[Any], a: list[Any]) -> Any:
    total = mp.fsum(a)
    parts = (mp.loggamma(k + c) - mp.loggamma(k + 1) - mp.loggamma(c) for k, c in zip(x, a, strict=True))
    return mp.loggamma(n + 1) + mp.loggamma(total) - mp.loggamma(n + total) + mp.fsum(parts)


COUNTS = (
    (0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0),
    (3.0, 4.0, 5.0),
    (0.0, 30.0, 70.0),
    (20.0, 30.0, 50.0),
    (1990.0, 2970.0, 5040.0),
    (2e7, 3e7, 5e7),
    (20005000.0, 29990000.0, 50005000.0),
    (8.0, 16.0, 1e8 - 24),
    (1e8, 0.0, 0.0),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("probs", [(0.25, 0.25, 0.5), (0.2, 0.3, 0.5), (1e-8, 1e-8, 1.0), (3.0, 1e-3, 7.0)])
@pytest.mark.parametrize("counts", COUNTS)
def test_multinomial(counts: tuple[float, ...], probs: tuple[float, ...], dtype: torch.dtype) -> None:
    x, p = exact(counts, dtype), shares(exact(probs, dtype))
    n = mp.fsum(x)
    got = dist.Multinomial(torch.tensor(float(n), dtype=dtype), torch.tensor(probs, dtype=dtype)).log_prob(
        torch.tensor(counts, dtype=dtype)
    )
    assert_near(got, multinomial(n, x, p), mp.fsum(abs(k - n * chance) for k, chance in zip(x, p, strict=True)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logits", [(0.0, 0.0, 1.0), (-80.0, 0.0, 80.0), (1e-8, -30.0, 3.0), (-900.0, 0.0, 0.5)])
@pytest.mark.parametrize("counts", COUNTS)
def test_multinomial_of_logits(counts: tuple[float, ...], logits: tuple[float, ...], dtype: torch.dtype) -> None:
    x, given = exact(counts, dtype), exact(logits, dtype)
    n, p = mp.fsum(x), shares([mp.exp(v) for v in given])
    d = dist.Multinomial(torch.tensor(float(n), dtype=dtype), logits=torch.tensor(logits, dtype=dtype))
    moved = mp.fsum(abs((k - n * chance) * log(chance)) for k, chance in zip(x, p, strict=True))
    assert_near(d.log_prob(torch.tensor(counts, dtype=dtype)), multinomial(n, x, p), moved)


SIZES = (1e-8, 1e-3, 0.5, 30.0, 1e4, 1e8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.2, 0.3, 0.5), (1e-8, 1.0, 1e-3)])
@pytest.mark.parametrize("counts", COUNTS)
def test_dirichlet_multinomial(
    counts: tuple[float, ...], weights: tuple[float, ...], size: float, dtype: torch.dtype
) -> None:
    concentration = [size * w for w in weights]
    x, a = exact(counts, dtype), exact(concentration, dtype)
    n = mp.fsum(x)
    d = dist.DirichletMultinomial(torch.tensor(concentration, dtype=dtype), torch.tensor(float(n), dtype=dtype))
    total = mp.fsum(a)
    whole = mp.digamma(n + total) - mp.digamma(total)
    moved = mp.fsum(
        abs(c * (mp.digamma(k + c) - mp.digamma(c) - whole)) for k, c in zip(x, a, strict=True)
    )
    assert_near(d.log_prob(torch.tensor(counts, dtype=dtype)), dirichlet_multinomial(n, x, a), moved)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("a", SIZES)
@pytest.mark.parametrize("b", SIZES)
@pytest.mark.parametrize("n", [1.0, 12.0, 1e4, 1e8])
def test_beta_binomial(n: float, b: float, a: float, dtype: torch.dtype) -> None:
    """Also for more counts than a table of its distribution function has room for."""
    one, zero = exact([a, b], dtype)
    parts = [0.0, 1.0, n - 1, n, *torch.tensor([n / 3, n * a / (a + b)], dtype=dtype).floor().tolist()]
    x = torch.tensor(parts, dtype=dtype)
    got = dist.BetaBinomial(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype), n).log_prob(x)
    for value, k in zip(got, exact(parts, dtype), strict=True):
        pair = [k, n - k]
        whole = mp.digamma(n + one + zero) - mp.digamma(one + zero)
        moved = mp.fsum(
            abs(c * (mp.digamma(v + c) - mp.digamma(c) - whole)) for v, c in zip(pair, (one, zero), strict=True)
        )
        assert_near(value, dirichlet_multinomial(mp.mpf(n), pair, [one, zero]), moved)


PROBS = ((0.2, 0.5, 0.3), (1e-9, 0.5, 0.5), (1e-8, 1.0, 0.0), (1e-30, 1.0, 1.0 - 2.0**-20))
LOGITS = ((0.0, 1.0, -1.0), (-80.0, 0.0, 80.0), (1e-8, -30.0, 3.0), (-1e4, 50.0, 55.0), (1e8, 1e8, 0.0))


def picked(d: Any, one_hot: bool, k: int, dtype: torch.dtype) -> Tensor:
    value: Tensor = d.log_prob(torch.eye(3, dtype=dtype)[k] if one_hot else torch.tensor(k))
    return value


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", [dist.Categorical, dist.OneHotCategorical])
@pytest.mark.parametrize("probs", PROBS)
def test_categories(probs: tuple[float, ...], family: Any, dtype: torch.dtype) -> None:
    d = family(torch.tensor(probs, dtype=dtype))
    for k, p in enumerate(shares(exact(probs, dtype))):
        assert_near(picked(d, family is dist.OneHotCategorical, k, dtype), log(p), 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", [dist.Categorical, dist.OneHotCategorical])
@pytest.mark.parametrize("logits", LOGITS)
def test_categories_of_logits(logits: tuple[float, ...], family: Any, dtype: torch.dtype) -> None:
    d, given = family(logits=torch.tensor(logits, dtype=dtype)), exact(logits, dtype)
    top = max(given)
    scale = mp.log(mp.fsum(mp.exp(v - top) for v in given))
    for k, v in enumerate(given):
        assert_near(picked(d, family is dist.OneHotCategorical, k, dtype), v - top - scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cutpoints", [(-1.0, 0.5, 2.0), (-80.0, 0.0, 80.0), (0.0, 1e-8, 1.0), (1e4, 1e4 + 1, 1e5)])
@pytest.mark.parametrize("predictor", [0.0, 1e-8, -3.0, 30.0, 1e4])
def test_ordered_logistic(predictor: float, cutpoints: tuple[float, ...], dtype: torch.dtype) -> None:
    given, (m,) = exact(cutpoints, dtype), exact([predictor], dtype)
    d = dist.OrderedLogistic(torch.tensor(predictor, dtype=dtype), torch.tensor(cutpoints, dtype=dtype))

    def tails(c: Any) -> tuple[Any, Any]:
        return 1 / (1 + mp.exp(m - c)), 1 / (1 + mp.exp(c - m))

    ends = [(mp.mpf(0), mp.mpf(1)), *(tails(c) for c in given), (mp.mpf(1), mp.mpf(0))]
    places = [mp.ninf, *given, mp.inf]
    for k in range(len(given) + 1):
        x, (low, high) = torch.tensor(float(k), dtype=dtype), ends[k : k + 2]
        if places[k] == mp.ninf:
            log_mass = mp.log(high[0])
        elif places[k + 1] == mp.inf:
            log_mass = mp.log(low[1])
        else:  # F(b) (1 - F(a)) (1 - e^(a - b))
            log_mass = mp.log(high[0]) + mp.log(low[1]) + mp.log(-mp.expm1(places[k] - places[k + 1]))
        scale = sum(abs(v) for v in (m, *places[k : k + 2]) if mp.isfinite(v))
        width = places[k + 1] - places[k]
        assert_near(d.log_prob(x), log_mass, scale + (scale / width if mp.isfinite(width) else 0))
        for tail, log_tail, true in (
            (d.cdf, d.log_cdf, high[0]),
            (d.survival_function, d.log_survival_function, high[1]),
        ):
            assert_near(log_tail(x), log(true), scale)
            if true == 0 or true > torch.finfo(dtype).tiny:
                assert_near(tail(x).log(), log(true), scale)

"""Special functions against mpmath at 50 digits, their derivatives, and their passage through torch's transforms."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import mpmath as mp  # type: ignore[import-untyped]  # ships no types
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_dist import special

F64, F32 = torch.float64, torch.float32
Number = Any  # an mpmath number, or what mpmath turns into one


@functools.cache
def gamma_tails(a: Number, x: Number) -> tuple[Number, Number]:
    """(P, Q) to about 50 digits of each: a series of positive terms, with digits to spare for the complement."""
    a, x = mp.mpf(a), mp.mpf(x)
    with mp.workdps(70 + int(max(0, x - a) / 2)):
        term = total = mp.mpf(1)
        n = 0
        while term > total * mp.eps or n < x - a:
            n += 1
            term = term * x / (a + n)
            total += term
        p = mp.exp(a * mp.log(x) - x - mp.loggamma(a + 1)) * total
        return p, 1 - p


@functools.cache
def beta_tails(a: Number, b: Number, x: Number) -> tuple[Number, Number]:
    """(I_x(a, b), 1 - I_x(a, b)), each from its own series of positive terms where it is the smaller."""
    a, b, x = mp.mpf(a), mp.mpf(b), mp.mpf(x)
    if b * x > a * (1 - x):
        low, high = beta_tails(b, a, 1 - x)
        return high, low
    with mp.workdps(70):
        term = total = mp.mpf(1)
        n = 0
        while term > total * mp.eps:
            term = term * (a + b + n) / (a + 1 + n) * x
            n += 1
            total += term
        log_beta = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
        p = mp.exp(a * mp.log(x) + b * mp.log1p(-x) - log_beta - mp.log(a)) * total
        return p, 1 - p


def log_ndtr(x: Number) -> Number:
    return mp.log(mp.ncdf(x)) if x < 0 else mp.log1p(-mp.ncdf(-x))


def log_beta(a: Number, b: Number) -> Number:
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def stirling_error(x: Number) -> Number:
    return mp.loggamma(x + 1) - (x + mp.mpf("0.5")) * mp.log(x) + x - mp.log(2 * mp.pi) / 2


def log_of(small: Number, other: Number) -> Number:
    return mp.log(small) if small < 0.5 else mp.log1p(-other)


SIDES = (-100.0, -37.0, -20.1, -9.1, -5.1, -2.1, -0.9, -1e-8, 0.3, 1.1, 2.2, 5.5, 8.3)
GAMMA_GRID: Sequence[tuple[float, ...]] = [
    (a, a * m) for a in (1e-8, 1e-3, 0.3, 1.0, 1.4, 1.6, 20.0, 300.0) for m in (1e-3, 0.3, 0.9, 1.0, 1.1, 2.0)
] + [(1e-3, 0.5), (1e-3, 1.49), (1e-3, 1.51), (0.3, 20.0), (1.4, 40.0), (1e-8, 5.0), (1e4, 9.7e3), (1e4, 1.03e4)]
BETA_GRID: Sequence[tuple[float, ...]] = [
    (a, b, x) for a in (1e-3, 0.3, 1.0, 3.0, 40.0) for b in (1e-3, 0.5, 2.0, 300.0) for x in (1e-6, 0.1, 0.5, 0.9)
] + [(1e4, 1e4, 0.48), (1e4, 1e4, 0.51), (2.0, 1e4, 1.5e-4), (1e-3, 1e4, 5e-8)]

# name -> (function, reference on mpmath numbers, points, bound in float64, bound in float32)
Row = tuple[Callable[..., Tensor], Callable[..., Number], Sequence[tuple[float, ...]], float, float]
REFERENCES: dict[str, Row] = {
    "ndtr": (special.ndtr, mp.ncdf, [(x,) for x in SIDES if x > -38], 1e-12, 2e-7),
    "log_ndtr": (special.log_ndtr, log_ndtr, [(x,) for x in (-1e4, *SIDES)], 1e-13, 2e-7),
    "log1mexp": (
        special.log1mexp,
        lambda x: mp.log(-mp.expm1(x)),
        [(x,) for x in (-1e-30, -1e-5, -0.69, -0.7, -30.0)],
        1e-15,
        4e-7,
    ),
    "logsubexp": (
        special.logsubexp,
        lambda a, b: mp.log(mp.exp(a) - mp.exp(b)),
        [(3.0, 1.0), (-700.0, -701.0), (800.0, -800.0), (2.5, 2.25)],
        1e-14,
        1e-6,
    ),
    "log1pmx": (
        special.log1pmx,
        lambda t: mp.log1p(t) - t,
        [(t,) for t in (-0.9, -0.21, -0.19, -1e-3, 1e-9, 0.19, 0.21, 3.0)],
        1e-14,
        5e-6,
    ),
    "stirling_error": (
        special.stirling_error,
        stirling_error,
        [(x,) for x in (1e-3, 0.5, 1.0, 5.0, 9.9, 10.0, 50.0, 1e8)],
        3e-13,
        2e-4,
    ),
    "log_factorial_excess": (
        special.log_factorial_excess,
        lambda x: mp.loggamma(x + 1) - x * mp.log(x) + x,
        [(x,) for x in (0.5, 2.49, 2.51, 5.0, 9.9, 10.0, 50.0, 1e8)],
        3e-14,
        5e-7,
    ),
    "deviance": (
        special.deviance,
        lambda x, m: x * mp.log(x / m) + m - x,
        [(m * r, m) for m in (0.5, 64.0, 1e6) for r in (1e-3, 0.79, 0.81, 1 + 2**-9, 1.19, 1.3, 50.0)],
        1e-14,
        2e-6,
    ),
    "lgamma1p": (
        special.lgamma1p,
        lambda a: mp.loggamma(1 + a),
        [(a,) for a in (1e-12, 1e-3, 0.0999, 0.1001, 0.5, 5.0)],
        1e-14,
        3e-6,
    ),
    "gammainc": (special.gammainc, lambda a, x: gamma_tails(a, x)[0], GAMMA_GRID, 1e-12, 2e-7),
    "gammaincc": (special.gammaincc, lambda a, x: gamma_tails(a, x)[1], GAMMA_GRID, 1e-12, 2e-7),
    "log_gammainc": (special.log_gammainc, lambda a, x: log_of(*gamma_tails(a, x)), GAMMA_GRID, 1e-12, 2e-7),
    "log_gammaincc": (special.log_gammaincc, lambda a, x: log_of(*gamma_tails(a, x)[::-1]), GAMMA_GRID, 1e-12, 2e-7),
    "beta_log_density": (
        special.beta_log_density,
        lambda a, b, x: (a - 1) * mp.log(x) + (b - 1) * mp.log1p(-x) - log_beta(a, b),
        [(1e-3, 300.0, 1e-6), (3.0, 40.0, 0.1), (40.0, 0.5, 0.9), (1e7, 1e7, 0.5), (1e8, 30.0, 0.75)],
        1e-12,
        4e-6,
    ),
    "f_log_density": (
        special.f_log_density,
        lambda a, b, x: a * mp.log(a / b) + (a - 1) * mp.log(x) - (a + b) * mp.log1p(a * x / b) - log_beta(a, b),
        [(1e-3, 300.0, 1e-6), (3.0, 40.0, 1e30), (40.0, 3.0, 1e30), (1e7, 1e7, 1.0), (1e8, 30.0, 0.5)],
        1e-12,
        4e-6,
    ),
    "betainc": (special.betainc, lambda a, b, x: beta_tails(a, b, x)[0], BETA_GRID, 1e-12, 2e-7),
    "betaincc": (special.betaincc, lambda a, b, x: beta_tails(a, b, x)[1], BETA_GRID, 1e-12, 2e-7),
    "log_betainc": (special.log_betainc, lambda a, b, x: log_of(*beta_tails(a, b, x)), BETA_GRID, 1e-12, 2e-7),
    "log_betaincc": (
        special.log_betaincc,
        lambda a, b, x: log_of(*beta_tails(a, b, x)[::-1]),
        BETA_GRID,
        1e-11,
        2e-7,
    ),
}


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", REFERENCES)
def test_values_agree_with_mpmath(name: str, dtype: torch.dtype) -> None:
    function, reference, points, bound64, bound32 = REFERENCES[name]
    columns = [torch.tensor(column, dtype=dtype) for column in zip(*points, strict=True)]
    got = function(*columns)
    assert got.dtype == dtype
    bound, smallest = (bound64, 1e-300) if dtype == F64 else (bound32, 1e-36)
    with mp.workdps(50):
        for i in range(len(points)):
            arguments = [mp.mpf(c[i].item()) for c in columns]
            if name.startswith(("beta", "log_beta")) and arguments[2] == 1:
                continue  # the point rounded onto the edge
            want = reference(*arguments)
            if abs(want) < smallest:
                assert abs(got[i].item()) <= smallest * 1.001
            else:
                assert abs(got[i].item() / want - 1) < bound, (points[i], got[i].item(), want)


@pytest.mark.parametrize(("a", "x"), [p for p in GAMMA_GRID if p[0] > 1e-4])
def test_gammainc_gradients_agree_with_mpmath(a: float, x: float) -> None:
    ta, tx = torch.tensor(a, dtype=F64, requires_grad=True), torch.tensor(x, dtype=F64, requires_grad=True)
    in_a, in_x = torch.autograd.grad(special.gammainc(ta, tx), (ta, tx))
    with mp.workdps(50):
        h = mp.mpf(a) * mp.mpf(10) ** -12
        side, sign = (0, 1) if gamma_tails(a, x)[0] < 0.5 else (1, -1)
        want = sign * (gamma_tails(a + h, x)[side] - gamma_tails(a - h, x)[side]) / (2 * h)
        density = mp.exp((a - 1) * mp.log(mp.mpf(x)) - x - mp.loggamma(mp.mpf(a)))
    assert in_a.item() == pytest.approx(float(want), rel=1e-11, abs=1e-290)
    assert in_x.item() == pytest.approx(float(density), rel=1e-11, abs=1e-290)


@pytest.mark.parametrize(("a", "b", "x"), [p for p in BETA_GRID if p[0] in (0.3, 3.0, 1e4)])
def test_betainc_gradients_agree_with_mpmath(a: float, b: float, x: float) -> None:
    arguments = [torch.tensor(v, dtype=F64, requires_grad=True) for v in (a, b, x)]
    got = torch.autograd.grad(special.betainc(*arguments), arguments)
    with mp.workdps(50):
        side, sign = (0, 1) if b * x <= a * (1 - x) else (1, -1)
        h, k = mp.mpf(a) * mp.mpf(10) ** -12, mp.mpf(b) * mp.mpf(10) ** -12
        in_a = sign * (beta_tails(a + h, b, x)[side] - beta_tails(a - h, b, x)[side]) / (2 * h)
        in_b = sign * (beta_tails(a, b + k, x)[side] - beta_tails(a, b - k, x)[side]) / (2 * k)
        y = 1 - mp.mpf(x)
        in_x = mp.mpf(x) ** (a - 1) * y ** (b - 1) / mp.beta(mp.mpf(a), mp.mpf(b))
    for g, want in zip(got, (in_a, in_b, in_x), strict=True):
        assert g.item() == pytest.approx(float(want), rel=1e-10, abs=1e-290)


@pytest.mark.parametrize("name", ["gammaincinv", "gammainccinv"])
def test_gamma_inverses_solve_their_equation(name: str) -> None:
    a = torch.tensor([1e-2, 0.2, 0.9, 1.3, 2.0, 50.0, 1e3], dtype=F64).unsqueeze(-1)
    p = torch.tensor([1e-200, 1e-30, 1e-6, 0.01, 0.3, 0.5, 0.7, 0.99, 1 - 1e-6], dtype=F64)
    x = getattr(special, name)(a, p)
    back = special.gammainc(a, x) if name == "gammaincinv" else special.gammaincc(a, x)
    density = torch.exp(a * torch.log(x) - x - torch.lgamma(a))  # of log x: the error below is relative to x
    found = x > 1e-290
    assert ((back - p).abs() / density)[found].max() < 1e-11
    assert found.sum() > 50
    assert (x[~found] < 1e-290).all()


@pytest.mark.parametrize("name", ["betaincinv", "betainccinv"])
def test_beta_inverses_solve_their_equation(name: str) -> None:
    a = torch.tensor([1e-2, 0.2, 1.0, 2.0, 50.0, 1e3], dtype=F64).reshape(-1, 1, 1)
    b = torch.tensor([0.2, 1.0, 3.0, 50.0, 1e3], dtype=F64).reshape(-1, 1)
    p = torch.tensor([1e-200, 1e-30, 1e-6, 0.01, 0.3, 0.5, 0.7, 0.99], dtype=F64)
    x = getattr(special, name)(a, b, p)
    back = special.betainc(a, b, x) if name == "betaincinv" else special.betaincc(a, b, x)
    density = torch.exp(a * torch.log(x) + (b - 1) * torch.log1p(-x) - special.log_beta(a, b))
    found = (x > 1e-290) & (x < 1 - 1e-6)
    assert ((back - p).abs() / density)[found].max() < 1e-10
    assert found.sum() > 150


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_normal_quantiles_agree_with_mpmath(dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    with mp.workdps(50):
        for value in (-1e6, -745.0, -100.0, -10.5, -9.9, -2.0, -0.6, -0.49, -1e-3, -1e-8, -1e-20):
            log_p = torch.tensor(value, dtype=dtype)
            x = root = mp.mpf(special.ndtri_exp(log_p).item())
            for _ in range(4):
                root -= (log_ndtr(root) - mp.mpf(log_p.item())) * mp.exp(log_ndtr(root)) / mp.npdf(root)
            assert abs(x / root - 1) < 8 * eps, value
        for value in (1e-300, 1e-30, 1e-8, 0.01, 0.3, 0.7, 0.99):
            p = torch.tensor(value, dtype=dtype)
            if p > 0:
                x = root = mp.mpf(special.ndtri(p).item())
                for _ in range(4):
                    root -= (mp.ncdf(root) - mp.mpf(p.item())) / mp.npdf(root)
                assert abs(x / root - 1) < 8 * eps, value


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_beta_functions_agree_with_mpmath(dtype: torch.dtype) -> None:
    values = torch.tensor([1e-8, 1e-3, 0.5, 1.0, 7.0, 300.0, 1e4, 1e8], dtype=dtype)
    eps = torch.finfo(dtype).eps
    with mp.workdps(50):
        for a in values:
            for b in values:
                x, y = mp.mpf(a.item()), mp.mpf(b.item())
                want = mp.loggamma(x) + mp.loggamma(y) - mp.loggamma(x + y)
                got = special.log_beta(a, b), special.multi_log_beta(torch.stack([a, b]))
                for g in got:
                    assert abs(g.item() - want) < 40 * eps * max(1, abs(want)), (a, b)
        triple = torch.tensor([0.5, 20.0, 1e6], dtype=dtype)
        terms = [mp.mpf(v.item()) for v in triple]
        want = sum(mp.loggamma(v) for v in terms) - mp.loggamma(sum(terms))
        assert abs(special.multi_log_beta(triple).item() / want - 1) < 40 * eps


EDGES: list[tuple[str, tuple[float, ...], float]] = [
    ("gammainc", (2.0, 0.0), 0.0),
    ("gammainc", (2.0, math.inf), 1.0),
    ("gammaincc", (0.5, 0.0), 1.0),
    ("gammaincc", (0.5, math.inf), 0.0),
    ("log_gammainc", (2.0, 0.0), -math.inf),
    ("log_gammaincc", (2.0, math.inf), -math.inf),
    ("gammaincinv", (2.0, 0.0), 0.0),
    ("gammaincinv", (2.0, 1.0), math.inf),
    ("gammainccinv", (2.0, 1.0), 0.0),
    ("gammaincinv", (1e-3, 0.1), 0.0),
    ("betainc", (2.0, 3.0, 0.0), 0.0),
    ("betainc", (2.0, 3.0, 1.0), 1.0),
    ("log_betaincc", (2.0, 3.0, 1.0), -math.inf),
    ("betaincinv", (2.0, 3.0, 0.0), 0.0),
    ("betaincinv", (2.0, 3.0, 1.0), 1.0),
    ("betaincinv", (1e-3, 1.0, 0.1), 0.0),
    ("xlogy", (0.0, 0.0), 0.0),
    ("xlog1py", (0.0, -1.0), 0.0),
    ("deviance", (0.0, 2.0), 2.0),
    ("deviance", (2.0, 2.0), 0.0),
    ("log_ndtr", (60.0,), 0.0),
    ("ndtr", (-60.0,), 0.0),
    ("ndtri_exp", (-math.inf,), -math.inf),
    ("ndtri_exp", (0.0,), math.inf),
]


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize(("name", "point", "want"), EDGES)
def test_edges_are_exact_and_no_derivative_is_nan(
    name: str, point: tuple[float, ...], want: float, dtype: torch.dtype
) -> None:
    arguments = [torch.tensor(v, dtype=dtype, requires_grad=True) for v in point]
    value = getattr(special, name)(*arguments)
    assert value.item() == want
    gradients = torch.autograd.grad(value, arguments, create_graph=True)
    assert not any(g.isnan() for g in gradients)
    for g in gradients:
        if g.requires_grad:
            second = torch.autograd.grad(g, arguments, retain_graph=True, allow_unused=True)
            assert not any(s.isnan() for s in filter(torch.is_tensor, second))


@pytest.mark.parametrize("name", ["gammainc", "log_gammaincc", "gammaincinv"])
def test_outside_the_domain_is_nan(name: str) -> None:
    assert getattr(special, name)(torch.tensor(2.0), torch.tensor(-1.0)).isnan()


def test_xlogy_has_the_right_mixed_derivative_at_zero() -> None:
    x, y = torch.zeros((), requires_grad=True), torch.tensor(4.0, requires_grad=True)
    (in_x,) = torch.autograd.grad(special.xlogy(x, y), x, create_graph=True)
    (mixed,) = torch.autograd.grad(in_x, y)
    assert in_x.item() == pytest.approx(math.log(4.0)) and mixed.item() == pytest.approx(0.25)


def test_logsubexp_of_equal_arguments() -> None:
    a = torch.tensor([1.0, -math.inf], requires_grad=True)
    value = special.logsubexp(a, a.detach())
    assert (value == -math.inf).all()
    (gradient,) = torch.autograd.grad(value.sum(), a)
    assert not gradient.isnan().any()


@pytest.mark.parametrize("complement", [False, True])
def test_gamma_quantiles_of_logs_go_below_the_floats(complement: bool) -> None:
    a = torch.tensor([0.5, 2.0, 1e3, 1e6], dtype=torch.float64).unsqueeze(-1)
    log_p = torch.tensor([-0.1, -1.0, -100.0, -1000.0], dtype=torch.float64)
    x = special.gamma.gammaincinv_of_log(a, log_p, complement=complement)
    back = special.log_gammaincc(a, x) if complement else special.log_gammainc(a, x)
    seen = x > 0  # the root may underflow too
    torch.testing.assert_close(back[seen], log_p.expand(x.shape)[seen], rtol=1e-11, atol=1e-12)
    ends = special.gamma.gammaincinv_of_log(a, torch.tensor([0.0, -torch.inf]), complement=complement)
    assert (ends[:, int(complement)] == torch.inf).all() and (ends[:, int(not complement)] == 0).all()

"""Differences of logarithms and exponentials, and Loader's two functions, without cancellation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..values import gradient_possible

_LOG_2 = math.log(2.0)
_DIM = 1e-30
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

# B_2k / (2k (2k - 1)), k = 1...8: Stirling's series, DLMF 5.11.1.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
_STIRLING_FROM, _STIRLING_FROM_SINGLE = 10.0, 2.5
# B_2k / (2k), k = 1...8: DLMF 5.11.2.
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)


def horner(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The polynomial `c[0] + c[1] x + c[2] x**2 + ...`."""
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0; -inf at 0, nan above.

    Two forms, each on the side of -log 2 where it does not cancel: Maechler (2012), "Accurately Computing
    log(1 - exp(-|a|))", eq. 7.
    """
    near = x > -_LOG_2
    log_of_small = torch.log(-torch.expm1(torch.where(near, x, -_LOG_2)))
    log1p_of_small = torch.log1p(-torch.exp(torch.where(near, -_LOG_2, x)))
    return torch.where(near, log_of_small, log1p_of_small)


def logsubexp(a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) - exp(b)) for a >= b; -inf where they are equal, nan where a < b."""
    equal = a == b  # also covers -inf, -inf, whose difference is nan
    difference = torch.where(equal, -1.0, b - torch.where(equal, 0.0, a))
    return torch.where(equal, -math.inf, a + log1mexp(difference))


def xlogy(x: Tensor, y: Tensor) -> Tensor:
    """x * log(y), and 0 where x = 0 and y is 0 or inf, with finite first and second derivatives there."""
    moot = (x == 0) & ((y == 0) | (y == math.inf))
    return x * torch.log(torch.where(moot, 1.0, y))


def xlog1py(x: Tensor, y: Tensor) -> Tensor:
    """x * log(1 + y), and 0 where x = 0 and y is -1 or inf, with finite first and second derivatives there."""
    moot = (x == 0) & ((y == -1) | (y == math.inf))
    return x * torch.log1p(torch.where(moot, 0.0, y))


def log_share(p: Tensor, q: Tensor) -> Tensor:
    """log p for q = 1 - p, from whichever of the two is small."""
    small = p < 0.5
    return torch.where(small, torch.log(torch.where(small, p, 0.5)), torch.log1p(-torch.where(small, 0.5, q)))


def log1pmx(t: Tensor) -> Tensor:
    """log(1 + t) - t for t > -1, to full relative accuracy near 0.

    For |t| < 0.2 with r = t / (2 + t): log1p(t) = 2 artanh(r), and 2r - t = -r t, so that only the tail of the
    artanh series is added. The plain difference loses all digits as t -> 0.
    """
    small = t.abs() < 0.2
    s = torch.where(small, t, 0.0)
    r = s / (2 + s)
    r2 = r * r
    series = 2 * r * r2 * horner(r2, [1 / (2 * k + 3) for k in range(9)]) - r * s
    u = torch.where(small, 1.0, t)
    return torch.where(small, series, torch.log1p(u) - u)


def log_ratio_excess(x: Tensor, m: Tensor, gap: Tensor) -> Tensor:
    """log(x/m) - gap/m for gap = x - m and x, m > 0, to full relative accuracy both near x = m and near x = 0."""
    ratio = gap / m
    close = ratio.abs() < 0.2
    near = log1pmx(torch.where(close, ratio, 0.0))
    apart = torch.where(close, 2.0, x / m)
    return torch.where(close, near, torch.log(apart) - torch.where(close, 1.0, ratio))


def deviance(x: Tensor, m: Tensor) -> Tensor:
    """x log(x/m) + m - x >= 0, for x >= 0 and m > 0; m where x = 0.

    Half the deviance of a Poisson count x with mean m. Relative accuracy holds also near x = m, where the three terms
    cancel: Loader (2000), "Fast and Accurate Computation of Binomial Probabilities", `bd0`.
    At x = 0 the derivative in x, which is -inf, is returned as 0.
    """
    zero = x == 0
    count = torch.where(zero, m.detach(), x)
    return torch.where(zero, m, -count * log_ratio_excess(m, count, m - count))


def stirling_error(x: Tensor) -> Tensor:
    """lgamma(x+1) - [x log x - x + log(2 pi x)/2] for x > 0: what Stirling's formula leaves out.

    Absolute error below 4 eps everywhere; Loader (2000), section 2. The difference cancels for large x, where the
    series is used.
    """
    large = x >= _STIRLING_FROM
    big = torch.where(large, x, _STIRLING_FROM)
    inverse = 1 / big
    series = inverse * horner(inverse * inverse, _STIRLING)
    low = torch.where(large, 1.0, x)
    log_low = torch.log(low)
    direct = torch.lgamma(low + 1) - (low + 0.5) * log_low + low - _HALF_LOG_2PI
    return torch.where(large, series, direct)


def log_factorial_excess(x: Tensor) -> Tensor:
    """lgamma(x+1) - x log x + x for x > 0, to 2 eps of 1 or of itself: minus the log of a Poisson mass at its mean x.

    The three terms cancel for large x, where it is log(2 pi x)/2 and Stirling's series.
    """
    start = _STIRLING_FROM if x.dtype == torch.float64 else _STIRLING_FROM_SINGLE
    large = x >= start
    big = torch.where(large, x, start)
    inverse = 1 / big
    series = inverse * horner(inverse * inverse, _STIRLING) + 0.5 * torch.log(big) + _HALF_LOG_2PI
    low = torch.where(large, 1.0, x)
    return torch.where(large, series, torch.lgamma(low + 1) - (low * torch.log(low) - low))


def exprel(x: Tensor) -> Tensor:
    """(e^x - 1) / x, and 1 at 0, where its derivatives by the plain quotient would lose all digits.

    Near 0 it is e^(x/2) sinh(h)/h for h = x/2.
    """
    if not gradient_possible(x):
        return (torch.expm1(x) / x).masked_fill_(x == 0, 1.0)
    small = x.abs() < 0.1
    near, far = torch.where(small, 0.5 * x, 0.0), torch.where(small, 1.0, x)
    square = near * near
    series = torch.exp(near) * horner(square, (1.0, 1 / 6, 1 / 120, 1 / 5040, 1 / 362880))
    return torch.where(small, series, torch.expm1(far) / far)


def log1prel(x: Tensor) -> Tensor:
    """log(1 + x) / x for x > -1, and 1 at 0, where its derivatives by the plain quotient would lose all digits.

    Near 0 it is 2 artanh(r)/x for r = x/(2 + x).
    """
    if not gradient_possible(x):
        return (torch.log1p(x) / x).masked_fill_(x.abs() < _DIM, 1.0)  # of subnormal numbers the quotient is rough
    small = x.abs() < 0.05
    near, far = torch.where(small, x, 0.0), torch.where(small, 1.0, x)
    inverse = 1 / (2 + near)
    ratio = near * inverse
    series = 2 * inverse * horner(ratio * ratio, (1.0, 1 / 3, 1 / 5, 1 / 7, 1 / 9))
    return torch.where(small, series, torch.log1p(far) / far)


def digamma_error(x: Tensor) -> Tensor:
    """log x - digamma(x) for x > 0, about 1/(2x): to full relative accuracy where the difference cancels."""
    large = x >= _STIRLING_FROM
    inverse = 1 / torch.where(large, x, _STIRLING_FROM)
    square = inverse * inverse
    series = 0.5 * inverse + square * horner(square, _DIGAMMA)
    low = torch.where(large, 1.0, x)
    return torch.where(large, series, torch.log(low) - torch.digamma(low))


def lgamma_rise(x: Tensor, step: float | Tensor) -> Tensor:
    """lgamma(x + s) - lgamma(x) - s log x for x > 0, s >= 0, about s (s - 1) / (2x); nothing cancels for large x."""
    ratio = step / x
    power = x * log1pmx(ratio) + (step - 0.5) * torch.log1p(ratio)
    return power + (stirling_error(x + step) - stirling_error(x))

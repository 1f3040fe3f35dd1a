"""Masses of counts without cancellation, for counts of any size: Loader's saddle-point form.

Loader (2000), "Fast and Accurate Computation of Binomial Probabilities": a binomial mass is a quotient of Poisson
masses, and the logarithm of each of those is a sum of terms of one sign. In float64; guarded by the law of accuracy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .elementary import horner, log1pmx

__all__ = ["log_binomial", "log_count_share", "poisson_surprise"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_TINY = 1e-290
_FEW = 16.0  # below, log k! is a small number
# B_2k / (2k (2k - 1)): Stirling's series, DLMF 5.11.1, whose next term is below 2e-18 from `_FEW` on
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def poisson_surprise(k: Tensor, n: Tensor, p: Tensor, log_p: Tensor, gap: Tensor) -> Tensor:
    """-log of the Poisson mass at k >= 0 for the mean n p, where gap = k - n p; `log_p` does not matter where k = 0.

    For large k Stirling's formula and k log(k/m) + m - k, whose terms cancel near the mean m: there the gap says what
    is left of them.
    """
    mean = n * p
    few = k < _FEW
    small = torch.where(few, k, 1.0)
    used = torch.where(few & (k > 0), log_p, 0.0) + torch.where(few & (n > 0), n, 1.0).log()
    plain = torch.lgamma(small + 1) - small * used + mean
    many = torch.where(few, _FEW, k)
    ratio = torch.where(few, 0.0, -gap / many)  # m/k - 1
    close = ratio.abs() < 0.2
    # only where p underflows by log p, whose rounding is multiplied by k
    lost = ~close & (p < _TINY)
    log_mean_share = (torch.where(close | lost, many, mean) / many).log()
    log_mean_share = log_mean_share + torch.where(lost, log_p + (torch.where(lost, n, 1.0) / many).log(), 0.0)
    excess = torch.where(close, log1pmx(torch.where(close, ratio, 0.0)), log_mean_share - ratio)
    return torch.where(few, plain, _stirling(many) - many * excess)


def _stirling(k: Tensor) -> Tensor:
    """log k! - k log k + k for large k."""
    inverse = 1 / k
    return 0.5 * k.log() + _HALF_LOG_2PI + inverse * horner(inverse * inverse, _STIRLING)


def _own_surprise(n: Tensor) -> Tensor:
    """`poisson_surprise` at its mean."""
    few = n < _FEW
    small, large = torch.where(few, n, 1.0), torch.where(few, _FEW, n)
    plain = torch.lgamma(small + 1) - small * torch.where(small > 0, small, 1.0).log() + small
    return torch.where(few, plain, _stirling(large))


def log_binomial(k: Tensor, m: Tensor, p: Tensor, q: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """log of G(k+m+1) / (G(k+1) G(m+1)) p^k q^m for k, m >= 0 and q = 1 - p.

    `log_p` and `log_q` may be made up where k, or m, is 0. The gap of k from its mean is k q - m p, to more digits than
    k - n p has where p is small.
    """
    n, gap = k + m, k * q - m * p
    both = poisson_surprise(k, n, p, log_p, gap) + poisson_surprise(m, n, q, log_q, -gap)
    return _own_surprise(n) - both


def log_count_share(a: Tensor, k: Tensor, total: Tensor, count: Tensor) -> Tensor:
    """log of G(k+a) / (k! G(a)) p^k q^a, for a > 0, k >= 0, p = `count`/(`count` + `total`) and q = 1 - p.

    A mass of a negative binomial law. Products of these over k and a with the sums `count` and `total` do not depend on
    p, which is chosen so that each is near its mode, and carries no gradient.
    """
    count, total = count.detach().clamp(min=1), total.detach()
    both = count + total
    p, q = count / both, total / both
    mass = log_binomial(k, a, p, q, -torch.log1p(total / count), -torch.log1p(count / total))
    return mass - torch.log1p(k / a)

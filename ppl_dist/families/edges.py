"""Logarithms that keep their accuracy and their derivatives at the edges of a support."""

from __future__ import annotations

import torch
from torch import Tensor

from ..special import log1mexp
from ..values import extremes, gradient_possible

__all__ = ["NEGLIGIBLE", "log_rise", "product", "ratio", "regular", "xlog1py", "xlogy"]

NEGLIGIBLE = -40.0  # exp of it is below the rounding of 1


def regular(x: Tensor) -> bool:
    """Whether a look shows that every entry is positive and finite, and none has lost digits to underflow."""
    seen = extremes(x)
    return seen is not None and seen[0] >= torch.finfo(x.dtype).tiny and seen[1] < torch.inf


def product(x: Tensor, y: Tensor) -> tuple[Tensor, torch.dtype]:
    """x * y, in double precision unless single is seen to hold it; and the dtype that the answer is to have."""
    value = x * y
    wide = value.dtype != torch.float64 and not regular(value)
    return x.to(torch.float64) * y.to(torch.float64) if wide else value, value.dtype


def ratio(x: Tensor, y: Tensor) -> tuple[Tensor, torch.dtype]:
    """x / y in the same way."""
    value = x / y
    wide = value.dtype != torch.float64 and not regular(value)
    return x.to(torch.float64) / y.to(torch.float64) if wide else value, value.dtype


def xlogy(c: Tensor, x: Tensor) -> Tensor:
    """c * log(x) for x >= 0, and 0 where both are 0, with zero derivatives there.

    The library's function has the value, but its derivative in x is 0/0 at that point.
    """
    seen = extremes(x)
    if seen is not None and seen[0] > 0 and seen[1] < torch.inf:
        return c * x.log()
    if not gradient_possible(c, x):
        return torch.xlogy(c, x)
    return torch.xlogy(c, x + (torch.hypot(c, x) == 0))


def xlog1py(c: Tensor, x: Tensor) -> Tensor:
    """c * log(1 - x) for 0 <= x <= 1, and 0 where c = 0 and x = 1, with zero derivatives there."""
    seen = extremes(x)
    if seen is not None and seen[1] < 1:
        return c * (-x).log1p()
    product: Tensor = torch.special.xlog1py(c, (torch.hypot(c, x - 1) == 0).to(x.dtype) - x)
    return product


def log_rise(log_t: Tensor, t: Tensor) -> Tensor:
    """log(1 - exp(-t)) for t = exp(log_t) >= 0, also where t underflows: there it is log t."""
    small = log_t < NEGLIGIBLE
    return torch.where(small, log_t, log1mexp(-torch.where(small, 1.0, t)))

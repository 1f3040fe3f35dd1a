"""Divergences among Kumaraswamy and beta laws: closed but for one mean, found by double exponential quadrature.

Takahasi and Mori (1974), "Double exponential formulas for numerical integration".
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..families.beta import Beta
from ..families.edges import NEGLIGIBLE, log_rise
from ..families.extreme import EULER
from ..families.kumaraswamy import Kumaraswamy
from ..special import log1mexp, log_beta
from ..special.elementary import log_ratio_excess
from .registry import register_kl

__all__: list[str] = []

NODES, STEP = 160, 0.05


def _half_line(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes e > 0, dense at 0 on a log scale, and the weights of an integral over e."""
    t = STEP * torch.arange(-NODES // 2, NODES // 2 + 10, dtype=torch.float64, device=like.device).to(like.dtype)
    e = (t - (-t).exp()).exp()
    return e, STEP * e * (1 + (-t).exp())


def _log_rest(log_x: Tensor, log_fall: Tensor, c: Tensor) -> Tensor:
    """log(1 - x**c), from log x and log(-log x)."""
    return log_rise(c.log() + log_fall, -c * log_x)


def _mean_log_rest(b: Tensor, r: Tensor) -> Tensor:
    """E[log(1 - y**r)] for y of Beta(1, b), over the standard exponential e = -b log(1 - y)."""
    e, weight = _half_line(b)
    fall = e / b.unsqueeze(-1)  # -log(1 - y)
    far = fall > -NEGLIGIBLE
    log_y = log1mexp(-torch.where(far, 1.0, fall))
    # where y rounds to 1 its log is -exp(-fall)
    log_y = torch.where(far, -(-fall).exp(), log_y)
    log_fall = torch.where(far, -fall, (-torch.where(far, -1.0, log_y)).log())
    return (weight * (-e).exp() * _log_rest(log_y, log_fall, r.unsqueeze(-1))).sum(-1)


def _below_mode(a: Tensor, b: Tensor, c: Tensor, *, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Over logits z below the mode of Beta(a, b) in z: the mass, and the integral of log(1 - x**c), up to a factor.

    Mirrored, x is 1 - sigmoid(z). The density falls from the mode on as exp(a v - (a+b) log(1 + m (e**v - 1))) at a
    distance v, for the mean m: near it in Loader's form, without cancellation at large a and b.
    """
    a, b, c = (value.unsqueeze(-1) for value in (a, b, c))
    n = a + b
    share, rest = a / n, b / n
    e, weight = _half_line(a)
    width = a.reciprocal() + (n / (a * b)).sqrt()
    v = -width * e
    grown = rest + share * v.exp()
    step = share * rest * v.expm1() / grown  # x - m
    x, y = share * v.exp() / grown, rest / grown
    close = v > -0.5
    loader = a * log_ratio_excess(torch.where(close, x, share), share, torch.where(close, step, 0.0))
    loader = loader + b * log_ratio_excess(torch.where(close, y, rest), rest, torch.where(close, -step, 0.0))
    density = torch.where(close, loader, a * v - n * grown.log()).exp() * weight * width
    z = (a / b).log() + v
    z = -z if mirrored else z
    log_x = logsigmoid(z)
    high = z > -NEGLIGIBLE
    log_fall = torch.where(high, -z, (-torch.where(high, -1.0, log_x)).log())
    return density.sum(-1), (density * _log_rest(log_x, log_fall, c)).sum(-1)


def _beta_mean_log_rest(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """E[log(1 - x**c)] for x of Beta(a, b)."""
    given = torch.broadcast_tensors(a.to(torch.float64), b.to(torch.float64), c.to(torch.float64))  # type: ignore[no-untyped-call]  # torch's gap
    wide_a, wide_b, wide_c = given
    below, above = (
        _below_mode(wide_a, wide_b, wide_c, mirrored=False),
        _below_mode(wide_b, wide_a, wide_c, mirrored=True),
    )
    return ((below[1] + above[1]) / (below[0] + above[0])).to(a.dtype)


def _mean_log(p: Kumaraswamy) -> Tensor:
    """E[log y] for y = x**a, of Beta(1, b)."""
    return -(torch.digamma(p.concentration0 + 1) + EULER)


@register_kl(Kumaraswamy, Kumaraswamy)
def _kumaraswamy_kumaraswamy(p: Kumaraswamy, q: Kumaraswamy) -> Tensor:
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    r = c / a
    mean_log = _mean_log_rest(b, r)
    return (a * b / (c * d)).log() + (1 - r) * _mean_log(p) - (b - 1) / b - (d - 1) * mean_log


@register_kl(Kumaraswamy, Beta)
def _kumaraswamy_beta(p: Kumaraswamy, q: Beta) -> Tensor:
    r, c, d = p.concentration1.reciprocal(), q.concentration1, q.concentration0
    mean_log_rest = _mean_log_rest(p.concentration0, r)
    return log_beta(c, d) - (c - 1) * r * _mean_log(p) - (d - 1) * mean_log_rest - p.entropy()


@register_kl(Beta, Kumaraswamy)
def _beta_kumaraswamy(p: Beta, q: Kumaraswamy) -> Tensor:
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    mean_log = torch.digamma(a) - torch.digamma(a + b)
    return -(c * d).log() - (c - 1) * mean_log - (d - 1) * _beta_mean_log_rest(a, b, c) - p.entropy()

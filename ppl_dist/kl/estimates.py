"""Divergences without a closed form: a Monte Carlo estimate with its standard error, and quadrature with a bound."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..distribution import Distribution
from ..samplers import draw
from ..shapes import broadcast_shapes
from ..validation import validating
from .discrete import anywhere

__all__ = ["KLEstimate", "by_monte_carlo", "by_quadrature"]

CHUNK = 2**22  # numbers drawn at a time: 32 MB in double precision
LONGEST = 2**22  # values of a count that are worth adding up
STEP, NODES, MIDDLE = 0.05, 160, 75
SAFETY = 2.0  # the spread of four grids tells the size of the error, not a bound of it
GRIDS = 4
TINY = 1e-18


class KLEstimate(NamedTuple):
    """An estimate of KL(p || q) in nats, and how far off it may be; both of shape B."""

    value: Tensor
    error: Tensor


def _log_ratio(p: Distribution, q: Distribution, x: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x), and log p(x) - log q(x): inf where only q is without density."""
    with validating(False):
        log_p = p.log_prob(x)
    return log_p, log_p - anywhere(q, x)


def by_monte_carlo(p: Any, q: Any, num_samples: int, generator: torch.Generator | None) -> KLEstimate:
    """The mean of log p(x) - log q(x) over draws of p, with its standard error."""
    if num_samples < 2:
        raise ValueError(f"kl_divergence: num_samples must be at least 2, got {num_samples}.")
    batch = broadcast_shapes([p.batch_shape, q.batch_shape])
    wide = p.expand(batch)
    each = max(1, min(num_samples, CHUNK // max(1, wide.shape().numel())))
    value = mean = squares = torch.zeros(())
    done = 0
    while done < num_samples:
        n = min(each, num_samples - done)
        x = draw(wide, torch.Size([n]), generator)
        log_p, ratio = _log_ratio(wide, q, x)
        if not wide.has_rsample:  # the score-function term: one in value, and the score in derivative
            ratio = ratio * (log_p - log_p.detach()).exp()
        value = value + ratio.sum(0) / num_samples
        mean, squares = _merged(mean, squares, done, ratio.detach(), n)
        done += n
    error = (squares / (num_samples - 1) / num_samples).sqrt()
    return KLEstimate(value, torch.where(value.isinf(), torch.inf, error).detach())


def _merged(mean: Tensor, squares: Tensor, done: int, values: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Mean and sum of squared deviations with n more values. Chan, Golub and LeVeque (1979), "Updating formulae"."""
    fresh = values.mean(0)
    gap = fresh - mean
    squares = squares + (values - fresh).square().sum(0) + gap.square() * (done * n / (done + n))
    return mean + gap * (n / (done + n)), squares


def by_quadrature(p: Any, q: Any) -> KLEstimate:
    """The integral, or the sum, of p (log p - log q), for distributions of single numbers."""
    if p.event_dim or q.event_dim:
        raise NotImplementedError(
            f"kl_divergence: quadrature is for distributions of single numbers, got event shapes "
            f'{tuple(p.event_shape)} and {tuple(q.event_shape)}. Try method="monte_carlo".'
        )
    wide = p.expand(broadcast_shapes([p.batch_shape, q.batch_shape]))
    try:
        return _summed(wide, q) if p.is_discrete else _integrated(wide, q)
    except NotImplementedError as error:
        error.add_note('kl_divergence: quadrature goes through the quantiles of p. Try method="monte_carlo".')
        raise


def _integrated(p: Any, q: Any) -> KLEstimate:
    """Over both halves of the quantiles, u = exp(-e)/2 from either end, by the double exponential rule for e > 0.

    Takahasi and Mori (1974), "Double exponential formulas for numerical integration". The error is the worst that one
    of the four grids of every fourth node would have made (where the density has a kink, each meets it elsewhere),
    what the last node still brings, and what lies where a quantile is not representable.
    """
    like = _like(p)
    batch = (1,) * len(p.batch_shape)
    t = STEP * (torch.arange(NODES, dtype=torch.float64, device=like.device) - MIDDLE).reshape(-1, *batch)
    e = (t - (-t).exp()).exp()
    weight = 0.5 * STEP * e * (1 + (-t).exp()) * (-e).exp()
    level = (0.5 * (-e).exp()).to(like.dtype)
    total = error = torch.zeros(p.batch_shape, dtype=torch.float64, device=like.device)
    for quantile in (p.icdf, p.isf):
        x = quantile(level.expand(-1, *p.batch_shape))
        log_p, ratio = _log_ratio(p, q, x)
        # so near an end a quantile may have been rounded to it, where q may have no density
        near_end = level < 16 * torch.finfo(like.dtype).eps
        known = log_p.isfinite() & (ratio.isfinite() | ~near_end)
        ratio = torch.where(known, ratio, 0.0)
        grids = (weight * ratio).reshape(-1, GRIDS, *p.batch_shape).sum(0)
        half = grids.sum(0)
        unknown = torch.where(known, 0.0, weight).sum(0) * ratio.abs().amax(0)
        total = total + half
        error = error + (GRIDS * grids - half).abs().amax(0) + unknown + (weight[-1] * ratio[-1]).abs() / STEP
    return _finished(total, SAFETY * error, like.dtype)


def _like(d: Any) -> Tensor:
    """A tensor with the dtype and device of a distribution's parameters."""
    while True:
        state = vars(d)
        found = next((v for v in state.values() if isinstance(v, Tensor) and v.is_floating_point()), None)
        if found is not None:
            return found
        if "base_dist" not in state:
            return torch.empty(())
        d = state["base_dist"]


def _summed(p: Any, q: Any) -> KLEstimate:
    """Over all values, or from one far quantile to the other; the error is what the last decades of mass bring."""
    mean = p.mean
    if p.has_enumerate_support:
        values = p.enumerate_support()
        total = _weighted(*_log_ratio(p, q, values)).sum(0)
        return _finished(total, torch.zeros_like(total), mean.dtype)
    level = torch.full(p.batch_shape, TINY, dtype=mean.dtype, device=mean.device)
    start, end = p.icdf(level), p.isf(level)
    length = int((end - start).max().item()) + 1 if mean.numel() else 0
    if length > LONGEST:
        raise ValueError(
            f"kl_divergence: {type(p).__name__} is spread over {length} values, too many to add up. "
            f'Try method="monte_carlo".'
        )
    steps = torch.arange(length, dtype=mean.dtype, device=mean.device).reshape((-1,) + (1,) * mean.dim())
    values = start + steps
    log_p, ratio = _log_ratio(p, q, values)
    terms = _weighted(log_p, ratio)
    rare = (values < p.icdf(level * 1e3)) | (values > p.isf(level * 1e3))
    return _finished(terms.sum(0), torch.where(rare, terms, 0.0).abs().sum(0), mean.dtype)


def _weighted(log_p: Tensor, ratio: Tensor) -> Tensor:
    occurs = log_p > -torch.inf
    return torch.where(occurs, log_p, 0.0).exp() * torch.where(occurs, ratio, 0.0)


def _finished(value: Tensor, error: Tensor, dtype: torch.dtype) -> KLEstimate:
    rounding = 256 * torch.finfo(dtype).eps * (1 + value.abs())
    return KLEstimate(value.to(dtype), torch.where(value.isinf(), torch.inf, error + rounding).detach().to(dtype))

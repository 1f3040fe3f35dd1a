"""Raw draws of a complete shape, beside a tensor that gives dtype and device."""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .values import gradient_possible, highest, lowest, plainly_eager

__all__ = [
    "SELDOM_TINY",
    "binomial",
    "draw",
    "draw_from",
    "exp_inside",
    "gamma_slope",
    "log_standard_exponential",
    "log_standard_gamma",
    "log_uniform",
    "moved_inside",
    "poisson",
    "scaled_gamma",
    "standard_exponential",
    "standard_normal",
    "standard_uniform",
    "stretched",
    "takes_generator",
    "unit_uniform",
]

SELDOM_TINY = 0.3  # from this concentration on, fewer than 1e-11 of gamma draws are below the floats
SMALL_LOG = -20.0
FEW_TRIALS, VAST = 1e4, 1e10
_global_state = threading.RLock()  # held while the global random state is borrowed and given back


def draw(distribution: Any, sample_shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """A draw of any distribution, ours, a user's or torch's own; pathwise where it can be."""
    sampler = distribution.rsample if distribution.has_rsample else distribution.sample
    return draw_from(sampler, generator, sample_shape)


def draw_from(sampler: Callable[..., Tensor], generator: torch.Generator | None, *args: Any) -> Tensor:
    """A draw by a bound `sample` or `rsample`; one that takes no generator is lent the global random state.

    People's own classes and torch's know the global state only: it is seeded from `generator` and given back.
    """
    if generator is None:
        return sampler(*args)
    if takes_generator(getattr(sampler, "__func__", sampler)):
        return sampler(*args, generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch has no types there
    with _global_state, torch.random.fork_rng(devices=range(torch.cuda.device_count()) if on_gpu else []):
        # torch.manual_seed would also queue a seed for a CUDA that is not initialised yet
        (torch.manual_seed if on_gpu else torch.default_generator.manual_seed)(seed)
        return sampler(*args)


@functools.cache
def takes_generator(sampler: Callable[..., Any]) -> bool:
    """Whether a sampling function has a `generator` argument."""
    return "generator" in inspect.signature(sampler).parameters


def standard_normal(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws of shape `shape`."""
    if generator is None and like.shape == shape:
        return torch.randn_like(like)
    if like.is_cpu and like.dtype is torch.get_default_dtype():  # half the time of the call that names both
        return torch.randn(shape, generator=generator)
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


def unit_uniform(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform draws in [0, 1), of shape `shape`; the caller may overwrite them."""
    if generator is None and like.shape == shape:
        return torch.rand_like(like)
    return torch.rand(shape, dtype=like.dtype, device=like.device, generator=generator)


def standard_uniform(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform draws in [tiny, 1): zero is moved to the smallest normal number, so that logs stay finite."""
    return unit_uniform(shape, like, generator).clamp(min=torch.finfo(like.dtype).tiny)


def log_uniform(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """The logs of uniform draws in (0, 1], all finite, of shape `shape`; the caller may overwrite them.

    Their negatives are exponential draws, in a third of the time of the library's kernel for those.
    """
    return unit_uniform(shape, like, generator).neg_().log1p_()


def standard_exponential(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Exponential draws with rate one, of shape `shape`, never 0 and fine near it, as a race between them needs."""
    # the functional form: `vmap` refuses to fill a tensor in place with draws that differ
    draws: Tensor = torch.ops.aten.exponential(
        torch.empty(shape, dtype=like.dtype, device=like.device), generator=generator
    )
    return draws


def log_standard_exponential(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """The logs of exponential draws with rate one; by uniform draws, whose kernel is vectorised."""
    return standard_uniform(shape, like, generator).log_().neg_().log_()


def log_standard_gamma(concentration: Tensor, generator: torch.Generator | None, below: float = math.inf) -> Tensor:
    """The log of gamma draws with rate one, finite where the draw itself underflows.

    log G(a) = log G(a + 1) + log(U) / a: Marsaglia and Tsang (2000), "A simple method for generating gamma
    variables", section 6; for all a, or for those `below` a bound. Drawn directly, most of the draws are zero for
    concentrations below 1e-2. Its path is that of the quantile, not that of the two noises.
    """
    a = concentration.detach()
    raised, log_power = _raised_gamma(a, generator, below)
    log_g = raised.log() + log_power
    if not gradient_possible(concentration):
        return log_g
    return log_g + (concentration - a) * gamma_slope(a, log_g)


def _raised_gamma(a: Tensor, generator: torch.Generator | None, below: float) -> tuple[Tensor, Tensor]:
    """Factors of gamma draws: G(a + 1) and the log of U^(1/a), for a `below` the bound; G(a) and 0 for others.

    The gamma draws come first: where a look shows that no concentration is small, a caller may draw them alone, and
    draws the same numbers as a graph, which cannot look.
    """
    if below == math.inf:
        raised = torch._standard_gamma(a + 1, generator=generator)
        return raised, log_uniform(a.shape, a, generator) / a
    small = a < below
    raised = torch._standard_gamma(torch.where(small, a + 1, a), generator=generator)
    return raised, torch.where(small, log_uniform(a.shape, a, generator) / a, 0.0)


def scaled_gamma(
    concentration: Tensor, rate: Tensor, generator: torch.Generator | None, *, inverse: bool = False
) -> Tensor:
    """Draws G(a)/rate, or rate/G(a) where `inverse`, for concentrations of the full shape, however small.

    As in `log_standard_gamma`, but as a product, which keeps its digits: the root of U^(1/a) is a factor twice, since
    U^(1/a) may be too small for a float where the draw is not. What is beyond the floats is moved to their ends.
    """
    a, b, facts = concentration.detach(), rate.detach(), torch.finfo(rate.dtype)
    raised, log_power = _raised_gamma(a, generator, SELDOM_TINY)
    root = (0.5 * log_power).exp().clamp(min=facts.tiny)
    x = (b / raised / root / root if inverse else raised / b * root * root).clamp(facts.tiny, facts.max)
    if not gradient_possible(concentration, rate):
        return x
    change = (concentration - a) * gamma_slope(a, raised.log() + log_power)
    return x * ((rate / b) * (1 - change) if inverse else (b / rate) * (1 + change))


def gamma_slope(a: Tensor, log_g: Tensor) -> Tensor:
    """The derivative of log g in `a`, for a draw g of Gamma(a, 1) that stays the quantile of one probability p.

    For small g, p = g^a / Gamma(a + 1), which is solved for log g; for large a, g is a + sqrt(a) z with a fixed z. The
    library's own derivative, good to 1e-3, takes g itself (`test_draws_move_along_their_quantile`).
    """
    wide, y = a.to(torch.float64), log_g.to(torch.float64)
    if lowest(y) > SMALL_LOG and highest(wide) < VAST:
        g = y.exp()
        return (torch._standard_gamma_grad(wide, g) / g).to(a.dtype)
    g, vast = y.clamp(min=SMALL_LOG).exp(), wide >= VAST
    middle = torch._standard_gamma_grad(torch.where(vast, 1.0, wide), torch.where(vast, 1.0, g)) / g
    slope = torch.where(y > SMALL_LOG, middle, (torch.digamma(wide + 1) - y) / wide)
    return torch.where(vast, 0.5 / g + 0.5 / wide, slope).to(a.dtype)


def binomial(total_count: Tensor, probs: Tensor, generator: torch.Generator | None) -> Tensor:
    """Binomial draws for counts and chances of one shape; in double precision where the counts are large.

    In single precision the variance of the library's draws from 1e8 trials is a fifth too large (`test_counts`).
    """
    if probs.dtype is not torch.float32 or highest(total_count) <= FEW_TRIALS:
        return torch.binomial(total_count, probs, generator=generator)
    return torch.binomial(total_count.double(), probs.double(), generator=generator).to(probs.dtype)


def poisson(rate: Tensor, generator: torch.Generator | None) -> Tensor:
    """Poisson draws of each rate.

    The library accepts or rejects by differences of terms as large as r log r, which from 1e13 on have no digit left.
    Vast rates r have r + sqrt(r) z + (z^2 - 1) / 6 instead, for normal z, whose quantiles are right to 1 / sqrt(r):
    Cornish and Fisher (1937), "Moments and cumulants in the specification of distributions" (`test_counts`).
    """
    if highest(rate) <= VAST:
        return torch.poisson(rate, generator=generator)
    near = torch.poisson(rate.clamp(max=VAST), generator=generator)  # first, as a graph draws what is drawn above
    vast, wide = rate > VAST, rate.to(torch.float64)
    z = standard_normal(rate.shape, wide, generator)
    far = (wide + wide.sqrt() * z + (z.square() - 1) / 6).round()
    return torch.where(vast, far.to(rate.dtype), near)


def moved_inside(draws: Tensor, low: Any, high: Any = None) -> Tensor:
    """Draws that rounding put on the edge of the support, moved to `low` or `high`; their gradient stays whole.

    `draws` are the caller's to give away: without a gradient they may be overwritten. The bounds are numbers, or
    tensors without gradient, or None.
    """
    if not draws.requires_grad:
        return draws.clamp_(low, high) if plainly_eager() else draws.clamp(low, high)
    fixed = draws.detach()
    return fixed.clamp(low, high) + (draws - fixed)  # the difference is exactly 0


def exp_inside(log_draws: Tensor, like: Tensor) -> Tensor:
    """Draws of the dtype of `like`, given their logs; at the ends of its floats where they have none.

    The gradient stays whole; `log_draws` are the caller's to give away.
    """
    facts = torch.finfo(like.dtype)
    held = moved_inside(log_draws, math.log(facts.tiny) * (1 + 2 * facts.eps), _log_max(facts))
    return moved_inside(held.exp().to(like.dtype), facts.tiny)


def stretched(gap: Tensor, log_factor: Tensor) -> Tensor:
    """`gap` times e^log_factor, which may overflow alone; moved to the ends of the floats where the product does."""
    facts = torch.finfo(gap.dtype)
    log_size = gap.abs().clamp(min=facts.tiny).log() + log_factor
    return moved_inside(log_size, None, _log_max(facts)).exp().copysign(gap)


def _log_max(facts: torch.finfo) -> float:
    """The log of the largest float, less the rounding after which its exponential would be infinite."""
    return math.log(facts.max) * (1 - 2 * facts.eps)

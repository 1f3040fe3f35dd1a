"""Raw draws of a complete shape, beside a tensor that gives dtype and device."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .values import plainly_eager

__all__ = [
    "draw",
    "draw_from",
    "log_standard_exponential",
    "log_standard_gamma",
    "log_uniform",
    "moved_inside",
    "standard_exponential",
    "standard_normal",
    "standard_uniform",
    "takes_generator",
    "unit_uniform",
]

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


def log_standard_gamma(concentration: Tensor, generator: torch.Generator | None) -> Tensor:
    """The log of gamma draws with rate one, finite where the draw itself underflows.

    log G(a) = log G(a + 1) + log(U) / a: Marsaglia and Tsang (2000), "A simple method for generating gamma
    variables", section 6. Drawn directly, most of the draws are zero for concentrations below 1e-2.
    """
    log_raised = torch._standard_gamma(concentration + 1, generator=generator).log()  # its backward reads the draw
    log_u = log_uniform(concentration.shape, concentration, generator)
    add = log_raised.addcdiv_ if plainly_eager() else log_raised.addcdiv
    return add(log_u, concentration)


def moved_inside(draws: Tensor, low: Any, high: Any = None) -> Tensor:
    """Draws that rounding put on the edge of the support, moved to `low` or `high`; their gradient stays whole.

    `draws` are the caller's to give away: without a gradient they may be overwritten. The bounds are numbers, or
    tensors without gradient, or None.
    """
    if not draws.requires_grad:
        return draws.clamp_(low, high) if plainly_eager() else draws.clamp(low, high)
    fixed = draws.detach()
    return draws + (fixed.clamp(low, high) - fixed)

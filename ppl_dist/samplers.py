"""Raw draws of a complete shape, beside a tensor that gives dtype and device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["log_standard_gamma", "moved_inside", "standard_exponential", "standard_normal", "standard_uniform"]


def standard_normal(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws of shape `shape`."""
    if generator is None and like.shape == shape:
        return torch.randn_like(like)
    if like.is_cpu and like.dtype is torch.get_default_dtype():  # half the time of the call that names both
        return torch.randn(shape, generator=generator)
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


def standard_uniform(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform draws in [tiny, 1): zero is moved to the smallest normal number, so that logs stay finite."""
    draws = torch.rand(shape, dtype=like.dtype, device=like.device, generator=generator)
    return draws.clamp(min=torch.finfo(like.dtype).tiny)


def standard_exponential(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Exponential draws with rate one, of shape `shape`."""
    # the functional form: `vmap` refuses to fill a tensor in place with draws that differ
    draws: Tensor = torch.ops.aten.exponential(
        torch.empty(shape, dtype=like.dtype, device=like.device), generator=generator
    )
    return draws


def log_standard_gamma(concentration: Tensor, generator: torch.Generator | None) -> Tensor:
    """The log of gamma draws with rate one, finite where the draw itself underflows.

    log G(a) = log G(a + 1) + log(U) / a: Marsaglia and Tsang (2000), "A simple method for generating gamma
    variables", section 6. Drawn directly, most of the draws are zero for concentrations below 1e-2.
    """
    raised = torch._standard_gamma(concentration + 1, generator=generator)
    return raised.log() - standard_exponential(concentration.shape, concentration, generator) / concentration


def moved_inside(draws: Tensor, low: float, high: float | None = None) -> Tensor:
    """Draws that rounding put on the edge of the support, moved to `low` or `high`; their gradient stays whole."""
    if not draws.requires_grad:
        return draws.clamp(low, high)
    fixed = draws.detach()
    return draws + (fixed.clamp(low, high) - fixed)

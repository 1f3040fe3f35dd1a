"""The few switches there are."""

from __future__ import annotations

import random
import sys
from contextlib import AbstractContextManager

import torch

import ppl_dist
from ppl_dist.validation import validating

__all__ = ["enable_validation", "set_rng_seed", "validation_enabled"]


def set_rng_seed(rng_seed: int) -> None:
    """Seed the global random states of torch, of Python, and of numpy where a program uses it.

    Args:
        rng_seed: the seed; for draws that leave the global state alone, see `handlers.seed`.
    """
    torch.manual_seed(rng_seed)
    random.seed(rng_seed)
    numpy = sys.modules.get("numpy")  # this layer needs torch alone
    if numpy is not None:
        numpy.random.seed(rng_seed % 2**32)


def enable_validation(is_validate: bool = True) -> None:
    """Switch the value checks of distributions on or off, for the whole process.

    The checks of site names and shapes cost next to nothing and stay on.

    Args:
        is_validate: whether to check.
    """
    ppl_dist.Distribution.set_default_validate_args(is_validate)


def validation_enabled(is_validate: bool = True) -> AbstractContextManager[None]:
    """Switch the value checks of distributions on or off inside a `with` block, for this context alone.

    Args:
        is_validate: whether to check.
    """
    return validating(is_validate)

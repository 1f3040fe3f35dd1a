"""The switches of `settings`: seeds and validation."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import ppl_dist as dist
from ppl import enable_validation, sample, set_rng_seed, validation_enabled


def test_set_rng_seed_reaches_torch_numpy_and_python() -> None:
    def draws() -> tuple[float, float, float]:
        set_rng_seed(12)
        return sample("x", dist.Normal(0.0, 1.0)).item(), float(np.random.rand()), random.random()

    assert draws() == draws()
    set_rng_seed(2**40)  # more than numpy takes
    assert torch.initial_seed() == 2**40


def test_validation_switches() -> None:
    with validation_enabled(False):
        dist.Normal(0.0, -1.0)
        with validation_enabled(), pytest.raises(ValueError, match="scale"):
            dist.Normal(0.0, -1.0)
    try:
        enable_validation(False)
        dist.Normal(0.0, -1.0)
    finally:
        enable_validation()
    with pytest.raises(ValueError, match="scale"):
        dist.Normal(0.0, -1.0)

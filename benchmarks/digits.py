"""Binarised images of handwritten digits: 1,797 of 8 by 8 pixels, which scikit-learn carries with it."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from .report import NOT_INSTALLED
from .timing import installed

__all__ = ["MISSING", "binary_digits"]

MISSING = f"scikit-learn {NOT_INSTALLED}"


@functools.cache
def binary_digits() -> Tensor | None:
    """The images as zeros and ones, shape (1797, 64), float32: ink where it is at least half as dark as it can be.

    None where scikit-learn is missing.
    """
    datasets = installed("sklearn.datasets")
    if datasets is None:
        return None
    images = datasets.load_digits().data
    return (torch.as_tensor(images) >= 8).float()

"""Kullback-Leibler divergences in closed form."""

from . import (  # noqa: F401 (importing them registers their rules)
    continuous,
    counts,
    discrete,
    moments,
    normal,
    positive,
    relaxed,
    structural,
)
from .registry import kl_divergence, register_infinite, register_kl

__all__ = ["kl_divergence", "register_infinite", "register_kl"]

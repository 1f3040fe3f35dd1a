"""Kullback-Leibler divergences in closed form."""

from . import continuous, counts, discrete, moments, normal, positive, structural  # noqa: F401 (importing them registers their rules)
from .registry import kl_divergence, register_infinite, register_kl

__all__ = ["kl_divergence", "register_infinite", "register_kl"]

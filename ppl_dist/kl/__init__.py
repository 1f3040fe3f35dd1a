"""Kullback-Leibler divergences: closed forms by the families of both sides, and estimates for the others."""

from . import (  # noqa: F401 (importing them registers their rules)
    continuous,
    counts,
    discrete,
    line,
    matrices,
    moments,
    multivariate,
    normal,
    positive,
    proportions,
    relaxed,
    structural,
    truncated,
    vectors,
)
from .estimates import KLEstimate
from .registry import kl_divergence, register_infinite, register_kl

__all__ = ["KLEstimate", "kl_divergence", "register_infinite", "register_kl"]

"""Distributions made of distributions."""

from .expanded import ExpandedDistribution
from .independent import Independent
from .masked import MaskedDistribution
from .transformed import TransformedDistribution

__all__ = ["ExpandedDistribution", "Independent", "MaskedDistribution", "TransformedDistribution"]

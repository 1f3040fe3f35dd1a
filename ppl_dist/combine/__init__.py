"""Distributions made of distributions."""

from .expanded import ExpandedDistribution
from .independent import Independent
from .inflated import ZeroInflated
from .masked import MaskedDistribution
from .mixture import MixtureGeneral, MixtureSameFamily
from .transformed import TransformedDistribution

__all__ = [
    "ExpandedDistribution",
    "Independent",
    "MaskedDistribution",
    "MixtureGeneral",
    "MixtureSameFamily",
    "TransformedDistribution",
    "ZeroInflated",
]

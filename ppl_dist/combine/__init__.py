"""Distributions made of distributions."""

from .censored import Censored
from .empirical import Empirical
from .expanded import ExpandedDistribution
from .improper import ImproperUniform
from .independent import Independent
from .masked import MaskedDistribution
from .transformed import TransformedDistribution
from .truncated import Truncated
from .unit import Unit

__all__ = [
    "Censored",
    "Empirical",
    "ExpandedDistribution",
    "ImproperUniform",
    "Independent",
    "MaskedDistribution",
    "TransformedDistribution",
    "Truncated",
    "Unit",
]

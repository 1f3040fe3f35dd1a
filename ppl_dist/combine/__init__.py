"""Distributions made of distributions."""

from .censored import Censored
from .empirical import Empirical
from .expanded import ExpandedDistribution
from .improper import ImproperUniform
from .independent import Independent
from .inflated import ZeroInflated
from .masked import MaskedDistribution
from .mixture import MixtureGeneral, MixtureSameFamily
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
    "MixtureGeneral",
    "MixtureSameFamily",
    "TransformedDistribution",
    "Truncated",
    "Unit",
    "ZeroInflated",
]

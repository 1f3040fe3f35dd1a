"""Probability distributions on torch: families, constraints, transforms and divergences.

A family is a declaration of its parameters plus its mathematics; everything structural is derived.
`import ppl_dist as D` stands where `import torch.distributions as D` stood.
"""

from . import constraint_registry, constraints, families, kl, transforms
from .combine import ExpandedDistribution, Independent, MaskedDistribution, TransformedDistribution
from .constraint_registry import biject_to, transform_to
from .distribution import Distribution
from .families import (
    Bernoulli,
    Beta,
    Categorical,
    Cauchy,
    Delta,
    Dirichlet,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    Uniform,
)
from .kl import kl_divergence, register_kl
from .param import Param, param, static
from .validation import validating, validation_enabled_now

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Cauchy",
    "Delta",
    "Dirichlet",
    "Distribution",
    "ExpandedDistribution",
    "Exponential",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "LogNormal",
    "MaskedDistribution",
    "MultivariateNormal",
    "Normal",
    "Param",
    "Poisson",
    "TransformedDistribution",
    "Uniform",
    "biject_to",
    "constraint_registry",
    "constraints",
    "families",
    "kl",
    "kl_divergence",
    "param",
    "register_kl",
    "static",
    "transform_to",
    "transforms",
    "validating",
    "validation_enabled_now",
]

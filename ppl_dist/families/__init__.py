"""The families: one declaration each."""

from .bernoulli import Bernoulli
from .beta import Beta, Dirichlet
from .categorical import Categorical
from .cauchy import Cauchy, HalfCauchy
from .delta import Delta
from .gamma import Exponential, Gamma
from .multivariate import MultivariateNormal
from .normal import HalfNormal, LogNormal, Normal
from .poisson import Poisson
from .uniform import Uniform

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Cauchy",
    "Delta",
    "Dirichlet",
    "Exponential",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "LogNormal",
    "MultivariateNormal",
    "Normal",
    "Poisson",
    "Uniform",
]

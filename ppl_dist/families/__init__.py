"""The families: one declaration each."""

from .bernoulli import Bernoulli
from .beta import Beta, Dirichlet
from .categorical import Categorical
from .cauchy import Cauchy, HalfCauchy
from .chi2 import Chi2, InverseGamma
from .counts import Binomial, GammaPoisson, Geometric, NegativeBinomial
from .delta import Delta
from .extreme import Gumbel, Pareto, Weibull
from .finite import BetaBinomial, DiscreteUniform
from .gamma import Exponential, Gamma
from .gaussian import GaussianRandomWalk, ZeroSumNormal
from .kumaraswamy import Kumaraswamy
from .laplace import Laplace, Logistic
from .logistic_normal import LogisticNormal
from .multivariate import MultivariateNormal
from .normal import HalfNormal, LogNormal, Normal
from .onehot import Multinomial, OneHotCategorical
from .ordinal import OrderedLogistic
from .poisson import Poisson
from .uniform import Uniform

__all__ = [
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "Delta",
    "Dirichlet",
    "DiscreteUniform",
    "Exponential",
    "Gamma",
    "GammaPoisson",
    "GaussianRandomWalk",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "Kumaraswamy",
    "Laplace",
    "LogNormal",
    "Logistic",
    "LogisticNormal",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OrderedLogistic",
    "Pareto",
    "Poisson",
    "Uniform",
    "Weibull",
    "ZeroSumNormal",
]

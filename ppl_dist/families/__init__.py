"""The families: one declaration each."""

from .bernoulli import Bernoulli
from .beta import Beta, Dirichlet
from .categorical import Categorical
from .cauchy import Cauchy, HalfCauchy
from .chi2 import Chi2, InverseGamma
from .continuous_bernoulli import ContinuousBernoulli
from .counts import Binomial, GammaPoisson, Geometric, NegativeBinomial
from .delta import Delta
from .extreme import Gumbel, Pareto, Weibull
from .finite import BetaBinomial, DiscreteUniform
from .gamma import Exponential, Gamma
from .kumaraswamy import Kumaraswamy
from .laplace import Laplace, Logistic
from .multivariate import MultivariateNormal
from .normal import HalfNormal, LogNormal, Normal
from .onehot import Multinomial, OneHotCategorical
from .peaks import GeneralizedPareto
from .poisson import Poisson
from .student import FisherSnedecor, StudentT
from .uniform import Uniform
from .von_mises import VonMises

__all__ = [
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "ContinuousBernoulli",
    "Delta",
    "Dirichlet",
    "DiscreteUniform",
    "Exponential",
    "FisherSnedecor",
    "Gamma",
    "GammaPoisson",
    "GeneralizedPareto",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "Kumaraswamy",
    "Laplace",
    "LogNormal",
    "Logistic",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "Pareto",
    "Poisson",
    "StudentT",
    "Uniform",
    "VonMises",
    "Weibull",
]

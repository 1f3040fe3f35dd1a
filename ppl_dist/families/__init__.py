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
from .kumaraswamy import Kumaraswamy
from .laplace import Laplace, Logistic
from .multinomial import DirichletMultinomial, Multinomial
from .multivariate import MultivariateNormal
from .normal import HalfNormal, LogNormal, Normal
from .onehot import OneHotCategorical, OneHotCategoricalStraightThrough
from .poisson import Poisson
from .relaxed import ExpRelaxedCategorical, LogitRelaxedBernoulli, RelaxedBernoulli, RelaxedOneHotCategorical
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
    "DirichletMultinomial",
    "DiscreteUniform",
    "ExpRelaxedCategorical",
    "Exponential",
    "Gamma",
    "GammaPoisson",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "Kumaraswamy",
    "Laplace",
    "LogNormal",
    "Logistic",
    "LogitRelaxedBernoulli",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "Poisson",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "Uniform",
    "Weibull",
]

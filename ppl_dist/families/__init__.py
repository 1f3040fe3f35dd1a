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
from .gaussian import GaussianRandomWalk, ZeroSumNormal
from .inflated import ZeroInflatedNegativeBinomial, ZeroInflatedPoisson
from .kumaraswamy import Kumaraswamy
from .laplace import Laplace, Logistic
from .lkj import LKJ, LKJCholesky
from .logistic_normal import LogisticNormal
from .lowrank import LowRankMultivariateNormal
from .multinomial import DirichletMultinomial, Multinomial
from .multivariate import MultivariateNormal
from .multivariate_t import MultivariateStudentT
from .normal import HalfNormal, LogNormal, Normal
from .onehot import OneHotCategorical, OneHotCategoricalStraightThrough
from .ordinal import OrderedLogistic
from .peaks import GeneralizedPareto
from .poisson import Poisson
from .projected_normal import ProjectedNormal
from .relaxed import ExpRelaxedCategorical, LogitRelaxedBernoulli, RelaxedBernoulli, RelaxedOneHotCategorical
from .student import FisherSnedecor, StudentT
from .truncated import TruncatedNormal
from .uniform import Uniform
from .von_mises import VonMises
from .wishart import InverseWishart, Wishart

__all__ = [
    "LKJ",
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
    "DirichletMultinomial",
    "DiscreteUniform",
    "ExpRelaxedCategorical",
    "Exponential",
    "FisherSnedecor",
    "Gamma",
    "GammaPoisson",
    "GaussianRandomWalk",
    "GeneralizedPareto",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "InverseWishart",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "LogNormal",
    "Logistic",
    "LogisticNormal",
    "LogitRelaxedBernoulli",
    "LowRankMultivariateNormal",
    "Multinomial",
    "MultivariateNormal",
    "MultivariateStudentT",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "OrderedLogistic",
    "Pareto",
    "Poisson",
    "ProjectedNormal",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "StudentT",
    "TruncatedNormal",
    "Uniform",
    "VonMises",
    "Weibull",
    "Wishart",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
    "ZeroSumNormal",
]

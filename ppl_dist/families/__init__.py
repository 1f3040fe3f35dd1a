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
from .inflated import ZeroInflatedNegativeBinomial, ZeroInflatedPoisson
from .kumaraswamy import Kumaraswamy
from .laplace import Laplace, Logistic
from .lkj import LKJ, LKJCholesky
from .lowrank import LowRankMultivariateNormal
from .gaussian import GaussianRandomWalk, ZeroSumNormal
from .kumaraswamy import Kumaraswamy
from .laplace import Laplace, Logistic
from .logistic_normal import LogisticNormal
from .multivariate import MultivariateNormal
from .multivariate_t import MultivariateStudentT
from .normal import HalfNormal, LogNormal, Normal
from .onehot import Multinomial, OneHotCategorical
from .peaks import GeneralizedPareto
from .ordinal import OrderedLogistic
from .poisson import Poisson
from .student import FisherSnedecor, StudentT
from .truncated import TruncatedNormal
from .uniform import Uniform
from .wishart import InverseWishart, Wishart
from .von_mises import VonMises

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
    "DiscreteUniform",
    "Exponential",
    "FisherSnedecor",
    "Gamma",
    "GammaPoisson",
    "GeneralizedPareto",
    "GaussianRandomWalk",
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
    "LowRankMultivariateNormal",
    "LogisticNormal",
    "Multinomial",
    "MultivariateNormal",
    "MultivariateStudentT",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OrderedLogistic",
    "Pareto",
    "Poisson",
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

"""Special functions for densities, distribution functions and quantiles: plain torch, differentiable twice.

All of them go through `torch.func.vmap`, `make_fx` and `torch.compile`. A look at the values (`values.py`) may spare
work that they do not need; where nothing can be looked at, in a graph say, all of it is done.
"""

from .beta import (
    beta_log_density,
    betainc,
    betaincc,
    betainccinv,
    betaincinv,
    betaincinv_odds,
    f_log_density,
    log_beta,
    log_betainc,
    log_betaincc,
    multi_log_beta,
)
from .bregman import binet_excess, expm1mx, lgamma_excess, log_excess, log_quotient, trigamma
from .elementary import (
    deviance,
    digamma_error,
    exprel,
    lgamma_rise,
    log1mexp,
    log1pmx,
    log1prel,
    log_factorial_excess,
    logsubexp,
    stirling_error,
    xlog1py,
    xlogy,
)
from .gamma import gammainc, gammaincc, gammainccinv, gammaincinv, lgamma1p, log_gammainc, log_gammaincc
from .normal import log_ndtr, log_ndtr_between, ndtr, ndtri, ndtri_exp
from .student import log_stdtr, stdtr, stdtrit

__all__ = [
    "beta_log_density",
    "betainc",
    "betaincc",
    "betainccinv",
    "betaincinv",
    "betaincinv_odds",
    "binet_excess",
    "deviance",
    "digamma_error",
    "expm1mx",
    "exprel",
    "f_log_density",
    "gammainc",
    "gammaincc",
    "gammainccinv",
    "gammaincinv",
    "lgamma1p",
    "lgamma_excess",
    "lgamma_rise",
    "log1mexp",
    "log1pmx",
    "log1prel",
    "log_beta",
    "log_betainc",
    "log_betaincc",
    "log_excess",
    "log_factorial_excess",
    "log_gammainc",
    "log_gammaincc",
    "log_ndtr",
    "log_ndtr_between",
    "log_quotient",
    "log_stdtr",
    "logsubexp",
    "multi_log_beta",
    "ndtr",
    "ndtri",
    "ndtri_exp",
    "stdtr",
    "stdtrit",
    "stirling_error",
    "trigamma",
    "xlog1py",
    "xlogy",
]

"""Special functions for densities, distribution functions and quantiles: plain torch, differentiable twice.

No function branches on data, so all of them go through `torch.func.vmap`, `make_fx` and `torch.compile`.
"""

from .beta import (
    betainc,
    betaincc,
    betainccinv,
    betaincinv,
    log_beta,
    log_betainc,
    log_betaincc,
    multi_log_beta,
)
from .elementary import deviance, log1mexp, log1pmx, logsubexp, stirling_error, xlog1py, xlogy
from .gamma import gammainc, gammaincc, gammainccinv, gammaincinv, lgamma1p, log_gammainc, log_gammaincc
from .normal import log_ndtr, log_ndtr_between, ndtr, ndtri, ndtri_exp

__all__ = [
    "betainc",
    "betaincc",
    "betainccinv",
    "betaincinv",
    "deviance",
    "gammainc",
    "gammaincc",
    "gammainccinv",
    "gammaincinv",
    "lgamma1p",
    "log1mexp",
    "log1pmx",
    "log_beta",
    "log_betainc",
    "log_betaincc",
    "log_gammainc",
    "log_gammaincc",
    "log_ndtr",
    "log_ndtr_between",
    "logsubexp",
    "multi_log_beta",
    "ndtr",
    "ndtri",
    "ndtri_exp",
    "stirling_error",
    "xlog1py",
    "xlogy",
]

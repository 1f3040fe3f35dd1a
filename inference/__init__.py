"""Inference: gradients of expectations, evidence lower bounds, and stochastic variational inference."""

from . import optim, reparam
from .baselines import Baselines, DecayingAverage
from .elbo import ELBO, Trace_ELBO
from .optim import Optim
from .surrogate import Cost, surrogate_loss
from .svi import SVI, SVIRun, SVIState

__all__ = [
    "ELBO",
    "SVI",
    "Baselines",
    "Cost",
    "DecayingAverage",
    "Optim",
    "SVIRun",
    "SVIState",
    "Trace_ELBO",
    "optim",
    "reparam",
    "surrogate_loss",
]

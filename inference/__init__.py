"""Inference: gradients of expectations, evidence lower bounds, and stochastic variational inference."""

from . import optim, reparam
from .baselines import Baselines, BatchAverage, DecayingAverage, LearnedBaseline, LeaveOneOut
from .diagnostics import GradientReport, gradient_report
from .elbo import ELBO, RenyiELBO, ReweightedWakeSleep, Trace_ELBO, TraceGraph_ELBO
from .estimating import estimate
from .in_use import estimators_in_use
from .optim import Optim
from .surrogate import Cost, surrogate_loss
from .svi import SVI, SVIRun, SVIState

__all__ = [
    "ELBO",
    "SVI",
    "Baselines",
    "BatchAverage",
    "Cost",
    "DecayingAverage",
    "GradientReport",
    "LearnedBaseline",
    "LeaveOneOut",
    "Optim",
    "RenyiELBO",
    "ReweightedWakeSleep",
    "SVIRun",
    "SVIState",
    "TraceGraph_ELBO",
    "Trace_ELBO",
    "estimate",
    "estimators_in_use",
    "gradient_report",
    "optim",
    "reparam",
    "surrogate_loss",
]

"""Inference: gradients of expectations, evidence lower bounds, and stochastic variational inference."""

from . import optim, reparam
from .baselines import Baselines, BatchAverage, DecayingAverage, LearnedBaseline, LeaveOneOut
from .compiled_step import CompiledStep
from .compiling import Compiled, compile
from .diagnostics import GradientReport, gradient_report
from .elbo import (
    ELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from .enumerating import config_enumerate
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
    "Compiled",
    "CompiledStep",
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
    "TraceEnum_ELBO",
    "TraceGraph_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "compile",
    "config_enumerate",
    "estimate",
    "estimators_in_use",
    "gradient_report",
    "optim",
    "reparam",
    "surrogate_loss",
]

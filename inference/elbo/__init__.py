"""Evidence lower bounds."""

from .base import ELBO
from .renyi_elbo import RenyiELBO
from .reweighted_wake_sleep import ReweightedWakeSleep
from .trace_elbo import Trace_ELBO
from .trace_enum_elbo import TraceEnum_ELBO
from .trace_graph_elbo import TraceGraph_ELBO
from .trace_mean_field_elbo import TraceMeanField_ELBO

__all__ = [
    "ELBO",
    "RenyiELBO",
    "ReweightedWakeSleep",
    "TraceEnum_ELBO",
    "TraceGraph_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
]

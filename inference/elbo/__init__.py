"""Evidence lower bounds."""

from .base import ELBO
from .renyi_elbo import RenyiELBO
from .reweighted_wake_sleep import ReweightedWakeSleep
from .trace_elbo import Trace_ELBO
from .trace_graph_elbo import TraceGraph_ELBO

__all__ = ["ELBO", "RenyiELBO", "ReweightedWakeSleep", "TraceGraph_ELBO", "Trace_ELBO"]

"""Evidence lower bounds."""

from .base import ELBO
from .renyi_elbo import RenyiELBO
from .trace_elbo import Trace_ELBO
from .trace_graph_elbo import TraceGraph_ELBO

__all__ = ["ELBO", "RenyiELBO", "TraceGraph_ELBO", "Trace_ELBO"]

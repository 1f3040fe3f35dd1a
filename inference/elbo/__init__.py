"""Evidence lower bounds."""

from .base import ELBO
from .trace_elbo import Trace_ELBO

__all__ = ["ELBO", "Trace_ELBO"]

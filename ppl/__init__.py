"""Write models as Python functions, and change what running them means.

>>> import ppl_dist as dist
>>> def model(y):
...     mu = sample("mu", dist.Normal(0.0, 10.0))
...     with plate("data", len(y)):
...         observe("y", dist.Normal(mu, 1.0), y)
>>> import torch
>>> tr = handlers.trace(handlers.condition(model, data={"mu": 0.0})).get_trace(torch.zeros(4))
>>> print(round(tr.log_prob_sum().item(), 3))
-6.897
"""

from __future__ import annotations

from ppl import handlers, nn
from ppl.checks import check_shapes
from ppl.density import log_density
from ppl.handlers import condition, do, markov
from ppl.handlers.fixing import random_module
from ppl.lint import check
from ppl.params import ParamStore, clear_param_store, get_param_store
from ppl.plate import plate, plate_stack, subsample
from ppl.primitives import deterministic, factor, module, observe, param, sample
from ppl.provenance import parents, provenance, untracked
from ppl.render import render_dot, render_model
from ppl.runtime import Frame, Handler, Site, emit
from ppl.settings import enable_validation, set_rng_seed, validation_enabled
from ppl.trace import Trace

__all__ = [
    "Frame",
    "Handler",
    "ParamStore",
    "Site",
    "Trace",
    "check",
    "check_shapes",
    "clear_param_store",
    "condition",
    "deterministic",
    "do",
    "emit",
    "enable_validation",
    "factor",
    "get_param_store",
    "handlers",
    "log_density",
    "markov",
    "module",
    "nn",
    "observe",
    "param",
    "parents",
    "plate",
    "plate_stack",
    "provenance",
    "random_module",
    "render_dot",
    "render_model",
    "sample",
    "set_rng_seed",
    "subsample",
    "untracked",
    "validation_enabled",
]

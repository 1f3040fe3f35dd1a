"""Handlers: each changes what one run of a model means, and they nest.

>>> import ppl_dist as dist
>>> from ppl import sample
>>> def model():
...     return sample("x", dist.Normal(0.0, 1.0))
>>> tr = trace(condition(model, data={"x": 2.0})).get_trace()
>>> tr["x"].value, tr["x"].is_observed
(tensor(2.), True)
"""

from __future__ import annotations

from ppl.handlers.amending import broadcast, infer_config, scope
from ppl.handlers.collapsing import collapse
from ppl.handlers.enumerating import enum, markov
from ppl.handlers.exploring import NonlocalExit, escape, queue
from ppl.handlers.fixing import condition, do, lift, substitute, uncondition
from ppl.handlers.hiding import block
from ppl.handlers.recording import replay, trace
from ppl.handlers.reparameterising import reparam
from ppl.handlers.seeding import seed
from ppl.handlers.weighting import mask, scale
from ppl.provenance import track
from ppl.runtime import Handler

__all__ = [
    "Handler",
    "NonlocalExit",
    "block",
    "broadcast",
    "collapse",
    "condition",
    "do",
    "enum",
    "escape",
    "infer_config",
    "lift",
    "markov",
    "mask",
    "queue",
    "reparam",
    "replay",
    "scale",
    "scope",
    "seed",
    "substitute",
    "trace",
    "track",
    "uncondition",
]

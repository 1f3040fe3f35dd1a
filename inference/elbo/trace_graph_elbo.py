"""The evidence lower bound, with score functions that pay only for what provenance says depends on their draw."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ppl import Trace, handlers
from ppl.provenance import parents
from ppl.runtime import Frame, Site

from ..baselines import PARTICLES
from ..estimating import plainly
from .base import REMEMBERED, Program, key
from .trace_elbo import Trace_ELBO

__all__ = ["TraceGraph_ELBO"]

Shape = tuple[tuple[str, bool, tuple[Frame, ...]], ...]
Parents = dict[tuple[str, str], frozenset[str]]  # by role and name of a site


class TraceGraph_ELBO(Trace_ELBO):
    """`Trace_ELBO`, less noisy: a score function multiplies only the terms that depend on its draw.

    Where `Trace_ELBO` takes every later term for a dependent one, this one follows the values (`ppl.handlers.track`). A
    program is followed once for each set of sites and plates that it turns out to have, and of switches among its
    arguments, and again from time to time, at runs number 2, 4, 8 and so on. Where Python has read a value (`if z > 0`)
    or a later look found other dependencies, what depends on what is not fixed: then program order decides, which is
    right and noisier. With pathwise sites alone there is nothing to follow. Functions of `torch.jit` hide what they
    compute from: use `Trace_ELBO` there.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: dict[Any, _Known] = {}

    def traces(
        self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        model_trace, guide_trace = super().traces(model, guide, args, kwargs)
        estimators = [site.infer["_estimator"] for site in guide_trace.values() if "_estimator" in site.infer]
        if not all(estimator.through for estimator in estimators):
            shape = _shape((guide_trace, model_trace))
            if len(self._known) > REMEMBERED:
                self._known.clear()
            known = self._known.setdefault((*key(model, guide), _plain(args, kwargs), shape), _Known())
            known.look(shape, model, guide, args, kwargs)
            if known.parents is not None:
                for role, trace in (("model", model_trace), ("guide", guide_trace)):
                    for name, site in trace.items():
                        site.infer["_parents"] = known.parents.get((role, name))
        return model_trace, guide_trace


class _Known:
    """What is known of the dependencies in programs with one set of sites and plates."""

    def __init__(self) -> None:
        self.runs = 0
        self.parents: Parents | None = None  # None where program order must decide

    def look(self, shape: Shape, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Count a run, and follow the values of another one now and then."""
        if torch.compiler.is_compiling():  # values can be followed, but the run would become part of the graph
            return
        self.runs += 1
        if self.runs & (self.runs - 1) or (self.runs > 1 and self.parents is None):
            return
        found = _followed(shape, model, guide, args, kwargs)
        if self.runs > 1 and found != self.parents:
            warnings.warn(
                "TraceGraph_ELBO: which site depends on which has changed from one run to another; program order "
                "decides from now on. Try Trace_ELBO().",
                stacklevel=5,
            )
            found = None
        self.parents = found


def _followed(
    shape: Shape, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]
) -> Parents | None:
    """The latent sites that each site depends on directly; None where Python has read values, or met other sites.

    The run has randomness of its own, so that the step draws the same whether or not it was looked at.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]), handlers.seed(rng_seed=0), plainly(), handlers.track():
        guide_trace = handlers.trace(guide).get_trace(*args, **kwargs)
        model_trace = handlers.trace(handlers.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    if _shape((guide_trace, model_trace)) != shape or any(map(_read, (*guide_trace.values(), *model_trace.values()))):
        return None
    return {
        (role, name): parents(site)
        for role, trace in (("model", model_trace), ("guide", guide_trace))
        for name, site in trace.items()
        if site.type == "sample"
    }


def _read(site: Site) -> bool:
    """Whether the program may have gone another way for another value of an earlier site."""
    return site.type == "sample" and bool(site.infer.get("_given"))


def _plain(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments that may switch parts of a program on and off: those that are no numbers to compute with."""
    given = (*args, *kwargs.values())
    return tuple(value if isinstance(value, bool | int | str | None) else type(value) for value in given)


def _shape(traces: Iterable[Trace]) -> Shape:
    return tuple(
        (site.name, site.is_observed, _unbatched(site.cond_indep_stack))
        for trace in traces
        for site in trace.values()
        if site.type == "sample"
    )


def _unbatched(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The plates of the program, without that of the particles."""
    return tuple(frame for frame in frames if frame.name != PARTICLES)

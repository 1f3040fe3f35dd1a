"""What every evidence lower bound shares: run guide and model, turn traces into costs, hand them to the engine.

A bound is one method, `costs(model_trace, guide_trace)`. "Loss", "loss and gradients", particles one by one or
vectorised are callers of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from math import inf
from typing import Any

import torch
from torch import Tensor

import ppl
from ppl import Trace, handlers
from ppl.checks import check_shapes
from ppl.messages import did_you_mean, listed
from ppl.runtime import enclosing
from ppl.site import Site
from ppl.trace import SiteFilter
from ppl_dist import validation_enabled_now

from ..baselines import PARTICLES, Baselines
from ..estimating import NeedsRows, estimate, plainly
from ..surrogate import Cost, surrogate_loss
from .merged import check_rows

__all__ = ["ELBO"]

Program = Callable[..., Any]
REMEMBERED = 100  # pairs of programs of which a bound knows something


class ELBO:
    """Base of the evidence lower bounds; losses are negative bounds, in nats.

    Args:
        num_particles: how many draws of the guide each estimate averages.
        max_plate_nesting: how many plate dimensions model and guide use at most; found by running them when None.
        vectorize_particles: draw the particles at once, along a batch dimension left of all plates.
        retain_graph: keep the graph of the loss after its gradients have been taken.
    """

    def __init__(
        self,
        num_particles: int = 1,
        max_plate_nesting: float | None = None,
        vectorize_particles: bool = False,
        *,
        retain_graph: bool | None = None,
    ) -> None:
        if num_particles < 1:
            kind = type(self).__name__
            raise ValueError(
                f"{kind}: num_particles must be at least 1, got {num_particles}. Try {kind}(num_particles=1)."
            )
        self.num_particles = num_particles
        # existing scripts write "find it" as infinity
        nesting = inf if max_plate_nesting is None else max_plate_nesting
        self.max_plate_nesting = None if nesting == inf else int(nesting)
        self.vectorize_particles, self.retain_graph = vectorize_particles, retain_graph
        self._followed: set[tuple[Hashable, Hashable]] = set()  # those whose rows have been followed
        self._nesting: dict[tuple[Hashable, Hashable], int | None] = {}  # None where no run has asked for it yet

    def costs(self, model_trace: Trace, guide_trace: Trace) -> list[Cost]:
        """Hook: the costs of one run, whose expected sum is the loss; `Cost.after` counts the guide's latent sites."""
        raise NotImplementedError(f"{type(self).__name__} does not define costs(model_trace, guide_trace).")

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, baselines: Baselines | None = None, **kwargs: Any
    ) -> Tensor:
        """The loss as a 0-dim tensor (nats); its gradient is an unbiased estimate.

        Args:
            model: the model, run on `args` and `kwargs`.
            guide: the guide, run on the same.
            baselines: the memory of running baselines.
            *args: passed to both.
            **kwargs: passed to both.

        Raises:
            ValueError: model and guide do not fit each other, or a batch dimension lies outside every plate.
        """
        runs = 1 if self.vectorize_particles else self.num_particles
        total: Tensor | None = None
        for _ in range(runs):
            model_trace, guide_trace = self.traces(model, guide, args, kwargs)
            loss = surrogate_loss(guide_trace, self.costs(model_trace, guide_trace), baselines=baselines)
            total = loss if total is None else total + loss
        assert total is not None
        return total if self.num_particles == 1 else total / self.num_particles

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """An estimate of the loss (nats), without gradients."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, baselines=Baselines(), **kwargs))

    def loss_and_grads(
        self, model: Program, guide: Program, *args: Any, baselines: Baselines | None = None, **kwargs: Any
    ) -> float:
        """An estimate of the loss (nats); adds its gradients to the `.grad` of the parameters."""
        loss = self.differentiable_loss(model, guide, *args, baselines=baselines, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return float(loss.detach())

    def traces(
        self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        """One run of the guide, and of the model on its draws; with vectorised particles, all of them in one run."""
        pair = key(model, guide)
        nesting = self._nesting.get(pair) if self.max_plate_nesting is None else self.max_plate_nesting
        if nesting is None and self._parallel:
            nesting = self.plate_nesting(model, guide, args, kwargs)
        random = None if pair in self._nesting else _RandomState()
        try:
            traces = self._laid_out(nesting, model, guide, args, kwargs)
        except ValueError as error:
            measured = None
            if self.max_plate_nesting is None and (nesting is not None or isinstance(error, NeedsRows)):
                with suppress(Exception):  # what is wrong with the program is in the first error
                    measured = _nesting(model, guide, args, kwargs)
            # rows or particles may have met plates that the program did not have before
            if measured is None or (nesting is not None and measured <= nesting):
                raise
        else:
            if len(self._nesting) > REMEMBERED:  # programs that are made anew for every call
                self._nesting.clear()
            self._nesting.setdefault(pair, nesting)
            return traces
        if random is not None:  # so that the step draws the same whether or not it was begun before
            random.restore()
        self._nesting[pair] = measured
        return self._laid_out(measured, model, guide, args, kwargs)

    def plate_nesting(self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> int:
        """How many dimensions the plates of model and guide take; one extra run finds it."""
        if self.max_plate_nesting is not None:
            return self.max_plate_nesting
        pair = key(model, guide)
        known = self._nesting.get(pair)
        if known is None:
            known = self._nesting[pair] = _nesting(model, guide, args, kwargs)
        return known

    def _laid_out(self, nesting: int | None, *run: Any) -> tuple[Trace, Trace]:
        """A run with the particles, where they are drawn at once, and all rows to the left of `nesting` dimensions."""
        left = None if nesting is None else -1 - nesting
        if left is None or not self._parallel:
            with estimate(first_available_dim=left):
                return self._run(*run)
        with estimate(first_available_dim=left - 1), ppl.plate(PARTICLES, self.num_particles, dim=left):
            return self._run(*run)

    @property
    def _parallel(self) -> bool:
        return self.vectorize_particles and self.num_particles > 1

    def _run(self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Trace, Trace]:
        role = "guide"
        try:
            guide_trace = self._drawn(handlers.trace(guide).get_trace(*args, **kwargs), guide, args, kwargs)
            role = "model"
            replayed = self._replayed(model, guide_trace)
            model_trace = handlers.trace(replayed).get_trace(*args, **kwargs)
            check_match(model_trace, guide_trace, self._sums_out)
            needed = self._scores(model_trace, guide_trace)
            for role, scored in (("model", model_trace), ("guide", guide_trace)):  # noqa: B007 (read by the note below)
                scored.compute_log_prob(needed)
                if validation_enabled_now():
                    check_shapes(scored)
            if validation_enabled_now():
                self._check_rows(model, guide, args, kwargs, model_trace, guide_trace)
        except Exception as error:
            error.add_note(f"in the {role}")
            raise
        return model_trace, guide_trace

    def _check_rows(
        self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any], *traces: Trace
    ) -> None:
        """Raise if a program merges the rows of a site, which costs would then depend on without its dimension.

        The first time that a pair of programs has rows it is followed, in one more run.
        """
        pair = key(model, guide)
        if pair in self._followed or not any("_enumerate_dim" in site.infer for tr in traces for site in tr.values()):
            return
        self._followed.add(pair)
        with torch.no_grad(), torch.random.fork_rng(devices=[]), handlers.seed(rng_seed=0), handlers.track():
            guide_trace = handlers.trace(guide).get_trace(*args, **kwargs)
            model_trace = handlers.trace(self._replayed(model, guide_trace)).get_trace(*args, **kwargs)
        check_rows([*guide_trace.values(), *model_trace.values()])

    def _drawn(self, guide_trace: Trace, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> Trace:
        """Hook: what the model runs on and is scored against, once the guide has run."""
        return guide_trace

    def _replayed(self, model: Program, guide_trace: Trace) -> Program:
        """Hook: the model, as it runs on the draws of the guide."""
        return handlers.replay(model, trace=guide_trace)

    def _scores(self, model_trace: Trace, guide_trace: Trace) -> SiteFilter | None:
        """Hook: which sites the bound needs the log density of; None for all."""
        return None

    def _sums_out(self, site: Site) -> bool:
        """Hook: whether the bound does without draws of a latent site of the model."""
        return False


def key(model: Any, guide: Any) -> tuple[Hashable, Hashable]:
    """What a pair of programs is known by; an object that compares by content may not be hashable."""
    return tuple(program if isinstance(program, Hashable) else _Itself(program) for program in (model, guide))  # type: ignore[return-value]  # a pair


class _Itself:
    """An object, equal to itself alone; it is kept, so that no other takes its identity."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class _RandomState:
    """The random state of now: that of the CPU, and those of the generators that `seed` has given to the run."""

    def __init__(self) -> None:
        self.generators = [torch.default_generator, *(run.generator for run in enclosing(handlers.seed))]
        self.states = [generator.get_state() for generator in self.generators if generator is not None]

    def restore(self) -> None:
        for generator, state in zip(filter(None, self.generators), self.states, strict=True):
            generator.set_state(state)


def _nesting(model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> int:
    """The number of dimensions that the plates take in a run.

    It has randomness of its own, so that the step draws the same whether or not this run came before it.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]), handlers.seed(rng_seed=0), plainly():
        guide_trace = handlers.trace(guide).get_trace(*args, **kwargs)
        model_trace = handlers.trace(handlers.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    sites = (*guide_trace.values(), *model_trace.values())
    return -min((f.dim for site in sites for f in site.cond_indep_stack if f.dim is not None), default=0)


def check_match(
    model_trace: Trace, guide_trace: Trace, model_only: Callable[[Site], bool] = lambda site: False
) -> None:
    """Every latent site of the guide is one of the model, and the other way round but for those that are `model_only`.

    Raises:
        ValueError: a site is in only one of the two, or is observed in the model.
    """
    model, guide = model_trace.nodes, guide_trace.nodes
    for name, site in guide.items():
        if site.type != "sample" or site.is_observed or site.infer.get("is_auxiliary"):
            continue
        other = model.get(name)
        if other is None or other.type != "sample":
            raise _unmatched(name, "guide", "model", model_trace.stochastic_nodes)
        if other.is_observed:
            raise ValueError(
                f'site "{name}": the guide samples it, but the model observes it. Drop it from the guide, or take '
                f"the observation away from the model."
            )
    for name, site in model.items():
        drawn = name in guide and not guide[name].is_observed
        if site.type == "sample" and not site.is_observed and not drawn and not model_only(site):
            raise _unmatched(name, "model", "guide", guide_trace.stochastic_nodes)


def _unmatched(name: str, here: str, missing: str, names: list[str]) -> ValueError:
    if missing == "guide":
        fix = f'Try sample("{name}", ...) in the guide, or observe it in the model.'
    else:
        fix = f'Try the name of a latent site of the model, or infer={{"is_auxiliary": True}} in the {here}.'
    return ValueError(
        f'site "{name}": the {here} has this latent site and the {missing} does not{did_you_mean(name, names)} '
        f"Latent sites of the {missing}: {listed(names)}. {fix}"
    )

"""What every evidence lower bound shares: run guide and model, turn traces into costs, hand them to the engine.

A bound is one method, `costs(model_trace, guide_trace)`. "Loss", "loss and gradients", particles one by one or
vectorised are callers of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor

import ppl
from ppl import Trace, handlers
from ppl.checks import check_shapes
from ppl.runtime import Handler, Site
from ppl_dist import validation_enabled_now

from ..baselines import PARTICLES, Baselines
from ..surrogate import Cost, surrogate_loss

__all__ = ["ELBO"]

Program = Callable[..., Any]


class ELBO:
    """Base of the evidence lower bounds; losses are negative bounds, in nats.

    Args:
        num_particles: how many draws of the guide each estimate averages.
        max_plate_nesting: how many plate dimensions model and guide use at most; found by running them when None.
        vectorize_particles: draw the particles at once, along a batch dimension left of all plates.
    """

    def __init__(
        self,
        num_particles: int = 1,
        max_plate_nesting: float | None = None,
        vectorize_particles: bool = False,
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
        self.vectorize_particles = vectorize_particles
        self._nesting: dict[tuple[Program, Program], int] = {}

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
            loss = surrogate_loss(_latent(guide_trace), self.costs(model_trace, guide_trace), baselines=baselines)
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
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return float(loss.detach())

    def traces(
        self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        """One run of the guide, and of the model on its draws; with vectorised particles, all of them in one run."""
        if self.vectorize_particles and self.num_particles > 1:
            dim = -1 - self._plate_nesting(model, guide, args, kwargs)
            with ppl.plate(PARTICLES, self.num_particles, dim=dim):
                return self._run(model, guide, args, kwargs)
        return self._run(model, guide, args, kwargs)

    def _run(self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Trace, Trace]:
        role = "guide"
        try:
            with _Scored():
                guide_trace = handlers.trace(guide).get_trace(*args, **kwargs)
            role = "model"
            model_trace = handlers.trace(handlers.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
            check_match(model_trace, guide_trace)
            for role, scored in (("model", model_trace), ("guide", guide_trace)):  # noqa: B007 (read by the note below)
                scored.compute_log_prob()
                if validation_enabled_now():
                    check_shapes(scored)
        except Exception as error:
            error.add_note(f"in the {role}")
            raise
        return model_trace, guide_trace

    def _plate_nesting(self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> int:
        """How many dimensions the plates of model and guide take; one extra run finds it."""
        if self.max_plate_nesting is not None:
            return self.max_plate_nesting
        key = model, guide
        if key not in self._nesting:
            # with randomness of its own, so that the step draws the same whether or not this run came before it
            with torch.no_grad(), handlers.seed(rng_seed=0):
                traces = self._run(model, guide, args, kwargs)
            dims = [f.dim for tr in traces for site in tr.values() for f in site.cond_indep_stack if f.dim is not None]
            self._nesting[key] = -min(dims, default=0)
        return self._nesting[key]


class _Scored(Handler):
    """Draw the sites of the guide together with their log densities.

    A bound needs both, and computed together they need neither the inverse of what made the draw nor a check that it
    lies in the support.
    """

    def process(self, site: Site) -> None:
        site.scored = True


def _latent(trace: Trace) -> list[Site]:
    return [site for site in trace.nodes.values() if site.type == "sample" and not site.is_observed]


def check_match(model_trace: Trace, guide_trace: Trace) -> None:
    """Every latent site of the guide is one of the model, and the other way round.

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
        if site.type == "sample" and not site.is_observed and not drawn:
            raise _unmatched(name, "model", "guide", guide_trace.stochastic_nodes)


def _unmatched(name: str, here: str, missing: str, names: list[str]) -> ValueError:
    from ppl.messages import did_you_mean, listed

    if missing == "guide":
        fix = f'Try sample("{name}", ...) in the guide, or observe it in the model.'
    else:
        fix = f'Try the name of a latent site of the model, or infer={{"is_auxiliary": True}} in the {here}.'
    return ValueError(
        f'site "{name}": the {here} has this latent site and the {missing} does not{did_you_mean(name, names)} '
        f"Latent sites of the {missing}: {listed(names)}. {fix}"
    )

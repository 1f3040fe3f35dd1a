"""Reweighted wake-sleep: no gradient goes through a draw, so that latents of any kind need no score function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import ppl
from ppl import Trace, handlers
from ppl.runtime import Site

from ..baselines import PARTICLES, Baselines
from ..estimators import Estimator
from .base import ELBO, Program
from .weights import Weights, check_one_draw, importance_weights

__all__ = ["ReweightedWakeSleep"]


class ReweightedWakeSleep(ELBO):
    """Two objectives in one: the importance-weighted bound for the model, a fit to its posterior for the guide.

    The parameters of the model raise the importance-weighted bound (wake-theta). Those of the guide fit it to the
    posterior: to the draws of the guide, weighted by importance (wake-phi), or to latents and data that the model has
    dreamt up (sleep-phi). Bornschein, Bengio 2015, "Reweighted Wake-Sleep"; Le, Kosiorek, Siddharth, Teh, Wood 2019,
    "Revisiting Reweighted Wake-Sleep for Models with Stochastic Control Flow". The value of the loss is minus the
    bound.

    To dream, model and guide take the data as a keyword `observations`, a dictionary by the names of the observed
    sites: `svi.step(observations={"x": x})`.

    Args:
        num_particles: how many draws of the guide are weighed against each other.
        insomnia: how much of the fit is awake: 1 wake-phi alone, 0 sleep-phi alone.
        model_has_params: False leaves the bound out where it is not needed: the model is then only dreamt from.
        num_sleep_particles: how many dreams each step fits to; as many as particles when None.
        vectorize_particles: draw the particles at once, along a batch dimension left of all plates; the dreams too.
        max_plate_nesting: how many plate dimensions model and guide use at most; found by running them when None.
        retain_graph: keep the graph of the loss after its gradients have been taken.

    Raises:
        ValueError: `insomnia` is not in [0, 1].

    >>> ReweightedWakeSleep(num_particles=10, insomnia=0.5).insomnia
    0.5
    """

    def __init__(
        self,
        num_particles: int = 2,
        insomnia: float = 1.0,
        model_has_params: bool = True,
        num_sleep_particles: int | None = None,
        vectorize_particles: bool = True,
        max_plate_nesting: float | None = None,
        *,
        retain_graph: bool | None = None,
    ) -> None:
        super().__init__(num_particles, max_plate_nesting, vectorize_particles, retain_graph=retain_graph)
        if not 0 <= insomnia <= 1:
            raise ValueError(f"ReweightedWakeSleep: insomnia must lie in [0, 1], got {insomnia}. Try insomnia=1.0.")
        self.insomnia, self.model_has_params = insomnia, model_has_params
        self.num_sleep_particles = num_particles if num_sleep_particles is None else num_sleep_particles
        if self.num_sleep_particles < 1:
            raise ValueError(
                f"ReweightedWakeSleep: num_sleep_particles must be at least 1, got {num_sleep_particles}. "
                f"Try insomnia=1.0 for no dreams."
            )

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, baselines: Baselines | None = None, **kwargs: Any
    ) -> Tensor:
        bound, fit = None, torch.zeros(())
        if self.model_has_params or self.insomnia:
            weights = self._weights(model, guide, args, kwargs)
            bound = -weights.log_mean_exp(weights.model - weights.guide.detach()).sum() * weights.scale
            shares = weights.log_weights.detach().softmax(weights.dim).nan_to_num()  # no weight has no share
            fit = -self.insomnia * weights.scale * (shares * weights.guide).sum()
        if self.insomnia < 1:
            fit = fit + (1 - self.insomnia) * self._asleep(model, guide, args, kwargs)
        return fit if bound is None else bound + (fit - fit.detach())

    def _weights(self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> Weights:
        count = 1 if self.vectorize_particles else self.num_particles
        return importance_weights([self.traces(model, guide, args, kwargs) for _ in range(count)])

    def _run(self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Trace, Trace]:
        # drawn without a gradient, whatever the family can
        return super()._run(model, handlers.infer_config(guide, _by_score), args, kwargs)

    def _drawn(self, guide_trace: Trace, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> Trace:
        check_one_draw(self, guide_trace)
        for name in guide_trace.stochastic_nodes:
            guide_trace[name].infer["_estimator"] = _WEIGHED
        return guide_trace

    def _asleep(self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """Minus the log density that the guide gives to the latents of a dream, seeing its data; averaged (nats)."""
        count = self.num_sleep_particles
        if not self.vectorize_particles or count == 1:
            dreams = [self._dream(model, guide, args, kwargs) for _ in range(count)]
            return torch.stack(dreams).mean()
        dim = -1 - self.plate_nesting(model, guide, args, kwargs)
        with ppl.plate(PARTICLES, count, dim=dim):
            return self._dream(model, guide, args, kwargs) / count

    def _dream(self, model: Program, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        with torch.no_grad():
            dream = handlers.trace(handlers.uncondition(model)).get_trace(*args, **kwargs)
        seen = {name: site.value for name, site in dream.items() if site.infer.get("was_observed")}
        if "observations" not in kwargs:
            names = ", ".join(f'"{name}": {name}' for name in seen)
            raise TypeError(
                f"ReweightedWakeSleep: to fit the guide to dreams (insomnia {self.insomnia}), model and guide take the "
                f"data as a keyword, got none. Try svi.step(observations={{{names}}}), or insomnia=1.0."
            )
        _check_whole(dream)
        kept = handlers.replay(handlers.infer_config(guide, _by_score), trace=dream)
        guide_trace = handlers.trace(kept).get_trace(*args, **{**kwargs, "observations": seen})
        return -guide_trace.log_prob_sum()


def _check_whole(dream: Trace) -> None:
    """Raise if a plate is subsampled: the guide would look for its minibatch in data that are one already.

    Raises:
        ValueError: there is such a plate.
    """
    for site in dream.values():
        for frame in site.cond_indep_stack:
            if frame.size != frame.full_size:
                raise ValueError(
                    f'ReweightedWakeSleep: plate "{frame.name}" has a minibatch of {frame.size} of {frame.full_size}, '
                    f"and dreams need all of a plate. Try insomnia=1.0, or a plate without subsample_size."
                )


def _by_score(site: Site) -> dict[str, Any]:
    return {"estimator": "score"} if site.type == "sample" and not site.is_observed else {}


class _Weighed(Estimator):
    """What a table calls the sites by: their draws only say where the guide is to put its mass."""

    name = "weighed by importance"
    biased = True  # the weights are normalised by their own sum


_WEIGHED = _Weighed()

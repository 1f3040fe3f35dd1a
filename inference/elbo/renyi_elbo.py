"""Renyi's bounds: the importance-weighted bound at alpha 0, and those between it and the evidence lower bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppl import Trace, get_param_store, handlers
from ppl.runtime import Site
from ppl_dist import validation_enabled_now

from ..baselines import Baselines
from ..estimators import Guard
from ..estimators.estimator import once
from ..surrogate import Cost, surrogate_loss
from .base import ELBO, Program
from .weights import Weights, check_one_draw, importance_weights

__all__ = ["RenyiELBO"]


class RenyiELBO(ELBO):
    """The bound log E[mean_k w_k^(1 - alpha)] / (1 - alpha), with importance weights w_k = p(x, z_k) / q(z_k).

    At alpha 0 it is the importance-weighted bound (Burda, Grosse, Salakhutdinov 2016, "Importance Weighted
    Autoencoders"), which grows to the evidence with the number of particles; others are those of Li, Turner 2016,
    "Renyi Divergence Variational Inference". Entries of plates that all sites are in (data with latents of their own)
    have weights of their own; where a site stands outside, the weights are those of all data together, and a
    minibatch then estimates another quantity: the likelihood of the minibatch to a power. Other scales are powers too.

    Args:
        alpha: the order, any number but 1; 0 is the importance-weighted bound.
        num_particles: how many draws each estimate weighs against each other.
        max_plate_nesting: how many plate dimensions model and guide use at most; found by running them when None.
        vectorize_particles: draw the particles at once, along a batch dimension left of all plates.
        doubly_reparameterized: take for the parameters of the guide the gradient of Tucker, Lawson, Gu, Maddison 2019,
            "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives", eq. 8, whose signal does not fade
            with the number of particles. Needs alpha 0, pathwise sites, and parameters in the store.
        retain_graph: keep the graph of the loss after its gradients have been taken.

    Raises:
        ValueError: alpha is 1, or the option does not apply.

    >>> RenyiELBO(alpha=0, num_particles=10).alpha
    0
    """

    def __init__(
        self,
        alpha: float = 0,
        num_particles: int = 2,
        max_plate_nesting: float | None = None,
        vectorize_particles: bool = False,
        *,
        doubly_reparameterized: bool = False,
        retain_graph: bool | None = None,
    ) -> None:
        super().__init__(num_particles, max_plate_nesting, vectorize_particles, retain_graph=retain_graph)
        if alpha == 1:
            raise ValueError(
                "RenyiELBO: alpha must not be 1, got 1. That is the evidence lower bound. Try Trace_ELBO()."
            )
        if doubly_reparameterized and alpha != 0:
            raise ValueError(f"RenyiELBO: doubly_reparameterized needs alpha 0, got {alpha}. Try RenyiELBO(alpha=0).")
        self.alpha, self.doubly_reparameterized = alpha, doubly_reparameterized

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, baselines: Baselines | None = None, **kwargs: Any
    ) -> Tensor:
        count = 1 if self.vectorize_particles else self.num_particles
        weights = importance_weights([self.traces(model, guide, args, kwargs) for _ in range(count)])
        loss = self._loss(weights, weights.log_weights)
        latents = [site for run in weights.latents for site in run]
        if self.doubly_reparameterized:
            self._share_out(weights)
        elif self.num_particles > 1 and not all(site.infer["_estimator"].through for site in latents):
            self._leave_one_out(weights)
        return surrogate_loss(latents, [Cost(loss, len(latents), weights.frames)], baselines=baselines)

    def _loss(self, weights: Weights, log_weights: Tensor) -> Tensor:
        power = 1 - self.alpha
        return -weights.log_mean_exp(log_weights * power if self.alpha else log_weights) * (weights.scale / power)

    def _leave_one_out(self, weights: Weights) -> None:
        """Tell every site what the loss would be with the geometric mean of the others in the place of its particle.

        Mnih, Rezende 2016, "Variational Inference for Monte Carlo Objectives", eq. 12.
        """
        count, dim, known = self.num_particles, weights.dim, weights.log_weights.detach()
        # along the first dimension, which of the particles it is
        eye = torch.eye(count, dtype=torch.bool, device=known.device)
        left_out = eye.reshape((count,) + (1,) * (known.dim() - 1) + (count,)).transpose(-1, dim)
        others = torch.where(left_out, 0.0, known).sum(dim, keepdim=True) / (count - 1)
        without = self._loss(weights, torch.where(left_out, others, known)).transpose(0, dim)[0]
        without = torch.where(without.isfinite(), without, 0.0)  # where the others have no weight, any number will do
        for number, run in enumerate(weights.latents):
            for site in run:
                site.infer["_without"] = weights.of_run(without, number)

    def _drawn(self, guide_trace: Trace, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> Trace:
        check_one_draw(self, guide_trace, pathwise=self.doubly_reparameterized)
        if not self.doubly_reparameterized:
            return guide_trace
        return self._held(guide_trace, guide, args, kwargs)

    def _held(self, guide_trace: Trace, guide: Program, args: Sequence[Any], kwargs: dict[str, Any]) -> Trace:
        """The same draws, scored by the guide with its parameters held constant.

        What comes back to a draw counts by the share of its particle, which is known when the loss is.
        """
        copy = guide_trace.copy()
        shares = {}
        for name, site in copy.items():
            if site.type == "sample" and not site.is_observed:
                shares[name] = _Share()
                site.value = shares[name].by_weight(site)
        store = get_param_store()
        with store.bind({name: leaf.detach() for name, leaf in store.leaves.items()}):
            held = handlers.trace(handlers.replay(guide, trace=copy)).get_trace(*args, **kwargs)
        if validation_enabled_now():
            _check_same(guide_trace, held)
        for name, share in shares.items():
            held[name].infer |= {"_share": share, "_estimator": copy[name].infer["_estimator"]}
        return held

    def _share_out(self, weights: Weights) -> None:
        shares = weights.log_weights.detach().softmax(weights.dim)
        for number, run in enumerate(weights.latents):
            for site in run:
                site.infer["_share"].weight = weights.of_run(shares, number)


def _check_same(first: Trace, second: Trace) -> None:
    """Raise if a second run of the guide on the same draws gives them other densities.

    Raises:
        ValueError: a site has another log density.
    """
    second.compute_log_prob()
    for name, site in second.items():
        if site.type == "sample" and not site.is_observed:
            before = first[name].fn.log_prob(first[name].value)
            if not torch.allclose(before, site.unscaled_log_prob, rtol=1e-3, atol=1e-4, equal_nan=True):
                raise ValueError(
                    f"RenyiELBO: doubly_reparameterized runs the guide twice, expected the same density of site "
                    f'"{name}", got another: the guide has randomness of its own. '
                    f"Try RenyiELBO(doubly_reparameterized=False)."
                )


class _Share:
    """What the gradient that reaches a draw is multiplied by."""

    weight: Tensor

    def by_weight(self, site: Site) -> Tensor:
        """The value of a site, as a tensor of its own."""
        value = once(site.value, site, Guard())
        events = (1,) * len(site.fn.event_shape)
        if value.requires_grad:
            value.register_hook(lambda gradient: gradient * self.weight.reshape(self.weight.shape + events))  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return value

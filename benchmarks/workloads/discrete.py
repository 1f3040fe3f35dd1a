"""Discrete states, summed out in the model: a mixture of Gaussians, and a hidden Markov model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .contenders import Hand, Library, Workload, fold
from .densities import Gaussian, bounds, dirichlet, gaussians, leaf, log_dirichlet, normal, pair

__all__ = ["markov", "mixture"]

COMPONENTS, POINTS = 5, 1_000
SEQUENCES, LENGTH, STATES = 20, 50, 16


def mixture() -> Workload:
    random = torch.Generator().manual_seed(0)
    centres = torch.linspace(-8.0, 8.0, COMPONENTS)
    x = centres[torch.randint(COMPONENTS, (POINTS,), generator=random)] + torch.randn(POINTS, generator=random)
    return Workload((x,), _mixture_programs, _mixture_by_hand)


def _mixture_programs(library: Library) -> tuple[Any, Any]:
    words, families, numeric = library.words, library.families, library.numeric
    positive = families.constraints.positive

    def model(x: Any) -> None:
        weights = words.sample("weights", families.Dirichlet(numeric.ones(COMPONENTS)))
        with words.plate("components", COMPONENTS):
            locs = words.sample("locs", families.Normal(0.0, 10.0))
            scales = words.sample("scales", families.LogNormal(0.0, 1.0))
        with words.plate("data", POINTS):
            mixed = families.MixtureSameFamily(families.Categorical(probs=weights), families.Normal(locs, scales))
            words.sample("x", mixed, obs=x)

    def guide(x: Any) -> None:
        concentration = words.param("concentration", numeric.full((COMPONENTS,), 20.0), constraint=positive)
        words.sample("weights", families.Dirichlet(concentration))
        loc = words.param("locs_loc", numeric.linspace(-8.0, 8.0, COMPONENTS))
        scale = words.param("locs_scale", numeric.full((COMPONENTS,), 0.1), constraint=positive)
        log_loc = words.param("scales_loc", numeric.zeros(COMPONENTS))
        log_scale = words.param("scales_scale", numeric.full((COMPONENTS,), 0.1), constraint=positive)
        with words.plate("components", COMPONENTS):
            words.sample("locs", families.Normal(loc, scale))
            words.sample("scales", families.LogNormal(log_loc, log_scale))

    return model, guide


def _mixture_by_hand() -> Hand:
    def log_weight(particles: tuple[int, ...], leaves: Sequence[Tensor], x: Tensor) -> Tensor:
        log_concentration, *others = leaves
        of_locs, of_log_scales = gaussians(others)
        concentration = log_concentration.exp()
        weights = dirichlet(concentration)
        (locs, q_locs), (log_scales, q_log_scales) = of_locs.draw(), of_log_scales.draw()
        scaled = (x - locs[:, None]) / log_scales.exp()[:, None]  # components first: sums over them vectorise
        heights = weights.log() - log_scales
        log_p = (heights[:, None] - 0.5 * scaled * scaled).logsumexp(0).sum() - 0.5 * POINTS * math.log(2 * math.pi)
        # the log of a scale has the Normal as its prior, and the same Jacobian here and there
        priors = normal(locs / 10.0, math.log(10.0)) + normal(log_scales, 0.0) - q_locs - q_log_scales
        constant = math.lgamma(COMPONENTS)
        return log_p + priors.sum() + constant - log_dirichlet(weights, concentration)

    narrow = torch.full((COMPONENTS,), 0.1)
    of_locs, of_log_scales = pair(torch.linspace(-8.0, 8.0, COMPONENTS), narrow), pair(torch.zeros(COMPONENTS), narrow)
    return Hand([leaf(torch.full((COMPONENTS,), 20.0).log()), *of_locs, *of_log_scales], bounds(log_weight))


def markov() -> Workload:
    random = torch.Generator().manual_seed(0)
    states = torch.randint(STATES, (SEQUENCES, LENGTH), generator=random)
    y = torch.linspace(-8.0, 8.0, STATES)[states] + torch.randn(SEQUENCES, LENGTH, generator=random)
    return Workload((y,), _markov_programs, _markov_by_hand)


def _forward(log_rows: Any, emitted: Any, logsumexp: Any, fold: Any) -> Any:
    """Log density of each sequence: log_rows [from, to], emitted [time, sequence, state], all states equal at first."""

    def move(reached: Any, each: Any) -> Any:
        return logsumexp(reached[:, :, None] + log_rows, 1) + each

    return logsumexp(fold(move, emitted[0] - math.log(STATES), emitted[1:]), -1)


def _markov_programs(library: Library) -> tuple[Any, Any]:
    words, families, numeric = library.words, library.families, library.numeric
    positive = families.constraints.positive

    def model(y: Any) -> None:
        with words.plate("states", STATES):
            rows = words.sample("rows", families.Dirichlet(numeric.ones(STATES)))
            locs = words.sample("locs", families.Normal(0.0, 10.0))
        emitted = families.Normal(locs, 1.0).log_prob(y.T[..., None])
        with words.plate("sequences", SEQUENCES):
            words.factor("y", _forward(numeric.log(rows), emitted, library.logsumexp, library.fold))

    def guide(y: Any) -> None:
        concentration = words.param("concentration", numeric.full((STATES, STATES), 5.0), constraint=positive)
        loc = words.param("locs_loc", numeric.linspace(-8.0, 8.0, STATES))
        scale = words.param("locs_scale", numeric.full((STATES,), 0.1), constraint=positive)
        with words.plate("states", STATES):
            words.sample("rows", families.Dirichlet(concentration))
            words.sample("locs", families.Normal(loc, scale))

    return model, guide


def _markov_by_hand() -> Hand:
    def log_weight(particles: tuple[int, ...], leaves: Sequence[Tensor], y: Tensor) -> Tensor:
        log_concentration, *others = leaves
        concentration = log_concentration.exp()
        rows = dirichlet(concentration)
        locs, q_locs = Gaussian(*others).draw()
        log_p = _forward(rows.log(), normal(y.T[..., None] - locs, 0.0), torch.logsumexp, fold).sum()
        priors = (normal(locs / 10.0, math.log(10.0)) - q_locs).sum()
        constant = STATES * math.lgamma(STATES)
        return log_p + priors + constant - log_dirichlet(rows, concentration).sum()

    of_locs = pair(torch.linspace(-8.0, 8.0, STATES), torch.full((STATES,), 0.1))
    return Hand([leaf(torch.full((STATES, STATES), 5.0).log()), *of_locs], bounds(log_weight))

"""Logistic regression on all data, and a hierarchical regression on minibatches of its groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .contenders import Hand, Library, Workload
from .densities import Gaussian, bounds, gaussians, normal, pair

__all__ = ["hierarchical", "logistic"]

ROWS, FEATURES = 10_000, 54
GROUPS, MINIBATCH, EACH = 1_000, 200, 5


def logistic() -> Workload:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, FEATURES, generator=random)
    logits = x @ (0.3 * torch.randn(FEATURES, generator=random))
    y = torch.bernoulli(logits.sigmoid(), generator=random)
    return Workload((x, y), _logistic_programs, _logistic_by_hand)


def _logistic_programs(library: Library) -> tuple[Any, Any]:
    words, families, numeric = library.words, library.families, library.numeric

    def model(x: Any, y: Any) -> None:
        weights = words.sample("weights", families.Normal(0.0, 1.0).expand([FEATURES]).to_event(1))
        with words.plate("data", ROWS):
            words.sample("y", families.Bernoulli(logits=x @ weights), obs=y)

    def guide(x: Any, y: Any) -> None:
        loc = words.param("loc", numeric.zeros(FEATURES))
        scale = words.param("scale", numeric.full((FEATURES,), 0.1), constraint=families.constraints.positive)
        words.sample("weights", families.Normal(loc, scale).to_event(1))

    return model, guide


def _logistic_by_hand() -> Hand:
    def log_weight(particles: tuple[int, ...], leaves: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        weights, log_q = Gaussian(*leaves).draw()
        return (normal(weights, 0.0) - log_q).sum() - binary_cross_entropy_with_logits(x @ weights, y, reduction="sum")

    def analytic(leaves: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        of_weights = Gaussian(*leaves)
        weights, _ = of_weights.draw()
        return of_weights.divergence() + binary_cross_entropy_with_logits(x @ weights, y, reduction="sum")

    leaves = pair(torch.zeros(FEATURES), torch.full((FEATURES,), 0.1))
    return Hand(leaves, {**bounds(log_weight), "TraceMeanField_ELBO": analytic})


def hierarchical() -> Workload:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(EACH, GROUPS, generator=random)
    y = 1.0 + torch.randn(GROUPS, generator=random) + 0.5 * x + 0.3 * torch.randn(EACH, GROUPS, generator=random)
    return Workload((x, y), _hierarchical_programs, _hierarchical_by_hand)


def _hierarchical_programs(library: Library) -> tuple[Any, Any]:
    words, families, numeric = library.words, library.families, library.numeric
    positive = families.constraints.positive

    def groups() -> Any:
        return words.plate("groups", GROUPS, subsample_size=MINIBATCH, dim=-1)

    def model(x: Any, y: Any) -> None:
        mean = words.sample("mean", families.Normal(0.0, 5.0))
        spread = words.sample("spread", families.HalfCauchy(1.0))
        slope = words.sample("slope", families.Normal(0.0, 1.0))
        noise = words.sample("noise", families.HalfCauchy(1.0))
        with groups() as chosen:
            level = words.sample("level", families.Normal(mean, spread))
            with words.plate("each", EACH, dim=-2):
                words.sample("y", families.Normal(level + slope * x[:, chosen], noise), obs=y[:, chosen])

    def of(name: str, family: Any, loc: float) -> None:
        at = words.param(f"{name}_loc", numeric.asarray(loc))
        scale = words.param(f"{name}_scale", numeric.asarray(0.1), constraint=positive)
        words.sample(name, family(at, scale))

    def guide(x: Any, y: Any) -> None:
        of("mean", families.Normal, 1.0)
        of("spread", families.LogNormal, 0.0)
        of("slope", families.Normal, 0.5)
        of("noise", families.LogNormal, -1.0)
        loc = words.param("level_loc", numeric.full((GROUPS,), 1.0))
        scale = words.param("level_scale", numeric.full((GROUPS,), 0.1), constraint=positive)
        with groups() as chosen:
            words.sample("level", families.Normal(loc[chosen], scale[chosen]))

    return model, guide


def _hierarchical_by_hand() -> Hand:
    def half_cauchy(value: Tensor) -> Tensor:
        return math.log(2 / math.pi) - torch.log1p(value * value)

    def log_weight(particles: tuple[int, ...], leaves: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        of_mean, of_log_spread, of_slope, of_log_noise, of_level = gaussians(leaves)
        chosen = torch.randperm(GROUPS)[:MINIBATCH]
        (mean, q_mean), (log_spread, q_log_spread) = of_mean.draw(), of_log_spread.draw()
        (slope, q_slope), (log_noise, q_log_noise) = of_slope.draw(), of_log_noise.draw()
        spread, noise = log_spread.exp(), log_noise.exp()
        log_scale, random = of_level.log_scale.index_select(0, chosen), torch.randn(MINIBATCH)
        level = of_level.loc.index_select(0, chosen) + log_scale.exp() * random
        residual = y.index_select(1, chosen) - level - slope * x.index_select(1, chosen)
        of_each = normal((level - mean) / spread, log_spread) - normal(random, log_scale)
        log_p = normal(mean / 5.0, math.log(5.0)) + normal(slope, 0.0) + half_cauchy(spread) + half_cauchy(noise)
        log_q = q_mean + q_slope + q_log_spread - log_spread + q_log_noise - log_noise
        return log_p - log_q + GROUPS / MINIBATCH * (of_each.sum() + normal(residual / noise, log_noise).sum())

    whole = [leaf for loc in (1.0, 0.0, 0.5, -1.0) for leaf in pair(loc, 0.1)]
    return Hand([*whole, *pair(torch.full((GROUPS,), 1.0), torch.full((GROUPS,), 0.1))], bounds(log_weight))

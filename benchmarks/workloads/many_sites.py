"""As many scalar latents as one likes, each with an observation and a Normal of its own in the guide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .contenders import Hand, Library, Workload
from .densities import bounds, gaussians, normal, pair

__all__ = ["CROWDS", "many_sites"]


def many_sites(count: int) -> Workload:
    y = torch.randn(count, generator=torch.Generator().manual_seed(0))

    def programs(library: Library) -> tuple[Any, Any]:
        words, families, numeric = library.words, library.families, library.numeric

        def model(y: Any) -> None:
            for i in range(count):
                z = words.sample(f"z{i}", families.Normal(0.0, 1.0))
                words.sample(f"y{i}", families.Normal(z, 1.0), obs=y[i])

        def guide(y: Any) -> None:
            for i in range(count):
                loc = words.param(f"loc{i}", numeric.asarray(0.0))
                scale = words.param(f"scale{i}", numeric.asarray(0.5), constraint=families.constraints.positive)
                words.sample(f"z{i}", families.Normal(loc, scale))

        return model, guide

    def by_hand() -> Hand:
        def log_weight(particles: tuple[int, ...], leaves: Sequence[Tensor], y: Tensor) -> Tensor:
            draws, log_q = zip(*(each.draw(particles) for each in gaussians(leaves)), strict=True)
            z = torch.stack(draws)
            return normal(z, 0.0) + normal(y - z, 0.0) - torch.stack(log_q)

        return Hand([leaf for _ in range(count) for leaf in pair(0.0, 0.5)], bounds(log_weight))

    return Workload((y,), programs, by_hand)


CROWDS: dict[str, Callable[[], Workload]] = {f"{count} sites": partial(many_sites, count) for count in (10, 100, 1_000)}

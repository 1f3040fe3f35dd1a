"""Baselines: what a score-function term subtracts from its cost, to vary less with the same mean.

A baseline may depend on anything but the draw it is subtracted for. It is named at the site:
`infer={"baseline": "decaying_average"}`, a `DecayingAverage`, or a tensor of the site's batch shape. What a
running baseline remembers lives in a `Baselines` object that the caller holds and passes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppl.runtime import Frame, Site

__all__ = ["Baselines", "DecayingAverage", "baseline_of"]


@dataclass(frozen=True, slots=True)
class DecayingAverage:
    """An exponentially weighted average of the downstream costs of the steps before this one.

    Args:
        beta: the weight of the past, in [0, 1).
    """

    beta: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ValueError(f"DecayingAverage: beta must lie in [0, 1), got {self.beta}. Try DecayingAverage(0.9).")


class Baselines:
    """The running averages of the sites that use one, by site name.

    >>> Baselines().averages
    {}
    """

    def __init__(self, averages: Mapping[str, Tensor] | None = None) -> None:
        self.averages: dict[str, Tensor] = dict(averages or {})

    def copy(self) -> Baselines:
        """Another object with the same averages; they are replaced, never written to."""
        return Baselines(self.averages)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages, by site name."""
        return dict(self.averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over averages written by `state_dict`."""
        self.averages = dict(state)

    def use(self, name: str, rule: DecayingAverage, cost: Tensor, frames: tuple[Frame, ...]) -> Tensor | None:
        """The average before this step, which then takes `cost` in; None where nothing has been seen.

        Dimensions whose entries are not the same from step to step (particles, minibatches) are averaged out.
        """
        fresh = [f.dim for f in frames if f.dim is not None and (f.size != f.full_size or f.name == PARTICLES)]
        present = [dim for dim in fresh if cost.dim() >= -dim]
        seen = cost.mean(present, keepdim=True) if present else cost
        before = self.averages.get(name)
        if before is not None and before.shape != seen.shape:
            before = None  # the program changed shape: start again rather than broadcast by accident
        self.averages[name] = seen if before is None else torch.lerp(seen, before, rule.beta)
        return before


PARTICLES = "num_particles"
"""The name of the plate over vectorised particles."""


def baseline_of(site: Site) -> DecayingAverage | Tensor | None:
    """What the site asks for, in one of the three forms the engine knows.

    Raises:
        ValueError: the name of the baseline is not known.
    """
    asked: Any = site.infer.get("baseline")
    if asked is None or isinstance(asked, DecayingAverage):
        return asked
    if isinstance(asked, Tensor | int | float) and not isinstance(asked, bool):
        return torch.as_tensor(asked).detach()
    if asked == "none":
        return None
    if asked == "decaying_average":
        return DecayingAverage()
    if isinstance(asked, Mapping):
        return _from_mapping(site, asked)
    raise _unknown(site, asked)


def _from_mapping(site: Site, asked: Mapping[str, Any]) -> DecayingAverage | Tensor | None:
    """The spelling that existing scripts use: options by name in a dictionary."""
    known = {"use_decaying_avg_baseline", "baseline_beta", "baseline_value"}
    if set(asked) - known:
        raise _unknown(site, ", ".join(sorted(set(asked) - known)))
    if asked.get("baseline_value") is not None:
        return torch.as_tensor(asked["baseline_value"]).detach()
    return DecayingAverage(asked.get("baseline_beta", 0.9)) if asked.get("use_decaying_avg_baseline") else None


def _unknown(site: Site, asked: Any) -> ValueError:
    return ValueError(
        f'site "{site.name}": unknown baseline {asked!r}. Expected "decaying_average", "none", a DecayingAverage, or '
        f'a tensor of the batch shape. Try infer={{"baseline": "decaying_average"}}.'
    )

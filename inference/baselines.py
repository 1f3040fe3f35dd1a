"""Baselines: what a score-function term subtracts from its cost, to vary less with the same mean.

A baseline may depend on anything but the draw it is subtracted for. It is named at the site:
`infer={"baseline": "leave_one_out"}`, one of the rules below, or a tensor of the site's batch shape. What a running
baseline remembers lives in a `Baselines` object that the caller holds and passes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ppl.messages import frames_text
from ppl.runtime import Frame, Site
from ppl_dist.shapes import expands
from ppl_dist.tree import detached

if TYPE_CHECKING:
    from .estimators.estimator import Context, Part

__all__ = [
    "Baseline",
    "Baselines",
    "BatchAverage",
    "Constant",
    "DecayingAverage",
    "LearnedBaseline",
    "LeaveOneOut",
    "baseline_of",
]

PARTICLES = "num_particles"
"""The name of the plate over vectorised particles."""

Level = tuple[Tensor | None, Tensor | None]


class Baseline:
    """A rule that says what to subtract from the cost-to-go of a site."""

    def level(self, site: Site, parts: list[Part], context: Context) -> Level:
        """The baseline, without gradient, and a loss that trains it (summed over its entries); None for neither.

        Args:
            site: the site, with its value.
            parts: what the draw is paid for, in shares of different plates.
            context: what else there is to know.
        """
        return None, None

    def describe(self, site: Site) -> str:
        """The rule in a few words for a table."""
        return "no baseline"


@dataclass(frozen=True, slots=True)
class Constant(Baseline):
    """The same for every draw: a number, or a tensor that broadcasts to the batch shape of the site."""

    value: Tensor

    def level(self, site: Site, parts: list[Part], context: Context) -> Level:
        return _fitting(site, self.value), None

    def describe(self, site: Site) -> str:
        return "given baseline"


@dataclass(frozen=True, slots=True)
class DecayingAverage(Baseline):
    """An exponentially weighted average of the downstream costs of the steps before this one.

    Args:
        beta: the weight of the past, in [0, 1).
    """

    beta: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ValueError(f"DecayingAverage: beta must lie in [0, 1), got {self.beta}. Try DecayingAverage(0.9).")

    def level(self, site: Site, parts: list[Part], context: Context) -> Level:
        if context.memory is None:
            raise ValueError(
                f'site "{site.name}": a decaying-average baseline needs a memory, and none was given. '
                f"Try baselines = Baselines() once, and surrogate_loss(trace, costs, baselines=baselines) each time."
            )
        if "_level" in site.infer:  # an average that has seen this draw already may not be subtracted for it
            return site.infer["_level"], None
        cost = _total(parts)
        fresh = [f.dim for f in context.frames if f.size != f.full_size or f.name == PARTICLES]
        level = context.memory.use(site.name, self, cost, [*fresh, site.infer.get("_enumerate_dim")])
        site.infer["_level"] = level
        return level, None

    def describe(self, site: Site) -> str:
        return "decaying average"


@dataclass(frozen=True, slots=True)
class LeaveOneOut(Baseline):
    """The average cost of the other draws: of the same site, of the other particles, or of a plate.

    Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE Samples, Get a Baseline for Free!"; for bounds of several particles
    (`RenyiELBO`) it is that of Mnih, Rezende 2016, "Variational Inference for Monte Carlo Objectives".

    Args:
        plate: the name of the plate whose entries are compared, if each has the same cost in expectation; None takes
            the site's own samples, or else the particles.
    """

    plate: str | None = None

    def level(self, site: Site, parts: list[Part], context: Context) -> Level:
        if self.plate is None and "_without" in site.infer:
            return site.infer["_without"], None
        dim = self._dim(site, context)
        shares = [part.cost.detach() for part in parts if part.cost.dim() >= -dim and part.cost.shape[dim] > 1]
        if not shares:  # no cost tells the draws apart
            return None, None
        cost = reduce(torch.add, shares)
        count = cost.shape[dim]
        return (cost.sum(dim, keepdim=True) - cost) / (count - 1), None

    def describe(self, site: Site) -> str:
        if self.plate is not None:
            return f'leave-one-out over plate "{self.plate}"'
        if "_without" not in site.infer and site.infer.get("samples", 1) > 1:
            return "leave-one-out"  # over the draws that the estimator has told
        count = next((f"{frame.size} " for frame in site.cond_indep_stack if frame.name == PARTICLES), "")
        return f"leave-one-out over {count}particles"

    def _dim(self, site: Site, context: Context) -> int:
        dim = comparable(site, context.frames, self.plate)
        if dim is not None:
            return dim
        if self.plate is not None:
            raise ValueError(
                f'site "{site.name}": its baseline leaves one out of plate "{self.plate}", which is not around it with '
                f"at least two entries. Plates: {frames_text(tuple(context.frames)) or 'none'}. "
                f'Try infer={{"baseline": "decaying_average"}}.'
            )
        raise ValueError(
            f'site "{site.name}": its baseline leaves one draw out, and there is only one. '
            f'Try infer={{"samples": 2, "baseline": "leave_one_out"}}, or vectorised particles.'
        )


@dataclass(frozen=True, slots=True)
class BatchAverage(Baseline):
    """The average cost in the innermost plate of the site, without the entry's own: with it, it would be biased."""

    def level(self, site: Site, parts: list[Part], context: Context) -> Level:
        plates = [frame for frame in context.frames if frame.name != PARTICLES]
        if not plates:
            raise ValueError(
                f'site "{site.name}": its baseline averages over a plate, and there is none around it. '
                f'Try infer={{"baseline": "decaying_average"}}.'
            )
        return LeaveOneOut(max(plates, key=lambda frame: frame.dim or 0).name).level(site, parts, context)

    def describe(self, site: Site) -> str:
        return "batch average"


@dataclass(frozen=True, slots=True)
class LearnedBaseline(Baseline):
    """A network that predicts the cost-to-go, trained by its squared error along with everything else.

    Args:
        network: takes `inputs` and gives a tensor that broadcasts to the batch shape of the site. Its parameters are
            learned if the program has them in a `ppl.module`.
        inputs: what the cost may be predicted from: anything but the draw. What it was computed from is not trained.
    """

    network: nn.Module
    inputs: Any

    def level(self, site: Site, parts: list[Part], context: Context) -> Level:
        guess = _fitting(site, self.network(detached(self.inputs)))
        return guess.detach(), (guess - _total(parts)) ** 2

    def describe(self, site: Site) -> str:
        return "learned baseline"


@dataclass(frozen=True, slots=True)
class Automatic(Baseline):
    """What a site has that asks for nothing: leave-one-out where there are several draws, else a decaying average."""

    def level(self, site: Site, parts: list[Part], context: Context) -> Level:
        if self._several(site):
            return LeaveOneOut().level(site, parts, context)
        return (None, None) if context.memory is None else DecayingAverage().level(site, parts, context)

    def describe(self, site: Site) -> str:
        return (LeaveOneOut() if self._several(site) else DecayingAverage()).describe(site)

    def _several(self, site: Site) -> bool:
        frames = frozenset(frame for frame in site.cond_indep_stack if frame.dim is not None)
        return "_without" in site.infer or comparable(site, frames, None) is not None


class Baselines:
    """The running averages of the sites that use one, by site name.

    >>> Baselines().averages
    {}
    """

    def __init__(self, averages: Mapping[str, Tensor] | None = None) -> None:
        self.averages: dict[str, Tensor] = dict(averages or {})
        self._read = self.averages

    def as_of_now(self) -> Baselines:
        """The same memory, read as it is now: what is written from here on does not show until the next time."""
        view = Baselines()
        view.averages, view._read = self.averages, dict(self.averages)
        return view

    def copy(self) -> Baselines:
        """Another object with the same averages; they are replaced, never written to."""
        return Baselines(self.averages)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages, by site name."""
        return dict(self.averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over averages written by `state_dict`."""
        self.averages = self._read = dict(state)

    def use(self, name: str, rule: DecayingAverage, cost: Tensor, fresh: list[int | None]) -> Tensor | None:
        """The average before this step, which then takes `cost` in; None where nothing has been seen.

        The dimensions `fresh`, whose entries are not the same from step to step, are averaged out.
        """
        present = [dim for dim in fresh if dim is not None and cost.dim() >= -dim]
        seen = cost.mean(present, keepdim=True) if present else cost
        before = self._read.get(name)
        if before is not None and before.shape != seen.shape:
            before = None  # the program changed shape: start again rather than broadcast by accident
        self.averages[name] = seen if before is None else torch.lerp(seen, before, rule.beta)
        return before


def comparable(site: Site, frames: frozenset[Frame], plate: str | None) -> int | None:
    """The dimension along which a site has several draws that stand for each other."""
    if plate is None and site.infer.get("samples", 1) > 1:
        return site.infer.get("_enumerate_dim")
    name = PARTICLES if plate is None else plate
    return next((frame.dim for frame in frames if frame.name == name and frame.size > 1), None)


def baseline_of(site: Site) -> Baseline:
    """The rule that a site asks for.

    Raises:
        ValueError: the name of the baseline is not known.
    """
    asked: Any = site.infer.get("baseline")
    if isinstance(asked, Baseline):
        return asked
    if isinstance(asked, Tensor | int | float) and not isinstance(asked, bool):
        return Constant(torch.as_tensor(asked).detach())
    if asked is None or isinstance(asked, str):
        rule = NAMED.get(asked)
    else:
        rule = _from_mapping(site, asked) if isinstance(asked, Mapping) else None
    if rule is None:
        raise _unknown(site, asked)
    return rule


NAMED: dict[str | None, Baseline] = {
    None: Automatic(),
    "none": Baseline(),
    "decaying_average": DecayingAverage(),
    "batch_average": BatchAverage(),
    "leave_one_out": LeaveOneOut(),
}


def _from_mapping(site: Site, asked: Mapping[str, Any]) -> Baseline:
    """The spelling that existing scripts use: options by name in a dictionary."""
    known = {"use_decaying_avg_baseline", "baseline_beta", "baseline_value", "nn_baseline", "nn_baseline_input"}
    if set(asked) - known:
        raise _unknown(site, ", ".join(sorted(set(asked) - known)))
    if asked.get("nn_baseline") is not None:
        if "nn_baseline_input" not in asked:
            raise ValueError(
                f'site "{site.name}": "nn_baseline" needs what it predicts from, "nn_baseline_input", got none. '
                f'Try infer={{"baseline": LearnedBaseline(network, inputs)}}.'
            )
        return LearnedBaseline(asked["nn_baseline"], asked["nn_baseline_input"])
    if asked.get("baseline_value") is not None:
        return Constant(torch.as_tensor(asked["baseline_value"]).detach())
    return DecayingAverage(asked.get("baseline_beta", 0.9)) if asked.get("use_decaying_avg_baseline") else Baseline()


def _unknown(site: Site, asked: Any) -> ValueError:
    return ValueError(
        f'site "{site.name}": unknown baseline {asked!r}. Expected "leave_one_out", "batch_average", '
        f'"decaying_average", "none", a rule such as DecayingAverage(0.9), or a tensor of the batch shape. '
        f'Try infer={{"baseline": "decaying_average"}}.'
    )


def _total(parts: list[Part]) -> Tensor:
    return reduce(torch.add, [part.cost.detach() for part in parts])


def _fitting(site: Site, level: Tensor) -> Tensor:
    """`level`, if it broadcasts to the batch shape of the site.

    Raises:
        ValueError: it does not.
    """
    shape = site.fn.batch_shape
    if not expands(level.shape, shape):
        raise ValueError(
            f'site "{site.name}": the baseline has shape {tuple(level.shape)}, which does not broadcast to the batch '
            f"shape {tuple(shape)} of the site. Try a baseline of that shape."
        )
    return level

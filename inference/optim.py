"""Optimisers for `SVI`: a recipe that builds a `torch.optim` optimiser once the parameters are known.

`Adam({"lr": 0.01})` or `Adam(lr=0.01)`; any other class of `torch.optim` by its name or through
`Optim(torch.optim.SGD, lr=0.1)`. A plain callable from parameters to an optimiser, such as
`functools.partial(torch.optim.AdamW, lr=1e-3)`, serves as well.

A recipe may clip the gradients and carry a schedule of the learning rate:
`Adam(lr=0.01, clip_norm=10.0, schedule=partial(CosineAnnealingLR, T_max=1000))` moves the schedule on after every
step. The classes named as in `torch.optim.lr_scheduler` are schedules that the program moves on itself, with `step()`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from weakref import WeakSet

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from ppl.messages import did_you_mean, listed

from .fused_adam import moved_by_kernel

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ClippedAdam",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "Muon",
    "NAdam",
    "OneCycleLR",
    "Optim",
    "PolynomialLR",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "Rprop",
    "SparseAdam",
    "StepLR",
]

OptimFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]
Options = Mapping[str, Any] | Callable[[str], Mapping[str, Any]]
Schedule = Callable[[torch.optim.Optimizer], LRScheduler]
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


@dataclass(eq=False)
class Update:
    """What a step does to the leaves once they have gradients, and the state of it.

    `apply` is all that touches tensors. `advance` is Python's part: the schedule sets the numbers in
    `optimizer.param_groups` that the next `apply` reads.

    Attributes:
        optimizer: moves the leaves.
        clip_norm: the largest norm of all gradients together.
        clip_value: the largest magnitude of an entry of a gradient.
        scheduler: sets the learning rates.
        by_hand: whether the program moves the scheduler on, and `advance` does not.
        known: whether `optimizer` comes from a recipe of ours, so that nobody has hung hooks on it.
    """

    optimizer: torch.optim.Optimizer
    clip_norm: float | None = None
    clip_value: float | None = None
    scheduler: LRScheduler | None = None
    by_hand: bool = False
    known: bool = False

    @property
    def leaves(self) -> list[Tensor]:
        return [leaf for group in self.optimizer.param_groups for leaf in group["params"]]

    def step(self, loss: float) -> None:
        self.apply()
        self.advance(loss)

    def apply(self) -> None:
        """Clip the gradients in place, then move the leaves."""
        if self.clip_norm is not None:
            clip_grad_norm_(self.leaves, self.clip_norm)
        if self.clip_value is not None:
            clip_grad_value_(self.leaves, self.clip_value)
        if not (self.known and moved_by_kernel(self.optimizer)):
            self.optimizer.step()

    def advance(self, loss: float) -> None:
        """Move the schedule on by one step; `loss` is what it may react to."""
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau) and not self.by_hand:
            self.scheduler.step(loss)
        elif self.scheduler is not None and not self.by_hand:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """That of the optimiser, with that of the schedule under `scheduler` where there is one."""
        schedule = {} if self.scheduler is None else {"scheduler": self.scheduler.state_dict()}
        return {**self.optimizer.state_dict(), **schedule}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict({key: value for key, value in state.items() if key != "scheduler"})
        if self.scheduler is not None and "scheduler" in state:
            self.scheduler.load_state_dict(state["scheduler"])

    def carry(self, old: Update) -> None:
        """Take over what `old` knows of the leaves and groups that are here too; new groups come last."""
        for leaf in self.leaves:
            if leaf in old.optimizer.state:
                self.optimizer.state[leaf] = old.optimizer.state[leaf]
        groups, known = self.optimizer.param_groups, old.optimizer.param_groups
        if len(groups) >= len(known):  # a scheduler may have changed the options
            for group, before in zip(groups, known, strict=False):
                group.update({key: value for key, value in before.items() if key != "params"})
        if self.scheduler is not None and old.scheduler is not None:
            self.scheduler.load_state_dict(_grown(old.scheduler.state_dict(), self.scheduler.state_dict()))


class Optim:
    """A `torch.optim` class with its options, clipping and schedule.

    Gradients are clipped before each update: first `clip_norm` scales those of all parameters together, then
    `clip_value` limits each entry.

    Args:
        kind: a subclass of `torch.optim.Optimizer`.
        optim_args: its options; or a function from a parameter's name to options for it alone.
        clip_args: `clip_norm` and `clip_value` as a mapping, as existing scripts write them.
        clip_norm: the largest Euclidean norm of all gradients together.
        clip_value: the largest magnitude of an entry of a gradient.
        schedule: from an optimiser to a scheduler of `torch.optim.lr_scheduler`, which is moved on after every step;
            `ReduceLROnPlateau` is given the loss.
        **options: options by keyword.

    Raises:
        TypeError: `kind` is no class of optimisers or has no such option, or `schedule` cannot be called.
        ValueError: a limit is not positive.

    >>> optimizer = Optim(torch.optim.SGD, lr=0.1)([("w", torch.zeros(2, requires_grad=True))])
    >>> optimizer.param_groups[0]["lr"]
    0.1
    """

    def __init__(
        self,
        kind: Any,
        optim_args: Options | None = None,
        clip_args: Mapping[str, float] | None = None,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: Schedule | None = None,
        **options: Any,
    ) -> None:
        given: Any = kind
        if not (isinstance(given, type) and issubclass(given, torch.optim.Optimizer)):
            raise TypeError(f"Optim: expected a torch.optim class, got {kind!r}. Try Optim(torch.optim.SGD, lr=0.1).")
        if schedule is not None and not callable(schedule):
            raise TypeError(f"Optim: schedule must build a scheduler, got {type(schedule).__name__}. {_TRY_SCHEDULE}")
        if not (optim_args is None or callable(optim_args) or isinstance(optim_args, Mapping)):
            raise TypeError(
                f"{kind.__name__}: expected a dictionary of options, got {optim_args!r}. "
                f"Try {kind.__name__}(lr={optim_args!r})."
            )
        self.kind: type[torch.optim.Optimizer] = kind
        self.per_name = optim_args if callable(optim_args) else None
        self.options = {**({} if optim_args is None or callable(optim_args) else optim_args), **options}
        self.clip = _limits(clip_args, clip_norm, clip_value)
        self.schedule = schedule
        _check_options(kind, self.options)

    def __call__(self, named: Iterable[tuple[str, Tensor]]) -> torch.optim.Optimizer:
        """The optimiser over these named leaves."""
        named = list(named)
        options = self._defaults([leaf for _, leaf in named])
        return self.kind(self.groups(named), **options)

    def update(self, named: Iterable[tuple[str, Tensor]]) -> Update:
        """The optimiser over these named leaves, with clipping and schedule."""
        optimizer = self(named)
        scheduler = None if self.schedule is None else self.schedule(optimizer)
        if not isinstance(scheduler, LRScheduler | None):
            raise TypeError(f"Optim: schedule must build a scheduler, got {type(scheduler).__name__}. {_TRY_SCHEDULE}")
        return Update(optimizer, **self.clip, scheduler=scheduler, known=True)

    def groups(self, named: Iterable[tuple[str, Tensor]]) -> list[dict[str, Any]]:
        """Parameter groups: one for all, or one per name where options differ by name."""
        if self.per_name is None:
            return [{"params": [leaf for _, leaf in named]}]
        groups = [(leaf, self.per_name(name)) for name, leaf in named]
        for _, options in groups:
            _check_options(self.kind, options)
        return [{"params": [leaf], **options} for leaf, options in groups]

    def _defaults(self, leaves: list[Tensor]) -> dict[str, Any]:
        """The options, and one kernel for the update of all parameters unless they say otherwise."""
        chosen = {"fused", "foreach", "capturable", "differentiable"} & set(self.options)
        able = all(leaf.is_floating_point() and leaf.device.type in ("cpu", "cuda") for leaf in leaves)
        # torch's fused kernel refuses a group in which some parameters have momentum and new ones do not have it yet
        fused = self.kind in FUSED and able and not chosen and not self.options.get("momentum")
        return {**self.options, "fused": True} if fused else self.options

    def __repr__(self) -> str:
        options = {**self.options, **self.clip, **({} if self.schedule is None else {"schedule": self.schedule})}
        said = ["per parameter"] * bool(self.per_name) + [f"{key}={value!r}" for key, value in options.items()]
        return f"Optim({', '.join([self.kind.__name__, *said])})"


_TRY_SCHEDULE = "Try schedule=functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.999)."


def _limits(clip_args: Any, clip_norm: float | None, clip_value: float | None) -> dict[str, Any]:
    """The limits that are given, checked."""
    if not isinstance(clip_args, Mapping | None) or set(clip_args or {}) - {"clip_norm", "clip_value"}:
        got = listed(map(repr, clip_args)) if isinstance(clip_args, Mapping) else type(clip_args).__name__
        raise TypeError(
            f"Optim: clip_args must be a mapping with clip_norm or clip_value, for all parameters, got {got}. "
            f'Try clip_args={{"clip_norm": 10.0}}.'
        )
    limits = {"clip_norm": clip_norm, "clip_value": clip_value, **(clip_args or {})}
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            raise ValueError(f"Optim: {name} must be positive, got {limit}. Try {name}=10.0, or None for no limit.")
    return {name: limit for name, limit in limits.items() if limit is not None}


def _check_options(kind: type, options: Mapping[str, Any]) -> None:
    """Raise for an option that `kind` does not take; torch ignores one that stands in a group of parameters."""
    known = inspect.signature(kind).parameters
    unknown = [name for name in options if name not in known]
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        names = [name for name in known if name not in ("params", "optimizer")]
        raise TypeError(
            f'{kind.__name__}: no option "{unknown[0]}"{did_you_mean(unknown[0], names)} Try one of: {listed(names)}.'
        )


def _grown(old: Any, new: Any) -> Any:
    """The state `old` of a scheduler, with what `new` says of groups that are not in it."""
    if type(old) is dict and type(new) is dict:
        return {key: _grown(value, new.get(key)) for key, value in old.items()}
    if isinstance(old, list) and isinstance(new, list):
        return [*map(_grown, old, new), *new[len(old) :]]
    return old


class _Named(Optim):
    """A class of `torch.optim` by its own name."""

    of: ClassVar[type[torch.optim.Optimizer]]

    def __init__(
        self, optim_args: Options | None = None, clip_args: Mapping[str, float] | None = None, **options: Any
    ) -> None:
        super().__init__(self.of, optim_args, clip_args, **options)


class Adam(_Named):
    """`torch.optim.Adam`, as one fused update for all parameters; arguments as for `Optim`, without its first."""

    of = torch.optim.Adam


class AdamW(_Named):
    """`torch.optim.AdamW`, as one fused update for all parameters; arguments as for `Optim`, without its first."""

    of = torch.optim.AdamW


class SGD(_Named):
    """`torch.optim.SGD`, as one fused update for all parameters where it has no momentum; arguments as for `Optim`."""

    of = torch.optim.SGD


class ClippedAdam(_Named):
    """Adam on gradients whose entries are clipped, with a learning rate that decays at every step.

    Args:
        optim_args: options of `torch.optim.Adam`, and those below.
        clip_norm: the largest magnitude of an entry of a gradient: the name is the field's, the norm is the maximum
            over entries.
        lrd: the factor on the learning rate; step `n` moves with `lr * lrd ** n`.
        **options: options by keyword.

    >>> ClippedAdam({"lr": 0.01, "lrd": 0.999}).clip
    {'clip_value': 10.0}
    """

    of = torch.optim.Adam

    def __init__(
        self, optim_args: Options | None = None, *, clip_norm: float = 10.0, lrd: float = 1.0, **options: Any
    ) -> None:
        if isinstance(optim_args, Mapping):
            given = {"clip_norm": clip_norm, "lrd": lrd, **optim_args}
            clip_norm, lrd = given.pop("clip_norm"), given.pop("lrd")
            optim_args = given
        schedule = None if lrd == 1.0 else partial(_decaying, factor=lrd)
        super().__init__(optim_args, clip_value=clip_norm, schedule=schedule, **options)


def _decaying(optimizer: torch.optim.Optimizer, factor: float) -> LRScheduler:
    """The learning rate times `factor` at every step, the first one included."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor
    return lr_scheduler.ExponentialLR(optimizer, factor)


class _ByHand(Optim):
    """An optimiser with a schedule of `torch.optim.lr_scheduler` that the program moves on with `step()`.

    Args:
        optim_args: `optimizer`, a class of `torch.optim`; `optim_args`, its options, or a function from a parameter's
            name to them; and the arguments of the scheduler.
        clip_args: `clip_norm` and `clip_value`, see `Optim`.
    """

    of: ClassVar[type[LRScheduler]]

    def __init__(self, optim_args: Mapping[str, Any], clip_args: Mapping[str, float] | None = None) -> None:
        if missing := {"optimizer", "optim_args"} - optim_args.keys():
            raise ValueError(
                f"{type(self).__name__}: optim_args lacks {listed(sorted(missing))}, got {listed(optim_args)}. "
                f'Try {{"optimizer": torch.optim.Adam, "optim_args": {{"lr": 0.01}}, ...}}.'
            )
        rest = dict(optim_args)
        kind, options = rest.pop("optimizer"), rest.pop("optim_args")
        _check_options(self.of, rest)
        super().__init__(kind, options, clip_args, schedule=partial(self.of, **rest))
        self._updates: WeakSet[Update] = WeakSet()

    def update(self, named: Iterable[tuple[str, Tensor]]) -> Update:
        update = super().update(named)
        update.by_hand = True
        self._updates.add(update)
        return update

    def step(self, *args: Any) -> None:
        """Move the schedule of every run in progress on; `ReduceLROnPlateau` takes the loss.

        Before the first step of a run there is nothing to move.
        """
        for update in self._updates:
            assert update.scheduler is not None
            update.scheduler.step(*args)


def _named(kind: type[torch.optim.Optimizer]) -> type[_Named]:
    doc = f"`torch.optim.{kind.__name__}`; arguments as for `Optim`, without its first."
    return type(kind.__name__, (_Named,), {"of": kind, "__doc__": doc, "__module__": __name__})


def _scheduled(kind: type[LRScheduler]) -> type[_ByHand]:
    doc = f"""An optimiser with the schedule `{kind.__name__}` of torch, which the program moves on with `step()`.

    Takes one mapping: `optimizer`, a class of `torch.optim`; `optim_args`, its options; and the arguments of
    `torch.optim.lr_scheduler.{kind.__name__}`. `clip_args` as for `Optim`.
    """
    return type(kind.__name__, (_ByHand,), {"of": kind, "__doc__": doc, "__module__": __name__})


ASGD = _named(torch.optim.ASGD)
Adadelta = _named(torch.optim.Adadelta)
Adafactor = _named(torch.optim.Adafactor)
Adagrad = _named(torch.optim.Adagrad)
Adamax = _named(torch.optim.Adamax)
Muon = _named(torch.optim.Muon)
NAdam = _named(torch.optim.NAdam)
RAdam = _named(torch.optim.RAdam)
RMSprop = _named(torch.optim.RMSprop)
Rprop = _named(torch.optim.Rprop)
SparseAdam = _named(torch.optim.SparseAdam)

ConstantLR = _scheduled(lr_scheduler.ConstantLR)
CosineAnnealingLR = _scheduled(lr_scheduler.CosineAnnealingLR)
CosineAnnealingWarmRestarts = _scheduled(lr_scheduler.CosineAnnealingWarmRestarts)
CyclicLR = _scheduled(lr_scheduler.CyclicLR)
ExponentialLR = _scheduled(lr_scheduler.ExponentialLR)
LambdaLR = _scheduled(lr_scheduler.LambdaLR)
LinearLR = _scheduled(lr_scheduler.LinearLR)
MultiStepLR = _scheduled(lr_scheduler.MultiStepLR)
MultiplicativeLR = _scheduled(lr_scheduler.MultiplicativeLR)
OneCycleLR = _scheduled(lr_scheduler.OneCycleLR)
PolynomialLR = _scheduled(lr_scheduler.PolynomialLR)
ReduceLROnPlateau = _scheduled(lr_scheduler.ReduceLROnPlateau)
StepLR = _scheduled(lr_scheduler.StepLR)


def build(factory: Any, named: list[tuple[str, Tensor]]) -> Update:
    """The update of these leaves, from a recipe of ours or any callable on parameters.

    Raises:
        TypeError: `factory` builds something that is not a `torch.optim` optimiser.
    """
    if isinstance(factory, Optim):
        return factory.update(named)
    made = factory([leaf for _, leaf in named])
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(
            f"SVI: optim must build a torch.optim optimiser, got {type(made).__name__}. "
            f"Try inference.optim.Adam(lr=0.01), or functools.partial(torch.optim.Adam, lr=0.01)."
        )
    return Update(made)


def rebuild(update: Update, factory: Any, named: list[tuple[str, Tensor]]) -> Update:
    """The update of other leaves, as one built over them from the start; what the old one knows of a leaf it keeps.

    Adding a parameter group instead would make the state depend on when a parameter appeared, and some optimisers
    (Adagrad) only know the parameters they were built with.
    """
    new = build(factory, named)
    new.carry(update)
    return new

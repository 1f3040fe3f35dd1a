"""What an optimiser does to leaves, on tensors that stand for them: its own code, run while a graph is recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .optim import Update
from .untraceable import Untraceable

__all__ = ["Option", "Slot", "moments", "moved", "numbers"]

# Per-tensor code without a look at the step count; a graph fuses it by itself.
_PLAIN = {"foreach": False, "fused": False, "capturable": True}


class Slot(NamedTuple):
    """Where a tensor of an optimiser's state belongs: the place of its leaf, and its name."""

    place: int
    name: str


class Option(NamedTuple):
    """A number of a parameter group: the place of the group, its name, and which entry where it is a tuple."""

    place: int
    name: str
    entry: int


def moments(update: Update, leaves: Sequence[Tensor]) -> dict[Slot, Tensor]:
    """The tensors of the optimiser's state, in a fixed order."""
    state = update.optimizer.state
    return {
        Slot(place, name): value
        for place, leaf in enumerate(leaves)
        if leaf in state
        for name, value in state[leaf].items()
        if isinstance(value, Tensor)
    }


def numbers(update: Update) -> dict[Option, float]:
    """The numbers among the options of the parameter groups: what a schedule may change, such as the learning rate."""
    return {
        Option(place, name, entry): number
        for place, group in enumerate(update.optimizer.param_groups)
        for name, value in group.items()
        for entry, number in enumerate(value if isinstance(value, tuple) else (value,))
        if isinstance(number, float)
    }


def moved(
    update: Update,
    leaves: Sequence[Tensor],
    standing: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    state: Mapping[Slot, Tensor],
    options: Mapping[Option, Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """Where the leaves go, and the state afterwards in the order of `state`.

    Args:
        update: clips and moves; what it holds is left as it is.
        leaves: those that `update` knows.
        standing: tensors that stand for them.
        gradients: one each; None where the loss does not depend on the leaf.
        state: tensors that stand for the optimiser's state.
        options: numbers of parameter groups that are inputs.

    Raises:
        Untraceable: the optimiser keeps Python numbers from step to step, or begins to keep new tensors.
    """
    params = [each.detach().clone() for each in standing]
    for param, gradient in zip(params, gradients, strict=True):
        param.grad = None if gradient is None else gradient.detach().clone()
    shadow = copy(update)
    shadow.optimizer = _shadow(update.optimizer, leaves, params, state, options)
    before = _python_numbers(shadow)
    with torch.no_grad(), _NumbersAsTensors():
        shadow.apply()
    if _python_numbers(shadow) != before:
        kind = type(update.optimizer).__name__
        raise Untraceable(f"the optimiser {kind} counts in Python numbers, which a graph cannot do. Try optim.Adam.")
    after = moments(shadow, params)
    if after.keys() != state.keys():
        raise Untraceable("the optimiser begins to keep tensors that it did not keep before.")
    return params, [after[slot].to(value.dtype) for slot, value in state.items()]


def _shadow(
    optimizer: torch.optim.Optimizer,
    leaves: Sequence[Tensor],
    params: Sequence[Tensor],
    state: Mapping[Slot, Tensor],
    options: Mapping[Option, Tensor],
) -> torch.optim.Optimizer:
    """An optimiser of the same class and options over `params`."""
    shadow = copy(optimizer)
    stand_in = dict(zip(map(id, leaves), params, strict=True))
    shadow.param_groups = [
        {
            **group,
            **{k: v for k, v in _PLAIN.items() if k in group},
            "params": [stand_in[id(p)] for p in group["params"]],
        }
        for group in optimizer.param_groups
    ]
    for option, value in options.items():
        group, old = shadow.param_groups[option.place], shadow.param_groups[option.place][option.name]
        both = (*old[: option.entry], value, *old[option.entry + 1 :]) if isinstance(old, tuple) else value
        group[option.name] = both
    shadow.state = defaultdict(dict)
    for leaf, param in zip(leaves, params, strict=True):
        if leaf in optimizer.state:
            shadow.state[param].update(optimizer.state[leaf])
    for slot, value in state.items():
        # the count enters 1 - beta^count, which cancels: in double, as Python would compute it
        shadow.state[params[slot.place]][slot.name] = value.double() if slot.name == "step" else value.clone()
    return shadow


def _python_numbers(update: Update) -> list[Any]:
    return [
        (name, value)
        for state in update.optimizer.state.values()
        for name, value in state.items()
        if not isinstance(value, Tensor)
    ]


class _NumbersAsTensors(TorchFunctionMode):
    """Lets a 0-dim tensor be a number such as `alpha` in `x.add_(y, alpha=a)`, without a look at its value."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        factor = kwargs.get("alpha", kwargs.get("value"))
        name = getattr(func, "__name__", "")
        if not isinstance(factor, Tensor) or name.rstrip("_") not in _TERMS:
            return func(*args, **kwargs)
        x, term = args[0], _TERMS[name.rstrip("_")](*args[1:]) * factor
        return x.add_(term) if name.endswith("_") else x + term


_TERMS: dict[str, Callable[..., Tensor]] = {
    "add": lambda y: y,
    "sub": lambda y: -y,
    "addcmul": torch.mul,
    "addcdiv": torch.div,
}

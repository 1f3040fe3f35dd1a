"""Optimisers for `SVI`: a recipe that builds a `torch.optim` optimiser once the parameters are known.

`Adam({"lr": 0.01})` or `Adam(lr=0.01)`; any other class of `torch.optim` through `Optim(torch.optim.SGD, lr=0.1)`. A
plain callable from parameters to an optimiser, such as `functools.partial(torch.optim.AdamW, lr=1e-3)`, serves as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["SGD", "Adam", "AdamW", "Optim"]

OptimFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]
Options = Mapping[str, Any] | Callable[[str], Mapping[str, Any]]


class Optim:
    """A `torch.optim` class with its options.

    Args:
        kind: a subclass of `torch.optim.Optimizer`.
        optim_args: its options; or a function from a parameter's name to options for it alone.
        **options: options by keyword.

    >>> optimizer = Optim(torch.optim.SGD, lr=0.1)([("w", torch.zeros(2, requires_grad=True))])
    >>> optimizer.param_groups[0]["lr"]
    0.1
    """

    def __init__(self, kind: Any, optim_args: Options | None = None, **options: Any) -> None:
        given: Any = kind
        if not (isinstance(given, type) and issubclass(given, torch.optim.Optimizer)):
            raise TypeError(f"Optim: expected a torch.optim class, got {kind!r}. Try Optim(torch.optim.SGD, lr=0.1).")
        self.kind: type[torch.optim.Optimizer] = kind
        self.per_name = optim_args if callable(optim_args) else None
        self.options = {**({} if optim_args is None or callable(optim_args) else optim_args), **options}

    def __call__(self, named: Iterable[tuple[str, Tensor]]) -> torch.optim.Optimizer:
        """The optimiser over these named leaves."""
        named = list(named)
        options = self._defaults([leaf for _, leaf in named])
        return self.kind(self.groups(named), **options)

    def groups(self, named: Iterable[tuple[str, Tensor]]) -> list[dict[str, Any]]:
        """Parameter groups: one for all, or one per name where options differ by name."""
        if self.per_name is None:
            return [{"params": [leaf for _, leaf in named]}]
        return [{"params": [leaf], **self.per_name(name)} for name, leaf in named]

    def _defaults(self, leaves: list[Tensor]) -> dict[str, Any]:
        return self.options

    def __repr__(self) -> str:
        options = "per parameter" if self.per_name else ", ".join(f"{k}={v!r}" for k, v in self.options.items())
        return f"Optim({self.kind.__name__}, {options})"


class _Fused(Optim):
    """An optimiser whose update torch can do in one kernel for all parameters; used unless options say otherwise."""

    def _defaults(self, leaves: list[Tensor]) -> dict[str, Any]:
        chosen = {"fused", "foreach", "capturable", "differentiable"} & set(self.options)
        able = all(leaf.is_floating_point() and leaf.device.type in ("cpu", "cuda") for leaf in leaves)
        return self.options if chosen or not able else {**self.options, "fused": True}


class Adam(_Fused):
    """`torch.optim.Adam`, as one fused update for all parameters."""

    def __init__(self, optim_args: Options | None = None, **options: Any) -> None:
        super().__init__(torch.optim.Adam, optim_args, **options)


class AdamW(_Fused):
    """`torch.optim.AdamW`, as one fused update for all parameters."""

    def __init__(self, optim_args: Options | None = None, **options: Any) -> None:
        super().__init__(torch.optim.AdamW, optim_args, **options)


class SGD(_Fused):
    """`torch.optim.SGD`, as one fused update for all parameters where it has no momentum."""

    def __init__(self, optim_args: Options | None = None, **options: Any) -> None:
        super().__init__(torch.optim.SGD, optim_args, **options)

    def _defaults(self, leaves: list[Tensor]) -> dict[str, Any]:
        # torch's fused kernel refuses a group in which some parameters have momentum and new ones do not have it yet
        return self.options if self.options.get("momentum") else super()._defaults(leaves)


def build(factory: Any, named: list[tuple[str, Tensor]]) -> torch.optim.Optimizer:
    """The optimiser over these leaves, from a recipe of ours or any callable on parameters.

    Raises:
        TypeError: `factory` builds something that is not a `torch.optim` optimiser.
    """
    made = factory(named) if isinstance(factory, Optim) else factory([leaf for _, leaf in named])
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(
            f"SVI: optim must build a torch.optim optimiser, got {type(made).__name__}. "
            f"Try inference.optim.Adam(lr=0.01), or functools.partial(torch.optim.Adam, lr=0.01)."
        )
    return made


def rebuild(optimizer: torch.optim.Optimizer, factory: Any, named: list[tuple[str, Tensor]]) -> torch.optim.Optimizer:
    """The optimiser over other leaves, as one built over them from the start; what it knows of a leaf it keeps.

    Adding a parameter group instead would make the state depend on when a parameter appeared, and some optimisers
    (Adagrad) only know the parameters they were built with.
    """
    new = build(factory, named)
    for leaf in (leaf for _, leaf in named):
        if leaf in optimizer.state:
            new.state[leaf] = optimizer.state[leaf]
    if len(new.param_groups) == len(optimizer.param_groups):  # a scheduler may have changed the options
        for group, old in zip(new.param_groups, optimizer.param_groups, strict=True):
            group.update({key: value for key, value in old.items() if key != "params"})
    return new

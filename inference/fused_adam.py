"""A step of fused Adam by its function, which takes half the time of the method around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

__all__ = ["moved_by_kernel"]

_OPTIONS = ("amsgrad", "lr", "weight_decay", "eps", "maximize", "decoupled_weight_decay")


def moved_by_kernel(optimizer: torch.optim.Optimizer) -> bool:
    """Move the leaves as `optimizer.step()` would, calling no hooks; False, and nothing done, where that is not known.

    The first step of a leaf makes its state, and a scheduler counts the calls of the method: these are left to it.
    """
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or "step" in vars(optimizer):
        return False
    moves = []
    for group in optimizer.param_groups:
        leaves = [leaf for leaf in group["params"] if leaf.grad is not None]
        states = [optimizer.state.get(leaf) for leaf in leaves]
        if not group["fused"] or not all(states):
            return False
        if leaves:
            moves.append((group, leaves, states))
    with torch.no_grad():
        for move in moves:
            _move(*move)
    return True


def _move(group: dict[str, Any], leaves: list[Tensor], states: list[Any]) -> None:
    beta1, beta2 = group["betas"]
    adam(
        leaves,
        [leaf.grad for leaf in leaves],  # type: ignore[misc]  # those without a gradient are not among them
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else [],
        [state["step"] for state in states],
        fused=True,
        beta1=beta1,
        beta2=beta2,
        **{name: group[name] for name in _OPTIONS},
    )

"""Values that may be numbers or tensors: compared by content, shown short, and looked at before a computation."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .tree import Node

__all__ = [
    "extremes",
    "few_numbers",
    "gradient_possible",
    "highest",
    "known",
    "lowest",
    "numbered",
    "plainly_eager",
    "same_value",
    "short",
]


_MANY, _TOO_MANY = 1_000, 100_000  # between these, counting takes longer than a look-up, and keeping costs little
_FEW = 32  # so many numbers are read in the time that one kernel takes to start


def few_numbers(value: Tensor) -> list[float] | None:
    """The entries, if they are few, finite and on the CPU; None for anything else, and where a graph is recorded."""
    if not 0 < value.numel() <= _FEW or not value.is_cpu or torch._C._len_torch_dispatch_stack():
        return None
    dims = value.dim()
    numbers: list[float] = [value.item()] if dims == 0 else (value if dims == 1 else value.flatten()).tolist()
    total = sum(numbers)
    return numbers if total - total == 0 else None


def extremes(value: Tensor) -> tuple[float, float] | None:
    """The smallest and the largest entry; None where values cannot be read, or reading them would wait for a device.

    One cheap pass that lets a formula leave out its care for edges that do not occur. Inside vmap or a capture there
    is nothing to look at, and the careful form stays.
    """
    if not value.is_cpu or torch.compiler.is_compiling() or value.numel() == 0:
        return None
    try:
        numbers = few_numbers(value)
        if numbers is not None:
            return min(numbers), max(numbers)
        low, high = torch.aminmax(value.detach() if value.requires_grad else value)
        return low.item(), high.item()
    except RuntimeError:
        return None


def highest(value: Tensor) -> float:
    """The larger of the two `extremes` alone, in less time; infinite where there is nothing to look at."""
    if not value.is_cpu or torch.compiler.is_compiling():
        return torch.inf
    try:
        numbers = few_numbers(value)
        return value.max().item() if numbers is None else max(numbers)
    except RuntimeError:  # also without entries
        return torch.inf


def lowest(value: Tensor) -> float:
    """The smaller of the two `extremes` alone, in less time; minus infinity where there is nothing to look at."""
    if not value.is_cpu or torch.compiler.is_compiling():
        return -torch.inf
    try:
        numbers = few_numbers(value)
        return value.min().item() if numbers is None else min(numbers)
    except RuntimeError:  # also without entries
        return -torch.inf


def gradient_possible(*values: Tensor) -> bool:
    """Whether a derivative in one of `values` may be asked for; where that cannot be known, yes.

    Under `no_grad` nothing is asked for.
    """
    if not torch.is_grad_enabled():
        return False
    for value in values:  # a generator would take as long as a kernel
        if value.requires_grad:
            return True
    return not plainly_eager()


def numbered(size: int, device: torch.device | str | None) -> Tensor:
    """0 ... size - 1. Long ones are kept for the next to ask, and made anew once somebody has written to them."""
    if not _MANY <= size <= _TOO_MANY or not plainly_eager():
        return torch.arange(size, device=device)
    kept = _kept_numbers(size, torch.get_default_device() if device is None else torch.device(device))
    return kept if kept._version == 0 else torch.arange(size, device=device)


@functools.lru_cache(maxsize=16)
def _kept_numbers(size: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a tensor of inference mode is of no use outside
        return torch.arange(size, device=device)


def plainly_eager() -> bool:
    """Whether operations are run as they are written, by nobody but autograd.

    What this rules out does not show on a tensor: a `torch.func` transformation, a tangent of forward mode, and a
    graph that is being recorded.
    """
    if torch.compiler.is_compiling():
        return False
    transformed = torch._C._functorch.maybe_current_level() is not None
    return not (transformed or forward_ad._current_level >= 0 or torch._C._len_torch_dispatch_stack() > 0)


def same_value(a: Any, b: Any) -> bool:
    """Whether both are equal, entry by entry where they are tensors, attribute by attribute where they are trees."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return bool(torch.equal(torch.as_tensor(a), torch.as_tensor(b)))
    if isinstance(a, Node) and type(a).__eq__ is object.__eq__:
        mine, theirs = vars(a), vars(b) if type(a) is type(b) else {}
        return mine.keys() == theirs.keys() and all(same_value(mine[k], theirs[k]) for k in mine)
    return bool(a == b)


def short(value: Any) -> str:
    """A number as it reads, a larger tensor as its shape, anything else by its own `repr`."""
    if not isinstance(value, Tensor):
        return repr(value)
    if value.dim() == 0 and value.device.type != "meta":
        try:
            number = value.item()
        except RuntimeError:  # inside vmap or a capture there is no number to show
            return "tensor()"
        return f"{number:.6g}" if isinstance(number, float) else str(number)
    return f"tensor{tuple(value.shape)}"


def known(mask: Tensor) -> bool:
    """Whether one look shows that every entry is true.

    Only on the CPU, where a look is cheaper than computing both sides of a choice; elsewhere it would wait for the
    device, and inside vmap or a capture there is nothing to look at.
    """
    if not mask.is_cpu or torch.compiler.is_compiling():
        return False
    try:
        return bool(mask.all().item())
    except RuntimeError:  # inside vmap, or on fake tensors
        return False

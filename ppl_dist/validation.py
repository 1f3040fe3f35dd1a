"""When values are checked, and what is said when a check fails.

The switch has two layers: a process-wide default (`Distribution.set_default_validate_args`) and an
override that belongs to the current context (`validating`), which the inference loops use to drop
value checks after their first step without touching anybody else's setting. A distribution built
with an explicit `validate_args` follows neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .constraints import Constraint

__all__ = ["set_default_validation", "validating", "validation_enabled_now"]

_default = [__debug__]
_override: ContextVar[bool | None] = ContextVar("ppl_dist_validation", default=None)


def set_default_validation(flag: bool) -> None:
    """Set the process-wide default; `flag` is on (True) or off (False)."""
    if not isinstance(flag, bool):
        raise ValueError(f"set_default_validation: expected True or False, got {flag!r}.")
    _default[0] = flag


def validation_enabled_now() -> bool:
    """Whether a distribution built here and now, with `validate_args=None`, checks its values."""
    override = _override.get()
    return _default[0] if override is None else override


@contextmanager
def validating(flag: bool) -> Iterator[None]:
    """Switch value checks on or off inside a `with` block, for this thread and context alone.

    >>> import ppl_dist as dist
    >>> with validating(False):
    ...     print(dist.Normal(0.0, -1.0).scale)
    tensor(-1.)
    """
    token = _override.set(flag)
    try:
        yield
    finally:
        _override.reset(token)


def resolve(validate_args: bool | None) -> bool:
    """The answer for one distribution: its own word first, then the context's, then the default.

    Inside a graph capture values cannot be read, so nothing is checked there; `log_prob` then
    answers -inf outside the support, as it does whenever validation is off.
    """
    if torch.compiler.is_compiling():
        return False
    if validate_args is not None:
        return validate_args
    override = _override.get()
    return _default[0] if override is None else override


def holds(constraint: Constraint, value: Tensor) -> bool | None:
    """Whether every entry of `value` satisfies `constraint`; None where values cannot be read.

    `torch.func.vmap` and fake tensors refuse to hand out a Python bool, with a RuntimeError.
    """
    try:
        return constraint.holds(value)
    except RuntimeError:
        return None


def violation(constraint: Constraint, value: Tensor) -> str:
    """`1 of 3 entries is not (first: -2 at [1], float32)`: the facts about a failed check."""
    value = value.detach()
    try:
        bad = ~constraint.check(value)
    except Exception:  # a check that cannot even run on this shape still deserves its message
        return f"shape {tuple(value.shape)}, {dtype_name(value)} does not fit it"
    dtype = dtype_name(value)
    if bad.dim() == 0:
        shown = format_value(value) if value.dim() == 0 else f"shape {tuple(value.shape)}"
        return f"got {shown}, {dtype}"
    count, total = int(bad.sum()), bad.numel()
    where = tuple(int(i) for i in bad.nonzero()[0])
    first = value[where] if len(where) <= value.dim() else value
    shown = format_value(first) if first.dim() == 0 else f"a block of shape {tuple(first.shape)}"
    entries = "entry" if total == 1 else "entries"
    verb = "is" if count == 1 else "are"
    return f"{count} of {total} {entries} {verb} not (first: {shown} at {list(where)}, {dtype})"


def format_value(value: Tensor) -> str:
    """A 0-dim tensor as short text."""
    number = value.item()
    return f"{number:.6g}" if isinstance(number, float) else str(number)


def dtype_name(value: Tensor) -> str:
    """`float32` rather than `torch.float32`."""
    return str(value.dtype).removeprefix("torch.")

"""Constraints in words: dictionaries, lists and numbers, so that loading a file runs no code out of it."""

from __future__ import annotations

import dataclasses
from typing import Any

from . import constraints
from .constraints import Constraint

__all__ = ["from_plain", "to_plain"]


def to_plain(where: str, value: Any) -> Any:
    """A constraint, or a field of one, in words.

    Raises:
        ValueError: it is somebody else's; `where` says what it belongs to.
    """
    if isinstance(value, Constraint):
        kind = type(value).__name__
        if getattr(constraints, kind, None) is not type(value):
            raise ValueError(
                f"{where}: {kind} is not one of our constraints and cannot be written to a file. "
                f"Try saving store.leaves, and registering the parameter again after loading."
            )
        fields = [field.name for field in dataclasses.fields(value) if field.init]  # type: ignore[arg-type]  # ours all are
        return {"constraint": kind, "fields": {field: to_plain(where, getattr(value, field)) for field in fields}}
    if isinstance(value, list | tuple):
        return [to_plain(where, item) for item in value]
    return value


def from_plain(plain: Any) -> Any:
    """The constraint that `to_plain` put in words."""
    if isinstance(plain, list):
        return [from_plain(item) for item in plain]
    if isinstance(plain, dict):
        fields = {field: from_plain(value) for field, value in plain["fields"].items()}
        return getattr(constraints, plain["constraint"])(**fields)
    return plain

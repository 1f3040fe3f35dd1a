"""How the tests of error messages read them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest


def fails(kind: type[Exception], call: Callable[[], Any], *parts: str) -> str:
    """Call, expect `kind`, find all `parts` in the message, give the message with its notes."""
    with pytest.raises(kind) as info:
        call()
    message = str(info.value.args[0])
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"
    assert "Try " in message or "did you mean" in message or "Either" in message, message
    return "\n".join([message, *getattr(info.value, "__notes__", ())])


def advice(message: str, pattern: str = r"Try (.+?)\.?$") -> str:
    found = re.search(pattern, message, flags=re.MULTILINE)
    assert found is not None, message
    return found.group(1)

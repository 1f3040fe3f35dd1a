"""How the tests of error messages read them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

import ppl_dist as dist
from ppl import plate, sample


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


def model() -> None:
    """The model that the tests of handlers run: its sites are mu, tau, theta and obs."""
    mu = sample("mu", dist.Normal(0.0, 1.0))
    tau = sample("tau", dist.Gamma(2.0, 2.0))
    with plate("schools", 3):
        theta = sample("theta", dist.Normal(mu, tau))
        sample("obs", dist.Normal(theta, 1.0), obs=torch.zeros(3))

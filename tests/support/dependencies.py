"""What a run under `track` finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ppl import ParamStore, handlers, parents

__all__ = ["dependencies"]


def dependencies(model: Callable[..., Any], *args: Any) -> dict[str, str]:
    """The parents of every site but the plates: `{"x": "mu tau"}`."""
    with ParamStore():
        trace = handlers.trace(handlers.track(model)).get_trace(*args)
    assert torch._C._len_torch_function_stack() == 0
    return {name: " ".join(sorted(parents(site))) for name, site in trace.items() if site.type != "plate"}

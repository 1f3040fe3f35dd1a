"""Whoever imports a public name of torch.distributions from us finds it, with parameters of the same names."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

SUBMODULES = ("", ".constraints", ".transforms", ".kl", ".constraint_registry", ".utils")


def names() -> list[tuple[str, str]]:
    return [(sub, name) for sub in SUBMODULES for name in importlib.import_module(f"torch.distributions{sub}").__all__]


def parameters(value: Any) -> list[str]:
    return list(inspect.signature(value).parameters)


def fits(theirs: Any, ours: Any) -> bool:
    """Whether our parameters begin with theirs, and what we add is optional and takes no place among them."""
    if not callable(theirs):
        return True
    extra = list(inspect.signature(ours).parameters.values())[len(parameters(theirs)) :]
    optional = all(p.default is not p.empty or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in extra)
    return parameters(ours)[: len(parameters(theirs))] == parameters(theirs) and optional


@pytest.mark.parametrize("sub, name", [pytest.param(s, n, id=f"torch.distributions{s}.{n}") for s, n in names()])
def test_a_public_name_of_torch_is_ours_too(sub: str, name: str) -> None:
    theirs = getattr(importlib.import_module(f"torch.distributions{sub}"), name)
    ours = getattr(importlib.import_module(f"ppl_dist{sub}"), name, None)
    assert ours is not None, f"ppl_dist{sub} has no {name}"
    assert fits(theirs, ours), f"{name}: expected {inspect.signature(theirs)}, got {inspect.signature(ours)}"


def test_the_comparison_sees_a_wrong_signature() -> None:
    def theirs(loc: int, scale: int) -> None: ...
    def swapped(scale: int, loc: int) -> None: ...
    def demanding(loc: int, scale: int, extra: int) -> None: ...
    def longer(loc: int, scale: int, *, extra: int = 0) -> None: ...

    assert [fits(theirs, ours) for ours in (theirs, swapped, demanding, longer)] == [True, False, False, True]

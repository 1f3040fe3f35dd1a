"""Fixtures that several folders of tests share."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are interpreted in this test, and not compiled."""
    from tests.support.compiling import build_interpreted

    monkeypatch.setattr(importlib.import_module("inference.compiled_step"), "build", build_interpreted)

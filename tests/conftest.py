"""Fixtures that several folders of tests share."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are interpreted in this test, and not compiled."""
    from tests.support.compiling import build_interpreted

    for room in ("recorded_step", "compiling"):
        monkeypatch.setattr(importlib.import_module(f"inference.{room}"), "build", build_interpreted)

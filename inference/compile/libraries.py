"""Libraries on disk: whole or not at all, and made again where what lies there is broken."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["content_of", "library"]


def library(path: Path, make: Callable[[], bytes]) -> str:
    """Where to load a library from: `path`, with what `make` gives put there if there is no whole one.

    A library that a full disk or a killed process has cut short ends the process that loads it, and no error can be
    caught. So each ends with a digest of all before it, which loaders pass over.
    """
    if not _whole(path):
        content = make()
        with tempfile.TemporaryDirectory(dir=path.parent) as made:
            copy = Path(made) / path.name
            copy.write_bytes(content + _digest(content))
            copy.replace(path)
    return str(path)


def content_of(path: str) -> bytes:
    """What `make` gave."""
    return Path(path).read_bytes()[:-_SIZE]


def _whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return content[-_SIZE:] == _digest(content[:-_SIZE])


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


_SIZE = hashlib.sha256().digest_size

"""What is public: every name in `__all__` of the three packages and of their modules without an underscore.

`python -m tests.api.public` prints the list that tests/api/public_names.txt checks in.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

PACKAGES = ("inference", "ppl", "ppl_dist")
CHECKED_IN = Path(__file__).with_name("public_names.txt")


def public_modules(packages: Iterable[str] = PACKAGES) -> Iterator[ModuleType]:
    """The packages and all modules below them, by name, that have an `__all__` and no underscore in their path."""
    for name in packages:
        package = importlib.import_module(name)
        below = sorted(info.name for info in pkgutil.walk_packages(package.__path__, f"{name}."))
        for module_name in [name, *below]:
            if not any(part.startswith("_") for part in module_name.split(".")):
                module = importlib.import_module(module_name)
                if hasattr(module, "__all__"):
                    yield module


def public_names(modules: Iterable[ModuleType]) -> list[str]:
    """`module.name`, sorted."""
    return sorted(f"{module.__name__}.{name}" for module in modules for name in module.__all__)


def undocumented(modules: Iterable[ModuleType]) -> list[str]:
    """Public modules, classes and functions without a docstring of their own."""
    bare = []
    for module in modules:
        for name in module.__all__:
            value = getattr(module, name)
            speaks = inspect.ismodule(value) or callable(value)
            if speaks and not own_docstring(value):
                bare.append(f"{module.__name__}.{name}")
    return sorted(bare)


def own_docstring(value: object) -> str:
    """The docstring, unless a dataclass made it up from the signature or a type alias lent its own."""
    doc = (value.__doc__ or "").strip()
    if inspect.isclass(value) and dataclasses.is_dataclass(value):
        made_up = value.__name__ + str(inspect.signature(value)).replace(" -> None", "")
        return "" if doc == made_up else doc
    return doc


def unmentioned(modules: Iterable[ModuleType], pages: str) -> list[str]:
    """Public names that stand on no page."""
    words = set(re.findall(r"\w+", pages))
    return sorted({f"{module.__name__}.{name}" for module in modules for name in module.__all__ if name not in words})


if __name__ == "__main__":
    print("\n".join(public_names(public_modules())))

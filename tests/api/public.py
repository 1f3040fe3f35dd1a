"""What is public: every name in `__all__` of the three packages, and of the modules those names lead to.

`python -m tests.api.public` prints the list that tests/api/public_names.txt checks in.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

PACKAGES = ("inference", "ppl", "ppl_dist")
CHECKED_IN = Path(__file__).with_name("public_names.txt")


def public_modules(packages: Iterable[str] = PACKAGES) -> Iterator[ModuleType]:
    """The packages, and the modules that their `__all__` names, however deep; others are how it is built."""
    found: dict[str, ModuleType] = {}
    waiting = [importlib.import_module(name) for name in packages]
    while waiting:
        module = waiting.pop()
        found[module.__name__] = module
        named = [getattr(module, name) for name in module.__all__]
        waiting += [value for value in named if inspect.ismodule(value) and value.__name__ not in found]
    yield from (found[name] for name in sorted(found))


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

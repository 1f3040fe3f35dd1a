"""Values that are trees of tensors, for `torch.func` and `torch.compile`.

This is the one place that touches `torch.utils._pytree`, which is private to torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from torch import Tensor
from torch.utils import _pytree

__all__ = ["Node", "detached", "flattened", "rebuilt", "tensors_in"]


class Node:
    """What a function under `torch.func` may take and give: its tensors are found, replaced and put back.

    Tensors and inner nodes among the attributes, also in lists, are children; all else is structure. A subclass
    overrides `_rebuilt` where its structure follows from the shapes of its children.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "state_dict"):  # a module keeps its tensors where modules do
            _pytree.register_pytree_node(cls, cls._flatten, cls._unflatten)

    def _structure(self) -> dict[str, Any]:
        """The attributes that make up the value."""
        return dict(self.__dict__)

    def _rebuilt(self) -> None:
        """Called when the children have been replaced by others of the same kinds."""

    @classmethod
    def _flatten(cls, value: Node) -> tuple[list[Any], Any]:
        state = value._structure()
        names = state.pop("_placeholders", None)  # torch builds trees of ints from the same structure
        if names is None:
            names = tuple(name for name, item in state.items() if _is_child(item))
        rest = tuple((name, item) for name, item in state.items() if name not in names)
        return [state[name] for name in names], (names, rest)

    @classmethod
    def _unflatten(cls, children: Any, context: Any) -> Self:
        names, rest = context
        new = object.__new__(cls)
        new.__dict__.update(rest)
        new.__dict__.update(zip(names, children, strict=True))
        if all(_is_child(new.__dict__[name]) for name in names):
            new._rebuilt()
        else:
            new.__dict__["_placeholders"] = names
        return new


def _is_child(item: Any) -> bool:
    if isinstance(item, list):
        return bool(item) and all(_is_child(inner) for inner in item)
    return isinstance(item, Tensor | Node)


def flattened(value: Any) -> tuple[list[Any], Any]:
    """The leaves of nested lists, tuples, dictionaries and nodes, and the structure, which compares by content."""
    return _pytree.tree_flatten(value)


def rebuilt(leaves: list[Any], structure: Any) -> Any:
    """The value that `flattened` took apart, with these leaves."""
    return _pytree.tree_unflatten(leaves, structure)


def tensors_in(item: Any) -> Iterator[Tensor]:
    """The tensors of a value, those of its inner nodes and lists included."""
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, list):
        for inner in item:
            yield from tensors_in(inner)
    elif isinstance(item, Node):
        yield from tensors_in(item._flatten(item)[0])


def detached(item: Any) -> Any:
    """The same value with tensors that carry no gradient; modules inside it stay as they are."""
    if isinstance(item, Tensor):
        return item.detach()
    if isinstance(item, list):
        return [detached(inner) for inner in item]
    if isinstance(item, Node):
        children, context = item._flatten(item)
        return item._unflatten([detached(child) for child in children], context)
    return item

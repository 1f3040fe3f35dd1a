"""A recorded graph as values that depend on each other: nothing is written to, and nothing is computed twice."""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from .drawing import from_counter
from .graph import Graph, constant, layout
from .lowering import SAME

__all__ = ["Op", "Scattered", "Stored", "Summed", "changed", "fact", "read", "values_of", "with_sums"]

_aten = torch.ops.aten


class Op:
    """One value: an operation on others, or an input.

    Attributes:
        target: an operation of torch, `Stored`, `Summed`, `Scattered`, or None for an input.
        args: with other `Op`s in them.
        kwargs: likewise.
        val: a stand-in, or several.
        tensors: the stand-ins.
        layouts: of each: shape, stride, dtype, device.
        random: whether another one like it would differ.
        drawn: whether its numbers come from the counter.
    """

    __slots__ = ("args", "drawn", "kwargs", "layouts", "random", "target", "tensors", "val")

    def __init__(
        self, target: Any, args: Any, kwargs: Any, val: Any, *, random: bool = False, drawn: bool = False
    ) -> None:
        self.target, self.args, self.kwargs = target, tuple(args), dict(sorted(kwargs.items()))
        self.val, self.random, self.drawn = val, random, drawn
        several = val if isinstance(val, tuple | list) else [val]
        self.tensors = [each for each in several if isinstance(each, Tensor)]
        self.layouts = tuple(map(layout, self.tensors))


@dataclass(frozen=True)
class Stored:
    """An operation that writes to its first argument, and gives it back; here it is given a copy.

    Attributes:
        operation: of torch.
    """

    operation: Any

    @property
    def tags(self) -> Any:
        return self.operation.tags


@dataclass(frozen=True)
class Summed:
    """The sum of all its arguments, in no order."""


@dataclass(frozen=True)
class Scattered:
    """Zeros of this size, to which each argument is added at its own place along a dimension.

    Attributes:
        sizes: of the result.
        dim: which dimension.
        places: of the arguments.
    """

    sizes: tuple[int, ...]
    dim: int
    places: tuple[int, ...]


def changed(value: Any, change: Callable[[Any], Any], kind: type = Op) -> Any:
    """`value` with everything of this kind in its tuples, lists and dictionaries replaced."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, tuple | list):
        return [changed(each, change, kind) for each in value]
    if isinstance(value, dict):
        return {name: changed(each, change, kind) for name, each in value.items()}
    return value


def read(op: Op) -> Iterator[Op]:
    """The values it is computed from."""
    found: list[Op] = []
    changed((op.args, op.kwargs), found.append)
    return iter(found)


def values_of(graph: Graph) -> tuple[list[Op], list[Op]] | None:
    """The values of a graph, each behind those it depends on, and its outputs.

    None where what it computes depends on where it lies: where memory that several tensors share is written to.
    """
    found = _Reading(graph).run()
    if found is None:
        return None
    values, outputs = found
    # a draw moves torch's generator on, and what gives nothing is there to raise an error
    acting = [op for op in values if (op.random and graph.as_eager) or (op.target is not None and op.val is None)]
    return _needed(values, [*outputs, *acting]), outputs


class _Reading:
    """From nodes of a graph, some of which write in place, to values."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.known = graph, from_counter(graph)
        self.now: dict[fx.Node, fx.Node] = {}  # which node stands for the memory of another
        self.value: dict[fx.Node, Op] = {}  # what is in it
        self.shared: set[fx.Node] = set()  # memory that is seen in several ways
        self.twice: set[fx.Node] = set()  # memory that has two shapes, which may part
        self.others: set[fx.Node] = set()  # memory that the program is lent, and does not give back
        self.same: dict[Any, Op] = {}
        self.ops: list[Op] = []

    def run(self) -> tuple[list[Op], list[Op]] | None:
        lifted = [self.graph.mode.from_tensor(each.detach()) for each in self.graph.lifted]
        inputs = iter([*self.graph.inputs, *lifted])
        given = [node for node in self.graph.module.graph.nodes if node.op == "placeholder"]
        self.others.update(given[self.graph.num_state :])
        for node in self.graph.module.graph.nodes:
            if node.op == "output":
                return self.ops, [self._of(each) for each in node.args[0]]
            if node.op == "placeholder":
                self._put(node, self._new(None, (), {}, next(inputs)))
            elif node.op == "get_attr":
                tensor = getattr(self.graph.module, node.target)
                self._put(node, self._number(tensor.item(), self.graph.mode.from_tensor(tensor)))
            elif not self._take(node):
                return None
        raise AssertionError("a graph ends with its outputs")

    def _take(self, node: fx.Node) -> bool:
        """Read an operation; whether it could be."""
        target = node.target
        if target is operator.getitem:
            self._put(node, self._entry(node))
            return True
        if not isinstance(target, torch._ops.OpOverload) or target in _BY_MEMORY:
            return False
        if target is _aten.lift_fresh_copy.default:
            self._put(node, self._of(node.args[0]))
            return True
        if target in SAME:
            self.now[node] = self.now[node.args[0]]  # type: ignore[index]  # which is a node
            self.twice.add(self.now[node])
            return True
        if target is _aten.scalar_tensor.default:
            self._put(node, self._number(node.args[0], node.meta["val"]))
            return True
        if target._schema.is_mutable:
            return self._write(node)
        if any(each.alias_info is not None for each in target._schema.returns):
            self.shared |= {node, *(self.now[each] for each in node.all_input_nodes)}
        self._put(node, self._made(node, target))
        return True

    def _write(self, node: fx.Node) -> bool:
        target, written = node.target, node.args[0]
        if not isinstance(written, fx.Node):
            return False  # several at once
        memory = self.now[written]
        if torch.Tag.inplace_view in target.tags and memory in self.twice:  # type: ignore[union-attr]  # an overload
            return False
        first, *others = target._schema.arguments  # type: ignore[union-attr]  # an overload
        writes_first_only = first.alias_info is not None and not any(each.alias_info for each in others)
        if not writes_first_only or memory in self.shared or memory in self.others or len(target._schema.returns) != 1:  # type: ignore[union-attr]
            return False
        # a view that is taken later sees what is written now, and one that was taken before is in `shared`
        self.value[memory] = self._written(node)
        self.now[node] = memory
        return True

    def _written(self, node: fx.Node) -> Op:
        target: Any = node.target
        before = self._of(node.args[0])
        if target is _aten.copy_.default:
            source = node.args[1]
            value = self._of(source) if isinstance(source, fx.Node) else None
            if value is not None and value.layouts == before.layouts:
                return value
        plain = _plain(target)
        # many draws of one operation that does not write are one draw for torch, where it has no rule for it
        drawing = target in self.known or torch.Tag.nondeterministic_seeded in target.tags
        if target is _aten.copy_.default or drawing or plain is None:
            return self._made(node, Stored(target))
        return self._made(node, plain)

    def _entry(self, node: fx.Node) -> Op:
        source, entry = node.args
        assert isinstance(source, fx.Node)
        if source in self.shared:
            self.shared.add(node)
        if source.target is _aten.unbind.int:
            dim = source.args[1] if len(source.args) > 1 else 0
            args = self._of(source.args[0]), dim, entry
            return self._new(_aten.select.int, args, {}, node.meta["val"])
        return self._new(operator.getitem, (self._of(source), entry), {}, node.meta["val"])

    def _made(self, node: fx.Node, target: Any) -> Op:
        args = changed(node.args, self._of, fx.Node)
        kwargs = changed(node.kwargs, self._of, fx.Node)
        drawn = node.target in self.known
        random = drawn or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        return self._new(target, args, kwargs, node.meta.get("val"), random=random, drawn=drawn)

    def _number(self, value: Any, val: Tensor) -> Op:
        return self._new(_aten.full.default, ([], value), {"dtype": val.dtype, "device": val.device}, val)

    def _new(self, target: Any, args: Any, kwargs: Any, val: Any, **marks: bool) -> Op:
        op = Op(target, args, kwargs, val, **marks)
        # a sum that is written to one of its terms has the dtype of that one
        key = None if op.random or target is None else (fact([target, args, kwargs]), op.layouts)
        found = self.same.setdefault(key, op) if key is not None else op
        if found is op:
            self.ops.append(op)
        return found

    def _put(self, node: fx.Node, op: Op) -> None:
        self.now[node] = node
        self.value[node] = op

    def _of(self, node: Any) -> Op:
        return self.value[self.now[node]]


def _plain(target: Any) -> Any:
    """The operation on the same arguments that gives what this one writes; None where there is none."""
    packet = getattr(_aten, target._schema.name.removeprefix("aten::").removesuffix("_"), None)
    overload = target._overloadname
    if packet is None or overload not in packet.overloads():
        return None
    found = getattr(packet, overload)
    # `pow_.Scalar` has a number as its exponent, and `pow.Scalar` as its base
    return found if _takes(found) == _takes(target) else None


def _takes(target: Any) -> list[tuple[str, str]]:
    return [(each.name, str(each.type)) for each in target._schema.arguments]


# read memory by other strides or as another dtype than the values in it have
_BY_MEMORY = {getattr(_aten, name).default for name in ("as_strided", "as_strided_scatter", "view_as_complex")}
_BY_MEMORY.add(_aten.view.dtype)


def fact(value: Any) -> Hashable:
    """What is the same for two operations that compute the same."""
    if isinstance(value, Op):
        return id(value)
    if isinstance(value, list | tuple):
        return tuple(map(fact, value))
    if isinstance(value, Mapping):
        return tuple((name, fact(each)) for name, each in sorted(value.items()))
    return constant(value)


def _uses(values: Sequence[Op], outputs: Sequence[Op]) -> dict[Op, int]:
    uses = dict.fromkeys(values, 0)
    for op in values:
        for each in read(op):
            uses[each] += 1
    for op in outputs:
        uses[op] += 1
    return uses


def _needed(values: list[Op], outputs: list[Op]) -> list[Op]:
    """The inputs, and what the outputs depend on."""
    needed = set(outputs)
    for op in reversed(values):
        if op in needed:
            needed.update(read(op))
    return [op for op in values if op in needed or op.target is None]


def with_sums(values: list[Op], outputs: list[Op], alone: Container[Op]) -> list[Op]:
    """The same values, with chains of additions that nobody else reads as one sum of many arguments.

    Args:
        values: each behind those it depends on.
        outputs: some of them.
        alone: the additions that may be part of such a chain.
    """
    return _scattered(_summed(values, outputs, alone), outputs)


def _summed(values: list[Op], outputs: list[Op], alone: Container[Op]) -> list[Op]:
    uses = _uses(values, outputs)
    parts: dict[Op, list[Op]] = {}
    inner: set[Op] = set()
    for op in filter(_is_sum, values):
        if op not in alone:
            continue
        found: list[Op] = []
        for each in op.args:
            known = parts.pop(each) if each in parts and uses[each] == 1 else None
            inner |= set() if known is None else {each}
            more = [each] if known is None else known
            found, more = (found, more) if len(found) > len(more) else (more, found)  # a long chain is not copied
            found += more
        parts[op] = found
    for op, found in parts.items():
        if len(found) > 2:
            op.target, op.args = Summed(), tuple(found)
    return [op for op in values if op not in inner]


def _is_sum(op: Op) -> bool:
    if op.target is not _aten.add.Tensor or op.kwargs or not op.val.is_floating_point():
        return False
    return all(isinstance(each, Op) and each.layouts == op.layouts for each in op.args)


def _scattered(values: list[Op], outputs: list[Op]) -> list[Op]:
    """Tensors that are zero but for one row, and are read by one sum only, become rows of one tensor."""
    uses = _uses(values, outputs)
    found: list[Op] = []
    gone: set[Op] = set()
    for op in values:
        if isinstance(op.target, Summed):
            rows: dict[Any, list[Op]] = {}
            for each in op.args:
                if each.target is _aten.select_backward.default and uses[each] == 1:
                    rows.setdefault((tuple(each.args[1]), each.args[2]), []).append(each)
            for (sizes, dim), parts in rows.items():
                places = tuple(each.args[3] % sizes[dim] for each in parts)
                found.append(Op(Scattered(sizes, dim, places), [each.args[0] for each in parts], {}, op.val))
                gone.update(parts)
                op.args = (*(each for each in op.args if each not in gone), found[-1])
        found.append(op)
    return [op for op in found if op not in gone]

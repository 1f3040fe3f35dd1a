"""Many small computations that are alike become one on a tensor with a row for each.

A program with a thousand sites written one by one is a graph of a hundred thousand operations on single numbers, and a
compiler takes hours over it. What differs from site to site is only which number they read: inputs that are used alike
lie behind one another in one tensor, and each operation runs over all of its rows. The time to compile is then that of
one site, and the machine code has vectors in it.
"""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from .alike import FEWEST, alike, varying
from .graph import Graph, constant, lift, quiet
from .rows import Packing
from .values import Op, Scattered, Stored, Summed, changed, read, values_of, with_sums

__all__ = ["Packed", "packed"]

WORTH = 0.5
"""A graph is packed where so many of its operations are left, or fewer: rows are copied in and out of at each call."""

_aten = torch.ops.aten


@dataclass(frozen=True)
class Packed:
    """A graph with like computations done as one.

    Attributes:
        graph: the operations; what it has lifted are constants.
        packing: how its inputs come about.
        drawn: for each of its random operations, which of the first graph's lie in it.
    """

    graph: Graph
    packing: Packing
    drawn: list[list[int]]


def packed(graph: Graph) -> Packed | None:
    """The same graph with less to compile; None where there is little to gain, or it cannot be."""
    if graph.written or graph.operations < 2 * FEWEST:
        return None
    found = values_of(graph)
    if found is None:
        return None
    values, outputs = found
    of_one_kind = partial(alike, outputs=outputs, num_state=graph.num_state, draws=not graph.as_eager)
    colours = of_one_kind(values)
    sizes = Counter(colours.values())
    values = with_sums(values, outputs, {op for op in values if sizes[colours[op]] < FEWEST})
    colours = of_one_kind(values)
    sizes = Counter(colours.values())
    left = sum(1 if sizes[colour] < FEWEST else 1 / sizes[colour] for colour in colours.values())
    if left > WORTH * len(values):
        return None
    units: dict[Any, list[Op]] = defaultdict(list)
    for op in values:
        alone = sizes[colours[op]] < FEWEST or (op.random and graph.as_eager)
        units[op if alone else colours[op]].append(op)
    ordered = _in_order(list(units.values()), values if graph.as_eager else [])
    return None if ordered is None else _Packing(graph, values, outputs, ordered).packed()


class _Row:
    """Values computed as one: what they are, and in which row of the result each lies."""

    def __init__(self, ops: list[Op], value: Any) -> None:
        self.row = {op: place for place, op in enumerate(ops)}
        self.value = value


class _Packing:
    """Runs the values of a graph, those that are alike at once, while a new graph is recorded."""

    def __init__(self, graph: Graph, values: list[Op], outputs: list[Op], units: list[list[Op]]) -> None:
        self.graph, self.values, self.outputs, self.units = graph, values, outputs, units
        self.single: dict[Op, Any] = {}
        self.rows: dict[Op, _Row] = {}
        self.order = {op: place for place, op in enumerate(values)}
        self.draws = {op: place for place, op in enumerate(op for op in values if op.drawn)}
        self.drawn: list[list[int]] = []
        self.constants: dict[Any, Tensor] = {}

    def packed(self) -> Packed:
        from torch.fx.experimental.proxy_tensor import make_fx

        graph, count = self.graph, self.graph.num_state
        inputs = [unit for unit in self.units if unit[0].target is None]
        state = [unit for unit in inputs if self.order[unit[0]] < count]
        inputs = [*state, *(unit for unit in inputs if self.order[unit[0]] >= count)]
        after = dict(zip(self.values, self.outputs[:count], strict=False))

        def program(*given: Tensor) -> list[Tensor]:
            self.single, self.rows, self.drawn = {}, {}, []
            for unit, tensor in zip(inputs, given, strict=True):
                self._put(unit, tensor)
            for unit in self.units:
                if unit[0].target is not None:
                    self._take(unit)
            moved = [[after[op] for op in unit] for unit in state]
            return [
                *(self._together(ops) if len(ops) > 1 else self._out(ops[0]) for ops in moved),
                *(self._out(op) for op in self.outputs[count:]),
            ]

        with quiet(), torch.no_grad(), graph.mode:
            given = [unit[0].val if len(unit) == 1 else torch.stack([op.val for op in unit]) for unit in inputs]
            module = make_fx(program, tracing_mode="real")(*given)
        module.graph.eliminate_dead_code()
        constants, _ = lift(module)
        found = Graph(
            module, given, len(state), constants, frozenset(), graph.guarded, graph.as_eager, graph.mode, [], []
        )
        places = [[self.order[op] for op in unit] for unit in inputs]
        return Packed(found, Packing(places, len(state), constants), self.drawn)

    def _put(self, unit: list[Op], value: Any) -> None:
        if len(unit) == 1:
            self.single[unit[0]] = value
        else:
            self.rows.update(dict.fromkeys(unit, _Row(unit, value)))

    def _take(self, unit: list[Op]) -> None:
        unit = sorted(unit, key=self._key)
        together = [unit]
        if len(unit) > 1:
            try:
                self._put(unit, self._many(unit))
            except (RuntimeError, IndexError, TypeError, ValueError):  # torch has no rule for it, or none that works
                together = [[op] for op in unit]
        if len(together[0]) == 1:
            for op in unit:
                self._put([op], self._one(op))
        if unit[0].drawn:
            self.drawn += [[self.draws[op] for op in ops] for ops in together]

    def _key(self, op: Op) -> Any:
        """Rows are in the order of those that they are computed from, and only then in that of the program."""
        places = [self.rows[each].row[each] for each in read(op) if each in self.rows]
        return (*places, self.order[op])

    def _one(self, op: Op) -> Any:
        if isinstance(op.target, Summed):
            return self._sum(op)
        if isinstance(op.target, Scattered):
            return self._scattered(op.target, list(op.args))
        if op.target in (_aten.stack.default, _aten.cat.default):
            return self._joined(op)
        return _called(op, *changed((op.args, op.kwargs), self._value))

    def _many(self, unit: list[Op]) -> Any:
        first = unit[0]
        if first.target is operator.getitem:
            return self._entries([op.args[0] for op in unit], first.args[1])
        if first.target is _aten.full.default and varying(first):
            return self._numbers([op.args[1] for op in unit], first.val.dtype)
        if first.target is _aten.select.int and not _same([op.args[2] for op in unit]):
            size = first.args[0].val.shape[first.args[1]]
            source = self._value(first.args[0]).movedim(first.args[1], 0)
            return self._taken(source, [op.args[2] % size for op in unit])
        if first.val is None:  # a check of what came of each, which names the row
            return _called(first, [self._together([op.args[0] for op in unit]), first.args[1]], {"is_matrix": False})
        return self._mapped(unit)

    def _mapped(self, unit: list[Op]) -> Any:
        """One operation over rows."""
        first = unit[0]
        columns = [self._column(column, first) for column in zip(*map(_flat, unit), strict=True)]
        given, dims = [value for value, _ in columns], [dim for _, dim in columns]
        if isinstance(first.target, Stored) and dims[0] is None:
            given[0], dims[0] = given[0].expand(len(unit), *given[0].shape), 0
        if first.random:  # whatever it depends on, each row is another
            given, dims = [*given, torch.empty(len(unit))], [*dims, 0]

        def operation(*each: Any) -> Any:
            found = iter(each)
            args = changed(first.args, lambda _: next(found))
            for place in varying(first):
                args[place] = next(found)
            return _called(first, args, changed(first.kwargs, lambda _: next(found)))

        if torch.Tag.pointwise in first.target.tags and not first.random:
            return operation(*_aligned(given, dims, first.val))
        with _no_loops():
            return torch.func.vmap(operation, tuple(dims), randomness="different")(*given)

    def _column(self, column: Sequence[Any], first: Op) -> tuple[Any, int | None]:
        """One argument of all rows, and along which dimension they lie; None where all have the same."""
        if isinstance(column[0], Op):
            return (self._value(column[0]), None) if _same(column) else (self._together(column), 0)
        if _same(column):
            return column[0], None
        dtype = next((each.val.dtype for each in read(first)), first.val.dtype)
        if dtype.is_floating_point and first.val.is_floating_point():
            dtype = torch.promote_types(dtype, torch.float32)  # not rounded to half precision before they are used
        return self._numbers(column, dtype), 0

    def _entries(self, sources: list[Op], entry: Any) -> Any:
        """An entry of each of several results that are tuples."""
        if sources[0] in self.rows:
            return self._together(sources)[entry]
        return torch.stack([self._value(each)[entry] for each in sources])

    def _value(self, op: Op) -> Any:
        """What one value is."""
        if op not in self.single:
            home = self.rows[op]
            row = home.row[op]
            value = home.value
            self.single[op] = [each[row] for each in value] if isinstance(value, tuple | list) else value[row]
        return self.single[op]

    def _together(self, ops: Sequence[Op]) -> Any:
        """Values behind one another."""
        home = self.rows.get(ops[0])
        if home is None or any(op not in home.row for op in ops):
            return torch.stack([self._value(op) for op in ops])
        rows = [home.row[op] for op in ops]
        if isinstance(home.value, tuple | list):
            return [self._taken(each, rows) for each in home.value]
        return self._taken(home.value, rows)

    def _taken(self, value: Tensor, rows: Sequence[int]) -> Tensor:
        if len(rows) == len(value) and list(rows) == list(range(len(rows))):
            return value
        step = rows[1] - rows[0] if len(rows) > 1 else 1
        if step > 0 and list(rows) == list(range(rows[0], rows[-1] + 1, step)):
            return value[rows[0] : rows[-1] + 1 : step]
        return value.index_select(0, self._numbers(rows, torch.int64))

    def _out(self, op: Op) -> Tensor:
        """A value with the strides it has in the first graph."""
        value: Tensor = self._value(op)
        wanted: Tensor = op.val
        if value.stride() == wanted.stride():
            return value
        made = torch.empty_strided(wanted.shape, wanted.stride(), dtype=wanted.dtype, device=wanted.device)
        return made.copy_(value)

    def _sum(self, op: Op) -> Tensor:
        homes: dict[int, list[Op]] = defaultdict(list)
        alone: list[Op] = []
        for each in op.args:
            if each in self.rows:
                homes[id(self.rows[each])].append(each)
            else:
                alone.append(each)
        parts: list[Tensor] = [self._value(each) for each in alone]
        for ops in homes.values():
            if len(ops) < FEWEST:
                parts += [self._value(each) for each in ops]
            else:
                parts.append(self._together(sorted(ops, key=self.rows[ops[0]].row.__getitem__)).sum(0))
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def _scattered(self, how: Scattered, ops: list[Op]) -> Tensor:
        both = sorted(zip(how.places, ops, strict=True), key=lambda each: each[0])
        places = [place for place, _ in both]
        rows: Tensor = self._together([op for _, op in both])
        if places == list(range(how.sizes[how.dim])):
            return rows.movedim(0, how.dim)
        blank = rows.new_zeros(how.sizes).movedim(how.dim, 0)
        return blank.index_add(0, self._numbers(places, torch.int64), rows).movedim(0, how.dim)

    def _joined(self, op: Op) -> Any:
        """`torch.stack` and `torch.cat` of values that lie behind one another already."""
        parts, dim = op.args[0], op.args[1] if len(op.args) > 1 else 0
        home = self.rows.get(parts[0])
        if home is None or any(each not in home.row for each in parts):
            return _called(op, *changed((op.args, op.kwargs), self._value))
        together = self._together(parts)
        if op.target is _aten.stack.default:
            return together.movedim(0, dim)
        dim %= together.dim() - 1
        return together.movedim(0, dim).flatten(dim, dim + 1)

    def _numbers(self, values: Sequence[Any], dtype: torch.dtype) -> Tensor:
        key = dtype, constant(tuple(values))
        if key not in self.constants:
            with _disable_current_modes():
                self.constants[key] = torch.tensor(values, dtype=dtype)
        return self.constants[key]


def _flat(op: Op) -> list[Any]:
    """What may differ from row to row: other values, and some numbers."""
    found: list[Any] = []
    changed(op.args, found.append)
    found += [op.args[place] for place in varying(op)]
    changed(op.kwargs, found.append)
    return found


def _same(values: Sequence[Any]) -> bool:
    facts = map(id, values) if isinstance(values[0], Op) else map(constant, values)
    return len(set(facts)) == 1


def _aligned(given: Sequence[Any], dims: Sequence[int | None], val: Any) -> list[Any]:
    """Arguments of a pointwise operation such that rows meet rows: those with fewer dimensions get more behind theirs.

    Numbers stay numbers, which are not rounded to the dtype of a tensor before they are used.
    """
    ranks = [each.dim() - (dim == 0) if isinstance(each, Tensor) else 0 for each, dim in zip(given, dims, strict=True)]
    most = max(ranks)
    dtypes = [each.dtype for each, rank in zip(given, ranks, strict=True) if isinstance(each, Tensor) and rank > 0]
    found = []
    for each, dim, rank in zip(given, dims, ranks, strict=True):
        if dim == 0:
            # torch rounds single numbers to the dtype of the others, which here are many
            dtype = each.dtype if rank > 0 else _rounded(each.dtype, dtypes, val)
            found.append(each.to(dtype).reshape(each.shape[:1] + (1,) * (most - rank) + each.shape[1:]))
        else:
            found.append(each)
    return found


def _rounded(dtype: torch.dtype, others: Sequence[torch.dtype], val: Any) -> torch.dtype:
    """The dtype in which a single number takes part in a pointwise operation."""
    alike = [each for each in others if _sort(each) == _sort(dtype)]
    if not alike or any(_sort(each) > _sort(dtype) for each in others):
        return dtype
    found = reduce(torch.promote_types, alike)
    half = found.is_floating_point and found.itemsize < 4 and isinstance(val, Tensor) and val.is_floating_point()
    return dtype if half else found


def _sort(dtype: torch.dtype) -> int:
    """Truth values, integers, floating-point or complex numbers."""
    return 0 if dtype == torch.bool else 3 if dtype.is_complex else 2 if dtype.is_floating_point else 1


@contextmanager
def _no_loops() -> Iterator[None]:
    """What torch has no rule for is an error inside, and not a loop over the rows."""
    functorch: Any = torch._C._functorch
    before = functorch._is_vmap_fallback_enabled()
    functorch._set_vmap_fallback_enabled(False)
    try:
        yield
    finally:
        functorch._set_vmap_fallback_enabled(before)


def _called(op: Op, args: Any, kwargs: Any) -> Any:
    """An operation on other values."""
    if isinstance(op.target, Stored):
        return op.target.operation(args[0].clone(), *args[1:], **kwargs)
    if op.target in _OF_SHAPE:  # rows may lie in memory otherwise than what they stand for
        return args[0].reshape(args[1])
    target = op.target.overloadpacket if varying(op) else op.target
    made = target(*args, **kwargs)
    if isinstance(made, Tensor) and made.dtype != op.val.dtype:
        return made.to(op.val.dtype)  # one that wrote to a tensor of another dtype
    return made


_OF_SHAPE = {_aten.view.default, _aten._unsafe_view.default}


def _in_order(units: list[list[Op]], drawn: Sequence[Op]) -> list[list[Op]] | None:
    """Units behind those that they depend on, and draws in the order of the program where they are given.

    None where there is no such order: where a site's second draw depends on its first, and torch draws site by site.
    """
    unit_of = {op: place for place, unit in enumerate(units) for op in unit}
    before: list[set[int]] = [{unit_of[each] for op in unit for each in read(op)} for unit in units]
    random = [unit_of[op] for op in drawn if op.random]
    for first, second in pairwise(random):
        before[second].add(first)
    after: dict[int, list[int]] = defaultdict(list)
    for place, needs in enumerate(before):
        for each in needs:
            after[each].append(place)
    waiting = [len(needs) for needs in before]
    ready = [place for place, needs in enumerate(waiting) if needs == 0]
    found: list[list[Op]] = []
    while ready:
        place = ready.pop()
        found.append(units[place])
        for each in after[place]:
            waiting[each] -= 1
            if waiting[each] == 0:
                ready.append(each)
    return found if len(found) == len(units) else None

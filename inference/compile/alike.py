"""Which values of a graph are computed alike, as those of a hundred sites written one by one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from .graph import constant
from .values import Op, Scattered, Summed, changed, fact, read

__all__ = ["FEWEST", "SMALL", "alike", "varying"]

FEWEST = 8  # of a kind that are computed as one
SMALL = 2**8  # entries: larger tensors take more time than the operations around them
_aten = torch.ops.aten

# where a number may differ from value to value: which argument of an operation it is
_NUMBERS: dict[Any, tuple[int, ...]] = {
    _aten.full.default: (1,),
    **{
        getattr(getattr(_aten, name), overload): (1,)
        for name, overloads in {
            **dict.fromkeys(("add", "sub", "mul", "div"), ("Tensor", "Scalar")),
            **dict.fromkeys(("rsub", "lt", "le", "gt", "ge", "eq", "ne"), ("Scalar",)),
        }.items()
        for overload in overloads
    },
    _aten.pow.Tensor_Scalar: (1,),
    _aten.pow.Scalar: (0,),
}


def varying(op: Op) -> tuple[int, ...]:
    """Which arguments are numbers that another value computed alike may have another one in place of."""
    places = _NUMBERS.get(op.target, ())
    return tuple(place for place in places if place < len(op.args) and _is_number(op, op.args[place]))


def _is_number(op: Op, value: Any) -> bool:
    """Whether a tensor of one entry with the dtype of the others does the same."""
    dtypes = {each.val.dtype for each in read(op)} or {op.val.dtype}
    if len(dtypes) != 1 or (op.target is _aten.full.default and op.val.dim() > 0):
        return False
    (dtype,) = dtypes
    if dtype.is_floating_point:
        return type(value) in (int, float)
    return type(value) is int and dtype == torch.int64


def alike(values: Sequence[Op], outputs: Sequence[Op], num_state: int, *, draws: bool) -> dict[Op, int]:
    """A number for each value, the same for those that may be computed as one.

    Such values come from the same operations, in the same order, on inputs of the same layout that are used alike.

    Args:
        values: each behind those it depends on.
        outputs: those of the state, then others.
        num_state: how many of the inputs are state.
        draws: whether random numbers may be drawn together.
    """
    inputs = [op for op in values if op.target is None]
    kinds: dict[Op, Hashable] = {op: _input(op, place < num_state) for place, op in enumerate(inputs)}
    count = 0
    while True:
        colours = _colours(values, kinds, draws=draws)
        kinds = _by_use(inputs, values, outputs[:num_state], kinds, colours)
        found = len(set(kinds.values()))
        if found == count:
            return colours
        count = found


def _input(op: Op, is_state: bool) -> Hashable:
    return (is_state, op.layouts) if _small(op) and op.val.is_contiguous() else op


def _by_use(
    inputs: Sequence[Op],
    values: Sequence[Op],
    after: Sequence[Op],
    kinds: dict[Op, Hashable],
    colours: dict[Op, int],
) -> dict[Op, Hashable]:
    """Inputs told apart by what reads them, where many read so, and by what takes their place."""
    sizes = Counter(colours.values())
    uses: dict[Op, list[Hashable]] = defaultdict(list)
    for op in values:
        if sizes[colours[op]] >= FEWEST:
            for place, each in enumerate(read(op)):
                if each.target is None:
                    uses[each].append((colours[op], place))
    for op, new in zip(inputs, after, strict=False):
        uses[op].append((colours[new], "after"))
    return {
        op: (kinds[op], tuple(sorted(uses[op], key=repr))) if sizes[colours[op]] >= FEWEST else kinds[op]
        for op in inputs
    }


def _colours(values: Sequence[Op], kinds: dict[Op, Hashable], *, draws: bool) -> dict[Op, int]:
    numbers: dict[Hashable, int] = {}
    colours: dict[Op, int] = {}
    sizes: Counter[int] = Counter()
    for level in _levels(values):
        keys = {op: kinds[op] if op.target is None else _kind(op, colours, sizes, draws=draws) for op in level}
        constants = {op: constant(tuple(op.args[place] for place in varying(op))) for op in level}
        rarest: dict[Hashable, int] = {}
        for (key, _), count in Counter((keys[op], constants[op]) for op in level).items():
            rarest[key] = min(count, rarest.get(key, count))
        for op in level:
            # each number by itself where there are many of each
            key = (keys[op], constants[op]) if rarest[keys[op]] >= FEWEST else keys[op]
            colours[op] = numbers.setdefault(key, len(numbers))
        sizes.update(colours[op] for op in level)
    return colours


def _levels(values: Sequence[Op]) -> list[list[Op]]:
    """Values by how many operations lie between them and the inputs: those computed alike are on one level."""
    depth: dict[Op, int] = {}
    levels: list[list[Op]] = []
    for op in values:
        depth[op] = 1 + max((depth[each] for each in read(op)), default=-1)
        if depth[op] == len(levels):
            levels.append([])
        levels[depth[op]].append(op)
    return levels


def _kind(op: Op, colours: dict[Op, int], sizes: Counter[int], *, draws: bool) -> Hashable:
    """What is the same for values that are computed alike; the value itself where there is none other."""
    if isinstance(op.target, Summed | Scattered) or op.target in _ALONE or not _small(op):
        return op
    if op.val is None and op.target is not _aten._linalg_check_errors.default:
        return op
    if op.target is _aten.roll.default and op.args[0].val.dim() == 0:
        return op  # torch would roll the rows
    if op.random and not draws:
        return op.target, op.layouts  # drawn one by one, and read alike
    args = list(op.args)
    for place in varying(op):
        args[place] = "number"
    if op.target is _aten.select.int and sizes[colours[args[0]]] == 1:
        args[2] = "place"
    facts = changed((args, op.kwargs), lambda each: _Colour(colours[each]))
    return op.target, fact(facts), op.layouts


_ALONE = {_aten.randperm.default}


class _Colour(int):
    """What stands for a value among the arguments of another."""


def _small(op: Op) -> bool:
    return all(0 < each.numel() <= SMALL and each.device.type == "cpu" for each in op.tensors)

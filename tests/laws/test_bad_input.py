"""Bad input to any family: an error that says where, or the right answer; never a hang, never a silent NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ppl_dist import transform_to
from ppl_dist.constraints import Constraint, is_dependent
from tests.support.families import FAMILIES, Case, Row, each_family

TRIES = settings(max_examples=20)


def declared(row: Row, case: Case) -> list[str]:
    """The parameters that the family itself declares; a distribution around another one hands them on."""
    return [name for name in case.params if name in row.family.arg_constraints]


def constraint(row: Row, name: str) -> Constraint:
    found: Constraint = row.family.arg_constraints[name]
    return found


def changed(case: Case, name: str, value: Any) -> dict[str, Any]:
    return {**case.tensors(), name: value}


@each_family("bad input: nan")
def test_a_parameter_that_is_nan_is_refused(row: Row, case: Case) -> None:
    for name in declared(row, case):
        if is_dependent(constraint(row, name)):
            continue
        batch = torch.stack([case.tensors()[name]] * 3)
        batch[1] = math.nan
        with pytest.raises(
            ValueError, match=rf"^{row.name}: `{name}` must .*; .*(1 of 3 entries is|nan|of \d+ entries)"
        ):
            row.new(**changed(case, name, batch), **case.static)


@each_family("bad input: infinite")
def test_an_infinite_parameter_is_refused_or_has_a_density(row: Row, case: Case) -> None:
    for name in declared(row, case):
        for infinite in (math.inf, -math.inf):
            given = changed(case, name, torch.full_like(case.tensors()[name], infinite))
            try:
                d = row.new(**given, **case.static)
            except ValueError as error:
                assert str(error).startswith(f"{row.name}: `")
                continue
            assert not d.sample((50,)).isnan().any(), (name, infinite)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(d, "_validate_args", False)
                assert not d.log_prob(row.points(case)).isnan().any(), (name, infinite)


@each_family("bad input: kinds")
def test_a_parameter_of_the_wrong_kind_is_refused(row: Row, case: Case) -> None:
    for name in declared(row, case):
        value = case.tensors()[name]
        with pytest.raises(TypeError, match=rf"^{row.name}: `{name}` must be real, got complex128"):
            row.new(**changed(case, name, value.to(torch.complex128)), **case.static)
        for wrong in ("three", {"a": 1}, object()):
            with pytest.raises(TypeError, match=rf"^{row.name}: `{name}` must be a tensor, a number or an array, got "):
                row.new(**changed(case, name, wrong), **case.static)


@each_family("bad input: broadcasting", where=lambda row: len(declared(row, row.cases[0])) > 1)
def test_batch_shapes_that_do_not_broadcast_are_refused(row: Row, case: Case) -> None:
    first, second, *_ = declared(row, case)
    given = {**case.tensors()}
    given[first], given[second] = torch.stack([given[first]] * 2), torch.stack([given[second]] * 3)
    with pytest.raises(ValueError, match=rf"^{row.name}: batch shapes do not broadcast: .*\([23],\).*\([23],\).*try"):
        row.new(**given, **case.static)


def groups(row: Row) -> list[tuple[str, ...]]:
    return list(row.family._spec.groups)


@each_family("bad input: groups", where=lambda row: bool(groups(row)))
def test_exactly_one_of_a_group_is_asked_for(row: Row, case: Case) -> None:
    for group in groups(row):
        rest = {name: value for name, value in case.tensors().items() if name not in group}
        with pytest.raises(ValueError, match=rf"^{row.name}: exactly one of .*must be given, got none"):
            row.new(**rest, **case.static)
        (one,) = (value for name, value in case.tensors().items() if name in group)
        with pytest.raises(ValueError, match=rf"^{row.name}: exactly one of .*must be given, got `"):
            row.new(**rest, **dict.fromkeys(group, one), **case.static)


def none_of(case: Case) -> dict[str, Tensor]:
    """The parameters of an empty batch."""
    return {name: torch.stack([value])[:0] for name, value in case.tensors().items()}


@each_family("bad input: empty batch")
def test_an_empty_batch_has_empty_answers(row: Row, case: Case) -> None:
    shape = row.make(case).batch_shape
    d = row.make(case).expand((1, *shape))[:0]
    built = row.new(**none_of(case), **case.static)
    assert d.batch_shape == built.batch_shape == (0, *shape)
    x = built.sample((4,))
    assert x.shape == (4, *built.batch_shape, *built.event_shape)
    assert built.log_prob(x).shape == (4, *built.batch_shape)
    for answer in ("entropy", "mean", "variance", "mode"):
        if row.has(answer):
            value = getattr(built, answer)
            value = value() if callable(value) else value
            assert value.shape == built.batch_shape + (() if answer == "entropy" else built.event_shape), answer
    if row.has("cdf") and not built.event_shape:
        assert built.cdf(x).shape == x.shape
    if row.has("icdf") and not built.event_shape:
        assert built.icdf(torch.full(built.batch_shape, 0.5)).shape == built.batch_shape


@each_family("bad input: sample shape")
def test_a_sample_shape_of_the_wrong_kind_is_refused(row: Row, case: Case) -> None:
    d = row.make(case)
    for wrong in ("three", 2.5, [(1,)], None, {"a": 1}):
        with pytest.raises(TypeError) as info:
            d.sample(wrong)
        assert any("Try sample_shape=" in note for note in info.value.__notes__)
    with pytest.raises((ValueError, RuntimeError), match="negative"):
        d.sample((-1,))


def drawn(row: Row, case: Case, shapes: Any, data: Any) -> dict[str, Tensor] | None:
    """Parameters anywhere in their sets, as far out as floats allow, of shapes that broadcast."""
    given = {}
    for name, value in case.tensors().items():
        kind = row.family.arg_constraints.get(name)
        if kind is None or is_dependent(kind) or kind.is_discrete:
            return None
        where = transform_to(kind)
        batch = data.draw(st.sampled_from(shapes))
        free = where.inverse_shape(value.shape[value.dim() - kind.event_dim :] if kind.event_dim else torch.Size())
        numbers = data.draw(st.lists(st.floats(-15, 15), min_size=3, max_size=3))
        spread = torch.tensor(numbers, dtype=torch.float64).repeat(50)[: torch.Size((*batch, *free)).numel()]
        given[name] = where(spread.reshape((*batch, *free)))
    return given


def searchable() -> Iterator[Any]:
    for row in FAMILIES:
        case = row.cases[0]
        free = row.family.arg_constraints
        sets = [free.get(name) for name in case.params]
        if row.kind != "point" and all(c is not None and not is_dependent(c) and not c.is_discrete for c in sets):
            yield pytest.param(row, case, id=row.name)


@pytest.mark.parametrize("row, case", list(searchable()))
def test_no_parameter_gives_a_nan(row: Row, case: Case) -> None:
    """Shapes follow the rules of broadcasting, draws lie in the support, and their density is a number."""

    @TRIES
    @given(st.data())
    def search(data: Any) -> None:
        given = drawn(row, case, [(), (3,), (2, 1), (1, 3), (0,) if data.draw(st.booleans()) else (1,)], data)
        assert given is not None
        try:
            d = row.new(**given, **case.static)
        except ValueError as error:
            assert "do not broadcast" in str(error) or "must" in str(error)
            return
        x = d.sample((2,))
        assert x.shape == (2, *d.batch_shape, *d.event_shape)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(d, "_validate_args", False)
            log_prob = d.log_prob(x)
        assert log_prob.shape == (2, *d.batch_shape)
        assert not log_prob.isnan().any(), (given, x, log_prob)

    search()


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_an_event_without_entries_is_refused_or_certain(row: Row) -> None:
    """Vectors of size 0: an error that names the family, or the one draw there is, with density 1."""
    case = row.cases[0]
    kinds = {name: row.family.arg_constraints.get(name) for name in case.params}
    if not any(kind is not None and kind.event_dim for kind in kinds.values()):
        return
    if any(kind is None or is_dependent(kind) for kind in kinds.values()):
        return
    given = {}
    for name, value in case.tensors().items():
        dims = kinds[name].event_dim  # type: ignore[union-attr]  # narrowed above
        given[name] = value[(..., *(slice(0, 0),) * dims)] if dims else value
    try:
        d = row.new(**given, **case.static)
    except ValueError as error:
        assert str(error).startswith(f"{row.name}: ")
        return
    x = d.sample((2,))
    assert x.shape == (2, *d.batch_shape, *d.event_shape)
    assert (d.log_prob(x) == 0).all()

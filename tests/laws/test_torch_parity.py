"""Where torch.distributions has the family, shapes and values are the same, to 1e-10 in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from tests.support.families import Case, Row, each, each_family

pytestmark = pytest.mark.filterwarnings("ignore:(Low df values|Singular sample):UserWarning")  # of torch's Wishart
PROPERTIES = ("mean", "variance", "stddev", "mode")


def peer(row: Row, case: Case) -> Any:
    return (row.build_peer or row.peer)(**case.tensors(), **case.static, validate_args=False)


def has_peer(row: Row, case: Case) -> bool:
    return row.peer is not None and "ours" not in case.traits


def wrong(row: Row, case: Case, method: str) -> bool:
    return f"{case.name}:{method}" in row.torch_wrong or f"*:{method}" in row.torch_wrong


def answer(row: Row, case: Case, method: str, ask: Callable[[], torch.Tensor]) -> torch.Tensor | None:
    """What torch says; None where it has no such method, or is known to fail."""
    try:
        return ask()
    except NotImplementedError:
        return None
    except RuntimeError:
        if not wrong(row, case, method):
            raise
        return None


def compare(row: Row, case: Case, method: str, ours: torch.Tensor, theirs: torch.Tensor | None) -> None:
    if theirs is None:
        return
    assert ours.shape == theirs.shape
    if wrong(row, case, method):
        return
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10, equal_nan=True, check_dtype=False)


@each("torch: shapes", where=has_peer)
def test_shapes(row: Row, case: Case) -> None:
    d, t = row.make(case), peer(row, case)
    assert (d.batch_shape, d.event_shape) == (t.batch_shape, t.event_shape)
    assert d.has_rsample >= t.has_rsample or "*:has_rsample" in row.torch_wrong  # where torch has none, we may
    assert d.has_enumerate_support == t.has_enumerate_support or "*:has_enumerate_support" in row.torch_wrong
    assert d.sample((2,)).shape == t.sample((2,)).shape
    assert d.sample().dtype == t.sample().dtype
    assert set(row.family.arg_constraints) >= set(t.arg_constraints)  # torch states none for some parameters
    assert d.support.event_dim == t.support.event_dim
    assert d.support.is_discrete == t.support.is_discrete


@each("torch: parameters", where=has_peer)
def test_parameters_given_and_derived(row: Row, case: Case) -> None:
    d, t = row.make(case), peer(row, case)
    for name in t.arg_constraints:
        compare(row, case, name, getattr(d, name), getattr(t, name))


@each("torch: log_prob", where=has_peer)
def test_log_prob(row: Row, case: Case) -> None:
    x = row.points(case)
    theirs = answer(row, case, "log_prob", lambda: peer(row, case).log_prob(x))
    compare(row, case, "log_prob", row.make(case).log_prob(x), theirs)


@pytest.mark.parametrize("name", PROPERTIES)
@each("torch: moments", where=has_peer)
def test_properties(row: Row, case: Case, name: str) -> None:
    if row.has(name):
        theirs = answer(row, case, name, lambda: getattr(peer(row, case), name))
        compare(row, case, name, getattr(row.make(case), name), theirs)


@each("torch: methods", where=has_peer)
def test_every_method_torch_has_for_it_we_have_too(row: Row, case: Case) -> None:
    d, t = row.make(case), peer(row, case)
    x = row.points(case)
    p = torch.linspace(0.05, 0.95, 5, dtype=torch.float64).reshape((5,) + (1,) * len(d.batch_shape))
    p = p.expand((5, *d.batch_shape))
    calls = {
        "entropy": lambda who: who.entropy(),
        "perplexity": lambda who: who.perplexity(),
        "cdf": lambda who: who.cdf(x),
        "icdf": lambda who: who.icdf(p),
        "enumerate_support": lambda who: who.enumerate_support(),
        "enumerate_support(False)": lambda who: who.enumerate_support(expand=False),
    }
    for name, call in calls.items():
        theirs = answer(row, case, name, partial(call, t))
        if theirs is not None:
            compare(row, case, name, call(d), theirs)


@each("torch: expand", where=has_peer)
def test_expanded_attributes(row: Row, case: Case) -> None:
    d, t = row.make(case), peer(row, case)
    wide, their = d.expand((3, *d.batch_shape)), t.expand((3, *d.batch_shape))
    for name in case.params:
        if row.label(name) in row.family.arg_constraints and row.label(name) not in t.arg_constraints:
            continue  # torch states no constraint for it, and may not keep it
        compare(row, case, name, row.read(wide, name), row.read(their, name))


def kind_of_error(call: Any) -> type[BaseException] | None:
    try:
        call()
    except Exception as error:
        return type(error)
    return None


@each_family("torch: errors", where=lambda row: row.peer is not None)
def test_the_same_kind_of_error_for_the_same_mistake(row: Row, case: Case) -> None:
    assert row.peer is not None
    params, good = case.tensors(), row.points(case)
    mistakes: dict[str, Callable[[Any], Any]] = {
        f"parameter {change}": partial(_built, params={**params, **{k: torch.tensor(v) for k, v in change.items()}})
        for change in row.bad
    }
    for value in row.outside:
        off = torch.tensor(value, dtype=torch.float64)
        mistakes[f"value {value}"] = lambda kind, off=off: kind(**params, validate_args=True).log_prob(off)
    mistakes["shape"] = lambda kind: kind(**params).expand((3,)).log_prob(torch.stack([good[0]] * 2))
    mistakes["no such argument"] = lambda kind: kind(**params, colour="red")
    mistakes["expand"] = lambda kind: kind(**params).expand((2,)).expand((3,))
    for name, mistake in mistakes.items():
        theirs = kind_of_error(partial(mistake, row.build_peer or row.peer))
        if theirs is None or f"*:{name}" in row.torch_wrong:
            continue
        ours = kind_of_error(partial(mistake, row.new))
        # torch lets a RuntimeError of `Tensor.expand` through: ours says ValueError, with the shapes
        assert ours is theirs or (theirs is RuntimeError and ours is ValueError), (name, ours, theirs)


def _built(kind: Any, params: dict[str, torch.Tensor]) -> Any:
    return kind(**params, validate_args=True)

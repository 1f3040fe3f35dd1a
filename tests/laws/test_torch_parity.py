"""Where torch.distributions has the family, shapes and values are the same, to 1e-10 in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.families import Case, Row, each

PROPERTIES = ("mean", "variance", "stddev", "mode")


def peer(row: Row, case: Case) -> Any:
    return row.peer(**case.tensors(), validate_args=False)


def has_peer(row: Row, case: Case) -> bool:
    return row.peer is not None and "ours" not in case.traits


def compare(row: Row, case: Case, method: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    if f"{case.name}:{method}" in row.torch_wrong or f"*:{method}" in row.torch_wrong:
        return
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10, equal_nan=True, check_dtype=False)


@each("torch: shapes", where=has_peer)
def test_shapes(row: Row, case: Case) -> None:
    d, t = row.make(case), peer(row, case)
    assert (d.batch_shape, d.event_shape) == (t.batch_shape, t.event_shape)
    assert d.has_rsample == t.has_rsample or "*:has_rsample" in row.torch_wrong
    assert d.has_enumerate_support == t.has_enumerate_support
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
    compare(row, case, "log_prob", row.make(case).log_prob(x), peer(row, case).log_prob(x))


@pytest.mark.parametrize("name", PROPERTIES)
@each("torch: moments", where=has_peer)
def test_properties(row: Row, case: Case, name: str) -> None:
    try:
        theirs = getattr(peer(row, case), name)
    except NotImplementedError:
        return
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
        try:
            theirs = call(t)
        except NotImplementedError:
            continue
        compare(row, case, name, call(d), theirs)


@each("torch: expand", where=has_peer)
def test_expanded_attributes(row: Row, case: Case) -> None:
    d, t = row.make(case), peer(row, case)
    wide, their = d.expand((3, *d.batch_shape)), t.expand((3, *d.batch_shape))
    for name in case.params.keys() & t.arg_constraints.keys():
        compare(row, case, name, getattr(wide, name), getattr(their, name))

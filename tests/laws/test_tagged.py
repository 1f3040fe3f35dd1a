"""Densities and draws of every family with tagged parameters: the numbers of plain ones, their names, no reading."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ppl import Site, handlers, provenance, sample
from ppl.provenance import parents, untracked
from tests.support.families import Case, Row, each, each_family, smooth


def tagged(params: dict[str, Tensor], run: handlers.track) -> dict[str, Tensor]:
    """The same numbers, each with the name of its parameter."""
    sites = {name: Site("param", name, value=value) for name, value in params.items()}
    for site in sites.values():
        run.finish(site)
    return {name: site.value for name, site in sites.items()}


@pytest.fixture(autouse=True)
def _no_run_is_left() -> Any:
    before = torch._C._len_torch_function_stack()
    yield
    assert torch._C._len_torch_function_stack() == before


@each("tagged: log_prob")
def test_log_prob(row: Row, case: Case) -> None:
    plain = {name: value.requires_grad_(value.is_floating_point()) for name, value in case.tensors().items()}
    x = row.points(case)
    with handlers.track() as run:
        got = row.new(**tagged(plain, run), **case.static).log_prob(x)
    expected = row.new(**plain, **case.static).log_prob(x)
    assert torch.equal(untracked(got), expected)
    assert (got.dtype, got.device, got.requires_grad) == (expected.dtype, expected.device, expected.requires_grad)
    assert provenance(got) == set(plain)
    assert run.read == frozenset()
    if smooth(row, case) and expected.requires_grad:
        leaves = [value for value in plain.values() if value.requires_grad]
        for ours, theirs in zip(slopes(got, leaves), slopes(expected, leaves), strict=True):
            assert torch.equal(untracked(ours), theirs)


def slopes(value: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value[value.isfinite()].sum(), leaves, allow_unused=True, materialize_grads=True)


@each_family("tagged: draws")
def test_draws(row: Row, case: Case) -> None:
    with handlers.track() as run:
        params = tagged(case.tensors(), run)
        torch.manual_seed(0)
        d = row.new(**params, **case.static)
        pathwise = d.rsample((3,)) if d.has_rsample else None
        drawn = d.sample((3,))
    torch.manual_seed(0)
    plain = row.make(case)
    if pathwise is not None:
        assert torch.equal(untracked(pathwise), plain.rsample((3,)))
        assert provenance(pathwise) == set(params)
    assert torch.equal(untracked(drawn), plain.sample((3,)))
    assert provenance(drawn) == set(params)


@each_family("tagged: site")
def test_as_a_site(row: Row, case: Case) -> None:
    with handlers.trace() as tr, handlers.track() as run:
        params = tagged(case.tensors(), run)
        sample("x", row.new(**params, **case.static))
        sample("after", row.make(case))
    assert parents(tr["x"]) == set(params)
    assert provenance(tr["x"].value) == {"x"}
    assert parents(tr["after"]) == set()

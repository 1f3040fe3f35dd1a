"""Bad parameters and values off the support: an error that names the family, or -inf with zero gradients."""

from __future__ import annotations

import pytest
import torch

import ppl_dist as dist
from tests.support.families import Case, Row, each_family


@each_family("bad parameters", where=lambda row: bool(row.bad))
def test_bad_parameters_are_refused(row: Row, case: Case) -> None:
    for change in row.bad:
        params = {k: torch.tensor(v, dtype=torch.float64) for k, v in {**case.params, **change}.items()}
        (name,) = change
        with pytest.raises(ValueError, match=rf"^{row.name}: `{name}` must "):
            row.new(**params, **case.static)
        row.new(**params, **case.static, validate_args=False)
        with dist.validating(False):
            row.new(**params, **case.static)


def outside(row: Row) -> list[torch.Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in row.outside]


@each_family("outside: checked", where=lambda row: bool(row.outside))
def test_a_value_outside_is_an_error_while_validation_is_on(row: Row, case: Case) -> None:
    d = row.make(case, validate_args=True)
    for value in outside(row):
        with pytest.raises(ValueError, match=rf"^{row.name}: the value must "):
            d.log_prob(value)


@each_family("outside: unchecked", where=lambda row: bool(row.outside))
def test_a_value_outside_has_no_density_and_no_gradient(row: Row, case: Case) -> None:
    good = row.points(case)[4 % len(row.points(case))]
    for bad in outside(row):
        nan_on_the_line = bool(bad.isnan().any()) and takes_nan_through(row, case)
        if nan_on_the_line:  # where the support is every number, nan is not outside it: it comes through as nan
            assert row.make(case, validate_args=False).log_prob(bad).isnan()
            continue
        leaves = parameters(case)
        x = torch.stack([bad, good]).requires_grad_()
        log_prob = row.new(**leaves, **case.static, validate_args=False).log_prob(x)
        assert log_prob[0] == -torch.inf
        assert torch.isfinite(log_prob[1])
        got = torch.autograd.grad(log_prob[1] + log_prob[0], [x, *leaves.values()], allow_unused=True)
        alone_leaves, alone_x = parameters(case), good.clone().requires_grad_()
        alone = row.new(**alone_leaves, **case.static, validate_args=False).log_prob(alone_x)
        expected = torch.autograd.grad(alone, [alone_x, *alone_leaves.values()], allow_unused=True)
        assert got[0] is None or (got[0][0] == 0).all()
        torch.testing.assert_close(None if got[0] is None else got[0][1], expected[0])
        for a, b in zip(got[1:], expected[1:], strict=True):
            torch.testing.assert_close(a, b)


def takes_nan_through(row: Row, case: Case) -> bool:
    return bool(row.make(case).support == dist.constraints.real)


def parameters(case: Case) -> dict[str, torch.Tensor]:
    return {name: value.requires_grad_() for name, value in case.tensors().items()}


@each_family("value shape")
def test_a_value_of_the_wrong_shape_is_an_error(row: Row, case: Case) -> None:
    d = row.make(case).expand((3,))
    with pytest.raises(ValueError, match=rf"{row.name}: the value"):
        d.log_prob(d.sample().expand((3, *d.shape()))[:, :2].reshape((3, 2, *d.event_shape)))
    with pytest.raises(ValueError, match=rf"{row.name}: the value"):
        d.log_prob("a word")


@each_family("event shape", where=lambda row: row.cases[0].static.get("event_dim", 0) == 0)
def test_a_value_of_the_wrong_event_shape_is_an_error(row: Row, case: Case) -> None:
    event = row.make(case).expand((5,)).to_event(1)
    with pytest.raises(
        ValueError, match=rf"{row.name}: the value's shape \(4,.*\) does not broadcast with batch shape \(5,\)"
    ):
        event.log_prob(row.make(case).sample((4,)))


@each_family("probability", where=lambda row: row.has("icdf"))
def test_a_probability_outside_the_unit_interval_is_an_error(row: Row, case: Case) -> None:
    d = row.make(case)
    for method in (d.icdf, d.isf):
        with pytest.raises(ValueError, match=rf"{row.name}: a probability must lie in \[0, 1\]; got 1.5"):
            method(torch.tensor(1.5))


@each_family("switch", where=lambda row: bool(row.bad))
def test_the_switches_of_validation(row: Row, case: Case) -> None:
    change = row.bad[0]
    params = {k: torch.tensor(v, dtype=torch.float64) for k, v in {**case.params, **change}.items()}
    dist.Distribution.set_default_validate_args(False)
    try:
        row.new(**params, **case.static)
        with dist.validating(True), pytest.raises(ValueError, match=row.name):
            row.new(**params, **case.static)
    finally:
        dist.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError, match=row.name):
        row.new(**params, **case.static)

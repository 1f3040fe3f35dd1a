"""What the declaration gives: dtypes, moves, copies, trees, text and signatures."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
from torch.utils import _pytree

from ppl_dist import Distribution
from tests.support.families import FAMILIES, Case, Row, each, each_family


def assert_same(a: Distribution, b: Distribution, case: Case, x: torch.Tensor) -> None:
    assert type(a) is type(b)
    assert (a.batch_shape, a.event_shape) == (b.batch_shape, b.event_shape)
    for name in case.params:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)
    torch.testing.assert_close(a.log_prob(x), b.log_prob(x), rtol=0, atol=0)


@each("copies")
def test_pickle_deepcopy_and_tree_give_the_same_distribution(row: Row, case: Case) -> None:
    d, x = row.make(case), row.points(case)
    assert_same(pickle.loads(pickle.dumps(d)), d, case, x)
    deep = copy.deepcopy(d)
    assert_same(deep, d, case, x)
    assert all(getattr(deep, name) is not getattr(d, name) for name in case.params)
    leaves, spec = _pytree.tree_flatten(d)
    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves)
    assert_same(_pytree.tree_unflatten(leaves, spec), d, case, x)
    assert_same(_pytree.tree_unflatten(_pytree.tree_flatten(d)[0], _pytree.tree_flatten(d)[1]), d, case, x)


@each("deepcopy: graph")
def test_deepcopy_of_parameters_with_a_history(row: Row, case: Case) -> None:
    params = {name: value.requires_grad_() * 1.0 for name, value in case.tensors().items()}
    d = row.new(**params, **case.static)
    assert_same(copy.deepcopy(d), d, case, row.points(case))


@each("reading changes nothing")
def test_reading_properties_does_not_change_the_tree(row: Row, case: Case) -> None:
    d = row.make(case)
    before = _pytree.tree_flatten(d)[1]
    for name in [*row.family.arg_constraints, "mean", "variance", "mode"]:
        if row.has(name):
            getattr(d, name)
    d.log_prob(row.points(case))
    assert _pytree.tree_flatten(d)[1] == before


@each("dtype: to")
def test_to_another_dtype_and_back(row: Row, case: Case) -> None:
    d = row.make(case, torch.float32)
    double = d.to(torch.float64)
    assert type(double) is type(d)
    assert all(getattr(double, name).dtype == torch.float64 for name in case.params)
    assert all(getattr(d, name).dtype == torch.float32 for name in case.params)
    assert double.log_prob(row.points(case)).dtype == torch.float64
    if row.kind != "discrete":
        assert d.sample().dtype == torch.float32
        assert double.sample().dtype == torch.float64


@each_family("device")
def test_to_another_device(row: Row, case: Case) -> None:
    """`meta` is the other device that every machine has."""
    away = row.make(case).to("meta")
    assert all(getattr(away, name).device.type == "meta" for name in case.params)
    x = row.points(case).to("meta")
    assert away.log_prob(x).device.type == "meta"
    assert away.log_prob(x).shape == row.make(case).log_prob(row.points(case)).shape


@each_family("dtype: integers", where=lambda row: bool(row.whole))
def test_integer_parameters_become_floats(row: Row, case: Case) -> None:
    d = row.new(**{name: torch.tensor(value) for name, value in row.whole.items()})
    same = row.new(**{name: torch.tensor(value, dtype=torch.float32) for name, value in row.whole.items()})
    for name in row.whole:
        assert getattr(d, name).dtype == torch.float32
    x = same.sample()
    torch.testing.assert_close(d.log_prob(x), same.log_prob(x))


@each_family("dtype: siblings", where=lambda row: len(row.whole) > 1)
def test_numbers_take_the_dtype_of_their_siblings(row: Row, case: Case) -> None:
    for precise in row.whole:
        params = {n: torch.tensor(v, dtype=torch.float64) if n == precise else v for n, v in row.whole.items()}
        d = row.new(**params)
        assert all(getattr(d, name).dtype == torch.float64 for name in row.whole)


@each_family("dtype: numbers", where=lambda row: bool(row.whole))
def test_numbers_alone_have_the_default_dtype(row: Row, case: Case) -> None:
    torch.set_default_dtype(torch.float64)
    d = row.new(**row.whole)
    assert all(getattr(d, name).dtype == torch.float64 for name in row.whole)


@each("repr")
def test_repr_names_the_family_and_every_parameter(row: Row, case: Case) -> None:
    d = row.make(case)
    text = repr(d)
    assert text.startswith(f"{row.name}(") and text.endswith(")")
    for name, value in case.tensors().items():
        assert f"{name}: " in text
        if not d.batch_shape and value.dim() == 0:
            assert f"{name}: {value.item():.6g}" in text
    assert "\n" not in repr(d.expand((100, *d.batch_shape)))


@each_family("signature", where=lambda row: row.peer is not None)
def test_signature_is_that_of_torch(row: Row, case: Case) -> None:
    ours, theirs = (list(inspect.signature(kind).parameters) for kind in (row.family, row.peer))
    assert ours == theirs


@each_family("signature: introspection")
def test_signature_is_introspectable(row: Row, case: Case) -> None:
    signature = inspect.signature(row.family)
    assert list(signature.parameters)[-1] == "validate_args"
    assert set(row.family.arg_constraints) <= set(signature.parameters)
    bound = signature.bind(**case.tensors(), **case.static)
    assert type(row.new(*bound.args, **bound.kwargs)) is row.family


def test_names_of_cases_are_unique_and_gaps_speak_about_cases_that_exist() -> None:
    for row in FAMILIES:
        names = [case.name for case in row.cases]
        assert len(names) == len(set(names))
        assert all(key.partition(":")[0] in {*names, "*"} for key in row.torch_wrong)
        assert all(reason for reason in [*row.gaps.values(), *row.torch_wrong.values()])


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_arg_constraints_and_support_are_declared(row: Row) -> None:
    assert set(row.cases[0].params) <= set(row.family.arg_constraints)
    assert row.family.support is not None
    assert row.make(row.cases[0]).is_discrete == (row.kind == "discrete")

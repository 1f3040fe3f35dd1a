"""Constraints: `check` and `holds` agree, feasible points are inside, equality, text, and dependent properties."""

from __future__ import annotations

import copy
import inspect
import math
import pickle

from typing import Any

import pytest
import torch
import torch.distributions.constraints as tc
from hypothesis import given
from hypothesis import strategies as st

from ppl_dist import biject_to, transform_to
from ppl_dist import constraints as c
from ppl_dist.constraints.scalar import Finite
from tests.support.families import FAMILIES

INF, NAN = float("inf"), float("nan")

# constraint, events inside, events outside
SETS = {
    "real": (c.real, [0.0, -3.5, INF], [NAN]),
    "positive": (c.positive, [1e-30, 2.0, INF], [0.0, -1.0, NAN]),
    "nonnegative": (c.nonnegative, [0.0, 2.0], [-1e-30, NAN]),
    "greater_than": (c.greater_than(2.0), [2.5], [2.0, NAN]),
    "greater_than_eq": (c.greater_than_eq(2.0), [2.0, 3.0], [1.9]),
    "less_than": (c.less_than(2.0), [1.9, -INF], [2.0, NAN]),
    "unit_interval": (c.unit_interval, [0.0, 0.5, 1.0], [-1e-9, 1.5, NAN]),
    "interval": (c.interval(-1.0, 3.0), [-1.0, 3.0], [-1.1, 3.1, NAN]),
    "half_open_interval": (c.half_open_interval(-1.0, 3.0), [-1.0, 2.9], [3.0, -1.1]),
    "integer_interval": (c.integer_interval(1, 4), [1.0, 4.0], [0.0, 5.0, 2.5, NAN]),
    "nonnegative_integer": (c.nonnegative_integer, [0.0, 7.0], [-1.0, 0.5, NAN]),
    "positive_integer": (c.positive_integer, [1.0, 7.0], [0.0, 1.5]),
    "boolean": (c.boolean, [0.0, 1.0], [0.5, 2.0, -1.0, 1e-40, NAN, INF]),
    "one_hot": (c.one_hot, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.5, 0.5, 0.0]]),
    "multinomial": (c.multinomial(4), [[1.0, 3.0, 0.0]], [[3.0, 3.0, 0.0], [-1.0, 2.0, 0.0], [0.5, 0.5, 0.0]]),
    "simplex": (c.simplex, [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], [[0.2, 0.3, 0.4], [-0.1, 0.6, 0.5], [NAN, 0.5, 0.5]]),
    "real_vector": (c.real_vector, [[0.0, 1.0]], [[0.0, NAN]]),
    "independent": (c.independent(c.positive, 1), [[1.0, 2.0]], [[1.0, -2.0]]),
    "lower_triangular": (c.lower_triangular, [[[1.0, 0.0], [2.0, -1.0]]], [[[1.0, 1.0], [2.0, -1.0]]]),
    "lower_cholesky": (
        c.lower_cholesky,
        [[[1.0, 0.0], [2.0, 1.0]]],
        [[[1.0, 0.0], [2.0, -1.0]], [[1.0, 1.0], [0.0, 1.0]]],
    ),
    "corr_cholesky": (c.corr_cholesky, [[[1.0, 0.0], [0.6, 0.8]]], [[[1.0, 0.0], [0.6, 0.6]]]),
    "square": (c.square, [[[1.0, 2.0], [3.0, 4.0]]], [[[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]]),
    "symmetric": (c.symmetric, [[[1.0, 2.0], [2.0, 4.0]]], [[[1.0, 2.0], [3.0, 4.0]]]),
    "positive_semidefinite": (c.positive_semidefinite, [[[1.0, 0.0], [0.0, 0.0]]], [[[1.0, 2.0], [2.0, 1.0]]]),
    "positive_definite": (
        c.positive_definite,
        [[[2.0, 1.0], [1.0, 2.0]]],
        [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]]],
    ),
    "sphere": (c.sphere, [[0.6, 0.8, 0.0]], [[0.6, 0.6, 0.0], [NAN, 0.0, 1.0]]),
    "zero_sum": (c.zero_sum(1), [[1.0, 2.0, -3.0], [0.0, 0.0, 0.0]], [[1.0, 2.0, -2.0], [NAN, 0.0, 0.0]]),
    "zero_sum of two": (
        c.zero_sum(2),
        [[[1.0, -1.0], [-1.0, 1.0]]],
        [[[1.0, -1.0], [1.0, -1.0]], [[1.0, 1.0], [-1.0, -1.0]]],
    ),
    "softplus_positive": (c.softplus_positive, [1e-30, 2.0, INF], [0.0, -1.0, NAN]),
    "softplus_lower_cholesky": (
        c.softplus_lower_cholesky,
        [[[1.0, 0.0], [2.0, 1.0]]],
        [[[1.0, 0.0], [2.0, -1.0]], [[1.0, 1.0], [0.0, 1.0]]],
    ),
    "unit_lower_cholesky": (
        c.unit_lower_cholesky,
        [[[1.0, 0.0], [2.0, 1.0]]],
        [[[1.0, 0.0], [2.0, 2.0]], [[1.0, 1.0], [0.0, 1.0]]],
    ),
    "corr_matrix": (
        c.corr_matrix,
        [[[1.0, 0.5], [0.5, 1.0]]],
        [[[2.0, 0.5], [0.5, 2.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.4, 1.0]]],
    ),
    "ordered_vector": (c.ordered_vector, [[-1.0, 0.0, 2.0]], [[0.0, 0.0, 1.0], [1.0, 0.0, 2.0], [NAN, 0.0, 1.0]]),
    "positive_ordered_vector": (c.positive_ordered_vector, [[0.5, 1.0, 2.0]], [[-1.0, 0.0, 1.0], [2.0, 1.0, 3.0]]),
    "mixture": (c.MixtureSameFamilyConstraint(c.interval(torch.tensor([0.0, 0.5]), 2.0)), [0.2, 2.0], [-0.5, 3.0, NAN]),
    "cat": (c.cat([c.positive, c.real], -1, [1, 2]), [[1.0, -1.0, -1.0]], [[-1.0, -1.0, -1.0]]),
    "stack": (c.stack([c.positive, c.real], -1), [[1.0, -1.0]], [[-1.0, -1.0]]),
    "bounds in a tensor": (c.interval(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])), [[0.5, 1.5]], [[0.5, 0.5]]),
}


@pytest.mark.parametrize("name", SETS)
def test_members_are_inside_and_others_are_not(name: str) -> None:
    constraint, inside, outside = SETS[name]
    for event in inside:
        assert constraint.check(torch.tensor(event)).all()
        assert constraint.holds(torch.tensor(event))
    for event in outside:
        assert not constraint.check(torch.tensor(event)).all()
        assert not constraint.holds(torch.tensor(event))
    mixed = [event for event in inside + outside if torch.tensor(event).shape == torch.tensor(inside[0]).shape]
    value = torch.tensor(mixed)
    extra = value.dim() - constraint.event_dim
    assert constraint.check(value).shape == value.shape[:extra]
    assert constraint.holds(value) == constraint.check(value).all().item()


@pytest.mark.parametrize("name", tc.__all__)
def test_every_name_of_torch_is_here_with_its_call_form(name: str) -> None:
    ours, theirs = getattr(c, name), getattr(tc, name)
    assert isinstance(ours, type) == isinstance(theirs, type)
    if isinstance(theirs, type) and theirs is not tc.Constraint:
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    elif not callable(theirs):
        assert (ours.event_dim, ours.is_discrete) == (theirs.event_dim, theirs.is_discrete)


CALLS = {
    "greater_than": (2.0,),
    "greater_than_eq": (2.0,),
    "less_than": (2.0,),
    "interval": (-1.0, 3.0),
    "half_open_interval": (-1.0, 3.0),
    "integer_interval": (1, 4),
    "multinomial": (4,),
}


@pytest.mark.parametrize("name", sorted(set(tc.__all__) & SETS.keys() - {"cat", "stack", "independent"}))
def test_check_says_what_torch_says(name: str) -> None:
    constraint, inside, outside = SETS[name]
    theirs = getattr(tc, name)(*CALLS[name]) if name in CALLS else getattr(tc, name)
    for event in inside + outside:
        value = torch.tensor(event)
        fractions = name == "multinomial" and not (value % 1 == 0).all()  # torch takes them for counts
        if not fractions:
            assert torch.equal(constraint.check(value), theirs.check(value))


SCALARS = [name for name, (constraint, inside, _) in SETS.items() if isinstance(inside[0], float)]
VECTORS = [name for name, (constraint, _, _) in SETS.items() if constraint.event_dim == 1]
MATRICES = [name for name, (constraint, _, _) in SETS.items() if constraint.event_dim == 2]
NUMBERS = st.one_of(
    st.sampled_from([0.0, 1.0, 2.0, -1.0, 3.0, 0.5, INF, -INF, NAN, 1e-30]),
    st.floats(-5, 5, width=32),
    st.integers(-2, 6),
)


@pytest.mark.parametrize("name", SCALARS)
@given(data=st.data())
def test_holds_says_what_check_says_for_numbers(name: str, data: st.DataObject) -> None:
    constraint = SETS[name][0]
    value = torch.tensor(data.draw(st.one_of(NUMBERS, st.lists(NUMBERS, max_size=4))), dtype=torch.float32)
    assert constraint.holds(value) == bool(constraint.check(value).all())


@pytest.mark.parametrize("name", VECTORS + MATRICES)
@given(data=st.data())
def test_holds_says_what_check_says_for_events(name: str, data: st.DataObject) -> None:
    constraint, inside, _ = SETS[name]
    shape = torch.tensor(inside[0]).shape
    numbers = data.draw(
        st.lists(st.sampled_from([0.0, 1.0, 0.25, 0.5, -1.0, 2.0, NAN]), min_size=shape.numel(), max_size=shape.numel())
    )
    fresh = torch.tensor(numbers).reshape(shape)
    value = torch.stack([fresh, torch.tensor(data.draw(st.sampled_from(inside)))])
    for one in (fresh, value):
        if torch.isfinite(one).all() or constraint.event_dim < 2:  # eigenvalues of nan are not defined
            assert constraint.holds(one) == bool(constraint.check(one).all())


@pytest.mark.parametrize("name", SETS)
def test_empty_tensors_are_inside(name: str) -> None:
    constraint, inside, _ = SETS[name]
    empty = torch.zeros((0, *torch.tensor(inside[0]).shape))
    assert constraint.holds(empty) is True


WITHOUT_POINT = {"lower_triangular", "square", "cat", "stack", "mixture"}


@pytest.mark.parametrize("name", sorted(SETS.keys() - WITHOUT_POINT))
def test_feasible_point_is_inside(name: str) -> None:
    constraint, inside, _ = SETS[name]
    value = torch.tensor(inside)
    spread = torch.as_tensor(constraint.feasible(value)).broadcast_to(value.shape)
    assert constraint.check(spread).all()


@pytest.mark.parametrize("name", SETS)
def test_equality_hash_text_and_copies(name: str) -> None:
    constraint = SETS[name][0]
    for same in (copy.deepcopy(constraint), pickle.loads(pickle.dumps(constraint))):
        assert same == constraint and hash(same) == hash(constraint)
    assert type(constraint).__name__ in repr(constraint)
    equal = [other for other, (entry, _, _) in SETS.items() if entry == constraint]
    assert equal == [name]


def test_bounds_show_in_the_text_and_count_in_equality() -> None:
    assert repr(c.interval(0.0, 2.0)) == "Interval(lower_bound=0.0, upper_bound=2.0)"
    assert c.interval(0.0, 2.0) != c.interval(0.0, 3.0)
    assert c.greater_than(torch.tensor(1.0)) == c.greater_than(torch.tensor(1.0))
    assert c.greater_than(torch.tensor(1.0)) != c.greater_than(torch.tensor(2.0))
    assert c.interval(0.0, 1.0) == c.unit_interval != c.half_open_interval(0.0, 1.0)


def test_dependent_property_is_a_constraint_on_the_class_and_a_value_on_the_instance() -> None:
    class Box:
        def __init__(self, high: float) -> None:
            self.high = high

        @c.dependent_property(is_discrete=False, event_dim=0)
        def support(self) -> c.Constraint:
            return c.interval(0.0, self.high)

        @c.dependent_property
        def other(self) -> c.Constraint:
            return c.positive

    assert c.is_dependent(Box.support) and Box.support.event_dim == 0 and not Box.support.is_discrete
    assert c.is_dependent(Box.other)
    assert Box(2.0).support == c.interval(0.0, 2.0)
    assert not c.is_dependent(Box(2.0).support)
    assert c.is_dependent(c.independent(c.dependent, 1))
    stated = c.dependent(is_discrete=True, event_dim=1)
    assert stated.is_discrete and stated.event_dim == 1
    with pytest.raises(ValueError, match="dependent: cannot check"):
        c.dependent.check(torch.zeros(()))


def declared_constraints() -> dict[str, tuple[c.Constraint, torch.Size]]:
    """The sets above, and those that families declare for parameters or have as support, each with a shape inside."""
    found = {name: (constraint, torch.tensor(inside[0]).shape) for name, (constraint, inside, _) in SETS.items()}
    for row in FAMILIES:
        for case in row.cases:
            d = row.make(case)
            for name, constraint in d.arg_constraints.items():
                if (value := getattr(d, name)) is not None:  # an end that a truncated law does not have
                    found[f"{row.name}-{case.name}.{name}"] = constraint, value.shape
            found[f"{row.name}-{case.name}.support"] = d.support, d.shape()
    return found


DECLARED = declared_constraints()
BOTH, ONE_TO_ONE = ("biject_to", "transform_to"), ("biject_to",)
DISCRETE = "a discrete set is no image of a continuous one"
PARTIAL = "a shape or a symmetry of matrices, with no inequality to take away"
# by kind of constraint: the registries without an entry, and why
WITHOUT_ENTRY: dict[type[c.Constraint], tuple[tuple[str, ...], str]] = {
    c.Boolean: (BOTH, DISCRETE),
    c.OneHot: (BOTH, DISCRETE),
    c.Integer: (BOTH, DISCRETE),
    c.IntegerGreaterThanEq: (BOTH, DISCRETE),
    c.IntegerInterval: (BOTH, DISCRETE),
    c.Multinomial: (BOTH, DISCRETE),
    c.Square: (BOTH, PARTIAL),
    c.Symmetric: (BOTH, PARTIAL),
    c.LowerTriangular: (BOTH, PARTIAL),
    c.Dependent: (BOTH, "nothing is known of it before the parameters are"),
    c.MixtureSameFamilyConstraint: (BOTH, "which of the components' sets bounds it is not known"),
    c.Sphere: (ONE_TO_ONE, "a sphere has no chart that covers it"),
}


def core(constraint: c.Constraint) -> type[c.Constraint]:
    return core(constraint.base_constraint) if isinstance(constraint, c.Independent) else type(constraint)


@pytest.mark.parametrize("registry", [biject_to, transform_to], ids=lambda r: r.name)
@pytest.mark.parametrize("name", DECLARED)
def test_every_declared_set_is_an_image_or_has_a_reason(registry, name: str) -> None:
    constraint, shape = DECLARED[name]
    if registry.name in WITHOUT_ENTRY.get(core(constraint), ((), ""))[0]:
        with pytest.raises(NotImplementedError, match=f"{registry.name} has no entry for"):
            registry(constraint)
        return
    transform = registry(constraint)
    assert transform.bijective or registry is transform_to
    u = torch.randn(transform.inverse_shape(torch.Size((5, *shape))), dtype=torch.float64)
    y = transform(u)
    assert constraint.check(y).all()
    torch.testing.assert_close(transform(transform.inv(y)), y)
    if transform.bijective:
        torch.testing.assert_close(transform.inv(y), u)


def test_every_reason_speaks_of_a_declared_set() -> None:
    assert WITHOUT_ENTRY.keys() <= {core(constraint) for constraint, _ in DECLARED.values()}


@pytest.mark.parametrize("registry", [biject_to, transform_to], ids=lambda r: r.name)
def test_composed_constraints(registry) -> None:
    for constraint, shape in [
        (c.independent(c.simplex, 1), (4, 2, 3)),
        (c.cat([c.positive, c.interval(-1.0, 2.0), c.real], -1, [1, 2, 1]), (5, 4)),
        (c.stack([c.positive, c.less_than(2.0), c.greater_than_eq(1.0)], -1), (5, 3)),
        (c.half_open_interval(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 4.0])), (5, 2)),
    ]:
        transform = registry(constraint)
        u = torch.randn(transform.inverse_shape(torch.Size(shape)))
        assert constraint.check(transform(u)).all()
        torch.testing.assert_close(transform(transform.inv(transform(u))), transform(u))


def test_a_users_constraint_joins_the_tables() -> None:
    from ppl_dist import transforms as t

    class Even(c.Constraint):
        def check(self, value: torch.Tensor) -> torch.Tensor:
            return value > 3

    for registry in (biject_to, transform_to):
        with pytest.raises(NotImplementedError, match=rf"{registry.name} has no entry for Even\(\)"):
            registry(Even())
        registry.register(Even, lambda _: t.ComposeTransform([t.ExpTransform(), t.AffineTransform(3.0, 1.0)]))
        assert Even().check(registry(Even())(torch.randn(10))).all()
        with pytest.raises(TypeError, match=rf"{registry.name}.register: expected a Constraint"):
            registry.register(3)

    @biject_to.register(Even())
    def rule(constraint: Even) -> t.Transform:
        return t.ExpTransform()

    assert biject_to(Even()) == t.ExpTransform()


@pytest.mark.parametrize("value", [1.0, 0.0, -1.0, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("shape", [(), (3,), (50,), (20, 3)])
def test_finite_leaves_out_the_far_end_of_a_half_line(value: float, shape: tuple[int, ...]) -> None:
    many = torch.ones(shape)
    many.reshape(-1)[0] = value
    inside = 0 < value < math.inf
    assert bool(Finite(c.positive).check(many).all()) is Finite(c.positive).holds(many) is inside
    assert Finite(c.real).holds(many) is bool(Finite(c.real).check(many).all()) is math.isfinite(value)
    if len(shape) == 2:
        vectors = Finite(c.independent(c.positive, 1))
        assert vectors.check(many).tolist() == [inside, *[True] * 19]
        assert vectors.holds(many) is inside

"""Constraints: sets that parameters and values live in.

A constraint is a frozen value: it can be compared, printed and used as a key. `check(value)` says,
entry by entry, whether a value lies inside; a constraint over vectors or matrices (`event_dim` 1 or 2)
answers once per event. `holds` is the same question about the whole tensor, answered with as few
passes as possible, and `feasible` names a point inside.

Lower-case names are the ones to use: `positive`, `simplex`, `interval(0.0, 2.0)`.
"""

import math

from .array import (
    CorrCholesky,
    CorrMatrix,
    LowerCholesky,
    LowerTriangular,
    Multinomial,
    OneHot,
    OrderedVector,
    PositiveDefinite,
    PositiveOrderedVector,
    PositiveSemidefinite,
    Simplex,
    SoftplusLowerCholesky,
    Sphere,
    Square,
    Symmetric,
    UnitLowerCholesky,
    ZeroSum,
)
from .base import Constraint, Dependent, Independent, dependent_property, is_dependent
from .pieces import Cat, MixtureSameFamilyConstraint, Stack
from .scalar import (
    Boolean,
    GreaterThan,
    GreaterThanEq,
    HalfOpenInterval,
    Integer,
    IntegerGreaterThanEq,
    IntegerInterval,
    Interval,
    LessThan,
    LessThanEq,
    Ray,
    Real,
    SoftplusPositive,
)

dependent = Dependent()
boolean = Boolean()
one_hot = OneHot()
integer = Integer()
nonnegative_integer = IntegerGreaterThanEq(0)
positive_integer = IntegerGreaterThanEq(1)
integer_interval = IntegerInterval
real = Real()
real_vector = Independent(real, 1)
real_matrix = Independent(real, 2)
ordered_vector = OrderedVector()
positive_ordered_vector = PositiveOrderedVector()
positive = GreaterThan(0.0)
nonnegative = GreaterThanEq(0.0)
softplus_positive = SoftplusPositive()
greater_than = GreaterThan
greater_than_eq = GreaterThanEq
less_than = LessThan
less_than_eq = LessThanEq
multinomial = Multinomial
unit_interval = Interval(0.0, 1.0)
interval = Interval
half_open_interval = HalfOpenInterval
circular = Interval(-math.pi, math.pi)
simplex = Simplex()
sphere = Sphere()
zero_sum = ZeroSum
lower_triangular = LowerTriangular()
lower_cholesky = LowerCholesky()
corr_cholesky = CorrCholesky()
softplus_lower_cholesky = SoftplusLowerCholesky()
unit_lower_cholesky = UnitLowerCholesky()
corr_matrix = CorrMatrix()
square = Square()
symmetric = Symmetric()
positive_semidefinite = PositiveSemidefinite()
positive_definite = PositiveDefinite()
corr_matrix = CorrMatrix()
cat = Cat
stack = Stack
independent = Independent

__all__ = [
    "Boolean",
    "Cat",
    "Constraint",
    "CorrCholesky",
    "CorrMatrix",
    "Dependent",
    "GreaterThan",
    "GreaterThanEq",
    "HalfOpenInterval",
    "Independent",
    "Integer",
    "IntegerGreaterThanEq",
    "IntegerInterval",
    "Interval",
    "LessThan",
    "LessThanEq",
    "LowerCholesky",
    "LowerTriangular",
    "MixtureSameFamilyConstraint",
    "Multinomial",
    "OneHot",
    "OrderedVector",
    "PositiveDefinite",
    "PositiveOrderedVector",
    "PositiveSemidefinite",
    "Ray",
    "Real",
    "Simplex",
    "SoftplusLowerCholesky",
    "SoftplusPositive",
    "Sphere",
    "Square",
    "Stack",
    "Symmetric",
    "UnitLowerCholesky",
    "ZeroSum",
    "boolean",
    "cat",
    "circular",
    "corr_cholesky",
    "corr_matrix",
    "dependent",
    "dependent_property",
    "greater_than",
    "greater_than_eq",
    "half_open_interval",
    "independent",
    "integer",
    "integer_interval",
    "interval",
    "is_dependent",
    "less_than",
    "less_than_eq",
    "lower_cholesky",
    "lower_triangular",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "ordered_vector",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_ordered_vector",
    "positive_semidefinite",
    "real",
    "real_matrix",
    "real_vector",
    "simplex",
    "softplus_lower_cholesky",
    "softplus_positive",
    "sphere",
    "square",
    "stack",
    "symmetric",
    "unit_interval",
    "unit_lower_cholesky",
    "zero_sum",
]

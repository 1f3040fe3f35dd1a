"""What a constraint asks for, in words, and the message for a parameter that does not comply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from . import constraints as c
from . import validation
from .constraints import Constraint
from .constraints.scalar import Finite
from .values import short

if TYPE_CHECKING:
    from .distribution import Distribution

__all__ = ["bad_parameter", "describe"]


def bad_parameter(self: Distribution, name: str, constraint: Constraint, value: Tensor) -> ValueError:
    """The message for a parameter outside its constraint: where, expected, got."""
    if isinstance(constraint, Finite) and validation.holds(constraint.base, value) is False:
        constraint = constraint.base  # the sign is wrong somewhere: that infinity is none either is beside the point
    facts = validation.violation(constraint, value)
    return ValueError(f"{type(self).__name__}: `{name}` must {describe(constraint)}; {facts}.")


def describe(constraint: Constraint) -> str:
    """The requirement in words: `be positive`, `lie in Interval(...)`."""
    if isinstance(constraint, Finite):
        return f"{describe(constraint.base)} and finite"
    words = {
        c.positive: "be positive",
        c.nonnegative: "not be negative",
        c.real: "be a number",
        c.real_vector: "hold numbers only",
        c.unit_interval: "lie in [0, 1]",
        c.simplex: "lie on the simplex (nonnegative, sum 1)",
        c.boolean: "be 0 or 1",
        c.nonnegative_integer: "be a nonnegative integer",
        c.positive_definite: "be positive definite",
        c.lower_cholesky: "be lower triangular with a positive diagonal",
        c.softplus_positive: "be positive",
        c.softplus_lower_cholesky: "be lower triangular with a positive diagonal",
        c.unit_lower_cholesky: "be lower triangular with ones on the diagonal",
        c.corr_cholesky: "be lower triangular with a positive diagonal and rows of length one",
        c.corr_matrix: "be a correlation matrix (positive definite, ones on the diagonal)",
        c.sphere: "have length one",
        c.ordered_vector: "be strictly increasing",
        c.positive_ordered_vector: "be positive and strictly increasing",
    }
    for known, text in words.items():
        if known == constraint:
            return text
    if isinstance(constraint, c.Independent):
        return describe(constraint.base_constraint)
    if isinstance(constraint, c.ZeroSum):
        n = constraint.event_dim
        return "sum to zero along " + ("the last dimension" if n == 1 else f"each of the last {n} dimensions")
    if type(constraint) is c.GreaterThan:
        bound = constraint.lower_bound
        single = not isinstance(bound, Tensor) or bound.dim() == 0
        return f"be greater than {short(bound)}" if single else "be greater than its lower bound"
    words_of: dict[type[Constraint], str] = {
        c.GreaterThanEq: "at least",
        c.LessThan: "less than",
        c.LessThanEq: "at most",
    }
    if type(constraint) in words_of:
        (limit,) = vars(constraint).values()
        single = not isinstance(limit, Tensor) or limit.dim() == 0
        return f"be {words_of[type(constraint)]} {short(limit) if single else 'its bound'}"
    return f"satisfy {constraint!r}"

"""From a constraint to a transform that maps unconstrained space onto it.

`biject_to(c)` is a bijection: it has a log-det, so it can carry a density (latent variables, guides).
`transform_to(c)` need only be onto, and prefers what optimises well: for the simplex it is softmax,
which has one coordinate too many to be a bijection. For most sets the two are the same.
Both are literal tables from the type of a constraint to the rule that builds its transform; a
user's constraint joins with `biject_to.register(MyConstraint, rule)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from . import constraints as c
from . import transforms as t

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]

Rule = Callable[[Any], t.Transform]


class ConstraintRegistry:
    """A callable table from constraints to transforms."""

    def __init__(self, name: str = "registry", rules: dict[type[c.Constraint], Rule] | None = None) -> None:
        self.name = name
        self._rules = {} if rules is None else rules

    def register(self, constraint: Any, factory: Rule | None = None) -> Any:
        """Add a rule for a constraint's type; usable as a decorator.

        Args:
            constraint: a constraint class, or an instance of it.
            factory: from the constraint to its transform.

        Raises:
            TypeError: `constraint` is neither.
        """
        kind = constraint if isinstance(constraint, type) else type(constraint)
        if not issubclass(kind, c.Constraint):
            raise TypeError(f"{self.name}.register: expected a Constraint class or instance, got {constraint!r}.")
        if factory is None:
            return lambda rule: self.register(constraint, rule)
        self._rules[kind] = factory
        return factory

    def __call__(self, constraint: c.Constraint) -> t.Transform:
        """The transform whose image is `constraint`.

        Raises:
            NotImplementedError: no rule is registered for its type.
        """
        rule = self._rules.get(type(constraint))
        if rule is None and constraint.is_discrete:
            raise NotImplementedError(
                f"{self.name} has no entry for {constraint!r}: real numbers do not map onto a discrete set. "
                f"Try a continuous family, or a value that is observed."
            )
        if rule is None:
            known = ", ".join(sorted(kind.__name__ for kind in self._rules))
            raise NotImplementedError(
                f"{self.name} has no entry for {constraint!r}. Registered: {known}. "
                f"Try {self.name}.register({type(constraint).__name__}, rule)."
            )
        return rule(constraint)


def _half_line(constraint: Any, sign: float, bound: Tensor | float) -> t.Transform:
    exp = t.ExpTransform()
    if not isinstance(bound, Tensor) and bound == 0 and sign == 1:
        return exp
    return t.ComposeTransform([exp, t.AffineTransform(bound, sign)])


def _above(constraint: c.GreaterThan) -> t.Transform:
    return _half_line(constraint, 1, constraint.lower_bound)


def _below(constraint: c.LessThan) -> t.Transform:
    return _half_line(constraint, -1, constraint.upper_bound)


def _between(constraint: c.Interval) -> t.Transform:
    low, high = constraint.lower_bound, constraint.upper_bound
    sigmoid = t.SigmoidTransform()
    if not isinstance(low, Tensor) and not isinstance(high, Tensor) and (low, high) == (0, 1):
        return sigmoid
    return t.ComposeTransform([sigmoid, t.AffineTransform(low, high - low)])


def _maybe_endless(constraint: c.Ray) -> t.Transform:
    # 1 / (exp(-u) + 1/width): the logistic function of a finite width, the exponential of an infinite one
    low, high = constraint.lower_bound, constraint.upper_bound
    turned = [t.AffineTransform(0.0, -1.0), t.ExpTransform(), t.AffineTransform(1 / (high - low), 1.0)]
    return t.ComposeTransform([*turned, t.PowerTransform(-1.0), t.AffineTransform(low, 1.0)])


def _identity(constraint: c.Constraint) -> t.Transform:
    return t.identity_transform


def _shared() -> dict[type[c.Constraint], Rule]:
    return {
        c.Real: _identity,
        c.GreaterThan: _above,
        c.GreaterThanEq: _above,
        c.LessThan: _below,
        c.LessThanEq: _below,
        c.Interval: _between,
        c.HalfOpenInterval: _between,
        c.SoftplusPositive: lambda _: t.SoftplusTransform(),
        c.Ray: _maybe_endless,
        c.CorrCholesky: lambda _: t.CorrCholeskyTransform(),
        c.CorrMatrix: lambda _: t.ComposeTransform([t.CorrCholeskyTransform(), t.CorrMatrixCholeskyTransform().inv]),
        c.OrderedVector: lambda _: t.OrderedTransform(),
        c.ZeroSum: lambda constraint: t.ZeroSumTransform(constraint.event_dim),
        c.PositiveOrderedVector: lambda _: t.ComposeTransform([t.OrderedTransform(), t.ExpTransform()]),
    }


biject_to = ConstraintRegistry(
    "biject_to",
    {
        **_shared(),
        c.Simplex: lambda _: t.StickBreakingTransform(),
        c.LowerCholesky: lambda _: t.PackedLowerCholeskyTransform(),
        c.SoftplusLowerCholesky: lambda _: t.PackedSoftplusLowerCholeskyTransform(),
        c.UnitLowerCholesky: lambda _: t.PackedUnitLowerCholeskyTransform(),
        c.PositiveDefinite: lambda _: t.PackedPositiveDefiniteTransform(),
        c.PositiveSemidefinite: lambda _: t.PackedPositiveDefiniteTransform(),
    },
)
transform_to = ConstraintRegistry(
    "transform_to",
    {
        **_shared(),
        c.Simplex: lambda _: t.SoftmaxTransform(),
        c.Sphere: lambda _: t.NormalizeTransform(),
        c.LowerCholesky: lambda _: t.LowerCholeskyTransform(),
        c.SoftplusLowerCholesky: lambda _: t.SoftplusLowerCholeskyTransform(),
        c.UnitLowerCholesky: lambda _: t.UnitLowerCholeskyTransform(),
        c.PositiveDefinite: lambda _: t.PositiveDefiniteTransform(),
        c.PositiveSemidefinite: lambda _: t.PositiveDefiniteTransform(),
    },
)


def _independent(registry: ConstraintRegistry) -> Rule:
    def rule(constraint: c.Independent) -> t.Transform:
        return t.IndependentTransform(registry(constraint.base_constraint), constraint.reinterpreted_batch_ndims)

    return rule


def _cat(registry: ConstraintRegistry) -> Rule:
    return lambda constraint: t.CatTransform(
        [registry(piece) for piece in constraint.cseq], constraint.dim, constraint.lengths
    )


def _stack(registry: ConstraintRegistry) -> Rule:
    return lambda constraint: t.StackTransform([registry(piece) for piece in constraint.cseq], constraint.dim)


for _registry in (biject_to, transform_to):
    _registry.register(c.Independent, _independent(_registry))
    _registry.register(c.Cat, _cat(_registry))
    _registry.register(c.Stack, _stack(_registry))

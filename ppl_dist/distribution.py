"""The base class of every distribution.

A family declares its parameters (`param`) and writes `_sample`, `_log_prob` and what else its
mathematics gives: `_cdf`, `_icdf`, `mean`, `entropy`, ... Public methods live here, once: they check
shapes and values, handle points outside the support, and hand complete shapes to the hooks.

Promises:
    * `log_prob` is in nats, has shape S + B, and is -inf with zero gradient outside the support when
      validation is off; with validation on such a value raises `ValueError`, unless `enumerate_support` lists it.
    * `sample` never carries a gradient, `rsample` does; both take `generator=`.
    * `expand`, indexing, `.to()`, pickling and the tree form keep the type of the family.

A subclass may instead be written imperatively: its own `__init__` that calls
`super().__init__(batch_shape, event_shape, validate_args=...)`, and its own `log_prob`, `sample`, `rsample`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from . import half, validation
from .constraints import Constraint, Dependent, real
from .distribution_functions import DistributionFunctions
from .param import Param, Static, static
from .requirement import bad_parameter, describe
from .samplers import draw_from
from .shapes import COMPLEX, EMPTY, NARROW, broadcast_shapes, size_of, unflatten_mask
from .spec import Spec
from .tables import is_listed
from .values import short

if TYPE_CHECKING:
    from .combine.independent import Independent
    from .combine.masked import MaskedDistribution

__all__ = ["Distribution"]

ODD = NARROW | COMPLEX  # dtypes of values that need converting, or are none


class Distribution(DistributionFunctions):
    """A probability distribution over tensors of shape S + B + E.

    Args:
        batch_shape: shape of the collection of independent distributions.
        event_shape: shape of one draw.
        validate_args: check parameters and values; None follows the ambient setting.
    """

    has_rsample: ClassVar[bool] = False
    has_enumerate_support: ClassVar[bool] = False
    exactly_one: ClassVar[tuple[str, ...] | tuple[tuple[str, ...], ...]] = ()
    if TYPE_CHECKING:  # the last argument of every family, as type checkers should see it
        validate_args: bool | None = static(default=None, kw_only=True)

    def __init__(
        self,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape = size_of(batch_shape)
        self._event_shape = size_of(event_shape)
        self._validate_args = validate_args
        if validation.resolve(validate_args):
            for name, constraint in getattr(self, "arg_constraints", {}).items():
                self._check_parameter(name, constraint)

    def _check_parameter(self, name: str, constraint: Constraint) -> None:
        value = self.__dict__.get(name)
        if not isinstance(value, Tensor) or isinstance(constraint, Dependent):
            return
        if validation.holds(constraint, value) is False:
            raise bad_parameter(self, name, constraint, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._spec = Spec.read(cls)
        declaring = [base for base in cls.__bases__ if issubclass(base, Distribution) and base._spec.params]
        # what several bases declare is one declaration, the last base's first
        own = len(declaring) > 1 or any(isinstance(v, Param | Static) for v in vars(cls).values())
        if own and "__init__" not in vars(cls):
            cls.__init__ = cls._spec.make_init(cls.__name__)  # type: ignore[method-assign]  # built from the declaration
        elif "__init__" not in vars(cls) and cls.__init__.__code__.co_filename.startswith("<"):
            cls.__init__ = Spec.renamed(cls.__init__, cls.__name__)  # type: ignore[method-assign]  # as above
        if own and "arg_constraints" not in vars(cls):
            constraints = dict(zip(cls._spec.names, cls._spec.constraints, strict=True))
            cls.arg_constraints = constraints  # type: ignore[method-assign,assignment]  # a constant of the family

    @property
    def support(self) -> Any:
        """The constraint that every draw satisfies; most families state it as a class attribute."""
        raise self._missing("support")

    @property
    def arg_constraints(self) -> Any:
        """The constraints of the parameters, by name."""
        return {}

    # Shapes

    @property
    def batch_shape(self) -> torch.Size:
        """B: the shape of the collection of independent distributions."""
        return self._batch_shape

    @property
    def event_dim(self) -> int:
        """The number of dimensions of one draw."""
        return len(self._event_shape)

    @property
    def event_shape(self) -> torch.Size:
        """E: the shape of one draw."""
        return self._event_shape

    def shape(self, sample_shape: Sequence[int] = ()) -> torch.Size:
        """The shape of `sample(sample_shape)`: S + B + E."""
        return self._extended_shape(sample_shape)

    def _extended_shape(self, sample_shape: Sequence[int] = EMPTY) -> torch.Size:
        base = self._batch_shape + self._event_shape if self._event_shape else self._batch_shape
        return size_of(sample_shape) + base if sample_shape != () else base

    def _set_event_shape(self) -> None:
        """Read E off the parameters: the last dimensions of the widest parameter the family stores.

        A family whose event shape follows another rule overrides this.
        """
        dims: int = getattr(type(self).support, "event_dim", 0)
        if dims == 0:
            return
        sizes: dict[str, torch.Size] = {}
        for name, p in self._spec.params.items():
            value = self.__dict__.get(name)
            if value is not None and p.constraint.event_dim >= dims:
                sizes[name] = value.shape[value.dim() - dims :]
        self._event_shape = next(iter(sizes.values()))
        if any(size != self._event_shape for size in sizes.values()):
            listed = ", ".join(f"{name} {tuple(size)}" for name, size in sizes.items())
            raise ValueError(f"{type(self).__name__}: event shapes differ: {listed}. They must be equal.")
        support: Any = type(self).support
        if 0 in self._event_shape and not support.holds(torch.empty(self._event_shape)):
            raise ValueError(f"{type(self).__name__}: no value has the event shape {tuple(self._event_shape)}.")

    # Sampling

    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Draw a tensor of shape S + B + E that carries no gradient."""
        with torch.no_grad():
            if type(self).rsample is not Distribution.rsample:  # an imperative subclass
                return draw_from(self.rsample, generator, sample_shape)
            shape = self._extended_shape(sample_shape)
            draws = self._sample(shape, generator) if self._half is None else half.draw(self, shape, generator)
            return draws.detach()

    def rsample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Draw a tensor of shape S + B + E, differentiable in the parameters.

        Raises:
            NotImplementedError: the family has no pathwise derivative (`has_rsample` is False).
        """
        if not self.has_rsample:
            raise NotImplementedError(
                f"{type(self).__name__} has no rsample: its draws are not differentiable in the parameters. "
                f"Try sample(), and a score-function estimator for gradients."
            )
        shape = self._extended_shape(sample_shape)
        return self._sample(shape, generator) if self._half is None else half.draw(self, shape, generator)

    def __call__(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """`rsample` where the family has it, else `sample`."""
        return draw_from(self.rsample if self.has_rsample else self.sample, generator, sample_shape)

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """A differentiable draw of shape S + B + E with its log density of shape S + B, computed together."""
        value = draw_from(self.rsample, generator, sample_shape)
        imperative = type(self)._log_prob is Distribution._log_prob
        return value, self.log_prob(value) if imperative or self._half is not None else self._log_prob(value)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Hook: a draw of the complete shape S + B + E; differentiable where `has_rsample`."""
        raise self._missing("sample")

    # Densities

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density or log mass in nats, shape S + B.

        Args:
            value: shape broadcastable with S + B + E.

        Raises:
            ValueError: while validation is on, `value` has a wrong shape or lies outside the support.
        """
        if type(value) is not Tensor or value.dtype in ODD:
            value = self._as_value(value)
        if self._half is not None:
            return half.log_prob(self, value)
        if validation.resolve(self._validate_args) and self._validate_sample(value):
            return self._log_prob(value)
        return self._log_prob_anywhere(value)

    def _log_prob(self, x: Tensor) -> Tensor:
        """Hook: log density at a point of the support."""
        raise self._missing("log_prob")

    def _log_prob_anywhere(self, value: Tensor) -> Tensor:
        """The log density with -inf and zero gradient outside the support."""
        support = self.support
        if support is real or support == real:
            return self._log_prob(value)
        # on the CPU one look at the values is cheaper than two selections and their backward; elsewhere it would
        # wait for the device, and inside vmap or a capture there is nothing to look at
        if value.is_cpu and not torch.compiler.is_compiling() and validation.holds(support, value):
            return self._log_prob(value)
        inside = support.check(value)
        safe = torch.where(unflatten_mask(inside, support.event_dim), value, support.feasible(value))
        return torch.where(inside, self._log_prob(safe.to(value.dtype)), -torch.inf)

    def _as_value(self, value: Any) -> Tensor:
        if isinstance(value, Tensor):
            if value.dtype in COMPLEX:
                raise TypeError(f"{type(self).__name__}: the value must be real, got {validation.dtype_name(value)}.")
            return value.long() if value.dtype in NARROW else value
        like = self._like()
        try:
            if like is None:
                return torch.as_tensor(value)
            dtype = like.dtype if isinstance(value, float | bool) and like.is_floating_point() else None
            return torch.as_tensor(value, dtype=dtype, device=like.device)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"{type(self).__name__}: the value must be a tensor or a number, got {type(value).__name__}."
            ) from None

    def _validate_sample(self, value: Tensor) -> bool:
        """Raise if `value` does not fit; False unless all of it is seen to lie in the support.

        Entries cannot be read inside vmap; some lie outside where one list enumerates counts of different ends.
        """
        self._check_value_shape(value)
        answer = validation.holds(self.support, value)
        if answer is False and not (self.has_enumerate_support and is_listed(self.support, value)):
            raise ValueError(
                f"{type(self).__name__}: the value must {describe(self.support)}; "
                f"{validation.violation(self.support, value)}."
            )
        return answer is True

    def _check_value_shape(self, value: Tensor) -> None:
        shape, expected = value.shape, self._extended_shape()
        if shape == expected:
            return
        dims = len(self._event_shape)
        if len(shape) < dims or shape[len(shape) - dims :] != self._event_shape:
            raise ValueError(
                f"{type(self).__name__}: the value must end in the event shape {tuple(self._event_shape)}, "
                f"got shape {tuple(shape)}."
            )
        try:
            broadcast_shapes([shape[: len(shape) - dims], self._batch_shape])
        except ValueError:
            raise ValueError(
                f"{type(self).__name__}: the value's shape {tuple(shape)} does not broadcast with batch shape "
                f"{tuple(self._batch_shape)} and event shape {tuple(self._event_shape)}. Sizes must be equal or 1, "
                f"counted from the right."
            ) from None

    # Moments

    @property
    def mean(self) -> Tensor:
        """E[X], shape B + E."""
        raise self._missing("mean")

    @property
    def variance(self) -> Tensor:
        """Var[X], entry by entry, shape B + E."""
        raise self._missing("variance")

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance, shape B + E."""
        return self.variance.sqrt()

    @property
    def mode(self) -> Tensor:
        """The point of largest density, shape B + E."""
        raise self._missing("mode")

    def entropy(self) -> Tensor:
        """-E[log p(X)] in nats, shape B."""
        raise self._missing("entropy")

    def perplexity(self) -> Tensor:
        """exp(entropy), shape B."""
        return self.entropy().exp()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every value of a finite support, along a new leading dimension: shape (n,) + B + E.

        Counts whose ends differ from entry to entry share one list, from the lowest end to the highest; `log_prob`
        answers -inf for a value of the list that is not an entry's own.

        Args:
            expand: False keeps the batch dimensions at size one.
        """
        raise self._missing("enumerate_support")

    # Wrapping

    def _expand_undeclared(self, batch_shape: torch.Size) -> Any:
        from .combine.expanded import ExpandedDistribution

        return ExpandedDistribution(self, batch_shape)

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> Distribution | Independent:
        """Make the last `n` batch dimensions (all, when None) part of the event."""
        from .combine.independent import Independent

        n = len(self._batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return self if n == 0 else Independent(self, n)

    def mask(self, mask: Tensor | bool) -> MaskedDistribution:
        """The same distribution with `log_prob` counted only where `mask` is true."""
        from .combine.masked import MaskedDistribution

        return MaskedDistribution(self, mask)

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        """For imperative subclasses: an empty instance of the right type for `expand` to fill."""
        if _instance is None and type(self).__init__ is not cls.__init__:  # type: ignore[misc]  # comparing constructors is the point
            raise NotImplementedError(
                f"{type(self).__name__} has an __init__ of its own and must define expand(batch_shape) too."
            )
        return object.__new__(type(self)) if _instance is None else _instance

    # Other

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Set whether distributions check parameters and values when not told; process-wide."""
        validation.set_default_validation(value)

    @property
    def is_discrete(self) -> bool:
        """Whether the support is countable."""
        return bool(self.support.is_discrete)

    def _missing(self, method: str) -> NotImplementedError:
        kind = type(self)
        present = [
            name
            for name, hook in _OPTIONAL.items()
            if name != method and getattr(kind, hook) is not getattr(Distribution, hook)
        ]
        listed = f" It has: {', '.join(present)}." if self._spec.params and present else ""
        return NotImplementedError(f"{kind.__name__} has no {method}.{listed}")

    def __repr__(self) -> str:
        shown = [f"{name}: {short(value)}" for name, (value, _) in self._stored().items() if name in self._spec.names]
        shown += [f"{name}: {self.__dict__[name]!r}" for name in self._spec.static if name in self.__dict__]
        if not shown:
            shown = [f"batch_shape: {tuple(self._batch_shape)}", f"event_shape: {tuple(self._event_shape)}"]
        return f"{type(self).__name__}({', '.join(shown)})"


# what a family may have, and the hook that gives it
_OPTIONAL = {
    "sample": "_sample",
    "log_prob": "_log_prob",
    "cdf": "_cdf",
    "icdf": "_icdf",
    "mean": "mean",
    "variance": "variance",
    "mode": "mode",
    "entropy": "entropy",
    "enumerate_support": "enumerate_support",
}

Distribution._spec = Spec.read(Distribution)

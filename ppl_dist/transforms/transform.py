"""The transform base: a differentiable map with a known log-Jacobian.

An author writes three lines of mathematics: `_call(x)`, `_inverse(y)` and `_log_det(x, y)`, and says
what the domain and codomain are. `call_and_log_det` does both directions of work in one pass and
may be overridden where they share terms. Everything else (inverse view, cache, composition, shapes)
is derived here.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..constraints import Constraint, dependent
from ..tree import Node
from ..values import same_value, short

__all__ = ["Transform"]


class Transform(Node):
    """A map from `domain` to `codomain`.

    Attributes:
        domain: the constraint its inputs satisfy.
        codomain: the constraint its outputs satisfy.
        bijective: whether it has an inverse and a log-det.
        affine: whether it is a matrix product and a shift, so that means go through it and its log-det is constant.

    Args:
        cache_size: 1 keeps the last pair (x, y), so that `inv` of an output just computed is exact.
    """

    bijective: ClassVar[bool] = False
    affine: ClassVar[bool] = False
    domain: Constraint = dependent
    codomain: Constraint = dependent

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError(f"{type(self).__name__}: cache_size must be 0 or 1, got {cache_size!r}.")
        self._cache_size = cache_size
        self._cached: tuple[Tensor, Tensor] | None = None

    # What an author writes

    def _call(self, x: Tensor) -> Tensor:
        """Hook: y = f(x)."""
        raise NotImplementedError(f"{type(self).__name__} does not define _call(x).")

    def _inverse(self, y: Tensor) -> Tensor:
        """Hook: x with f(x) = y."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse.")

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        """Hook: log|det df/dx|, one number per event of the domain."""
        raise NotImplementedError(f"{type(self).__name__} has no log_abs_det_jacobian.")

    def _variance(self, variance: Tensor) -> Tensor:
        """Hook of affine transforms that keep entries apart: from the variances of x to those of f(x)."""
        raise NotImplementedError(f"{type(self).__name__} mixes entries: the variances of its inputs do not tell.")

    def _inverse_variance(self, variance: Tensor) -> Tensor:
        """Hook: the same for the inverse."""
        return self._variance(variance)

    # What callers use

    def __call__(self, x: Tensor) -> Tensor:
        """y = f(x)."""
        if not self._cache_size:
            return self._call(x)
        if self._cached is not None and self._cached[0] is x:
            return self._cached[1]
        y = self._call(x)
        self._cached = x, y
        return y

    def _inv_call(self, y: Tensor) -> Tensor:
        if self._cache_size and self._cached is not None and self._cached[1] is y:
            return self._cached[0]
        x = self._inverse(y)
        if self._cache_size:
            self._cached = x, y
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log|det df/dx| at x, given y = f(x): the shape of x less the event dimensions."""
        return self._log_det(x, y)

    def call_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(f(x), log|det df/dx|), in one pass where the two share work."""
        y = self(x)
        return y, self.log_abs_det_jacobian(x, y)

    @property
    def inv(self) -> Transform:
        """The inverse as a transform; `t.inv.inv is t`."""
        from .inverse import InverseTransform

        return InverseTransform(self)

    @property
    def sign(self) -> int | Tensor:
        """+1 where the map increases, -1 where it decreases; defined for elementwise monotone maps."""
        raise NotImplementedError(f"{type(self).__name__} has no sign: it is not a monotone map of numbers.")

    @property
    def event_dim(self) -> int:
        """How many rightmost dimensions one application consumes (the larger of domain and codomain)."""
        return max(self.domain.event_dim, self.codomain.event_dim)

    @property
    def cache_size(self) -> int:
        """0, or 1 when the last pair is kept."""
        return self._cache_size

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same map with another cache size."""
        if self._cache_size == cache_size:
            return self
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._cache_size, new._cached = cache_size, None
        return new

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of f(x) for x of this shape."""
        return torch.Size(shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of x for f(x) of this shape."""
        return torch.Size(shape)

    def _batch_dims(self, width: int) -> bool:
        """Whether it treats batch entries differently, for events of `width` dimensions."""
        inner = [v for value in self._parameters().values() for v in (value if isinstance(value, list) else [value])]
        return any(
            v.dim() > width if isinstance(v, Tensor) else isinstance(v, Transform) and v._batch_dims(width)
            for v in inner
        )

    def _parameters(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_cache_size", "_cached")}

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, Transform):
            return False
        mine, theirs = self._parameters(), other._parameters()
        return mine.keys() == theirs.keys() and all(same_value(mine[k], theirs[k]) for k in mine)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={short(value)}" for name, value in self._parameters().items())
        return f"{type(self).__name__}({shown})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = object.__new__(type(self))
        memo[id(self)] = new
        for name, value in self.__getstate__().items():
            graph = isinstance(value, Tensor) and not value.is_leaf  # torch refuses to deep-copy these
            new.__dict__[name] = value.clone() if graph else copy.deepcopy(value, memo)
        return new

    def _structure(self) -> dict[str, Any]:
        return self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cached": None}

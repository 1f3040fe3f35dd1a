"""Sets of vectors and matrices."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .base import Bound, Constraint

__all__ = [
    "CorrCholesky",
    "CorrMatrix",
    "LowerCholesky",
    "LowerTriangular",
    "Multinomial",
    "OneHot",
    "OrderedVector",
    "PositiveDefinite",
    "PositiveOrderedVector",
    "PositiveSemidefinite",
    "Simplex",
    "SoftplusLowerCholesky",
    "Sphere",
    "Square",
    "Symmetric",
    "UnitLowerCholesky",
    "ZeroSum",
]


@dataclass(frozen=True, eq=False, repr=False)
class OneHot(Constraint):
    """Vectors of zeros with a single one."""

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)

    def holds(self, value: Tensor) -> bool:
        # every vector has a one, and there are no more numbers than vectors: in two passes
        if value.numel() == 0:
            return True
        low, high = torch.aminmax(value.amax(-1))
        return low.item() == high.item() == 1 and int(value.count_nonzero()) * value.shape[-1] == value.numel()

    def feasible(self, value: Tensor) -> Tensor | float:
        return torch.eye(1, value.shape[-1], dtype=value.dtype, device=value.device)[0]


@dataclass(frozen=True, eq=False, repr=False)
class Multinomial(Constraint):
    """Vectors of nonnegative integers that add up to at most `upper_bound`."""

    upper_bound: Bound
    is_discrete: bool = field(default=True, init=False)
    event_dim: int = field(default=1, init=False)

    def check(self, value: Tensor) -> Tensor:
        return ((value >= 0) & (value % 1 == 0)).all(-1) & (value.sum(-1) <= self.upper_bound)

    def feasible(self, value: Tensor) -> Tensor | float:
        return 0.0


def _tolerance(value: Tensor) -> float:
    """How far a sum of rounded entries may miss: 1e-6 where the dtype can hold that, else its own eps.

    In float32 a softmax of few entries misses one by 1e-6 once in a million draws.
    """
    return max(1e-6, 16 * torch.finfo(value.dtype).eps) if value.is_floating_point() else 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Simplex(Constraint):
    """Vectors of nonnegative numbers that add up to one."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() <= _tolerance(value))

    def holds(self, value: Tensor) -> bool:
        if value.numel() == 0 or not value.is_floating_point():
            return super().holds(value)
        if not value.detach().min().item() >= 0:
            return False
        low, high = torch.aminmax(value.detach().sum(-1).sub_(1))
        tolerance = _tolerance(value)
        return bool(low.item() >= -tolerance and high.item() <= tolerance)

    def feasible(self, value: Tensor) -> Tensor | float:
        return torch.full(value.shape[-1:], 1.0 / value.shape[-1], dtype=value.dtype, device=value.device)


@dataclass(frozen=True, eq=False, repr=False)
class Sphere(Constraint):
    """Vectors of length one."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(value, dim=-1)
        return (length - 1).abs() <= _tolerance(value)

    def feasible(self, value: Tensor) -> Tensor | float:
        return torch.eye(1, value.shape[-1], dtype=value.dtype, device=value.device)[0]


@dataclass(frozen=True, eq=False, repr=False)
class ZeroSum(Constraint):
    """Arrays that add up to zero along each of their `event_dim` dimensions."""

    event_dim: int = 1

    def __post_init__(self) -> None:
        if self.event_dim < 1:
            raise ValueError(f"zero_sum: event_dim must be at least 1, got {self.event_dim}. Try zero_sum(1).")

    def check(self, value: Tensor) -> Tensor:
        answers = [self._balanced(value, dim) for dim in range(-self.event_dim, 0)]
        return torch.stack(answers).all(0) if len(answers) > 1 else answers[0]

    def _balanced(self, value: Tensor, dim: int) -> Tensor:
        """The sums along `dim` miss zero by no more than rounding, which grows with the entries."""
        fine = value.sum(dim).abs() <= _tolerance(value) * (1 + value.abs().sum(dim))
        return fine.flatten(1 - self.event_dim).all(-1) if self.event_dim > 1 else fine

    def feasible(self, value: Tensor) -> Tensor | float:
        return 0.0


@dataclass(frozen=True, eq=False, repr=False)
class OrderedVector(Constraint):
    """Strictly increasing vectors."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value.diff(dim=-1) > 0).all(-1)


@dataclass(frozen=True, eq=False, repr=False)
class PositiveOrderedVector(OrderedVector):
    """Strictly increasing vectors of positive numbers."""

    def check(self, value: Tensor) -> Tensor:
        return super().check(value) & (value > 0).all(-1)


@dataclass(frozen=True, eq=False, repr=False)
class LowerTriangular(Constraint):
    """Square matrices with zeros above the diagonal."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        return (value.tril() == value).flatten(-2).all(-1)


@dataclass(frozen=True, eq=False, repr=False)
class LowerCholesky(Constraint):
    """Lower-triangular matrices with a positive diagonal."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        if value.shape[-1] != value.shape[-2]:
            return torch.zeros(value.shape[:-2], dtype=torch.bool, device=value.device)
        return (value.tril() == value).flatten(-2).all(-1) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)

    def holds(self, value: Tensor) -> bool:
        # `tril` walks through a batch of small matrices one by one: their columns are looked at instead
        n, value = value.shape[-1], value.detach()
        if type(self).check is not LowerCholesky.check or value.numel() < 1000 or value.shape[-2] != n or n > 4:
            return super().holds(value)
        total = value.sum().item()
        if total - total != 0:  # a finite sum proves that there is no NaN
            return super().holds(value)
        above = any(value[..., :j, j].any().item() for j in range(1, n))
        return not above and bool((value.diagonal(dim1=-2, dim2=-1) > 0).all().item())

    def feasible(self, value: Tensor) -> Tensor | float:
        return torch.eye(value.shape[-1], dtype=value.dtype, device=value.device)


@dataclass(frozen=True, eq=False, repr=False)
class SoftplusLowerCholesky(LowerCholesky):
    """The same set; its transforms take the diagonal through softplus, which grows more slowly than exp."""


@dataclass(frozen=True, eq=False, repr=False)
class UnitLowerCholesky(LowerCholesky):
    """Lower-triangular matrices with ones on the diagonal."""

    def check(self, value: Tensor) -> Tensor:
        return super().check(value) & (value.diagonal(dim1=-2, dim2=-1) == 1).all(-1)


@dataclass(frozen=True, eq=False, repr=False)
class CorrCholesky(LowerCholesky):
    """Lower-triangular matrices with a positive diagonal and rows of length one."""

    def check(self, value: Tensor) -> Tensor:
        unit_rows = ((value * value).sum(-1) - 1).abs() <= 10 * value.shape[-1] * torch.finfo(value.dtype).eps
        return unit_rows.all(-1) & super().check(value)


@dataclass(frozen=True, eq=False, repr=False)
class Square(Constraint):
    """Square matrices."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        square = value.shape[-1] == value.shape[-2]
        return torch.full(value.shape[:-2], square, dtype=torch.bool, device=value.device)


@dataclass(frozen=True, eq=False, repr=False)
class Symmetric(Square):
    """Symmetric matrices, to a relative 1e-6 of their largest entry."""

    def check(self, value: Tensor) -> Tensor:
        if value.shape[-1] != value.shape[-2]:
            return super().check(value)
        largest = value.abs().amax((-2, -1), keepdim=True) if value.numel() else value
        return ((value - value.mT).abs() <= _tolerance(value) * (1 + largest)).flatten(-2).all(-1)

    def feasible(self, value: Tensor) -> Tensor | float:
        return torch.eye(value.shape[-1], dtype=value.dtype, device=value.device)


@dataclass(frozen=True, eq=False, repr=False)
class PositiveSemidefinite(Symmetric):
    """Symmetric matrices without negative eigenvalues."""

    def check(self, value: Tensor) -> Tensor:
        symmetric = super().check(value)
        if value.shape[-1] != value.shape[-2]:
            return symmetric
        definite: Tensor = (torch.linalg.eigvalsh(value) >= 0).all(-1)
        return symmetric & definite


@dataclass(frozen=True, eq=False, repr=False)
class PositiveDefinite(Symmetric):
    """Symmetric matrices with positive eigenvalues."""

    def check(self, value: Tensor) -> Tensor:
        symmetric = super().check(value)
        if value.shape[-1] != value.shape[-2]:
            return symmetric
        factorises: Tensor = torch.linalg.cholesky_ex(value).info == 0
        return symmetric & factorises


@dataclass(frozen=True, eq=False, repr=False)
class CorrMatrix(PositiveDefinite):
    """Correlation matrices: positive definite, with ones on the diagonal."""

    def check(self, value: Tensor) -> Tensor:
        unit = (value.diagonal(dim1=-2, dim2=-1) - 1).abs() <= _tolerance(value)
        return super().check(value) & unit.all(-1)

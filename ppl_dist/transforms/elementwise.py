"""Transforms of single numbers, applied entry by entry."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import elu, leaky_relu, logsigmoid, softplus

from .. import constraints
from ..constraints import Constraint
from ..shapes import broadcast_shapes
from .transform import Transform

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "ELUTransform",
    "ExpTransform",
    "LeakyReLUTransform",
    "PowerTransform",
    "SigmoidTransform",
    "SoftplusTransform",
    "TanhTransform",
]

NEGLIGIBLE = 40.0  # exp(-40) is lost beside it; torch's softplus takes x itself from 20 on, which is off by 2e-9


class ExpTransform(Transform):
    """y = exp(x)."""

    domain = constraints.real
    codomain = constraints.positive
    bijective = True
    sign = 1

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class PowerTransform(Transform):
    """y = x ** exponent, for x > 0."""

    domain = constraints.positive
    codomain = constraints.positive
    bijective = True

    def __init__(self, exponent: Tensor | float, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.exponent = torch.as_tensor(exponent)

    @property
    def sign(self) -> int | Tensor:
        return self.exponent.sign()

    def _call(self, x: Tensor) -> Tensor:
        return x.pow(self.exponent)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.pow(1 / self.exponent)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        # log|a x**(a-1)|, from logs alone: y/x overflows before the result does
        return self.exponent.abs().log() + (self.exponent - 1) * x.log()

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return broadcast_shapes([shape, self.exponent.shape])

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return broadcast_shapes([shape, self.exponent.shape])


class SigmoidTransform(Transform):
    """y = 1 / (1 + exp(-x))."""

    domain = constraints.real
    codomain = constraints.unit_interval
    bijective = True
    sign = 1

    def _call(self, x: Tensor) -> Tensor:
        y = x.sigmoid()
        facts = torch.finfo(y.dtype)  # rounded to 0 or 1 it could not be inverted; its derivative there is 0 anyway
        return y.clamp(facts.tiny, 1 - facts.eps / 2)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log() - (-y).log1p()

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return logsigmoid(x) + logsigmoid(-x)


class SoftplusTransform(Transform):
    """y = log(1 + exp(x))."""

    domain = constraints.real
    codomain = constraints.positive
    bijective = True
    sign = 1

    def _call(self, x: Tensor) -> Tensor:
        return softplus(x, 1.0, NEGLIGIBLE)

    def _inverse(self, y: Tensor) -> Tensor:
        return y + (-(-y).expm1()).log()  # log(e^y - 1) without overflow

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return logsigmoid(x)


class TanhTransform(Transform):
    """y = tanh(x)."""

    domain = constraints.real
    codomain = constraints.interval(-1.0, 1.0)
    bijective = True
    sign = 1

    def _call(self, x: Tensor) -> Tensor:
        y = x.tanh()
        edge = (
            1 - torch.finfo(y.dtype).eps / 2
        )  # rounded to 1 it could not be inverted; its derivative there is 0 anyway
        return y.clamp(-edge, edge)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.atanh()

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        # log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2x)): finite for every finite x
        return 2.0 * (math.log(2.0) - x - softplus(-2.0 * x, 1.0, NEGLIGIBLE))


class ELUTransform(Transform):
    """y = x for x > 0, exp(x) - 1 below."""

    domain = constraints.real
    codomain = constraints.greater_than(-1.0)
    bijective = True
    sign = 1

    def _call(self, x: Tensor) -> Tensor:
        return elu(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.where(y > 0, y, y.clamp(max=0).log1p())

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return x.clamp(max=0)


class LeakyReLUTransform(Transform):
    """y = x for x > 0, negative_slope * x below.

    Args:
        negative_slope: a positive number.
        cache_size: as for every transform.
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, negative_slope: float = 0.01, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        if not negative_slope > 0:
            raise ValueError(
                f"LeakyReLUTransform: negative_slope must be positive, got {negative_slope}. "
                f"Try LeakyReLUTransform(0.01)."
            )
        self.negative_slope = negative_slope

    def _call(self, x: Tensor) -> Tensor:
        return leaky_relu(x, self.negative_slope)

    def _inverse(self, y: Tensor) -> Tensor:
        return leaky_relu(y, 1 / self.negative_slope)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return (x < 0).to(x.dtype) * math.log(self.negative_slope)


class AbsTransform(Transform):
    """y = |x|; it has no inverse, and `inv` answers with the nonnegative branch."""

    domain = constraints.real
    codomain = constraints.nonnegative

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """y = loc + scale * x, over events of `event_dim` dimensions.

    Args:
        loc: shift.
        scale: factor, anything but zero.
        event_dim: 0 for numbers, 1 for vectors, ...
        cache_size: as for every transform.
    """

    bijective = True
    affine = True

    def __init__(self, loc: float | Tensor, scale: float | Tensor, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim

    @property
    def event_dim(self) -> int:
        return self._event_dim

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]  # depends on event_dim
        return _real(self._event_dim)

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # depends on event_dim
        return _real(self._event_dim)

    @property
    def sign(self) -> int | Tensor:
        if isinstance(self.scale, Tensor):
            return self.scale.sign()
        return 1 if self.scale > 0 else -1

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        scale = self.scale
        log = scale.abs().log() if isinstance(scale, Tensor) else torch.as_tensor(math.log(abs(scale)))
        log = log.to(x.dtype).expand(broadcast_shapes([x.shape, log.shape]))
        return log.sum(tuple(range(-self._event_dim, 0))) if self._event_dim else log

    def _variance(self, variance: Tensor) -> Tensor:
        return variance * self.scale**2

    def _inverse_variance(self, variance: Tensor) -> Tensor:
        return variance / self.scale**2

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return broadcast_shapes([shape, *(v.shape for v in (self.loc, self.scale) if isinstance(v, Tensor))])

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self.forward_shape(shape)


def _real(event_dim: int) -> Constraint:
    return constraints.independent(constraints.real, event_dim) if event_dim else constraints.real

"""The normal distribution and what follows from it by exp and |.|."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..combine.transformed import Folded, TransformedDistribution
from ..constraints import positive, real
from ..exp_family import ExponentialFamily
from ..param import Param, param
from ..samplers import exp_inside, standard_normal
from ..special import log_ndtr, log_ndtr_between, ndtr, ndtri, ndtri_exp
from ..special.elementary import log_share
from ..transforms import ExpTransform
from ..values import extremes, highest, lowest
from .symmetric import SymmetricLocationScale

__all__ = ["HalfNormal", "LogNormal", "Normal"]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
HALF_LOG_HALF_PI = 0.5 * math.log(math.pi / 2)
LOG_2 = math.log(2)
SQRT_2 = math.sqrt(2)
SAFE = 85.0  # up to here logs have exponentials that are floats, in single precision too
_NARROW, _WIDE = 0.01, 16.0  # scales of a logarithm
_FLAT = 1e-10  # so near to 0, in units of the scale, the density does not change
UPPER_QUARTILE = 0.6744897501960817  # of the standard normal distribution


def _draw_and_log_prob(
    loc: Tensor, scale: Tensor, shape: torch.Size, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """x = m + s e for standard normal e, and log p(x) = -e**2/2 - log s + const.

    Written with e, the way through x and m cancels in value and in gradient, and a third of the operations go.
    """
    noise = standard_normal(shape, loc, generator)
    return torch.addcmul(loc, scale, noise), torch.addcmul(
        torch.rsub(scale.log(), -HALF_LOG_2PI), noise, noise, value=-0.5
    )


def standard_ends(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(low - loc) / scale, (high - loc) / scale and (high - low) / scale in double precision, 1e100 for infinity."""
    m, s = loc.to(torch.float64), scale.to(torch.float64)
    a, b = (end.to(torch.float64).clamp(-1e100, 1e100) for end in (low, high))  # where inf / s has no derivative in s
    return (a - m) / s, (b - m) / s, (b - a) / s


class Normal(SymmetricLocationScale, ExponentialFamily):
    """Normal(loc m, scale s):  density  exp(-((x - m) / s)**2 / 2) / (s sqrt(2 pi)),  x real.

    >>> Normal(0.0, 1.0).log_prob(0.0)
    tensor(-0.9189)
    """

    standard_variance = 1.0
    standard_entropy = 0.5 + HALF_LOG_2PI

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return torch.addcmul(self.loc, self.scale, standard_normal(shape, self.loc, generator))

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return _draw_and_log_prob(self.loc, self.scale, self._extended_shape(sample_shape), generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        z = (x - self.loc) / self.scale
        return torch.addcmul(torch.rsub(self.scale.log(), -HALF_LOG_2PI), z, z, value=-0.5)

    @property
    def stddev(self) -> Tensor:
        return self.scale

    def _standard_cdf(self, z: Tensor) -> Tensor:
        return ndtr(z)

    def _standard_log_cdf(self, z: Tensor) -> Tensor:
        return log_ndtr(z)

    def _standard_icdf(self, p: Tensor) -> Tensor:
        return ndtri(p)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return self.loc / self.scale.square(), -0.5 / self.scale.square()

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        shift, bend = natural_params
        return -0.25 * shift.square() / bend + 0.5 * (-math.pi / bend).log()

    def _icdf_of_log(self, log_p: Tensor) -> Tensor:
        return self.loc + self.scale * ndtri_exp(log_p)

    def _isf_of_log(self, log_q: Tensor) -> Tensor:
        return self.loc - self.scale * ndtri_exp(log_q)

    def _log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        r, log_integral = log_ndtr_between(*standard_ends(self.loc, self.scale, low, high))
        return (log_integral - 0.5 * r * r - HALF_LOG_2PI).to(torch.promote_types(low.dtype, self.loc.dtype))


class LogNormal(TransformedDistribution):
    """LogNormal(loc m, scale s):  density  exp(-((log x - m) / s)**2 / 2) / (x s sqrt(2 pi)),  x > 0.

    >>> LogNormal(0.0, 1.0).median
    tensor(1.)
    """

    loc: Param = param(real)
    scale: Param = param(positive, finite=False)
    support = positive
    transforms = [ExpTransform()]  # noqa: RUF012  # a constant of the class, as the base class stores it
    has_rsample = True
    has_enumerate_support = False

    @property
    def base_dist(self) -> Normal:
        return Normal(self.loc, self.scale, validate_args=False)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self._risen(torch.addcmul(self.loc, self.scale, standard_normal(shape, self.loc, generator)))

    def _risen(self, log_x: Tensor) -> Tensor:
        """exp, at the ends of the floats where the draw is beyond them."""
        seen = extremes(self.loc)
        reach = torch.inf if seen is None else max(-seen[0], seen[1]) + 7 * highest(self.scale)
        return log_x.exp() if reach < SAFE else exp_inside(log_x.clone(), log_x)

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        log_x, log_prob = _draw_and_log_prob(self.loc, self.scale, self._extended_shape(sample_shape), generator)
        return self._risen(log_x), log_prob - log_x

    def _log_prob(self, x: Tensor) -> Tensor:
        log_x = x.log()
        z = (log_x - self.loc) / self.scale
        return torch.addcmul(torch.rsub(self.scale.log(), -HALF_LOG_2PI), z, z, value=-0.5) - log_x

    def _z(self, x: Tensor) -> Tensor:
        m, s = self.loc, self.scale
        if lowest(s) < _NARROW:  # a narrow law sees far into the rounding of log x
            x, m, s = (v.to(torch.float64) for v in (x, m, s))
        inside = x > 0  # at 0 the answer is a constant: the derivatives of log would be 0 * inf
        return torch.where(inside, (torch.where(inside, x, 1.0).log() - m) / s, -torch.inf)

    def _cdf(self, x: Tensor) -> Tensor:
        return ndtr(self._z(x)).to(x.dtype)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log_ndtr(self._z(x)).to(x.dtype)

    def _sf(self, x: Tensor) -> Tensor:
        return ndtr(-self._z(x)).to(x.dtype)

    def _log_sf(self, x: Tensor) -> Tensor:
        return log_ndtr(-self._z(x)).to(x.dtype)

    def _icdf(self, p: Tensor) -> Tensor:
        return self._quantile(p, 1)

    def _isf(self, q: Tensor) -> Tensor:
        return self._quantile(q, -1)

    def _quantile(self, level: Tensor, sign: int) -> Tensor:
        m, s, wide = self.loc, self.scale, level
        if highest(s) > _WIDE:  # a wide law multiplies the rounding of z
            m, s, wide = (v.to(torch.float64) for v in (m, s, wide))
        return torch.addcmul(m, s, ndtri(wide), value=sign).exp().to(level.dtype)

    @property
    def mean(self) -> Tensor:
        return (self.loc + 0.5 * self.scale.square()).exp()

    @property
    def median(self) -> Tensor:
        return self.loc.exp()

    @property
    def variance(self) -> Tensor:
        v = self.scale.square()
        return v.expm1() * (2 * self.loc + v).exp()

    @property
    def mode(self) -> Tensor:
        return torch.exp(self.loc - self.scale.square())

    def entropy(self) -> Tensor:
        return 0.5 + HALF_LOG_2PI + self.scale.log() + self.loc


class HalfNormal(Folded):
    """HalfNormal(scale s):  density  sqrt(2 / pi) / s * exp(-(x / s)**2 / 2),  x >= 0; |z| for z ~ Normal(0, s).

    >>> HalfNormal(1.0).mode
    tensor(0.)
    """

    scale: Param = param(positive, finite=False)

    @property
    def base_dist(self) -> Normal:
        return Normal(torch.zeros_like(self.scale), self.scale, validate_args=False)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return standard_normal(shape, self.scale, generator).abs() * self.scale

    def _log_prob(self, x: Tensor) -> Tensor:
        z = x / self.scale
        return torch.addcmul(-HALF_LOG_HALF_PI - self.scale.log(), z, z, value=-0.5)

    def _cdf(self, x: Tensor) -> Tensor:
        return torch.erf(x / (SQRT_2 * self.scale))

    def _log_cdf(self, x: Tensor) -> Tensor:
        flat = x < _FLAT * self.scale  # where x / s may underflow
        inner = torch.where(flat, self.scale, x)
        near = torch.where(flat, x, 1.0).log() - (self.scale.log() + HALF_LOG_HALF_PI)
        return torch.where(flat, near, log_share(self._cdf(inner), self._sf(inner)))

    def _sf(self, x: Tensor) -> Tensor:
        return 2 * ndtr(-x / self.scale)

    def _log_sf(self, x: Tensor) -> Tensor:
        return log_ndtr(-x / self.scale) + LOG_2

    def _icdf(self, p: Tensor) -> Tensor:
        return SQRT_2 * self.scale * torch.erfinv(p)

    def _isf(self, q: Tensor) -> Tensor:
        return -self.scale * ndtri(0.5 * q)

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * (1 - 2 / math.pi)

    @property
    def mode(self) -> Tensor:
        return torch.zeros_like(self.scale)

    @property
    def median(self) -> Tensor:
        return self.scale * UPPER_QUARTILE

    def entropy(self) -> Tensor:
        return 0.5 + HALF_LOG_HALF_PI + self.scale.log()

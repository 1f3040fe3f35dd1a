"""The projected normal distribution: the direction of a normal vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constraints import real_vector, sphere
from ..distribution import Distribution
from ..param import Param, param
from ..samplers import standard_normal
from ..special.quadrature import CUTOFF, log_integral

__all__ = ["ProjectedNormal"]

LOG_2PI = math.log(2 * math.pi)


def _at_least_two(concentration: Tensor) -> Tensor:
    if concentration.dim() and concentration.shape[-1] < 2:
        raise ValueError(
            f"ProjectedNormal: `concentration` must have at least 2 entries in its last dimension, got shape "
            f"{tuple(concentration.shape)}. Try concentration=[1.0, 0.0]."
        )
    return concentration


def _unit(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length


def _peak(n: int, t: Tensor) -> Tensor:
    """Where r**n exp(r t - r**2/2) is largest: the positive root of r**2 - t r - n."""
    root = torch.hypot(t, torch.full_like(t, 2 * math.sqrt(n)))
    return torch.where(t > 0, (root + t) / 2, 2 * n / (root - t.clamp(max=0.0)))


def _log_spread(n: int, t: Tensor, peak: Tensor) -> Tensor:
    """Log of the integral over r > 0 of r**n exp(r t - r**2/2), divided by the integrand at `peak`.

    With v = r - peak and q = v / peak the exponent falls by n (q - log(1 + q)) + v**2/2: the lengths are where one
    of the two has reached the cutoff. One rule so serves every t and n; the upward recurrence in n loses all digits
    where t is negative.
    """
    rise, share = peak - t, CUTOFF / n
    gaussian = torch.full_like(peak, math.sqrt(2 * CUTOFF))
    right = torch.minimum(gaussian, peak * (share + math.sqrt(2 * share)))
    left = torch.minimum(gaussian, peak * min(1.0, math.sqrt(2 * share)))

    def side(sign: int, length: Tensor) -> Tensor:
        return log_integral(
            lambda v: n * (sign * v / peak[..., None]).log1p() - v * (sign * rise[..., None] + v / 2), length
        )

    return torch.logaddexp(side(1, right), side(-1, left))


class ProjectedNormal(Distribution):
    """ProjectedNormal(concentration m): the law of z / |z| for z ~ Normal(m, 1) in R^n, n >= 2.

    density  (2 pi)**(-n/2) exp(-|m|**2/2) int_0^inf r**(n-1) exp(r m.x - r**2/2) dr,  |x| = 1, with respect to the
    area of the sphere. The longer m, the closer x is to its direction; m = 0 is the uniform law.

    Reference: Mardia and Jupp (2000), "Directional Statistics".

    >>> ProjectedNormal([0.0, 0.0]).log_prob([1.0, 0.0])
    tensor(-1.8379)
    """

    concentration: Param = param(real_vector, prepare=_at_least_two, finite=True)
    support = sphere
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return _unit(self.concentration + standard_normal(shape, self.concentration, generator))

    def _log_prob(self, x: Tensor) -> Tensor:
        m, x = self.concentration.double(), _unit(x.double())  # the density is one of directions
        n = m.shape[-1] - 1
        t = (m * x).sum(-1)
        peak = _peak(n, t.detach())
        # exp(-|m|**2/2) times the integrand at the peak, in one square: both alone are lost for a long m
        at_peak = n * peak.log() - 0.5 * (m - peak.unsqueeze(-1) * x).square().sum(-1)
        return (at_peak + _log_spread(n, t, peak) - 0.5 * (n + 1) * LOG_2PI).to(self.concentration.dtype)

    @property
    def mode(self) -> Tensor:
        """The direction of `concentration`; nan where that is 0 and no direction is likelier than another."""
        return _unit(self.concentration)

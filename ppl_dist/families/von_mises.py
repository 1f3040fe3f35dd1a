"""The von Mises distribution: the normal law of the circle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constraints import circular, positive, real
from ..distribution import Distribution
from ..param import Param, param
from ..special.gamma import exp_of
from ..special.von_mises import concentration_slope, length_deficit, log_i0e, log_tails, quantile
from ..values import plainly_eager

__all__ = ["VonMises"]

LOG_2PI = math.log(2 * math.pi)
PROPOSALS = 16  # a draw with none accepted, 3e-8 of them at most, keeps its first
MANY = 1000  # entries: fewer are drawn faster all at once


def _wrap(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi]."""
    return angle - (2 * math.pi) * (angle / (2 * math.pi)).round()


def _standard(k: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """Angles from the mode: wrapped Cauchy proposals 2 atan(g c), the first accepted of a fixed number.

    With s = sin(y/2)^2, q = g^2/(1 - g^2) and w = 2 k (s + q) - 1 the density is proportional to that of the proposal
    times (1 + w) exp(-w), which is at most 1; the q below accepts most. After Best and Fisher (1979), "Efficient
    simulation of the von Mises distribution".
    """
    share = 1 + (torch.hypot(2 * k, torch.ones_like(k)) + 2 * k).reciprocal()  # 4 k q
    if k.is_cpu and shape.numel() >= MANY and plainly_eager():
        return _by_rounds(k.expand(shape).flatten(), share.expand(shape).flatten(), generator).reshape(shape)
    tangent, accepted = _proposals(k, share, torch.Size([PROPOSALS, *shape]), generator)
    first = accepted.to(torch.uint8).argmax(0, keepdim=True)
    return 2 * tangent.gather(0, first).squeeze(0).atan()


def _proposals(k: Tensor, share: Tensor, shape: torch.Size, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """The tangents g c of half the angles, and which of them are accepted."""
    noise = torch.rand(torch.Size([2, *shape]), dtype=k.dtype, device=k.device, generator=generator)
    tangent = (math.pi * (noise[0] - 0.5)).tan() * (1 + 4 * k / share).rsqrt()
    square = tangent.square()
    w = 2 * k * (square / (1 + square)) + (0.5 * share - 1)
    return tangent, noise[1] < (1 + w) * (-w).exp()


def _by_rounds(k: Tensor, share: Tensor, generator: torch.Generator | None) -> Tensor:
    """The same, where the entries without an accepted draw can be counted: only those are drawn again."""
    tangent, accepted = _proposals(k, share, k.shape, generator)
    left = accepted.logical_not().nonzero().squeeze(-1)
    for _ in range(PROPOSALS - 1):
        if not left.numel():
            break
        again, accepted = _proposals(k[left], share[left], left.shape, generator)
        tangent[left[accepted]] = again[accepted]
        left = left[~accepted]
    return 2 * tangent.atan()


class VonMises(Distribution):
    """VonMises(loc m, concentration k):  density  exp(k cos(x - m)) / (2 pi I0(k)),  -pi <= x <= pi.

    `mean`, `variance` and `mode` are those of the circle: the direction m, and 1 - I1(k)/I0(k). Draws move along the
    circle with `loc`, so that pathwise gradients are right for functions of the angle that close at +-pi.

    >>> VonMises(0.0, 0.5).log_prob(0.0)
    tensor(-1.3994)
    """

    loc: Param = param(real, finite=True)
    concentration: Param = param(positive)
    support = circular
    has_rsample = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        k = self.concentration.detach()
        y = _standard(k, shape, generator)
        top = math.pi * (1 - torch.finfo(k.dtype).eps / 2)
        x = _wrap(self.loc.detach() + y).clamp(-top, top)
        if not torch.is_grad_enabled():
            return x
        x = x + (self.loc - self.loc.detach())
        if not self.concentration.requires_grad:
            return x
        return x + (self.concentration - k) * concentration_slope(k, y).to(k.dtype)

    def _log_prob(self, x: Tensor) -> Tensor:
        k = self.concentration
        # k cos(y) - log I0(k) loses what is left of two terms of size k
        return -2 * k * (0.5 * (x - self.loc)).sin().square() - (log_i0e(k) + LOG_2PI)

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return log_tails(self.concentration, self.loc, x)

    def _cdf(self, x: Tensor) -> Tensor:
        return exp_of(*self._log_tails(x)).to(x.dtype)

    def _sf(self, x: Tensor) -> Tensor:
        return exp_of(*self._log_tails(x)[::-1]).to(x.dtype)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._log_tails(x)[0].to(x.dtype)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._log_tails(x)[1].to(x.dtype)

    def _icdf(self, p: Tensor) -> Tensor:
        return quantile(self.concentration, self.loc, p).to(p.dtype)

    def _isf(self, q: Tensor) -> Tensor:
        return quantile(self.concentration, self.loc, q, complement=True).to(q.dtype)

    @property
    def mean(self) -> Tensor:
        return _wrap(self.loc)

    @property
    def mode(self) -> Tensor:
        return _wrap(self.loc)

    @property
    def variance(self) -> Tensor:
        return length_deficit(self.concentration)

    def entropy(self) -> Tensor:
        k = self.concentration
        return log_i0e(k) + LOG_2PI + k * length_deficit(k)

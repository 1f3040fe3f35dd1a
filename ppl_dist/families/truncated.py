"""The truncated normal distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from ..combine.truncated import Truncated
from ..constraints import greater_than, less_than, positive, real
from ..param import Param, param
from ..special import log_ndtr, log_ndtr_between, ndtr, ndtri, ndtri_exp
from ..special.normal import ndtr_between
from ..special.quadrature import cutoff_guess, panel
from ..values import known
from .normal import Normal, standard_ends

__all__ = ["TruncatedNormal"]

_FAINT = 1e-280  # below it the logs of probabilities are inverted instead


class TruncatedNormal(Truncated):
    """TruncatedNormal(loc m, scale s, low a, high b):  density  exp(-((x - m) / s)**2 / 2) / (s Z),  a <= x <= b.

    Z is the integral of exp(-z**2 / 2) between the ends in units of s about m. An end that is not given is infinite.

    >>> TruncatedNormal(0.0, 1.0, low=0.0).mean
    tensor(0.7979)
    """

    loc: Param = param(real, default=0.0, finite=True)
    scale: Param = param(positive, default=1.0)
    low: Param = param(
        real,
        default=None,
        derive=lambda d: torch.full_like(d.loc, -torch.inf),
        within=lambda d: less_than(torch.inf),
    )
    high: Param = param(
        real,
        default=None,
        derive=lambda d: torch.full_like(d.loc, torch.inf),
        within=lambda d: greater_than(d.low),
    )
    has_rsample = True
    has_enumerate_support = False

    @property
    def base_dist(self) -> Normal:
        return Normal(self.loc, self.scale, validate_args=False)

    def _kept(self) -> tuple[Tensor | None, Tensor | None]:
        state = self.__dict__
        return state.get("low"), state.get("high")

    def _limits(self) -> tuple[Tensor | None, Tensor | None]:
        return self.low, self.high

    def _ends(self) -> tuple[Tensor, Tensor, Tensor]:
        return standard_ends(self.loc, self.scale, self.low, self.high)

    @property
    def mode(self) -> Tensor:
        return self.loc.clamp(self.low, self.high)

    def _log_prob(self, x: Tensor) -> Tensor:
        m, s, mode, wide = (v.to(torch.float64) for v in (self.loc, self.scale, self.mode, x))
        _, log_integral = log_ndtr_between(*self._ends())
        # relative to the mode, where the squares of far ends do not cancel
        square = (wide - mode) * (wide + mode - 2 * m) / (s * s)
        return (-0.5 * square - log_integral - s.log()).to(torch.promote_types(x.dtype, self.loc.dtype))

    def _cdf(self, x: Tensor) -> Tensor:
        share, fall = self._below(x)
        return (share * torch.exp(-fall)).to(torch.promote_types(x.dtype, self.loc.dtype))

    def _log_cdf(self, x: Tensor) -> Tensor:
        share, fall = self._below(x)
        return (share.log() - fall).to(torch.promote_types(x.dtype, self.loc.dtype))

    def _sf(self, x: Tensor) -> Tensor:
        share, fall = self._above(x)
        return (share * torch.exp(-fall)).to(torch.promote_types(x.dtype, self.loc.dtype))

    def _log_sf(self, x: Tensor) -> Tensor:
        share, fall = self._above(x)
        return (share.log() - fall).to(torch.promote_types(x.dtype, self.loc.dtype))

    def _below(self, x: Tensor) -> tuple[Tensor, Tensor]:
        _, b, _ = self._ends()
        beyond = (torch.where(self.high < torch.inf, self.high, x).to(torch.float64) - x) / self.scale
        return self._share(standard_ends(self.loc, self.scale, self.low, x), b <= 0, beyond)

    def _above(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, _, _ = self._ends()
        beyond = (x - torch.where(self.low > -torch.inf, self.low, x).to(torch.float64)) / self.scale
        return self._share(standard_ends(self.loc, self.scale, x, self.high), a >= 0, beyond)

    def _share(self, part: tuple[Tensor, Tensor, Tensor], farther: Tensor, beyond: Tensor) -> tuple[Tensor, Tensor]:
        """Doubles s, f with s exp(-f) the mass of a part of [low, high] that has an end in common with it.

        Where the part is `farther` from loc than the whole, by `beyond`, the squares of the two distances cancel.
        """
        r, whole = ndtr_between(*self._ends())
        r_part, mass = ndtr_between(*part)
        gap = torch.where(farther, beyond, torch.where(r > 0, 0.0, r_part))
        return mass / whole, 0.5 * gap * (r + r_part)

    def _levels(self) -> Tensor:
        return self.loc.new_zeros((), dtype=torch.float64)

    def _quantile(self, p: Tensor, q: Tensor) -> Tensor:
        a, b, _ = self._ends()
        below, above = q * ndtr(a) + p * ndtr(b), q * ndtr(-a) + p * ndtr(-b)
        lower = below < above
        tail = torch.where(lower, below, above)
        if known(tail > _FAINT):
            z = ndtri(tail)
        else:
            log_p, log_q = p.log(), q.log()
            left = torch.logaddexp(log_q + log_ndtr(a), log_p + log_ndtr(b))
            right = torch.logaddexp(log_q + log_ndtr(-a), log_p + log_ndtr(-b))
            lower = left < right
            z = ndtri_exp(torch.where(lower, left, right))
        x = torch.addcmul(self.loc.to(z.dtype), self.scale.to(z.dtype), torch.where(lower, z, -z))
        return self._inside(x.to(self.loc.dtype))

    def _reached(self, p: Tensor, q: Tensor) -> Tensor:
        x = super()._reached(p, q).to(torch.float64)
        # one step of Newton's method in the smaller tail: beside an end the step is exact where the quantile is rounded
        lower = p < q
        gap = torch.where(lower, p - self._cdf(x), self._sf(x) - q) / self._log_prob(x).exp()
        steady = gap.isfinite() & (p > 0) & (q > 0)
        x = self._inside((x + torch.where(steady, gap, 0.0)).to(self.loc.dtype))
        return torch.where(p == 0, self.low, torch.where(q == 0, self.high, x))

    @property
    def mean(self) -> Tensor:
        m, s = self.loc.to(torch.float64), self.scale.to(torch.float64)
        a, b, width = self._ends()
        r, log_integral = log_ndtr_between(a, b, width)
        # (phi(a) - phi(b)) / Z = +- phi(n) (1 - exp(-|d|)) / Z for the end n next to 0: this does not cancel
        d = 0.5 * width * (a + b)
        rising = d < 0
        fall = torch.expm1(torch.where(rising, d, -d))
        nearest = torch.minimum(a * a, b * b)
        ratio = torch.where(rising, fall, -fall) * torch.exp(0.5 * (r * r - nearest) - log_integral)
        return (m + s * ratio).to(self.loc.dtype)

    def _about_mode(self) -> tuple[Tensor, Tensor, Tensor]:
        """Points t along a last dimension, their weights, and (z**2 - r**2) / 2, for z = r + t with r that of the mode.

        The variance in closed form is a difference that keeps nothing far out; this sum has positive terms.
        """
        m, s, mode = (v.to(torch.float64) for v in (self.loc, self.scale, self.mode))
        low, high = (end.to(torch.float64).clamp(-1e100, 1e100) for end in (self.low, self.high))
        r = (mode - m) / s
        reach = cutoff_guess(r.abs(), torch.ones_like(r))  # r > 0: all lies above, r < 0: all below
        up, weights_up = panel(torch.minimum((high - mode) / s, reach))
        down, weights_down = panel(torch.minimum((mode - low) / s, reach))
        t, weights = torch.cat([up, -down], -1), torch.cat([weights_up, weights_down], -1)
        fall = t * (r.unsqueeze(-1) + 0.5 * t)
        weights = weights * torch.exp(-fall)
        return t, weights / weights.sum(-1, keepdim=True), fall

    @property
    def variance(self) -> Tensor:
        t, weights, _ = self._about_mode()
        gap = t - (weights * t).sum(-1, keepdim=True)
        return (self.scale.square() * (weights * gap * gap).sum(-1)).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        _, weights, fall = self._about_mode()
        _, log_integral = log_ndtr_between(*self._ends())
        return (self.scale.log() + log_integral + (weights * fall).sum(-1)).to(self.loc.dtype)

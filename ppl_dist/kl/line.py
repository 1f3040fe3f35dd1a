"""Divergences with continuous Bernoulli, generalised Pareto and von Mises laws."""

from __future__ import annotations

import torch
from torch import Tensor

from ..families.beta import Beta
from ..families.continuous_bernoulli import ContinuousBernoulli
from ..families.delta import Delta
from ..families.extreme import Gumbel, Pareto
from ..families.gamma import Exponential, Gamma
from ..families.laplace import Laplace
from ..families.normal import HalfNormal, Normal
from ..families.peaks import GeneralizedPareto
from ..families.student import FisherSnedecor, StudentT
from ..families.uniform import Uniform
from ..families.von_mises import VonMises
from ..special import exprel, log1prel
from ..special.von_mises import length_deficit, log_i0e
from .moments import _register, _to_exponential, _to_halfnormal, _to_normal
from .registry import register_infinite, register_kl

__all__: list[str] = []


def _log_partition(t: Tensor) -> Tensor:
    """log of the integral of exp(t x) over the unit interval."""
    turned = t > 1
    return torch.where(turned, t, 0.0) + exprel(torch.where(turned, -t, t)).log()


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _tilted_tilted(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    turned = p.logits > 1  # both are mirrored then: means near 1 have no digits to tell them apart
    sign = torch.where(turned, -1.0, 1.0).to(p.logits.dtype)
    a, b = sign * p.logits, sign * q.logits
    mean = ContinuousBernoulli(logits=a, validate_args=False).mean
    return _log_partition(b) - _log_partition(a) + (a - b) * mean


def _to_tilted(p: Beta | Uniform, q: ContinuousBernoulli) -> Tensor:
    return _log_partition(q.logits) - q.logits * p.mean - p.entropy()


@register_kl(Beta, ContinuousBernoulli)
def _beta_tilted(p: Beta, q: ContinuousBernoulli) -> Tensor:
    return _to_tilted(p, q)


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_tilted(p: Uniform, q: ContinuousBernoulli) -> Tensor:
    return torch.where((p.low >= 0) & (p.high <= 1), _to_tilted(p, q), torch.inf)


@register_kl(ContinuousBernoulli, Uniform)
def _tilted_uniform(p: ContinuousBernoulli, q: Uniform) -> Tensor:
    contained = (q.low <= 0) & (q.high >= 1)
    return torch.where(contained, (q.high - q.low).log() - p.entropy(), torch.inf)


_register(ContinuousBernoulli, Normal, _to_normal)
_register(ContinuousBernoulli, HalfNormal, _to_halfnormal)
_register(ContinuousBernoulli, Exponential, _to_exponential)


@register_kl(VonMises, VonMises)
def _mises_mises(p: VonMises, q: VonMises) -> Tensor:
    k, m = p.concentration, q.concentration
    deficit = length_deficit(k)
    turn = 2 * (0.5 * (p.loc - q.loc)).sin().square()  # 1 - cos
    return log_i0e(m) - log_i0e(k) + (m - k) * deficit + m * (1 - deficit) * turn


STEP, NODES = 0.05, 170


@register_kl(GeneralizedPareto, GeneralizedPareto)
def _peaks_peaks(p: GeneralizedPareto, q: GeneralizedPareto) -> Tensor:
    """log(t/s) + (1 + d) E[e'] - (1 + c), where e' is q's exponential draw at the value of p's.

    The mean is an integral over p's standard exponential e, by the double exponential rule: Takahasi and Mori (1974),
    "Double exponential formulas for numerical integration". Without a shape on the right e' is linear in x.
    """
    c, d = p.concentration, q.concentration
    u = STEP * (torch.arange(NODES, dtype=torch.float64, device=c.device).to(c.dtype) - NODES // 2)
    e = (u - (-u).exp()).exp()
    weight = STEP * e * (1 + (-u).exp()) * (-e).exp()
    wide_c, wide_d = c.unsqueeze(-1), d.unsqueeze(-1)
    offset, ratio = ((p.loc - q.loc) / q.scale).unsqueeze(-1), (p.scale / q.scale).unsqueeze(-1)
    z = offset + ratio * e * exprel(wide_c * e)
    grown = wide_d * z
    inside = grown > -1
    rise = torch.where(inside, z * log1prel(torch.where(inside, grown, 0.0)), 0.0)
    linear = torch.where(c < 1, (p.mean - q.loc) / q.scale, torch.inf)
    mean = torch.where(d == 0, linear, (weight * rise).sum(-1))
    top = q.support.upper_bound
    contained = (p.loc >= q.loc) & (p.support.upper_bound <= top + 4 * torch.finfo(c.dtype).eps * top.abs())
    return torch.where(contained, (q.scale / p.scale).log() + (1 + d) * mean - (1 + c), torch.inf)


# the right support does not hold the left one, or a density gives a point no mass
for _left in (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto):
    register_infinite(_left, ContinuousBernoulli)
register_infinite(ContinuousBernoulli, Pareto)
for _any in (ContinuousBernoulli, FisherSnedecor, GeneralizedPareto, StudentT, VonMises):
    register_infinite(_any, Delta)

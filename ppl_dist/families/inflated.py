"""Poisson and negative binomial counts with extra zeros."""

from __future__ import annotations

from ..combine.inflated import ZeroInflated
from ..constraints import half_open_interval, nonnegative, nonnegative_integer, real
from ..param import Param, param
from .counts import NegativeBinomial
from .poisson import Poisson

__all__ = ["ZeroInflatedNegativeBinomial", "ZeroInflatedPoisson"]


class ZeroInflatedPoisson(ZeroInflated):
    """ZeroInflatedPoisson(rate r, gate g, or gate_logits):  mass  g [k = 0] + (1 - g) r**k exp(-r) / k!,  k = 0, 1, ...

    >>> ZeroInflatedPoisson(2.0, gate=0.25).mean
    tensor(1.5000)
    """

    rate: Param = param(nonnegative)
    support = nonnegative_integer
    has_rsample = False
    has_enumerate_support = False

    @property
    def base_dist(self) -> Poisson:
        return Poisson(self.rate, validate_args=False)


class ZeroInflatedNegativeBinomial(ZeroInflated):
    """ZeroInflatedNegativeBinomial(total_count, probs, gate g):  mass  g [k = 0] + (1 - g) p(k),  k = 0, 1, 2, ...

    p is the mass of NegativeBinomial(total_count, probs); `logits` and `gate_logits` stand for `probs` and `gate`.

    >>> ZeroInflatedNegativeBinomial(3.0, probs=0.5, gate=0.5).mean
    tensor(1.5000)
    """

    total_count: Param = param(nonnegative)
    probs: Param = param(half_open_interval(0.0, 1.0), derive=lambda d: d.logits.sigmoid(), default=None)
    logits: Param = param(real, derive=lambda d: d.probs.logit(), default=None)
    exactly_one = (("probs", "logits"), ("gate", "gate_logits"))
    support = nonnegative_integer
    has_rsample = False
    has_enumerate_support = False

    @property
    def base_dist(self) -> NegativeBinomial:
        given = {name: self.__dict__[name] for name in ("probs", "logits") if name in self.__dict__}
        return NegativeBinomial(self.total_count, **given, validate_args=False)

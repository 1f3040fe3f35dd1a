"""The Bernoulli distribution, and what it shares with its relaxations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, silu, softplus

from ..constraints import boolean, real, unit_interval
from ..distribution import Distribution
from ..exp_family import ExponentialFamily
from ..param import Param, param
from ..values import highest
from .categorical import count_up

__all__ = ["Bernoulli", "GivenChance", "Trial"]

_LONG = 1000  # entries from which the library's softplus is slower than its parts


class GivenChance:
    """Mixed into laws that are given by the chance of success, `probs` p, or by `logits` log(p / (1-p))."""

    if TYPE_CHECKING:
        probs: Tensor
        logits: Tensor
        _batch_shape: torch.Size

    @property
    def param_shape(self) -> torch.Size:
        """The shape of `probs`."""
        return self._batch_shape

    def _given(self) -> Tensor:
        state = self.__dict__
        given: Tensor = state["logits"] if "logits" in state else state["probs"]
        return given

    def _failure(self) -> Tensor:
        """1 - p, to full relative accuracy."""
        given = self._given()
        return (-given).sigmoid() if "logits" in self.__dict__ else 1 - given


class Trial(GivenChance, Distribution):
    """A law made of one trial."""

    probs: Param = param(unit_interval, derive=lambda d: d.logits.sigmoid(), default=None)
    logits: Param = param(real, derive=lambda d: d.probs.logit(), default=None)
    exactly_one = ("probs", "logits")


class Bernoulli(Trial, ExponentialFamily):
    """Bernoulli(probs p, or logits log(p / (1-p))):  mass  p at 1,  1-p at 0.

    >>> Bernoulli(probs=0.25).variance
    tensor(0.1875)
    """

    support = boolean
    has_enumerate_support = True

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        probs = self.probs
        return torch.bernoulli(probs if probs.shape == shape else probs.expand(shape), generator=generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        state = self.__dict__
        if "logits" in state:
            log_mass: Tensor = logsigmoid(x.mul(2).sub_(1) * state["logits"])
            return log_mass
        # one of the two terms is log 1 = 0 with derivative zero, so that p = 0 and p = 1 need no care
        p: Tensor = state["probs"]
        return torch.pow(p, x).log() + (p * x.sub(1)).log1p()

    def _at(self, value: float) -> Tensor:
        return self._log_prob(torch.full_like(self.probs, value))

    def _cdf(self, x: Tensor) -> Tensor:
        return torch.where(x < 1, torch.where(x < 0, 0.0, self._failure()), 1.0)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return torch.where(x < 1, torch.where(x < 0, -torch.inf, self._at(0.0)), 0.0)

    def _sf(self, x: Tensor) -> Tensor:
        return torch.where(x < 1, torch.where(x < 0, 1.0, self.probs), 0.0)

    def _log_sf(self, x: Tensor) -> Tensor:
        return torch.where(x < 1, torch.where(x < 0, 0.0, self._at(1.0)), -torch.inf)

    def _icdf(self, p: Tensor) -> Tensor:
        failure = self._failure()
        slack = 2 * torch.finfo(p.dtype).eps  # so that the quantile of a rounded cdf(0) is 0
        return torch.where(p == 1, failure < 1, p * (1 - slack) > failure).to(p.dtype)

    def _isf(self, q: Tensor) -> Tensor:
        return (q * (1 + 2 * torch.finfo(q.dtype).eps) < self.probs).to(q.dtype)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * self._failure()

    @property
    def mode(self) -> Tensor:
        probs = self.probs
        return (probs >= 0.5).to(probs.dtype)

    def entropy(self) -> Tensor:
        given = self._given()
        if "logits" not in self.__dict__:
            both: Tensor = torch.special.entr(given) + torch.special.entr(1 - given)
            return both
        # softplus(l) - l p, which is even in l and cancels above 0. Not -|l|, whose second derivative misses 0.
        if not highest(given) <= 1:
            given = torch.where(given < 0, given, -given)
        rise = softplus(given) if given.numel() < _LONG else given.exp().log1p()
        return rise.sub_(silu(given))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        like = self._given()
        return count_up(torch.arange(2, dtype=like.dtype, device=like.device), self._batch_shape, expand)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.logits,)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        return softplus(natural_params[0], 1.0, 40.0)  # the threshold moved to where float64 rounds to it too

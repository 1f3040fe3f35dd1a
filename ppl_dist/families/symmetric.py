"""What the families x = m + s z of a symmetric standard law z share."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from ..constraints import positive, real
from ..distribution import Distribution
from ..param import Param, param

__all__: list[str] = []


class SymmetricLocationScale(Distribution):
    """The law of m + s z, for z symmetric about 0; a family says what it knows of z.

    A family gives `_sample`, `_log_prob`, the three `_standard_` functions of z, and two numbers. Both tails then
    come from the accurate one: P(z > t) = P(z < -t).
    """

    loc: Param = param(real)
    scale: Param = param(positive, finite=False)
    support = real
    has_rsample = True
    standard_variance: ClassVar[float]
    standard_entropy: ClassVar[float]

    def _standard_cdf(self, z: Tensor) -> Tensor:
        raise self._missing("cdf")

    def _standard_log_cdf(self, z: Tensor) -> Tensor:
        raise self._missing("log_cdf")

    def _standard_icdf(self, p: Tensor) -> Tensor:
        raise self._missing("icdf")

    def _cdf(self, x: Tensor) -> Tensor:
        return self._standard_cdf((x - self.loc) / self.scale)

    def _sf(self, x: Tensor) -> Tensor:
        return self._standard_cdf((self.loc - x) / self.scale)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._standard_log_cdf((x - self.loc) / self.scale)

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._standard_log_cdf((self.loc - x) / self.scale)

    def _icdf(self, p: Tensor) -> Tensor:
        return self.loc + self.scale * self._standard_icdf(p)

    def _isf(self, q: Tensor) -> Tensor:
        return self.loc - self.scale * self._standard_icdf(q)

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * self.standard_variance

    @property
    def stddev(self) -> Tensor:
        return self.scale * math.sqrt(self.standard_variance)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def median(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def entropy(self) -> Tensor:
        return self.scale.log() + self.standard_entropy

"""Families whose draws are made of a standard exponential one: both tails from the cumulative hazard."""

from __future__ import annotations

from torch import Tensor

from ..special import log1mexp

__all__: list[str] = []


class Hazard:
    """Mixed into families with P(X > x) = exp(-H(x)); a family gives H and its inverse."""

    def _hazard(self, x: Tensor) -> Tensor:
        """H(x), the cumulative hazard."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf.")

    def _at_hazard(self, h: Tensor) -> Tensor:
        """The x with H(x) = h."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf.")

    def _cdf(self, x: Tensor) -> Tensor:
        return -(-self._hazard(x)).expm1()

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log1mexp(-self._hazard(x))

    def _sf(self, x: Tensor) -> Tensor:
        return (-self._hazard(x)).exp()

    def _log_sf(self, x: Tensor) -> Tensor:
        return -self._hazard(x)

    def _icdf(self, p: Tensor) -> Tensor:
        return self._at_hazard(-(-p).log1p())

    def _isf(self, q: Tensor) -> Tensor:
        return self._at_hazard(-q.log())

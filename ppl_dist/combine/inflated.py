"""Counts with more zeros than their distribution gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .. import validation
from ..constraints import real, unit_interval
from ..construction import as_tensor, assemble
from ..distribution import Distribution
from ..families.trials import rounding_of
from ..param import Param, param
from ..shapes import broadcast_error, broadcast_shapes
from .wrapper import Wrapper

__all__ = ["ZeroInflated"]


class ZeroInflated(Wrapper):
    """ZeroInflated(base_dist p, gate g, or gate_logits):  mass  g [k = 0] + (1 - g) p(k).

    A declared family may be one, its `base_dist` a property made from its parameters.

    >>> import ppl_dist as dist
    >>> dist.ZeroInflated(dist.Poisson(3.0), gate=0.5).mean
    tensor(1.5000)

    Args:
        base_dist: a distribution of counts, zero among them.
        gate: the probability of a zero that is not the base's.
        gate_logits: log(g / (1 - g)); exactly one of the two is given.
        validate_args: as for every distribution.
    """

    gate: Param = param(unit_interval, derive=lambda d: d.gate_logits.sigmoid(), default=None, kw_only=True)
    gate_logits: Param = param(real, derive=lambda d: d.gate.logit(), default=None, kw_only=True)
    exactly_one: ClassVar[tuple[str, ...] | tuple[tuple[str, ...], ...]] = ("gate", "gate_logits")

    def __init__(
        self,
        base_dist: Distribution,
        *,
        gate: Tensor | float | None = None,
        gate_logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.__dict__["base_dist"] = base_dist
        _check_counts(base_dist)
        like = self._like()
        given = (("gate", gate), ("gate_logits", gate_logits))
        gates = [v if v is None or like is None else as_tensor(self, name, v, like) for name, v in given]
        assemble(self, tuple(gates), (), validate_args)
        try:
            batch = broadcast_shapes([self._batch_shape, base_dist.batch_shape])
        except ValueError:
            shapes = {"gate": self._batch_shape, "base_dist": base_dist.batch_shape}
            raise broadcast_error("ZeroInflated", shapes) from None
        self.__dict__.update(self._widened(batch))

    def _widened(self, batch: torch.Size) -> dict[str, Any]:
        """The attributes that follow from a wider batch shape."""
        new: dict[str, Any] = {"_batch_shape": batch}
        for name, (value, _) in self._stored().items():
            new[name] = value if value.shape == batch else value.expand(batch)
        if "base_dist" in self.__dict__:
            base = self.base_dist
            new["base_dist"] = base if base.batch_shape == batch else base.expand(batch)
        return new

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        new = Distribution.expand(self, batch_shape, _instance)
        new.__dict__.update(new._widened(new._batch_shape))
        return new

    def __getitem__(self, index: Any) -> Self:
        new = Distribution.__getitem__(self, index)
        if "base_dist" in self.__dict__:
            new.__dict__["base_dist"] = self.base_dist[index]
        return new

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]  # counts have no path
        return False

    def _log_gates(self) -> tuple[Tensor, Tensor]:
        """log g and log(1 - g)."""
        if "gate_logits" in self.__dict__:
            logits = self.gate_logits
            return logsigmoid(logits), logsigmoid(-logits)
        return self.gate.log(), (-self.gate).log1p()

    def _rest(self) -> Tensor:
        """1 - g."""
        return (-self.gate_logits).sigmoid() if "gate_logits" in self.__dict__ else 1 - self.gate

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        gate = self.gate
        extra = torch.rand(shape, dtype=gate.dtype, device=gate.device, generator=generator) < gate
        return torch.where(extra, 0, self._draw_base(shape, generator))

    def _log_prob(self, x: Tensor) -> Tensor:
        base: Any = self.base_dist
        log_mass = base._log_prob(x) if type(base)._log_prob is not Distribution._log_prob else base.log_prob(x)
        zero = x == 0
        if "gate_logits" in self.__dict__:
            log_gate, log_rest = self._log_gates()
            return torch.where(zero, torch.logaddexp(log_gate, log_rest + log_mass), log_rest + log_mass)
        # a gate of one gives other counts no mass, and its log at zero would have the derivative 0 * inf
        gate = self.gate
        others = (-torch.where(zero, 0.0, gate)).log1p() + log_mass
        return torch.where(zero, self._log_zero(gate, log_mass), others)

    def _log_zero(self, gate: Tensor, log_mass: Tensor) -> Tensor:
        """log(g + (1 - g) p), with finite derivatives also at g = 0 and g = 1: the shift is a constant to both."""
        with torch.no_grad():
            top = torch.maximum(gate.log(), log_mass)
            scale = (-top).exp().clamp(max=torch.finfo(log_mass.dtype).max)  # inf * 0 where g = 0
        return top + (gate * scale + (1 - gate) * (log_mass - top).exp()).log()

    def _cdf(self, x: Tensor) -> Tensor:
        below, above = self.base_dist._cdf(x), self.base_dist._sf(x)
        return torch.where(x < 0, self._rest() * below, below + self.gate * above)

    def _sf(self, x: Tensor) -> Tensor:
        below, above = self.base_dist._cdf(x), self.base_dist._sf(x)
        return torch.where(x < 0, above + self.gate * below, self._rest() * above)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._log_tail(x >= 0, self.base_dist._log_cdf(x), self._sf(x))

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._log_tail(x < 0, self.base_dist._log_sf(x), self._cdf(x))

    def _log_tail(self, with_zero: Tensor, log_tail: Tensor, other: Tensor) -> Tensor:
        """The log of a tail of both parts, or, where it is near one, by the other tail."""
        log_gate, log_rest = self._log_gates()
        plain = log_rest + log_tail
        both = torch.where(with_zero, torch.logaddexp(log_gate, plain), plain)
        near = other < 0.5
        return torch.where(near, (-torch.where(near, other, 0.0)).log1p(), both)

    def _icdf(self, p: Tensor) -> Tensor:
        with torch.no_grad():
            moved = (_slack(p) * p).to(torch.float64)
            return self._quantile(p - moved, (1 - p.to(torch.float64)) + moved).to(p.dtype)

    def _isf(self, q: Tensor) -> Tensor:
        with torch.no_grad():
            moved = (_slack(q) * q).to(torch.float64)
            return self._quantile((1 - q.to(torch.float64)) - moved, q + moved).to(q.dtype)

    def _quantile(self, below: Tensor, above: Tensor) -> Tensor:
        """The smallest k with cdf(k) >= below, sf(k) <= above, by the base's quantiles at scaled levels."""
        wide = self.to(torch.float64)
        base, gate, rest = wide.base_dist, wide.gate, wide._rest()
        scale = torch.where(rest > 0, rest, 1.0)
        small = above < 0.5
        beyond = torch.where(small, above < rest, below > gate)  # the zeros are not enough
        under, over = (below - gate) / scale, above / scale
        left = base._icdf(torch.where(beyond & ~small, under, 0.5))
        right = base._isf(torch.where(beyond & small, over, 0.5))
        k = torch.where(beyond, torch.where(small, right, left).clamp(min=0), 0.0)
        low = getattr(base.support, "lower_bound", None)
        if isinstance(low, int | float) and low >= 0:
            return k
        negative = base._icdf((below / scale).clamp(0, 1))  # where the zeros lie above
        return torch.where((negative < 0) & (rest > 0), negative, k)

    @property
    def mean(self) -> Tensor:
        return self._rest() * self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        base = self.base_dist
        return self._rest() * (base.variance + self.gate * base.mean.square())

    @property
    def mode(self) -> Tensor:
        mode = self.base_dist.mode
        return torch.where(self._log_prob(torch.zeros_like(mode)) >= self._log_prob(mode), 0, mode)

    def entropy(self) -> Tensor:
        """From the base's: all of its terms but that of zero are scaled by 1 - g."""
        base, rest, gate = self.base_dist, self._rest(), self.gate
        log_mass = base._log_prob(torch.zeros_like(gate))
        mass = log_mass.exp()
        others = torch.special.entr(rest) * (1 - mass) + rest * (base.entropy() - torch.special.entr(mass))
        entropy: Tensor = others + torch.special.entr(gate + rest * mass)
        return entropy

    def __repr__(self) -> str:
        shown = Distribution.__repr__(self)
        if "base_dist" not in self.__dict__:
            return shown
        return f"{type(self).__name__}({self.base_dist!r}, {shown.partition('(')[2]}"


def _slack(level: Tensor) -> Tensor:
    """What part of itself a level may be off by: the quantile of a rounded cdf(k) is k."""
    return rounding_of(level) + torch.where(level > 0.5, 0.0, torch.finfo(torch.float64).eps)


def _check_counts(base: Any) -> None:
    """Raise unless zero is one of the counts of `base`."""
    if not isinstance(base, Distribution):
        raise TypeError(f"ZeroInflated: expected a distribution of ppl_dist, got {type(base).__name__}.")
    if not base.is_discrete or base.event_shape:
        raise ValueError(
            f"ZeroInflated: `base_dist` must be a distribution of counts, got {type(base).__name__}. "
            f"Try MixtureGeneral with a Delta for other atoms."
        )
    if validation.resolve(None) and validation.holds(base.support, torch.zeros(base.batch_shape)) is False:
        raise ValueError(f"ZeroInflated: zero is outside the support of `base_dist`, {base.support!r}.")

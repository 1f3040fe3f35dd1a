"""What mixtures share: the law of a draw from one of several distributions, chosen at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..constraints import Constraint, real
from ..distribution import Distribution
from ..families.categorical import Categorical
from ..families.delta import Delta
from ..shapes import broadcast_shapes, unexpanded
from ..tree import tensors_in
from ..values import gradient_possible, lowest
from .quantile import crossing, first_count

__all__ = ["Blend", "as_categorical", "evaluate", "hooked", "log_sum_exp", "varies"]


def evaluate(part: Any, name: str, x: Tensor) -> Tensor:
    """`log_prob`, `cdf`, `sf`, `icdf`, ... of one distribution at points that may lie outside its support."""
    if name == "log_prob":
        safe = hooked(part, "_log_prob") and hasattr(part.support, "feasible")
        value: Tensor = part._log_prob_anywhere(x) if safe else part.log_prob(x)
    elif hooked(part, "_cdf") and name in ("log_cdf", "log_sf"):  # a point off one part's support is ordinary here
        value = part._log_tail_at(*part._within_support(x), upper=name == "log_sf")
    elif hooked(part, "_cdf"):
        value = getattr(part, f"_{name}")(x if name in ("icdf", "isf") else part._into_closure(x))
    else:
        value = _by_public(part, name, x)
    return value


def _by_public(part: Any, name: str, x: Tensor) -> Tensor:
    """What `cdf` and `icdf` alone give: all that torch's distributions and people's own have."""
    if name in ("icdf", "isf"):
        quantile: Tensor = part.icdf(x if name == "icdf" else 1 - x)
        return quantile
    cdf = part.cdf(x)
    tail: Tensor = 1 - cdf if name.endswith("sf") else cdf
    return tail.log() if name.startswith("log") else tail


def hooked(part: Any, name: str) -> bool:
    """Whether a distribution is one of ours that writes this hook; imperative ones write the public method."""
    return isinstance(part, Distribution) and getattr(type(part), name) is not getattr(Distribution, name)


def _smooth(part: Any) -> bool:
    """Whether a draw follows the parameters along its distribution function; a point mass has a step there."""
    return hooked(part, "_cdf") and part.has_rsample and not part.is_discrete and not isinstance(part, Delta)


def log_sum_exp(terms: Tensor, dim: int = -1) -> Tensor:
    """log sum exp over a dimension; where every term is -inf, -inf with zero gradient: torch's would be nan."""
    floor = torch.finfo(terms.dtype).min
    total = terms.clamp(min=floor).logsumexp(dim)
    return torch.where(total == floor, -torch.inf, total)


def varies(constraint: Any) -> bool:
    """Whether a set differs from entry to entry of a batch, or is not one of ours."""
    if not isinstance(constraint, Constraint):
        return True
    return any(_varying(value) for value in vars(constraint).values())


def _varying(value: Any) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(_varying(item) for item in value)
    return value.dim() > 0 if isinstance(value, Tensor) else isinstance(value, Constraint) and varies(value)


def as_categorical(owner: str, name: str, mixing: Any) -> Categorical:
    """The distribution of the index; torch's own is read once.

    Raises:
        ValueError: it is not a categorical distribution.
    """
    if isinstance(mixing, Categorical):
        return mixing
    table = None if isinstance(mixing, Distribution) else getattr(mixing, "logits", None)
    if isinstance(table, Tensor) and mixing.event_shape == () and table.shape[:-1] == mixing.batch_shape != table.shape:
        return Categorical(logits=table)
    raise ValueError(
        f"{owner}: `{name}` must be a Categorical, got {type(mixing).__name__}. Try Categorical(probs=weights)."
    )


class Blend(Distribution):
    """One of K components, the k-th with probability w_k:  density  sum_k w_k p_k(x).

    A subclass gives the weights and evaluates its components.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    if TYPE_CHECKING:  # a subclass's constructor ends here; nothing is declared

        def __init__(self, batch_shape: torch.Size, event_shape: torch.Size, validate_args: bool | None) -> None: ...

    @property
    def _mixing(self) -> Categorical:
        """The distribution of the index, of batch shape B."""
        raise self._missing("mixing distribution")

    def _parts(self) -> list[Any]:
        """The distributions that the components come from."""
        raise self._missing("components")

    def _each(self, name: str, x: Tensor) -> Tensor:
        """Hook: `evaluate` of every component along a new last dimension: shape S + B + (K,)."""
        raise self._missing(name)

    def _moments(self, name: str) -> Tensor:
        """Hook: `mean` or `variance` of every component, shape B + (K,) + E."""
        raise self._missing(name)

    def _weights(self) -> Tensor:
        """The probabilities w, shape B + (K,), or narrower where the batch repeats them."""
        mixing = self._mixing
        given = unexpanded(mixing._given(), 1)
        return given.exp() if "logits" in mixing.__dict__ else given

    def _log_weights(self) -> Tensor:
        mixing = self._mixing
        given = unexpanded(mixing._given(), 1)
        if "logits" in mixing.__dict__:
            return given
        if lowest(given) > 0:
            return given.log()
        return torch.where(given > 0, given, 0.0).log()  # whose derivative at 0 is 0; that of log would be 0 * inf

    def _like(self) -> Tensor | None:
        return self._mixing._like()

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]  # a fact of the instance here
        """Whether the path of a draw is known: numbers whose components have differentiable distribution functions."""
        return not self._event_shape and all(_smooth(part) for part in self._parts())

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]  # a fact of the instance here
        return False

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        with torch.no_grad():
            x = self._draw(shape, generator)
        follow = self.has_rsample and gradient_possible(*tensors_in(self))
        return self._follow(x, None) if follow else x

    def _draw(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Hook: a draw without its gradient."""
        raise self._missing("sample")

    def _draw_index(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Which component each of `shape` draws comes from: where a uniform number falls among the sums of weights."""
        sums = self._weights().cumsum(-1)
        u = torch.rand(shape, dtype=sums.dtype, device=sums.device, generator=generator)
        if sums.dim() == 1:
            return torch.searchsorted(sums, u * sums[-1], right=True)
        return (sums[..., :-1] <= (u.unsqueeze(-1) * sums[..., -1:])).sum(-1)

    def _follow(self, x: Tensor, level: Tensor | None) -> Tensor:
        """`x` as a function of the parameters while F(x) stays at `level`: dx = (d level - dF) / f.

        Figurnov, Mohamed and Mnih (2018), "Implicit reparameterization gradients", eq. 5. The value is not changed.
        """
        x = x.detach()
        with torch.no_grad():
            f = self._log_prob(x).exp()
            ok = x.isfinite() & (f > 0)
        cdf = self._cdf(torch.where(ok, x, 0.0))
        ahead = -cdf if level is None else level - cdf
        return x + torch.where(ok, (ahead - ahead.detach()) / torch.where(ok, f, 1.0), 0.0)

    def _log_prob(self, x: Tensor) -> Tensor:
        terms = self._terms(x)
        return terms.logsumexp(0) if self.support is real else log_sum_exp(terms, 0)

    def _terms(self, x: Tensor) -> Tensor:
        """log w_k + log p_k(x) along a new first dimension: shape (K,) + S + B."""
        return (self._log_weights() + self._each("log_prob", x)).movedim(-1, 0)

    def _cdf(self, x: Tensor) -> Tensor:
        return self._total(self._each("cdf", x))

    def _sf(self, x: Tensor) -> Tensor:
        return self._total(self._each("sf", x))

    def _total(self, tails: Tensor) -> Tensor:
        """The weighted sum over the components, exactly one where each is: rounded weights need not add up to it."""
        weights = self._weights()
        return (weights * tails).sum(-1) / weights.sum(-1)

    def _log_cdf(self, x: Tensor) -> Tensor:
        return self._log_tail(self._each("log_cdf", x), self._sf(x))

    def _log_sf(self, x: Tensor) -> Tensor:
        return self._log_tail(self._each("log_sf", x), self._cdf(x))

    def _log_tail(self, log_tails: Tensor, other: Tensor) -> Tensor:
        """The log of a tail by the logs of its parts, or, where it is near one, by the other tail."""
        near = other < 0.5
        return torch.where(near, (-torch.where(near, other, 0.0)).log1p(), log_sum_exp(self._log_weights() + log_tails))

    def _icdf(self, p: Tensor) -> Tensor:
        return self._quantile(p, upper=False)

    def _isf(self, q: Tensor) -> Tensor:
        return self._quantile(q, upper=True)

    def _quantile(self, p: Tensor, *, upper: bool) -> Tensor:
        with torch.no_grad():
            x = self._count(p, upper=upper) if self.is_discrete else self._level(p, upper=upper)
        return x if self.is_discrete else self._follow(x, -p if upper else p)

    def _bracket(self, p: Tensor, *, upper: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The level at full shape, and the least and the largest quantile of the components that occur."""
        p = p.expand(broadcast_shapes([p.shape, self._batch_shape]))
        quantiles = self._each("isf" if upper else "icdf", p)
        occurs = self._weights() > 0
        low = torch.where(occurs, quantiles, torch.inf).amin(-1)
        return p, low, torch.where(occurs, quantiles, -torch.inf).amax(-1)

    def _level(self, p: Tensor, *, upper: bool) -> Tensor:
        """The x with F(x) = p, or 1 - F(x) = p when `upper`.

        Components below x count by what they leave above it, the others by what they have below: between two that lie
        far apart F itself rounds to a constant.
        """
        p, low, high = self._bracket(p, upper=upper)
        weights, log_weights = self._weights(), self._log_weights()
        tiny = torch.finfo(p.dtype).tiny

        def excess(x: Tensor) -> Tensor:
            log_cdf, log_sf = log_weights + self._each("log_cdf", x), log_weights + self._each("log_sf", x)
            above = log_cdf > log_sf
            passed = p - (weights * ~above).sum(-1) if upper else (weights * above).sum(-1) - p
            left, right = torch.where(above, -torch.inf, log_cdf), torch.where(above, log_sf, -torch.inf)
            total = passed + (left.exp() - right.exp()).sum(-1)
            # where the level is a sum of weights, what is left may have no float of its own; its log has
            return torch.where(total == 0, torch.sign(left.logsumexp(-1) - right.logsumexp(-1)) * tiny, total)

        x = crossing(excess, lambda x: self._log_prob(x).exp(), low, high)
        first, last = (p >= 1, p <= 0) if upper else (p <= 0, p >= 1)
        return torch.where(first, low, torch.where(last, high, x))

    def _count(self, p: Tensor, *, upper: bool) -> Tensor:
        """The smallest count with F >= p, or 1 - F <= p when `upper`."""
        dtype, wide = p.dtype, self.to(torch.float64)
        level, low, high = wide._bracket(p.to(torch.float64), upper=upper)
        slack = 8 * torch.finfo(dtype).eps  # so that the quantile of a rounded cdf(k) is k
        if upper:
            return first_count(lambda k: wide._sf(k) <= level * (1 + slack), low - 1, high).to(dtype)
        return first_count(lambda k: wide._cdf(k) >= level * (1 - slack), low - 1, high).to(dtype)

    def _averaged(self, terms: Tensor) -> Tensor:
        """The weighted sum over the components of a table B + (K,) + E; one that never occurs may be infinite."""
        weights = self._weights()
        weights = weights.reshape(weights.shape + (1,) * self.event_dim)
        return torch.where(weights > 0, weights * terms, 0.0).sum(-1 - self.event_dim)

    @property
    def mean(self) -> Tensor:
        return self._averaged(self._moments("mean"))

    @property
    def variance(self) -> Tensor:
        means = self._moments("mean")
        gaps = means - self._averaged(means).unsqueeze(-1 - self.event_dim)
        return self._averaged(self._moments("variance") + gaps.square())

    @property
    def mode(self) -> Tensor:
        raise NotImplementedError(
            f"{type(self).__name__} has no mode in closed form: a mixture may have many peaks, and none of them "
            f"need be at one of its components'. Try log_prob on a grid."
        )

    def entropy(self) -> Tensor:
        """By summation over a finite support; there is no closed form for others."""
        if not self.has_enumerate_support:
            raise NotImplementedError(
                f"{type(self).__name__} has no entropy in closed form. Try a Monte Carlo estimate: "
                f"-d.log_prob(d.sample((1000,))).mean(0)."
            )
        log_mass = self._log_prob(self.enumerate_support())
        occurs = log_mass > -torch.inf
        return -(log_mass.exp() * torch.where(occurs, log_mass, 0.0)).sum(0)

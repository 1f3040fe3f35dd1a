"""The distribution of a transformed draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from .. import constraints, validation
from ..constraints import Constraint
from ..distribution import Distribution
from ..requirement import describe
from ..shapes import sum_rightmost, unflatten_mask
from ..transforms import AbsTransform, ComposeTransform, Transform
from .independent import Independent
from .wrapper import Wrapper

__all__ = ["Folded", "Mapped", "TransformedDistribution"]


class TransformedDistribution(Wrapper):
    """The law of y = t_n(... t_1(x)) for x from `base_distribution`.

    log p(y) = log p(x) - log|det dy/dx|.

    >>> import ppl_dist as dist
    >>> d = dist.TransformedDistribution(dist.Normal(0.0, 1.0), [dist.transforms.ExpTransform()])
    >>> d.log_prob(1.0)
    tensor(-0.9189)

    Args:
        base_distribution: the law of x.
        transforms: one transform or a list, applied in order.
        validate_args: as for every distribution.
    """

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:
        parts: list[Any] = [transforms] if isinstance(transforms, Transform) else list(transforms)
        for transform in parts:
            if not isinstance(transform, Transform):
                raise ValueError(f"TransformedDistribution: expected transforms, got {type(transform).__name__}.")
        whole = ComposeTransform(parts)
        base_shape = base_distribution.batch_shape + base_distribution.event_shape
        needed = whole.domain.event_dim
        if len(base_shape) < needed:
            raise ValueError(
                f"TransformedDistribution: the transform needs {needed} dimension(s), but one draw of "
                f"{type(base_distribution).__name__} has shape {tuple(base_shape)}."
            )
        out_shape = whole.forward_shape(base_shape)
        wider = whole.inverse_shape(out_shape)
        if wider != base_shape:  # the transform's own parameters broadcast the base
            base_distribution = base_distribution.expand(wider[: len(wider) - len(base_distribution.event_shape)])
        extra = needed - len(base_distribution.event_shape)
        base_distribution = Independent(base_distribution, extra) if extra > 0 else base_distribution
        grown = whole.codomain.event_dim - needed
        event_dim = max(len(base_distribution.event_shape) + grown, whole.codomain.event_dim)
        cut = len(out_shape) - event_dim
        self.__dict__["transforms"] = parts
        super().__init__(base_distribution, out_shape[:cut], out_shape[cut:], validate_args)

    @property
    def transforms(self) -> list[Transform]:
        """The transforms, in the order in which they are applied; a declared family states them on the class."""
        parts: list[Transform] = self.__dict__["transforms"]
        return parts

    @property
    def support(self) -> Any:
        codomain: Constraint = self.transforms[-1].codomain if self.transforms else self.base_dist.support
        extra = self.event_dim - codomain.event_dim
        return constraints.independent(codomain, extra) if extra > 0 else codomain

    def _base_tail(self) -> torch.Size:
        return torch.Size()

    def __getitem__(self, index: Any) -> Self:
        width = len(self.base_dist.event_shape)
        for transform in self.transforms:
            if not self._spec.params and transform._batch_dims(width):
                raise NotImplementedError(
                    f"{type(self).__name__} cannot be indexed: {transform!r} has batch dimensions of its own. "
                    f"Try indexing its parameters and base_dist."
                )
            width += transform.codomain.event_dim - transform.domain.event_dim
        return super().__getitem__(index)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        sample_shape = shape[: len(shape) - len(self._batch_shape) - len(self._event_shape)]
        base = self.base_dist
        x = self._draw_base(sample_shape + base.batch_shape + base.event_shape, generator)
        for transform in self.transforms:
            x = transform(x)
        return x

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        # forward only: where a transform saturates, inverting its output would lose the draw
        x, log_prob = self._draw_base_scored(sample_shape, generator)
        width = len(self.base_dist.event_shape)
        for transform in self.transforms:
            x, log_det = transform.call_and_log_det(x)
            log_prob = log_prob - sum_rightmost(log_det, width - transform.domain.event_dim)
            width += transform.codomain.event_dim - transform.domain.event_dim
        return x, log_prob

    def _log_prob(self, x: Tensor) -> Tensor:
        width = self.event_dim
        total: Tensor | None = None
        inside: Tensor | None = None
        for transform in reversed(self.transforms):
            if transform is not self.transforms[-1]:  # the support is the last one's codomain, and is checked already
                x, reached = self._within_reach(transform.codomain, x, width)
                inside = reached if inside is None else inside if reached is None else inside & reached
            before = transform.inv(x)
            width += transform.domain.event_dim - transform.codomain.event_dim
            log_det = transform.log_abs_det_jacobian(before, x)
            log_det = sum_rightmost(log_det, width - transform.domain.event_dim)
            total = log_det if total is None else total + log_det
            x = before
        base = sum_rightmost(self.base_dist.log_prob(x), width - len(self.base_dist.event_shape))
        log_prob = base if total is None else base - total
        return log_prob if inside is None else torch.where(inside, log_prob, -torch.inf)

    def _within_reach(self, codomain: Constraint, x: Tensor, width: int) -> tuple[Tensor, Tensor | None]:
        """`x` moved to where an earlier transform can lead, and which events were there already; None means all.

        The inverse of exp is nan at the negative numbers that a shift after it puts into the support's real line.
        """
        plain = codomain.base_constraint if isinstance(codomain, constraints.Independent) else codomain
        if isinstance(plain, constraints.Real) or constraints.is_dependent(plain):
            return x, None
        if not torch.compiler.is_compiling():
            answer = validation.holds(codomain, x)
            if answer:
                return x, None
            if answer is False and validation.resolve(self._validate_args):
                raise ValueError(
                    f"{type(self).__name__}: no draw leads to this value: before the last transforms it must "
                    f"{describe(codomain)}; {validation.violation(codomain, x)}."
                )
        inside = codomain.check(x)
        safe = torch.where(unflatten_mask(inside, codomain.event_dim), x, codomain.feasible(x)).to(x.dtype)
        n = width - codomain.event_dim
        return safe, inside.flatten(-n).all(-1) if n else inside

    def _pulled_back(self, value: Tensor) -> tuple[Tensor, int | Tensor]:
        """The base's value at `value`, and whether the way there turned the order round."""
        sign: int | Tensor = 1
        for transform in reversed(self.transforms):
            value = transform.inv(value)
            sign = sign * transform.sign
        return value, sign

    def _either(self, sign: int | Tensor, rising: Any, falling: Any) -> Tensor:
        if isinstance(sign, Tensor):
            return torch.where(sign > 0, rising(), falling())
        result: Tensor = rising() if sign > 0 else falling()
        return result

    def _cdf(self, x: Tensor) -> Tensor:
        base = self.base_dist
        value, sign = self._pulled_back(x)
        return self._either(sign, lambda: base.cdf(value), lambda: base.survival_function(value))

    def _log_cdf(self, x: Tensor) -> Tensor:
        base = self.base_dist
        value, sign = self._pulled_back(x)
        return self._either(sign, lambda: base.log_cdf(value), lambda: base.log_survival_function(value))

    def _sf(self, x: Tensor) -> Tensor:
        base = self.base_dist
        value, sign = self._pulled_back(x)
        return self._either(sign, lambda: base.survival_function(value), lambda: base.cdf(value))

    def _log_sf(self, x: Tensor) -> Tensor:
        base = self.base_dist
        value, sign = self._pulled_back(x)
        return self._either(sign, lambda: base.log_survival_function(value), lambda: base.log_cdf(value))

    def _sign(self) -> int | Tensor:
        return ComposeTransform(self.transforms).sign

    def _push(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x

    def _icdf(self, p: Tensor) -> Tensor:
        base = self.base_dist
        return self._push(self._either(self._sign(), lambda: base.icdf(p), lambda: base.isf(p)))

    def _isf(self, q: Tensor) -> Tensor:
        base = self.base_dist
        return self._push(self._either(self._sign(), lambda: base.isf(q), lambda: base.icdf(q)))

    @property
    def median(self) -> Tensor:
        if self.event_dim:
            raise self._missing("median")
        sign = self._sign()  # raises for maps that are not monotone
        del sign
        return self._push(self.base_dist.median)

    def _needs_affine(self, method: str) -> None:
        """Raise unless the transforms are affine: other maps take no moment of the base to one of the draw."""
        if not all(transform.affine for transform in self.transforms):
            raise self._missing(method)

    @property
    def mean(self) -> Tensor:
        self._needs_affine("mean")
        return self._push(self.base_dist.mean)

    @property
    def variance(self) -> Tensor:
        self._needs_affine("variance")
        try:
            variance = self.base_dist.variance
            for transform in self.transforms:
                variance = transform._variance(variance)
        except NotImplementedError as error:
            raise self._missing("variance") from error
        return variance

    @property
    def mode(self) -> Tensor:
        self._needs_affine("mode")
        return self._push(self.base_dist.mode)

    def entropy(self) -> Tensor:
        self._needs_affine("entropy")
        base = self.base_dist
        entropy, width = base.entropy(), len(base.event_shape)
        x = torch.zeros((), dtype=entropy.dtype, device=entropy.device).expand(base.batch_shape + base.event_shape)
        for transform in self.transforms:
            x, log_det = transform.call_and_log_det(x)
            entropy = entropy + sum_rightmost(log_det, width - transform.domain.event_dim)
            width += transform.codomain.event_dim - transform.domain.event_dim
        return entropy

    def enumerate_support(self, expand: bool = True) -> Tensor:
        if not self.has_enumerate_support:
            raise self._missing("enumerate_support")
        return self._push(self.base_dist.enumerate_support(expand))

    def __repr__(self) -> str:
        if self._spec.params:
            return super().__repr__()
        return f"TransformedDistribution({self.base_dist!r}, {self.transforms!r})"


class Mapped(TransformedDistribution):
    """A transformed draw whose mathematics a family writes out; it gives `base_dist` and `transforms` too."""

    has_rsample = True
    has_enumerate_support = False

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return Distribution.rsample_and_log_prob(self, sample_shape, generator=generator)


class Folded(Mapped):
    """|z| for a symmetric z: what the half families share. The family gives `base_dist`, the law of z."""

    support = constraints.nonnegative
    transforms = [AbsTransform()]  # noqa: RUF012  # a constant of the class, as the base class stores it

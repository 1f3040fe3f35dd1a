"""Mixtures: components of one family along a batch dimension, or a list of any distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ..constraints import Constraint, MixtureSameFamilyConstraint
from ..distribution import Distribution
from ..families.categorical import Categorical
from ..samplers import draw
from ..shapes import broadcast_shapes, check_expands, size_of, unexpanded
from ..tree import Node
from .blend import Blend, as_categorical, evaluate, hooked, varies
from .independent import Independent

__all__ = ["MixtureGeneral", "MixtureSameFamily"]


class MixtureSameFamily(Blend):
    """MixtureSameFamily(mixture_distribution w, component_distribution p):  density  sum_k w_k p_k(x).

    The last batch dimension of the components counts them. Draws have a path (`has_rsample`) where the components are
    continuous numbers with distribution functions; for vectors the implicit equation does not determine it. Where
    components hardly overlap, moving weight from one to another moves draws across the gap: those gradients are
    unbiased, but rare and very large.

    >>> import torch, ppl_dist as dist
    >>> components = dist.Normal(torch.tensor([-2.0, 2.0]), 1.0)
    >>> dist.MixtureSameFamily(dist.Categorical(probs=[0.5, 0.5]), components).variance
    tensor(5.)

    Args:
        mixture_distribution: a `Categorical`, the weights w of shape B + (K,).
        component_distribution: any distribution of batch shape B + (K,).
        validate_args: as for every distribution.
    """

    mixture_distribution: Categorical
    component_distribution: Any

    def __init__(
        self, mixture_distribution: Any, component_distribution: Any, validate_args: bool | None = None
    ) -> None:
        mixing = as_categorical("MixtureSameFamily", "mixture_distribution", mixture_distribution)
        if not hasattr(component_distribution, "batch_shape"):
            raise ValueError(
                f"MixtureSameFamily: `component_distribution` must be a distribution, "
                f"got {type(component_distribution).__name__}."
            )
        shape, k = component_distribution.batch_shape, mixing._num_events
        if shape[-1:] != (k,):
            raise ValueError(
                f"MixtureSameFamily: the last batch dimension of `component_distribution` counts the components, and "
                f"`mixture_distribution` has {k}; got batch shape {tuple(shape)}."
            )
        batch = shape[:-1]
        if batch != mixing.batch_shape:
            batch = _common("MixtureSameFamily", [mixing.batch_shape, batch])
            mixing = mixing.expand(batch)
            if batch != shape[:-1]:
                component_distribution = component_distribution.expand((*batch, k))
        self.mixture_distribution = mixing
        self.component_distribution = component_distribution
        super().__init__(batch, component_distribution.event_shape, validate_args)

    @property
    def _mixing(self) -> Categorical:
        return self.mixture_distribution

    def _parts(self) -> list[Any]:
        return [self.component_distribution]

    @property
    def support(self) -> Any:
        """The components' support; their union, where each has its own."""
        inner = self.component_distribution.support
        return MixtureSameFamilyConstraint(inner) if varies(inner) else inner

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        batch = size_of(batch_shape)
        check_expands(type(self).__name__, self.batch_shape, batch)
        k = self.mixture_distribution._num_events
        new = {
            "mixture_distribution": self.mixture_distribution.expand(batch),
            "component_distribution": self.component_distribution.expand((*batch, k)),
        }
        return self._replace(new, batch)

    def __getitem__(self, index: Any) -> Self:
        index = index if isinstance(index, tuple) else (index,)
        mixing = self.mixture_distribution[index]
        dotted = any(item is Ellipsis for item in index)
        new = {
            "mixture_distribution": mixing,
            "component_distribution": self.component_distribution[(*index, slice(None)) if dotted else index],
        }
        return self._replace(new, mixing.batch_shape)

    def _rebuilt(self) -> None:
        self._batch_shape = self.component_distribution.batch_shape[:-1]

    def _each(self, name: str, x: Tensor) -> Tensor:
        part, padded = self.component_distribution, x.unsqueeze(-1 - self.event_dim)
        if name != "log_prob" or not self._alike():
            return evaluate(part, name, padded)
        known: Tensor = _narrow(part)._log_prob(padded)
        full = broadcast_shapes([padded.shape[: padded.dim() - self.event_dim], part.batch_shape])
        return known if known.shape == full else known.expand(full)

    def _terms(self, x: Tensor) -> Tensor:
        batch = broadcast_shapes([x.shape[: x.dim() - self.event_dim], self._batch_shape])
        part = _first(self.component_distribution, len(self._batch_shape), len(batch)) if self._alike() else None
        if part is None:
            return super()._terms(x)
        log_weights = self._log_weights()
        terms: Tensor = _to_front(log_weights, log_weights.dim() - 1, len(batch)) + part._log_prob(x)
        full = part.batch_shape[:1] + batch
        return terms if terms.shape == full else terms.expand(full)

    def _alike(self) -> bool:
        """Whether what is inside this support is inside that of each component, which need not look again."""
        part = self.component_distribution
        return hooked(part, "_log_prob") and not varies(part.support)

    def _moments(self, name: str) -> Tensor:
        moments: Tensor = getattr(self.component_distribution, name)
        return moments

    def _draw(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        batch = shape[: len(shape) - self.event_dim]
        index = self._draw_index(batch, generator)
        one = _picked(self.component_distribution, index, len(self._batch_shape))
        if one is not None:
            return draw(one, torch.Size(), generator)
        x = draw(self.component_distribution, batch[: len(batch) - len(self._batch_shape)], generator)
        return _gathered(x, index, len(batch))

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]  # a fact of the instance here
        return bool(self.component_distribution.has_enumerate_support)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        if not self.has_enumerate_support:
            raise self._missing("enumerate_support")
        values: Tensor = self.component_distribution.enumerate_support(expand=False).squeeze(-1 - self.event_dim)
        return values.expand((-1, *self._batch_shape, *self._event_shape)) if expand else values

    def __repr__(self) -> str:
        return f"MixtureSameFamily({self.mixture_distribution!r}, {self.component_distribution!r})"


class MixtureGeneral(Blend):
    """MixtureGeneral(mixing_distribution w, component_distributions [p_1, ..., p_K]):  density  sum_k w_k p_k(x).

    >>> import ppl_dist as dist
    >>> parts = [dist.Normal(0.0, 1.0), dist.Cauchy(0.0, 1.0)]
    >>> dist.MixtureGeneral(dist.Categorical(probs=[0.5, 0.5]), parts).cdf(0.0)
    tensor(0.5000)

    Args:
        mixing_distribution: a `Categorical`, the weights w of shape B + (K,).
        component_distributions: K distributions of one event shape, whose batch shapes broadcast.
        support: the set that holds all of their supports; needed where these differ.
        validate_args: as for every distribution.
    """

    mixing_distribution: Categorical
    component_distributions: list[Any]

    def __init__(
        self,
        mixing_distribution: Any,
        component_distributions: Sequence[Any],
        *,
        support: Constraint | None = None,
        validate_args: bool | None = None,
    ) -> None:
        mixing = as_categorical("MixtureGeneral", "mixing_distribution", mixing_distribution)
        parts = list(component_distributions)
        if not parts or len(parts) != mixing._num_events:
            raise ValueError(
                f"MixtureGeneral: `mixing_distribution` has {mixing._num_events} components, but "
                f"`component_distributions` has {len(parts)}."
            )
        events = {tuple(part.event_shape) for part in parts}
        if len(events) > 1:
            raise ValueError(f"MixtureGeneral: the components' event shapes differ: {sorted(events)}.")
        self._support = _common_support(parts) if support is None else support
        batch = _common("MixtureGeneral", [mixing.batch_shape, *(part.batch_shape for part in parts)])
        self.mixing_distribution = _spread(mixing, batch)
        self.component_distributions = [_spread(part, batch) for part in parts]
        super().__init__(batch, parts[0].event_shape, validate_args)

    @property
    def _mixing(self) -> Categorical:
        return self.mixing_distribution

    def _parts(self) -> list[Any]:
        return self.component_distributions

    @property
    def support(self) -> Any:
        """The set given, or the one that all components share."""
        return self._support

    def _with(self, mixing: Categorical, parts: list[Any]) -> Self:
        new = {"mixing_distribution": mixing, "component_distributions": parts}
        return self._replace(new, mixing.batch_shape)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        batch = size_of(batch_shape)
        check_expands(type(self).__name__, self.batch_shape, batch)
        parts = [part.expand(batch) for part in self.component_distributions]
        return self._with(self.mixing_distribution.expand(batch), parts)

    def __getitem__(self, index: Any) -> Self:
        return self._with(self.mixing_distribution[index], [part[index] for part in self.component_distributions])

    def _rebuilt(self) -> None:
        self._batch_shape = self.component_distributions[0].batch_shape

    def _each(self, name: str, x: Tensor) -> Tensor:
        return torch.stack([evaluate(part, name, x) for part in self.component_distributions], -1)

    def _moments(self, name: str) -> Tensor:
        return torch.stack([getattr(part, name) for part in self.component_distributions], -1 - self.event_dim)

    def _draw(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        batch = shape[: len(shape) - self.event_dim]
        index = self._draw_index(batch, generator).reshape(batch + (1,) * self.event_dim)
        sample_shape = batch[: len(batch) - len(self._batch_shape)]
        x = draw(self.component_distributions[0], sample_shape, generator)
        for k, part in enumerate(self.component_distributions[1:], 1):
            x = torch.where(index == k, draw(part, sample_shape, generator), x)
        return x

    def __repr__(self) -> str:
        return f"MixtureGeneral({self.mixing_distribution!r}, {self.component_distributions!r})"


def _common(owner: str, shapes: list[torch.Size]) -> torch.Size:
    try:
        return broadcast_shapes(shapes)
    except ValueError:
        listed = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(
            f"{owner}: the batch shapes of the weights and of the components do not broadcast: {listed}. "
            f"Sizes must be equal or 1, counted from the right."
        ) from None


def _spread(part: Any, batch: torch.Size) -> Any:
    return part if part.batch_shape == batch else part.expand(batch)


def _common_support(parts: list[Any]) -> Any:
    """The support of every component, which must be one and the same."""
    supports = [part.support for part in parts]
    if any(varies(support) or support != supports[0] for support in supports):
        raise ValueError(
            f"MixtureGeneral: the components' supports differ: {', '.join(map(repr, supports))}. "
            f"Try support=, a set that holds all of them, such as constraints.real."
        )
    return supports[0]


def _narrow(part: Any) -> Any:
    """The same components without the repetitions of a plate: what depends on them alone is computed once."""
    values = {name: unexpanded(value, dims) for name, (value, dims) in part._stored().items()}
    return part._replace(values, part.batch_shape)


def _first(d: Any, dim: int, width: int) -> Any:
    """`d` with its batch dimension `dim` in front of `width` others: sums over it then run along memory.

    None unless its densities are those of numbers, entry by entry.
    """
    if type(d) is Independent:
        n = d.reinterpreted_batch_ndims
        base = _first(d.base_dist, dim, width + n)
        return None if base is None else Independent(base, n, validate_args=False)
    stored = _declared(d)
    if not stored or d.event_shape or any(dims for _, dims in stored.values()):
        return None
    values = {name: _to_front(unexpanded(value, 0), dim, width) for name, (value, _) in stored.items()}
    ones = (1,) * (width + 1 - len(d.batch_shape))
    return d._replace(values, d.batch_shape[dim : dim + 1] + ones + d.batch_shape[:dim] + d.batch_shape[dim + 1 :])


def _to_front(table: Tensor, dim: int, width: int) -> Tensor:
    """`table` with its dimension `dim` in front of `width` others, those that it lacks of size one."""
    moved = table.movedim(dim, 0)
    ones = (1,) * (width + 1 - table.dim())
    return moved.reshape(moved.shape[:1] + ones + moved.shape[1:]) if ones else moved


def _picked(d: Any, index: Tensor, dim: int) -> Any:
    """`d` with one entry of its batch dimension `dim` for each of `index`, so that only that one is drawn.

    None for distributions that hold more than declared parameters: all their entries have to be drawn.
    """
    if type(d) is Independent:
        base = _picked(d.base_dist, index, dim)
        return None if base is None else Independent(base, d.reinterpreted_batch_ndims, validate_args=False)
    stored = _declared(d)
    if not stored:
        return None
    values = {name: _gathered(value, index, dim) for name, (value, _) in stored.items()}
    return d._replace(values, index.shape + d.batch_shape[dim + 1 :])


def _declared(d: Any) -> dict[str, tuple[Tensor, int]]:
    """The declared parameters with their event dimensions, where `d` holds nothing else; otherwise none."""
    stored: dict[str, tuple[Tensor, int]] = d._stored() if isinstance(d, Distribution) else {}
    more = any(isinstance(v, Tensor | Node | list) for name, v in d.__dict__.items() if name not in stored)
    return {} if more else stored


def _gathered(table: Tensor, index: Tensor, dim: int) -> Tensor:
    """table[..., index, ...] along dimension `dim`, entry by entry of the dimensions before it."""
    if dim == 0:
        return table[index]
    sample, tail = index.shape[: index.dim() - dim], table.shape[dim + 1 :]
    where = index.reshape(index.shape + (1,) * (1 + len(tail))).expand(*index.shape, 1, *tail)
    wide = table.expand(sample + table.shape) if sample else table
    return wide.gather(index.dim(), where).squeeze(index.dim())

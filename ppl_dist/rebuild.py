"""What a distribution does as a value: expand, index, move, copy, and be a tree of tensors.

All of it follows from the declared parameters. It keeps the type of the family and copies no memory. Distributions
around another one override the few methods that involve it (`combine.wrapper`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, dataclass_transform

import torch
from torch import Tensor

from .half import half_of
from .param import param, static
from .shapes import EMPTY, broadcast_shapes, size_of
from .spec import Spec
from .transforms.transform import Transform
from .tree import Node

__all__ = ["Rebuildable"]


@dataclass_transform(field_specifiers=(param, static))  # here, so that the fields of `Distribution` itself count
class Rebuildable(Node):
    """The base of `Distribution` that knows how to make another instance out of this one."""

    _spec: ClassVar[Spec]
    _batch_shape: torch.Size = EMPTY
    _event_shape: torch.Size = EMPTY
    _validate_args: bool | None = None
    _half: torch.dtype | None = None
    """The dtype of the parameters where it is half precision: then `half` computes."""

    def _stored(self) -> dict[str, tuple[Tensor, int]]:
        """The declared parameters this instance holds, each with its event dimensions."""
        state = self.__dict__
        return {name: (state[name], p.event_dim(state)) for name, p in self._spec.params.items() if name in state}

    def _like(self) -> Tensor | None:
        """A tensor whose dtype and device numbers take; a floating one where there is any."""
        tensors = [value for value in self.__dict__.values() if isinstance(value, Tensor)]
        return next((value for value in tensors if value.is_floating_point()), tensors[0] if tensors else None)

    def _replace(self, values: Mapping[str, Any], batch_shape: torch.Size) -> Self:
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.__dict__.update(values)
        new._batch_shape = batch_shape
        return new

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """The same family with batch shape `batch_shape`; no memory is copied, the type is kept."""
        batch = size_of(batch_shape)
        if not self._spec.params:
            return self._expand_undeclared(batch)
        values: dict[str, Tensor] = {}
        try:
            state = self.__dict__
            for name, p in self._spec.params.items():
                value = state.get(name)
                if value is not None:
                    dims = p.event_dim(state)
                    full = batch + value.shape[value.dim() - dims :] if dims else batch
                    values[name] = value if value.shape == full else value.expand(full)
        except RuntimeError:
            raise ValueError(
                f"{type(self).__name__}: batch shape {tuple(self._batch_shape)} does not expand to {tuple(batch)}. "
                f"Sizes must be equal or 1, counted from the right."
            ) from None
        if _instance is None:
            return self._replace(values, batch)
        _instance.__dict__.update(values)
        _instance._batch_shape, _instance._event_shape = batch, self._event_shape
        _instance._validate_args = self._validate_args
        return _instance

    def _expand_undeclared(self, batch_shape: torch.Size) -> Any:
        """Expand a distribution that does not declare its parameters."""
        raise NotImplementedError(f"{type(self).__name__} does not define expand(batch_shape).")

    def expand_by(self, sample_shape: Sequence[int]) -> Any:
        """`expand` to `sample_shape + batch_shape`."""
        return self.expand(size_of(sample_shape) + self._batch_shape)

    def __getitem__(self, index: Any) -> Self:
        """Index the batch dimensions."""
        index = index if isinstance(index, tuple) else (index,)
        probe = torch.empty(self._batch_shape, device="meta")[tuple(_meta_index(i) for i in index)]
        values = {}
        for name, (value, dims) in self._stored().items():
            tail = (slice(None),) * dims if Ellipsis in [i for i in index if not isinstance(i, Tensor)] else ()
            values[name] = value[index + tail]
        return self._replace(values, probe.shape)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same distribution on another device or with another dtype, as `Tensor.to` takes them."""
        new = object.__new__(type(self))
        for name, value in self.__dict__.items():
            new.__dict__[name] = _moved(value, args, kwargs)
        if self._spec.params:
            new._half = half_of(new.__dict__.values())
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = object.__new__(type(self))
        memo[id(self)] = new
        for name, value in self.__dict__.items():
            graph = isinstance(value, Tensor) and not value.is_leaf  # torch refuses to deep-copy these
            new.__dict__[name] = value.clone() if graph else copy.deepcopy(value, memo)
        return new

    def _rebuilt(self) -> None:
        """After a transformation has changed the children (vmap removes a dimension), read B off them again."""
        stored = self._stored()
        if stored and all(isinstance(value, Tensor) for value, _ in stored.values()):
            self._batch_shape = broadcast_shapes([v.shape[: v.dim() - dims] for v, dims in stored.values()])


def _moved(value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`value.to(...)` for what holds floating tensors: a tensor, a distribution, a transform, a list of transforms."""
    if isinstance(value, Rebuildable) or (isinstance(value, Tensor) and value.is_floating_point()):
        return value.to(*args, **kwargs)
    if isinstance(value, list):
        return [_moved(item, args, kwargs) for item in value]
    if isinstance(value, Transform) and not hasattr(value, "state_dict"):  # a module moves where its owner says
        new = object.__new__(type(value))
        new.__dict__.update({name: _moved(item, args, kwargs) for name, item in value.__getstate__().items()})
        return new
    return value


def _meta_index(index: Any) -> Any:
    """Booleans stay what they are, their values count; a 0-dim index removes its dimension, as any integer does."""
    if not isinstance(index, Tensor) or index.dtype == torch.bool:
        return index
    return torch.empty_like(index, device="meta") if index.dim() else 0

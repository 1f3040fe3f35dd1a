"""An empty event with a weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..constraints import real, real_vector
from ..construction import assemble
from ..distribution import Distribution
from ..param import Param, param
from ..shapes import broadcast_shapes

__all__ = ["Unit"]


class Unit(Distribution):
    """Unit(log_factor c):  one event, of shape (0,), with log_prob c. It adds a term to the joint density of a model.

    >>> import ppl_dist as dist
    >>> dist.Unit(-0.5).log_prob(dist.Unit(-0.5).sample())
    tensor(-0.5000)

    Args:
        log_factor: the term, of the batch shape.
        has_rsample: in a guide, whether the term depends on the parameters through draws alone (True) or also
            through their distribution (False), which estimators need to know; None says nothing.
        validate_args: as for every distribution.
    """

    log_factor: Param = param(real)
    support = real_vector

    def __init__(self, log_factor: Any, *, has_rsample: bool | None = None, validate_args: bool | None = None) -> None:
        if has_rsample is not None:
            self.__dict__["has_rsample"] = has_rsample
        assemble(self, (log_factor,), (), validate_args)

    def _set_event_shape(self) -> None:
        self._event_shape = torch.Size((0,))

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self.log_factor.new_empty(shape)

    def _log_prob(self, x: Tensor) -> Tensor:
        return self.log_factor.expand(broadcast_shapes([x.shape[:-1], self._batch_shape]))

    @property
    def mean(self) -> Tensor:
        return self.log_factor.new_empty(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        return self.mean

    @property
    def mode(self) -> Tensor:
        return self.mean

    def entropy(self) -> Tensor:
        return -self.log_factor

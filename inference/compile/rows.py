"""Which inputs of a program lie behind one another in those of its machine code, and how a file says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Packing"]

_SIZE, _MARK = 8, b"rows of inputs"


@dataclass(frozen=True)
class Packing:
    """How the inputs of a packed graph come about.

    Attributes:
        places: for each, which inputs of the first graph lie in it.
        num_state: how many of them are state.
        constants: what follows them.
    """

    places: list[list[int]]
    num_state: int
    constants: list[Tensor]

    def inputs(self, given: Sequence[Tensor]) -> list[Tensor]:
        """State, data and constants from state, data and lifted tensors of the first graph."""
        together = (
            given[first] if not others else torch.stack([given[first], *(given[place] for place in others)])
            for first, *others in self.places
        )
        return [*together, *self.constants]

    def put_back(self, together: Sequence[Tensor], given: Sequence[Tensor]) -> None:
        """Write the state to where `inputs` has read it."""
        for places, rows in zip(self.places[: self.num_state], together, strict=False):
            for place, row in zip(places, rows if len(places) > 1 else [], strict=False):
                given[place].copy_(row)

    def written(self) -> bytes:
        """What stands at the end of a file."""
        constants = [(str(each.dtype), each.tolist()) for each in self.constants]
        told = json.dumps([self.places, self.num_state, constants]).encode()
        return told + len(told).to_bytes(_SIZE, "little") + _MARK

    @classmethod
    def read(cls, content: bytes) -> Packing | None:
        """From the end of a file; None where it does not say."""
        if not content.endswith(_MARK):
            return None
        content = content.removesuffix(_MARK)
        size = int.from_bytes(content[-_SIZE:], "little")
        places, num_state, constants = json.loads(content[-_SIZE - size : -_SIZE])
        tensors = [torch.tensor(values, dtype=getattr(torch, dtype.split(".")[1])) for dtype, values in constants]
        return cls(places, num_state, tensors)

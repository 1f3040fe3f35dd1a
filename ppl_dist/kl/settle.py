"""The plain formula of a divergence where its rounding does not show, and a careful one elsewhere.

At nearly equal parameters the terms of a divergence cancel, and few digits of their sum are left. One look at the sum
tells: where it is large against the rounding of its terms it stands, with four digits in single precision and nine in
double. What is smaller is computed again: from parameters in single precision by the same formula in double, whose
rounding is nothing beside that of the parameters; from those in double precision by a formula that does not cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..shapes import broadcast_shapes
from ..values import extremes

__all__ = ["GAPS", "TERMS", "Formula", "settle", "size_of_terms"]

# Below this the rounding of a plain sum shows. Of terms made of exact gaps e, about e**2 is left, with a rounding of
# eps e: e = 2e-3 and 1.4e-6. Of other terms, as large as 1, the rounding is eps.
GAPS = {torch.float32: 2e-6, torch.float64: 1e-12}
TERMS = {torch.float32: 5e-4, torch.float64: 1e-6}
_MODERATE = 64.0
_LONG = 2000  # entries from which the few that need more care are picked out

Formula = Callable[..., Tensor]


def settle(
    plain: Formula,
    careful: Formula,
    *given: Tensor,
    far: Mapping[torch.dtype, float] = GAPS,
    scale: float = 1.0,
    everywhere: bool = True,
) -> Tensor:
    """`plain(*given)` where that is accurate, and elsewhere `plain` in double precision or `careful(*given)`.

    Inside vmap or a capture nothing can be seen: single precision is widened, and in double the careful form is taken.

    Args:
        plain: a formula whose error is that of its parameters; nan or infinite at parameters where it does not hold.
        careful: one that does not cancel, and holds at all parameters.
        given: the parameters, tensors that broadcast.
        far: by dtype, above what the plain form is accurate, where its terms are as large as 1.
        scale: how large they are.
        everywhere: whether `plain` holds at all parameters in double precision.
    """
    dtype = given[0].dtype
    for value in given[1:]:
        if value.dtype != dtype:
            dtype = torch.promote_types(dtype, value.dtype)
    if dtype not in far or not given[0].is_cpu:
        return _again(plain, careful, given, dtype, everywhere)
    value = plain(*given)
    seen = extremes(value)
    limit = far[dtype] * scale
    if seen is not None and seen[0] > limit and seen[1] < math.inf:
        return value
    # an infinite entry would make derivatives nan, even where another takes its place
    if seen is None or not (-math.inf < seen[0] and seen[1] < math.inf) or value.numel() <= _LONG:
        return _again(plain, careful, given, dtype, everywhere)
    near = (value <= limit).nonzero(as_tuple=True)
    if 2 * near[0].numel() > value.numel():
        return _again(plain, careful, given, dtype, everywhere)
    shape = broadcast_shapes([v.shape for v in given])
    chosen = tuple(v.expand(shape)[near] for v in given)
    return value.index_put(near, _again(plain, careful, chosen, dtype, everywhere))


def size_of_terms(*concentrations: Tensor) -> float | None:
    """x log x for the largest x, as lgamma and digamma grow, if one look shows that to be moderate."""
    largest = 1.0
    for value in concentrations:
        seen = extremes(value)
        if seen is None or not seen[1] <= _MODERATE:
            return None
        largest = max(largest, seen[1])
    return 1 + largest * math.log(largest)


def _again(plain: Formula, careful: Formula, given: tuple[Tensor, ...], dtype: torch.dtype, everywhere: bool) -> Tensor:
    if dtype == torch.float64 or given[0].is_mps:  # which has no double precision
        return careful(*given)
    value = plain(*[v.double() for v in given])
    if not everywhere:
        seen = extremes(value)
        if seen is None or not (seen[0] > -math.inf and seen[1] < math.inf):
            return careful(*given)
    return value.to(dtype)

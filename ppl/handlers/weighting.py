"""Change how much sites count: leave entries out, or scale them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ppl.checks import checked_mask
from ppl.runtime import Handler, Site

__all__ = ["mask", "scale"]


class mask(Handler):
    """Count the log-probability of the sample sites inside only where `mask` is true.

    Masks nest: an entry counts if all of them are true. Under a mask an observed value may be NaN.

    Args:
        fn: the model.
        mask: a bool, or booleans that broadcast with the batch shapes of the sites.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, mask: Tensor | bool | None = None) -> None:
        super().__init__(fn)
        self.mask = checked_mask("mask", "mask", mask)

    def process(self, site: Site) -> None:
        if site.type == "sample":
            site.mask = self.mask if site.mask is None else site.mask & self.mask


class scale(Handler):
    """Multiply the log-probability of the sample sites inside by `scale`. Scales nest by multiplication.

    Args:
        fn: the model.
        scale: a nonnegative number, or a tensor that broadcasts with the batch shapes of the sites.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, scale: Tensor | float | None = None) -> None:
        super().__init__(fn)
        if not isinstance(scale, int | float | Tensor):
            raise TypeError(
                f"scale: expected a number or a tensor, got {type(scale).__name__}. Try scale(model, scale=0.5)."
            )
        if not isinstance(scale, Tensor) and not scale >= 0:
            raise ValueError(f"scale: `scale` must not be negative, got {scale}. Try scale(model, scale={abs(scale)}).")
        self.scale = scale if isinstance(scale, Tensor) else float(scale)

    def process(self, site: Site) -> None:
        if site.type == "sample":
            site.scale = site.scale * self.scale

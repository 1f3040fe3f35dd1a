"""Draw from a random state of one's own."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self

import torch

from ppl.runtime import Handler, Site

__all__ = ["seed"]


class seed(Handler):
    """Draw the sites and minibatches inside from a generator of their own; the global random state stays as it is.

    Args:
        fn: the model.
        rng_seed: an int, from which every run starts afresh and so draws the same; or a generator, which every
            run continues. The generator of an int draws on the CPU; a model on another device needs one of its own.

    Distributions whose samplers take no `generator` (those of another library) draw from the global random state,
    seeded for the moment and given back after. Threads that draw from it at that moment get other draws.

    >>> import ppl_dist as dist
    >>> from ppl import sample
    >>> model = seed(lambda: sample("x", dist.Normal(0.0, 1.0)), rng_seed=0)
    >>> bool(model() == model())
    True
    """

    def __init__(self, fn: Callable[..., Any] | None = None, rng_seed: int | torch.Generator | None = None) -> None:
        super().__init__(fn)
        if not isinstance(rng_seed, torch.Generator):
            try:
                rng_seed = operator.index(rng_seed)  # type: ignore[arg-type]  # what is not an int is refused below
            except TypeError:
                raise TypeError(
                    f"seed: rng_seed must be an int or a torch.Generator, got {type(rng_seed).__name__}. "
                    f"Try seed(model, rng_seed=0)."
                ) from None
        self.rng_seed = rng_seed
        self.generator = rng_seed if isinstance(rng_seed, torch.Generator) else None

    def begin(self) -> Self:
        if isinstance(self.rng_seed, torch.Generator):
            return self
        run = object.__new__(type(self))
        run.rng_seed, run.generator = self.rng_seed, torch.Generator().manual_seed(self.rng_seed)
        return run

    def process(self, site: Site) -> None:
        if site.generator is None:
            site.generator = self.generator

    def finish(self, site: Site) -> None:
        site.generator = None  # it has done its work; a finished site can be pickled

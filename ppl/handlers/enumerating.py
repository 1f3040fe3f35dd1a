"""Discrete sites summed exactly: `enum` gives a site all values at once, `markov` says for how long they matter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from typing import Any, Self

import torch
from torch import Tensor

from ppl.messages import family
from ppl.runtime import Handler, Site, enclosing, pop, push
from ppl_dist.samplers import draw

__all__ = ["enum", "markov"]


class markov(Handler):
    """Declare that a step depends on the last `history` steps only, so that `enum` can use their dimensions again.

    Three ways: `for t in markov(range(n)):` makes each turn of the loop a step; `@markov` makes each call a step below
    the one that it is called from, so that recursion walks down a chain or a tree; and so does each `with`.

    What is drawn at a step is visible there and up to `history` steps later or deeper. When a context ends, what was
    drawn in it is forgotten: the branches of a tree do not see each other.

    Args:
        fn: a function, or something to loop over.
        history: how many earlier steps a step may depend on.
        keep: whether entering this object again goes back to the same steps, so that neighbouring branches see each
            other, and so do the rows of a grid whose inner loop runs once per row.

    >>> [t for t in markov(range(3), history=2)]
    [0, 1, 2]
    """

    depth = 0
    window: tuple[object, ...] = ()  # tokens of this step and of those it may depend on, the latest first

    def __init__(self, fn: Any = None, history: int = 1, keep: bool = False) -> None:
        self.values: Iterable[Any] | None = fn if isinstance(fn, Iterable) and not callable(fn) else None
        if fn is not None and self.values is None and not callable(fn):
            raise TypeError(f"markov: expected a function or a loop, got {type(fn).__name__}. Try markov(range(10)).")
        super().__init__(fn if self.values is None else None)
        if history < 0:
            raise ValueError(f"markov: history must not be negative, got {history}. Try history=0.")
        self.history, self.keep, self.context = history, keep, self

    def begin(self) -> Self:
        before, step = _steps().get(self), copy.copy(self)
        step.context, step.depth = self, before.depth + 1 if before else 0
        step.window = (object(), *(before.window if before else ()))[: self.history + 1]
        return step

    def __iter__(self) -> Iterator[Any]:
        if self.values is None:
            raise TypeError("markov: a loop needs something to loop over, got none. Try markov(range(10)).")
        step = None
        try:
            for value in self.values:
                following = self.begin()  # while the step before is on the stack
                pop(step)
                step = push(following, owner=following).handler
                yield value
        finally:
            pop(step)

    def meets(self, now: markov | None) -> bool:
        """Whether sites of this step and of the step `now` (None: outside the context) may share a factor."""
        if self.keep:
            return now is None or abs(now.depth - self.depth) <= self.history
        return now is not None and self.window[0] in now.window


Steps = dict[markov, markov]
Born = tuple[str, int, Steps]  # an enumerated variable: its name, its dimension, the steps around it


def _steps() -> Steps:
    """The step at which each markov context around is, the innermost context first."""
    steps: Steps = {}
    for step in enclosing(markov):
        steps.setdefault(step.context, step)
    return steps


class enum(Handler):
    """Give sites that ask for it all values of their support at once, along a batch dimension of their own.

    A latent site with `infer={"enumerate": "parallel"}` gets its support at the first free dimension from
    `first_available_dim` to the left, and `infer["_enumerate_dim"]` says which. With `"num_samples": n` it gets n draws
    instead; `"expand": True` repeats the support for every entry of the batch. Other sites are left alone.
    Dimensions are used again where `markov` allows it; so every sample site gets `infer["_dim_to_name"]`, which says to
    which of the enumerated sites visible to it a dimension belongs.

    Args:
        fn: the model.
        first_available_dim: the rightmost dimension to use, negative: left of those of all plates.

    Raises:
        ValueError: while running, if a plate or a batch dimension of a distribution is in the way.
        NotImplementedError: while running, if the support of a distribution cannot be listed.

    >>> import ppl_dist as dist
    >>> from ppl import sample
    >>> with enum(first_available_dim=-1):
    ...     sample("x", dist.Categorical(logits=torch.zeros(3)), infer={"enumerate": "parallel"})
    tensor([0, 1, 2])
    """

    def __init__(self, fn: Callable[..., Any] | None = None, first_available_dim: int = -1) -> None:
        super().__init__(fn)
        if first_available_dim >= 0:
            raise ValueError(f"enum: dimensions count from the right, got {first_available_dim}. Try enum(model, -1).")
        self.first_available_dim = first_available_dim
        self.born: dict[object, list[Born]] = {}  # by a token that must be in the window for it to be visible

    def begin(self) -> Self:
        run = copy.copy(self)
        run.born = {}
        return run

    def process(self, site: Site) -> None:
        if site.type != "sample":
            return
        self._check_plates(site)
        now = _steps()
        near = self._near(now)
        if site.infer.get("enumerate") == "parallel" and site.value is None:
            taken = {dim for _, dim, _ in near}
            dim = next(dim for dim in count(self.first_available_dim, -1) if dim not in taken)
            site.value, site.infer["_enumerate_dim"] = _spread(site, dim, now), dim
        names = {d: name for name, d, steps in near if all(s.depth <= now.get(c, s).depth for c, s in steps.items())}
        if "_enumerate_dim" in site.infer:  # from above, or replayed
            names[site.infer["_enumerate_dim"]] = site.name
            token = next((step.window[0] for step in now.values() if not step.keep), None)
            self.born.setdefault(token, []).append((site.name, site.infer["_enumerate_dim"], now))
        site.infer["_dim_to_name"] = names

    def _near(self, now: Steps) -> list[Born]:
        """The variables whose dimensions a site at these steps must not use; a kept context may come back to it."""
        tokens = chain([None], *(step.window for step in now.values()))
        found = chain.from_iterable(self.born.get(token, ()) for token in tokens)
        return [born for born in found if all(step.meets(now.get(context)) for context, step in born[2].items())]

    def _check_plates(self, site: Site) -> None:
        for frame in (handler.frame for handler in enclosing(Handler)):
            if frame is not None and frame.dim is not None and frame.dim <= self.first_available_dim:
                raise ValueError(
                    f'enum: at site "{site.name}", plate "{frame.name}" has dim {frame.dim}, not right of '
                    f"{self.first_available_dim}. Try enum(model, first_available_dim={frame.dim - 1})."
                )


def _spread(site: Site, dim: int, now: Steps) -> Tensor:
    """The support of a site, or draws in its place, along the batch dimension `dim`."""
    fn, n, batch, event = site.fn, site.infer.get("num_samples"), tuple(site.fn.batch_shape), len(site.fn.event_shape)
    if len(batch) >= -dim and batch[dim] != 1:
        better = "a longer history" if now else f"enum(model, first_available_dim={-len(batch) - 1})"
        raise ValueError(
            f'enum: site "{site.name}" needs dim {dim} for its values, but {family(fn)} has batch shape {batch}, and '
            f"neither a plate nor a visible site accounts for that. Try {better}."
        )
    if n is None and not getattr(fn, "has_enumerate_support", False):
        better = 'Try infer={"enumerate": "parallel", "num_samples": 10}.'
        raise NotImplementedError(f'enum: site "{site.name}": {family(fn)} has no enumerate_support. {better}')
    expand = site.infer.get("expand", False)
    values: Tensor = fn.enumerate_support(expand=expand) if n is None else draw(fn, torch.Size((n,)), site.generator)
    return values.reshape(values.shape[:1] + (1,) * (-dim - len(batch)) + values.shape[1:]).transpose(0, dim - event)[0]

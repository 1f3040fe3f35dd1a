"""Plates: declared independence, along a batch dimension or one index after another, and minibatches of either."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from ppl.messages import family, shape_of
from ppl.runtime import Frame, Handler, Site, current, emit, enclosing, pop, push
from ppl_dist.values import numbered

__all__ = ["plate", "plate_stack", "subsample", "widen"]


class plate(Handler):
    """Declare that what is sampled inside is independent given what is outside.

    As a context manager the plate owns one batch dimension: every distribution inside is expanded to `size`
    there, and the plate gives the indices it stands for. As an iterable it runs its body once per index;
    the names of the sites must then differ from index to index.

    With `subsample_size`, a random subset of that size (without replacement) is drawn and every `log_prob`
    inside is scaled by `size / subsample_size`, so that its expectation is that of the full plate. The draw is a site
    of type "subsample": a trace records it, and `replay` gives the model the minibatch of the guide. One
    minibatch is drawn per name and run of a model: entering a plate again gives the same indices. A run begins where
    a `trace` does. With no `trace` active the indices stay with the object, so make plates inside the model.

    Args:
        name: name of the plate, unique in the model.
        size: how many independent parts there are; None leaves it open (nothing is expanded or scaled).
        subsample_size: how many of them to draw for this run.
        subsample: the indices to use, instead of drawing them.
        dim: the batch dimension, negative; None takes the rightmost one no enclosing plate uses.
        device: where the indices live.

    Raises:
        ValueError: the dimension or the name is taken by an enclosing plate, or the sizes make no sense.

    >>> import ppl_dist as dist
    >>> from ppl import sample
    >>> with plate("data", 3) as i:
    ...     x = sample("x", dist.Normal(torch.zeros(3), 1.0))
    >>> i, x.shape
    (tensor([0, 1, 2]), torch.Size([3]))
    """

    def __init__(
        self,
        name: str,
        size: int | None = None,
        subsample_size: int | None = None,
        subsample: Tensor | list[int] | None = None,
        dim: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.name, self.dim, self.device = name, dim, device
        self.size = -1 if size is None else _whole(name, "size", size)
        given = None if subsample is None else torch.as_tensor(subsample, device=device)
        self.subsample = given
        if subsample_size is None:
            subsample_size = self.size if given is None else len(given)
        self.subsample_size: int = subsample_size
        self._own: dict[str, tuple[int, int, Tensor]] | None = None  # what a run would remember, where there is none
        if size is None or dim is not None or subsample_size != size or subsample_size < 0:
            self._check(size, dim)

    def _check(self, size: int | None, dim: int | None) -> None:
        where, n = f'plate "{self.name}"', self.subsample_size
        if size is None and (n != -1 or self.subsample is not None):
            raise ValueError(f'{where}: subsampling needs the full size. Try plate("{self.name}", size, {n}).')
        if size is not None and not 0 <= n <= self.size:
            raise ValueError(
                f"{where}: subsample_size must lie between 0 and size; got subsample_size {n}, size {self.size}. "
                f'Try plate("{self.name}", {max(self.size, n, 0)}, {max(min(self.size, n), 0)}).'
            )
        if self.subsample is not None and (self.subsample.dim() != 1 or len(self.subsample) != n):
            raise ValueError(
                f"{where}: subsample must be a vector of subsample_size = {n} indices, got shape "
                f"{shape_of(self.subsample)}. Try leaving subsample_size out."
            )
        if dim is not None and dim >= 0:
            raise ValueError(
                f"{where}: dim counts from the right and must be negative, got {dim}. "
                f'Try plate("{self.name}", {self.size}, dim={-1 - dim}).'
            )

    def __len__(self) -> int:
        """How many indices one pass over the plate has."""
        return max(self.subsample_size, 0)

    @property
    def indices(self) -> Tensor:
        """The indices of the current run."""
        return self._indices()

    def __enter__(self) -> Tensor:
        indices = self._indices()
        push(self._inside(Frame(self.name, self._free_dim(), self.subsample_size, self.size), indices), owner=self)
        return indices

    def __iter__(self) -> Iterator[int]:
        """The indices as ints, each with the body of the loop inside the plate."""
        if self.size == -1:
            raise ValueError(f'plate "{self.name}": a loop needs a size, got None. Try plate("{self.name}", 10).')
        frame = Frame(self.name, None, self.subsample_size, self.size)
        full = self.subsample is None and self.subsample_size == self.size
        indices = self._indices()
        inside = self._inside(frame, indices)
        push(inside, owner=inside)
        try:
            yield from range(self.size) if full else indices.tolist()
        finally:
            pop(inside)  # by its own key: a loop left early may be closed after others have been pushed

    def _inside(self, frame: Frame, indices: Tensor) -> _Inside:
        if frame.size == frame.full_size:
            return _Inside(frame, 1.0)
        # an empty minibatch has no entries to scale
        return _InsideSubsample(frame, frame.full_size / max(frame.size, 1), indices)

    def _free_dim(self) -> int:
        stack = current()
        if stack is None or not stack.frames:
            return -1 if self.dim is None else self.dim
        used = {frame.dim: frame.name for frame in stack.frames}
        free = -1
        while free in used:
            free -= 1
        if self.name in used.values():
            raise ValueError(
                f'plate "{self.name}": a plate of this name encloses it already. '
                f'Try plate("{self.name}_inner", {self.size}).'
            )
        if self.dim in used and self.dim is not None:
            raise ValueError(
                f'plate "{self.name}": dim {self.dim} is already used by plate "{used[self.dim]}". '
                f'Try plate("{self.name}", {self.size}, dim={free}).'
            )
        return free if self.dim is None else self.dim

    def _indices(self) -> Tensor:
        """The indices of this run: drawn and emitted once, then remembered under the name of the plate."""
        stack = current()
        if stack is None and self.subsample is None and self.subsample_size == self.size:
            return self._all()
        kind = (self.size, self.subsample_size)
        if stack is not None and stack.run is not None:
            memory = stack.run.plates
        else:
            memory = self._own = self._own or {}
        known = memory.get(self.name)
        if known is None:
            known = memory[self.name] = (*kind, self._emitted())
        elif known[:2] != kind:
            raise ValueError(
                f'plate "{self.name}": this run has a plate of that name with size {known[0]} and subsample_size '
                f"{known[1]}, now it is given size {kind[0]} and subsample_size {kind[1]}. "
                f'Try another name: plate("{self.name}_2", {kind[0]}).'
            )
        return known[2]

    def _emitted(self) -> Tensor:
        if self.subsample is not None:
            site = Site("subsample", self.name, _Indices(self), self.subsample, is_observed=True)
        elif self.subsample_size == self.size:
            site = Site("plate", self.name, None, self._all())
        else:
            site = Site("subsample", self.name, _Indices(self))
        indices: Tensor = emit(site).value
        if self.size != -1 and shape_of(indices) != (self.subsample_size,):
            raise ValueError(
                f'plate "{self.name}": expected {self.subsample_size} indices, a handler gave {shape_of(indices)}. '
                f"Try the same subsample_size in model and guide."
            )
        return indices

    def _all(self) -> Tensor:
        return numbered(max(self.size, 0), self.device)


def _whole(name: str, what: str, number: int) -> int:
    try:
        return operator.index(number)
    except TypeError:
        raise TypeError(
            f'plate "{name}": {what} must be an int, got {type(number).__name__}. Try plate("{name}", len(data)).'
        ) from None


class _Indices:
    """What a "subsample" site draws from: subsets without replacement, every subset equally likely."""

    has_rsample = False
    batch_shape = torch.Size()

    def __init__(self, plate: plate) -> None:
        self.size, self.n, self.device = plate.size, plate.subsample_size, plate.device
        self.event_shape = torch.Size((self.n,))

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` of the numbers below `size`, in random order."""
        if generator is None:
            return torch.randperm(self.size, device=self.device)[: self.n]
        return torch.randperm(self.size, generator=generator, device=generator.device)[: self.n].to(self.device)


class _Inside(Handler):
    """What an open plate does to the sites in its body."""

    frame: Frame

    def __init__(self, frame: Frame, scale: float) -> None:  # not super().__init__: there is no model to wrap
        self.frame, self.scale = frame, scale

    def process(self, site: Site) -> None:
        if site.type == "plate" or site.type == "subsample":
            return
        frame = self.frame
        site.cond_indep_stack = (frame, *site.cond_indep_stack)
        if site.type == "sample":
            if self.scale != 1.0:
                site.scale = site.scale * self.scale
            if frame.dim is not None:
                shape = site.fn.batch_shape
                if len(shape) < -frame.dim or shape[frame.dim] != frame.size:
                    widen(site, frame, frame.dim)


def widen(site: Site, frame: Frame, dim: int) -> None:
    """Expand the distribution of a sample site to the size of a plate, along its dimension.

    Raises:
        ValueError: it has another size there already.
    """
    if frame.size == -1:
        return
    shape = site.fn.batch_shape
    wide = [1] * (-dim - len(shape)) + list(shape)
    if wide[dim] not in (1, frame.size):
        raise ValueError(
            f'site "{site.name}": {family(site.fn)} has batch shape {tuple(shape)} but '
            f'plate "{frame.name}" has size {frame.size} at dim {dim}. Either give it size {frame.size} or 1 there, '
            f'or make that dimension part of the event:  sample("{site.name}", ...to_event({-dim})).'
        )
    wide[dim] = frame.size
    site.fn = site.fn.expand(torch.Size(wide))


class _InsideSubsample(_Inside):
    """The same for a minibatch, where a parameter with one entry per index is cut down to the minibatch."""

    def __init__(self, frame: Frame, scale: float, indices: Tensor) -> None:
        super().__init__(frame, scale)
        self.indices = indices

    def finish(self, site: Site) -> None:
        event_dim = site.kwargs.get("event_dim") if site.type == "param" and site.kwargs else None
        if event_dim is not None:
            site.value = self.cut(f'param "{site.name}"', site.value, event_dim)

    def cut(self, where: str, value: Tensor, event_dim: int) -> Tensor:
        """The entries of the minibatch, along the dimension of the plate."""
        if self.frame.dim is None:
            return value
        dim, shape = self.frame.dim - event_dim, value.shape
        if len(shape) < -dim or shape[dim] == 1:
            return value
        if shape[dim] != self.frame.full_size:
            raise ValueError(
                f"{where}: shape {tuple(shape)} has size {shape[dim]} at dim {dim}, but plate "
                f'"{self.frame.name}" has size {self.frame.full_size}. Try that size or 1 there.'
            )
        return value.index_select(dim, self.indices.to(value.device))


def subsample(data: Tensor, event_dim: int) -> Tensor:
    """Cut full data down to the minibatches of the plates around: along each, its entries at the plate's indices.

    Args:
        data: of the full size at the dimension of every subsampled plate (or size 1, or of fewer dimensions).
        event_dim: how many rightmost dimensions are no batch dimensions.

    Returns:
        The entries of the minibatch; `data` itself where no plate around is subsampled.

    Raises:
        ValueError: a size is neither that of the plate nor 1.

    >>> data = torch.arange(10.0)
    >>> with plate("data", 10, subsample=[7, 2]):
    ...     subsample(data, event_dim=0)
    tensor([7., 2.])
    """
    for minibatch in enclosing(_InsideSubsample):
        data = minibatch.cut("subsample", data, event_dim)
    return data


@contextmanager
def plate_stack(prefix: str, sizes: Sequence[int], rightmost_dim: int = -1) -> Iterator[None]:
    """Plates inside each other, one per batch dimension: the last of `sizes` is that of `rightmost_dim`.

    Args:
        prefix: the plates are called `prefix_0`, `prefix_1`, ...
        sizes: one per plate, from the outermost, which owns the leftmost dimension.
        rightmost_dim: the dimension of the last plate, negative.

    Raises:
        TypeError: `sizes` is no sequence.

    >>> import ppl_dist as dist
    >>> from ppl import sample
    >>> with plate_stack("image", (2, 3)):
    ...     sample("pixel", dist.Normal(0.0, 1.0)).shape
    torch.Size([2, 3])
    """
    given: Any = sizes
    if not isinstance(given, Sequence):
        got = type(given).__name__
        raise TypeError(f'plate_stack "{prefix}": expected a sequence of sizes, got {got}. Try sizes=({sizes},).')
    with ExitStack() as plates:
        for i, size in enumerate(sizes):
            plates.enter_context(plate(f"{prefix}_{i}", size, dim=rightmost_dim + 1 - len(sizes) + i))
        yield

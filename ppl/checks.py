"""Checks of shapes: an observed value against its distribution, and a finished trace against its plates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from ppl.messages import call_text, family, frames_text, shape_of, shape_table
from ppl.site import Frame, Site
from ppl_dist.shapes import broadcast_shapes

__all__ = ["check_callable", "check_observed", "check_shapes", "checked_mask"]


def check_callable(where: str, what: str, program: Any) -> None:
    """Raise unless `program` can be run.

    Raises:
        TypeError: it cannot be called.
    """
    if not callable(program):
        raise TypeError(f"{where}: {what} must be a function, got {type(program).__name__}. Try {where}({what}, ...).")


def checked_mask(where: str, argument: str, mask: Any) -> Tensor | bool:
    """The mask, if it is one.

    Raises:
        TypeError: it is neither a bool nor a tensor of booleans.
    """
    if isinstance(mask, bool) or (isinstance(mask, Tensor) and mask.dtype == torch.bool):
        return mask
    got = f"a tensor of {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
    raise TypeError(
        f"{where}: for {argument} expected a bool or a tensor of torch.bool, got {got}. Try {argument}=mask.bool()."
    )


def check_observed(site: Site) -> None:
    """Raise unless the observed value fits its distribution.

    It fits when its event dimensions agree and broadcasting widens the distribution or the value, but not
    both: a column against a row would silently give a whole matrix of log-probabilities.

    Raises:
        ValueError: it does not fit.
    """
    batch, event, shape = tuple(site.fn.batch_shape), tuple(site.fn.event_shape), shape_of(site.value)
    full = batch + event
    fits = shape[len(shape) - len(event) :] == event and len(shape) >= len(event)
    with suppress(ValueError):
        if fits and tuple(broadcast_shapes([torch.Size(full), torch.Size(shape)])) in (full, shape):
            return
    message = f'site "{site.name}": the observed value has shape {shape} but {family(site.fn)} has shape {full}'
    message += f" (batch {batch}, event {event})" if event else ""
    message += f" inside {frames_text(site.cond_indep_stack)}" if site.cond_indep_stack else ""
    if site.value.numel() == torch.Size(full).numel():
        raise ValueError(f"{message}. Try obs=value.reshape({full}).")
    better = f"of shape {full}, or parameters of the shape {shape}" if fits else f"whose last dimensions are {event}"
    raise ValueError(f"{message}. Try a value {better}.")


def check_shapes(trace: Mapping[str, Site]) -> None:
    """Raise if a sample site has a batch dimension that no plate around it accounts for.

    Such a dimension is summed over as if its entries were independent, though nothing says that they are.

    Raises:
        ValueError: with the table of shapes as a note.
    """
    for site in trace.values():
        if site.type == "sample":
            try:
                _check_site(site)
            except ValueError as error:
                error.add_note(shape_table(trace.values()))
                raise


def _check_site(site: Site) -> None:
    known = [log_prob for log_prob in (site.log_prob, site.unscaled_log_prob) if log_prob is not None]
    shape = shape_of(known[0]) if known else _own_shape(site)  # the first is also as wide as the mask and the scale
    frames = {frame.dim: frame for frame in site.cond_indep_stack if frame.dim is not None}
    for dim, size in enumerate(shape, start=-len(shape)):
        frame = frames.get(dim)
        if frame is None and size > 1 and dim not in site.infer.get("_dim_to_name", ()):
            raise ValueError(_weight_too_wide(site, frames, dim) or _unclaimed(site, shape, frames))
        if frame is not None and frame.size != -1 and size not in (1, frame.size):
            raise ValueError(
                f'site "{site.name}": log_prob has shape {shape} but plate "{frame.name}" has size {frame.size} at '
                f"dim {dim}. Try parameters and values of size {frame.size} or 1 there."
            )


def _own_shape(site: Site) -> tuple[int, ...]:
    """The batch shape of the distribution and the value, whatever the mask and the scale."""
    event, shape = len(site.fn.event_shape), shape_of(site.value)
    return tuple(broadcast_shapes([site.fn.batch_shape, torch.Size(shape[: len(shape) - event])]))


def _size(shape: Sequence[int], dim: int) -> int:
    return shape[dim] if len(shape) >= -dim else 1


def _weight_too_wide(site: Site, frames: Mapping[int, Frame], dim: int) -> str | None:
    """The message where it is the mask or the scale that brought the dimension, and counts the site several times."""
    own = _own_shape(site)
    for what, shape in (("mask", shape_of(site.mask)), ("scale", shape_of(site.scale))):
        if _size(shape, dim) > 1 == _size(own, dim):
            inside = frames_text(tuple(frames.values())) or "no plate"
            return (
                f'site "{site.name}": the {what} has shape {shape} but the site has batch shape {own} inside {inside}, '
                f"so that it would count {shape[dim]} times. Try a plate around it:  "
                f'plate("{site.name}_plate", {shape[dim]}, dim={dim}).'
            )
    return None


def _unclaimed(site: Site, shape: tuple[int, ...], frames: Mapping[int, Frame]) -> str:
    plates = tuple(frames[dim].size if dim in frames else 1 for dim in range(min(frames, default=0), 0))
    event = next((k for k in range(1, len(shape) + 1) if _fits(shape[: len(shape) - k], frames)), len(shape))
    expand = f".expand({list(shape[len(shape) - event :])})" if len(site.fn.batch_shape) < event else ""
    what = "the last dimension" if event == 1 else f"the last {event} dimensions"
    free = next(dim for dim in range(-1, -len(shape) - 1, -1) if dim not in frames and shape[dim] > 1)
    better = f'make {what} part of the event:  sample("{site.name}", {call_text(site.fn)}{expand}.to_event({event})).'
    if hasattr(site.fn, "log_factor"):  # a factor has no events
        better = f'add up {what}:  factor("{site.name}", log_factor.sum({list(range(-event, 0))})).'
    return (
        f'site "{site.name}": log_prob has shape {shape} but the enclosing plates give {plates}. Either put it in a '
        f'plate:  plate("{site.name}_plate", {shape[free]}, dim={free}),\n    or {better}'
    )


def _fits(shape: Sequence[int], frames: Mapping[int, Frame]) -> bool:
    sizes = enumerate(shape, start=-len(shape))
    return all(size == 1 or (dim in frames and frames[dim].size in (-1, size)) for dim, size in sizes)

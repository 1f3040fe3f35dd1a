"""The words of our errors and tables: shapes, names, close matches, aligned columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from ppl.site import Frame, Site

__all__ = [
    "align",
    "call_text",
    "describe_site",
    "did_you_mean",
    "family",
    "frames_text",
    "listed",
    "number",
    "shape_of",
    "shape_table",
]


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a tensor or of whatever stands in for one."""
    return tuple(getattr(value, "shape", ()))


def family(fn: Any) -> str:
    """`Normal`, `Normal.to_event(1)`: the distribution as a reader would write it."""
    base, dims = getattr(fn, "base_dist", None), getattr(fn, "reinterpreted_batch_ndims", None)
    if base is not None and dims is not None:
        return f"{family(base)}.to_event({dims})"
    return type(fn).__name__.lstrip("_")


def call_text(fn: Any) -> str:
    """`Normal(...)`, `Normal(...).to_event(1)`: how the distribution is made, for advice to paste."""
    head, dot, rest = family(fn).partition(".")
    return f"{head}(...){dot}{rest}"


def listed(names: Iterable[str], limit: int = 20) -> str:
    """`mu, tau, theta`, cut short after `limit` names."""
    found = list(names)
    rest = f" and {len(found) - limit} more" if len(found) > limit else ""
    return (", ".join(found[:limit]) + rest) if found else "none"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean "theta"?`, or nothing when no name is close."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    return "; did you mean " + " or ".join(f'"{match}"' for match in close) + "?" if close else "."


def frames_text(frames: Sequence[Frame]) -> str:
    """`plate "data" (dim -1, size 8)` for each frame."""
    return ", ".join(
        f'plate "{frame.name}" ({"sequential" if frame.dim is None else f"dim {frame.dim}"}, size {frame.size})'
        for frame in frames
    )


def describe_site(site: Site) -> str:
    """One line that says which site this is and where it stands."""
    of = "" if site.type == "param" or site.fn is None else f", {family(site.fn)}"
    inside = f", inside {frames_text(site.cond_indep_stack)}" if site.cond_indep_stack else ""
    return f'site "{site.name}" ({site.type}{of}{inside})'


def number(value: Any) -> str:
    """A 0-dim tensor as a short number; `...` where its value cannot be read (vmap, fake tensors)."""
    if not isinstance(value, Tensor):
        return str(value)
    try:
        return f"{float(value.detach()):.5g}"
    except (RuntimeError, ValueError, TypeError):
        return "..."


def align(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines with their columns lined up; `sides` has one of `<` and `>` per column."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(sides))]
    lines = []
    for row in rows:
        cells = [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def _dims(shape: Iterable[int]) -> str:
    return " ".join(str(size) for size in shape)


def shape_table(sites: Iterable[Site]) -> str:
    """The shapes of `sites`, one row each, right-aligned as broadcasting aligns them; `|` splits batch from event."""
    rows = [("site", "dist", "value", "log_prob")]
    for site in sites:
        event = len(getattr(site.fn, "event_shape", ()))
        shape = shape_of(site.value)
        split = len(shape) - event
        dist = f"{_dims(site.fn.batch_shape)} | {_dims(site.fn.event_shape)}" if site.type == "sample" else "|"
        value = f"{_dims(shape[:split])} | {_dims(shape[split:])}"
        log_prob = "" if site.log_prob is None else f"{_dims(shape_of(site.log_prob))} |"
        rows.append((site.name, dist, value, log_prob))
    widest = [max((len(row[i].rpartition("|")[2]) for row in rows[1:]), default=0) for i in range(4)]
    padded = [rows[0]]  # pad the event side, so that the bars of a column stand under each other
    for row in rows[1:]:
        cells = [
            cell + " " * (widest[i] - len(cell.rpartition("|")[2])) if i and cell else cell
            for i, cell in enumerate(row)
        ]
        padded.append((cells[0], cells[1], cells[2], cells[3]))
    return "\n".join(align(padded, ">>>>"))

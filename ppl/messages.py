"""The words of our errors and tables: shapes, names, close matches, aligned columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl.site import Frame, Site


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a tensor or of whatever stands in for one."""
    return tuple(getattr(value, "shape", ()))


def family(fn: Any) -> str:
    """`Normal`, `Normal.to_event(1)`: the distribution as a reader would write it."""
    base, dims = getattr(fn, "base_dist", None), getattr(fn, "reinterpreted_batch_ndims", None)
    if base is not None and dims is not None:
        return f"{family(base)}.to_event({dims})"
    return type(fn).__name__.lstrip("_")


def kind(site: Site) -> str:
    """The type of the site, where a sample site is `latent` or `observed`."""
    return site.type if site.type != "sample" else "observed" if site.is_observed else "latent"


def cut(text: str, width: int) -> str:
    """`text` with its middle left out where it is longer than `width`: the ends of a name tell it from others."""
    keep = (width - 3) // 2
    return text if len(text) <= width else f"{text[: width - 3 - keep]}...{text[len(text) - keep :]}"


def call_text(fn: Any, inside: str = "...") -> str:
    """`Normal(...)`, `Normal(...).to_event(1)`: how the distribution is made, for advice to paste."""
    head, dot, rest = family(fn).partition(".")
    return f"{head}({inside}){dot}{rest}"


def listed(names: Iterable[str]) -> str:
    """`mu, tau, theta`, cut short after twenty names."""
    found = list(names)
    rest = f" and {len(found) - 20} more" if len(found) > 20 else ""
    return ", ".join(found[:20]) + rest or "none"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean "theta"?`, or nothing when no name is close."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    return "; did you mean " + " or ".join(f'"{match}"' for match in close) + "?" if close else "."


def size_text(frame: Frame) -> str:
    """`8`, or `2 of 8` for a minibatch."""
    return str(frame.size) if frame.size == frame.full_size else f"{frame.size} of {frame.full_size}"


def frames_text(frames: Sequence[Frame]) -> str:
    """`plate "data" (dim -1, size 8)` for each frame."""
    return ", ".join(
        f'plate "{frame.name}" ({"sequential" if frame.dim is None else f"dim {frame.dim}"}, size {size_text(frame)})'
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


def summary(value: Any, limit: int = 4) -> str:
    """A value in a few words: up to `limit` numbers, or the one they all are, or their mean, deviation and range."""
    if not isinstance(value, Tensor) or value.dim() == 0 or value.is_complex():
        return cut(number(value), 40)
    try:
        entries = value.detach().reshape(-1).to("cpu", torch.float64)
        finite = entries[entries.isfinite()]
        if len(entries) and bool((entries == entries[0]).all()):
            return number(entries[0])
        if len(entries) <= limit and value.dim() == 1:
            return f"[{', '.join(number(entry) for entry in entries)}]"
        rest = f", {len(entries) - len(finite)} not finite" if len(finite) < len(entries) else ""
        if len(finite) == 0:
            return f"{len(entries)} numbers{rest}"
        mean, deviation, low, high = finite.mean(), finite.std(correction=0), finite.min(), finite.max()
        return f"{mean:.3g} ± {deviation:.2g} in [{low:.3g}, {high:.3g}]{rest}"
    except (RuntimeError, ValueError, TypeError):
        return "..."


def align(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines with their columns lined up; `sides` has one of `<` and `>` per column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [[f"{cell:{side}{n}}" for cell, side, n in zip(row, sides, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in cells]


def dim_names(site: Site) -> tuple[str | None, ...]:
    """Who owns each batch dimension of the value or the distribution: a plate, an enumerated site, or nobody."""
    if site.type in ("plate", "subsample"):
        return (site.name,)
    batch, _ = _split(site)
    shape = max(batch, tuple(getattr(site.fn, "batch_shape", ())), shape_of(site.log_prob), key=len)
    sizes = dict(enumerate(shape, start=-len(shape)))
    owners: dict[int, str] = dict(site.infer.get("_dim_to_name") or {})
    for name, dim, size, _ in site.cond_indep_stack:
        if dim is not None and dim in sizes and (size == -1 or sizes[dim] in (1, size)):
            owners[dim] = name
    return tuple(map(owners.get, sizes))


def dims_text(site: Site) -> str:
    """`- data`: the same in words, with a dash for nobody."""
    return " ".join(owner or "-" for owner in dim_names(site))


def _split(site: Site) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of the value in two: batch and event."""
    given = (site.kwargs or {}).get("event_dim") or 0
    shape = shape_of(site.value)
    at = max(len(shape) - len(getattr(site.fn, "event_shape", ())) - given, 0)
    return shape[:at], shape[at:]


def _dims(shape: Iterable[int]) -> str:
    return " ".join(map(str, shape))


def _barred(shapes: Iterable[tuple[Iterable[int], Iterable[int]]]) -> list[str]:
    """`batch | event` for each, with the bars under each other where the cells are aligned right."""
    words = [(_dims(batch), _dims(event)) for batch, event in shapes]
    widest = max((len(event) for _, event in words), default=0)
    return [f"{batch} | {event:<{widest}}" for batch, event in words]


def shape_table(sites: Iterable[Site]) -> str:
    """The shapes of `sites`, one row each, right-aligned as broadcasting aligns them; `|` splits batch from event."""
    shown = list(sites)
    fns = [(site.fn.batch_shape, site.fn.event_shape) if site.type == "sample" else ((), ()) for site in shown]
    columns = [
        ["site", *(cut(site.name, 28) for site in shown)],
        ["dist", *_barred(fns)],
        ["value", *_barred(map(_split, shown))],
        ["log_prob", *("" if site.log_prob is None else f"{_dims(site.log_prob.shape)} |" for site in shown)],
        ["dims", *(cut(dims_text(site), 40) for site in shown)],
    ]
    return "\n".join(align(list(zip(*columns, strict=True)), ">>>><"))

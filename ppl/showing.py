"""A trace as a table: in a terminal, and in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from torch import Tensor

from ppl.messages import align, call_text, cut, dims_text, family, frames_text, kind, number, shape_of, summary
from ppl.site import Site

__all__ = ["SHOWN", "html", "law", "parts", "text"]

SHOWN = 24  # rows of a table in a terminal
_HTML_SHOWN = 200  # and in a notebook
_HTML_COLUMNS = ("site", "kind", "distribution", "plates", "dims", "shape", "value", "log p")


def text(sites: Mapping[str, Site]) -> str:
    """The sites with their kind, family, shape and log-probability, to fit a terminal."""
    rows = _elided([*sites.values()], _short_row, SHOWN)
    return "\n".join([_title(sites), *(f"  {line}" for line in (align(rows, "<<<<>") if rows else []))])


def html(sites: Mapping[str, Site]) -> str:
    """The sites with their distributions, plates and values, as an HTML table."""
    head = "".join(f"<th>{word}</th>" for word in _HTML_COLUMNS)
    rows = _elided([*sites.values()], _long_row, _HTML_SHOWN)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(_title(sites))}</caption><tr>{head}</tr>{body}</table>"


def law(fn: Any) -> str:
    """`Normal(loc=0, scale=[1, 2])`: a distribution with its parameters in short."""
    base = fn
    while getattr(base, "reinterpreted_batch_ndims", None) is not None:
        base = base.base_dist
    shown = (f"{name}={summary(value, 3)}" for name, value in parts(base) if isinstance(value, Tensor))
    return cut(call_text(fn, ", ".join(shown)), 120)


def parts(fn: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The parameters by name; those of a distribution or a transform inside as `base_dist.loc`, after its kind."""
    for name, value in vars(fn).items() if hasattr(fn, "__dict__") else ():
        items = enumerate(value) if isinstance(value, list | tuple) else [("", value)]
        for i, item in items if not name.startswith("_") else ():
            full = f"{prefix}{name}[{i}]" if i != "" else prefix + name
            if isinstance(item, Tensor | bool | int | float | str):
                yield full, item
            elif hasattr(item, "log_prob") or hasattr(item, "log_abs_det_jacobian"):
                yield full, family(item)
                yield from parts(item, f"{full}.")


def _title(sites: Mapping[str, Site]) -> str:
    terms = [site.log_prob_sum for site in sites.values() if site.type == "sample"]
    known = bool(terms) and all(term is not None for term in terms)
    total = f", log p = {number(sum(terms[1:], start=terms[0]))}" if known else ""
    return f"Trace: {len(sites)} site{'' if len(sites) == 1 else 's'}{total}"


def _elided(sites: Sequence[Site], row: Callable[[Site], tuple[str, ...]], limit: int) -> list[tuple[str, ...]]:
    if len(sites) <= limit:
        return [row(site) for site in sites]
    first, last = [row(site) for site in sites[: limit // 2]], [row(site) for site in sites[-(limit // 2) :]]
    return [*first, ("...", f"{len(sites) - 2 * (limit // 2)} more", *[""] * (len(first[0]) - 2)), *last]


def _short_row(site: Site) -> tuple[str, ...]:
    log_prob = "" if site.log_prob_sum is None else number(site.log_prob_sum)
    fn = cut(family(site.fn), 32) if site.type == "sample" else ""
    return cut(site.name, 28), kind(site), fn, cut(str(shape_of(site.value)), 24), log_prob


def _long_row(site: Site) -> tuple[str, ...]:
    name, of_kind, _, _, log_prob = _short_row(site)
    plates, fn = frames_text(site.cond_indep_stack), law(site.fn) if site.type == "sample" else ""
    return name, of_kind, fn, plates, dims_text(site), str(shape_of(site.value)), summary(site.value), log_prob

"""Whether a program keeps the rows of a site apart."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.provenance import parents
from ppl.runtime import Site

__all__ = ["check_rows"]


def check_rows(sites: Sequence[Site]) -> None:
    """Raise if a site depends on another that was drawn in rows, and has not their dimension.

    Args:
        sites: those of a run under `ppl.handlers.track`.

    Raises:
        ValueError: the program has merged the rows, as `z.sum()` does.
    """
    rows = {site.name: site for site in sites if "_enumerate_dim" in site.infer}
    for site in sites:
        if site.type == "sample":
            for name in sorted(parents(site) & rows.keys()):
                _check(site, rows[name])


def _check(site: Site, drawn: Site) -> None:
    dim = drawn.infer["_enumerate_dim"]
    if _size(drawn, dim) == 1 or _size(site, dim) > 1:
        return
    raise ValueError(
        f'site "{site.name}": it depends on site "{drawn.name}", which is drawn in rows along dim {dim}; expected a '
        f"batch dimension there, got batch shape {tuple(site.fn.batch_shape)}: the program merges the rows, as z.sum() "
        f"does. Try dimensions counted from the right, as z.sum(-1), or "
        f'infer={{"estimator": "score"}} at "{drawn.name}".'
    )


def _size(site: Site, dim: int) -> int:
    """How many rows the law or the value of a site has along a batch dimension."""
    batch, value = site.fn.batch_shape, site.value.shape[: site.value.dim() - len(site.fn.event_shape)]
    return max(shape[dim] if len(shape) >= -dim else 1 for shape in (batch, value))

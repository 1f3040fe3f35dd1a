"""Keep sites from the handlers further out."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ppl.runtime import Handler, Site

__all__ = ["block"]


class block(Handler):
    """Hide sites from the handlers outside; with no arguments, all of them.

    A hidden site is run as if the outer handlers, plates included, were not there. Kinds of site are
    "sample", "observe", "param", "deterministic", "plate" and "subsample"; an observed sample site counts as "observe".

    Args:
        fn: the model.
        hide_fn: takes a site and says whether to hide it; it decides alone.
        expose_fn: the opposite of `hide_fn`.
        hide: names to hide.
        expose: names to show; all others are hidden.
        hide_types: kinds of site to hide.
        expose_types: kinds of site to show; all others are hidden.

    Raises:
        ValueError: if arguments contradict each other.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        hide_fn: Callable[[Site], bool] | None = None,
        expose_fn: Callable[[Site], bool] | None = None,
        hide: Collection[str] | None = None,
        expose: Collection[str] | None = None,
        hide_types: Collection[str] | None = None,
        expose_types: Collection[str] | None = None,
    ) -> None:
        super().__init__(fn)
        if hide_fn is not None and expose_fn is not None:
            raise ValueError("block: expected one of hide_fn and expose_fn, got both. Try hide_fn alone.")
        for of, first, second in (("", hide, expose), ("_types", hide_types, expose_types)):
            if both := {*(first or ())} & {*(second or ())}:
                better = f"Try leaving it out of hide{of}."
                raise ValueError(f'block: hide{of} and expose{of} both hold "{min(both)}". {better}')
        self._hide_fn, self._expose_fn = hide_fn, expose_fn
        self._hidden = ({*(hide or ())}, {*(hide_types or ())})
        self._shown = ({*(expose or ())}, {*(expose_types or ())})
        # naming what to show hides the rest, and so does naming nothing at all
        self._hide_rest = expose is not None or expose_types is not None or (hide is None and hide_types is None)

    def process(self, site: Site) -> None:
        kind = "observe" if site.type == "sample" and site.is_observed else site.type
        if self._hide_fn is not None:
            site.stop = bool(self._hide_fn(site))
        elif self._expose_fn is not None:
            site.stop = not self._expose_fn(site)
        else:
            hidden = site.name in self._hidden[0] or kind in self._hidden[1]
            shown = site.name in self._shown[0] or kind in self._shown[1]
            site.stop = hidden or (self._hide_rest and not shown)

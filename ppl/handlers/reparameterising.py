"""Draw sites another way, with the same law."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ppl.handlers.fixing import _Fixing
from ppl.runtime import Site

__all__ = ["reparam"]

Config = Mapping[str, Any] | Callable[[Site], Any]


class reparam(_Fixing):
    """Replace sites by auxiliary sites, from which their value is computed; the law of the model stays the same.

    The auxiliary sites are sites like any other, for all handlers and plates around; a reparameterised site goes on
    as a deterministic one, or as a sample site with another distribution. A latent site that a handler further in has
    given a value, or has reparameterised, stays as it is. `inference.reparam` has the reparameterisers.

    Args:
        fn: the model.
        config: reparameterisers by site name, which may be that of an auxiliary site; or a function from a site to
            one or to None, such as `AutoReparam()`. The function is not asked about sites with
            `infer={"reparam": False}`.

    Raises:
        ValueError: after the run, if a name in `config` is not a sample site of the model.
    """

    argument, example = "config", "(model, config=AutoReparam())"

    def __init__(self, fn: Callable[..., Any] | None = None, config: Config | None = None) -> None:
        super().__init__(fn, {} if callable(config) else config)
        self.choose = config if callable(config) else None

    def process(self, site: Site) -> None:
        if self.choose is None:
            super().process(site)
        elif site.type == "sample" and site.infer.get("reparam", True):
            self.fix(site, self.choose(site))

    def accepts(self, site: Site) -> bool:
        return site.type == "sample" or "intervened" in site.infer or "reparam" in site.infer

    def fix(self, site: Site, value: Any) -> None:
        if value is None or (site.value is not None and not site.is_observed):
            return
        found = value(site.name, site.fn, site.value)
        if isinstance(found, Tensor):
            site.kwargs, site.infer = {"event_dim": len(site.fn.event_shape)}, {**site.infer, "reparam": False}
            site.type, site.value, site.is_observed = "deterministic", found, False
        else:
            site.fn = found

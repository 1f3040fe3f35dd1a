"""Amend sites on their way out: their names, the advice they carry, the batch shape of their distributions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ppl.plate import widen
from ppl.runtime import Handler, Run, Site, current

__all__ = ["broadcast", "infer_config", "scope"]


class scope(Handler):
    """Put `prefix` and `divider` before the names of the sites inside, so that one model can be used twice in another.

    Plates inside are renamed too, and their minibatches are their own. Scopes nest: the outer prefix comes first.
    Handlers inside go by the short names, handlers outside by the full ones.

    Args:
        fn: the model.
        prefix: what to put before the names; empty, the names stay as they are.
        divider: what to put between.
        hide_types: types of site to leave as they are; "plate" stands for plates and their minibatches.

    >>> import ppl_dist as dist
    >>> from ppl import handlers, sample
    >>> with handlers.trace() as tr, scope(prefix="a"), scope(prefix="b", divider="."):
    ...     _ = sample("x", dist.Normal(0.0, 1.0))
    >>> list(tr)
    ['a/b.x']
    """

    def __init__(
        self, fn: Any = None, prefix: str = "", divider: str = "/", *, hide_types: Collection[str] = ()
    ) -> None:
        super().__init__(fn)
        self.head, self.hidden = f"{prefix}{divider}" if prefix else "", frozenset(hide_types)

    def __enter__(self) -> Any:
        run, stack = super().__enter__(), current()
        if stack is not None and stack.run is not None and "plate" not in self.hidden:
            # plates remember indices by their short names: give them a memory of their own, inside that of the run
            stack.run = stack.run.plates.setdefault(self.head, Run())
        return run

    def process(self, site: Site) -> None:
        if ("plate" if site.type == "subsample" else site.type) not in self.hidden:
            site.name = self.head + site.name
        if "plate" not in self.hidden:
            site.cond_indep_stack = tuple(f._replace(name=self.head + f.name) for f in site.cond_indep_stack)


class infer_config(Handler):
    """Give sample sites and parameters advice to inference, over what they carry already.

    Args:
        fn: the model.
        config_fn: takes a site and gives the entries to put into its `infer`.

    >>> import ppl_dist as dist
    >>> from ppl import handlers, sample
    >>> with handlers.trace() as tr, infer_config(config_fn=lambda site: {"enumerate": "parallel"}):
    ...     _ = sample("x", dist.Bernoulli(0.5))
    >>> tr["x"].infer
    {'enumerate': 'parallel'}
    """

    def __init__(
        self, fn: Callable[..., Any] | None = None, config_fn: Callable[[Site], Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__(fn)
        if config_fn is None:
            raise TypeError(
                'infer_config: expected a function of a site, got None. Try config_fn=lambda site: {"a": 1}.'
            )
        self.config_fn = config_fn

    def process(self, site: Site) -> None:
        if site.type == "sample" or site.type == "param":
            site.infer = {**site.infer, **self.config_fn(site)}


class broadcast(Handler):
    """Expand the distributions of sample sites to the plates around them.

    Our plates do so themselves; this is for sites whose frames come from a handler of one's own.

    Args:
        fn: the model.
    """

    def process(self, site: Site) -> None:
        if site.type == "sample":
            for frame in site.cond_indep_stack:
                if frame.dim is not None:
                    widen(site, frame, frame.dim)

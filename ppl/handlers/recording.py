"""Record a run, and run again with what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from ppl.blame import annotate
from ppl.runtime import Handler, Site
from ppl.trace import Trace

__all__ = ["replay", "trace"]


class trace(Handler):
    """Record every site of a run. Each run gets a `Trace` of its own.

    Args:
        fn: the model.

    Raises:
        ValueError: while running, if two sites have the same name.

    >>> import ppl_dist as dist
    >>> from ppl import sample
    >>> with trace() as tr:
    ...     _ = sample("x", dist.Normal(0.0, 1.0), obs=0.5)
    >>> tr
    Trace: 1 site
      x  observed  Normal  ()
    """

    starts_run = True

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        super().__init__(fn)
        self.trace = Trace()  # of the latest direct call; kept by nothing else, so that its memory is free at once
        self._nodes = self.trace.nodes

    def begin(self) -> Self:
        return type(self)()

    def __enter__(self) -> Trace:
        run: trace = super().__enter__()
        return run.trace

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            return self._bind(*args, **kwargs)
        with self as self.trace:
            return self.fn(*args, **kwargs)

    def finish(self, site: Site) -> None:
        if self._nodes.setdefault(site.name, site) is not site:
            self.trace.add(site)

    def end(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            annotate(error)
        noted = any(note.startswith("sites so far") for note in getattr(error, "__notes__", ()))
        if isinstance(error, Exception) and self._nodes and not noted:
            error.add_note(self.trace.note())

    def get_trace(self, *args: Any, **kwargs: Any) -> Trace:
        """Run the model on these arguments and give the trace."""
        if self.fn is None:
            raise RuntimeError("trace: get_trace needs a model, got none. Try trace(model).get_trace(...).")
        with self as recorded:
            self.fn(*args, **kwargs)
        return recorded


class replay(Handler):
    """Give latent sites and minibatches the values they have in `trace`; sites it lacks are drawn as usual.

    Args:
        fn: the model.
        trace: the trace of another run, usually of a guide. Its observed sites are not replayed.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, trace: Mapping[str, Site] | None = None) -> None:
        super().__init__(fn)
        if trace is None:
            raise TypeError("replay: expected a trace to replay, got None. Try replay(model, trace=tr).")
        self.trace = trace

    def process(self, site: Site) -> None:
        if site.is_observed or (site.type != "sample" and site.type != "subsample"):
            return
        earlier = self.trace.get(site.name)
        if earlier is None or (earlier.is_observed and site.type == "sample"):
            return
        if earlier.type != site.type:
            raise ValueError(
                f'replay: site "{site.name}" is a {site.type} site here but a {earlier.type} site in the trace. '
                f"Try another name for one of them."
            )
        site.value = earlier.value
        if "_enumerate_dim" in earlier.infer:  # the value has a dimension that `enum` must know of
            site.infer = {**site.infer, "_enumerate_dim": earlier.infer["_enumerate_dim"]}

"""Leave a run at a site, and explore the runs of a model one choice at a time."""

from __future__ import annotations

import copy
import itertools
import queue as queues
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import torch

from ppl.handlers.recording import replay, trace
from ppl.runtime import Handler, Site, enclosing, pop
from ppl.trace import Trace
from ppl_dist.samplers import draw

__all__ = ["NonlocalExit", "escape", "queue"]


class NonlocalExit(BaseException):
    """What `escape` raises to leave a run. It is no error, and `except Exception` in a model does not stop it.

    Attributes:
        site: the site at which the run was left; it has no value yet.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site.name)
        self.site = site


class escape(Handler):
    """Leave the run, by a `NonlocalExit`, at the first sample site for which `escape_fn` is true.

    Args:
        fn: the model.
        escape_fn: takes a site and says whether to leave there.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, escape_fn: Callable[[Site], bool] | None = None) -> None:
        super().__init__(fn)
        if escape_fn is None:
            raise TypeError(
                'escape: expected a function of a site, got None. Try escape_fn=lambda site: site.name == "x".'
            )
        self.escape_fn = escape_fn

    def process(self, site: Site) -> None:
        if site.type == "sample" and self.escape_fn(site):
            raise NonlocalExit(site)


class queue(Handler):
    """Run a model from the partial traces in a queue, until a run is complete.

    A try takes a partial trace from the queue and replays it. At the first site for which `escape_fn` is true the try
    is given up, and every extension of the trace by a value of that site goes into the queue. Called until the queue
    is empty, a model runs once for each setting of its discrete sites. The kind of queue is the order of the search:
    `Queue` goes breadth first, `LifoQueue` depth first.

    As a wrapper it tries until a run is complete and gives its result; a `trace` around it holds that run alone. As a
    context manager it is one try, and what follows the `with` is reached when the try is given up too.

    Args:
        fn: the model.
        queue: a `queue.Queue` of traces; `queue.put(Trace())` to begin with.
        max_tries: how many tries to make; None for no limit.
        extend_fn: takes a trace, a site and `num_samples`, and gives the extended traces. By default one for each value
            that the site can have; in a plate, for each combination of values of its entries.
        escape_fn: takes the partial trace and a site, and says whether to give up there. By default, where a latent
            site that the trace lacks has a support that can be listed.
        num_samples: extend by so many draws instead of the whole support.

    Raises:
        RuntimeError: the queue is empty, or no run was complete after `max_tries` tries.

    >>> import ppl_dist as dist
    >>> from ppl import sample
    >>> traces = queues.Queue()
    >>> traces.put(Trace())
    >>> model = queue(lambda: sample("x", dist.Bernoulli(0.3)).item(), queue=traces)
    >>> model(), model(), traces.empty()
    (0.0, 1.0, True)
    """

    starts_run = True  # each try draws minibatches of its own
    left_at: Site | None = None  # where the try was given up

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        queue: queues.Queue[Trace] | None = None,
        max_tries: int | None = None,
        extend_fn: Callable[[Trace, Site, int | None], Iterable[Trace]] | None = None,
        escape_fn: Callable[[Trace, Site], bool] | None = None,
        num_samples: int | None = None,
    ) -> None:
        super().__init__(fn)
        if queue is None:
            raise TypeError("queue: expected a queue of traces, got None. Try queue(model, queue=Queue()).")
        self.queue, self.max_tries, self.num_samples = queue, max_tries, num_samples
        self.extend_fn, self.escape_fn = extend_fn or _extensions, escape_fn or _is_new_and_discrete
        self.partial, self.met = Trace(), Trace()  # what a try replays, and the sites it has met

    def begin(self) -> Self:
        if self.queue.empty():
            raise RuntimeError("queue: expected a partial trace to go on from, got an empty queue. Try put(Trace()).")
        run = copy.copy(self)
        run.partial, run.met = self.queue.get_nowait(), Trace()
        return run

    def process(self, site: Site) -> None:
        replay(trace=self.partial).process(site)
        if site.type == "sample" and self.escape_fn(self.partial, site):
            self.left_at = site
            raise NonlocalExit(site)
        self.met.nodes[site.name] = site

    def __exit__(self, *raised: Any) -> bool:
        node, error = pop(self), raised[1]
        run: Any = node and node.handler
        if not isinstance(error, NonlocalExit) or run is None or error.site is not run.left_at:
            return False
        for extended in self.extend_fn(run.met, error.site, self.num_samples):
            self.queue.put(extended)
        _forget(run.met)
        return True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            return self._bind(*args, **kwargs)
        for _ in itertools.count() if self.max_tries is None else range(self.max_tries):
            with self:
                return self.fn(*args, **kwargs)
        raise RuntimeError(f"queue: expected a complete run in {self.max_tries} tries, got none. Try max_tries=None.")


def _is_new_and_discrete(partial: Trace, site: Site) -> bool:
    return site.value is None and bool(getattr(site.fn, "has_enumerate_support", False))


def _extensions(partial: Trace, site: Site, num_samples: int | None) -> Iterator[Trace]:
    values = (
        _choices(site.fn)
        if num_samples is None
        else (draw(site.fn, torch.Size(), site.generator) for _ in range(num_samples))
    )
    for value in values:
        chosen = site.copy()
        chosen.value = value
        yield Trace({**partial.nodes, site.name: chosen})


def _choices(fn: Any) -> Iterator[Any]:
    """Every value of a whole batch: |support| ** |batch| of them."""
    support = fn.enumerate_support(expand=True)
    entries = torch.arange(fn.batch_shape.numel())
    flat = support.reshape(len(support), len(entries), *fn.event_shape)
    for choice in itertools.product(range(len(support)), repeat=len(entries)):
        yield flat[torch.tensor(choice, dtype=torch.long), entries].reshape(support.shape[1:])


def _forget(met: Trace) -> None:
    """Take the sites of a try that was given up out of the traces further out."""
    for recording in enclosing(trace):
        nodes = recording.trace.nodes
        for site in met.values():
            if nodes.get(site.name) is site:
                del nodes[site.name]

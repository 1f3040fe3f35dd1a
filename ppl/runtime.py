"""The mechanism: a message (`Site`), what acts on it (`Handler`), and the way through (`emit`).

A primitive such as `sample` builds a `Site` and emits it. The innermost handler sees it first: each
`process` may edit the site before it has a value, and may set `stop` to keep it from the handlers further
out. Then the site is given a value, and each `finish`, outermost first, sees the final row.

The stack of active handlers is an immutable linked list in a `ContextVar`. It belongs to the context, so
that threads and tasks do not see each other's handlers, and restoring it is one assignment.
"""

from __future__ import annotations

import copy
import inspect
import types
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ClassVar, Self

from ppl.drawing import draw, draw_as_asked
from ppl.messages import describe_site
from ppl.site import Frame, Site

__all__ = ["Frame", "Handler", "Site", "Stack", "current", "emit", "pop", "push"]


Steps = tuple[tuple[Callable[[Site], None], int], ...]


class Handler:
    """Base of every handler: override `process`, `finish` or both, and nothing else is needed.

    A handler is used three ways: `replay(model, trace=tr)(x)`, `with replay(trace=tr):` and `@replay(trace=tr)`.
    One whose runs have state overrides `begin` to return a fresh copy, so that one object can serve nested
    runs and several threads.
    """

    fn: Callable[..., Any] | None = None  # the model
    frame: Frame | None = None  # the plate this handler stands for
    starts_run: ClassVar[bool] = False  # whether entering it begins a new run of a model
    _steps: ClassVar[tuple[bool, bool]] = (False, False)  # which of process and finish the class overrides

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        if fn is None:
            return
        model: Any = fn
        if not callable(model):
            kind = type(self).__name__
            argument = list(inspect.signature(type(self)).parameters)[-1]
            raise TypeError(
                f"{kind}: the first argument is the model and must be callable, got {type(fn).__name__}. "
                f"Try {kind}({argument}=...)."
            )
        self.fn = fn
        self.__wrapped__ = fn  # what `inspect` reads; the other attributes of `fn` are not copied
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._steps = (cls.process is not Handler.process, cls.finish is not Handler.finish)

    def process(self, site: Site) -> None:
        """On the way out: edit the site before it has a value."""

    def finish(self, site: Site) -> None:
        """On the way back: the value is final; record it."""

    def begin(self) -> Self:
        """The handler that goes on the stack for one run: itself, if its runs have no state."""
        return self

    def end(self, error: BaseException | None) -> None:
        """Called after the run; `error` is what ended it early, if anything did."""

    def __enter__(self) -> Any:
        run = self.begin()
        push(run, owner=self)
        return run

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        node = pop(self)
        if node is not None:
            node.handler.end(error)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            return self._bind(*args, **kwargs)
        with self:
            return self.fn(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """A method that was decorated is called on its object, as any method."""
        return self if instance is None or self.fn is None else types.MethodType(self, instance)

    def _bind(self, fn: Callable[..., Any]) -> Self:
        new = copy.copy(self)
        Handler.__init__(new, fn)
        return new


class Run:
    """What the plates of one run of a model share: the indices drawn so far, by plate name."""

    __slots__ = ("plates",)

    def __init__(self) -> None:
        self.plates: dict[str, Any] = {}


class Stack:
    """One entry of the stack, with everything `emit` needs computed when it was pushed."""

    __slots__ = ("depth", "finishes", "frames", "handler", "owner", "parent", "processes", "run")

    def __init__(self, parent: Stack | None, handler: Handler, owner: object) -> None:
        self.parent, self.handler, self.owner = parent, handler, owner
        processes, finishes = handler._steps
        self.depth: int = 0 if parent is None else parent.depth + 1
        # each step with its depth; those on the way out innermost first, those on the way back outermost first
        self.processes: Steps = ((handler.process, self.depth),) if processes else ()
        self.finishes: Steps = ((handler.finish, self.depth),) if finishes else ()
        self.frames: tuple[Frame, ...] = () if handler.frame is None else (handler.frame,)  # outermost first
        self.run: Run | None = Run() if handler.starts_run else None
        if parent is not None:
            self.processes += parent.processes
            self.finishes = parent.finishes + self.finishes
            self.frames = parent.frames + self.frames
            self.run = self.run or parent.run


_STACK: ContextVar[Stack | None] = ContextVar("ppl_stack", default=None)
current = _STACK.get


def push(handler: Handler, owner: object) -> Stack:
    """Make `handler` the innermost one; `owner` is the key by which `pop` finds it."""
    node = Stack(_STACK.get(), handler, owner)
    _STACK.set(node)
    return node


def pop(owner: object) -> Stack | None:
    """Drop the innermost entry of `owner` and all that was left above it; None if it is not on the stack."""
    node = _STACK.get()
    while node is not None and node.owner is not owner:
        node = node.parent
    if node is not None:
        _STACK.set(node.parent)
    return node


def emit(site: Site) -> Site:
    """Send `site` through the stack: out through the handlers, a value, and back."""
    stack = _STACK.get()
    finishes: Steps = ()
    try:
        if stack is not None:
            finishes = stack.finishes
            for process, depth in stack.processes:
                process(site)
                if site.stop:
                    finishes = tuple(step for step in finishes if step[1] >= depth)
                    break
        if site.value is None:
            if site.type == "param":
                site.value = site.fn(site.name, *site.args, **(site.kwargs or {}))
            elif site.infer or site.scored or site.generator is not None:
                draw_as_asked(site)
            else:
                site.value = draw(site.name, site.fn)
        for finish, _ in finishes:
            finish(site)
    except Exception as error:
        error.add_note(f"while at {describe_site(site)}")
        raise
    return site

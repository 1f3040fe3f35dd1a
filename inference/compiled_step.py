"""The step of `SVI` as machine code: one graph per shape of the data, found again when the shape comes back.

A graph moves the leaves, the optimiser's state and the running baselines in place. A run whose loss is not finite
leaves no mark, so that the same step can be run again with checks.
"""

from __future__ import annotations

import ctypes
import warnings
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import is_, is_not
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ppl_dist.tree import flattened

from .baselines import Baselines
from .compile import Bound, hooked, redrawn
from .moving import Option, numbers
from .recorded_step import Call, LossOf, Plan, Stepping, facts_of, fixed, state_of, update_of
from .untraceable import Untraceable, outside

__all__ = ["CompiledStep", "CompiledSteps"]

KEPT = 8
"""How many graphs one SVI keeps; the one that was not used for longest goes first."""

PYTHON_CALL = 2e-5
"""Seconds that a graph costs that is called through Python, beside its work."""

_PLAIN = bool | int | float | str | None


@dataclass
class CompiledStep:
    """One compiled step, as one may look at it.

    Attributes:
        shapes: of the tensors among the arguments it is for.
        operations: how many operations were recorded.
        seconds: how long recording and compiling took.
        plan: the graph, and where its inputs come from.
        calls: how often it was used.
    """

    shapes: tuple[tuple[int, ...], ...]
    operations: int
    seconds: float
    plan: Plan = field(repr=False)
    calls: int = 0


class CompiledSteps:
    """The graphs of one SVI.

    Args:
        loss_of: the loss on parameters, baselines and arguments.
        as_eager: draw the numbers that the eager step draws.
    """

    def __init__(self, loss_of: LossOf, *, as_eager: bool) -> None:
        self._loss_of, self._as_eager = loss_of, as_eager
        self.known: OrderedDict[Hashable, CompiledStep | None] = OrderedDict()
        self.reasons: list[str] = []
        self._compilations = 0
        self._seen: dict[Any, float] = {}  # numbers among options and arguments, as they were last
        self._inputs: set[Any] = set()  # those that have changed, and are inputs of the graphs from then on
        self._last: _Ready | None = None

    def run(
        self, owned: Stepping, args: Sequence[Any], kwargs: Mapping[str, Any], times: int = 1, unroll: int = 1
    ) -> list[float] | None:
        """Take up to `times` steps; the losses (nats), of which the last is the only one that may not be finite.

        None where the step has no graph, and has to be run as it is.
        """
        ready = self._prepared(owned, args, kwargs)
        return None if ready is None else ready.run(times, unroll)

    def prepare(self, owned: Stepping, args: Sequence[Any], kwargs: Mapping[str, Any]) -> CompiledStep | None:
        """The step for these arguments, compiled if it has not been yet; None where it has no graph."""
        ready = self._prepared(owned, args, kwargs)
        return None if ready is None else ready.step

    @contextmanager
    def same_draws(self) -> Iterator[None]:
        """What is drawn inside is what the step that was run last has drawn."""
        ready = self._last
        assert ready is not None
        with ready.draws_from_torch(), redrawn(ready.plan.graph, ready.inputs):
            yield

    def unroll(self, num_steps: int) -> int:
        """How many steps one graph should hold for a run of so many: as many as save more time than compiling takes."""
        ready = self._last
        if ready is None or ready.alone or ready.plan.kernel(1).entry is not None:
            return 1  # machine code is called in a loop without Python, and larger graphs save nothing
        saved = PYTHON_CALL * num_steps
        worth = [k for k in (2, 5, 10) if (k - 1) * ready.step.seconds < saved * (1 - 1 / k)]
        return max(worth, default=1)

    def _prepared(self, owned: Stepping, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Ready | None:
        last = self._last
        if last is None or not last.fits(owned, args, kwargs):
            self._last = self._find(owned, args, kwargs)
        return self._last

    def _find(self, owned: Stepping, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Ready | None:
        leaves, structure = flattened((tuple(args), dict(kwargs)))
        options = numbers(update_of(owned))
        self._note({**options, **{place: each for place, each in enumerate(leaves) if type(each) is float}})
        if update_of(owned).scheduler is not None:
            self._inputs |= {option for option in options if option.name == "lr"}
        call = Call(leaves, structure, self._inputs)
        key = (call.key, facts_of(owned), tuple(fixed(options, self._inputs).items()))
        kept = self.known.get(key)
        if key in self.known and (kept is None or kept.plan.graph.stands):
            self.known.move_to_end(key)
        else:
            self.known[key] = self._compile(owned, call)
            while len(self.known) > KEPT:
                self.known.popitem(last=False)
        step, last = self.known[key], self._last
        if step is None:
            return None
        if last is not None and last.step is step and last.stands(owned):
            return last.with_arguments(args, kwargs, call)
        return _Ready(step, owned, args, kwargs, call)

    def _note(self, now: dict[Any, float]) -> None:
        """Numbers that have changed since they were last seen become inputs."""
        self._inputs |= {name for name, value in now.items() if self._seen.get(name, value) != value}
        self._seen = now

    def _compile(self, owned: Stepping, call: Call) -> CompiledStep | None:
        start = perf_counter()
        self._compilations += 1
        try:
            if self._compilations > 4 * KEPT:
                raise Untraceable("the arguments have had more shapes than graphs are kept for.")
            plan = Plan(owned, call, self._inputs, self._loss_of, as_eager=self._as_eager)
            plan.kernel(1)
        except Untraceable as error:
            self._tell(str(error))
            return None
        shapes = tuple(tuple(each.shape) for each in call.tensors)
        return CompiledStep(shapes, plan.graph.operations, perf_counter() - start, plan)

    def _tell(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)
            warnings.warn(f"SVI: this step cannot be compiled and runs eagerly: {reason}", stacklevel=outside())


class _Ready:
    """A compiled step bound to the tensors it works on."""

    def __init__(
        self, step: CompiledStep, owned: Stepping, args: Sequence[Any], kwargs: Mapping[str, Any], call: Call
    ) -> None:
        self.step, self.plan, self.owned = step, step.plan, owned
        self.update, self.leaves = update_of(owned), list(owned.params.leaves.values())
        for leaf in self.leaves:
            leaf.grad = None  # of the eager step before; those of the graph are gone when it ends
        averages = {name: owned.baselines.averages[name].clone() for name in self.plan.sites}
        self.baselines = owned.baselines = Baselines(averages)
        state = state_of(owned)
        self.counter = torch.zeros((), dtype=torch.int64)
        self.options = torch.zeros(len(self.plan.options), dtype=torch.float64)
        self._first_data = 1 + len(state) + len(self.plan.options)
        self._fixed = [self.counter, *state, *self.options.unbind()]
        self._bound: dict[int, Bound] = {}
        self.data: list[Tensor] = []
        self._groups = self.update.optimizer.param_groups
        self._as_told, self._told = [dict(group) for group in self._groups], self._recorded()
        self.with_arguments(args, kwargs, call)

    def with_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any], call: Call) -> _Ready:
        """The same on other arguments of the same shapes."""
        self.args, self.kwargs, data = tuple(args), dict(kwargs), call.data
        for bound in self._bound.values():
            for place, (old, new) in enumerate(zip(self.data, data, strict=True), self._first_data):
                if new is not old:
                    bound.put(place, new)
        self.data = data
        # an argument that holds others may hold new ones the next time, so it has to be taken apart again
        self._plain = all(isinstance(each, Tensor | _PLAIN) for each in (*self.args, *self.kwargs.values()))
        self._kernel(1).moved()
        return self

    def stands(self, owned: Stepping) -> bool:
        """Whether all that a step moves is where it was when this was bound."""
        return (
            owned is self.owned
            and owned.optimizer is self.update
            and owned.baselines is self.baselines
            and not any(map(is_not, owned.params.leaves.values(), self.leaves))
            and len(owned.params) == len(self.leaves)
        )

    def fits(self, owned: Stepping, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether the step with these arguments is this one."""
        return (
            self._plain
            and self.stands(owned)
            and len(args) == len(self.args)
            and all(map(is_, args, self.args))
            and kwargs.keys() == self.kwargs.keys()
            and all(map(is_, kwargs.values(), self.kwargs.values()))
            # `x.data = y` and `net.double()` put other memory, of another layout, behind the same tensor
            and not self._kernel(1).moved()
            and not self.plan.graph.switched
            and not any(map(hooked, self.leaves))
            # where nothing at all has changed, the first look is enough, and takes no time
            and (self._groups == self._as_told or self._told == self._recorded())
        )

    def _recorded(self) -> dict[Option, float]:
        """The numbers of the optimiser that are part of the graph."""
        return fixed(numbers(self.update), self.plan.options)

    def run(self, times: int, unroll: int) -> list[float]:
        """Take steps until all are done or a loss is not finite."""
        if not self.alone:
            return self._run(times, unroll)
        losses: list[float] = []
        for _ in range(times):
            with self.draws_from_torch():
                losses += self._run(1, 1)
            if losses[-1] - losses[-1] != 0:
                break
            self.update.advance(losses[-1])
        return losses

    @property
    def alone(self) -> bool:
        """Whether Python has something to do between two steps."""
        return self.update.scheduler is not None or self.plan.draws_elsewhere

    @property
    def inputs(self) -> list[Tensor]:
        """What a run works on."""
        return [*self._fixed, *self.data, *self.plan.graph.lifted]

    def _run(self, times: int, unroll: int) -> list[float]:
        losses = (ctypes.c_double * times)()
        done = 0
        self._set_numbers()
        for size in (unroll, 1):
            while times - done >= size:
                # one call for all that is left, in graphs of `size` steps
                runs = (times - done) // size
                rest = (ctypes.c_double * (times - done)).from_buffer(losses, 8 * done)
                taken = self._kernel(size).run(runs, size, rest)
                done += taken * size
                if taken < runs:
                    return self._ended(losses)
        return self._ended(losses)

    def _ended(self, losses: Any) -> list[float]:
        """The finite losses, and the first that is not; a graph of several steps may have taken some before it."""
        found: list[float] = losses[:]
        bad = next((place for place, loss in enumerate(found) if loss - loss != 0), None)
        if bad is not None:
            del found[bad + 1 :]
        self.owned.step += len(found) - (bad is not None)
        self.step.calls += len(found)
        return found

    def _kernel(self, unroll: int) -> Bound:
        if unroll not in self._bound:
            kernel = self.plan.kernel(unroll)
            self._bound[unroll] = kernel.bound(self.inputs)
        return self._bound[unroll]

    def _set_numbers(self) -> None:
        self.counter.fill_(counter(self.owned.seed, self.owned.step))
        if self.plan.options:
            now = numbers(self.update)
            self.options.copy_(torch.tensor([now[option] for option in self.plan.options], dtype=torch.float64))

    @contextmanager
    def draws_from_torch(self) -> Iterator[None]:
        """What is drawn from torch's global generator inside is that of this step; the generator is put back."""
        if not self.plan.draws_elsewhere:
            yield
            return
        before = torch.default_generator.get_state()
        torch.default_generator.set_state(self.owned.generator().get_state())
        try:
            yield
        finally:
            torch.default_generator.set_state(before)


def counter(seed: int, step: int) -> int:
    """Where the draws of a step begin: another place for each seed below 2^31 and each step below 2^32."""
    return (seed % 2**31) << 32 | step

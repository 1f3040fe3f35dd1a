"""Stochastic variational inference: move the parameters of model and guide along the gradient of a bound.

One step is a function of explicit state: parameters, optimiser state, baselines, and two integers that stand
for all randomness. `init` and `update` are that function, pure. `step` and `run` apply the same function to
state that the object owns, in place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from operator import is_not
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor

import ppl
from ppl import ParamStore, handlers
from ppl_dist import validating

from .baselines import Baselines
from .compiled_step import CompiledStep, CompiledSteps
from .elbo import ELBO, Trace_ELBO
from .in_use import estimators_in_use, note, watch
from .nonfinite import explain_nonfinite
from .optim import OptimFactory, Update, build, rebuild
from .progress import progress_bar

__all__ = ["SVI", "SVIRun", "SVIState"]

Program = Callable[..., Any]
Compile = bool | Literal["eager draws"]
SHOWN = 0.05  # seconds of compiled steps between two looks at the progress bar


@dataclass(frozen=True)
class SVIState:
    """Everything one step needs and changes.

    Attributes:
        params: the parameters, a mapping of constrained values over unconstrained leaves.
        optim_state: the `state_dict` of the optimiser and its schedule; empty before the first step.
        seed: where all randomness of the run comes from.
        step: how many steps have been taken.
        baselines: running averages of score-function baselines, by site.
    """

    params: ParamStore
    optim_state: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    step: int = 0
    baselines: Baselines = field(default_factory=Baselines)


@dataclass(frozen=True)
class SVIRun:
    """What `SVI.run` gives back.

    Attributes:
        losses: the loss of each step taken (nats), shape (steps,), float64.
        params: constrained values at the end, by name, detached.
        interrupted: whether Ctrl-C ended the run early.
    """

    losses: Tensor
    params: dict[str, Tensor]
    interrupted: bool = False

    def __repr__(self) -> str:
        last = f", last loss {self.losses[-1]:.6g}" if len(self.losses) else ""
        early = ", interrupted" if self.interrupted else ""
        return f"SVIRun({len(self.losses)} steps{last}{early})"


class SVI:
    """Fits the parameters of `model` and `guide` by gradient steps on a bound.

    Draws come from a generator that belongs to the run: step number `n` with seed `s` draws the same
    numbers whatever else happens in the process. Operations of torch that take their own randomness (dropout)
    use the global state, as always.

    Args:
        model: the joint density, as a function of sample statements.
        guide: the variational family, a function of the same arguments.
        optim: `inference.optim.Adam(lr=0.01)` or the like, or any callable from parameters to a `torch.optim`
            optimiser.
        loss: the bound.
        store: the parameters to learn; None takes the ambient store at each step.
        seed: fixes the randomness; None draws a seed from torch's global state at the first step.
        compile: record the step as one graph and run it as machine code, after a first step that is checked. What a
            graph cannot hold is told once, and those steps run as they are. "eager draws" also draws the numbers that
            the step draws without it, which is slower.

    >>> import ppl_dist as dist, ppl
    >>> def model():
    ...     z = ppl.sample("z", dist.Normal(0.0, 1.0))
    ...     ppl.sample("x", dist.Normal(z, 1.0), obs=2.0)
    >>> def guide():
    ...     ppl.sample("z", dist.Normal(ppl.param("m", 0.0), 0.7071))
    >>> svi = SVI(model, guide, torch.optim.SGD, seed=0)
    Traceback (most recent call last):
    TypeError: SVI: optim is the class SGD, which has no learning rate yet. Try inference.optim.Optim(SGD, lr=0.01).
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        optim: OptimFactory,
        loss: ELBO | None = None,
        *,
        store: ParamStore | None = None,
        seed: int | None = None,
        compile: Compile = False,
    ) -> None:
        if isinstance(optim, type):
            raise TypeError(
                f"SVI: optim is the class {optim.__name__}, which has no learning rate yet. "
                f"Try inference.optim.Optim({optim.__name__}, lr=0.01)."
            )
        if not callable(optim):
            raise TypeError(
                f"SVI: optim must build an optimiser from parameters, got {type(optim).__name__}. "
                f"Try inference.optim.Adam(lr=0.01)."
            )
        self.model, self.guide, self.optim = model, guide, optim
        self.bound: ELBO = Trace_ELBO() if loss is None else loss
        self.store, self.seed = store, seed
        self._owned: _Owned | None = None
        self._how, self._steps = compile, self._compiling(compile)

    # Pure

    def init(self, *args: Any, **kwargs: Any) -> SVIState:
        """The state before the first step: parameters registered by one run of guide and model on `args`.

        Parameters that the store already holds are copied; nothing outside the result changes.
        """
        params = _copied(self._store())
        seed = self._seed()
        with torch.no_grad(), params, handlers.seed(rng_seed=_generator(seed, 0)):
            self.bound.differentiable_loss(self.model, self.guide, *args, baselines=Baselines(), **kwargs)
        return SVIState(_copied(params), seed=seed)

    def update(self, state: SVIState, *args: Any, **kwargs: Any) -> tuple[SVIState, Tensor]:
        """One step: the state after it, and the loss before it (nats, 0-dim, float64). `state` is left as it was.

        Raises:
            ValueError: the loss is not finite; the message names the site, the parameter and the step.
        """
        owned = _Owned(_copied(state.params), state.seed, state.step, state.baselines.copy(), pure=True)
        owned.bind_optimizer(self.optim, state.optim_state)
        loss = self._advance(owned, args, kwargs)
        assert owned.optimizer is not None
        after = replace(
            state,
            params=owned.params,
            optim_state=copy.deepcopy(owned.optimizer.state_dict()),
            step=owned.step,
            baselines=owned.baselines,
        )
        return after, torch.tensor(loss, dtype=torch.float64)

    def get_params(self, state: SVIState) -> dict[str, Tensor]:
        """The constrained parameters of a state, by name, detached."""
        return _values(state.params)

    # In place

    def step(self, *args: Any, **kwargs: Any) -> float:
        """One step on the store; the loss before it (nats).

        Value checks run on the first step only. A loss that is not finite runs the very same step again with all
        checks on, and leaves the parameters as they were.

        Raises:
            ValueError: the loss is not finite; the message names the site, the parameter and the step.
        """
        return self._advance(self._own(), args, kwargs)

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> float:
        """The loss at the current parameters (nats), without a step; draws from torch's global state."""
        with self._store():
            return self.bound.loss(self.model, self.guide, *args, **kwargs)

    def run(
        self,
        num_steps: int,
        *args: Any,
        progress: bool = True,
        callback: Callable[[int, float], Any] | None = None,
        compile: Compile | None = None,
        unroll: int | Literal["auto"] = "auto",
        **kwargs: Any,
    ) -> SVIRun:
        """Take `num_steps` steps, with a progress bar that shows the smoothed loss.

        A line above the bar says at the first step which sites have a gradient that is not pathwise, and what they use.

        Ctrl-C ends the run: what was learned stays in the store, and the result says how far it came.

        Args:
            num_steps: how many.
            *args: passed to model and guide.
            progress: show the bar (on standard error).
            callback: called after each step with its number, from 1, and its loss; True ends the run.
            compile: as for `SVI`, from here on; None leaves it as it is.
            unroll: how many steps one graph holds; "auto" weighs the time it takes to compile more.
            **kwargs: passed to model and guide.
        """
        losses: list[float] = []
        interrupted = False
        quiet = not progress or bool(self.estimators)
        if compile is not None and compile != self._how:
            self._how, self._steps = compile, self._compiling(compile)

        def take_steps() -> None:
            compiled = len(self.compiled)
            for some in self._several(num_steps, args, kwargs, 1 if callback is not None else None, unroll):
                losses.extend(some)
                for loss in some:
                    bar.update(loss)
                if len(losses) == 1 and not quiet and (told := note(self.estimators)):
                    bar.say(told)
                for new in self.compiled[compiled:] if progress else ():
                    bar.say(f"Compiled the step in {new.seconds:.1f} s ({new.operations} operations).")
                compiled = len(self.compiled)
                if callback is not None and callback(len(losses), losses[-1]) is True:
                    return

        with progress_bar(num_steps, enabled=progress) as bar:
            try:
                # in a context of its own: wherever Ctrl-C strikes, no handler or store stays active after the run
                copy_context().run(take_steps)
            except KeyboardInterrupt:
                interrupted = True
                bar.say(f"Interrupted after {len(losses)} of {num_steps} steps; what was learned so far is kept.")
        return SVIRun(torch.tensor(losses, dtype=torch.float64), _values(self._store()), interrupted)

    @property
    def estimators(self) -> dict[str, str]:
        """How the gradient through each latent site of the guide is estimated; empty before the first step."""
        return {} if self._owned is None else dict(self._owned.estimators)

    @property
    def compiled(self) -> list[CompiledStep]:
        """The graphs that are kept, the one used last at the end."""
        return [] if self._steps is None else [each for each in self._steps.known.values() if each is not None]

    @property
    def state(self) -> SVIState:
        """A copy of where `step` and `run` stand; `update` continues from it."""
        owned = self._own()
        optim_state = {} if owned.optimizer is None else copy.deepcopy(owned.optimizer.state_dict())
        averages = {name: value.clone() for name, value in owned.baselines.averages.items()}
        return SVIState(_copied(owned.params), optim_state, owned.seed, owned.step, Baselines(averages))

    # The step

    def _advance(self, owned: _Owned, args: Sequence[Any], kwargs: dict[str, Any]) -> float:
        """The step that everything above calls, on state that may be written to."""
        return self._some(owned, args, kwargs, 1, 1)[-1]

    def _several(
        self, total: int, args: Sequence[Any], kwargs: dict[str, Any], most: int | None, unroll: int | Literal["auto"]
    ) -> Iterator[list[float]]:
        """The losses of `total` steps, at most `most` at a time, or what takes a moment."""
        owned, done, size = self._own(), 0, 1
        while done < total:
            chosen = unroll if unroll != "auto" else self._steps.unroll(total - done) if self._steps else 1
            start = perf_counter()
            some = self._some(owned, args, kwargs, min(size, total - done), chosen)
            done += len(some)
            yield some
            seconds = perf_counter() - start
            if self._steps is not None and done > 1:
                size = max(1, min(2 * size, int(SHOWN * len(some) / seconds), most or total))

    def _some(self, owned: _Owned, args: Sequence[Any], kwargs: dict[str, Any], times: int, unroll: int) -> list[float]:
        """Up to `times` steps: several only where they are compiled."""
        steps = self._steps
        if steps is not None and owned.optimizer is not None:
            losses = steps.run(owned, args, kwargs, times, unroll)
            if losses is not None:
                if losses[-1] - losses[-1] != 0:
                    raise self._explain(owned, args, kwargs, losses[-1], steps.same_draws())
                return losses
        losses = [self._eager(owned, args, kwargs)]
        if steps is not None and owned.optimizer is not None:
            steps.prepare(owned, args, kwargs)
        return losses

    def _compiling(self, compile: Compile) -> CompiledSteps | None:
        def loss_of(params: ParamStore, baselines: Baselines, args: Any, kwargs: Any) -> Tensor:
            with params:
                return self.bound.differentiable_loss(self.model, self.guide, *args, baselines=baselines, **kwargs)

        return CompiledSteps(loss_of, as_eager=compile == "eager draws") if compile else None

    def _eager(self, owned: _Owned, args: Sequence[Any], kwargs: dict[str, Any]) -> float:
        """A step as it is written: gradients, then the optimiser."""
        first = not owned.checked
        baselines = owned.baselines.copy()
        with watch() if first else validating(False) as seen:
            loss = self._loss(owned, baselines, args, kwargs)
            if owned.copied_new():
                baselines = owned.baselines.copy()
                loss = self._loss(owned, baselines, args, kwargs)
        if seen is not None:
            owned.estimators = estimators_in_use(seen.sites)
        value = loss.item()
        if value - value != 0:  # infinite or nan
            raise self._explain(owned, args, kwargs, value, handlers.seed(rng_seed=owned.generator()))
        leaves = owned.sync_optimizer(self.optim)
        for leaf in leaves:
            leaf.grad = None
        if loss.requires_grad:
            loss.backward(retain_graph=self.bound.retain_graph)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            owned.optimizer.step(value)  # type: ignore[union-attr]  # sync_optimizer has built it
        owned.step += 1
        owned.checked = True
        owned.baselines = baselines
        return value

    def _loss(self, owned: _Owned, baselines: Baselines, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        generator = owned.generator()
        with owned.params, handlers.seed(rng_seed=generator):
            return self.bound.differentiable_loss(self.model, self.guide, *args, baselines=baselines, **kwargs)

    def _explain(
        self, owned: _Owned, args: Sequence[Any], kwargs: dict[str, Any], value: float, draws: Any
    ) -> ValueError:
        where = f"SVI: the loss is {value} at step {owned.step + 1}"
        with owned.params, draws:
            return explain_nonfinite(where, self.bound, self.model, self.guide, args, kwargs, owned.params)

    def _store(self) -> ParamStore:
        return ppl.get_param_store() if self.store is None else self.store

    def _seed(self) -> int:
        return int(torch.randint(2**31, ())) if self.seed is None else self.seed

    def _own(self) -> _Owned:
        store = self._store()
        if self._owned is None or self._owned.params is not store:
            self._owned = _Owned(store, self._seed(), 0, Baselines())
        return self._owned


class _Owned:
    """State that a step may write to: the store, its optimiser, and where the randomness stands."""

    def __init__(self, params: ParamStore, seed: int, step: int, baselines: Baselines, *, pure: bool = False) -> None:
        self.params, self.seed, self.step, self.baselines = params, seed, step, baselines
        self._known = set(params) if pure else None
        self.checked = step > 0
        self.estimators: dict[str, str] = {}
        self.optimizer: Update | None = None
        self._leaves: dict[str, Tensor] = {}
        self._generator = torch.Generator()

    def generator(self) -> torch.Generator:
        return _reseed(self._generator, self.seed, self.step)

    def copied_new(self) -> bool:
        """In a pure step, put copies in place of parameters that it met for the first time; whether there were any.

        They may be a module's own, which is not to be written to.
        """
        known = self._known
        if known is None or len(self.params) == len(known):
            return False
        leaves = self.params.leaves
        self.params = self.params.bind({k: v if k in known else _clone(v) for k, v in leaves.items()})
        return True

    def bind_optimizer(self, factory: OptimFactory, optim_state: dict[str, Any]) -> None:
        """Build the optimiser over the parameters of now, and give it the state it had."""
        if optim_state:
            self._leaves = self.params.leaves
            self.optimizer = build(factory, list(self._leaves.items()))
            self.optimizer.load_state_dict(copy.deepcopy(optim_state))

    def sync_optimizer(self, factory: OptimFactory) -> list[Tensor]:
        """Build the optimiser at the first step, and again when parameters have appeared or been replaced."""
        leaves = self.params.leaves
        if self.optimizer is None:
            if not leaves:
                raise ValueError(
                    "SVI: neither model nor guide has a parameter, so there is nothing to learn. "
                    'Try ppl.param("loc", 0.0) or ppl.module("net", net) in the guide.'
                )
            self.optimizer = build(factory, list(leaves.items()))
        elif len(leaves) != len(self._leaves) or any(map(is_not, leaves.values(), self._leaves.values())):
            self.optimizer = rebuild(self.optimizer, factory, list(leaves.items()))
        self._leaves = leaves
        return list(leaves.values())


def _generator(seed: int, step: int) -> torch.Generator:
    return _reseed(torch.Generator(), seed, step)


def _reseed(generator: torch.Generator, seed: int, step: int) -> torch.Generator:
    """The generator of one step. The state of a run's randomness is then two integers, and any step can be replayed.

    torch's CPU generator takes 32 bits of seed; multiplying by an odd constant (2^32 over the golden ratio) visits
    all of them before repeating, and keeps neighbouring steps far apart.
    """
    return generator.manual_seed((seed * 0x85EBCA6B + (step + 1) * 0x9E3779B1) % 2**32)


def _copied(store: ParamStore) -> ParamStore:
    return store.bind({name: _clone(leaf) for name, leaf in store.leaves.items()})


def _clone(leaf: Tensor) -> Tensor:
    return leaf.detach().clone().requires_grad_(leaf.requires_grad)


def _values(store: ParamStore) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in store.items()}

"""Who takes the same step: our SVI, Pyro's, NumPyro's, and a loop written by hand; and whether it is the same step."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

import inference
import ppl
import ppl_dist

from ..timing import Contender, installed

__all__ = ["Bound", "Hand", "Library", "Program", "Workload", "check_same_loss", "contenders", "mean_and_error"]

OURS, UNFUSED = "ours, eager (fused Adam)", "ours, eager (torch.optim.Adam)"
PYRO, UNCHECKED = "Pyro, defaults", "Pyro, no validation"
HAND, HAND_FUSED = "by hand (torch.optim.Adam)", "by hand (fused Adam)"
NUMPYRO = "NumPyro, jitted update"
RATE = 0.01


class Library(NamedTuple):
    """What a program is written with.

    Attributes:
        words: has `sample`, `plate`, `param`, and most have `module` and `factor`.
        families: the distributions, and `constraints`.
        numeric: `torch` or `jax.numpy`.
    """

    words: Any
    families: Any
    numeric: Any


class Bound(NamedTuple):
    """A bound by the name of its class, which every library has, and its options."""

    name: str
    options: Mapping[str, Any] = {}

    def of(self, module: Any) -> Any:
        """The bound of one library."""
        return getattr(module, self.name)(**self.options)

    def __str__(self) -> str:
        count = self.options.get("num_particles")
        return self.name if count is None else f"{self.name}, {count} particles"


@dataclass(frozen=True)
class Hand:
    """What one writes without a library.

    Attributes:
        leaves: what is learned, at the starting point.
        losses: by the name of a bound, an estimate of the loss whose gradient is that of the bound.
    """

    leaves: list[Tensor]
    losses: Mapping[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class Workload:
    """A model, a guide and data.

    Attributes:
        data: the arguments of model and guide.
        programs: model and guide for one library, with parameters at the common starting point.
        by_hand: the same without a library.
        jax: whether `programs` can be written with `jax.numpy`.
    """

    data: tuple[Tensor, ...]
    programs: Callable[[Library], tuple[Any, Any]]
    by_hand: Callable[[], Hand]
    jax: bool = True


@dataclass(frozen=True)
class Program:
    """One contender.

    Attributes:
        step: takes one step and returns its loss.
        losses: this many estimates of the loss at the starting point.
        around: a context to run both in.
    """

    step: Callable[[], float]
    losses: Callable[[int], Tensor]
    around: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def contender(self) -> Contender:
        """Its step, to be timed."""
        return Contender(self.step, self.around)


def contenders(workload: Workload, bound: Bound) -> dict[str, Program]:
    """Every contender on torch that is installed, at the common starting point."""
    programs = {
        OURS: ours(workload, bound, inference.optim.Adam(lr=RATE)),
        UNFUSED: ours(workload, bound, partial(torch.optim.Adam, lr=RATE)),
    }
    if bound.name in workload.by_hand().losses:
        programs |= {name: by_hand(workload, bound, fused=name == HAND_FUSED) for name in (HAND, HAND_FUSED)}
    pyro = installed("pyro")
    if pyro is not None:
        programs[PYRO] = of_pyro(pyro, workload, bound, validation=True)
        programs[UNCHECKED] = of_pyro(pyro, workload, bound, validation=False)
    return programs


def ours(workload: Workload, bound: Bound, optimizer: inference.optim.OptimFactory) -> Program:
    """Our own SVI, with a store of its own."""
    model, guide = workload.programs(Library(ppl, ppl_dist, torch))
    svi = inference.SVI(model, guide, optimizer, bound.of(inference), store=ppl.ParamStore(), seed=0)
    return Program(partial(svi.step, *workload.data), partial(_repeated, partial(svi.evaluate_loss, *workload.data)))


def of_pyro(pyro: ModuleType, workload: Workload, bound: Bound, *, validation: bool) -> Program:
    """Pyro's SVI; its parameters live in one store for the process, which both of its contenders move."""
    infer, optim = import_module("pyro.infer"), import_module("pyro.optim")
    pyro.clear_param_store()
    model, guide = workload.programs(Library(pyro, pyro.distributions, torch))
    svi = infer.SVI(model, guide, optim.Adam({"lr": RATE}), bound.of(infer))
    losses = partial(_repeated, partial(svi.evaluate_loss, *workload.data))
    return Program(partial(svi.step, *workload.data), losses, partial(pyro.validation_enabled, validation))


def of_numpyro(workload: Workload, bound: Bound) -> Program | None:
    """NumPyro's `update` under `jax.jit`; None where it is not installed or the program needs torch."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # read when jax starts
    numpyro = installed("numpyro")
    if numpyro is None or not workload.jax:
        return None
    jax, infer, optim = (import_module(name) for name in ("jax", "numpyro.infer", "numpyro.optim"))
    model, guide = workload.programs(Library(numpyro, numpyro.distributions, jax.numpy))
    data = [jax.numpy.asarray(each.numpy()) for each in workload.data]
    loss_of = bound.of(infer)
    svi = infer.SVI(model, guide, optim.Adam(RATE), loss_of)
    state = svi.init(jax.random.PRNGKey(0), *data)
    start = svi.get_params(state)
    update = jax.jit(svi.update)

    def step() -> float:
        nonlocal state
        state, loss = update(state, *data)
        return float(loss)

    def losses(draws: int) -> Tensor:
        keys = jax.random.split(jax.random.PRNGKey(1), draws)
        each = jax.vmap(lambda key: loss_of.loss(key, start, model, guide, *data))(keys)
        return torch.tensor(each.tolist())

    return Program(step, losses)


def by_hand(workload: Workload, bound: Bound, *, fused: bool) -> Program:
    """Leaves, a draw of the guide, log densities, backward, an optimiser's step."""
    hand = workload.by_hand()
    estimate = hand.losses[bound.name]
    optimizer = torch.optim.Adam(hand.leaves, lr=RATE, fused=True if fused else None)

    def step() -> float:
        optimizer.zero_grad()
        loss = estimate()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        return loss.item()

    def losses(draws: int) -> Tensor:
        with torch.no_grad():
            return _repeated(lambda: estimate().item(), draws)

    return Program(step, losses)


def _repeated(loss: Callable[[], Any], draws: int) -> Tensor:
    """Of several losses (Pyro gives those of model and guide for wake-sleep) the first."""
    losses = torch.tensor([loss() for _ in range(draws)])
    return losses if losses.dim() == 1 else losses[:, 0]


def mean_and_error(program: Program, draws: int) -> tuple[float, float]:
    """The loss at the start and its Monte Carlo standard error."""
    with program.around():
        losses = program.losses(draws).double()
    return losses.mean().item(), losses.std().item() / math.sqrt(draws)


def check_same_loss(what: str, starts: Mapping[str, tuple[float, float]]) -> None:
    """Hold everybody's loss at the start against the one written by hand (Pyro's where there is none), to 5 errors.

    Raises:
        ValueError: somebody computes something else; its time would say nothing.
    """
    judge = next((name for name in (HAND, PYRO) if name in starts), OURS)
    expected, error = starts[judge]
    for name, (mean, its_error) in starts.items():
        if not abs(mean - expected) <= 5 * math.hypot(error, its_error) + 1e-5 * abs(expected):
            raise ValueError(
                f"benchmark {what}: {name} has loss {mean:.3f} +- {its_error:.3f} where {judge} has "
                f"{expected:.3f} +- {error:.3f}. Make both the same model and guide."
            )

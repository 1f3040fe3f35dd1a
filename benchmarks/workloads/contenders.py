"""Who takes the same step: our SVI, Pyro's, NumPyro's, and a loop written by hand; and whether it is the same step."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial, reduce
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import inference
import ppl
import ppl_dist

from ..timing import Contender, installed

__all__ = ["Bound", "Hand", "Library", "Program", "Workload", "check_same_loss", "contenders", "fold", "mean_and_error"]

OURS, UNFUSED = "ours, eager (fused Adam)", "ours, eager (torch.optim.Adam)"
PYRO, UNCHECKED = "Pyro, defaults", "Pyro, no validation"
HAND, HAND_FUSED = "by hand (torch.optim.Adam)", "by hand (fused Adam)"
NUMPYRO = "NumPyro, jitted update"
RATE = 0.01


class Library(NamedTuple):
    """What a program is written with.

    Attributes:
        words: has `sample`, `plate`, `param` and `factor`.
        families: the distributions, and `constraints`.
        numeric: `torch` or `jax.numpy`.
        module: registers linear layers (a ReLU between them) under a name, and gives them back as a function.
        logsumexp: of an array and a dimension.
        fold: the last state of a step from state and entry to state, along the first dimension of an array.
    """

    words: Any
    families: Any
    numeric: Any
    module: Callable[[str, nn.Module], Any]
    logsumexp: Callable[[Any, int], Any]
    fold: Callable[[Callable[[Any, Any], Any], Any, Any], Any]


def fold(step: Callable[[Tensor, Tensor], Tensor], state: Tensor, entries: Tensor) -> Tensor:
    """The last state, along the first dimension."""
    return reduce(step, entries, state)


def on_torch(words: Any, families: Any) -> Library:
    return Library(words, families, torch, words.module, torch.logsumexp, fold)


def on_jax() -> Library:
    """NumPyro."""
    words, jax, lax = import_module("numpyro"), import_module("jax"), import_module("jax.lax")

    def as_array(weight: Tensor) -> Any:
        return jax.numpy.asarray(weight.detach().numpy())

    def apply(weights: Any, x: Any) -> Any:
        *hidden, (weight, bias) = weights
        for each, its_bias in hidden:
            x = jax.nn.relu(x @ each + its_bias)
        return x @ weight + bias

    def module(name: str, net: nn.Module) -> Any:
        linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
        start = [(as_array(layer.weight.T), as_array(layer.bias)) for layer in linear]
        return words.module(name, (lambda key, shape: (shape, start), apply), input_shape=())

    def fold(step: Callable[[Any, Any], Any], state: Any, entries: Any) -> Any:
        return lax.scan(lambda at, entry: (step(at, entry), None), state, entries)[0]

    return Library(words, words.distributions, jax.numpy, module, jax.nn.logsumexp, fold)


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
        losses: by the name of a bound, an estimate of the loss whose gradient is that of the bound: a function of
            `leaves`, the tensors of `memory`, and the data.
        memory: what else a step changes, in place.
    """

    leaves: list[Tensor]
    losses: Mapping[str, Callable[..., Tensor]]
    memory: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Workload:
    """A model, a guide and data.

    Attributes:
        data: the arguments of model and guide.
        programs: model and guide for one library, with parameters at the common starting point.
        by_hand: the same without a library.
        bound: the name of the bound that one would choose.
    """

    data: tuple[Tensor, ...]
    programs: Callable[[Library], tuple[Any, Any]]
    by_hand: Callable[[], Hand]
    bound: str = "Trace_ELBO"


@dataclass(frozen=True)
class Program:
    """One contender.

    Attributes:
        step: takes `steps` steps and returns the loss of the last.
        losses: this many estimates of the loss at the parameters of now.
        around: a context to run both in.
        steps: how many steps a call of `step` takes.
    """

    step: Callable[[], float]
    losses: Callable[[int], Tensor]
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    steps: int = 1

    @property
    def contender(self) -> Contender:
        """Its step, to be timed."""
        return Contender(self.step, self.around, self.steps)


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


def ours(
    workload: Workload,
    bound: Bound,
    optimizer: inference.optim.OptimFactory,
    *,
    compile: bool = False,
    length: int | None = None,
) -> Program:
    """Our own SVI, with a store of its own: its `step`, or a `run` of that many."""
    model, guide = workload.programs(on_torch(ppl, ppl_dist))
    loss = bound.of(inference)
    svi = inference.SVI(model, guide, optimizer, loss, store=ppl.ParamStore(), seed=0, compile=compile)
    losses = partial(_repeated, partial(svi.evaluate_loss, *workload.data))
    if length is None:
        return Program(partial(svi.step, *workload.data), losses)

    def run() -> float:
        return svi.run(length, *workload.data, progress=False).losses[-1].item()

    return Program(run, losses, steps=length)


def of_pyro(pyro: ModuleType, workload: Workload, bound: Bound, *, validation: bool) -> Program:
    """Pyro's SVI, with the parameters of its own in the one store that Pyro has for the process."""
    infer, optim = import_module("pyro.infer"), import_module("pyro.optim")
    model, guide = workload.programs(on_torch(pyro, pyro.distributions))
    svi = infer.SVI(model, guide, optim.Adam({"lr": RATE}), bound.of(infer))
    losses = partial(_repeated, partial(svi.evaluate_loss, *workload.data))
    params: dict[str, Any] = {"params": {}, "constraints": {}}

    @contextmanager
    def around() -> Iterator[None]:
        with pyro.validation_enabled(validation), pyro.get_param_store().scope(params):
            yield

    return Program(partial(svi.step, *workload.data), losses, around)


def of_numpyro(workload: Workload, bound: Bound, *, length: int | None = None) -> Program | None:
    """NumPyro's jitted `update`, or that many of them scanned; None where NumPyro is not installed."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # read when jax starts
    if installed("numpyro") is None:
        return None
    jax, lax, infer, optim = (import_module(name) for name in ("jax", "jax.lax", "numpyro.infer", "numpyro.optim"))
    model, guide = workload.programs(on_jax())
    data = [jax.numpy.asarray(each.numpy()) for each in workload.data]
    loss_of = bound.of(infer)
    svi = infer.SVI(model, guide, optim.Adam(RATE), loss_of)
    state = svi.init(jax.random.PRNGKey(0), *data)

    @jax.jit
    def update(state: Any, *data: Any) -> Any:
        if length is None:
            return svi.update(state, *data)
        state, losses = lax.scan(lambda at, _: svi.update(at, *data), state, length=length)
        return state, losses[-1]

    def step() -> float:
        nonlocal state
        state, loss = update(state, *data)
        return float(loss)

    @jax.jit
    def each_loss(keys: Any, params: Any, *data: Any) -> Any:
        return lax.map(lambda key: loss_of.loss(key, params, model, guide, *data), keys)

    def losses(draws: int) -> Tensor:
        keys = jax.random.split(jax.random.PRNGKey(1), draws)
        return torch.tensor(each_loss(keys, svi.get_params(state), *data).tolist())

    return Program(step, losses, steps=length or 1)


def by_hand(workload: Workload, bound: Bound, *, fused: bool) -> Program:
    """Leaves, a draw of the guide, log densities, backward, an optimiser's step."""
    hand = workload.by_hand()
    estimate = partial(hand.losses[bound.name], hand.leaves, *hand.memory, *workload.data)
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

"""Who takes a compiled step: ours, Pyro's, NumPyro's, and the whole step written by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

import inference

from ..timing import installed
from .contenders import (
    HAND,
    HAND_FUSED,
    NUMPYRO,
    OURS,
    PYRO,
    RATE,
    UNCHECKED,
    Bound,
    Program,
    Workload,
    by_hand,
    of_numpyro,
    of_pyro,
    ours,
)

__all__ = [
    "HAND_COMPILED",
    "HAND_TRACED",
    "NUMPYRO_RUN",
    "OURS_RUN",
    "OURS_STEP",
    "PYRO_JIT",
    "adam_step",
    "by_hand_compiled",
    "dynamo",
    "makers",
]

OURS_STEP, OURS_RUN = "ours, compiled step", "ours, compiled run"
PYRO_JIT, NUMPYRO_RUN = "Pyro, JIT", "NumPyro, scanned run"
HAND_COMPILED, HAND_TRACED = "by hand (torch.compile)", "by hand (inference.compile)"
DECAY, DECAY_SQUARES, TINY = 0.9, 0.999, 1e-8


def makers(workload: Workload, bound: Bound, length: int) -> dict[str, Callable[[], Program]]:
    """How to make every contender that is installed; runs are of this many steps."""
    adam = inference.optim.Adam(lr=RATE)
    found: dict[str, Callable[[], Program]] = {
        OURS: partial(ours, workload, bound, adam),
        OURS_STEP: partial(ours, workload, bound, adam, compile=True),
        OURS_RUN: partial(ours, workload, bound, adam, compile=True, length=length),
        HAND: partial(by_hand, workload, bound, fused=False),
        HAND_FUSED: partial(by_hand, workload, bound, fused=True),
        HAND_COMPILED: partial(by_hand_compiled, workload, bound, dynamo),
        HAND_TRACED: partial(by_hand_compiled, workload, bound, inference.compile),
    }
    pyro = installed("pyro")
    if pyro is not None:
        found[PYRO] = partial(of_pyro, pyro, workload, bound, validation=True)
        found[UNCHECKED] = partial(of_pyro, pyro, workload, bound, validation=False)
        if not workload.by_hand().memory:  # TorchScript takes a running average for a constant, and refuses it
            found[PYRO_JIT] = partial(of_pyro_jit, pyro, workload, bound)
    if installed("numpyro") is not None:
        found[NUMPYRO] = partial(of_numpyro, workload, bound)
        found[NUMPYRO_RUN] = partial(of_numpyro, workload, bound, length=length)
    return found


def of_pyro_jit(pyro: ModuleType, workload: Workload, bound: Bound) -> Program:
    """Pyro's SVI on a bound that TorchScript has traced, without validation."""
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    jit = bound._replace(name=f"Jit{bound.name}", options={**bound.options, "ignore_jit_warnings": True})
    return of_pyro(pyro, workload, jit, validation=False)


def by_hand_compiled(workload: Workload, bound: Bound, compiler: Callable[..., Any]) -> Program:
    """The whole step as one function of tensors that it writes to, given to a compiler."""
    hand = workload.by_hand()
    estimate = hand.losses[bound.name]
    leaves = [leaf.detach() for leaf in hand.leaves]
    moments = [torch.zeros_like(leaf) for _ in range(2) for leaf in leaves]
    compiled = compiler(partial(adam_step, estimate))
    arguments = (leaves, moments, torch.zeros(()), *hand.memory, *workload.data)

    def losses(draws: int) -> Tensor:
        with torch.no_grad():
            return torch.tensor([estimate(leaves, *hand.memory, *workload.data).item() for _ in range(draws)])

    return Program(lambda: compiled(*arguments).item(), losses)


def adam_step(
    estimate: Callable[..., Tensor], leaves: Sequence[Tensor], moments: Sequence[Tensor], count: Tensor, *data: Tensor
) -> Tensor:
    """A draw of the guide, the bound, its gradient, and Adam (Kingma and Ba, 2015, algorithm 1), all in place."""
    learned = [leaf.detach().requires_grad_() for leaf in leaves]
    loss = estimate(learned, *data)
    gradients = torch.autograd.grad(loss, learned)
    means, squares = moments[: len(leaves)], moments[len(leaves) :]
    with torch.no_grad():
        count.add_(1)
        rate, spread = RATE / (1 - DECAY**count), (1 - DECAY_SQUARES**count).rsqrt()
        for leaf, mean, square, gradient in zip(leaves, means, squares, gradients, strict=True):
            mean.lerp_(gradient, 1 - DECAY)
            square.lerp_(gradient * gradient, 1 - DECAY_SQUARES)
            leaf.sub_(rate * mean / (square.sqrt() * spread + TINY))
    return loss.detach()


def dynamo(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.compile` of a step that takes its own gradient, which needs a switch of its configuration."""
    config = import_module("torch._dynamo").config
    compiled = torch.compile(step, fullgraph=True, dynamic=False)
    first = True

    def call(*arguments: Any) -> Tensor:
        nonlocal first
        if not first:
            return compiled(*arguments)
        first = False
        with config.patch(trace_autograd_ops=True):
            return compiled(*arguments)

    return call

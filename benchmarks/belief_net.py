"""A sigmoid belief net with 200 latents on binarised digits: how good a bound the same number of steps reaches.

    z_j ~ Bernoulli(prior_j), j = 1..200;   x | z ~ Bernoulli(decoder(z)), 64 pixels;   q(z | x) = Bernoulli(encoder(x))

Ours with one estimator or another against Pyro's `TraceGraph_ELBO` with its decaying-average baseline, from the same
initial weights on the same minibatches, with the same optimiser. Every model is then judged by one measure, written
here with torch alone: the importance-weighted bound of 100 draws over all images.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

import inference
import ppl
import ppl_dist as dist

from .digits import MISSING, binary_digits
from .report import NOT_INSTALLED, Cell, Figure, Report, ratio
from .timing import Contender, installed, microseconds

__all__ = ["Net", "run"]

LATENTS, PIXELS, BATCH, RATE = 200, 64, 64, 3e-3
DECAYING = {"use_decaying_avg_baseline": True, "baseline_beta": 0.9}
PYRO = "Pyro, TraceGraph_ELBO, decaying average"


class Net(nn.Module):
    """Prior, decoder and encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = nn.Parameter(torch.zeros(LATENTS))
        self.decoder = nn.Linear(LATENTS, PIXELS)
        self.encoder = nn.Linear(PIXELS, LATENTS)


def programs_of(lib: Any, families: Any, net: Net, infer: dict[str, Any]) -> tuple[Any, Any]:
    """Model and guide for any library that has `sample`, `plate` and `module`."""

    def model(x: Tensor) -> None:
        lib.module("net", net)
        with lib.plate("images", len(x)):
            z = lib.sample("z", families.Bernoulli(logits=net.prior.expand(len(x), LATENTS)).to_event(1))
            lib.sample("x", families.Bernoulli(logits=net.decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        lib.module("net", net)
        with lib.plate("images", len(x)):
            lib.sample("z", families.Bernoulli(logits=net.encoder(x)).to_event(1), infer=infer)

    return model, guide


@dataclass(frozen=True)
class Trainer:
    """One contender: its net, and a step on a minibatch."""

    net: Net
    step: Callable[[Tensor], Any]


def ours(infer: dict[str, Any], bound: inference.ELBO) -> Callable[[Net], Trainer]:
    """A contender of ours."""

    def make(net: Net) -> Trainer:
        model, guide = programs_of(ppl, dist, net, infer)
        svi = inference.SVI(model, guide, inference.optim.Adam(lr=RATE), bound, store=ppl.ParamStore(), seed=0)
        return Trainer(net, svi.step)

    return make


def of_pyro(net: Net) -> Trainer:
    """Pyro's, which has one store for the process."""
    pyro, infer, optim = (import_module(name) for name in ("pyro", "pyro.infer", "pyro.optim"))
    pyro.clear_param_store()
    model, guide = programs_of(pyro, pyro.distributions, net, {"baseline": DECAYING})
    svi = infer.SVI(model, guide, optim.Adam({"lr": RATE}), infer.TraceGraph_ELBO())
    return Trainer(net, svi.step)


def contenders() -> dict[str, Callable[[Net], Trainer]]:
    """Who takes part, by what they are called in the table."""
    found = {
        "decaying average": ours({"baseline": DECAYING}, inference.TraceGraph_ELBO()),
        "leave-one-out, 2 samples": ours({"samples": 2}, inference.Trace_ELBO()),
        "DisARM": ours({"estimator": "disarm"}, inference.Trace_ELBO()),
        "leave-one-out, 4 samples": ours({"samples": 4}, inference.Trace_ELBO()),
        "RELAX": ours({"estimator": "relax"}, inference.Trace_ELBO()),
    }
    return found | ({PYRO: of_pyro} if installed("pyro") is not None else {})


def run(*, rounds: int, quick: bool = False) -> Report:
    """Train all contenders and judge them; `quick` takes two steps."""
    steps = 2 if quick else 5_000
    title = f"Sigmoid belief net, {LATENTS} latents, digits, after {steps} steps: minus the bound of an image (nats)"
    columns = ("", "minus the bound", "microseconds per step")
    x = binary_digits()
    if x is None:
        return Report(title, columns, [], [Figure("digits", MISSING)])
    torch.manual_seed(0)
    start = Net()
    bounds, times = {}, timed(x[:BATCH], start, rounds=rounds, calls=1 if quick else 10)
    for name, make in contenders().items():
        trainer = make(copy.deepcopy(start))
        torch.manual_seed(1)
        for batch in batches(x, steps):
            trainer.step(batch)
        bounds[name] = -bound(trainer.net, x, 2 if quick else 100)
    rows: list[tuple[str, list[Cell]]] = [(name, [bounds[name], times[name]]) for name in bounds]
    if PYRO not in bounds:
        rows.append((PYRO, [NOT_INSTALLED] * 2))
    return Report(title, columns, rows, figures(bounds, times))


def timed(batch: Tensor, start: Net, *, rounds: int, calls: int) -> dict[str, float]:
    """Microseconds per step, all contenders in turns."""
    trainers = {name: make(copy.deepcopy(start)) for name, make in contenders().items()}
    return microseconds(
        {name: Contender(lambda step=trainer.step: step(batch)) for name, trainer in trainers.items()},
        rounds=rounds,
        calls=calls,
    )


def figures(bounds: dict[str, float], times: dict[str, float]) -> list[Figure]:
    """What is asked: a better bound than Pyro's, in less time a step."""
    theirs: Cell = times.get(PYRO, NOT_INSTALLED)
    found = []
    for name, reached in bounds.items():
        if name != PYRO:
            found.append(ratio(f"time of a step, {name} / Pyro", times[name], theirs, 1.0))
            gap: Cell = reached - bounds[PYRO] if PYRO in bounds else NOT_INSTALLED
            found.append(Figure(f"minus the bound, {name} - Pyro", gap, 0.0, "nats"))
    return found


def batches(x: Tensor, steps: int) -> Iterator[Tensor]:
    """The same minibatches for everybody."""
    order = torch.Generator().manual_seed(2)
    for _ in range(steps):
        yield x[torch.randint(len(x), (BATCH,), generator=order)]


def bound(net: Net, x: Tensor, draws: int) -> float:
    """The importance-weighted bound of this many draws, averaged over images (nats)."""
    with torch.no_grad():
        logits = net.encoder(x)
        z = (torch.rand((draws, *logits.shape), generator=torch.Generator().manual_seed(3)) < logits.sigmoid()).float()
        log_w = mass(net.prior, z) + mass(net.decoder(z), x) - mass(logits, z)
        return (log_w.logsumexp(0) - math.log(draws)).mean().item()


def mass(logits: Tensor, x: Tensor) -> Tensor:
    """The log probability of bits, summed over the last dimension."""
    return (x * logsigmoid(logits) + (1 - x) * logsigmoid(-logits)).sum(-1)

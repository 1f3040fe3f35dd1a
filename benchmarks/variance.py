"""How much the gradients of discrete latents vary, estimator by estimator, on the three problems of the papers.

The toy of REBAR (Tucker et al. 2017): the mean of (b - 0.45)^2 for a coin b. A sigmoid belief net with 200 latents,
and a variational autoencoder with 10 latents of 10 categories each, both on binarised digits, half trained. What is
measured is the variance of the gradient with respect to the parameters of q, added up over them, over that of the
plain score function with a decaying average. Control variates have had steps of their own first, with all else held
still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import inference
import ppl
import ppl_dist as dist

from .digits import MISSING, binary_digits
from .report import Cell, Figure, Report

__all__ = ["run"]

DECAYING = "score, decaying average"
SETTINGS: dict[str, dict[str, Any]] = {
    "score, no baseline": {"estimator": "score", "baseline": "none"},
    DECAYING: {"estimator": "score", "baseline": "decaying_average"},
    "score, decaying average, 2 samples": {"estimator": "score", "baseline": "decaying_average", "samples": 2},
    "ARM (2 evaluations)": {"estimator": "arm"},
    "leave-one-out, 2 samples": {"estimator": "score", "samples": 2},
    "DisARM (2 evaluations)": {"estimator": "disarm"},
    "REBAR (3 evaluations)": {"estimator": "rebar"},
    "RELAX (3 evaluations)": {"estimator": "relax"},
    "leave-one-out, 4 samples": {"estimator": "score", "samples": 4},
}
# The ordering that the papers report, each below the one before
ORDER = (DECAYING, "leave-one-out, 2 samples", "DisARM (2 evaluations)")


@dataclass(frozen=True)
class Problem:
    """A loss to differentiate.

    Attributes:
        loss: takes what the memory of baselines is, inside an active `ParamStore`, and draws.
        starts: the prefix of the names of the parameters of q.
        train: takes some steps, so that the gradients are those of a net that has learned something.
        applies: whether an estimator is for its families.
    """

    loss: Callable[[dict[str, Any], inference.Baselines], Tensor]
    starts: str
    train: Callable[[int], None]
    without: tuple[str, ...] = ()


def toy() -> Problem:
    """The mean of (b - 0.45)^2, at even odds."""

    def loss(settings: dict[str, Any], memory: inference.Baselines) -> Tensor:
        logits = ppl.param("q.logits", torch.zeros(1))
        with ppl.handlers.trace() as tr, inference.estimate(**settings, first_available_dim=-2), ppl.plate("one", 1):
            b = ppl.sample("b", dist.Bernoulli(logits=logits))
        return inference.surrogate_loss(tr, (b - 0.45) ** 2, baselines=memory)

    return Problem(loss, "q.logits", lambda steps: None)


class _Pair(nn.Module):
    """A linear encoder and a linear decoder."""

    def __init__(self, pixels: int, latents: int) -> None:
        super().__init__()
        self.decoder, self.encoder = nn.Linear(latents, pixels), nn.Linear(pixels, latents)


def autoencoder(x: Tensor, latents: int, law: Callable[[Tensor], Any], without: tuple[str, ...] = ()) -> Problem:
    """Minus the evidence bound of a linear autoencoder; `law` makes the distribution of all latents from logits."""
    torch.manual_seed(0)
    net = _Pair(x.shape[-1], latents)

    def model(x: Tensor) -> None:
        decoder = ppl.module("decoder", net.decoder)
        with ppl.plate("images", len(x)):
            z = ppl.sample("z", law(torch.zeros(len(x), latents)))
            bits = z if z.shape[-1] == latents else z.flatten(-2)
            ppl.sample("x", dist.Bernoulli(logits=decoder(bits)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        encoder = ppl.module("encoder", net.encoder)
        with ppl.plate("images", len(x)):
            ppl.sample("z", law(encoder(x)))

    def loss(settings: dict[str, Any], memory: inference.Baselines) -> Tensor:
        bound = inference.Trace_ELBO()
        return bound.differentiable_loss(model, inference.estimate(guide, **settings), x[:24], baselines=memory)

    def train(steps: int) -> None:
        svi = inference.SVI(model, inference.estimate(guide, samples=4), inference.optim.Adam(lr=3e-3), seed=0)
        for step in range(steps):
            svi.step(x[(24 * step) % len(x) :][:24])

    return Problem(loss, "encoder", train, without)


def coins(logits: Tensor) -> Any:
    """200 coins."""
    return dist.Bernoulli(logits=logits).to_event(1)


def dice(logits: Tensor) -> Any:
    """10 dice of 10 sides."""
    return dist.OneHotCategorical(logits=logits.unflatten(-1, (10, 10))).to_event(1)


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `rounds` is of no use here."""
    x = binary_digits()
    problems = {"toy": toy}
    if x is not None:
        problems["belief net"] = lambda: autoencoder(x, 200, coins)
        problems["categorical VAE"] = lambda: autoencoder(x, 100, dice, ("ARM (2 evaluations)",))
    draws, steps = (3, 2) if quick else (300, 400)
    found = {name: ratios(make(), draws=draws, steps=steps) for name, make in problems.items()}
    rows: list[tuple[str, list[Cell]]] = [(name, [of.get(name, "-") for of in found.values()]) for name in SETTINGS]
    title = f"Variance of the gradient with respect to q, over that of: {DECAYING}"
    missing = [Figure("digits", MISSING)] if x is None else []
    return Report(title, ("", *problems), rows, [*figures(found), *missing])


def figures(found: dict[str, dict[str, float]]) -> list[Figure]:
    """Whether each is below the one before in the ordering of the papers, and RELAX below the score function."""
    pairs = [*zip(ORDER[1:], ORDER, strict=False), ("RELAX (3 evaluations)", DECAYING)]
    return [
        Figure(f"{name}: {a} / {b}", of[a] / (of[b] or 1.0), 1.0)
        for name, of in found.items()
        for a, b in pairs
        if a in of and b in of
    ]


def ratios(problem: Problem, *, draws: int, steps: int) -> dict[str, float]:
    """The variance of each estimator that applies, over that of the decaying average."""
    with ppl.ParamStore() as trained:
        problem.train(steps)
    variances = {}
    for name, settings in SETTINGS.items():
        if name not in problem.without:
            with trained.bind({key: leaf.detach().clone().requires_grad_() for key, leaf in trained.leaves.items()}):
                variances[name] = variance(problem, settings, draws=draws, steps=steps)
    unit = variances[DECAYING] or 1.0  # the same few draws of a coin have no variance
    return {name: value / unit for name, value in variances.items()}


def variance(problem: Problem, settings: dict[str, Any], *, draws: int, steps: int) -> float:
    """Of the gradient with respect to the parameters of q, added up over their entries."""
    torch.manual_seed(0)
    store, memory = ppl.get_param_store(), inference.Baselines()
    problem.loss(settings, memory)
    controls = [leaf for name, leaf in store.leaves.items() if ".control." in name]
    optimizer = torch.optim.Adam(controls, lr=0.01) if controls else None
    for _ in range(steps if controls else 50):  # the running average wants some steps too
        loss = problem.loss(settings, memory)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    leaves = [leaf for name, leaf in store.leaves.items() if name.startswith(problem.starts)]
    found = []
    for _ in range(draws):
        grads = torch.autograd.grad(problem.loss(settings, memory), leaves)
        found.append(torch.cat([grad.reshape(-1) for grad in grads]))
    return torch.stack(found).double().var(0).sum().item()

"""Exact expectations of small programs: every outcome of every draw, weighted, and differentiable in the parameters.

Discrete draws and minibatches are enumerated; counts without an end up to one that has no mass. A continuous draw
becomes the nodes of a quadrature rule, Gauss-Hermite around the loc of a Normal and trapezoidal in log z for a positive
one: exact to 1e-6 for the smooth costs of the tests. The weight of a node is its density, so that the parameters act
through that and nothing else: derivatives of any order are right. Nothing here knows of estimators.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ppl_dist as dist
from ppl import Handler, Site
from ppl import handlers as h

Program = Callable[[], Any]
Choice = Callable[[], tuple[Tensor, Any]]  # gives a value and its weight
NODES = 12
COUNTS = torch.arange(40, dtype=torch.float64)  # of a Poisson with a rate of 3 at most
LOGS = torch.arange(-36.0, 6.0, 0.3, dtype=torch.float64)


class Outcome(Handler):
    """One outcome of a program: choice number `path[i]` at its i-th draw; says how many choices each draw had."""

    def __init__(self, path: list[int]) -> None:
        self.path = path
        self.weight: Tensor = torch.ones((), dtype=torch.float64)
        self.counts: list[int] = []

    def process(self, site: Site) -> None:
        if site.value is not None or site.type not in ("sample", "subsample"):
            return
        choices = _minibatches(site.fn) if site.type == "subsample" else _choices(site.fn)
        here = len(self.counts)
        self.counts.append(len(choices))
        site.value, weight = choices[self.path[here] if here < len(self.path) else 0]()
        self.weight = self.weight * weight


def _minibatches(fn: Any) -> list[Choice]:
    subsets = list(itertools.combinations(range(fn.size), fn.n))
    return [lambda subset=subset: (torch.tensor(subset), 1 / len(subsets)) for subset in subsets]


def _choices(fn: Any) -> list[Choice]:
    """One per combination of the points of the entries of a batch."""
    while isinstance(fn, dist.Independent):
        fn = fn.base_dist
    size, shape = fn.batch_shape.numel(), fn.batch_shape + fn.event_shape
    points, measures = _points(fn)
    points = points.detach().expand(-1, *shape).reshape(-1, size, *fn.event_shape)
    measures = torch.as_tensor(measures).detach().expand(len(points), *fn.batch_shape).reshape(-1, size)

    def choice(picked: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        value = points[list(picked), range(size)].reshape(shape)
        return value, fn.log_prob(value).sum().exp() * measures[list(picked), range(size)].prod()

    return [lambda picked=picked: choice(picked) for picked in itertools.product(range(len(points)), repeat=size)]


def _points(fn: Any) -> tuple[Tensor, Any]:
    """Where to look at a family, along a first dimension, and the measure that each of these points stands for."""
    along = (slice(None), *[None] * len(fn.batch_shape))
    match fn:
        case dist.Normal():
            nodes, weights = (torch.tensor(found)[along] for found in np.polynomial.hermite_e.hermegauss(NODES))
            return fn.loc + fn.scale * nodes, fn.scale * weights * (nodes**2 / 2).exp()
        case dist.Gamma() | dist.Exponential():
            z = LOGS.exp()[along]
            return z, z * (LOGS[1] - LOGS[0])
        case dist.Poisson():
            return COUNTS[along], 1.0
        case dist.Binomial():
            return COUNTS[: int(fn.total_count.max()) + 1][along], 1.0
        case dist.Bernoulli():
            return COUNTS[:2][along], 1.0
        case dist.Categorical():
            return torch.arange(fn.logits.shape[-1])[along], 1.0
        case dist.OneHotCategorical():
            return torch.eye(fn.logits.shape[-1], dtype=torch.float64)[along], 1.0
    raise AssertionError(f"no points for {type(fn).__name__}: give its family a case here")


def outcomes(program: Program) -> Iterator[tuple[Tensor, Any]]:
    """Pairs of the probability of an outcome and what the program returns there."""
    path: list[int] = []
    while True:
        with Outcome(path) as run:
            result = program()
        yield run.weight, result
        path = path + [0] * (len(run.counts) - len(path))
        while path and path[-1] + 1 == run.counts[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


def exact_elbo_loss(model: Program, guide: Program) -> Tensor:
    """E_q[log q(z) - log p(x, z)], exactly, differentiable in the parameters."""

    def run() -> Tensor:
        guide_trace = h.trace(guide).get_trace()
        model_trace = h.trace(h.replay(model, trace=guide_trace)).get_trace()
        return guide_trace.log_prob_sum() - model_trace.log_prob_sum()

    return exact_expectation(run)


def exact_expectation(program: Program) -> Tensor:
    """The expectation of what the program returns."""
    total: Tensor = sum((weight * value for weight, value in outcomes(program)), start=torch.zeros(()))
    return total

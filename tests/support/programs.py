"""Programs on which the laws of handlers are tried: small, and between them every primitive and kind of plate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributions as td

import ppl
import ppl_dist as dist
from ppl import deterministic, factor, handlers, param, plate, sample
from ppl_dist import constraints

__all__ = ["PROGRAMS", "Program"]

Y = torch.tensor([0.5, -1.0, 2.0])


@dataclass(frozen=True)
class Program:
    """A model without arguments, and what a handler can act on in it.

    Attributes:
        model: the model.
        latent: a latent site.
        value: a value for it.
        learned: a parameter, where there is one.
    """

    model: Callable[[], Any]
    latent: str
    value: torch.Tensor
    learned: str | None = None

    @property
    def name(self) -> str:
        """What the tests call it."""
        return self.model.__name__


def scalars() -> torch.Tensor:
    a = sample("a", dist.Normal(0.0, 1.0))
    b = sample("b", dist.Gamma(2.0, a.exp()))
    sample("c", dist.Normal(a, b), obs=0.5)
    return b


def schools() -> torch.Tensor:
    mu = sample("mu", dist.Normal(param("loc", 0.5), 1.0))
    tau = sample("tau", dist.Gamma(2.0, 2.0))
    with plate("data", 3):
        theta = sample("theta", dist.Normal(mu, tau))
        sample("y", dist.Normal(theta, 1.0), obs=Y)
    return theta


def discrete() -> torch.Tensor:
    coin = sample("coin", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
    with plate("data", 3):
        k = sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])), infer={"enumerate": "parallel"})
        sample("y", dist.Normal(coin + k, 1.0), obs=Y)
    return coin


def minibatch() -> torch.Tensor:
    mu = sample("mu", dist.Normal(0.0, 1.0))
    with plate("data", 6, subsample_size=3) as i:
        bias = sample("bias", dist.Normal(param("biases", torch.zeros(6), event_dim=0), 1.0))
        sample("y", dist.Normal(mu + bias, 1.0), obs=torch.arange(6.0)[i])
    return mu


def crossed() -> torch.Tensor:
    rows, columns = plate("rows", 2, dim=-2), plate("columns", 3, dim=-1)
    with rows:
        r = sample("r", dist.Normal(0.0, 1.0))
    with columns:
        c = sample("c", dist.Normal(0.0, 1.0))
    with columns, rows:
        sample("y", dist.Normal(r + c, 1.0), obs=torch.zeros(2, 3))
    return r


def loop() -> torch.Tensor:
    x = sample("x", dist.Normal(0.0, 1.0))
    for i in plate("steps", 3):
        z = sample(f"z_{i}", dist.Normal(x, 1.0))
        sample(f"y_{i}", dist.Normal(z, 1.0), obs=Y[i])
    return x


def events() -> torch.Tensor:
    p = sample("p", dist.Dirichlet(torch.ones(3)))
    with plate("data", 2):
        x = sample("x", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
        sample("y", dist.Multinomial(4, p), obs=torch.tensor([[1.0, 1.0, 2.0], [0.0, 4.0, 0.0]]))
        sample("n", dist.Normal(x, 1.0).to_event(1), obs=torch.zeros(2, 2))
    return p


def weighted() -> torch.Tensor:
    mu = sample("mu", dist.Normal(0.0, 1.0))
    with plate("data", 3), handlers.scale(scale=0.5), handlers.mask(mask=torch.tensor([True, False, True])):
        sample("y", dist.Normal(mu, 1.0), obs=torch.tensor([0.5, math.nan, 2.0]))
    return mu


def partly_observed() -> torch.Tensor:
    mu = sample("mu", dist.Normal(0.0, 1.0))
    with plate("data", 3):
        sample("y", dist.Normal(mu, 1.0), obs=Y, obs_mask=torch.tensor([True, False, True]))
    return mu


def learned() -> torch.Tensor:
    scale = param("scale", 2.0, constraint=constraints.positive)
    line = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(line.weight, 0.3)
    torch.nn.init.constant_(line.bias, 0.1)
    net = ppl.module("net", line)
    x = sample("x", dist.Normal(0.0, scale))
    sample("y", dist.Normal(net(x.reshape(1)).squeeze(), 1.0), obs=0.0)
    return x


def computed() -> torch.Tensor:
    x = sample("x", dist.Normal(0.0, 1.0))
    factor("prefer", -x.square())
    return deterministic("twice", 2 * x)


def foreign() -> torch.Tensor:
    x = sample("x", td.Normal(0.0, 1.0))
    with plate("data", 3):
        sample("y", td.Normal(x, 1.0), obs=Y)
    return x


PROGRAMS = {
    program.name: program
    for program in (
        Program(scalars, "a", torch.tensor(0.25)),
        Program(schools, "mu", torch.tensor(0.25), "loc"),
        Program(discrete, "coin", torch.tensor(1.0)),
        Program(minibatch, "mu", torch.tensor(0.25), "biases"),
        Program(crossed, "r", torch.tensor([[0.25], [0.5]])),
        Program(loop, "x", torch.tensor(0.25)),
        Program(events, "p", torch.tensor([0.25, 0.5, 0.25])),
        Program(weighted, "mu", torch.tensor(0.25)),
        Program(partly_observed, "mu", torch.tensor(0.25)),
        Program(learned, "x", torch.tensor(0.25), "scale"),
        Program(computed, "x", torch.tensor(0.25)),
        Program(foreign, "x", torch.tensor(0.25)),
    )
}

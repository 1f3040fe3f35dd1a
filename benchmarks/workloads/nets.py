"""Networks: a variational autoencoder, a sigmoid belief net, and a regression with priors on its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, linear

from .contenders import Hand, Library, Workload
from .densities import bounds, gaussians, leaf, normal, pair, standard_divergence

__all__ = ["autoencoder", "bayesian_net", "belief_net"]

PIXELS, HIDDEN, CODE, BATCH = 784, 400, 20, 128
UNITS, PICTURES = 200, 64
ROWS, SHAPES, NOISE = 506, ((13, 50), (50,), (50, 1), (1,)), 0.3


def autoencoder() -> Workload:
    x = _pictures(BATCH)
    return Workload((x,), _autoencoder_programs, _autoencoder_by_hand)


def _pictures(count: int) -> Tensor:
    return torch.bernoulli(torch.full((count, PIXELS), 0.3), generator=torch.Generator().manual_seed(0))


def _coders() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * CODE))
        decoder = nn.Sequential(nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))
    return encoder, decoder


def _autoencoder_programs(library: Library) -> tuple[Any, Any]:
    words, families, numeric = library.words, library.families, library.numeric
    encoder, decoder = _coders()

    def model(x: Any) -> None:
        net = library.module("decoder", decoder)
        with words.plate("data", len(x)):
            code = words.sample("code", families.Normal(numeric.zeros(CODE), 1.0).to_event(1))
            words.sample("x", families.Bernoulli(logits=net(code)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        out = library.module("encoder", encoder)(x)
        loc, log_scale = out[..., :CODE], out[..., CODE:]
        with words.plate("data", len(x)):
            words.sample("code", families.Normal(loc, numeric.exp(log_scale)).to_event(1))

    return model, guide


def _autoencoder_by_hand() -> Hand:
    def encode(leaves: Sequence[Tensor], x: Tensor) -> tuple[Tensor, ...]:
        return _perceptron(leaves[:4], x).chunk(2, -1)

    def decode(leaves: Sequence[Tensor], code: Tensor) -> Tensor:
        return _perceptron(leaves[4:], code)

    def log_weight(particles: tuple[int, ...], leaves: Sequence[Tensor], x: Tensor) -> Tensor:
        loc, log_scale = encode(leaves, x)
        noise = torch.randn(particles + loc.shape)
        code = loc + log_scale.exp() * noise
        # the constants of the two Normals are the same
        prior_less_guide = (0.5 * (noise * noise - code * code) + log_scale).sum(-1)
        logits = decode(leaves, code)
        return prior_less_guide + _log_density(logits, x.expand_as(logits))

    def analytic(leaves: Sequence[Tensor], x: Tensor) -> Tensor:
        loc, log_scale = encode(leaves, x)
        code = loc + log_scale.exp() * torch.randn_like(loc)
        logits = decode(leaves, code)
        return standard_divergence(loc, log_scale) + binary_cross_entropy_with_logits(logits, x, reduction="sum")

    losses = {**bounds(log_weight, importance=True), "TraceMeanField_ELBO": analytic}
    return Hand([weight for coder in _coders() for weight in coder.parameters()], losses)


def _perceptron(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    w1, b1, w2, b2 = weights
    return linear(linear(x, w1, b1).relu(), w2, b2)


def _log_density(logits: Tensor, value: Tensor) -> Tensor:
    """Of vectors of independent Bernoullis."""
    return -binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


def belief_net() -> Workload:
    x = _pictures(PICTURES)
    return Workload((x,), _belief_net_programs, _belief_net_by_hand, "TraceGraph_ELBO")


def _layers() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(PIXELS, UNITS), nn.Linear(UNITS, PIXELS)


def _belief_net_programs(library: Library) -> tuple[Any, Any]:
    words, families, numeric = library.words, library.families, library.numeric
    up, down = _layers()
    baseline = {"use_decaying_avg_baseline": True, "baseline_beta": 0.9}

    def model(x: Any) -> None:
        net, prior = library.module("down", down), words.param("prior", numeric.zeros(UNITS))
        with words.plate("data", len(x)):
            units = words.sample("units", families.Bernoulli(logits=prior).to_event(1))
            words.sample("x", families.Bernoulli(logits=net(units)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        net = library.module("up", up)
        with words.plate("data", len(x)):
            words.sample("units", families.Bernoulli(logits=net(x)).to_event(1), infer={"baseline": baseline})

    return model, guide


def _belief_net_by_hand() -> Hand:
    up, down = _layers()

    def loss(leaves: Sequence[Tensor], average: Tensor, kept: Tensor, x: Tensor) -> Tensor:
        up_weight, up_bias, down_weight, down_bias, prior = leaves
        logits = linear(x, up_weight, up_bias)
        units = torch.bernoulli(logits.detach().sigmoid())
        log_q = _log_density(logits, units)
        log_x = _log_density(linear(units, down_weight, down_bias), x)
        cost = log_q - _log_density(prior.expand_as(units), units) - log_x
        paid = cost.detach()
        score = (log_q * (paid - average)).sum()
        if torch.is_grad_enabled():  # a look at the loss is no step
            average.copy_(torch.lerp(paid, average, kept))
            kept.fill_(0.9)  # nothing is kept of the zeros at the start
        return cost.sum() + (score - score.detach())

    leaves = [*up.parameters(), *down.parameters(), leaf(torch.zeros(UNITS))]
    return Hand(leaves, {"Trace_ELBO": loss, "TraceGraph_ELBO": loss}, (torch.zeros(PICTURES), torch.zeros(())))


def bayesian_net() -> Workload:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, SHAPES[0][0], generator=random)
    y = (x @ torch.randn(SHAPES[0][0], generator=random)).sin() + NOISE * torch.randn(ROWS, generator=random)
    return Workload((x, y), _bayesian_net_programs, _bayesian_net_by_hand)


def _bayesian_net_programs(library: Library) -> tuple[Any, Any]:
    words, families, numeric = library.words, library.families, library.numeric
    names = ("w1", "b1", "w2", "b2")

    def model(x: Any, y: Any) -> None:
        w1, b1, w2, b2 = (
            words.sample(name, families.Normal(0.0, 1.0).expand(shape).to_event(len(shape)))
            for name, shape in zip(names, SHAPES, strict=True)
        )
        out = numeric.tanh(x @ w1 + b1) @ w2 + b2
        with words.plate("data", ROWS):
            words.sample("y", families.Normal(out.squeeze(-1), NOISE), obs=y)

    def guide(x: Any, y: Any) -> None:
        for name, shape in zip(names, SHAPES, strict=True):
            loc = words.param(f"{name}_loc", numeric.full(shape, 0.1))
            scale = words.param(f"{name}_scale", numeric.full(shape, 0.1), constraint=families.constraints.positive)
            words.sample(name, families.Normal(loc, scale).to_event(len(shape)))

    return model, guide


def _bayesian_net_by_hand() -> Hand:
    def log_weight(particles: tuple[int, ...], leaves: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        draws = [each.draw() for each in gaussians(leaves)]
        (w1, _), (b1, _), (w2, _), (b2, _) = draws
        out = torch.addmm(b2, torch.addmm(b1, x, w1).tanh(), w2).squeeze(-1)
        log_p = normal((y - out) / NOISE, math.log(NOISE)).sum()
        for value, log_q in draws:
            log_p = log_p + (normal(value, 0.0) - log_q).sum()
        return log_p

    leaves = [leaf for shape in SHAPES for leaf in pair(torch.full(shape, 0.1), torch.full(shape, 0.1))]
    return Hand(leaves, bounds(log_weight))

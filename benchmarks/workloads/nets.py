"""Networks: a variational autoencoder, a sigmoid belief net, and a regression with priors on its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from .contenders import Hand, Library, Workload
from .densities import Gaussian, bounds, leaf, normal, standard_divergence

__all__ = ["autoencoder", "bayesian_net", "belief_net"]

PIXELS, HIDDEN, CODE, BATCH = 784, 400, 20, 128
UNITS, PICTURES = 200, 64
ROWS, SHAPES, NOISE = 506, ((13, 50), (50,), (50, 1), (1,)), 0.3


def autoencoder() -> Workload:
    x = _pictures(BATCH)
    return Workload((x,), _autoencoder_programs, lambda: _autoencoder_by_hand(x), jax=False)


def _pictures(count: int) -> Tensor:
    return torch.bernoulli(torch.full((count, PIXELS), 0.3), generator=torch.Generator().manual_seed(0))


def _coders() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * CODE))
        decoder = nn.Sequential(nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))
    return encoder, decoder


def _autoencoder_programs(library: Library) -> tuple[Any, Any]:
    words, families, _ = library
    encoder, decoder = _coders()

    def model(x: Tensor) -> None:
        net = words.module("decoder", decoder)
        with words.plate("data", len(x)):
            code = words.sample("code", families.Normal(torch.zeros(CODE), 1.0).to_event(1))
            words.sample("x", families.Bernoulli(logits=net(code)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        net = words.module("encoder", encoder)
        loc, log_scale = net(x).chunk(2, -1)
        with words.plate("data", len(x)):
            words.sample("code", families.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


def _autoencoder_by_hand(x: Tensor) -> Hand:
    encoder, decoder = _coders()

    def log_weight(particles: tuple[int, ...]) -> Tensor:
        loc, log_scale = encoder(x).chunk(2, -1)
        noise = torch.randn(particles + loc.shape)
        code = loc + log_scale.exp() * noise
        # the constants of the two Normals are the same
        prior_less_guide = (0.5 * (noise * noise - code * code) + log_scale).sum(-1)
        logits = decoder(code)
        return prior_less_guide + _log_density(logits, x.expand_as(logits))

    def analytic() -> Tensor:
        loc, log_scale = encoder(x).chunk(2, -1)
        code = loc + log_scale.exp() * torch.randn_like(loc)
        logits = decoder(code)
        return standard_divergence(loc, log_scale) + binary_cross_entropy_with_logits(logits, x, reduction="sum")

    losses = {**bounds(log_weight, importance=True), "TraceMeanField_ELBO": analytic}
    return Hand([*encoder.parameters(), *decoder.parameters()], losses)


def _log_density(logits: Tensor, value: Tensor) -> Tensor:
    """Of vectors of independent Bernoullis."""
    return -binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


def belief_net() -> Workload:
    x = _pictures(PICTURES)
    return Workload((x,), _belief_net_programs, lambda: _belief_net_by_hand(x), jax=False)


def _layers() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(PIXELS, UNITS), nn.Linear(UNITS, PIXELS)


def _belief_net_programs(library: Library) -> tuple[Any, Any]:
    words, families, _ = library
    up, down = _layers()
    baseline = {"use_decaying_avg_baseline": True, "baseline_beta": 0.9}

    def model(x: Tensor) -> None:
        net, prior = words.module("down", down), words.param("prior", torch.zeros(UNITS))
        with words.plate("data", len(x)):
            units = words.sample("units", families.Bernoulli(logits=prior).to_event(1))
            words.sample("x", families.Bernoulli(logits=net(units)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        net = words.module("up", up)
        with words.plate("data", len(x)):
            words.sample("units", families.Bernoulli(logits=net(x)).to_event(1), infer={"baseline": baseline})

    return model, guide


def _belief_net_by_hand(x: Tensor) -> Hand:
    up, down = _layers()
    prior = leaf(torch.zeros(UNITS))
    average: Tensor | None = None

    def loss() -> Tensor:
        nonlocal average
        logits = up(x)
        units = torch.bernoulli(logits.detach().sigmoid())
        log_q = _log_density(logits, units)
        cost = log_q - _log_density(prior.expand_as(units), units) - _log_density(down(units), x)
        paid = cost.detach()
        advantage = paid if average is None else paid - average
        if torch.is_grad_enabled():  # a look at the loss is no step
            average = paid if average is None else torch.lerp(paid, average, 0.9)
        score = (log_q * advantage).sum()
        return cost.sum() + (score - score.detach())

    return Hand([*up.parameters(), *down.parameters(), prior], {"Trace_ELBO": loss, "TraceGraph_ELBO": loss})


def bayesian_net() -> Workload:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, SHAPES[0][0], generator=random)
    y = (x @ torch.randn(SHAPES[0][0], generator=random)).sin() + NOISE * torch.randn(ROWS, generator=random)
    return Workload((x, y), _bayesian_net_programs, lambda: _bayesian_net_by_hand(x, y))


def _bayesian_net_programs(library: Library) -> tuple[Any, Any]:
    words, families, numeric = library
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


def _bayesian_net_by_hand(x: Tensor, y: Tensor) -> Hand:
    of_each = [Gaussian(torch.full(shape, 0.1), torch.full(shape, 0.1)) for shape in SHAPES]
    log_noise = torch.tensor(NOISE).log()

    def log_weight(particles: tuple[int, ...]) -> Tensor:
        draws = [each.draw() for each in of_each]
        (w1, _), (b1, _), (w2, _), (b2, _) = draws
        out = torch.addmm(b2, torch.addmm(b1, x, w1).tanh(), w2).squeeze(-1)
        log_p = normal((y - out) / NOISE, log_noise).sum()
        for value, log_q in draws:
            log_p = log_p + (normal(value, 0.0) - log_q).sum()
        return log_p

    return Hand([leaf for each in of_each for leaf in each.leaves], bounds(log_weight))

"""A probabilistic programming language in one page: messages, handlers, parameters, and inference on top of them.

A primitive sends a message out and back through a stack of handlers; inference is two traces and a gradient step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

Message = dict[str, Any]
STACK: list[Handler] = []  # one per process: `ppl` keeps one per context, so that threads do not see each other's
PARAMS: dict[str, Tensor] = {}


class Handler:
    """Changes what running a model means: `process` before the message has a value, `finish` after."""

    def __init__(self, fn: Callable[..., Any] | None = None, **options: Any) -> None:
        self.fn, self.options = fn, options

    def process(self, msg: Message) -> None: ...

    def finish(self, msg: Message) -> None: ...

    def __enter__(self) -> Any:
        STACK.append(self)

    def __exit__(self, *error: object) -> None:
        while STACK.pop() is not self:
            pass

    def __call__(self, *args: Any) -> Any:
        with self:
            return self.fn(*args) if self.fn else None


def emit(msg: Message) -> Any:
    """Send a message out through the handlers, innermost first, give it a value, and come back."""
    seen = []
    for handler in reversed(STACK):
        seen.append(handler)
        handler.process(msg)
        if msg.get("stop"):
            break
    if msg["value"] is None:
        msg["value"] = msg["draw"]()
    for handler in reversed(seen):
        handler.finish(msg)
    return msg["value"]


def sample(name: str, fn: Any, obs: Tensor | None = None) -> Any:
    """Draw from a distribution, or observe a value."""
    draw = fn.rsample if fn.has_rsample else fn.sample
    return emit({"type": "sample", "name": name, "fn": fn, "draw": draw, "value": obs, "observed": obs is not None})


def param(name: str, init: Tensor) -> Any:
    """A learnable tensor, made the first time it is met."""
    draw = partial(PARAMS.setdefault, name, init.clone().requires_grad_())
    return emit({"type": "param", "name": name, "draw": draw, "value": None})


class trace(Handler):
    """Record the messages of a run."""

    def __enter__(self) -> dict[str, Message]:
        super().__enter__()
        self.sites: dict[str, Message] = {}
        return self.sites

    def finish(self, msg: Message) -> None:
        assert msg["type"] == "param" or msg["name"] not in self.sites, f"the name {msg['name']} is taken"
        self.sites[msg["name"]] = msg

    def get_trace(self, *args: Any) -> dict[str, Message]:
        self(*args)
        return self.sites


class replay(Handler):
    """Give latent sites the values they have in another run."""

    def process(self, msg: Message) -> None:
        if msg["type"] == "sample" and not msg["observed"] and msg["name"] in self.options["trace"]:
            msg["value"] = self.options["trace"][msg["name"]]["value"]


class condition(Handler):
    """Observe values by name."""

    def process(self, msg: Message) -> None:
        if msg["type"] == "sample" and msg["name"] in self.options["data"]:
            msg["value"], msg["observed"] = self.options["data"][msg["name"]], True


class block(Handler):
    """Hide everything from the handlers further out."""

    def process(self, msg: Message) -> None:
        msg["stop"] = True


class Normal:
    """Normal(loc m, scale s):  density  exp(-((x - m) / s)**2 / 2) / (s sqrt(2 pi))."""

    has_rsample, event_shape = True, torch.Size()

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale, self.batch_shape = loc, scale, torch.broadcast_shapes(loc.shape, scale.shape)

    def rsample(self) -> Tensor:
        return self.loc + self.scale * torch.randn(self.batch_shape)

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * ((x - self.loc) / self.scale) ** 2 - self.scale.log() - 0.5 * math.log(2 * math.pi)


class Bernoulli:
    """Bernoulli(logits l):  P(1) = 1 / (1 + exp(-l))."""

    has_rsample, event_shape = False, torch.Size()

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.batch_shape = logits, logits.shape

    def sample(self) -> Tensor:
        return torch.bernoulli(self.logits.detach().sigmoid())

    def log_prob(self, x: Tensor) -> Tensor:
        return x * self.logits - torch.nn.functional.softplus(self.logits)


def log_joint(sites: dict[str, Message]) -> Tensor:
    """The log density of a run."""
    return torch.stack([m["fn"].log_prob(m["value"]).sum() for m in sites.values() if m["type"] == "sample"]).sum()


def negative_elbo(model: Callable[..., Any], guide: Callable[..., Any], baseline: float = 0.0) -> Tensor:
    """A draw of log q - log p, and in its gradient an unbiased estimate of that of the mean."""
    drawn = trace(guide).get_trace()
    cost = log_joint(drawn) - log_joint(trace(replay(model, trace=drawn)).get_trace())
    for m in drawn.values():
        if m["type"] == "sample" and not m["fn"].has_rsample:  # no path to follow: the score function (REINFORCE);
            score = m["fn"].log_prob(m["value"])  # less 1, as log q in the cost brings one more score, of mean zero
            cost = cost + (score - score.detach()).sum() * (cost.detach() - baseline - 1.0)
    return cost


def fit(model: Callable[..., Any], guide: Callable[..., Any], steps: int, lr: float) -> None:
    """Stochastic variational inference: gradient steps on the bound."""
    baseline = negative_elbo(model, guide).item()  # and now the parameters exist
    optimizer = torch.optim.Adam(list(PARAMS.values()), lr=lr)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        loss = negative_elbo(model, guide, baseline)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        decay.step()
        baseline += 0.1 * (loss.item() - baseline)


X, SEEN = torch.tensor([1.2, 0.3, 2.0, 1.7]), torch.tensor(1.5)


def model() -> None:
    """A coin that shifts what is seen, and a mean with a wide prior."""
    coin = sample("coin", Bernoulli(torch.tensor(-0.5)))
    sample("seen", Normal(2 * coin, torch.tensor(1.0)), obs=SEEN)
    mu = sample("mu", Normal(torch.tensor(0.0), torch.tensor(10.0)))
    for i, x in enumerate(X):
        sample(f"x_{i}", Normal(mu, torch.tensor(1.0)), obs=x)


def guide() -> None:
    """Independent posteriors, which these are."""
    sample("coin", Bernoulli(param("logits", torch.tensor(0.0))))
    sample("mu", Normal(param("loc", torch.tensor(0.0)), param("log_scale", torch.tensor(0.0)).exp()))


def main() -> int:
    """Fit, compare, and say whether it is right."""
    torch.manual_seed(0)
    fit(model, guide, steps=1500, lr=0.05)
    precision, log_odds = 4 + 1 / 10**2, -0.5 + 2 * SEEN.item() - 2  # prior + data; prior + log likelihood ratio
    exact = {"loc": X.sum().item() / precision, "log_scale": -0.5 * math.log(precision), "logits": log_odds}
    for name, value in exact.items():
        print(f"{name:10} fitted {PARAMS[name].item():7.3f}   exact {value:7.3f}")
    return 0 if all(abs(PARAMS[name].item() - value) < 0.1 for name, value in exact.items()) else 1


if __name__ == "__main__":
    raise SystemExit(main())

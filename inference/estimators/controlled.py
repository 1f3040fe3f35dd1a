"""REBAR and RELAX: the score function with a control variate that is differentiated through a relaxed draw.

A discrete draw is b = H(z) with z = logits + noise. Take any c that is differentiable in z, and the score
s = d log p(b) / d logits. Then

    (f(b) - c(z)) s + dc/dz (dz - dz~) / d logits

has the expectation of f(b) s: dz is the derivative of z for fixed noise of z, and dz~ that for fixed noise of z given
b, along which b stays what it is. The noise of z~ given b is taken such that z~ = z, so that one evaluation of c serves
for both; the coupling leaves the expectation as it is. With r_k = exp(z_k - max z),

    dz~_k = (1 - r_k) dlogits_k + r_k sum_j p_j dlogits_j

since the largest z is a Gumbel variable around log sum exp logits whatever b is, and the others are cut off there:
exp(-z_k) = E_k exp(-logits_k) + exp(-max z) for standard exponential E_k (Maddison, Tarlow, Minka 2014, "A* Sampling";
Tucker et al. 2017, appendix). A Bernoulli has two categories, the logits of one of them 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppl import get_param_store
from ppl.runtime import Site
from ppl_dist import OneHotCategorical
from ppl_dist.samplers import log_standard_exponential
from ppl_dist.shapes import sum_rightmost

from ..baselines import baseline_of
from .estimator import Context, Guard, Part, has_rows, laid_out, not_differentiable, once, samples, slope
from .relaxed import Relaxing, discrete, hardened

__all__ = ["Rebar", "Relax"]

Network = Callable[[Tensor], Tensor]
HIDDEN = 8  # units of the network where the site names none


class Control(NamedTuple):
    """The control variate of a site: c(z) = scale * f(x) + network(x), at x, z relaxed with the temperature."""

    log_temperature: Tensor
    scale: Tensor
    network: Network | None
    learnt: list[Tensor]


class Drawn(NamedTuple):
    """What a site was drawn from; z has the shape of its value, with one row per sample."""

    family: Any
    logits: Tensor
    z: Tensor
    soft: Tensor
    control: Control


class Rebar(Relaxing):
    """The score function with the cost at a relaxed draw as its control variate, unbiased.

    Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein 2017, "REBAR: Low-variance, Unbiased Gradient Estimates for Discrete
    Latent Variable Models", eq. 7 and 8. The temperature, from `infer["temperature"]` on, and the scale of the control
    variate are parameters `name.control.*` of the ambient store, trained to make the gradient of the site vary less.
    The baseline of the site is subtracted from what the control variate leaves. Costs must be differentiable in the
    draw, and continuous: a jump, as at a comparison, has a part of the gradient that no derivative shows. They are
    evaluated at the discrete and at the relaxed draw, in two rows.
    """

    name = "rebar"

    def rows(self, site: Site) -> bool:
        return True

    def draw(self, site: Site) -> None:
        family = discrete(site.fn)
        facts = torch.finfo(family.logits.dtype)
        logits = family.logits.clamp(facts.min, facts.max)  # a chance of zero has a log too
        z = laid_out(logits.detach() + _noise(family, samples(site), site.generator), site).requires_grad_()
        control = self.control(site, logits)
        soft = _squashed(family, z / control.log_temperature.exp())
        site.value = torch.cat([hardened(family, z.detach(), 0.0), soft])
        site.infer["_drawn"] = Drawn(family, logits, z, soft, control)

    def control(self, site: Site, like: Tensor) -> Control:
        """The control variate of a site, its parameters registered where they are new."""
        start = torch.as_tensor(site.infer.get("temperature", 0.5), dtype=like.dtype, device=like.device)
        log_temperature = _learnt(site, "log_temperature", start.detach().log())
        scale = _learnt(site, "scale", torch.ones_like(start))
        return Control(log_temperature, scale, None, [log_temperature, scale])

    def path(self, site: Site) -> Tensor | None:
        drawn: Drawn = site.infer["_drawn"]
        return drawn.z

    def expect(self, site: Site, parts: list[Part], context: Context) -> list[Part]:
        dim, count, drawn = site.infer["_enumerate_dim"], samples(site), site.infer["_drawn"]
        met = [part for part in parts if has_rows(part.cost, site)]
        left = [part for part in parts if not has_rows(part.cost, site)]
        for part in met:
            cost = part.cost.narrow(dim, 0, count).mean(dim, keepdim=True)
            left.append(part._replace(cost=once(cost, site, context.guard, drawn.logits)))
        if met and torch.is_grad_enabled() and drawn.logits.requires_grad:
            left += _corrections(site, drawn, met, context)
        return left


class Relax(Rebar):
    """REBAR with a network of the relaxed draw added to its control variate, unbiased whatever the network is.

    Grathwohl, Choi, Wu, Roeder, Duvenaud 2018, "Backpropagation through the Void: Optimizing Control Variates for
    Black-Box Gradient Estimation", eq. 8. `infer={"control": network}` names the network: it takes the entries of a
    draw along the last dimension, shape (..., n), and gives (..., 1); its parameters are learned if the program has
    them in a `ppl.module`. Without one it has a hidden layer, with parameters `name.control.*` of the ambient store.
    """

    name = "relax"

    def control(self, site: Site, like: Tensor) -> Control:
        plain = super().control(site, like)
        network = site.infer.get("control")
        if network is None:
            weights = _weights(site, like)
            return plain._replace(network=_hidden_layer(*weights), learnt=plain.learnt + weights)
        if not isinstance(network, nn.Module):
            raise TypeError(
                f'site "{site.name}": "control" must be a torch module, got {type(network).__name__}. '
                f'Try infer={{"estimator": "relax", "control": torch.nn.Linear({_entries(site)}, 1)}}.'
            )
        return plain._replace(network=network, learnt=plain.learnt + list(network.parameters()))


# What is drawn


def _noise(family: Any, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` rows of Gumbel noise for categories, of their difference for a Bernoulli."""
    like = family.logits
    shape = torch.Size((count, *like.shape))
    noise = -log_standard_exponential(shape, like, generator)
    return noise if isinstance(family, OneHotCategorical) else noise + log_standard_exponential(shape, like, generator)


def _squashed(family: Any, x: Tensor) -> Tensor:
    return x.softmax(-1) if isinstance(family, OneHotCategorical) else x.sigmoid()


def _kept(family: Any, z: Tensor, logits: Tensor, by: Tensor) -> Tensor:
    """`by` along dz less `by` along dz~: the movement with the logits that the draw does not bind."""
    if isinstance(family, OneHotCategorical):
        bound = (z - z.amax(-1, keepdim=True)).exp() * by
        return bound - logits.softmax(-1) * bound.sum(-1, keepdim=True)
    drawn = torch.where(z > 0, logits, -logits).sigmoid()
    return by * (1 + drawn * torch.expm1(-z.abs()))


# What is expected


def _corrections(site: Site, drawn: Drawn, parts: list[Part], context: Context) -> list[Part]:
    """The gradient of the logits as a term of its own; and what trains the control variate."""
    family, dim, event = drawn.family, site.infer["_enumerate_dim"], len(site.fn.event_shape)
    logits, z, control = drawn.logits.detach(), drawn.z.detach(), drawn.control
    learnt = [x for x in control.learnt if x.requires_grad]

    gap, along = _compared(site, drawn, parts, again=bool(learnt))
    level, training = baseline_of(site).level(site, [context.part(gap)], context)
    gap = gap if level is None else gap - level
    score = hardened(family, z, 0.0) - _squashed(family, logits)
    wide = (..., *(None,) * event)
    estimate = (gap[wide] * score + _kept(family, z, logits, along)).mean(dim - event, keepdim=True)
    # the log density of the draw is a cost too, whose derivative is one more score, of expectation zero
    own = torch.as_tensor(context.own)[wide] * score.mean(dim - event, keepdim=True)
    term = slope(drawn.logits, estimate - own, site, context.guard, *(part.cost for part in parts))
    moved = sum_rightmost(term, event)

    found = [context.part(moved)]
    if training is not None:
        found.append(context.part(training - training.detach()))
    if learnt:
        trained = _trained((estimate**2).sum(), learnt, context.guard)
        found.append(Part(trained, frozenset(), 0, frozenset()))
    return found


def _compared(site: Site, drawn: Drawn, parts: list[Part], *, again: bool) -> tuple[Tensor, Tensor]:
    """How far the cost is from the control variate, draw by draw; and the derivative of the latter along z."""
    dim, count, control = site.infer["_enumerate_dim"], samples(site), drawn.control
    relaxed = [part.cost.narrow(dim, count, count) for part in parts]
    along = control.scale * _along(site, relaxed, drawn.z, again=again)
    gap: Any = 0.0
    for part, value in zip(parts, relaxed, strict=True):
        gap = gap + part.cost.narrow(dim, 0, count).detach() - control.scale * value
    if control.network is not None:
        guess = _guess(site, control.network, drawn.soft)
        gap = gap - guess
        along = along + _along(site, [guess], drawn.z, again=again)
    return (gap, along) if again else (gap.detach(), along.detach())


def _along(site: Site, values: Sequence[Tensor], z: Tensor, *, again: bool) -> Tensor:
    """The derivative of the sum of `values` along z, apart for each row of earlier sites that z does not have."""
    event = len(site.fn.event_shape)
    for dim in range(-max(value.dim() for value in values), 0):
        size = max(value.shape[dim] if value.dim() >= -dim else 1 for value in values)
        if size > 1 and z.shape[dim - event] == 1:
            apart = ([_row(value, dim, i, size) for value in values] for i in range(size))
            return torch.cat([_along(site, row, z, again=again) for row in apart], dim - event)
    total = torch.stack([value.sum() for value in values]).sum()
    found: Tensor | None = None
    if total.requires_grad:
        (found,) = torch.autograd.grad(total, z, create_graph=again, retain_graph=True, allow_unused=True)
    if found is None:
        raise not_differentiable(site)
    return found


def _row(value: Tensor, dim: int, index: int, size: int) -> Tensor:
    """One row; a value without rows is shared among them."""
    if value.dim() < -dim or value.shape[dim] == 1:
        return value
    return value.narrow(dim, index, 1)


def _trained(objective: Tensor, learnt: list[Tensor], guard: Guard) -> Tensor:
    """Zero, with the gradient of the objective in these parameters alone."""
    guard.open = True
    try:
        gradients: Any = torch.autograd.grad(objective, learnt, retain_graph=True, allow_unused=True)
    finally:
        guard.open = False
    pairs = zip(learnt, gradients, strict=True)
    terms = [((x - x.detach()) * gradient).sum() for x, gradient in pairs if gradient is not None]
    return torch.stack(terms).sum() if terms else objective.new_zeros(())


# The network


def _learnt(site: Site, name: str, start: Tensor | Callable[[], Tensor]) -> Tensor:
    return get_param_store().get_or_init(f"{site.name}.control.{name}", start)


def _entries(site: Site) -> int:
    return int(site.fn.event_shape.numel())


def _weights(site: Site, like: Tensor) -> list[Tensor]:
    """Those of a network that starts at zero: the control variate is then that of REBAR.

    The numbers that tell the hidden units apart come from a generator of their own, so that registering them draws none
    of the site's.
    """
    size = _entries(site)

    def first() -> Tensor:
        return (torch.randn(size, HIDDEN, generator=torch.Generator().manual_seed(0)) / size**0.5).to(like)

    return [
        _learnt(site, "weight", first),
        _learnt(site, "bias", like.new_zeros(HIDDEN)),
        _learnt(site, "out", like.new_zeros(HIDDEN, 1)),
        _learnt(site, "level", like.new_zeros(1)),
    ]


def _hidden_layer(weight: Tensor, bias: Tensor, out: Tensor, level: Tensor) -> Network:
    return lambda x: (x @ weight + bias).tanh() @ out + level


def _guess(site: Site, network: Network, soft: Tensor) -> Tensor:
    """What the network makes of the relaxed draws, of their batch shape."""
    batch = soft.shape[: soft.dim() - len(site.fn.event_shape)]
    guess = network(soft.reshape(*batch, -1))
    if guess.shape != (*batch, 1):
        raise ValueError(
            f'site "{site.name}": the network "control" must take shape {(*batch, _entries(site))} to {(*batch, 1)}, '
            f'got {tuple(guess.shape)}. Try infer={{"estimator": "relax", "control": '
            f"torch.nn.Linear({_entries(site)}, 1)}}."
        )
    return guess.squeeze(-1)

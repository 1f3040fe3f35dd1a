"""Continuous relaxations of discrete draws, and the estimators that differentiate straight through them.

A draw is an argmax: b = H(z), where z = logits + noise. Its relaxation at the temperature T is the logistic function or
the softmax of z / T, which tends to b as T goes to 0. At T > 0 the gradient is that of another expectation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ppl.messages import family
from ppl.runtime import Site
from ppl_dist import Bernoulli, Independent, OneHotCategorical, RelaxedBernoulli, RelaxedOneHotCategorical
from ppl_dist.combine.wrapper import Wrapper
from ppl_dist.samplers import draw

from .estimator import Context, Estimator, Part, laid_out, samples
from .sampled import mean

__all__ = ["GumbelSoftmax", "Interpolated", "Relaxing", "StraightThrough", "discrete", "hardened"]


class Interpolated(Wrapper):
    """A Bernoulli or a OneHotCategorical whose log mass goes on linearly between its values: sum_k x_k log p_k.

    >>> Interpolated(Bernoulli(probs=0.5)).log_prob(torch.tensor(0.3))
    tensor(-0.6931)
    """

    def __init__(self, base_dist: Bernoulli | OneHotCategorical) -> None:
        super().__init__(base_dist, base_dist.batch_shape, base_dist.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        base: Any = self.base_dist
        if isinstance(base, OneHotCategorical):
            return _shared(value, base.logits).sum(-1)
        return _shared(value, logsigmoid(base.logits)) + _shared(1 - value, logsigmoid(-base.logits))


def _shared(share: Tensor, log_mass: Tensor) -> Tensor:
    """The share of a log mass, where nothing of an infinite one is nothing."""
    return share * torch.where(share == 0, 0.0, log_mass)


class Relaxing(Estimator):
    """Shared by the estimators that draw between the values of a discrete site."""

    def check(self, site: Site) -> None:
        if not isinstance(discrete(site.fn), Bernoulli | OneHotCategorical):
            raise ValueError(
                f'site "{site.name}": the estimator "{self.name}" expected a Bernoulli or a OneHotCategorical, got '
                f"{family(site.fn)}, which has no values between its values. Try {_better(site)}"
            )
        temperature = torch.as_tensor(site.infer.get("temperature", 0.5))
        if temperature.dim() > 0 or not temperature > 0:
            raise ValueError(
                f'site "{site.name}": "temperature" must be one positive number, got {site.infer["temperature"]!r}. '
                f'Try infer={{"estimator": "{self.name}", "temperature": 0.5}}.'
            )

    def plain(self, site: Site) -> bool:
        return False

    def scoring(self, fn: Any) -> Any:
        if isinstance(fn, Independent):
            return Independent(self.scoring(fn.base_dist), fn.reinterpreted_batch_ndims)
        return Interpolated(fn) if isinstance(fn, Bernoulli | OneHotCategorical) else fn


class GumbelSoftmax(Relaxing):
    """The pathwise derivative at a relaxed draw in place of the discrete one: low variance, and biased.

    Maddison, Mnih, Teh 2017, "The Concrete Distribution: A Continuous Relaxation of Discrete Random Variables"; Jang,
    Gu, Poole 2017, "Categorical Reparameterization with Gumbel-Softmax". The temperature is `infer["temperature"]`, 0.5
    where none is given; what scores the site does so by its log mass, continued linearly (`Interpolated`).
    """

    name = "gumbel_softmax"
    biased = True
    through = True

    def draw(self, site: Site) -> None:
        count = torch.Size((samples(site),) if self.rows(site) else ())
        value = self.moved(draw(_relaxed(site.fn, site.infer.get("temperature", 0.5)), count, site.generator), site)
        site.value = laid_out(value, site) if self.rows(site) else value

    def moved(self, soft: Tensor, site: Site) -> Tensor:
        """The value of the site, from the relaxed draw."""
        return soft

    def expect(self, site: Site, parts: list[Part], context: Context) -> list[Part]:
        return [part._replace(cost=mean(part.cost, site)) for part in parts]


class StraightThrough(GumbelSoftmax):
    """The discrete draw, with the derivative of the relaxed one: costs are right, gradients biased.

    Bengio, Leonard, Courville 2013, "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
    Computation"; with the relaxed draw it is the straight-through estimator of Jang, Gu, Poole 2017, section 2.2.
    """

    name = "straight_through"

    def moved(self, soft: Tensor, site: Site) -> Tensor:
        return hardened(discrete(site.fn), soft.detach(), 0.5) + (soft - soft.detach())


def discrete(fn: Any) -> Any:
    """The family, without the batch dimensions that became part of the event."""
    return discrete(fn.base_dist) if isinstance(fn, Independent) else fn


def hardened(family: Any, x: Tensor, threshold: float) -> Tensor:
    """The vertex that a point falls to: the largest coordinate, or for a Bernoulli the side of the threshold."""
    if isinstance(family, OneHotCategorical):
        return torch.zeros_like(x).scatter(-1, x.argmax(-1, keepdim=True), 1.0)
    return (x > threshold).to(x.dtype)


def _relaxed(fn: Any, temperature: Any) -> Any:
    if isinstance(fn, Independent):
        return Independent(_relaxed(fn.base_dist, temperature), fn.reinterpreted_batch_ndims)
    relaxed = RelaxedOneHotCategorical if isinstance(fn, OneHotCategorical) else RelaxedBernoulli
    return relaxed(torch.as_tensor(temperature, dtype=fn.logits.dtype), logits=fn.logits)


def _better(site: Site) -> str:
    if family(site.fn).startswith("Categorical"):
        return "OneHotCategorical there, with the same parameters."
    return 'infer={"estimator": "score"} there.'

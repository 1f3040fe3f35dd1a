"""Augment, reinforce, merge: the antithetic pair with the weight of its noise."""

from __future__ import annotations

from torch import Tensor

from ppl_dist import Bernoulli

from .disarm import Disarm

__all__ = ["Arm"]


class Arm(Disarm):
    """The gradient (f(b) - f(c)) (u - 1/2) in the logits l, for b = [u > sigmoid(-l)] and c = [u < sigmoid(l)].

    Where b and c differ, u - 1/2 is |2u - 1| (b - c) / 2: that of `Disarm` with the weight |2u - 1|, whose expectation
    given the pair is the weight there. Yin, Zhou 2019, "ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary
    Networks", theorem 1.
    """

    name = "arm"
    families = (Bernoulli,)

    def weights(self, sticks: Tensor, u: Tensor) -> Tensor:
        return (2 * u - 1).abs().to(sticks.dtype)

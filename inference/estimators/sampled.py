"""Estimators from plain draws: the pathwise derivative and the score function."""

from __future__ import annotations

from torch import Tensor

from ppl.runtime import Site
from ppl_dist.samplers import draw_from
from ppl_dist.tree import detached

from ..baselines import baseline_of
from .estimator import Context, Estimator, Part, has_rows, laid_out, log_density, magic_box, once, samples

__all__ = ["PathDerivative", "Pathwise", "Score"]


class Pathwise(Estimator):
    """The derivative of the cost along the draw, explicit or implicit, as `rsample` of the family has it."""

    name = "pathwise"
    any_order = True
    through = True

    def check(self, site: Site) -> None:
        if not site.fn.has_rsample:
            raise self.refuse(site, "has no rsample", 'Try infer={"estimator": "score"}.')

    def expect(self, site: Site, parts: list[Part], context: Context) -> list[Part]:
        return [part._replace(cost=mean(part.cost, site)) for part in parts]


class PathDerivative(Pathwise):
    """The pathwise derivative without the score of the draw, which has expectation zero: "sticking the landing".

    The log density of the site is computed with its parameters held constant; where the guide is the posterior, the
    gradient does not vary at all. Roeder, Wu, Duvenaud 2017, "Sticking the Landing: Simple, Lower-Variance Gradient
    Estimators for Variational Inference".
    """

    name = "path_derivative"
    any_order = False

    def plain(self, site: Site) -> bool:
        return False

    def draw(self, site: Site) -> None:
        if self.rows(site):
            super().draw(site)
        else:
            site.value = draw_from(site.fn.rsample, site.generator)
        site.value = once(site.value, site, site.infer["_guard"])
        site.unscaled_log_prob = detached(site.fn).log_prob(site.value)


class Score(Estimator):
    """The score function: the log density of the draw times what comes after it, less a baseline.

    Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning"; the
    baseline in the form that is right for every order is that of Mao, Foerster, Rocktaeschel, Al-Shedivat, Farquhar,
    Whiteson 2019, "A Baseline for Any Order Gradient Estimation in Stochastic Computation Graphs", eq. 4.
    """

    name = "score"
    any_order = True

    def draw(self, site: Site) -> None:
        site.value = laid_out(draw_from(site.fn.sample, site.generator, (samples(site),)), site)

    def expect(self, site: Site, parts: list[Part], context: Context) -> list[Part]:
        if "_enumerate_dim" in site.infer:  # a share without the rows does not depend on the draws
            free = [part for part in parts if not has_rows(part.cost, site)]
            parts = [part for part in parts if has_rows(part.cost, site)]
        else:
            free = []
        log_prob = log_density(site)
        if log_prob.requires_grad and parts:
            parts = [part._replace(cost=part.cost * magic_box(part.fold(log_prob))) for part in parts]
            parts += self._controls(site, log_prob, parts, context)
        return free + [part._replace(cost=mean(part.cost, site)) for part in parts]

    def describe(self, site: Site) -> str:
        return f"{super().describe(site)}, {baseline_of(site).describe(site)}"

    def _controls(self, site: Site, log_prob: Tensor, parts: list[Part], context: Context) -> list[Part]:
        """What has expectation zero and makes the sum vary less: the baseline, and what trains it."""
        level, training = baseline_of(site).level(site, parts, context)
        # the log density of the draw is a cost too: its derivative is one more score, and cancels as a baseline does
        level = context.own if level is None else level + context.own
        found = [] if training is None else [context.part(training - training.detach())]
        if isinstance(level, Tensor) or level != 0:
            found.append(context.part((1 - magic_box(log_prob)) * level))
        return found


def mean(cost: Tensor, site: Site) -> Tensor:
    """The average over the rows of a site, where it was drawn in rows."""
    if "_enumerate_dim" not in site.infer or not has_rows(cost, site):
        return cost
    return cost.mean(site.infer["_enumerate_dim"], keepdim=True)

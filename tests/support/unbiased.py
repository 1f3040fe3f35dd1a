"""Whether an estimator of gradients is right on average: draws of it beside the exact gradient, as many as it takes.

`ESTIMATORS` is the table of settings; with `PROGRAMS` of `tests.support.stochastic` it makes the pairs that are tried.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

import inference.estimators
import ppl_dist as dist
from inference import ELBO, Baselines, DecayingAverage, LearnedBaseline, LeaveOneOut, Trace_ELBO, TraceGraph_ELBO
from inference.estimators import Estimator
from ppl import Handler, ParamStore, Site
from ppl import handlers as h
from tests.support.enumeration import exact_elbo_loss
from tests.support.stochastic import PROGRAMS, Pair, values

STANDARD_ERRORS = 4.0
PRECISION = 0.02  # the standard error allowed, of the norm of the gradient
LEAST, MOST = 40, 3000


Rule = Callable[[Site], bool]


class Setting(NamedTuple):
    """What latent sites ask for.

    Attributes:
        infer: what is asked.
        at: which sites ask for it.
        programs: the programs that it is tried on, where it adds nothing on the others; empty for all.
        particles: how many are drawn at once.
        bound: the loss whose gradient it is.
    """

    infer: Mapping[str, Any]
    at: Rule = lambda site: True
    programs: tuple[str, ...] = ()
    particles: int = 3000
    bound: type[ELBO] = Trace_ELBO


def of(*families: type) -> Rule:
    """Sites whose entries are of one of these families."""
    return lambda site: isinstance(entries(site.fn), families)


def one_of(*families: type) -> Rule:
    """Sites of one of these families, whose values are no vectors of independent entries."""
    return lambda site: isinstance(site.fn, families)


def entries(fn: Any) -> Any:
    while isinstance(fn, dist.Independent):
        fn = fn.base_dist
    return fn


def inside(plate: str) -> Rule:
    return lambda site: any(frame.name == plate for frame in site.cond_indep_stack)


def score(baseline: Any, at: Rule = lambda site: True, programs: tuple[str, ...] = (), **more: Any) -> Setting:
    return Setting({"estimator": "score", "baseline": baseline, **more}, at, programs)


def guess() -> torch.nn.Module:
    """A baseline to be learned, with what it has learned so far."""
    network = torch.nn.Linear(1, 1, dtype=torch.float64)
    torch.nn.init.constant_(network.weight, 0.7)
    torch.nn.init.constant_(network.bias, 0.9)
    return network


finite = one_of(dist.Bernoulli, dist.Categorical, dist.OneHotCategorical, dist.Binomial)
continuous = of(dist.Normal, dist.Gamma, dist.Exponential)

SEVERAL = (
    "nested_plates",
    "global_latent_then_plate",
    "subsampled_plate_under_a_global_latent",
    "a_draw_that_leads_from_a_plate_back_into_it",
    "guide_in_another_order",
    "pathwise_then_score",
    "score_normal_between_pathwise_and_discrete",
    "second_from_a_table_of_the_first",
    "chain_of_three_seen_at_each_step",
    "a_cost_that_the_last_latent_does_not_change",
)
"""Programs of several sites, where it matters which of them a cost depends on."""

ESTIMATORS = {
    "as_it_comes": Setting({}),
    "three_samples": Setting({"samples": 3}, continuous),
    "score": score("none"),
    "score_by_provenance": score("none", programs=SEVERAL)._replace(bound=TraceGraph_ELBO),
    "score_decaying_average": score(DecayingAverage(0.8)),
    "score_number": score(2.0, programs=("nested_plates", "pathwise_then_score", "masked_latents")),
    "score_learned": score(LearnedBaseline(guess(), values(1.0)), programs=("nested_plates", "score_then_pathwise")),
    "score_leave_one_out": score("leave_one_out", continuous),  # which others have as they come
    "score_leave_one_out_of_samples": score("leave_one_out", samples=3),
    "score_leave_one_out_of_a_plate": score(LeaveOneOut("data"), inside("data")),
    "enumerate": Setting({"estimator": "enumerate"}, finite),
    "enumerate_the_likeliest": Setting({"estimator": "enumerate", "budget": 1}, finite),
    "path_derivative": Setting({"estimator": "path_derivative"}, continuous),
    "arm": Setting({"estimator": "arm"}, of(dist.Bernoulli)),
    "disarm": Setting({"estimator": "disarm"}, of(dist.Bernoulli, dist.Categorical, dist.OneHotCategorical)),
    "measure_valued": Setting({"estimator": "measure_valued"}, of(dist.Normal, dist.Poisson, dist.Exponential)),
}


def known(setting: Setting) -> Estimator:
    """The estimator of a setting; the pathwise one, which promises most, where sites are left to choose."""
    return inference.estimators.ESTIMATORS[setting.infer.get("estimator", "pathwise")]


class Asking(Handler):
    """Latent sites inside ask for what the setting says, unless the program asks for something itself."""

    def __init__(self, fn: Callable[..., Any], setting: Setting) -> None:
        super().__init__(fn)
        self.setting = setting

    def process(self, site: Site) -> None:
        if site.type == "sample" and not site.is_observed and self.setting.at(site):
            site.infer.update({**self.setting.infer, **site.infer})


def latent(program: str) -> list[Site]:
    """The latent sites of a program that leave the choice of an estimator to others."""
    with ParamStore(), h.seed(rng_seed=0):
        sites = h.trace(PROGRAMS[program].guide).get_trace().values()
    return [site for site in sites if site.type == "sample" and "estimator" not in site.infer]


# where entries of a plate meet in a cost outside it, their values cannot be summed one by one
MEETING = frozenset(
    {
        "a_draw_that_leads_from_a_plate_back_into_it",
        "two_plates_on_one_dim_of_different_sizes",
        "two_plates_on_one_dim_of_one_size",
    }
)


def pairs(*, biased: bool = False) -> list[tuple[str, str]]:
    """The names of all programs and settings that go together, of estimators that say they are `biased` or not."""
    settings = {name: s for name, s in ESTIMATORS.items() if known(s).biased == biased}
    return [
        (program, name)
        for program in PROGRAMS
        for name, setting in settings.items()
        if program in (setting.programs or PROGRAMS)
        and (not setting.infer or any(map(setting.at, latent(program))))
        and not (program in MEETING and setting.infer.get("estimator") == "enumerate")
    ]


def flat_grad(loss: Tensor, leaves: dict[str, Tensor], *, create_graph: bool = False) -> Tensor:
    """The gradient by every parameter, as one vector."""
    grads = torch.autograd.grad(loss, list(leaves.values()), create_graph=create_graph)
    return torch.cat([grad.reshape(-1) for grad in grads])


def flat_hessian(loss: Tensor, leaves: dict[str, Tensor]) -> Tensor:
    """The matrix of second derivatives, row after row."""
    grads = flat_grad(loss, leaves, create_graph=True)
    rows = [torch.autograd.grad(g, list(leaves.values()), retain_graph=True, materialize_grads=True) for g in grads]
    return torch.cat([entry.reshape(-1) for row in rows for entry in row])


Derivative = Callable[[Tensor, dict[str, Tensor]], Tensor]


@functools.cache
def exact(name: str, derivative: Derivative = flat_grad) -> tuple[Tensor, Tensor]:
    """The expected loss of a program and its gradient, or what else `derivative` makes of it."""
    with ParamStore() as store:
        loss = exact_elbo_loss(*PROGRAMS[name])
        return loss.detach(), derivative(loss, store.leaves)


class Minibatch(Handler):
    """Every subsampled plate inside takes the subset of this number, in the order of `itertools.combinations`."""

    def __init__(self, number: int) -> None:
        self.number = number

    def process(self, site: Site) -> None:
        if site.type == "subsample":
            subsets = itertools.combinations(range(site.fn.size), site.fn.n)
            site.value = torch.tensor(next(itertools.islice(subsets, self.number, None)))


class Estimates:
    """Independent estimates of the gradient for one program and one setting, with a memory for running baselines.

    All particles of a run share its minibatch; so that this is not most of the error, an estimate goes through all
    minibatches in turn and averages.
    """

    def __init__(
        self, programs: Pair, setting: Setting, elbo: ELBO | None = None, derivative: Derivative = flat_grad
    ) -> None:
        self.model, self.guide = programs.model, Asking(programs.guide, setting)
        self.elbo = elbo or setting.bound(num_particles=setting.particles, vectorize_particles=True)
        self.memory, self.derivative = Baselines(), derivative
        with ParamStore(), h.seed(rng_seed=0):
            plates = [site.fn for site in h.trace(programs.guide).get_trace().values() if site.type == "subsample"]
        self.minibatches = math.prod(math.comb(plate.size, plate.n) for plate in plates)

    def draw(self, repeats: int) -> Tensor:
        """They, in the parameters as they are at first, (repeats, components)."""
        with ParamStore() as store:
            return torch.stack([self._one(store) for _ in range(repeats)])

    def _one(self, store: ParamStore) -> Tensor:
        found = []
        for number in range(self.minibatches):
            with Minibatch(number):
                found.append(self.derivative(self.loss(), store.leaves))
        return torch.stack(found).mean(0)

    def loss(self) -> Tensor:
        return self.elbo.differentiable_loss(self.model, self.guide, baselines=self.memory)

    def enough(self, norm: Tensor) -> Tensor:
        """As many as the precision takes; where that is more than the first few, these only say how many."""
        draws = self.draw(LEAST)
        needed = math.ceil(float(draws.std(0).norm() / (0.6 * PRECISION * norm)) ** 2)
        return draws if needed <= LEAST else self.draw(min(needed, MOST))


class Comparison(NamedTuple):
    """Estimates beside the exact vector.

    Attributes:
        off: the error of the mean in standard errors, per component.
        precision: the norm of the standard error, of the norm of the exact vector.
        bias: the norm of the error of the mean, of the norm of the exact vector.
    """

    off: Tensor
    precision: float
    bias: float


def compare(draws: Tensor, expected: Tensor, rounding: float = 1e-9) -> Comparison:
    """`draws` (repeats, components) estimate `expected`; an error below `rounding` is none."""
    error, standard = draws.mean(0) - expected, draws.std(0) / len(draws) ** 0.5
    error = torch.where(error.abs() < rounding * (1 + expected.abs()), 0.0, error)
    off = torch.where(error == 0, 0.0, error.abs() / standard)
    norm = expected.norm()
    return Comparison(off, float(standard.norm() / norm), float(error.norm() / norm))


def assert_unbiased(draws: Tensor, expected: Tensor, precision: float = PRECISION) -> None:
    """Each component within 4 standard errors, and these below 2 % of the norm."""
    found = compare(draws, expected)
    assert found.precision < precision, f"the standard error is {found.precision:.1%} of the norm of {expected}"
    assert (found.off <= STANDARD_ERRORS).all(), f"off by {found.off} standard errors: {draws.mean(0)} for {expected}"


def tried(program: str, name: str) -> Comparison:
    """One pair of the table, tried."""
    expected, setting = exact(program)[1], ESTIMATORS[name]
    return compare(Estimates(PROGRAMS[program], setting).enough(expected.norm()), expected)

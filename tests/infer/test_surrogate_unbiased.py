"""The surrogate's gradient is that of the exact expectation, program by program, for every baseline.

Monte Carlo error is in the assertion: each component within 4 standard errors (a correct estimator fails one component
in about 16,000), and the standard error below 5% of the gradient's norm, so that a missing term cannot hide in it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from inference import Baselines, DecayingAverage, Trace_ELBO
from ppl import Handler, ParamStore, Site, observe, param, plate, sample
from ppl import handlers as h
from tests.support.enumeration import exact_elbo_loss

Program = Callable[[], Any]
Bernoulli, Normal = dist.Bernoulli, dist.Normal


class Pair(NamedTuple):
    model: Program
    guide: Program


PROGRAMS: dict[str, Pair] = {}


def pair(make: Callable[[], tuple[Program, Program]]) -> None:
    PROGRAMS[make.__name__] = Pair(*make())


def values(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pair
def bernoulli_latent_bernoulli_likelihood() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Bernoulli(logits=param("prior", values(0.4)[0])))
        observe("x", Bernoulli(logits=2.0 * z - param("w", values(0.5)[0])), 1.0)

    def guide() -> None:
        sample("z", Bernoulli(logits=param("q", values(-0.6)[0])))

    return model, guide


@pair
def bernoulli_latent_normal_likelihood() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Bernoulli(logits=values(0.4)[0]))
        observe("x", Normal(param("w", values(1.3)[0]) * z, 0.7), values(0.9)[0])

    def guide() -> None:
        sample("z", Bernoulli(logits=param("q", values(-0.6)[0])))

    return model, guide


@pair
def categorical_latent() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", dist.Categorical(logits=values(0.1, -0.4, 0.5)))
        observe("x", Normal(param("locs", values(-1.0, 0.3, 1.5))[z], 0.8), values(0.9)[0])

    def guide() -> None:
        sample("z", dist.Categorical(logits=param("q", values(0.3, 0.5, -0.7))))

    return model, guide


@pair
def chain_of_two() -> tuple[Program, Program]:
    def model() -> None:
        z1 = sample("z1", Bernoulli(logits=values(0.2)[0]))
        observe("x1", Normal(z1, 0.8), values(0.4)[0])
        z2 = sample("z2", Bernoulli(logits=1.5 * z1 - 0.3))
        observe("x2", Normal(z1 + param("w", values(1.2)[0]) * z2, 0.8), values(0.7)[0])

    def guide() -> None:
        z1 = sample("z1", Bernoulli(logits=param("q1", values(-0.5)[0])))
        sample("z2", Bernoulli(logits=param("q2", values(0.6, -1.0))[z1.long()]))

    return model, guide


@pair
def guide_in_another_order() -> tuple[Program, Program]:
    model = PROGRAMS["chain_of_two"].model

    def guide() -> None:
        z2 = sample("z2", Bernoulli(logits=param("q2", values(-0.5)[0])))
        sample("z1", Bernoulli(logits=param("q1", values(0.6, -1.0))[z2.long()]))

    return model, guide


DATA = values(0.2, 1.4, -0.5)


@pair
def plate_with_a_probability_per_datum() -> tuple[Program, Program]:
    def model() -> None:
        w = param("w", values(1.1)[0])
        with plate("data", 3):
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
            observe("x", Normal(w * z, 0.7), DATA)

    def guide() -> None:
        with plate("data", 3):
            sample("z", Bernoulli(logits=param("q", values(0.5, -0.2, -1.0))))

    return model, guide


@pair
def nested_plates() -> tuple[Program, Program]:
    def model() -> None:
        with plate("outer", 2, dim=-2):
            a = sample("a", Bernoulli(logits=values(0.3)[0]))
            with plate("inner", 2, dim=-1):
                b = sample("b", Bernoulli(logits=a - 0.5))
                observe("x", Normal(a + b, 0.8), values(0.1, 1.2))

    def guide() -> None:
        with plate("outer", 2, dim=-2):
            a = sample("a", Bernoulli(logits=param("qa", values(0.5, -0.4)[:, None])))
            with plate("inner", 2, dim=-1):
                sample("b", Bernoulli(logits=param("qb", values(0.2, -0.8)) + a))

    return model, guide


@pair
def subsampled_plate() -> tuple[Program, Program]:
    def model() -> None:
        w = param("w", values(1.1)[0])
        with plate("data", 3, subsample_size=2) as rows:
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
            observe("x", Normal(w * z, 0.7), DATA[rows])

    def guide() -> None:
        q = param("q", values(0.5, -0.2, -1.0))
        with plate("data", 3, subsample_size=2) as rows:
            sample("z", Bernoulli(logits=q[rows]))

    return model, guide


@pair
def global_latent_then_plate() -> tuple[Program, Program]:
    def model() -> None:
        g = sample("g", Bernoulli(logits=values(-0.2)[0]))
        with plate("data", 3):
            z = sample("z", Bernoulli(logits=g))
            observe("x", Normal(g + z, 0.7), DATA)

    def guide() -> None:
        g = sample("g", Bernoulli(logits=param("qg", values(0.7)[0])))
        with plate("data", 3):
            sample("z", Bernoulli(logits=param("qz", values(0.5, -0.2, -1.0)) * (1 + g)))

    return model, guide


@pair
def a_draw_that_leads_from_a_plate_back_into_it() -> tuple[Program, Program]:
    def model() -> None:
        with plate("data", 2):
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
        g = sample("g", Bernoulli(logits=z.sum(-1) - 1.0 if z.dim() == 1 else z.sum(-1, keepdim=True) - 1.0))
        with plate("data", 2):
            observe("x", Normal(2.0 * g, 0.7), DATA[:2])

    def guide() -> None:
        with plate("data", 2):
            z = sample("z", Bernoulli(logits=param("qz", values(0.5, -0.4))))
        total = z.sum(-1) if z.dim() == 1 else z.sum(-1, keepdim=True)
        sample("g", Bernoulli(logits=param("qg", values(1.5)[0]) * (total - 1.0)))

    return model, guide


@pair
def two_plates_on_one_dim_of_different_sizes() -> tuple[Program, Program]:
    def model() -> None:
        with plate("causes", 2):
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
        total = z.sum(-1, keepdim=True)
        with plate("data", 3):
            observe("x", Normal(total, 0.7), DATA)

    def guide() -> None:
        with plate("causes", 2):
            sample("z", Bernoulli(logits=param("q", values(0.5, -0.4))))

    return model, guide


@pair
def two_plates_on_one_dim_of_one_size() -> tuple[Program, Program]:
    def model() -> None:
        with plate("causes", 2):
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
        total = z.sum(-1, keepdim=True)
        with plate("data", 2):
            observe("x", Normal(total, 0.7), DATA[:2])

    return model, PROGRAMS["two_plates_on_one_dim_of_different_sizes"].guide


@pair
def pathwise_then_score() -> tuple[Program, Program]:
    def model() -> None:
        u = sample("u", Normal(values(0.0)[0], 1.0))
        z = sample("z", Bernoulli(logits=u))
        observe("x", Normal(u + z, 0.8), values(1.1)[0])

    def guide() -> None:
        u = sample("u", Normal(param("loc", values(0.3)[0]), param("log_scale", values(-0.3)[0]).exp()))
        sample("z", Bernoulli(logits=param("q", values(-0.4)[0]) + 0.8 * u))

    return model, guide


@pair
def score_then_pathwise() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Bernoulli(logits=values(0.2)[0]))
        u = sample("u", Normal(z, 1.0))
        observe("x", Normal(u + z, 0.8), values(1.1)[0])

    def guide() -> None:
        z = sample("z", Bernoulli(logits=param("q", values(-0.4)[0])))
        sample("u", Normal(param("loc", values(0.3)[0]) + 0.5 * z, param("log_scale", values(-0.3)[0]).exp()))

    return model, guide


@pair
def normal_forced_to_score() -> tuple[Program, Program]:
    def model() -> None:
        u = sample("u", Normal(values(0.0)[0], 1.0))
        observe("x", Normal(u, 0.8), values(1.1)[0])

    def guide() -> None:
        scale = param("log_scale", values(-0.3)[0]).exp()
        sample("u", Normal(param("loc", values(-0.2)[0]), scale), infer={"estimator": "score"})

    return model, guide


@pair
def score_normal_between_pathwise_and_discrete() -> tuple[Program, Program]:
    def model() -> None:
        a = sample("a", Normal(values(0.0)[0], 1.0))
        b = sample("b", Normal(a, 1.0))
        c = sample("c", Bernoulli(logits=b))
        observe("x", Normal(a + b + c, 0.9), values(1.3)[0])

    def guide() -> None:
        a = sample("a", Normal(param("qa", values(0.3)[0]), 0.7))
        b = sample("b", Normal(param("qb", values(0.9)[0]) * a, 0.8), infer={"estimator": "score"})
        sample("c", Bernoulli(logits=param("qc", values(0.6)[0]) + b))

    return model, guide


@pair
def masked_data() -> tuple[Program, Program]:
    kept = torch.tensor([True, False, True])

    def model() -> None:
        w = param("w", values(1.1)[0])
        with plate("data", 3):
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
            with h.mask(mask=kept):
                observe("x", Normal(w * z, 0.7), torch.where(kept, DATA, torch.nan))

    return model, PROGRAMS["plate_with_a_probability_per_datum"].guide


@pair
def masked_latents() -> tuple[Program, Program]:
    kept = torch.tensor([True, False, True])
    model, guide = PROGRAMS["plate_with_a_probability_per_datum"]
    return h.mask(model, mask=kept), h.mask(guide, mask=kept)


@pair
def scaled() -> tuple[Program, Program]:
    model, guide = PROGRAMS["chain_of_two"]
    return h.scale(model, scale=2.5), h.scale(guide, scale=2.5)


class Asking(Handler):
    """Latent sites inside ask for this baseline."""

    def __init__(self, baseline: Any) -> None:
        self.baseline = baseline

    def process(self, site: Site) -> None:
        if site.type == "sample" and not site.is_observed:
            site.infer["baseline"] = self.baseline


BASELINES = {
    "no_baseline": "none",
    "decaying_average": DecayingAverage(0.8),
    "number": torch.tensor(2.0, dtype=torch.float64),
}


def assert_unbiased(draws: Tensor, exact: Tensor) -> None:
    """`draws` (repeats, components) are independent estimates of `exact`."""
    mean, error = draws.mean(0), draws.std(0) / draws.shape[0] ** 0.5
    assert error.norm() < 0.05 * exact.norm(), f"standard error {error} is too large for the gradient {exact}"
    wrong = (mean - exact).abs() > 4 * error + 1e-9
    assert not wrong.any(), f"estimated {mean} +- {error}, exact {exact}"


def flat_grad(loss: Tensor, leaves: dict[str, Tensor]) -> Tensor:
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return torch.cat([grad.reshape(-1) for grad in grads])


@functools.cache
def exact(name: str) -> tuple[Tensor, Tensor]:
    """The expected loss of a program and its gradient."""
    with ParamStore() as store:
        loss = exact_elbo_loss(*PROGRAMS[name])
        return loss.detach(), flat_grad(loss, store.leaves)


def estimates(programs: Pair, store: ParamStore, elbo: Trace_ELBO, repeats: int, baseline: Any = "none") -> Tensor:
    memory = Baselines()
    found = []
    for _ in range(repeats):
        with Asking(baseline):
            loss = elbo.differentiable_loss(*programs, baselines=memory)
        found.append(flat_grad(loss, store.leaves))
    return torch.stack(found)


@pytest.mark.parametrize("baseline", list(BASELINES))
@pytest.mark.parametrize("name", list(PROGRAMS))
def test_gradient_is_that_of_the_expectation(name: str, baseline: str) -> None:
    programs = PROGRAMS[name]
    subsampled = "subsample" in name  # one minibatch is shared by all particles, so more repeats are needed
    elbo = Trace_ELBO(num_particles=400 if subsampled else 8000, vectorize_particles=True)
    with ParamStore() as store:
        draws = estimates(programs, store, elbo, 300 if subsampled else 50, BASELINES[baseline])
    assert_unbiased(draws, exact(name)[1])


def test_looped_particles_have_the_same_expectation() -> None:
    name = "chain_of_two"
    with ParamStore() as store:
        draws = estimates(PROGRAMS[name], store, Trace_ELBO(num_particles=6), 400, "decaying_average")
    assert_unbiased(draws, exact(name)[1])


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_looped_particles_average_single_ones(name: str) -> None:
    programs = PROGRAMS[name]
    with ParamStore() as store:
        with h.seed(rng_seed=torch.Generator().manual_seed(0)):
            singles = [estimates(programs, store, Trace_ELBO(), 1) for _ in range(5)]
        with h.seed(rng_seed=torch.Generator().manual_seed(0)):
            looped = estimates(programs, store, Trace_ELBO(num_particles=5), 1)
    torch.testing.assert_close(looped[0], torch.cat(singles).mean(0))


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_loss_is_that_of_the_expectation(name: str) -> None:
    elbo = Trace_ELBO(num_particles=400, vectorize_particles=True)
    with ParamStore(), torch.no_grad():
        losses = torch.stack([elbo.differentiable_loss(*PROGRAMS[name]) for _ in range(60)])
    expected, error = exact(name)[0], losses.std() / 60**0.5
    assert error < 0.05 * expected.abs()
    assert (losses.mean() - expected).abs() <= 4 * error


def test_the_enumeration_itself() -> None:
    """By hand: z ~ Bernoulli(q), x | z; the bound's two outcomes written out."""
    with ParamStore() as store:
        got = exact_elbo_loss(*PROGRAMS["bernoulli_latent_normal_likelihood"])
        q, w = store["q"].sigmoid(), store["w"]
    prior = values(0.4)[0].sigmoid()
    one = q * (q.log() - prior.log() - Normal(w, 0.7).log_prob(values(0.9)[0]))
    none = (1 - q) * ((1 - q).log() - (1 - prior).log() - Normal(0.0 * w, 0.7).log_prob(values(0.9)[0]))
    torch.testing.assert_close(got, one + none)


def test_a_normal_forced_to_score_is_drawn_without_a_pathwise_gradient() -> None:
    loc = torch.tensor(0.3, requires_grad=True)
    with h.trace() as tr:
        sample("scored", Normal(loc, 1.0), infer={"estimator": "score"})
        sample("pathwise", Normal(loc, 1.0))
    assert not tr["scored"].value.requires_grad
    assert tr["pathwise"].value.requires_grad


def test_forcing_pathwise_where_it_is_the_default_changes_nothing() -> None:
    def value(**infer: str) -> Tensor:
        with h.seed(rng_seed=0), h.trace() as tr:
            sample("u", Normal(values(0.0)[0], 1.0), infer=infer)
        draw: Tensor = tr["u"].value
        return draw

    assert torch.equal(value(estimator="pathwise"), value())

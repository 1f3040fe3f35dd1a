"""Programs without plates: one site of each family, chains, and discrete and continuous sites that meet."""

from __future__ import annotations

import torch

import ppl_dist as dist
from ppl import factor, observe, param, sample
from ppl import handlers as h

from .pairs import PROGRAMS, Program, pair, scalar, values

Bernoulli, Categorical, Normal = dist.Bernoulli, dist.Categorical, dist.Normal


@pair
def bernoulli_latent_bernoulli_likelihood() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Bernoulli(logits=scalar("prior", 0.4)))
        observe("x", Bernoulli(logits=2.0 * z - scalar("w", 0.5)), 1.0)

    def guide() -> None:
        sample("z", Bernoulli(logits=scalar("q", -0.6)))

    return model, guide


@pair
def bernoulli_latent_normal_likelihood() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Bernoulli(logits=values(0.4)[0]))
        observe("x", Normal(scalar("w", 1.3) * z, 0.7), values(0.9)[0])

    def guide() -> None:
        sample("z", Bernoulli(logits=scalar("q", -0.6)))

    return model, guide


@pair
def categorical_latent() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Categorical(logits=values(0.1, -0.4, 0.5)))
        observe("x", Normal(param("locs", values(-1.0, 0.3, 1.5))[z.long()], 0.8), values(0.9)[0])

    def guide() -> None:
        sample("z", Categorical(logits=param("q", values(0.3, 0.5, -0.7))))

    return model, guide


@pair
def chain_of_two() -> tuple[Program, Program]:
    def model() -> None:
        z1 = sample("z1", Bernoulli(logits=values(0.2)[0]))
        observe("x1", Normal(z1, 0.8), values(0.4)[0])
        z2 = sample("z2", Bernoulli(logits=1.5 * z1 - 0.3))
        observe("x2", Normal(z1 + scalar("w", 1.2) * z2, 0.8), values(0.7)[0])

    def guide() -> None:
        z1 = sample("z1", Bernoulli(logits=scalar("q1", -0.5)))
        sample("z2", Bernoulli(logits=param("q2", values(0.6, -1.0))[z1.long()]))

    return model, guide


@pair
def guide_in_another_order() -> tuple[Program, Program]:
    model = PROGRAMS["chain_of_two"].model

    def guide() -> None:
        z2 = sample("z2", Bernoulli(logits=scalar("q2", -0.5)))
        sample("z1", Bernoulli(logits=param("q1", values(0.6, -1.0))[z2.long()]))

    return model, guide


@pair
def pathwise_then_score() -> tuple[Program, Program]:
    def model() -> None:
        u = sample("u", Normal(values(0.0)[0], 1.0))
        z = sample("z", Bernoulli(logits=u))
        observe("x", Normal(u + z, 0.8), values(1.1)[0])

    def guide() -> None:
        u = sample("u", Normal(scalar("loc", 0.3), scalar("log_scale", -0.3).exp()))
        sample("z", Bernoulli(logits=scalar("q", -0.4) + 0.8 * u))

    return model, guide


@pair
def score_then_pathwise() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Bernoulli(logits=values(0.2)[0]))
        u = sample("u", Normal(z, 1.0))
        observe("x", Normal(u + z, 0.8), values(1.1)[0])

    def guide() -> None:
        z = sample("z", Bernoulli(logits=scalar("q", -0.4)))
        sample("u", Normal(scalar("loc", 0.3) + 0.5 * z, scalar("log_scale", -0.3).exp()))

    return model, guide


@pair
def normal_forced_to_score() -> tuple[Program, Program]:
    def model() -> None:
        u = sample("u", Normal(values(0.0)[0], 1.0))
        observe("x", Normal(u, 0.8), values(1.1)[0])

    def guide() -> None:
        scale = scalar("log_scale", -0.3).exp()
        sample("u", Normal(scalar("loc", -0.2), scale), infer={"estimator": "score"})

    return model, guide


@pair
def score_normal_between_pathwise_and_discrete() -> tuple[Program, Program]:
    def model() -> None:
        a = sample("a", Normal(values(0.0)[0], 1.0))
        b = sample("b", Normal(a, 1.0))
        c = sample("c", Bernoulli(logits=b))
        observe("x", Normal(a + b + c, 0.9), values(1.3)[0])

    def guide() -> None:
        a = sample("a", Normal(scalar("qa", 0.3), 0.7))
        b = sample("b", Normal(scalar("qb", 0.9) * a, 0.8), infer={"estimator": "score"})
        sample("c", Bernoulli(logits=scalar("qc", 0.6) + b))

    return model, guide


@pair
def scaled() -> tuple[Program, Program]:
    model, guide = PROGRAMS["chain_of_two"]
    return h.scale(model, scale=2.5), h.scale(guide, scale=2.5)


@pair
def one_hot_latent() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", dist.OneHotCategorical(logits=values(0.1, -0.4, 0.5)))
        observe("x", Normal((z * param("locs", values(-1.0, 0.3, 1.5))).sum(-1), 0.8), values(0.9)[0])

    def guide() -> None:
        sample("z", dist.OneHotCategorical(logits=param("q", values(0.3, 0.5, -0.7))))

    return model, guide


@pair
def poisson_latent() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", dist.Poisson(values(2.0)[0]))
        observe("x", Normal(scalar("w", 0.7) * z, 1.5), values(1.9)[0])

    def guide() -> None:
        sample("z", dist.Poisson(scalar("log_rate", 0.2).exp()))

    return model, guide


@pair
def binomial_latent() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", dist.Binomial(3, logits=values(0.4)[0]))
        observe("x", Normal(scalar("w", 0.7) * z, 0.9), values(0.3)[0])

    def guide() -> None:
        sample("z", dist.Binomial(3, logits=scalar("q", -0.2)))

    return model, guide


@pair
def exponential_latent() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", dist.Exponential(values(1.3)[0]))
        observe("x", dist.Poisson(z + scalar("log_w", -1.0).exp()), 2.0)

    def guide() -> None:
        sample("z", dist.Exponential(scalar("log_rate", -0.2).exp()))

    return model, guide


@pair
def gamma_latent() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", dist.Gamma(values(2.0)[0], 1.0))
        observe("x", Normal(z, scalar("log_noise", 0.3).exp()), values(4.2)[0])

    def guide() -> None:
        sample("z", dist.Gamma(scalar("log_shape", 0.8).exp(), scalar("log_rate", 0.3).exp()))

    return model, guide


@pair
def bernoullis_of_one_event() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Bernoulli(logits=values(0.3, -0.2, 0.6)).to_event(1))
        observe("x", Normal((param("w", values(0.5, 1.2, -0.7)) * z).sum(-1), 0.7), values(0.9)[0])

    def guide() -> None:
        sample("z", Bernoulli(logits=param("q", values(0.5, -0.2, -1.0))).to_event(1))

    return model, guide


@pair
def normals_of_one_event() -> tuple[Program, Program]:
    def model() -> None:
        z = sample("z", Normal(values(0.3, -0.2), 1.0).to_event(1))
        observe("x", Bernoulli(logits=(param("w", values(1.2, -0.7)) * z).sum(-1)), 1.0)

    def guide() -> None:
        scale = param("log_scale", values(-0.3, 0.2)).exp()
        sample("z", Normal(param("loc", values(0.4, -0.6)), scale).to_event(1))

    return model, guide


@pair
def second_from_a_table_of_the_first() -> tuple[Program, Program]:
    def model() -> None:
        first = sample("first", Categorical(logits=values(0.2, -0.3, 0.1)))
        table = param("table", values(0.2, -0.5, 0.8, 0.1, -0.3, 0.9).reshape(3, 2))
        second = sample("second", Categorical(logits=table[first.long()]))
        observe("x", Normal(values(-1.0, 0.2, 1.4)[first.long()] + second, 0.8), values(1.1)[0])

    def guide() -> None:
        first = sample("first", Categorical(logits=param("q1", values(0.5, -0.2, 0.3))))
        table = param("q2", values(0.6, -0.1, 0.2, 0.4, -0.7, 0.3).reshape(3, 2))
        sample("second", Categorical(logits=table[first.long()]))

    return model, guide


@pair
def chain_of_three_seen_at_each_step() -> tuple[Program, Program]:
    def model() -> None:
        z, moves, locs = torch.tensor(0), values(0.8, -0.2, -0.5, 0.6).reshape(2, 2), param("locs", values(-0.7, 1.2))
        for t, x in enumerate((0.3, 1.4, -0.9)):
            z = sample(f"z{t}", Categorical(logits=moves[z.long()]))
            observe(f"x{t}", Normal(locs[z.long()], 0.9), values(x)[0])

    def guide() -> None:
        z, moves = torch.tensor(0), param("moves", values(0.3, -0.1, -0.4, 0.2).reshape(2, 2))
        for t in range(3):
            z = sample(f"z{t}", Categorical(logits=moves[z.long()] * (1.0 + 0.3 * t)))

    return model, guide


@pair
def a_cost_that_the_last_latent_does_not_change() -> tuple[Program, Program]:
    def model() -> None:
        first = sample("first", Bernoulli(logits=values(0.2)[0]))
        second = sample("second", Bernoulli(logits=values(-0.4)[0]))
        observe("x", Normal(scalar("w", 1.2) * first, 0.8), values(0.4)[0])
        observe("y", Normal(first - second, 0.9), values(-0.7)[0])

    def guide() -> None:
        first = sample("first", Bernoulli(logits=scalar("q1", -0.5)))
        sample("second", Bernoulli(logits=scalar("q2", 0.6) + 0.4 * first))

    return model, guide


@pair
def one_parameter_of_guide_and_model() -> tuple[Program, Program]:
    def model() -> None:
        shared = scalar("shared", 0.6)
        z = sample("z", Bernoulli(logits=shared - 0.2))
        u = sample("u", Normal(shared * z, 1.0))
        factor("f", -shared * (u - z).square())

    def guide() -> None:
        shared = scalar("shared", 0.6)
        z = sample("z", Bernoulli(logits=0.7 * shared))
        sample("u", Normal(shared + 0.5 * z, shared.exp()))

    return model, guide


@pair
def a_latent_that_counts_thrice() -> tuple[Program, Program]:
    def latent(logits: torch.Tensor) -> torch.Tensor:
        with h.scale(scale=3.0):
            return sample("z", Bernoulli(logits=logits))

    def model() -> None:
        z = latent(values(0.4)[0])
        observe("x", Normal(scalar("w", 1.3) * z, 0.7), values(0.9)[0])

    return model, lambda: latent(scalar("q", -0.6))

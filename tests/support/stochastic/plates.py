"""Programs with plates: nested, subsampled, masked, two on one dimension, and draws that lead in and out of them."""

from __future__ import annotations

import torch

import ppl_dist as dist
from ppl import handlers as h
from ppl import observe, param, plate, sample

from .pairs import PROGRAMS, Program, pair, scalar, values

Bernoulli, Normal = dist.Bernoulli, dist.Normal
DATA = values(0.2, 1.4, -0.5)


@pair
def plate_with_a_probability_per_datum() -> tuple[Program, Program]:
    def model() -> None:
        w = scalar("w", 1.1)
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
        w = scalar("w", 1.1)
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
        g = sample("g", Bernoulli(logits=scalar("qg", 0.7)))
        with plate("data", 3):
            sample("z", Bernoulli(logits=param("qz", values(0.5, -0.2, -1.0)) * (1 + g)))

    return model, guide


@pair
def a_draw_that_leads_from_a_plate_back_into_it() -> tuple[Program, Program]:
    def model() -> None:
        with plate("data", 2):
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
        g = sample("g", Bernoulli(logits=z.sum(-1, keepdim=True) - 1.0))
        with plate("data", 2):
            observe("x", Normal(2.0 * g, 0.7), DATA[1:2] + 1.0)

    def guide() -> None:
        with plate("data", 2):
            z = sample("z", Bernoulli(logits=param("qz", values(0.5, -0.4))))
        sample("g", Bernoulli(logits=scalar("qg", 1.5) * (z.sum(-1, keepdim=True) - 1.0)))

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
            observe("x", Normal(total, 0.7), DATA[:2] + 1.0)

    return model, PROGRAMS["two_plates_on_one_dim_of_different_sizes"].guide


@pair
def masked_data() -> tuple[Program, Program]:
    kept = torch.tensor([True, False, True])

    def model() -> None:
        w = scalar("w", 1.1)
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
def normal_latent_then_plate() -> tuple[Program, Program]:
    def model() -> None:
        u = sample("u", Normal(values(0.0)[0], 1.0))
        with plate("data", 3):
            z = sample("z", Bernoulli(logits=u))
            observe("x", Normal(u + z, 0.8), DATA)

    def guide() -> None:
        u = sample("u", Normal(scalar("loc", 0.3), scalar("log_scale", -0.3).exp()))
        with plate("data", 3):
            sample("z", Bernoulli(logits=param("q", values(0.5, -0.2, -1.0)) + u))

    return model, guide


@pair
def categorical_in_a_plate() -> tuple[Program, Program]:
    def model() -> None:
        locs = param("locs", values(-1.0, 0.3, 1.5))
        with plate("data", 2):
            z = sample("z", dist.Categorical(logits=values(0.1, -0.4, 0.5)))
            observe("x", Normal(locs[z.long()], 0.8), DATA[:2])

    def guide() -> None:
        with plate("data", 2):
            sample("z", dist.Categorical(logits=param("q", values(0.3, 0.5, -0.7, 0.2, -0.4, 0.1).reshape(2, 3))))

    return model, guide


@pair
def subsampled_plate_under_a_global_latent() -> tuple[Program, Program]:
    def model() -> None:
        g = sample("g", Bernoulli(logits=values(-0.2)[0]))
        with plate("data", 3, subsample_size=2) as rows:
            z = sample("z", Bernoulli(logits=g))
            observe("x", Normal(g + z, 0.9), DATA[rows])

    def guide() -> None:
        g = sample("g", Bernoulli(logits=scalar("qg", 0.7)))
        qz = param("qz", values(0.5, -0.2, -1.0))
        with plate("data", 3, subsample_size=2) as rows:
            sample("z", Bernoulli(logits=qz[rows] + g))

    return model, guide

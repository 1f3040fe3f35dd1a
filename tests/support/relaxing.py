"""Programs with discrete latents that rebar and relax are tried on, and how: with control variates set on purpose."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import ppl_dist as dist
from inference import Trace_ELBO
from ppl import Handler, ParamStore, Site, observe, param, plate, sample
from ppl import handlers as h
from tests.support.enumeration import exact_elbo_loss

Bernoulli, Normal, OneHot = dist.Bernoulli, dist.Normal, dist.OneHotCategorical
Program = Callable[[], Any]
CONTROLLED = ("rebar", "relax")


def values(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def leaf(*numbers: float) -> Tensor:
    return values(*numbers).requires_grad_()


class Using(Handler):
    """Latent sites that are discrete and ask for nothing use this estimator, those named in `other` another one."""

    def __init__(self, estimator: str, samples: int | None = None, **other: str) -> None:
        self.estimator, self.samples, self.other = estimator, samples, other

    def process(self, site: Site) -> None:
        if site.type == "sample" and not site.is_observed and not site.fn.has_rsample:
            site.infer.setdefault("estimator", self.other.get(site.name, self.estimator))
            if self.samples is not None:
                site.infer["samples"] = self.samples


SILLY = {
    "cold_and_wrong_way": {"log_temperature": -1.2, "scale": -1.5},
    "hot_and_too_much": {"log_temperature": 0.8, "scale": 2.5},
}


def set_controls(store: ParamStore, silly: str) -> None:
    """Whatever the control variates are: their numbers, and arbitrary networks."""
    generator = torch.Generator().manual_seed(3)
    for name, found in list(store.items()):
        _, is_control, kind = name.partition(".control.")
        if not is_control:
            continue
        noise = torch.randn(found.shape, generator=generator, dtype=found.dtype)
        store[name] = torch.full_like(found, SILLY[silly][kind]) if kind in SILLY[silly] else noise


def assert_unbiased(draws: Tensor, exact: Tensor) -> None:
    mean, error = draws.mean(0), draws.std(0) / draws.shape[0] ** 0.5
    assert error.norm() < 0.02 * exact.norm(), f"standard error {error} is too large for the gradient {exact}"
    wrong = (mean - exact).abs() > 4 * error + 1e-9
    assert not wrong.any(), f"estimated {mean} +- {error}, exact {exact}"


def flat_grad(loss: Tensor, leaves: dict[str, Tensor]) -> Tensor:
    return torch.cat([grad.reshape(-1) for grad in torch.autograd.grad(loss, list(leaves.values()))])


def learnt(store: ParamStore) -> dict[str, Tensor]:
    """What the program learns, without the control variates."""
    return {name: x for name, x in store.leaves.items() if ".control." not in name}


class Pair(NamedTuple):
    model: Program
    guide: Program


def one_hot(name: str, logits: Tensor) -> Tensor:
    return sample(name, OneHot(logits=logits))


def by_index(name: str, logits: Tensor) -> Tensor:
    """The same draw, in a form that the enumeration of the tests knows."""
    drawn: Tensor = sample(name, dist.Categorical(logits=logits))
    return nn.functional.one_hot(drawn, logits.shape[-1]).to(logits.dtype)


DATA = values(0.2, 1.4, -0.5)


def single() -> Pair:
    def model() -> None:
        z = sample("z", Bernoulli(logits=param("prior", values(0.4)[0])))
        observe("x", Normal(param("w", values(1.3)[0]) * z**2 + z, 0.7), values(0.9)[0])

    return Pair(model, lambda: sample("z", Bernoulli(logits=param("q", values(-0.6)[0]))))


def given_by_chance() -> Pair:
    return Pair(single().model, lambda: sample("z", Bernoulli(probs=param("q", values(-0.6)[0]).sigmoid())))


def categories(draw: Callable[[str, Tensor], Tensor] = one_hot) -> Pair:
    def model() -> None:
        z = draw("z", values(0.1, -0.4, 0.5))
        observe("x", Normal((z * param("locs", values(-1.0, 0.3, 1.5))).sum(-1), 0.8), values(0.9)[0])

    return Pair(model, lambda: draw("z", param("q", values(0.3, 0.5, -0.7))))


def entries_of_a_plate() -> Pair:
    def model() -> None:
        w = param("w", values(1.1)[0])
        with plate("data", 3):
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
            observe("x", Normal(w * z, 0.7), DATA)

    def guide() -> None:
        with plate("data", 3):
            sample("z", Bernoulli(logits=param("q", values(0.5, -0.2, -1.0))))

    return Pair(model, guide)


def a_cost_of_all_entries() -> Pair:
    def model() -> None:
        with plate("causes", 2):
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
        with plate("data", 3):
            observe("x", Normal(z.sum(-1, keepdim=True) ** 2, 0.9), DATA)

    def guide() -> None:
        with plate("causes", 2):
            sample("z", Bernoulli(logits=param("q", values(0.5, -0.4))))

    return Pair(model, guide)


def minibatch() -> Pair:
    def model() -> None:
        w = param("w", values(1.1)[0])
        with plate("data", 3, subsample_size=2) as rows:
            z = sample("z", Bernoulli(logits=values(0.3)[0]))
            observe("x", Normal(w * z, 0.7), DATA[rows])

    def guide() -> None:
        q = param("q", values(0.5, -0.2, -1.0))
        with plate("data", 3, subsample_size=2) as rows:
            sample("z", Bernoulli(logits=q[rows]))

    return Pair(model, guide)


def masked() -> Pair:
    pair, kept = entries_of_a_plate(), torch.tensor([True, False, True])
    return Pair(h.mask(pair.model, mask=kept), h.mask(pair.guide, mask=kept))


def chain() -> Pair:
    def model() -> None:
        a = sample("a", Bernoulli(logits=values(0.2)[0]))
        observe("x", Normal(a, 0.8), values(0.4)[0])
        b = sample("b", Bernoulli(logits=1.5 * a - 0.3))
        observe("y", Normal(a + param("w", values(1.2)[0]) * b, 0.8), values(0.7)[0])

    def guide() -> None:
        a = sample("a", Bernoulli(logits=param("q1", values(-0.5)[0])))
        sample("b", Bernoulli(logits=param("q2", values(0.6)[0]) - 1.6 * a))

    return Pair(model, guide)


def between_normals() -> Pair:
    def model() -> None:
        u = sample("u", Normal(values(0.0)[0], 1.0))
        a = sample("a", Bernoulli(logits=u))
        v = sample("v", Normal(a, 1.0))
        observe("x", Normal(u + a + v, 0.9), values(1.3)[0])

    def guide() -> None:
        u = sample("u", Normal(param("qu", values(0.3)[0]), 0.7))
        a = sample("a", Bernoulli(logits=param("qa", values(0.6)[0]) + u))
        sample("v", Normal(param("qv", values(0.9)[0]) * a, 0.8))

    return Pair(model, guide)


PAIRS: dict[str, Pair] = {
    make.__name__: make()  # type: ignore[operator]  # the same call for all
    for make in (
        single,
        given_by_chance,
        categories,
        entries_of_a_plate,
        a_cost_of_all_entries,
        minibatch,
        masked,
        chain,
        between_normals,
    )
}
EXACT = PAIRS | {"categories": categories(by_index)}


class EachMinibatch(Handler):
    """In turn all minibatches of 2 of 3: the particles share one, whose noise would hide an error of the estimator."""

    def __init__(self) -> None:
        self.rows = itertools.cycle(torch.combinations(torch.arange(3)))

    def process(self, site: Site) -> None:
        if site.type == "subsample" and site.value is None:
            site.value = next(self.rows)


def bound_gradients(pair: Pair, exactly: Pair, silly: str, turns: int = 1) -> tuple[Tensor, Tensor]:
    """Estimates (repeats, components), and what they estimate."""
    elbo = Trace_ELBO(num_particles=4000, vectorize_particles=True)
    with ParamStore() as store, EachMinibatch():
        elbo.loss(*pair)
        set_controls(store, silly)
        found = []
        for _ in range(20):
            loss = sum(elbo.differentiable_loss(*pair) for _ in range(turns)) / turns
            found.append(flat_grad(loss, learnt(store)))
        names = list(learnt(store))
    with ParamStore() as store:
        loss = exact_elbo_loss(*exactly)
        exact = flat_grad(loss, {name: store.leaves[name] for name in names})
    return torch.stack(found), exact

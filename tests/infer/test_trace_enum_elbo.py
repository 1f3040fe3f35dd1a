"""TraceEnum_ELBO against exact enumeration and against Pyro's; posteriors of what is summed out; refusals; a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import ppl
import ppl_dist as dist
from inference import SVI, optim
from inference.elbo.trace_enum_elbo import TraceEnum_ELBO
from ppl import ParamStore, markov, observe, param, plate, sample
from ppl import handlers as h
from ppl_dist import constraints
from tests.support.enumeration import exact_expectation, outcomes

Program = Callable[..., Any]
Bernoulli, Categorical, Normal = dist.Bernoulli, dist.Categorical, dist.Normal
ENUM = {"enumerate": "parallel"}
X = torch.tensor([[0.3, -1.2, 2.0], [1.1, 0.4, -0.7]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def weights() -> Tensor:
    return param("w", double(0.2, -0.5, 0.9))


def loc() -> Tensor:
    return param("loc", double(-1.0, 0.5, 2.0))


def nothing(*args: Any) -> None:
    pass


def exact_loss(model: Program, guide: Program) -> Tensor:
    """E_q[log q(z) - log sum_k p(x, z, k)], every value of z and k one by one; masks and scales aside."""

    def run() -> Tensor:
        guide_trace = h.trace(guide).get_trace()

        def likelihood() -> Tensor:
            trace = h.trace(h.replay(model, trace=guide_trace)).get_trace()
            return trace.log_prob_sum(lambda name, site: site.is_observed or name in guide_trace).exp()

        terms = [weight * value for weight, value in outcomes(likelihood)]
        return guide_trace.log_prob_sum() - torch.stack(terms).sum().log()

    return exact_expectation(run)


def gradients(loss: Tensor) -> dict[str, Tensor]:
    leaves = ppl.get_param_store().leaves
    found = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


# Exact


class Pair(NamedTuple):
    model: Program
    guide: Program


def mixture() -> Pair:
    def model() -> None:
        with plate("data", 3):
            k = sample("k", Categorical(logits=weights()), infer=ENUM)
            observe("x", Normal(loc()[k], 1.0), X[0])

    return Pair(model, nothing)


def guide_side() -> Pair:
    def model() -> None:
        with plate("data", 2):
            k = sample("k", Categorical(logits=weights()))
            observe("x", Normal(loc()[k], 1.0), X[0, :2])

    def guide() -> None:
        with plate("data", 2):
            sample("k", Categorical(logits=param("q", X[:2, :2] * double(1.0, -1.0)).repeat(1, 2)[:, :3]), infer=ENUM)

    return Pair(model, guide)


def both_sides() -> Pair:
    def model() -> None:
        s = sample("s", Bernoulli(logits=weights()[0]))
        with plate("data", 2):
            k = sample("k", Categorical(logits=weights() + s[..., None]), infer=ENUM)
            t = sample("t", Bernoulli(logits=weights()[1] * k))
            observe("x", Normal(loc()[k] + s * t, 1.0), X[0, :2])

    def guide() -> None:
        s = sample("s", Bernoulli(logits=param("q", double(0.4)[0])), infer=ENUM)
        with plate("data", 2):
            sample("t", Bernoulli(logits=param("r", double(0.1, -0.6)) * (1 + s)), infer=ENUM)

    return Pair(model, guide)


def global_and_local() -> Pair:
    def model() -> None:
        a = sample("a", Bernoulli(logits=weights()[0]), infer=ENUM)
        s = sample("s", Bernoulli(logits=weights()[1] + a))
        with plate("rows", 2, dim=-2):
            b = sample("b", Bernoulli(logits=weights()[2] * s), infer=ENUM)
            with plate("columns", 3, dim=-1):
                observe("x", Normal(a + b * loc()[0] + s, 1.0), X)

    def guide() -> None:
        sample("s", Bernoulli(logits=param("q", double(0.4)[0])), infer=ENUM)

    return Pair(model, guide)


def chain() -> Pair:
    def model() -> None:
        z: Any = 0.0
        for t in markov(range(3)):
            z = sample(f"z_{t}", Bernoulli(logits=weights()[0] + z * weights()[1]), infer=ENUM)
            y = sample(f"y_{t}", Bernoulli(logits=weights()[2] + z), infer={"enumerate": "sequential"})
            observe(f"x_{t}", Normal(z + y, 1.0), X[0, t])

    return Pair(model, nothing)


def unmarked() -> Pair:
    """Nothing to sum out of the model, and one site that the guide sums."""

    def model() -> None:
        s = sample("s", Bernoulli(logits=weights()[0]), infer=ENUM)
        observe("x", Normal(s, 1.0), X[0, 0])

    return Pair(
        model, lambda: sample("s", Bernoulli(logits=param("q", double(0.4)[0])), infer={"estimator": "enumerate"})
    )


@pytest.mark.parametrize("nesting", [None, 2, 3])
@pytest.mark.parametrize("particles", [1, 2])
@pytest.mark.parametrize("pair", [mixture, guide_side, both_sides, global_and_local, chain, unmarked])
def test_loss_and_gradients_are_exact(pair: Callable[[], Pair], nesting: int | None, particles: int) -> None:
    model, guide = pair()
    elbo = TraceEnum_ELBO(particles, max_plate_nesting=nesting, vectorize_particles=True)
    got, exact = elbo.differentiable_loss(model, guide), exact_loss(model, guide)
    torch.testing.assert_close(got, exact, rtol=0, atol=1e-8)
    torch.testing.assert_close(gradients(got), gradients(exact), rtol=0, atol=1e-8)
    assert elbo.loss(model, guide) == pytest.approx(exact.item(), abs=1e-8)


# Pyro 1.9.2, TraceEnum_ELBO(max_plate_nesting=2).loss_and_grads and the gradients, in float64:
#     def mixture(): with plate("d", 3): k ~ Categorical(softmax(w)); x ~ Normal(loc[k], 1), observed X[0]
#     def nested(): a ~ Bernoulli(0.3); with plate("rows", 2, dim=-2): b ~ Categorical(softmax(w));
#         with plate("cols", 3, dim=-1): c ~ Bernoulli(sigmoid(a + b - 1)); x ~ Normal(a + loc[b] c, 1), observed X
#     def minibatch(): as mixture, with plate("d", 6, subsample=[0, 2]), observed X[0, :2]
#     def both(): s ~ Bernoulli(0.6); as mixture, with loc[k] + s; guide: s ~ Bernoulli(sigmoid(0.4)), enumerated
# all discrete sites with infer={"enumerate": "parallel"}, w = (0.2, -0.5, 0.9), loc = (-1, 0.5, 2)
PYRO = {
    "mixture": (
        5.3080583911,
        [-0.3428836525, -0.1048082211, 0.4476918735],
        [-0.2399642265, 0.1387690302, 0.6148897189],
    ),
    "nested": (
        10.4300426902,
        [-0.3019299521, -0.2269964053, 0.5289263574],
        [-0.158879899, 0.0134761534, 0.6461309295],
    ),
    "minibatch": (
        11.7465516389,
        [-1.8680244167, -0.517573511, 2.3855979277],
        [-0.6741573915, 0.7481703411, 1.8446691568],
    ),
    "both": (
        5.966986259,
        [-0.7116536196, -0.0654212303, 0.7770748499],
        [0.3754533836, 0.163428096, 0.723646608],
    ),
}


def in_pyro(name: str) -> Pair:
    def mixture(size: int = 3, subsample: list[int] | None = None, shift: Any = 0.0) -> None:
        with plate("d", size, subsample=subsample) as i:
            k = sample("k", Categorical(weights().softmax(-1)), infer=ENUM)
            observe("x", Normal(loc()[k] + shift, 1.0), X[0, : len(i)])

    def nested() -> None:
        a = sample("a", Bernoulli(double(0.3)[0]), infer=ENUM)
        with plate("rows", 2, dim=-2):
            b = sample("b", Categorical(weights().softmax(-1)), infer=ENUM)
            with plate("cols", 3, dim=-1):
                c = sample("c", Bernoulli(torch.sigmoid(a + b - 1.0)), infer=ENUM)
                observe("x", Normal(a + loc()[b] * c, 1.0), X)

    def both() -> None:
        mixture(shift=sample("s", Bernoulli(double(0.6)[0])))

    def guide() -> None:
        sample("s", Bernoulli(logits=param("q", double(0.4)[0])), infer=ENUM)

    models = {"mixture": mixture, "nested": nested, "minibatch": lambda: mixture(6, [0, 2]), "both": both}
    return Pair(models[name], guide if name == "both" else nothing)


@pytest.mark.parametrize("name", PYRO)
def test_the_figures_of_pyro(name: str) -> None:
    loss, w, means = PYRO[name]
    assert TraceEnum_ELBO().loss_and_grads(*in_pyro(name)) == pytest.approx(loss, abs=1e-9)
    leaves = ppl.get_param_store().leaves
    torch.testing.assert_close(leaves["w"].grad, double(*w), rtol=0, atol=1e-9)
    torch.testing.assert_close(leaves["loc"].grad, double(*means), rtol=0, atol=1e-9)
    if name == "both":
        torch.testing.assert_close(leaves["q"].grad, double(0.2631213941)[0], rtol=0, atol=1e-9)


# Draws of the guide


def continuous() -> Pair:
    def model() -> None:
        mu = sample("mu", Normal(double(0.0)[0], 1.0))
        with plate("data", 3):
            k = sample("k", Categorical(logits=weights()), infer=ENUM)
            observe("x", Normal(mu + loc()[k], 1.0), X[0])

    return Pair(model, lambda: sample("mu", Normal(param("m", double(0.3)[0]), param("s", double(0.5)[0]))))


def test_a_draw_of_the_guide_is_given() -> None:
    model, guide = continuous()
    with h.seed(rng_seed=0):
        got = TraceEnum_ELBO().differentiable_loss(model, guide)
    trace = h.trace(h.seed(guide, rng_seed=0)).get_trace()
    mu = trace["mu"].value
    likelihood = torch.logsumexp(weights().log_softmax(0) + Normal(mu + loc(), 1.0).log_prob(X[0, :, None]), 1).sum()
    exact = trace.log_prob_sum() - Normal(0.0, 1.0).log_prob(mu) - likelihood
    torch.testing.assert_close(got, exact)
    torch.testing.assert_close(gradients(got), gradients(exact))


def test_particles_at_once_are_the_particles_one_by_one() -> None:
    """Both are averages of draws: 5 standard errors, a false alarm in 2e6."""
    model, guide = continuous()
    one = torch.tensor([TraceEnum_ELBO().loss(model, guide) for _ in range(200)])
    many = TraceEnum_ELBO(4000, vectorize_particles=True).loss(model, guide)
    error = one.std() * (1 / 200 + 1 / 2000) ** 0.5
    assert abs(one.mean() - many) < 5 * error


def test_score_sites_pay_for_the_log_marginal() -> None:
    """The mean of score-function gradients over 20000 draws: 5 standard errors, a false alarm in 2e6."""

    def model() -> None:
        s = sample("s", Bernoulli(double(0.6)[0]))
        with plate("data", 3):
            k = sample("k", Categorical(logits=weights()), infer=ENUM)
            observe("x", Normal(loc()[k] + s, 1.0), X[0])

    def guide(estimator: str) -> None:
        sample("s", Bernoulli(logits=param("q", double(0.4)[0])), infer={"estimator": estimator, "baseline": "none"})

    exact = gradients(exact_loss(model, lambda: guide("score")))["q"]
    found = torch.stack(
        [
            gradients(TraceEnum_ELBO(200, vectorize_particles=True).differentiable_loss(model, lambda: guide("score")))[
                "q"
            ]
            for _ in range(100)
        ]
    )
    assert abs(found.mean() - exact) < 5 * found.std() / 10
    exactly = gradients(TraceEnum_ELBO().differentiable_loss(model, lambda: guide("enumerate")))["q"]
    torch.testing.assert_close(exactly, exact)


# Subsampling and masks


def test_minibatches_average_to_the_whole() -> None:
    """The mean over all minibatches of size 2 of 3, one per way to choose them."""

    def model(i: list[int] | None = None) -> None:
        with plate("data", 3, subsample=i):
            k = sample("k", Categorical(logits=weights()), infer=ENUM)
            observe("x", Normal(loc()[k], 1.0), X[0] if i is None else X[0, i])

    elbo = TraceEnum_ELBO()
    parts = [elbo.loss(model, nothing, i) for i in ([0, 1], [0, 2], [1, 2])]
    assert sum(parts) / 3 == pytest.approx(elbo.loss(model, nothing))


def test_what_is_masked_does_not_count() -> None:
    """Nor does a mask on the site that is summed out: its law adds up to one. Pyro's figures are the same."""

    def model(site: Tensor, data: Tensor) -> None:
        with plate("data", 3):
            with h.mask(mask=site):
                k = sample("k", Categorical(double(0.2, 0.3, 0.5)), infer=ENUM)
            with h.mask(mask=data):
                observe("x", Normal(k.double(), 1.0), X[0])

    all_, some = torch.tensor([True, True, True]), torch.tensor([True, False, True])
    losses = [TraceEnum_ELBO().loss(model, nothing, *masks) for masks in ((all_, all_), (some, some), (all_, some))]
    assert losses == pytest.approx([5.77314830312743, 2.7907592702944948, 2.7907592702944948], abs=1e-12)
    assert TraceEnum_ELBO().loss(model, nothing, some, all_) == pytest.approx(losses[0])


# Posteriors


def posteriors_by_hand(model: Program, names: tuple[str, ...]) -> dict[str, Tensor]:
    """The mean of each site given the data, entry by entry."""

    def run() -> tuple[Tensor, dict[str, Tensor]]:
        trace = h.trace(model).get_trace()
        likelihood = trace.log_prob_sum(lambda name, site: site.is_observed).exp()
        return likelihood, {name: trace[name].value.double() for name in names}

    found = [(weight * likelihood, values) for weight, (likelihood, values) in outcomes(run)]
    total = torch.stack([weight for weight, _ in found]).sum()
    return {name: torch.stack([weight * values[name] for weight, values in found]).sum(0) / total for name in names}


@pytest.mark.parametrize(
    ("pair", "names"),
    [(mixture, ("k",)), (chain, ("z_0", "z_1", "z_2", "y_1")), (lambda: Pair(tree_of_plates, nothing), ("a", "b"))],
    ids=["mixture", "chain", "plates"],
)
def test_marginals_are_posteriors(pair: Callable[[], Pair], names: tuple[str, ...]) -> None:
    model, guide = pair()
    with torch.no_grad():
        found = TraceEnum_ELBO().compute_marginals(model, guide)
        exact = posteriors_by_hand(model, names)
    for name in names:
        marginal = found[name]
        mean = marginal.mean if isinstance(marginal, Bernoulli) else (marginal.probs * torch.arange(3)).sum(-1)
        torch.testing.assert_close(mean, exact[name], check_dtype=False)


def tree_of_plates() -> None:
    a = sample("a", Bernoulli(logits=weights()[0]), infer=ENUM)
    with plate("rows", 2, dim=-2):
        b = sample("b", Bernoulli(logits=weights()[2] * a), infer=ENUM)
        with plate("columns", 3, dim=-1):
            observe("x", Normal(a + b * loc()[0], 1.0), X)


def test_marginals_are_given_each_row_of_the_guide() -> None:
    model, guide = both_sides()
    found = TraceEnum_ELBO().compute_marginals(model, guide)["k"]
    assert found.batch_shape == (2, 2, 2)  # values of t, values of s, data
    for s in (0, 1):
        for t in (0, 1):
            log_joint = (weights() + s).log_softmax(0) + Normal(loc() + s * t, 1.0).log_prob(X[0, :2, None])
            log_joint = log_joint + Bernoulli(logits=weights()[1] * torch.arange(3)).log_prob(double(t)[0])
            torch.testing.assert_close(found.probs[t, s], log_joint.softmax(-1).detach())


def test_marginals_keep_the_family_where_they_can() -> None:
    def model() -> None:
        with plate("data", 2):
            one = sample("one", dist.OneHotCategorical(logits=weights()), infer=ENUM)
            count = sample("count", dist.Binomial(2, double(0.3)[0]), infer=ENUM)
            observe("x", Normal((one * loc()).sum(-1) + count, 1.0), X[0, :2])
        only = sample("only", Categorical(double(1.0)), infer=ENUM)
        observe("y", Normal(only, 1.0), X[0, 0])

    found = TraceEnum_ELBO().compute_marginals(model, nothing)
    assert isinstance(found["one"], dist.OneHotCategorical) and found["one"].batch_shape == (2,)
    assert isinstance(found["count"], dist.Empirical) and found["count"].batch_shape == (2,)
    assert found["only"].probs.tolist() == [1.0]
    counts = torch.arange(3.0)
    prior = dist.Binomial(2, double(0.3)[0]).log_prob(counts)
    log_joint = (
        weights().log_softmax(0)[:, None] + prior + Normal(loc()[:, None] + counts, 1.0).log_prob(X[0, :2, None, None])
    )
    probs = log_joint.detach().flatten(1).softmax(1).reshape(2, 3, 3)
    torch.testing.assert_close(found["one"].probs, probs.sum(2))
    torch.testing.assert_close(found["count"].mean, (probs.sum(1) * counts).sum(1), check_dtype=False)


def test_without_sites_to_sum_there_are_no_marginals() -> None:
    assert TraceEnum_ELBO().compute_marginals(lambda: observe("x", Normal(0.0, 1.0), 0.0), nothing) == {}


# A fit


def test_a_mixture_finds_its_components() -> None:
    """A thousand draws of 0.3 N(-2, 1) + 0.7 N(3, 1): means and weights within 5 standard errors of the best fit."""
    generator = torch.Generator().manual_seed(0)
    which = torch.rand(1000, generator=generator) < 0.7
    data = torch.where(which, 3.0, -2.0) + torch.randn(1000, generator=generator)

    def model(data: Tensor) -> None:
        shares = param("shares", torch.full((2,), 0.5), constraint=constraints.simplex)
        means = param("means", torch.tensor([-0.5, 0.5]))
        with plate("data", len(data)):
            k = sample("k", Categorical(shares), infer=ENUM)
            observe("x", Normal(means[k], 1.0), data)

    store = ParamStore()
    run = SVI(model, nothing, optim.Adam(lr=0.1), TraceEnum_ELBO(), store=store, seed=0).run(150, data, progress=False)
    torch.testing.assert_close(run.params["means"], torch.tensor([-2.0, 3.0]), rtol=0, atol=5 / 300**0.5)
    torch.testing.assert_close(run.params["shares"], torch.tensor([0.3, 0.7]), rtol=0, atol=5 * 0.46 / 1000**0.5)
    with store:
        posterior = TraceEnum_ELBO().compute_marginals(model, nothing, data)["k"]
    assert ((posterior.probs[:, 1] > 0.5) == which).float().mean() > 0.97

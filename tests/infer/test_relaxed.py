"""Relaxed draws: REBAR and RELAX are unbiased whatever their control variate is, and the biased ones are biased.

As in `test_surrogate_unbiased`, Monte Carlo error is in the assertion: each component within 4 standard errors (a
correct estimator fails one component in about 16,000), and the standard error below 2% of the gradient's norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import ppl
import ppl_dist as dist
from inference import SVI, Baselines, Cost, Optim, Trace_ELBO, estimate, surrogate_loss
from inference.estimators import ESTIMATORS
from inference.estimators.controlled import _kept
from inference.estimators.relaxed import Interpolated
from ppl import ParamStore, observe, param, plate, sample
from ppl import handlers as h
from tests.errors.reading import advice, fails
from tests.support.relaxing import DATA, PAIRS, SILLY, Using, assert_unbiased, leaf, set_controls, values

Bernoulli, Normal, OneHot = dist.Bernoulli, dist.Normal, dist.OneHotCategorical
Program = Callable[[], Any]
CONTROLLED = ("rebar", "relax")


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    torch.manual_seed(0)
    with ParamStore():
        yield


# Costs


COUNT = 20000


def cost_gradients(fn: Any, cost: Callable[[Tensor], Tensor], logits: Tensor, infer: Any, repeats: int = 20) -> Tensor:
    """Gradients (repeats, components) of the mean over `COUNT` draws."""
    found = []
    for _ in range(repeats):
        with h.trace() as tr, estimate(first_available_dim=-2), plate("draws", COUNT):
            z = sample("z", fn(), infer=infer)
        loss = surrogate_loss(tr, cost(z)) / COUNT
        found.append(torch.autograd.grad(loss, logits)[0].reshape(-1))
    return torch.stack(found)


TARGET = values(0.9, -0.3, 0.4)


@pytest.mark.parametrize(("estimator", "silly"), list(zip(CONTROLLED, SILLY, strict=True)))
def test_a_vector_that_is_one_event(estimator: str, silly: str) -> None:
    logits = leaf(0.3, -0.8, 0.5)

    def cost(z: Tensor) -> Tensor:
        return ((z - TARGET).sum(-1) + z[..., 0] * z[..., 1]) ** 2

    corners = torch.cartesian_prod(*[values(0.0, 1.0)] * 3)
    mass = Bernoulli(logits=logits).to_event(1).log_prob(corners).exp()
    (exact,) = torch.autograd.grad((mass * cost(corners)).sum(), logits)
    cost_gradients(lambda: Bernoulli(logits=logits).to_event(1), cost, logits, {"estimator": estimator}, 1)
    set_controls(ppl.get_param_store(), silly)
    draws = cost_gradients(lambda: Bernoulli(logits=logits).to_event(1), cost, logits, {"estimator": estimator})
    assert_unbiased(draws, exact)


@pytest.mark.parametrize("given", ["logits", "probs"])
@pytest.mark.parametrize("estimator", CONTROLLED)
def test_two_one_hot_draws_that_are_one_event(estimator: str, given: str) -> None:
    raw = leaf(0.3, -0.8, 0.5, 1.0, 0.2, -0.2)
    table = values(1.0, -0.5, 2.0, 0.3, -1.5, 0.7).reshape(2, 3)

    def fn() -> Any:
        shaped = raw.reshape(2, 3)
        return (OneHot(logits=shaped) if given == "logits" else OneHot(probs=shaped.softmax(-1))).to_event(1)

    def cost(z: Tensor) -> Tensor:
        return ((z * table).sum((-1, -2)) - 0.3) ** 2

    corners = torch.stack([torch.eye(3).double()[pair] for pair in torch.cartesian_prod(*[torch.arange(3)] * 2)])
    (exact,) = torch.autograd.grad((fn().log_prob(corners).exp() * cost(corners)).sum(), raw)
    assert_unbiased(cost_gradients(fn, cost, raw, {"estimator": estimator, "temperature": 0.8}), exact)


def test_a_chance_of_zero_has_no_gradient_and_gives_no_nan() -> None:
    logits = torch.tensor([0.2, -torch.inf, 0.5], requires_grad=True)
    found = cost_gradients(lambda: OneHot(logits=logits), lambda z: z @ TARGET.float(), logits, {"estimator": "relax"})
    assert found.isfinite().all() and (found[:, 1] == 0).all()


# The conditional draw


def paper_given_category(logits: Tensor, b: Tensor, exponential: Tensor) -> Tensor:
    """z~ given b from standard exponentials, as the papers write it."""
    top = logits.logsumexp(-1, keepdim=True) - (exponential * b).sum(-1, keepdim=True).log()
    return torch.where(b > 0, top, -(exponential * (-logits).exp() + (-top).exp()).log())


def paper_given_side(logits: Tensor, b: Tensor, v: Tensor) -> Tensor:
    """z~ given b from a uniform number, as the papers write it."""
    p = logits.sigmoid()
    u = torch.where(b > 0, 1 - p + v * p, v * (1 - p))
    return logits + u.logit()


def test_z_given_b_has_the_law_of_z() -> None:
    """Kolmogorov-Smirnov for each marginal, 4 tests at 1e-4: a false alarm in 2500 seeds."""
    n, logits = 20000, values(0.3, -0.5, 1.1).log_softmax(-1)
    b = OneHot(logits=logits).sample((n,))
    z = paper_given_category(logits, b, torch.empty(n, 3).double().exponential_())
    assert torch.equal(z.argmax(-1), b.argmax(-1))
    for k in range(3):
        assert stats.kstest(z[:, k].numpy(), stats.gumbel_r(loc=float(logits[k])).cdf).pvalue > 1e-4
    logit = values(0.7)[0]
    b = Bernoulli(logits=logit).sample((n,))
    z = paper_given_side(logit, b, torch.rand(n).double())
    assert torch.equal((z > 0).double(), b)
    assert stats.kstest(z.numpy(), stats.logistic(loc=0.7).cdf).pvalue > 1e-4


def test_the_movement_of_a_category_is_that_of_the_papers_at_the_coupled_noise() -> None:
    logits = torch.randn(50, 4).double().requires_grad_()
    z = (logits.log_softmax(-1) + dist.Gumbel(0.0, 1.0).sample((50, 4))).detach()
    b = OneHot(logits=logits).support.feasible(z) * 0 + nn.functional.one_hot(z.argmax(-1), 4)
    top = z.amax(-1, keepdim=True)
    normal = logits.log_softmax(-1)
    rest = ((-z).exp() - (-top).exp()) * normal.exp()
    noise = torch.where(b > 0, (normal.logsumexp(-1, keepdim=True) - top).exp(), rest).detach()
    again, by = paper_given_category(normal, b, noise), torch.randn(50, 4).double()
    torch.testing.assert_close(again.detach(), z)
    (bound,) = torch.autograd.grad(again, normal, by)
    torch.testing.assert_close(_kept(OneHot(logits=logits), z, normal, by), by - bound)


def test_the_movement_of_a_side_is_that_of_the_papers_at_the_coupled_noise() -> None:
    logits = torch.randn(200).double().requires_grad_()
    z = (logits + torch.rand(200).double().logit()).detach()
    b, p, u = (z > 0).double(), logits.sigmoid(), (z - logits).sigmoid()
    v = torch.where(b > 0, (u - 1 + p) / p, u / (1 - p)).detach()
    again, by = paper_given_side(logits, b, v), torch.randn(200).double()
    torch.testing.assert_close(again.detach(), z)
    (bound,) = torch.autograd.grad(again, logits, by)
    torch.testing.assert_close(_kept(Bernoulli(logits=logits), z, logits, by), by - bound)


# Variance


def toy(target: float, estimator: str, logits: Tensor, memory: Baselines | None) -> Tensor:
    """The loss E[(b - target)^2] of Tucker et al. 2017, section 5.1, summed over the entries of one draw."""
    with h.trace() as tr, estimate(first_available_dim=-1):
        b = sample("b", Bernoulli(logits=logits).to_event(1), infer={"estimator": estimator})
    return surrogate_loss(tr, ((b - target) ** 2).sum(-1), baselines=memory)


def variance_after_training(target: float, size: int, estimator: str, memory: Baselines | None) -> float:
    """The variance of the gradient at chances of 1/2, of single draws, once the control variate is trained there."""
    logits = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    with ParamStore() as store:
        toy(target, estimator, logits, memory)
        if store.leaves:
            optimizer = torch.optim.Adam(store.leaves.values(), lr=0.02)
            for _ in range(400):
                optimizer.zero_grad()
                toy(target, estimator, logits, memory).backward()
                optimizer.step()
        found = [torch.autograd.grad(toy(target, estimator, logits, memory), logits)[0] for _ in range(400)]
    return float(torch.stack(found[20:]).var(0).sum())


def test_the_toy_problem_of_the_papers() -> None:
    """The cost hardly varies: a constant is all that a control variate needs. REBAR has none but its baseline."""
    score = variance_after_training(0.45, 1, "score", None)
    assert variance_after_training(0.45, 1, "relax", None) < 0.15 * score
    assert variance_after_training(0.45, 1, "rebar", Baselines()) < 0.02 * score


def test_control_variates_beat_a_baseline_where_other_entries_make_the_noise() -> None:
    score, rebar, relax = (variance_after_training(0.1, 6, name, Baselines()) for name in ("score", *CONTROLLED))
    assert max(rebar, relax) < 0.7 * score, (relax, rebar, score)


# SVI


def test_svi_trains_the_control_variate_with_the_program() -> None:
    pair = PAIRS["entries_of_a_plate"]
    with Using("relax"), ParamStore() as store:
        svi = SVI(*pair, Optim(torch.optim.Adam, lr=0.05), seed=0)
        svi.step()
        before = {name: x.clone() for name, x in store.items()}
        svi.run(250, progress=False)
        assert {"z.control.log_temperature", "z.control.scale", "z.control.level"} <= set(store)
        assert all((store[name] != before[name]).any() for name in store)
        found = store["q"].sigmoid().detach()
    prior, w = values(0.3)[0].sigmoid(), store["w"].detach()
    odds = (Normal(w, 0.7).log_prob(DATA) - Normal(0.0, 0.7).log_prob(DATA)).exp() * prior / (1 - prior)
    torch.testing.assert_close(found, odds / (1 + odds), atol=0.05, rtol=0.0)


def test_pure_steps_are_the_steps_in_place() -> None:
    pair, optim = PAIRS["single"], Optim(torch.optim.Adam, lr=0.05)
    with Using("relax"):
        with ParamStore() as store:
            svi = SVI(*pair, optim, seed=1)
            for _ in range(3):
                svi.step()
        with ParamStore():
            svi = SVI(*pair, optim, seed=1)
            state = svi.init()
            assert "z.control.scale" in state.params
            for _ in range(3):
                state, _ = svi.update(state)
    for name, value in svi.get_params(state).items():
        torch.testing.assert_close(value, store[name].detach())


def test_a_control_that_first_appears_in_a_pure_step() -> None:
    asked = Using("score")
    with asked, ParamStore():
        svi = SVI(*PAIRS["single"], Optim(torch.optim.Adam, lr=0.05), seed=1)
        state = svi.init()
        asked.estimator = "rebar"
        after, _ = svi.update(state)
    assert "z.control.scale" not in state.params
    assert after.params["z.control.scale"] != 1.0


def test_a_network_of_the_program() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    locs = values(-1.0, 0.3, 1.5)

    def model() -> None:
        z = sample("z", OneHot(logits=values(0.1, -0.4, 0.5)))
        observe("x", Normal((z * locs).sum(-1), 0.8), values(0.9)[0])

    def guide() -> None:
        control = ppl.module("control", network)
        q = param("q", values(0.3, 0.5, -0.7))
        sample("z", OneHot(logits=q), infer={"estimator": "relax", "control": control})

    with ParamStore() as store:
        svi = SVI(model, guide, Optim(torch.optim.Adam, lr=0.01), seed=0)
        before = [x.detach().clone() for x in network.parameters()]
        svi.run(3, progress=False)
        assert set(store) >= {"control$$$0.weight", "z.control.scale"} and "z.control.level" not in store
        state, _ = svi.update(svi.state)
    assert all((x != y).any() for x, y in zip(network.parameters(), before, strict=True))
    assert (state.params["control$$$0.weight"] != network[0].weight).any()


def test_without_gradients_it_is_the_cost_of_the_discrete_draw() -> None:
    logit = leaf(0.3)
    with torch.no_grad(), h.trace() as tr, estimate():
        z = sample("z", Bernoulli(logits=logit[0]), infer={"estimator": "relax"})
        loss = surrogate_loss(tr, 7.0 + z)
    assert z.shape == (2,) and z[0] in (0, 1) and 0 < z[1] < 1
    assert loss.item() == 7.0 + z[0].item() and not loss.requires_grad


def test_the_control_variate_does_not_move_the_loss_nor_other_parameters() -> None:
    pair = PAIRS["entries_of_a_plate"]
    with Using("relax"), ParamStore() as store:
        found = []
        for _ in range(2):
            with h.seed(rng_seed=0):
                loss = Trace_ELBO(max_plate_nesting=1).differentiable_loss(*pair)
            found.append((loss.item(), torch.autograd.grad(loss, store.leaves["w"])[0]))
            set_controls(store, "hot_and_too_much")
    assert found[0] == found[1]


# Biased ones


def soft_gradient(estimator: str, temperature: float) -> Tensor:
    logits = leaf(0.4)
    infer = {"estimator": estimator, "temperature": temperature}
    draws = cost_gradients(lambda: Bernoulli(logits=logits[0]), lambda z: (z - 0.1) ** 3, logits, infer, 100)
    return torch.stack([draws.mean(0), draws.std(0) / 10])[:, 0]


def test_the_bias_of_a_relaxed_draw_vanishes_with_the_temperature() -> None:
    p = values(0.4)[0].sigmoid()
    exact = p * (1 - p) * (0.9**3 + 0.1**3)
    found = [soft_gradient("gumbel_softmax", temperature) for temperature in (1.0, 0.3, 0.03)]
    bias, errors = [mean - exact for mean, _ in found], [error for _, error in found]
    assert abs(bias[0]) > 20 * errors[0] and abs(bias[0]) > 0.05 * exact
    assert abs(bias[1]) < 0.5 * abs(bias[0])
    assert abs(bias[2]) < 4 * errors[2] + 0.002 * exact and errors[2] < 0.02 * exact


def test_straight_through_is_biased_and_its_draws_are_discrete() -> None:
    p = values(0.4)[0].sigmoid()
    exact = p * (1 - p) * (0.9**3 + 0.1**3)
    mean, error = soft_gradient("straight_through", 0.5)
    assert abs(mean - exact) > 20 * error
    logits = leaf(0.4, -0.3, 0.2)
    with h.trace() as tr, estimate(estimator="straight_through"):
        sample("side", Bernoulli(logits=logits).to_event(1))
        sample("category", OneHot(logits=logits))
    assert tr["side"].value.requires_grad and set(tr["side"].value.tolist()) <= {0.0, 1.0}
    assert sorted(tr["category"].value.tolist()) == [0.0, 0.0, 1.0]
    assert ESTIMATORS["straight_through"].biased and ESTIMATORS["gumbel_softmax"].biased
    assert not any(ESTIMATORS[name].biased for name in CONTROLLED)


@pytest.mark.parametrize("estimator", ["gumbel_softmax", "straight_through"])
def test_the_value_of_straight_through_is_that_of_a_plain_draw(estimator: str) -> None:
    logits = leaf(0.4, -0.3, 0.2)
    with h.trace() as tr, plate("draws", COUNT), estimate(estimator=estimator):
        z = sample("z", OneHot(logits=logits))
    share, p = z.detach().argmax(-1).bincount() / COUNT, logits.softmax(-1)
    assert ((share - p).abs() < 4 * (p * (1 - p) / COUNT).sqrt()).all()
    assert isinstance(tr["z"].fn, Interpolated)


@pytest.mark.parametrize("base", [Bernoulli(logits=values(0.3, -1.0)), OneHot(logits=values(0.3, -1.0, 0.2))])
def test_interpolated_is_the_law_itself_at_its_values_and_linear_between(base: Any) -> None:
    soft = Interpolated(base)
    corners = base.enumerate_support().to(torch.float64)
    torch.testing.assert_close(soft.log_prob(corners), base.log_prob(corners))
    middle = 0.3 * corners[0] + 0.7 * corners[1]
    torch.testing.assert_close(soft.log_prob(middle), 0.3 * base.log_prob(corners[0]) + 0.7 * base.log_prob(corners[1]))


def test_interpolated_with_a_chance_of_zero() -> None:
    x = values(0.0, 1.0).requires_grad_()
    found = Interpolated(Bernoulli(probs=values(0.0, 1.0))).log_prob(x)
    assert found.tolist() == [0.0, 0.0]
    assert Interpolated(Bernoulli(probs=values(0.0)[0])).log_prob(values(0.5)[0]) == -torch.inf
    assert torch.autograd.grad(found.sum(), x)[0].isfinite().all()


# Errors


def run(fn: Any, cost: Callable[[Tensor], Tensor] = torch.Tensor.sum, **infer: Any) -> Tensor:
    with h.trace() as tr, estimate():
        z = sample("z", fn, infer=infer)
    return surrogate_loss(tr, {"z": cost(z)})


@pytest.mark.parametrize("estimator", ["gumbel_softmax", "straight_through", *CONTROLLED])
def test_an_index_cannot_be_relaxed(estimator: str) -> None:
    logits = leaf(0.1, 0.2)
    message = fails(
        ValueError,
        lambda: run(dist.Categorical(logits=logits), estimator=estimator),
        'site "z"',
        f'"{estimator}" expected a Bernoulli or a OneHotCategorical, got Categorical',
    )
    assert advice(message) == "OneHotCategorical there, with the same parameters"
    run(OneHot(logits=logits), lambda z: z[..., 0], estimator=estimator)


def test_a_family_that_cannot_be_relaxed() -> None:
    fn = dist.Poisson(leaf(1.0)[0])
    message = fails(ValueError, lambda: run(fn, estimator="relax"), 'site "z"', "expected", "got Poisson")
    run(fn, lambda z: z, **eval(advice(message, r"Try infer=(\{.+?\}) there")))


@pytest.mark.parametrize("temperature", [0.0, -1.0, [0.1, 0.2]])
def test_a_temperature_that_is_none(temperature: Any) -> None:
    fn = Bernoulli(logits=leaf(0.1)[0])
    message = fails(
        ValueError,
        lambda: run(fn, estimator="rebar", temperature=temperature),
        'site "z": "temperature" must be one positive number',
        f"got {temperature!r}",
    )
    run(fn, lambda z: z, **eval(advice(message, r"Try infer=(\{.+?\})")))


def test_a_control_that_is_no_module() -> None:
    fn = Bernoulli(logits=torch.zeros(2, requires_grad=True)).to_event(1)
    message = fails(
        TypeError,
        lambda: run(fn, estimator="relax", control=3.0),
        'site "z": "control" must be a torch module',
        "got float",
    )
    run(fn, lambda z: z.sum(-1), **eval(advice(message, r"Try infer=(\{.+\})")))


def test_a_control_of_the_wrong_shape() -> None:
    fn = Bernoulli(logits=torch.zeros(2, requires_grad=True)).to_event(1)
    message = fails(
        ValueError,
        lambda: run(fn, lambda z: z.sum(-1), estimator="relax", control=nn.Linear(2, 3)),
        'site "z": the network "control" must take shape (1, 2) to (1, 1), got (1, 3)',
    )
    run(fn, lambda z: z.sum(-1), **eval(advice(message, r"Try infer=(\{.+\})")))


def test_costs_that_are_not_differentiable_in_the_draw() -> None:
    table, fn = torch.tensor([1.0, 2.0]), Bernoulli(logits=torch.zeros((), requires_grad=True))
    message = fails(
        ValueError,
        lambda: run(fn, lambda z: table[z.long()], estimator="rebar"),
        'site "z": expected costs that are differentiable in the draw, got one',
    )
    run(fn, lambda z: table[z.long()], **eval(advice(message, r"Try infer=(\{.+?\}) there")))


def test_a_second_derivative_is_refused() -> None:
    logit = leaf(0.3)
    loss = run(Bernoulli(logits=logit[0]), lambda z: z**2, estimator="relax")
    (first,) = torch.autograd.grad(loss, logit, create_graph=True)
    fails(RuntimeError, lambda: torch.autograd.grad(first.sum(), logit), 'of site "z" gives the first derivative only')


def test_a_site_drawn_without_the_engine() -> None:
    logit = leaf(0.3)
    with h.trace() as tr:
        z = sample("z", Bernoulli(logits=logit[0]), infer={"estimator": "rebar"})
    message = fails(RuntimeError, lambda: surrogate_loss(tr, z), 'site "z"', '"rebar" must draw the site itself')
    assert advice(message) == "with inference.estimate():  around the program"


def test_a_cost_without_a_derivative_beside_one_that_has_it() -> None:
    """It would be left out of the control variate's path in silence."""
    table = torch.tensor([0.3, 1.2], requires_grad=True)

    def program(estimator: str) -> Tensor:
        with h.trace() as tr, estimate(estimator=estimator):
            b = sample("b", dist.Bernoulli(logits=torch.zeros((), requires_grad=True)), infer={"baseline": "none"})
        return surrogate_loss(tr, [Cost(b * table[0], 1), Cost(table[b.long()], 1)])

    with ParamStore(), pytest.raises(ValueError, match='site "b": expected costs that are differentiable in the draw'):
        program("relax")
    program("score").backward()  # type: ignore[no-untyped-call]

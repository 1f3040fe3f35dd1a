"""What a score term multiplies, baselines, and policies: the surrogate outside of any bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import ppl_dist as dist
from inference import Baselines, Cost, DecayingAverage, Trace_ELBO, estimate, surrogate_loss
from ppl import Trace, observe, plate, sample
from ppl import handlers as h
from tests.support.enumeration import exact_expectation

Bernoulli, Normal = dist.Bernoulli, dist.Normal


def leaf(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def gradient(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves, retain_graph=True))


def assert_unbiased(draws: Tensor, exact: Tensor) -> None:
    mean, error = draws.mean(0), draws.std(0) / draws.shape[0] ** 0.5
    assert error.norm() < 0.05 * exact.norm(), (error, exact)
    assert ((mean - exact).abs() <= 4 * error).all(), (mean, error, exact)


# ---------------------------------------------------------------------- which costs a score term multiplies


def two_actions(a: Tensor, b: Tensor) -> Trace:
    with h.seed(rng_seed=1), h.trace() as tr:
        sample("a", Bernoulli(logits=a[0]))
        sample("b", Bernoulli(logits=b[0]))
    return tr


def test_a_cost_paid_before_a_draw_does_not_multiply_its_score() -> None:
    a, b = leaf(0.2), leaf(-0.3)
    tr = two_actions(a, b)
    first, second = torch.tensor(3.0), torch.tensor(5.0)
    grad_a, grad_b = gradient(surrogate_loss(tr, {"a": first, "b": second}), a, b)
    score_a = tr["a"].value - a.sigmoid()
    score_b = tr["b"].value - b.sigmoid()
    torch.testing.assert_close(grad_a, score_a * 8.0)
    torch.testing.assert_close(grad_b, score_b * 5.0)


def test_one_tensor_for_all_is_paid_at_the_end() -> None:
    a, b = leaf(0.2), leaf(-0.3)
    tr = two_actions(a, b)
    grads = gradient(surrogate_loss(tr, torch.tensor(8.0)), a, b)
    torch.testing.assert_close(grads, [(tr["a"].value - a.sigmoid()) * 8.0, (tr["b"].value - b.sigmoid()) * 8.0])


def test_costs_in_any_order_and_as_objects() -> None:
    a, b = leaf(0.2), leaf(-0.3)
    tr = two_actions(a, b)
    named = surrogate_loss(tr, {"b": torch.tensor(5.0), "a": torch.tensor(3.0)})
    listed = surrogate_loss(tr, [Cost(torch.tensor(5.0), 2), Cost(torch.tensor(3.0), 1), Cost(torch.tensor(9.0), 0)])
    assert gradient(named, a, b) == gradient(listed, a, b)
    assert named.item() == 8.0 and listed.item() == 17.0  # the value is the sum of the costs


def test_sites_alone_serve_as_well_as_a_trace() -> None:
    a, b = leaf(0.2), leaf(-0.3)
    tr = two_actions(a, b)
    cost = torch.tensor(2.0)
    assert gradient(surrogate_loss(list(tr.values()), cost), a, b) == gradient(surrogate_loss(tr, cost), a, b)


def test_entries_of_a_plate_pay_for_themselves() -> None:
    logits = leaf(0.2, -0.4, 1.0)
    with h.seed(rng_seed=2), h.trace() as tr, plate("data", 3):
        z = sample("z", Bernoulli(logits=logits))
    cost = torch.tensor([1.0, 20.0, 300.0], dtype=torch.float64)
    (grad,) = gradient(surrogate_loss(tr, {"z": cost}), logits)
    torch.testing.assert_close(grad, (z - logits.sigmoid()) * cost)


def test_a_site_in_the_outer_plate_pays_for_its_row() -> None:
    outer, inner = leaf(0.2, -0.4), leaf(0.1, 0.5, -0.3)
    with h.seed(rng_seed=2), h.trace() as tr, plate("outer", 2, dim=-2):
        a = sample("a", Bernoulli(logits=outer[:, None]))
        with plate("inner", 3, dim=-1):
            b = sample("b", Bernoulli(logits=inner))
    cost = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    grad_outer, grad_inner = gradient(surrogate_loss(tr, {"b": cost}), outer, inner)
    torch.testing.assert_close(grad_outer, (a[:, 0] - outer.sigmoid()) * cost.sum(1))
    torch.testing.assert_close(grad_inner, ((b - inner.sigmoid()) * cost).sum(0))


def test_two_plates_that_share_a_dim_are_not_taken_for_one() -> None:
    logits = leaf(0.2, -0.4)
    with h.seed(rng_seed=2), h.trace() as tr:
        with plate("causes", 2):
            z = sample("z", Bernoulli(logits=logits))
        with plate("data", 2):
            sample("x", Normal(torch.zeros(2), 1.0))
    cost = torch.tensor([1.0, 20.0], dtype=torch.float64)
    (grad,) = gradient(surrogate_loss(tr, {"x": cost}), logits)
    torch.testing.assert_close(grad, (z - logits.sigmoid()) * 21.0)


def test_data_observed_before_the_latent_leaves_its_gradient_alone() -> None:
    logits = leaf(0.2)

    def guide() -> None:
        sample("z", Bernoulli(logits=logits[0]))

    def grad(early: float) -> Tensor:
        def model() -> None:
            observe("early", Normal(0.0, 1.0), early)
            z = sample("z", Bernoulli(logits=0.0))
            observe("late", Normal(z, 1.0), 0.4)

        with h.seed(rng_seed=0):
            return gradient(Trace_ELBO().differentiable_loss(model, guide), logits)[0]

    assert torch.equal(grad(0.0), grad(1000.0))


# ---------------------------------------------------------------------- baselines


def variance_of_gradient(baseline: Any, repeats: int = 400) -> Tensor:
    logits = leaf(0.3)
    memory = Baselines()
    found = []
    for _ in range(repeats):
        with h.trace() as tr:
            z = sample("z", Bernoulli(logits=logits[0]), infer={"baseline": baseline})
        found.append(gradient(surrogate_loss(tr, 10.0 + z, baselines=memory), logits)[0])
    return torch.stack(found[20:]).var()


@pytest.mark.parametrize(
    "baseline",
    [
        "decaying_average",
        DecayingAverage(0.9),
        10.5,
        torch.tensor(10.5),
        {"use_decaying_avg_baseline": True, "baseline_beta": 0.9},
        {"baseline_value": torch.tensor(10.5)},
    ],
    ids=["by_name", "object", "number", "tensor", "options", "options_value"],
)
def test_a_baseline_reduces_the_variance(baseline: Any) -> None:
    assert variance_of_gradient(baseline) < 0.05 * variance_of_gradient("none")


def test_the_average_takes_in_a_cost_only_after_its_use() -> None:
    memory = Baselines()
    logits = leaf(0.3)
    seen = []
    for cost in (4.0, 8.0, 2.0):
        with h.trace() as tr:
            z = sample("z", Bernoulli(logits=logits[0]), infer={"baseline": DecayingAverage(0.75)})
        loss = surrogate_loss(tr, torch.tensor(cost, dtype=torch.float64), baselines=memory)
        seen.append((gradient(loss, logits)[0] / (z - logits.sigmoid())).item())
    assert seen == pytest.approx([4.0, 8.0 - 4.0, 2.0 - 5.0])  # averages before each: none, 4, 0.75 * 4 + 0.25 * 8
    assert memory.averages["z"].item() == pytest.approx(0.75 * 5.0 + 0.25 * 2.0)


def test_a_minibatch_shares_one_average_and_a_full_plate_keeps_one_per_entry() -> None:
    memory = Baselines()
    asks = {"baseline": "decaying_average"}
    with h.trace() as tr:
        with plate("rows", 10, subsample_size=3):
            sample("a", Bernoulli(logits=leaf(0.1, 0.2, 0.3)), infer=asks)
        with plate("columns", 4):
            sample("b", Bernoulli(logits=torch.zeros(4, requires_grad=True)), infer=asks)
    surrogate_loss(tr, {"a": torch.tensor([1.0, 2.0, 6.0]), "b": torch.arange(4.0)}, baselines=memory)
    assert memory.averages["a"].tolist() == [3.0 + 6.0]  # the mean of its own costs, and all that b pays after it
    assert memory.averages["b"].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_an_average_of_another_shape_starts_again() -> None:
    memory = Baselines({"z": torch.zeros(7)})
    with h.trace() as tr:
        sample("z", Bernoulli(logits=leaf(0.3)[0]), infer={"baseline": "decaying_average"})
    surrogate_loss(tr, torch.tensor(2.0), baselines=memory)
    assert memory.averages["z"].tolist() == 2.0


def test_memory_round_trip() -> None:
    memory = Baselines({"z": torch.tensor(2.0)})
    other = Baselines()
    other.load_state_dict(memory.state_dict())
    assert other.averages == memory.averages
    assert memory.copy().averages is not memory.averages


def test_a_learned_baseline_receives_no_gradient_from_the_surrogate() -> None:
    logits, value = leaf(0.3), leaf(2.0)
    with h.trace() as tr:
        sample("z", Bernoulli(logits=logits[0]), infer={"baseline": value[0]})
    surrogate_loss(tr, torch.tensor(3.0)).backward()
    assert logits.grad is not None and value.grad is None


# ---------------------------------------------------------------------- policies


EPISODES, REPEATS = 4000, 40
REWARD = torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=torch.float64)  # by state


def bandit(logit: Tensor) -> Tensor:
    """The cost of one pull per episode."""
    arm = sample("arm", Bernoulli(logits=logit[0]))
    return torch.where(arm == 1, torch.tensor(-1.3, dtype=torch.float64), torch.tensor(-0.4, dtype=torch.float64))


def decision_process(policy: Tensor) -> dict[str, Tensor]:
    """Three steps over four states; the action moves by one or two. The costs, by the action they are paid after."""
    state = torch.tensor(0)
    costs = {}
    for t in range(3):
        action = sample(f"action_{t}", Bernoulli(logits=policy[t, state]))
        state = (state + 1 + action.long()) % 4
        costs[f"action_{t}"] = -REWARD[state]
    return costs


def episodes(program: Callable[[], Any], costs: Callable[[Any], Any], *leaves: Tensor, infer: Any = None) -> Tensor:
    """Gradients (repeats, components) of the mean cost of a batch of episodes."""
    found = []
    for _ in range(REPEATS):
        with h.trace() as tr, plate("episodes", EPISODES):
            result = program()
        loss = surrogate_loss(tr, costs(result)) / EPISODES
        found.append(torch.cat([grad.reshape(-1) for grad in gradient(loss, *leaves)]))
    return torch.stack(found)


def test_reinforce_on_a_two_armed_bandit() -> None:
    logit = leaf(0.4)
    p = torch.sigmoid(logit.detach())
    exact = p * (1 - p) * (-1.3 + 0.4)
    assert_unbiased(episodes(lambda: bandit(logit), lambda cost: cost, logit), exact)


POLICY = [[0.4, 0.0, 0.0, 0.0], [0.1, -0.7, 0.5, 0.0], [0.3, 0.2, -0.9, 0.6]]


def test_reinforce_on_a_three_step_decision_process() -> None:
    policy = leaf(*POLICY)
    expected = exact_expectation(lambda: torch.stack(list(decision_process(policy).values())).sum())
    exact = gradient(expected, policy)[0].reshape(-1)
    to_go = episodes(lambda: decision_process(policy), lambda costs: costs, policy)
    whole = episodes(lambda: decision_process(policy), lambda costs: torch.stack(list(costs.values())).sum(0), policy)
    assert_unbiased(to_go, exact)
    assert_unbiased(whole, exact)
    # what was earned before an action is noise to its score
    assert to_go.var(0).sum() < 0.8 * whole.var(0).sum()


class Counted(TorchFunctionMode):
    """How many torch functions are called, and on how many elements."""

    def __init__(self) -> None:
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_rewards_to_go_take_linear_time() -> None:
    def calls(steps: int) -> int:
        logit = leaf(0.3)
        with h.trace() as tr:
            costs = {f"a{t}": -sample(f"a{t}", Bernoulli(logits=logit[0])) for t in range(steps)}
        with Counted() as counted:
            surrogate_loss(tr, costs)
        return counted.calls

    assert calls(2000) < 4.2 * calls(500)


def test_rewards_to_go_are_right_over_many_steps() -> None:
    logits = torch.zeros(300, dtype=torch.float64, requires_grad=True)
    with h.trace() as tr:
        actions = [sample(f"a{t}", Bernoulli(logits=logits[t])) for t in range(300)]
    rewards = torch.arange(300.0, dtype=torch.float64)
    (grad,) = gradient(surrogate_loss(tr, {f"a{t}": -rewards[t] for t in range(300)}), logits)
    to_go = rewards.flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(grad, -(torch.stack(actions).detach() - 0.5) * to_go)


def test_a_program_without_score_sites_is_its_costs() -> None:
    loc = leaf(0.3)
    with h.trace() as tr:
        u = sample("u", Normal(loc[0], 1.0))
    cost = u**2
    assert surrogate_loss(tr, cost) is cost
    assert surrogate_loss(tr, []).item() == 0.0


def test_a_vector_of_coins_is_not_enumerated() -> None:
    logits = leaf(0.3, -0.2)
    with h.trace() as tr, estimate(estimator="enumerate"):
        sample("z", Bernoulli(logits=logits).to_event(1))
    assert tr["z"].infer["_estimator"].name == "score"


# ---------------------------------------------------------------------- what is known from the values


def gradients_of(cost_of: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """What the scores of two coins are multiplied by, where the cost is computed under `track`."""
    a, b = leaf(0.2), leaf(-0.3)
    with h.seed(rng_seed=1), h.trace() as tr, h.track():
        x = sample("x", Bernoulli(logits=a[0]), infer={"baseline": "none"})
        y = sample("y", Bernoulli(logits=b[0]), infer={"baseline": "none"})
        cost = cost_of(x, y)
    found = torch.autograd.grad(surrogate_loss(tr, cost) + 0.0 * (a + b).sum(), (a, b))
    return [grad / (tr[name].value - p.sigmoid()).detach() for grad, name, p in zip(found, "xy", (a, b), strict=True)]


def test_a_cost_pays_for_what_it_was_computed_from() -> None:
    grad_x, grad_y = gradients_of(lambda x, y: 3.0 + 0.0 * x)
    assert grad_x.item() == pytest.approx(3.0) and grad_y.item() == 0.0


def test_a_cost_that_python_has_chosen_by_a_value_pays_for_that_too() -> None:
    grad_x, grad_y = gradients_of(lambda x, y: 3.0 + 0.0 * x if y.item() >= 0.0 else x)
    assert grad_x.item() == pytest.approx(3.0) and grad_y.item() == pytest.approx(3.0)


def test_a_cost_without_a_trace_of_its_origin_pays_for_all() -> None:
    grad_x, grad_y = gradients_of(lambda x, y: torch.tensor(3.0))
    assert grad_x.item() == pytest.approx(3.0) and grad_y.item() == pytest.approx(3.0)

"""Every deliberate error of `inference` says where, what was expected, what it got and what to try.

Each test: the call that fails, the parts its message must hold, and, where the advice is code, that code as it stands
in the message, which is run.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import inference
import ppl
import ppl_dist as dist
from inference import SVI, Baselines, DecayingAverage, Optim, SVIState, Trace_ELBO, optim, surrogate_loss
from ppl import ParamStore, observe, param, plate, sample
from ppl import handlers as h

Normal, Bernoulli = dist.Normal, dist.Bernoulli
Program = Callable[..., Any]


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def fails(kind: type[Exception], call: Callable[[], Any], *parts: str) -> str:
    """Call, expect `kind`, find all `parts` in the message, give the message with its notes."""
    with pytest.raises(kind) as info:
        call()
    message = str(info.value.args[0])
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"
    assert any(word in message for word in ("Try ", "did you mean", "Either", "Drop")), message
    return "\n".join([message, *getattr(info.value, "__notes__", ())])


def advice(message: str, pattern: str = r"Try (.+?)\.?$") -> str:
    found = re.search(pattern, message, flags=re.MULTILINE)
    assert found is not None, message
    return found.group(1)


def nothing(*args: Any) -> None:
    pass


def model() -> None:
    theta = sample("theta", Normal(0.0, 1.0))
    observe("x", Normal(theta, 1.0), 0.3)


def guide() -> None:
    sample("theta", Normal(param("loc", 0.0), 1.0))


def step(model: Program = model, guide: Program = guide, optimizer: Any = None) -> float:
    return SVI(model, guide, optimizer or optim.Adam(lr=0.1), seed=0).step()


# Model and guide that do not fit


def test_a_guide_site_missing_from_the_model() -> None:
    def misspelt(name: str = "thetaa") -> None:
        sample(name, Normal(param("loc", 0.0), 1.0))

    message = fails(
        ValueError,
        lambda: step(guide=misspelt),
        'site "thetaa": the guide has this latent site and the model does not',
        'did you mean "theta"?',
        "Latent sites of the model: theta.",
        'infer={"is_auxiliary": True}',
    )
    step(guide=lambda: misspelt(advice(message, r'did you mean "(\w+)"')))


def test_a_guide_site_that_the_model_only_has_as_another_kind() -> None:
    def with_deterministic() -> None:
        model()
        ppl.deterministic("twice", torch.tensor(2.0))

    def wrong() -> None:
        guide()
        sample("twice", Normal(0.0, 1.0))

    fails(ValueError, lambda: step(with_deterministic, wrong), 'site "twice"', "the model does not")


def test_a_latent_site_missing_from_the_guide() -> None:
    message = fails(
        ValueError,
        lambda: step(guide=nothing),
        'site "theta": the model has this latent site and the guide does not.',
        "Latent sites of the guide: none.",
        "or observe it in the model",
    )
    code = advice(message, r"Try (sample\(.+?\)) in the guide").replace("...", 'Normal(param("loc", 0.0), 1.0)')
    step(guide=lambda: eval(code, globals()))


def test_a_latent_site_that_the_guide_observes() -> None:
    fails(
        ValueError,
        lambda: step(guide=lambda: observe("theta", Normal(param("loc", 0.0), 1.0), 0.1)),
        'site "theta": the model has this latent site and the guide does not',
    )


def test_a_guide_that_samples_what_the_model_observes() -> None:
    def greedy() -> None:
        guide()
        sample("x", Normal(0.0, 1.0))

    fails(
        ValueError,
        lambda: step(guide=greedy),
        'site "x": the guide samples it, but the model observes it.',
        "Drop it from the guide, or take the observation away from the model.",
    )
    step()


def test_a_batch_dimension_outside_any_plate() -> None:
    def wide() -> None:
        observe("x", Normal(param("loc", 0.0), 1.0), torch.zeros(3))

    message = fails(
        ValueError,
        lambda: step(wide, nothing),
        'site "x": log_prob has shape (3,) but the enclosing plates give ().',
        "Either put it in a plate",
        "or make the last dimension part of the event",
    )
    assert "in the model" in message and "site  dist  value  log_prob" in message
    plated = advice(message, r"put it in a\s+plate:\s+(plate\(.+?\)),")
    flat = advice(message, r"(sample\(.+\))\.\n").replace("Normal(...)", 'Normal(param("loc", 0.0), 1.0)')

    def in_a_plate() -> None:
        with eval(plated):
            wide()

    step(in_a_plate, nothing)
    step(lambda: eval(flat[:-1] + ", obs=torch.zeros(3))", globals()), nothing)


def test_a_batch_dimension_of_the_guide_is_said_to_be_of_the_guide() -> None:
    def wide(program: Program) -> None:
        sample("theta", Normal(torch.zeros(3), 1.0))

    message = fails(ValueError, lambda: step(lambda: wide(model), lambda: wide(guide)), 'site "theta"')
    assert "in the model" in message
    with_plate = plate("p", 3)

    def fine() -> None:
        with with_plate:
            sample("theta", Normal(torch.zeros(3), 1.0))

    message = fails(ValueError, lambda: step(fine, lambda: wide(guide)), 'site "theta"')
    assert "in the guide" in message


# A loss that is not finite


def leaves() -> dict[str, Any]:
    return {name: leaf.tolist() for name, leaf in ppl.get_param_store().leaves.items()}


def fails_at(svi: SVI, number: int, *args: Any, parts: tuple[str, ...]) -> str:
    """The step fails, with the parameters and the state as they were."""
    before, steps = leaves(), svi.state.step
    message = fails(ValueError, lambda: svi.step(*args), f"at step {number}", *parts)
    assert repr(leaves()) == repr(before) and svi.state.step == steps  # repr: nan is not equal to itself
    again = fails(ValueError, lambda: svi.step(*args), f"at step {number}")
    assert again == message  # the very same step, with the same draws
    return message


def test_an_absurd_learning_rate() -> None:
    def steep() -> None:
        observe("x", Normal(param("loc", 0.5) ** 3, 1.0), 0.3)

    svi = SVI(steep, nothing, optim.SGD(lr=1e20), seed=0)
    svi.step()
    fails_at(svi, 2, parts=('Site "x" of the model: its log_prob is -inf', "with Normal(", "smaller learning rate"))


def test_a_parameter_that_became_infinite() -> None:
    def root() -> None:
        w = param("w", torch.tensor([1.0, 0.0]))
        with plate("data", 2):
            observe("x", Normal(w.sqrt(), 1.0), 0.3)

    svi = SVI(root, nothing, optim.SGD(lr=0.1), seed=0)
    svi.step()  # the slope of the root at zero is infinite
    fails_at(
        svi,
        2,
        parts=(
            'Site "x" of the model: its log_prob is -inf at [1] (1 of 2 entries)',
            'Parameter "w" is inf at [1] (1 of 2 entries).',
            "a constraint that keeps the parameter in its range",
        ),
    )


def test_the_log_of_a_negative_number_in_the_model() -> None:
    def logs(x: float) -> None:
        sample("theta", Normal(0.0, 1.0))
        observe("x", Normal(torch.log(param("r", 1.0) * x), 1.0), 0.3)

    svi = SVI(logs, lambda x: guide(), optim.SGD(lr=0.01), seed=0)
    for _ in range(2):
        svi.step(1.0)
    message = fails_at(
        svi, 3, -1.0, parts=("SVI: the loss is nan", 'in the model, after site "theta"', "Normal: `loc`", "nan")
    )
    assert "sites so far" in message
    svi.step(1.0)  # and it can go on


def test_a_guide_that_draws_what_is_not_finite() -> None:
    def far(x: float) -> None:
        sample("theta", Normal(param("loc", 1.0) / x, 1.0))

    svi = SVI(lambda x: model(), far, optim.SGD(lr=0.01), seed=0)
    svi.step(1.0)
    fails_at(svi, 2, 0.0, parts=('Site "theta" of the guide: its value is inf', "Try another initial value"))


def test_the_first_step_fails_with_checks_on_by_itself() -> None:
    def negative() -> None:
        observe("x", Normal(param("loc", 0.0), torch.tensor(-1.0)), 0.3)

    with pytest.raises(ValueError, match="`scale` must be positive") as info:
        step(negative, nothing)
    assert "in the model" in info.value.__notes__


def test_a_bad_value_at_a_site_is_named_with_its_site() -> None:
    def outside(x: float) -> None:
        observe("x", dist.Gamma(param("a", 2.0), 1.0), x)
        observe("y", Normal(0.0, 1.0), 0.0)

    svi = SVI(outside, nothing, optim.SGD(lr=0.01), seed=0)
    svi.step(1.0)
    fails_at(svi, 2, -1.0, parts=("the loss is", 'in the model, in the log_prob of site "x"'))


@pytest.mark.parametrize("vectorize", [False, True], ids=["looped", "vectorised"])
def test_one_bad_particle_among_many_is_found(vectorize: bool) -> None:
    """Only a draw far out is bad; it need not be the first particle's."""

    def cliff() -> None:
        theta = sample("theta", Normal(0.0, 1.0))
        ppl.factor("cliff", torch.where(theta > 1.0, -torch.inf, 0.0))

    svi = SVI(cliff, guide, optim.SGD(lr=0.0), Trace_ELBO(20, vectorize_particles=vectorize), seed=0)
    fails(ValueError, svi.step, "at step 1", 'Site "cliff" of the model: its log_prob is -inf')


def test_update_leaves_the_state_as_it_was() -> None:
    def steep() -> None:
        observe("x", Normal(param("loc", 0.5) ** 3, 1.0), 0.3)

    svi = SVI(steep, nothing, optim.SGD(lr=1e20), seed=0)
    state, _ = svi.update(svi.init())
    before = state.params["loc"].item()
    fails(ValueError, lambda: svi.update(state), "at step 2", 'Site "x" of the model')
    assert state.params["loc"].item() == before and isinstance(state, SVIState) and state.step == 1


# Estimators and baselines


def traced(family: Any, **infer: Any) -> ppl.Trace:
    with h.trace() as tr:
        sample("z", family, infer=infer)
    return tr


def logits() -> Tensor:
    return torch.tensor(0.3, requires_grad=True)


def cost_of(**infer: Any) -> Callable[[], Tensor]:
    return lambda: surrogate_loss(traced(Bernoulli(logits=logits()), **infer), torch.tensor(1.0))


def follow(message: str) -> None:
    """Run the `infer={...}` that the message suggests."""
    infer = eval(advice(message, r"Try infer=(\{.+?\})"))
    surrogate_loss(traced(Bernoulli(logits=logits()), **infer), torch.tensor(1.0), baselines=Baselines()).backward()


def test_an_unknown_estimator() -> None:
    message = fails(
        ValueError,
        cost_of(estimator="reinforce"),
        "site \"z\": unknown estimator 'reinforce'.",
        "Expected one of pathwise, path_derivative, score, enumerate",
    )
    follow(message)


def test_pathwise_for_a_discrete_family() -> None:
    follow(fails(ValueError, cost_of(estimator="pathwise"), 'site "z": Bernoulli has no rsample'))


@pytest.mark.parametrize("asked", ["moving_average", True, {"decay": 0.9}], ids=["name", "bool", "option"])
def test_an_unknown_baseline(asked: Any) -> None:
    message = fails(ValueError, cost_of(baseline=asked), 'site "z": unknown baseline', 'Expected "leave_one_out"')
    follow(message)


def test_a_decaying_average_without_a_memory() -> None:
    message = fails(
        ValueError,
        cost_of(baseline="decaying_average"),
        'site "z": a decaying-average baseline needs a memory, and none was given.',
    )
    made = advice(message, r"Try baselines = (Baselines\(\)) once")
    call = advice(message, r"and (surrogate_loss\(.+?\)) each time")
    trace, costs = traced(Bernoulli(logits=logits()), baseline="decaying_average"), torch.tensor(1.0)
    eval(call, {**globals(), "trace": trace, "costs": costs, "baselines": eval(made)}).backward()


@pytest.mark.parametrize("shape", [(4,), (2, 3)], ids=["other_size", "extra_dim"])
def test_a_baseline_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    with h.trace() as tr, plate("data", 3):
        sample("z", Bernoulli(logits=logits()), infer={"baseline": torch.zeros(shape)})
    fails(
        ValueError,
        lambda: surrogate_loss(tr, torch.zeros(3)),
        f'site "z": the baseline has shape {shape}',
        "batch shape (3,)",
        "Try a baseline of that shape",
    )


def test_a_baseline_with_more_entries_than_the_site() -> None:
    fails(ValueError, cost_of(baseline=torch.zeros(3)), "the baseline has shape (3,)", "batch shape () of the site")


@pytest.mark.parametrize("beta", [1.0, -0.1])
def test_a_decay_outside_its_range(beta: float) -> None:
    message = fails(ValueError, lambda: DecayingAverage(beta), f"beta must lie in [0, 1), got {beta}")
    assert eval(advice(message)) == DecayingAverage(0.9)


# Costs


def test_a_cost_of_the_wrong_shape() -> None:
    tr = traced(Bernoulli(logits=logits()))
    cost = torch.ones(3)
    message = fails(
        ValueError,
        lambda: surrogate_loss(tr, {"z": cost}),
        'the cost of site "z" has shape (3,), and no plate owns dim -1. Plates: none.',
        "or sample the sites it depends on inside a plate there",
    )
    surrogate_loss(tr, {"z": eval(advice(message, r"sum it first:\s+(cost\.sum\(-1\))"))})


def test_a_cost_that_fits_no_plate_names_the_plates() -> None:
    with h.trace() as tr, plate("data", 4):
        sample("z", Bernoulli(logits=logits()))
    fails(ValueError, lambda: surrogate_loss(tr, {"z": torch.ones(3)}), 'Plates: "data" (dim -1, size 4).')
    fails(ValueError, lambda: surrogate_loss(tr, torch.ones(2, 4)), "the cost has shape (2, 4)", "no plate owns dim -2")


def test_a_cost_of_integers() -> None:
    tr = traced(Bernoulli(logits=logits()))
    cost = torch.tensor(3)
    message = fails(ValueError, lambda: surrogate_loss(tr, cost), "the cost must be floating, got torch.int64")
    surrogate_loss(tr, eval(advice(message))).backward()


def test_a_cost_for_a_site_that_is_not_there() -> None:
    tr = traced(Bernoulli(logits=logits()))
    cost = torch.tensor(1.0)
    message = fails(
        ValueError,
        lambda: surrogate_loss(tr, {"action": cost}),
        'a cost is given for "action", which is no latent site. Sites: z.',
    )
    surrogate_loss(tr, {advice(message, r'Try \{"(\w+)": cost\}'): cost}).backward()


# Optimisers


def test_an_optimiser_given_as_a_class() -> None:
    message = fails(
        TypeError,
        lambda: SVI(model, guide, torch.optim.SGD),  # type: ignore[arg-type]  # the error under test
        "SVI: optim is the class SGD, which has no learning rate yet.",
    )
    step(optimizer=eval(advice(message), {"inference": inference, "SGD": torch.optim.SGD}))


def test_an_optimiser_that_cannot_be_called() -> None:
    message = fails(TypeError, lambda: SVI(model, guide, 0.01), "optim must build an optimiser", "got float")  # type: ignore[arg-type]
    step(optimizer=eval(advice(message)))


@pytest.mark.parametrize("built", [3, torch.optim.Adam], ids=["number", "class"])
def test_an_optimiser_recipe_that_builds_something_else(built: Any) -> None:
    message = fails(
        TypeError,
        lambda: step(optimizer=lambda leaves: built),
        "SVI: optim must build a torch.optim optimiser",
        f"got {type(built).__name__}",
    )
    names = {"inference": inference, "functools": functools, "torch": torch}
    for code in advice(message).split(", or "):
        step(optimizer=eval(code, names))


@pytest.mark.parametrize("kind", [3, int, "Adam"], ids=["number", "class", "name"])
def test_an_optim_of_something_else(kind: Any) -> None:
    message = fails(TypeError, lambda: Optim(kind, lr=0.1), f"Optim: expected a torch.optim class, got {kind!r}.")
    step(optimizer=eval(advice(message)))


def test_nothing_to_learn() -> None:
    message = fails(
        ValueError,
        lambda: step(guide=lambda: sample("theta", Normal(0.0, 1.0))),
        "SVI: neither model nor guide has a parameter",
        "ppl.module(",
    )
    step(guide=lambda: sample("theta", Normal(eval(advice(message, r"Try (ppl\.param\(.+?\)) or")), 1.0)))


def test_num_particles() -> None:
    message = fails(ValueError, lambda: Trace_ELBO(num_particles=0), "num_particles must be at least 1, got 0")
    assert isinstance(eval(advice(message)), Trace_ELBO)

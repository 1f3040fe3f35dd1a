"""Variable elimination against the sum over all assignments, one by one; plates, masks, scales, chains, refusals."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from inference.elbo.elimination import eliminate, factor_of, log_sum_exp
from ppl import handlers as h
from ppl import markov, observe, plate, sample
from tests.errors.reading import advice, fails
from tests.support.enumeration import outcomes

Model = Callable[[Tensor], Any]
Bernoulli, Categorical, Normal = dist.Bernoulli, dist.Categorical, dist.Normal
ENUM = {"enumerate": "parallel"}
X = torch.tensor([[0.3, -1.2, 2.0], [1.1, 0.4, -0.7]], dtype=torch.float64)
W = torch.tensor([0.2, -0.5, 0.9], dtype=torch.float64)
LOC = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)


def log_marginal(model: Model, w: Tensor, nesting: int = 2) -> Tensor:
    """What is under test: the scaled log marginals, added up."""
    laid_out = h.enum(lambda: model(w), first_available_dim=-1 - nesting)
    trace = h.trace(laid_out).get_trace()
    trace.compute_log_prob()
    sites = [site for site in trace.values() if site.type == "sample"]
    variables = {site.name: site for site in sites if not site.is_observed}
    factors = [factor_of(site, variables) for site in sites]
    untouched = [factor for factor in factors if not factor.on]
    marginals = eliminate([factor for factor in factors if factor.on], variables) + untouched
    return torch.stack([(marginal.value * marginal.scale).sum() for marginal in marginals]).sum()


def by_hand(model: Model, w: Tensor) -> Tensor:
    """The same for scale 1: every assignment of the latent sites, weighted by its probability."""

    def likelihood() -> Tensor:
        trace = h.trace(lambda: model(w)).get_trace()
        return trace.log_prob_sum(lambda name, site: site.is_observed).exp()

    terms = [weight * value for weight, value in outcomes(likelihood)]
    return torch.stack(terms).sum().log()


def mixture(w: Tensor) -> None:
    with plate("data", 3):
        k = sample("k", Categorical(logits=w), infer=ENUM)
        observe("x", Normal(LOC[k], 1.0), X[0])


def two_dependent(w: Tensor) -> None:
    with plate("data", 2):
        a = sample("a", Bernoulli(logits=w[0]), infer=ENUM)
        b = sample("b", Categorical(logits=w + a[..., None] * w.flip(0)), infer=ENUM)
        observe("x", Normal(LOC[b] + a, 1.0), X[0, :2])
        observe("y", Normal(a * w[1], 0.5), X[1, :2])


def outside_the_plate(w: Tensor) -> None:
    k = sample("k", Categorical(logits=w), infer=ENUM)
    with plate("data", 3):
        observe("x", Normal(LOC[k], 1.0), X[0])
    observe("y", Normal(w[0], 1.0), X[0, 0])


def nested(w: Tensor) -> None:
    a = sample("a", Bernoulli(logits=w[0]), infer=ENUM)
    with plate("rows", 2, dim=-2):
        b = sample("b", Categorical(logits=w), infer=ENUM)
        with plate("columns", 2, dim=-1):
            c = sample("c", Bernoulli(logits=a + LOC[b] - 1.0), infer=ENUM)
            observe("x", Normal(a + LOC[b] * c, 1.0), X[:, :2])


def siblings(w: Tensor) -> None:
    with plate("rows", 2, dim=-2):
        a = sample("a", Bernoulli(logits=w[0]), infer=ENUM)
        with plate("left", 2, dim=-1):
            b = sample("b", Bernoulli(logits=w[1] * a), infer=ENUM)
            observe("x", Normal(a + b, 1.0), X[:, :2])
        with plate("right", 3, dim=-1):
            observe("y", Normal(a * w[2], 1.0), X)


def across(w: Tensor) -> None:
    a = sample("a", Bernoulli(logits=w[0]), infer=ENUM)
    with plate("rows", 2, dim=-2):
        r = sample("r", Bernoulli(logits=w[1] * a), infer=ENUM)
        with plate("columns", 3, dim=-1):
            observe("x", Normal(r + a, 1.0), X)
    with plate("columns", 3, dim=-1):
        observe("y", Normal(a * w[2], 1.0), X[0])


def sequential(w: Tensor) -> None:
    a = sample("a", Bernoulli(logits=w[0]), infer=ENUM)
    for i in plate("loop", 3):
        b = sample(f"b_{i}", Bernoulli(logits=w[1] + a), infer=ENUM)
        observe(f"x_{i}", Normal(a + b, 1.0), X[0, i])


def chain(w: Tensor, loop: Callable[[range], Any] = iter) -> None:
    rows = torch.stack([w, w.flip(0), 2 * w])
    z = torch.tensor(0)
    for t in loop(range(5)):
        z = sample(f"z_{t}", Categorical(logits=rows[z]), infer=ENUM)
        observe(f"x_{t}", Normal(LOC[z], 1.0), X.flatten()[t])


def markov_chain(w: Tensor) -> None:
    chain(w, markov)


def chains_in_a_plate(w: Tensor) -> None:
    with plate("data", 2):
        z: Any = 0.0
        for t in markov(range(3)):
            z = sample(f"z_{t}", Bernoulli(logits=w[0] + z * w[1]), infer=ENUM)
            observe(f"x_{t}", Normal(z, 1.0), X[:, t])


def tree(w: Tensor) -> None:
    @markov
    def node(name: str, parent: Any) -> None:
        z = sample(f"z{name}", Bernoulli(logits=w[0] + parent * w[1]), infer=ENUM)
        observe(f"x{name}", Normal(z, 1.0), X[0, len(name)])
        if len(name) < 2:
            node(f"{name}l", z)
            node(f"{name}r", z)

    node("", 0.0)


def masked(w: Tensor) -> None:
    with plate("data", 3), h.mask(mask=torch.tensor([True, False, True])):
        k = sample("k", Categorical(logits=w), infer=ENUM)
        observe("x", Normal(LOC[k], 1.0), torch.where(torch.arange(3) == 1, torch.nan, X[0]))


def mask_that_depends(w: Tensor) -> None:
    with plate("data", 3):
        k = sample("k", Bernoulli(logits=w[0]), infer=ENUM)
        with h.mask(mask=k > 0):
            observe("x", Normal(w[1], 1.0), X[0])


def one_value(w: Tensor) -> None:
    k = sample("k", Categorical(logits=w[:1]), infer=ENUM)
    observe("x", Normal(LOC[k], 1.0), X[0, 0])


MODELS = [
    mixture,
    two_dependent,
    outside_the_plate,
    nested,
    siblings,
    across,
    sequential,
    chain,
    markov_chain,
    chains_in_a_plate,
    tree,
    masked,
    mask_that_depends,
    one_value,
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_sum_and_its_gradient_are_exact(model: Model) -> None:
    w = W.clone().requires_grad_()
    got, exact = log_marginal(model, w), by_hand(model, w)
    torch.testing.assert_close(got, exact, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(x, w, allow_unused=True)[0] for x in (got, exact)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


@pytest.mark.parametrize("length", [2, 200])
def test_long_chains_use_two_dimensions(length: int) -> None:
    """The forward recursion of a hidden Markov model, by hand."""
    data = torch.sin(torch.arange(length, dtype=torch.float64))
    rows = torch.stack([W, W.flip(0), 2 * W]).log_softmax(-1)

    def model(w: Tensor) -> None:
        z = torch.tensor(0)
        for t in markov(range(length)):
            z = sample(f"z_{t}", Categorical(logits=rows[z]), infer=ENUM)
            observe(f"x_{t}", Normal(LOC[z], 1.0), data[t])

    forward = rows[0] + Normal(LOC, 1.0).log_prob(data[0])
    for x in data[1:]:
        forward = (forward[:, None] + rows).logsumexp(0) + Normal(LOC, 1.0).log_prob(x)
    torch.testing.assert_close(log_marginal(model, W, nesting=0), forward.logsumexp(0), rtol=1e-12, atol=0)


def test_a_large_plate_costs_its_entries_and_not_their_combinations() -> None:
    data = torch.linspace(-2, 2, 1000, dtype=torch.float64)

    def model(w: Tensor) -> None:
        a = sample("a", Bernoulli(logits=w[0]), infer=ENUM)
        with plate("data", 1000):
            k = sample("k", Categorical(logits=w), infer=ENUM)
            observe("x", Normal(LOC[k] + a, 1.0), data)

    given = [torch.logsumexp(W.log_softmax(0) + Normal(LOC + a, 1.0).log_prob(data[:, None]), 1).sum() for a in (0, 1)]
    prior = Bernoulli(logits=W[0]).log_prob(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(log_marginal(model, W), (prior + torch.stack(given)).logsumexp(0), rtol=1e-12, atol=0)


# Scales


def test_the_scale_of_a_minibatch_multiplies_the_log_of_the_sum() -> None:
    def model(w: Tensor) -> None:
        with plate("data", 6, subsample=[0, 2]):
            k = sample("k", Categorical(logits=w), infer=ENUM)
            observe("x", Normal(LOC[k], 1.0), X[0, :2])

    exact = 3 * torch.logsumexp(W.log_softmax(0) + Normal(LOC, 1.0).log_prob(X[0, :2, None]), 1).sum()
    torch.testing.assert_close(log_marginal(model, W), exact)


def test_a_scale_per_entry_multiplies_entry_by_entry() -> None:
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    logs = torch.logsumexp(W.log_softmax(0) + Normal(LOC, 1.0).log_prob(X[0, :, None]), 1)
    got = log_marginal(h.scale(mixture, scale=weights), W)
    torch.testing.assert_close(got, (weights * logs).sum())
    torch.testing.assert_close(log_marginal(h.scale(nested, scale=0.5), W), 0.5 * log_marginal(nested, W))


def minibatch_below(w: Tensor) -> None:
    k = sample("k", Categorical(logits=w), infer=ENUM)
    with plate("data", 6, subsample=[0, 2]):
        observe("x", Normal(LOC[k], 1.0), X[0, :2])


def test_scales_that_differ_are_refused() -> None:
    message = fails(
        ValueError,
        lambda: log_marginal(minibatch_below, W),
        'site "k": to sum over its values',
        "expected one scale",
        'got 1.0 at "k" and 3.0 at "x"',
    )
    assert advice(message) == 'sample("k", Categorical(...), infer={"estimator": "enumerate"}) in the guide'


def test_a_scale_that_varies_in_a_plate_that_is_summed_is_refused() -> None:
    scale = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)

    def model(scale: Tensor) -> Model:
        def run(w: Tensor) -> None:
            k = sample("k", Categorical(logits=w), infer=ENUM)
            with plate("data", 3), h.scale(scale=scale):
                observe("x", Normal(LOC[k], 1.0), X[0])

        return run

    fails(
        ValueError,
        lambda: log_marginal(model(scale), W),
        'site "x": its scale has shape (3,)',
        "expected one number",
        "Try scale=scale.mean().",
    )
    fails(ValueError, lambda: log_marginal(model(scale.mean()), W), "expected one scale")


# What has too many combinations


def test_entries_needed_together_outside_their_plate_are_refused() -> None:
    def model(w: Tensor) -> None:
        with plate("data", 3):
            k = sample("k", Bernoulli(logits=w[0]), infer=ENUM)
        observe("x", Normal(k.sum(-1, keepdim=True), 1.0), X[0, 0])

    message = fails(
        ValueError,
        lambda: log_marginal(model, W),
        'site "x": it depends on "k" in plate "data" (dim -1, size 3), on all entries together',
        "Expected it to depend on one entry at a time",
    )
    assert advice(message) == 'sample("k", Bernoulli(...), infer={"estimator": "score"}) in the guide'


def test_plates_that_cross_with_a_variable_each_are_refused() -> None:
    def model(w: Tensor) -> None:
        with plate("rows", 2, dim=-2):
            r = sample("r", Bernoulli(logits=w[0]), infer=ENUM)
        with plate("columns", 3, dim=-1):
            c = sample("c", Bernoulli(logits=w[1]), infer=ENUM)
            with plate("rows", 2, dim=-2):
                observe("x", Normal(r + c, 1.0), X)

    fails(
        ValueError,
        lambda: log_marginal(model, W),
        'it depends on "r" in plate "rows" (dim -2, size 2) and "c" in plate "columns" (dim -1, size 3)',
        "too many combinations",
    )


def test_dimensions_shared_by_variables_that_meet_are_refused() -> None:
    def coupled(loop: Callable[[range], Any]) -> Model:
        """Chains in a plate that one chain outside moves: when the plate is done, that chain is one factor."""

        def model(w: Tensor) -> None:
            z, k = torch.tensor(0.0), torch.tensor(0.0)
            entries = plate("data", 2)
            for t in loop(range(3)):
                z = sample(f"z_{t}", Bernoulli(logits=w[0] + z), infer=ENUM)
                with entries:
                    k = sample(f"k_{t}", Bernoulli(logits=w[1] * k + z), infer=ENUM)
                    observe(f"x_{t}", Normal(k, 1.0), X[:, t])

        return model

    message = fails(
        NotImplementedError, lambda: log_marginal(coupled(markov), W), "the sites z_0, z_1", "meet in one sum"
    )
    assert advice(message) == "range in the place of markov"
    torch.testing.assert_close(log_marginal(coupled(iter), W), by_hand(coupled(iter), W))


# Impossible values


def test_impossible_values_have_no_part_in_the_sum_nor_in_the_gradient() -> None:
    def model(w: Tensor) -> None:
        with plate("data", 3):
            k = sample("k", dist.DiscreteUniform(torch.tensor([0, 0, 1]), torch.tensor([2, 1, 2])), infer=ENUM)
            observe("x", Normal(w[k], 1.0), X[0])

    w = W.clone().requires_grad_()
    log_marginal(model, w).backward()
    gradient, w.grad = w.grad, None
    supports = (range(3), range(2), range(1, 3))
    exact = sum(
        ((Normal(w[list(ks)], 1.0).log_prob(x).exp().mean()).log() for ks, x in zip(supports, X[0], strict=True)),
        start=torch.zeros(()),
    )
    exact.backward()
    torch.testing.assert_close(gradient, w.grad)


def test_where_nothing_is_possible_the_sum_is_minus_infinity_with_zero_gradient() -> None:
    def model(w: Tensor) -> None:
        with plate("data", 2):
            k = sample("k", Bernoulli(logits=w[0]), infer=ENUM)
            impossible = torch.tensor([-inf, 0.0], dtype=torch.float64)
            observe("x", Normal(k, 1.0), X[0, :2])
            observe("hard", dist.Unit(impossible + 0.0 * k), torch.empty(*k.shape[:-1], 2, 0))

    w = W.clone().requires_grad_()
    got = log_marginal(model, w)
    assert got == -inf
    got.backward()
    assert w.grad is not None and w.grad.isfinite().all() and w.grad[0] != 0


def test_log_sum_exp() -> None:
    x = torch.tensor([[0.0, -inf], [1000.0, -inf], [1001.0, -inf]], dtype=torch.float64, requires_grad=True)
    total = log_sum_exp(x, 0)
    assert total.shape == (1, 2)
    torch.testing.assert_close(total[0, 0], torch.logsumexp(x[:, 0], 0))
    assert total[0, 1] == -inf
    total.sum().backward()
    torch.testing.assert_close(x.grad, torch.stack([x.detach()[:, 0].softmax(0), torch.zeros(3).double()], 1))

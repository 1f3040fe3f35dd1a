"""Marginal likelihoods under `collapse` against numerical integration and closed forms; posteriors; what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

import ppl_dist as dist
from ppl import Trace, deterministic, factor, handlers, observe, parents, plate, sample
from ppl.handlers import collapse
from tests.errors.reading import advice, fails

Model = Callable[..., Any]


@pytest.fixture(autouse=True)
def _in_double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def collapsed(model: Model, *args: Any) -> Trace:
    return handlers.trace(collapse(model)).get_trace(*args)


def log_marginal(prior: Any, likelihood: Callable[[Tensor], Any], x: Tensor, ends: tuple[float, float]) -> float:
    """The log of the integral of the prior times the likelihood, by the double exponential rule."""
    t = torch.linspace(-3.2, 3.2, 2001)
    inside = (torch.pi * t.sinh()).sigmoid()
    z = ends[0] + (ends[1] - ends[0]) * inside
    slope = (ends[1] - ends[0]) * torch.pi * t.cosh() * inside * (1 - inside)
    log_joint = prior.log_prob(z) + likelihood(z).log_prob(x.unsqueeze(-1)).sum(0)
    return float((log_joint + slope.log()).logsumexp(0) + (t[1] - t[0]).log())


COUNTS = torch.tensor([3.0, 0.0, 2.0, 5.0, 1.0], dtype=torch.float64)
FLAGS = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
REALS = torch.tensor([0.3, 1.7, 0.2, 2.5, 0.9], dtype=torch.float64)
# prior, its parameters, likelihood, data, where to integrate
LINE: dict[str, tuple[Any, tuple[float, float], Callable[[Tensor], Any], Tensor, tuple[float, float]]] = {
    "Beta-Bernoulli": (dist.Beta, (2.5, 3.5), dist.Bernoulli, FLAGS, (0, 1)),
    "Beta-Binomial": (dist.Beta, (2.5, 3.5), lambda z: dist.Binomial(7, z), COUNTS, (0, 1)),
    "Beta-Geometric": (dist.Beta, (2.5, 3.5), dist.Geometric, COUNTS, (0, 1)),
    "Beta-NegativeBinomial": (dist.Beta, (2.5, 3.5), lambda z: dist.NegativeBinomial(4.0, z), COUNTS, (0, 1 - 1e-12)),
    "Gamma-Poisson": (dist.Gamma, (2.5, 1.5), dist.Poisson, COUNTS, (0, 20)),
    "Gamma-Exponential": (dist.Gamma, (2.5, 1.5), dist.Exponential, REALS, (0, 30)),
    "Gamma-Gamma": (dist.Gamma, (2.5, 1.5), lambda z: dist.Gamma(1.7, z), REALS, (0, 40)),
    "Normal-Normal": (dist.Normal, (0.5, 2.0), lambda z: dist.Normal(z, 0.7), REALS, (-20, 20)),
}


@pytest.mark.parametrize("name", LINE)
def test_the_marginal_likelihood_is_the_integral(name: str) -> None:
    family, numbers, likelihood, x, ends = LINE[name]
    prior = family(*numbers)

    def model() -> None:
        z = sample("z", prior)
        with plate("data", len(x)):
            sample("x", likelihood(z), obs=x)

    def one_by_one() -> None:
        z = sample("z", prior)
        for i in plate("data", len(x)):
            sample(f"x_{i}", likelihood(z), obs=x[i])

    expected = log_marginal(prior, likelihood, x, ends)
    assert collapsed(model).log_prob_sum().item() == pytest.approx(expected, rel=1e-10)
    trace = collapsed(one_by_one)
    assert trace.log_prob_sum().item() == pytest.approx(expected, rel=1e-10)
    posterior = trace["z"].infer["posterior"]
    z = posterior.sample()
    direct = prior.log_prob(z) + likelihood(z).log_prob(x).sum() - expected
    assert posterior.log_prob(z).item() == pytest.approx(direct.item(), rel=1e-9, abs=1e-9)


def test_categories_of_all_three_kinds_follow_the_urn_of_polya() -> None:
    a, n = torch.tensor([0.5, 1.5, 3.0]), torch.tensor([3.0, 1.0, 2.0])
    draws = torch.tensor([0, 1, 0, 2, 2, 0])

    def model() -> None:
        shares = sample("shares", dist.Dirichlet(a))
        with plate("data", 6):
            sample("index", dist.Categorical(shares), obs=draws)
        with plate("more", 6):
            sample("flag", dist.OneHotCategorical(probs=shares), obs=torch.eye(3)[draws])
        sample("count", dist.Multinomial(6, shares), obs=n)

    def log_urn(before: Tensor) -> Tensor:
        total = torch.lgamma(before.sum()) - torch.lgamma(before.sum() + 6)
        return total + (torch.lgamma(before + n) - torch.lgamma(before)).sum()

    trace = collapsed(model)
    trace.compute_log_prob()
    assert trace["index"].log_prob.item() == pytest.approx(log_urn(a).item(), rel=1e-10)
    assert trace["flag"].log_prob.item() == pytest.approx(log_urn(a + n).item(), rel=1e-10)
    expected = dist.DirichletMultinomial(a + 2 * n, total_count=6).log_prob(n)
    assert trace["count"].log_prob.item() == pytest.approx(expected.item(), rel=1e-10)
    torch.testing.assert_close(trace["shares"].infer["posterior"].concentration, a + 3 * n)


def test_marginals_that_are_families() -> None:
    """One observation per latent: the law of x is one that scipy and the library know."""

    def model() -> None:
        with plate("data", 5):
            sample("k", dist.Binomial(7, sample("p", dist.Beta(2.5, 3.5))), obs=COUNTS)
            sample("n", dist.Poisson(sample("rate", dist.Gamma(2.5, 1.5))), obs=COUNTS)
            sample("t", dist.Exponential(sample("speed", dist.Gamma(2.5, 1.5))), obs=REALS)
            sample("y", dist.Normal(sample("mu", dist.Normal(0.5, 2.0)), 0.7), obs=REALS)

    trace = collapsed(model)
    trace.compute_log_prob()
    expected = {
        "k": stats.betabinom(7, 2.5, 3.5).logpmf(COUNTS),
        "n": stats.nbinom(2.5, 1.5 / 2.5).logpmf(COUNTS),
        "t": stats.lomax(2.5, scale=1.5).logpdf(REALS),
        "y": stats.norm(0.5, (4 + 0.49) ** 0.5).logpdf(REALS),
    }
    for name, value in expected.items():
        torch.testing.assert_close(trace[name].log_prob, torch.as_tensor(value), rtol=1e-10, atol=1e-12)
    from ppl import check_shapes

    check_shapes(trace)


def test_a_latent_inside_one_plate_of_two() -> None:
    x = torch.arange(6.0).reshape(2, 3)

    def model() -> None:
        with plate("groups", 2, dim=-2):
            rate = sample("rate", dist.Gamma(torch.tensor([[1.0], [2.0]]), 0.5))
            with plate("data", 3, dim=-1):
                sample("x", dist.Poisson(rate), obs=x)

    trace = collapsed(model)
    trace.compute_log_prob()
    assert trace["x"].log_prob.shape == (2, 1)
    for i in range(2):
        expected = log_marginal(dist.Gamma(1.0 + i, 0.5), dist.Poisson, x[i], (0, 40))
        assert trace["x"].log_prob[i].item() == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(trace["rate"].infer["posterior"].rate, torch.full((2, 1), 3.5))


def test_below_a_collapsed_site_latent_ones_are_drawn_from_their_marginal() -> None:
    """The mean of n draws from N(m, 1 + 4) has variance (1 + 4) / n, and the fourth moment gives that of the variance.

    Two-sided at 5 standard errors each: a false alarm in 1e6 runs; and the seed is fixed.
    """

    def model() -> Tensor:
        mu = sample("mu", dist.Normal(0.5, 2.0))
        theta: Tensor = sample("theta", dist.Normal(mu, 1.0))
        sample("y", dist.Normal(mu, 0.5), obs=torch.tensor(1.0))
        sample("w", dist.Normal(theta, 1.0), obs=torch.tensor(0.0))
        return theta

    trace = collapsed(model)
    theta = trace["theta"].value
    assert trace.stochastic_nodes == ["theta"]
    joint = torch.distributions.MultivariateNormal(torch.tensor([0.5, 0.5]), torch.tensor([[5.0, 4.0], [4.0, 4.25]]))
    expected = joint.log_prob(torch.stack([theta, torch.tensor(1.0)])) + dist.Normal(theta, 1.0).log_prob(
        torch.zeros(())
    )
    assert trace.log_prob_sum().item() == pytest.approx(expected.item(), rel=1e-10)
    assert parents(trace["w"]) == {"theta"}
    n = 4000
    draws = trace["theta"].fn.sample((n,))
    assert abs(draws.mean() - 0.5) < 5 * (5 / n) ** 0.5
    assert abs(draws.var() - 5) < 5 * 5 * (2 / n) ** 0.5


def test_gradients_reach_the_prior_and_the_draws() -> None:
    a = torch.tensor(2.5, requires_grad=True)

    def model() -> None:
        rate = sample("rate", dist.Gamma(a, 1.5))
        t = sample("t", dist.Exponential(rate))
        observe("n", dist.Poisson(rate), 3.0)
        factor("f", t)

    torch.manual_seed(0)
    trace = collapsed(model)
    t = trace["t"].value
    assert t.requires_grad
    (slope,) = torch.autograd.grad(trace.log_prob_sum(), a, retain_graph=True)

    def log(a: float) -> float:
        t0 = t.item()
        return float(stats.lomax(a, scale=1.5).logpdf(t0) + stats.nbinom(a + 1, (1.5 + t0) / (2.5 + t0)).logpmf(3))

    apart = (log(2.5 + 1e-5) - log(2.5 - 1e-5)) / 2e-5
    (moved,) = torch.autograd.grad(t, a)
    fixed = trace.log_prob_sum()
    (by_t,) = torch.autograd.grad(fixed, t, allow_unused=True, retain_graph=True) if fixed.requires_grad else (None,)
    assert by_t is not None
    assert slope.item() == pytest.approx(apart + (by_t * moved).item(), rel=1e-6)


def test_what_stays_in_the_model() -> None:
    def model(**infer: Any) -> None:
        p = sample("p", dist.Beta(2.0, 3.0), infer=infer)
        sample("given", dist.Beta(2.0, 3.0), obs=torch.tensor(0.5))
        sample("other", dist.LogNormal(0.0, 1.0))
        sample("x", dist.Bernoulli(p), obs=torch.tensor(1.0))

    assert collapsed(model).stochastic_nodes == ["other"]
    assert handlers.trace(collapse(lambda: model(collapse=False))).get_trace().stochastic_nodes == ["p", "other"]
    inside = handlers.condition(model, data={"p": torch.tensor(0.25)})
    assert collapsed(inside)["x"].fn.probs.item() == 0.25


def test_conditioned_and_replayed_and_intervened_from_outside() -> None:
    def model() -> None:
        p = sample("p", dist.Beta(2.0, 3.0))
        sample("x", dist.Bernoulli(p))
        sample("y", dist.Bernoulli(p))

    fixed = handlers.condition(collapse(model), data={"x": torch.tensor(1.0), "y": torch.tensor(1.0)})
    trace = handlers.trace(fixed).get_trace()
    assert trace.log_prob_sum().exp().item() == pytest.approx(2 / 5 * 3 / 6)
    forced = handlers.do(collapse(model), data={"x": torch.tensor(1.0)})
    posterior = handlers.trace(forced).get_trace()["p"].infer["posterior"]
    assert (posterior.concentration1 + posterior.concentration0).item() == 6
    with pytest.raises(ValueError, match='condition: no site "p"'):
        handlers.condition(collapse(model), data={"p": torch.tensor(0.5)})()
    seeded = handlers.seed(collapse(model), rng_seed=3)
    first, second = (handlers.trace(seeded).get_trace() for _ in range(2))
    assert all(torch.equal(first[name].value, second[name].value) for name in "pxy")


def test_twice_is_once() -> None:
    def model() -> None:
        p = sample("p", dist.Beta(2.0, 3.0))
        sample("x", dist.Bernoulli(p), obs=torch.tensor(1.0))

    trace = collapsed(collapse(model))
    assert trace.log_prob_sum().exp().item() == pytest.approx(2 / 5)
    assert trace["p"].infer["posterior"].concentration1.item() == 3.0


X = torch.tensor(1.0)
MISUSES: dict[str, tuple[Any, Callable[[Tensor], Any], str]] = {
    "expression": (dist.Beta(1.0, 1.0), lambda z: sample("x", dist.Bernoulli(z**2), obs=X), "probs of Bernoulli"),
    "abs": (dist.Beta(1.0, 1.0), lambda z: sample("x", dist.Bernoulli(z.abs()), obs=X), "probs of Bernoulli"),
    "clamp": (dist.Beta(1.0, 1.0), lambda z: sample("x", dist.Bernoulli(z.clamp(max=0.999))), "probs of Bernoulli"),
    "in place": (dist.Beta(1.0, 1.0), lambda z: sample("x", dist.Bernoulli(z.mul_(0.5))), "probs of Bernoulli"),
    "logits": (dist.Beta(1.0, 1.0), lambda z: sample("x", dist.Bernoulli(logits=z)), "logits of Bernoulli"),
    "scale": (dist.Gamma(1.0, 1.0), lambda z: sample("x", dist.Normal(0.0, z)), "scale of Normal"),
    "both": (dist.Gamma(1.0, 1.0), lambda z: sample("x", dist.Gamma(z, z)), "concentration, rate of Gamma"),
    "factor": (dist.Gamma(1.0, 1.0), lambda z: factor("x", z), "log_factor of Unit"),
    "deterministic": (dist.Gamma(1.0, 1.0), lambda z: deterministic("x", 2 * z), "it in the value, the mask"),
    "observed": (dist.Gamma(1.0, 1.0), lambda z: sample("x", dist.Poisson(1.0), obs=z.floor()), "it in the value"),
    "family": (dist.Gamma(1.0, 1.0), lambda z: sample("x", dist.HalfNormal(z)), "scale of HalfNormal"),
    "event": (dist.Normal(0.0, 1.0), lambda z: sample("x", dist.Normal(z.expand(2), 1.0).to_event(1)), "base_dist"),
    "decision": (dist.Gamma(1.0, 1.0), lambda z: sample("x", dist.Poisson(1.0 if z > 9 else 2.0)), "a decision"),
    "part": (dist.Dirichlet(torch.ones(3)), lambda z: sample("x", dist.Bernoulli(z[..., 0])), "probs of Bernoulli"),
    "weights": (
        dist.Dirichlet(torch.ones(3)),
        lambda z: sample("x", dist.Categorical(z + 1e-3), obs=torch.tensor(1)),
        "probs of Categorical",
    ),
    "other shares": (
        dist.Dirichlet(torch.ones(3)),
        lambda z: sample("x", dist.Multinomial(2, z / torch.tensor([1.0, 2.0, 4.0]))),
        "probs of Multinomial",
    ),
    "mask": (
        dist.Beta(1.0, 1.0),
        lambda z: handlers.mask(mask=torch.tensor(False))(sample)("x", dist.Bernoulli(z), obs=X),
        "one below a mask or a scale",
    ),
    "minibatch": (
        dist.Beta(1.0, 1.0),
        lambda z: plate("data", 4, 1)(sample)("x", dist.Bernoulli(z), obs=X),
        "one below a mask or a scale",
    ),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_use_that_is_not_conjugate_is_refused_and_the_advice_works(name: str) -> None:
    prior, use, got = MISUSES[name]
    message = fails(ValueError, collapse(lambda: use(sample("z", prior))), 'site "x"', "collapse needs", got, "Try ")
    call = advice(message, r'(sample\("z".*\))\.$')
    assert call == f'sample("z", {type(prior).__name__}(...), infer={{"collapse": False}})'

    def better() -> None:
        use(eval(call.replace(f"{type(prior).__name__}(...)", "prior"), {"sample": sample, "prior": prior}))

    assert collapsed(better)["z"].type == "sample"


def test_dependencies_are_followed_inside_and_outside_of_it() -> None:
    def model() -> None:
        p = sample("p", dist.Beta(2.0, 3.0))
        sample("x", dist.Bernoulli(p), obs=torch.tensor(1.0))

    for wrapped in (collapse(handlers.track(model)), handlers.track(collapse(model))):
        trace = handlers.trace(wrapped).get_trace()
        assert trace.log_prob_sum().exp().item() == pytest.approx(2 / 5)
        assert parents(trace["x"]) == {"p"}


def test_a_scale_around_it_multiplies_the_marginal_and_a_mask_of_entries_is_refused() -> None:
    def model() -> None:
        p = sample("p", dist.Beta(2.0, 3.0))
        with plate("data", 2):
            sample("x", dist.Bernoulli(p), obs=torch.ones(2))

    once = collapsed(model).log_prob_sum()
    assert handlers.trace(handlers.scale(collapse(model), scale=3.0)).get_trace().log_prob_sum() == 3 * once
    masked = handlers.mask(collapse(model), mask=torch.tensor([True, False]))
    fails(ValueError, masked, 'site "x"', "got one below a mask or a scale", 'sample("p", Beta(...)')


def test_two_collapsed_parents_are_refused() -> None:
    def model() -> None:
        a, b = sample("a", dist.Normal(0.0, 1.0)), sample("b", dist.Gamma(1.0, 1.0))
        sample("x", dist.Normal(a, b))

    fails(ValueError, collapse(model), 'site "x"', '"a" as it is as `loc` of Normal', "got", "Try ")


def test_a_plate_around_it_is_refused() -> None:
    def model() -> None:
        sample("x", dist.Bernoulli(sample("z", dist.Beta(1.0, 1.0))))

    message = fails(
        ValueError, plate("p", 3)(collapse(model)), "collapse:", 'plate "p" (dim -1, size 3)', "Try opening"
    )
    assert "inside" in message
    assert collapsed(plate("p", 3)(model))["x"].value.shape == (3,)
    assert torch._C._len_torch_function_stack() == 0

"""`ppl.log_density` against densities of scipy, analytic derivatives and the change of variables by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import ppl
import ppl_dist as dist
from ppl import ParamStore, deterministic, factor, handlers, log_density, param, plate, sample
from ppl_dist import constraints

Y = torch.tensor([2.8, 0.8, -0.3, 0.7], dtype=torch.float64)
SIGMA = torch.tensor([1.5, 1.0, 1.6, 1.1], dtype=torch.float64)


def f64(*values: Any) -> Any:
    made = [torch.as_tensor(value, dtype=torch.float64) for value in values]
    return made[0] if len(made) == 1 else made


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def schools(y: Tensor, sigma: Tensor) -> None:
    mu = sample("mu", dist.Normal(f64(0.0), 5.0))
    tau = sample("tau", dist.HalfCauchy(f64(5.0)))
    with plate("schools", len(y)):
        theta = sample("theta", dist.Normal(mu, tau))
        sample("y", dist.Normal(theta, sigma), obs=y)


def schools_by_scipy(mu: float, tau: float, theta: Any) -> float:
    norm = scipy.stats.norm.logpdf
    return float(
        norm(mu, 0.0, 5.0)
        + scipy.stats.halfcauchy.logpdf(tau, scale=5.0)
        + norm(theta, mu, tau).sum()
        + norm(Y.numpy(), theta, SIGMA.numpy()).sum()
    )


def point(seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    return {"mu": f64(rng.normal()), "tau": f64(rng.gamma(2.0)), "theta": f64(rng.normal(size=4))}


def test_the_density_is_that_of_scipy() -> None:
    potential = log_density(schools, Y, sigma=SIGMA)
    for seed in range(5):
        at = point(seed)
        found = potential(at)
        exact = schools_by_scipy(at["mu"].item(), at["tau"].item(), at["theta"].numpy())
        assert found.dim() == 0 and found.item() == pytest.approx(exact, rel=1e-12)


def test_values_of_a_trace_serve_as_well() -> None:
    drawn = handlers.trace(handlers.seed(schools, rng_seed=0)).get_trace(Y, SIGMA)
    assert torch.equal(log_density(schools, Y, SIGMA)(drawn), drawn.log_prob_sum())


def test_numbers_are_values() -> None:
    potential = log_density(lambda: sample("x", dist.Normal(0.0, 1.0)))
    assert potential({"x": 0.5}).item() == pytest.approx(scipy.stats.norm.logpdf(0.5), rel=1e-6)


def test_nothing_outside_changes() -> None:
    random_state = torch.get_rng_state()
    at = point()
    kept = {name: value.clone() for name, value in at.items()}
    with handlers.trace() as around:
        pass
    log_density(schools, Y, SIGMA).unconstrained(at)
    assert torch.equal(torch.get_rng_state(), random_state) and not around and not len(ppl.get_param_store())
    assert all(torch.equal(value, kept[name]) for name, value in at.items())


def test_a_model_whose_argument_is_called_model() -> None:
    def program(model: Tensor) -> None:
        sample("x", dist.Normal(model, 1.0))

    assert log_density(program, model=f64(1.0))({"x": f64(1.0)}).item() == pytest.approx(-0.5 * math.log(2 * math.pi))


# Derivatives


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, on first forward mode
def test_the_hessian_of_a_normal_model_is_minus_its_precision() -> None:
    """Of `mu ~ N(0, 5)`, `theta_i ~ N(mu, 2)`, `y_i ~ N(theta_i, sigma_i)`: constant, and written down by hand."""

    def model() -> None:
        mu = sample("mu", dist.Normal(f64(0.0), 5.0))
        with plate("schools", 4):
            theta = sample("theta", dist.Normal(mu, 2.0))
            sample("y", dist.Normal(theta, SIGMA), obs=Y)

    at = {"mu": f64(0.3), "theta": f64([0.1, -0.2, 0.3, 0.4])}
    hessian: Any = torch.func.hessian(log_density(model))(at)
    torch.testing.assert_close(hessian["mu"]["mu"], f64(-1 / 25 - 4 / 4))
    torch.testing.assert_close(hessian["mu"]["theta"], f64([1 / 4] * 4))
    torch.testing.assert_close(hessian["theta"]["theta"], torch.diag(-1 / 4 - SIGMA**-2))
    forward: Any = torch.func.jacfwd(torch.func.grad(log_density(model)))(at)
    torch.testing.assert_close(forward["theta"]["theta"], hessian["theta"]["theta"])


@pytest.mark.parametrize("how", ["__call__", "unconstrained"])
def test_the_gradient_is_that_of_differences(how: str) -> None:
    function = getattr(log_density(schools, Y, SIGMA), how)
    at = point()
    gradient = torch.func.grad(function)(at)
    for name, value in at.items():
        for i in range(value.numel()):
            step = torch.zeros(value.numel(), dtype=torch.float64)
            step[i] = 1e-6
            ends = [function({**at, name: value + side * step.reshape(value.shape)}) for side in (1, -1)]
            slope = (ends[0] - ends[1]).item() / 2e-6
            assert gradient[name].reshape(-1)[i].item() == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("how", ["__call__", "unconstrained"])
def test_vmap_over_points(how: str) -> None:
    function = getattr(log_density(schools, Y, SIGMA), how)
    points = [point(seed) for seed in range(6)]
    stacked = {name: torch.stack([at[name] for at in points]) for name in points[0]}
    one_by_one = torch.stack([function(at) for at in points])
    torch.testing.assert_close(torch.func.vmap(function)(stacked), one_by_one)
    gradients = torch.func.vmap(torch.func.grad(function))(stacked)
    torch.testing.assert_close(gradients["theta"][2], torch.func.grad(function)(points[2])["theta"])


@pytest.mark.parametrize("how", ["__call__", "unconstrained"])
def test_a_graph_of_it_holds_the_same_numbers(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `inference.compile` makes it: fake tensors, while torch says that it compiles."""
    function = getattr(log_density(schools, Y, SIGMA), how)

    def value_and_slope(values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        total = function(leaves)
        return total, *torch.autograd.grad(total, list(leaves.values()))

    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        graph = make_fx(value_and_slope, tracing_mode="fake", _allow_non_fake_inputs=True)(point(1))
    for seed in (1, 2):
        torch.testing.assert_close(graph(point(seed)), value_and_slope(point(seed)))


# The real line


def supports() -> None:
    sample("positive", dist.Gamma(f64(2.0), 3.0))
    low = sample("low", dist.Normal(f64(0.0), 1.0))
    sample("interval", dist.Uniform(low, low + 2.0))
    sample("simplex", dist.Dirichlet(f64([1.0, 2.0, 3.0])))
    sample("cholesky", dist.LKJCholesky(3, f64(2.0)))
    with plate("rows", 2):
        sample("vector", dist.Normal(f64(torch.zeros(3)), 1.0).to_event(1))


def on_the_line() -> dict[str, Tensor]:
    shapes = {"positive": (), "low": (), "interval": (), "simplex": (2,), "cholesky": (3,), "vector": (2, 3)}
    torch.manual_seed(3)
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}


def test_positive_values_by_hand() -> None:
    """For `tau = exp(u)`: log p(tau) + u."""
    potential = log_density(lambda: sample("tau", dist.Gamma(f64(2.0), 3.0)))
    for u in (-1.5, 0.0, 0.7):
        exact = scipy.stats.gamma.logpdf(math.exp(u), 2.0, scale=1 / 3) + u
        assert potential.unconstrained({"tau": f64(u)}).item() == pytest.approx(exact, rel=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, on first forward mode
def test_the_density_on_the_line_is_the_change_of_variables() -> None:
    """The determinant of `constrain` by autograd, over free coordinates of the simplex and the Cholesky factor."""
    potential, at = log_density(supports), on_the_line()

    def free(values: dict[str, Tensor]) -> Tensor:
        x = potential.constrain(values)
        below = x["cholesky"][(1, 2, 2), (0, 0, 1)]
        first = (x["positive"], x["low"], x["interval"])
        return torch.cat([torch.stack(first), x["simplex"][:2], below, x["vector"].reshape(-1)])

    jacobian: Any = torch.func.jacfwd(free)(at)
    matrix = torch.cat([jacobian[name].reshape(14, -1) for name in at], dim=1)
    expected = potential(potential.constrain(at)) + torch.linalg.slogdet(matrix).logabsdet
    torch.testing.assert_close(potential.unconstrained(at), expected)


def test_a_density_on_the_line_has_mass_one() -> None:
    potential = log_density(lambda: sample("x", dist.Beta(f64(2.0), 3.0)))
    grid = torch.linspace(-40.0, 40.0, 20001, dtype=torch.float64)
    density = torch.func.vmap(potential.unconstrained)({"x": grid}).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, rel=1e-9)


def test_there_and_back() -> None:
    potential, at = log_density(supports), on_the_line()
    constrained = potential.constrain(at)
    run = handlers.trace(handlers.substitute(supports, data=constrained)).get_trace()
    assert all(bool(run[name].fn.support.check(value).all()) for name, value in constrained.items())
    back = potential.unconstrain(constrained)
    assert list(back) == list(at)
    torch.testing.assert_close(back, at)


def test_a_weight_of_a_site_is_not_one_of_its_coordinates() -> None:
    """log p counts three times, or not at all; the volume element counts once."""
    u = f64(0.4)
    gamma = dist.Gamma(f64(2.0), 1.0)
    for weight, times in ((handlers.scale(scale=3.0), 3.0), (handlers.mask(mask=torch.tensor(False)), 0.0)):

        def model(weight: Any = weight) -> None:
            with weight:
                sample("tau", gamma)

        expected = times * gamma.log_prob(u.exp()) + u
        torch.testing.assert_close(log_density(model).unconstrained({"tau": u}), expected)


# Parameters


def test_parameters_come_from_the_store_or_from_the_values() -> None:
    def model() -> None:
        scale = param("scale", f64(2.0), constraint=constraints.positive)
        sample("x", dist.Normal(f64(0.0), scale))

    potential, norm = log_density(model), scipy.stats.norm.logpdf
    assert potential({"x": f64(1.0), "scale": f64(0.5)}).item() == pytest.approx(norm(1.0, 0.0, 0.5))
    assert len(ppl.get_param_store()) == 0
    assert potential({"x": f64(1.0)}).item() == pytest.approx(norm(1.0, 0.0, 2.0))
    store = ppl.get_param_store()
    store["scale"] = 3.0
    assert potential({"x": f64(1.0)}).item() == pytest.approx(norm(1.0, 0.0, 3.0))
    line = {"x": f64(1.0), **store.leaves}  # no determinant: a parameter has no density
    assert potential.unconstrained(line).item() == pytest.approx(norm(1.0, 0.0, 3.0))
    torch.testing.assert_close(potential.constrain(line)["scale"], f64(3.0))
    torch.testing.assert_close(potential.unconstrain({"x": 1.0, "scale": f64(3.0)})["scale"], store.leaves["scale"])


def test_parameters_of_a_module() -> None:
    net = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    x, y = f64([[1.0, 2.0], [0.0, -1.0]], [[0.5], [1.0]])

    def model() -> None:
        sample("y", dist.Normal(ppl.module("net", net)(x), 1.0).to_event(2), obs=y)

    weight = f64([[0.3, -0.7]])
    found = log_density(model)({"net$$$weight": weight})
    assert found.item() == pytest.approx(scipy.stats.norm.logpdf(y, x @ weight.T, 1.0).sum())


# Plates, minibatches, masks, scales


def test_a_minibatch_counts_for_the_whole_plate() -> None:
    def model(indices: Tensor) -> None:
        mu = sample("mu", dist.Normal(f64(0.0), 1.0))
        with plate("data", 4, subsample=indices) as i:
            sample("y", dist.Normal(mu, 1.0), obs=Y[i])

    norm = scipy.stats.norm.logpdf
    found = log_density(model, torch.tensor([2, 0]))({"mu": f64(0.3)})
    assert found.item() == pytest.approx(norm(0.3) + 2.0 * norm(Y[[2, 0]].numpy(), 0.3).sum(), rel=1e-12)


def test_a_minibatch_that_is_drawn_follows_the_seed() -> None:
    def model() -> None:
        mu = sample("mu", dist.Normal(f64(0.0), 1.0))
        with plate("data", 4, subsample_size=1) as i:
            sample("y", dist.Normal(mu, 1.0), obs=Y[i])

    norm = scipy.stats.norm.logpdf
    possible = [norm(0.3) + 4.0 * norm(y, 0.3) for y in Y.tolist()]
    seeded = log_density(handlers.seed(model, rng_seed=0))
    found = seeded({"mu": f64(0.3)}).item()
    assert seeded({"mu": f64(0.3)}).item() == found == pytest.approx(min(possible, key=lambda p: abs(p - found)))


def test_masks_scales_and_factors() -> None:
    keep = torch.tensor([True, False, True, True])

    def model() -> None:
        mu = sample("mu", dist.Normal(f64(0.0), 1.0))
        deterministic("twice", 2 * mu)
        factor("bonus", -mu)
        with handlers.scale(scale=2.5), plate("data", 4), handlers.mask(mask=keep):
            sample("y", dist.Normal(mu, 1.0), obs=Y)

    norm = scipy.stats.norm.logpdf
    expected = norm(0.3) - 0.3 + 2.5 * norm(Y[keep].numpy(), 0.3).sum()
    assert log_density(model)({"mu": f64(0.3)}).item() == pytest.approx(expected, rel=1e-12)


# Handlers around the model


def around() -> dict[str, tuple[Callable[..., Any], dict[str, float]]]:
    def model() -> None:
        z = sample("z", dist.Normal(f64(0.0), 1.0))
        sample("x", dist.Normal(z, 2.0))

    data = {"x": f64(1.5)}
    return {
        "condition": (handlers.condition(model, data=data), {"z": 0.5}),
        "do": (handlers.do(model, data={"z": f64(0.5)}), {"x": 1.5}),
        "substitute": (handlers.substitute(model, data=data), {"z": 0.5}),
        "collapse": (handlers.collapse(handlers.condition(model, data=data)), {}),
        "scope": (handlers.scope(model, prefix="a"), {"a/z": 0.5, "a/x": 1.5}),
    }


@pytest.mark.parametrize("how", list(around()))
def test_a_model_inside_a_handler(how: str) -> None:
    """The handler is part of the model: what it fixes needs no value, what it integrates out has none."""
    prior, likelihood = scipy.stats.norm.logpdf(0.5), scipy.stats.norm.logpdf(1.5, 0.5, 2.0)
    exact = {"do": likelihood, "collapse": scipy.stats.norm.logpdf(1.5, 0.0, math.sqrt(5.0))}
    model, values = around()[how]
    found = log_density(model)({name: f64(value) for name, value in values.items()})
    assert found.item() == pytest.approx(exact.get(how, prior + likelihood), rel=1e-12)


def test_a_discrete_site_has_a_value_like_any_other() -> None:
    def model() -> None:
        k = sample("k", dist.Bernoulli(f64(0.3)))
        sample("x", dist.Normal(k, 1.0), obs=f64(0.2))

    potential = log_density(model)
    terms = torch.stack([potential({"k": f64(k)}) for k in (0.0, 1.0)])
    norm = scipy.stats.norm.pdf
    assert terms.logsumexp(0).item() == pytest.approx(math.log(0.7 * norm(0.2) + 0.3 * norm(0.2, 1.0)), rel=1e-7)

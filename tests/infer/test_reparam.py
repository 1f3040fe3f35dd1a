"""A reparameterised model is the same model: same joint law of its sites, drawn another way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import inference
import ppl_dist as dist
from inference.reparam import (
    AutoReparam,
    CircularReparam,
    DiscreteCosineReparam,
    HaarReparam,
    LocScaleReparam,
    ProjectedNormalReparam,
    SplitReparam,
    StudentTReparam,
    TransformReparam,
    UnitJacobianReparam,
)
from ppl import ParamStore, Trace, check_shapes, get_param_store, param, plate, sample
from ppl import handlers as h
from tests.support.statistics import assert_mean, assert_uniform

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with ParamStore():
        yield


def double(*values: Any) -> Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)


def series(n: int) -> Any:
    scale = torch.eye(n, dtype=torch.float64) + 0.3 * torch.ones(n, n, dtype=torch.float64).tril()
    return dist.MultivariateNormal(torch.linspace(-1, 1, n, dtype=torch.float64), scale_tril=scale)


L, S = double(1.5, -0.5, 3.0), double(0.2, 1.0, 4.0)
BIJECTIVE: dict[str, tuple[Callable[[], Any], Any]] = {
    "decentred": (lambda: dist.Normal(L, S), LocScaleReparam(0.0)),
    "partly": (lambda: dist.Normal(L, S), LocScaleReparam(0.3)),
    "as it is": (lambda: dist.Normal(L, S), LocScaleReparam(1.0)),
    "each": (lambda: dist.Normal(L, S).to_event(1), LocScaleReparam(double(0.0, 0.5, 1.0))),
    "learned": (lambda: dist.Normal(L, S), LocScaleReparam()),
    "learned, event": (lambda: dist.Normal(L, S).to_event(1), LocScaleReparam()),
    "student": (lambda: dist.StudentT(double(3.0), L, S), LocScaleReparam(0.3)),
    "student, named": (lambda: dist.StudentT(double(3.0), L, S), LocScaleReparam(0.3, shape_params=["df"])),
    "laplace": (lambda: dist.Laplace(L, S), LocScaleReparam(0.3)),
    "cauchy": (lambda: dist.Cauchy(L, S), LocScaleReparam(0.3)),
    "gumbel": (lambda: dist.Gumbel(L, S), LocScaleReparam(0.3)),
    "logistic": (lambda: dist.Logistic(L, S), LocScaleReparam(0.3)),
    "lognormal": (lambda: dist.LogNormal(L / 3, S), TransformReparam()),
    "lognormal, event": (lambda: dist.LogNormal(L / 3, S).to_event(1), TransformReparam()),
    "pareto": (lambda: dist.Pareto(S, S + 1), TransformReparam()),
    "weibull": (lambda: dist.Weibull(S, S + 1), TransformReparam()),
    "kumaraswamy": (lambda: dist.Kumaraswamy(S, S), TransformReparam()),
    "inverse gamma": (lambda: dist.InverseGamma(S + 1, S), TransformReparam()),
    "relaxed": (lambda: dist.RelaxedBernoulli(double(0.7), logits=L), TransformReparam()),
    "haar": (lambda: series(5), HaarReparam()),
    "haar, flipped": (lambda: dist.Laplace(L, S).to_event(1), HaarReparam(flip=True)),
    "haar, rows": (lambda: dist.Normal(double([[1.0, 2.0], [3.0, 4.0]]), 1.0).to_event(2), HaarReparam(dim=-2)),
    "cosine": (lambda: series(5), DiscreteCosineReparam()),
    "cosine, smooth": (lambda: series(4), DiscreteCosineReparam(smooth=0.7)),
    "permuted": (lambda: series(3), UnitJacobianReparam(dist.PermuteTransform(torch.tensor([2, 0, 1])), "permuted")),
    "split": (lambda: series(5), SplitReparam([2, 1, 2], dim=-1)),
    "split, rows": (lambda: dist.Normal(double([[1.0, 2.0], [3.0, 4.0]]), 1.0).to_event(2), SplitReparam([1, 1], -2)),
}


def only(fn: Any, obs: Tensor | None = None) -> Callable[[], Any]:
    def model() -> Any:
        with plate("p", 3) if fn.batch_shape else plate("p", 1):
            return sample("x", fn, obs=obs)

    return model


def changed(model: Callable[..., Any], how: Any) -> Trace:
    torch.manual_seed(1)
    tr = h.trace(h.reparam(model, config={"x": how})).get_trace()
    check_shapes(tr)
    return tr


@pytest.mark.parametrize("name", BIJECTIVE)
def test_densities_differ_by_the_log_det_of_the_map(name: str) -> None:
    """log p(z) = log p(x) + log|det dx/dz|, the determinant by autograd."""
    build, how = BIJECTIVE[name]
    model = only(build())
    tr = changed(model, how)
    latent = {n: tr[n].value for n in tr.stochastic_nodes}
    sizes = [value.numel() for value in latent.values()]
    flat = torch.cat([value.reshape(-1) for value in latent.values()])

    def x_of(z: Tensor) -> Tensor:
        parts = dict(zip(latent, torch.split(z, sizes), strict=True))
        data = {n: part.reshape(latent[n].shape) for n, part in parts.items()}
        value: Tensor = h.trace(h.substitute(h.reparam(model, {"x": how}), data=data)).get_trace()["x"].value
        return value.reshape(-1)

    jacobian = torch.autograd.functional.jacobian(x_of, flat)
    expected = build().log_prob(tr["x"].value).sum() + torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(tr.log_prob_sum(), expected, **CLOSE)
    assert (tr["x"].type == "sample") == (name == "as it is")


@pytest.mark.parametrize("name", BIJECTIVE)
def test_an_observed_site_keeps_its_likelihood(name: str) -> None:
    """In a minibatch, under a mask and a scale, and so do the gradients in its parameters."""
    build, how = BIJECTIVE[name]
    torch.manual_seed(2)
    x = build().sample()
    batch = len(build().batch_shape)

    def model() -> None:
        shift = param("shift", double(0.25))
        d: Any = build()
        base = d.base_dist if hasattr(d, "reinterpreted_batch_ndims") else d
        names = {"loc", "scale", "concentration"} & set(base.arg_constraints)
        moved = {key: getattr(base, key) * (1 + shift) for key in names}
        if type(base).__name__ in {"MultivariateNormal", "Kumaraswamy", "RelaxedBernoulli"}:
            fn = d
        else:
            rest = {key: getattr(base, key) for key in base.arg_constraints if key not in names}
            fn = type(base)(**moved, **rest)
            fn = fn.to_event(d.reinterpreted_batch_ndims) if base is not d else fn
        keep = torch.tensor([True, False, True]) if batch else torch.tensor(True)
        rows = plate("p", 30, subsample=[1, 5, 7]) if batch else plate("p", 10, subsample=[3])
        with rows, h.mask(mask=keep), h.scale(scale=0.5):
            sample("x", fn, obs=x if batch else x.unsqueeze(0))

    def graded(fn: Callable[[], None]) -> tuple[Tensor, Tensor | None]:
        tr = h.trace(fn).get_trace()
        check_shapes(tr)
        assert not tr.stochastic_nodes
        total = tr.log_prob_sum()
        leaf = get_param_store().leaves["shift"]
        return total, torch.autograd.grad(total, [leaf], allow_unused=True)[0] if total.requires_grad else None

    plain, there = graded(model), graded(h.reparam(model, {"x": how}))
    torch.testing.assert_close(there[0], plain[0], **CLOSE)
    if plain[1] is not None:
        assert there[1] is not None
        torch.testing.assert_close(there[1], plain[1], **CLOSE)


@pytest.mark.parametrize(
    ("fn", "how"),
    [
        (dist.VonMises(L, S), CircularReparam()),
        (dist.ProjectedNormal(double([1.0, 2.0])), ProjectedNormalReparam()),
        (dist.HalfNormal(S), TransformReparam()),
        (dist.LogisticNormal(L, S), TransformReparam()),
    ],
    ids=["circular", "projected", "folded", "simplex"],
)
def test_an_observed_value_with_no_way_back_or_more_dimensions_keeps_its_likelihood(fn: Any, how: Any) -> None:
    x = fn.expand((3,)).sample()
    got, plain = changed(only(fn.expand((3,)), x), how), h.trace(only(fn.expand((3,)), x)).get_trace()
    torch.testing.assert_close(got.log_prob_sum(), plain.log_prob_sum(), **CLOSE)


def test_the_turns_of_an_angle_add_up_to_its_density() -> None:
    fn = dist.VonMises(double(0.5, -3.0, 3.1), double(0.1, 2.0, 50.0))
    tr = changed(only(fn), CircularReparam())
    u, there = tr["x_unwrapped"].value, tr["x_unwrapped"].fn
    turns = torch.arange(-9, 10, dtype=torch.float64)[:, None] * (2 * math.pi)
    total = there.log_prob(u + turns).exp().sum(0)
    torch.testing.assert_close(total, fn.log_prob(tr["x"].value).exp(), rtol=1e-9, atol=0)
    assert (torch.atan2((u - tr["x"].value).sin(), (u - tr["x"].value).cos()).abs() < 1e-12).all()
    edge = dist.VonMises(torch.tensor(math.pi), torch.tensor(1e4)).expand((1000,))
    x = h.trace(h.reparam(lambda: sample("x", edge), {"x": CircularReparam()})).get_trace()["x"].value
    assert dist.constraints.circular.check(x).all()


def test_the_gamma_integrates_out_of_a_student() -> None:
    """By 400 nodes in log g; the site itself stays a sample site."""
    fn, x = dist.StudentT(double(3.5), double(0.5), double(2.0)), double(4.0)
    t, weights = (torch.as_tensor(v) for v in np.polynomial.legendre.leggauss(400))
    log_g, dt = 16 * t - 12, 16 * weights  # from e^-28 to e^4

    def joint(g: Tensor) -> Tensor:
        given = h.substitute(h.reparam(lambda: sample("x", fn, obs=x), {"x": StudentTReparam()}), data={"x_gamma": g})
        tr = h.trace(given).get_trace()
        assert tr.observation_nodes == ["x"]
        return tr["x_gamma"].fn.log_prob(g) + tr["x"].fn.log_prob(x)

    total = ((joint(log_g.exp()) + log_g).exp() * dt).sum()
    torch.testing.assert_close(total.log(), fn.log_prob(x), rtol=1e-10, atol=0)
    assert changed(only(fn.expand((3,))), StudentTReparam()).stochastic_nodes == ["x_gamma", "x"]


def test_the_length_integrates_out_of_a_direction() -> None:
    fn = dist.ProjectedNormal(double([1.0, -2.0, 0.5]))
    tr = changed(lambda: sample("x", fn), ProjectedNormalReparam())
    x = tr["x"].value
    t, weights = (torch.as_tensor(v) for v in np.polynomial.legendre.leggauss(200))
    r = 8 * (t + 1)
    density = (tr["x_normal"].fn.log_prob(r[:, None] * x).exp() * r**2 * 8 * weights).sum()
    torch.testing.assert_close(density.log(), fn.log_prob(x), **CLOSE)


DRAWS = 20_000


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_draws_follow_the_law(where: str) -> None:
    """Kolmogorov-Smirnov at the level of `tests.support.statistics`, the plate inside and outside of the handler."""
    df, loc, scale, k = double(3.0), double(1.0), double(0.5), double(2.0)
    config = {"t": StudentTReparam(), "m": LocScaleReparam(0.3), "v": CircularReparam(), "h": TransformReparam()}
    config |= {"s": SplitReparam([1, 2], -1), "s2": HaarReparam()}

    def body() -> None:
        sample("t", dist.StudentT(df, loc, scale))
        sample("m", dist.Gumbel(loc, scale))
        sample("v", dist.VonMises(loc + 2, k))
        sample("h", dist.HalfNormal(scale))
        sample("s", series(3))
        sample("s2", series(3))

    def model() -> None:
        with plate("n", DRAWS):
            body()

    def around() -> None:
        with plate("n", DRAWS), h.reparam(config=config):
            body()

    tr = h.trace(h.seed(h.reparam(model, config=config) if where == "inside" else around, rng_seed=0)).get_trace()
    laws = {
        "t": stats.t(3, 1, 0.5).cdf,
        "m": stats.gumbel_r(1, 0.5).cdf,
        "h": stats.halfnorm(0, 0.5).cdf,
        "v": lambda x: dist.VonMises(loc + 2, k).cdf(torch.as_tensor(x)).numpy(),
    }
    for name, cdf in laws.items():
        assert tr[name].value.shape == (DRAWS,)
        assert_uniform(cdf(tr[name].value.numpy()))
    for name in ("s", "s2"):
        noise = series(3)
        white = torch.linalg.solve_triangular(noise.scale_tril, (tr[name].value - noise.loc).mT, upper=False).mT
        assert_uniform(stats.norm.cdf(white.numpy()))
        assert_mean((white[:, :, None] * white[:, None]).numpy(), np.eye(3))


def test_gradients_flow_to_hyperparameters() -> None:
    loc, scale = double(1.0).requires_grad_(), double(0.5).requires_grad_()
    tr = changed(lambda: sample("x", dist.Normal(loc, scale)), LocScaleReparam(0.0))
    z = tr["x_decentered"].value
    torch.testing.assert_close(torch.autograd.grad(tr["x"].value, [loc, scale], retain_graph=True), (double(1.0), z))
    torch.testing.assert_close(torch.autograd.grad(tr.log_prob_sum(), [loc, scale]), (double(0.0), double(0.0)))


def test_frames_masks_and_scales_are_those_of_the_site() -> None:
    keep = torch.tensor([True, False, True, True])

    def inner() -> None:
        with plate("data", 8, subsample_size=4, dim=-2), h.mask(mask=keep[:, None]), plate("cols", 2):
            sample("x", dist.LogNormal(0.0, 1.0))

    for model in (inner, h.scale(inner, scale=3.0)):
        plain = h.trace(model).get_trace()["x"]
        config = {"x": TransformReparam(), "x_base": LocScaleReparam(0.5)}
        tr = h.trace(h.reparam(model, config)).get_trace()
        check_shapes(tr)
        assert list(tr) == ["data", "cols", "x_base_decentered", "x_base", "x"]
        z = tr["x_base_decentered"]
        assert (z.scale, z.cond_indep_stack) == (plain.scale, plain.cond_indep_stack)
        assert torch.equal(z.mask, plain.mask)
        assert tr["x"].cond_indep_stack == tr["x_base"].cond_indep_stack == plain.cond_indep_stack
        assert tr["x"].value.shape == (4, 2)


def test_handlers_reach_the_auxiliary_sites() -> None:
    model = lambda: sample("x", dist.Normal(3.0, 2.0))  # noqa: E731
    config = {"x": LocScaleReparam(0.0)}
    tr = h.trace(h.condition(h.reparam(model, config), data={"x_decentered": 0.5})).get_trace()
    assert tr["x_decentered"].is_observed
    assert tr["x"].value == 4.0
    again = h.trace(h.replay(h.reparam(model, config), trace=changed(model, config["x"]))).get_trace()
    assert again["x"].value == changed(model, config["x"])["x"].value
    inside = h.trace(h.reparam(h.condition(model, data={"x": 4.0}), config)).get_trace()
    assert inside["x_decentered"].value == 0.5
    twice = h.trace(h.reparam(h.reparam(model, config), config)).get_trace()
    assert list(twice) == ["x_decentered", "x"]
    for fixed in (h.substitute(model, data={"x": 4.0}), h.do(model, data={"x": 4.0})):
        tr = h.trace(h.reparam(fixed, config)).get_trace()
        assert list(tr) == ["x"]
        assert tr["x"].value == 4.0


def test_a_missing_value_under_the_mask() -> None:
    scale = double(2.0).requires_grad_()
    y = double(1.0, math.nan)

    def model() -> None:
        with plate("p", 2), h.mask(mask=torch.tensor([True, False])):
            sample("x", dist.LogNormal(0.0, scale), obs=y)

    total = changed(model, TransformReparam()).log_prob_sum()
    torch.testing.assert_close(total, dist.LogNormal(0.0, 2.0).log_prob(double(1.0)))
    assert torch.isfinite(torch.autograd.grad(total, scale)[0])


def test_auto_chooses_by_the_distribution() -> None:
    def model() -> None:
        sample("normal", dist.Normal(0.0, 1.0))
        sample("lognormal", dist.LogNormal(0.0, 1.0))
        sample("vector", dist.StudentT(4.0, torch.zeros(2), 1.0).to_event(1))
        sample("angle", dist.VonMises(0.0, 1.0))
        sample("direction", dist.ProjectedNormal([1.0, 0.0]))
        for name, fn in {"half": dist.HalfNormal(1.0), "gamma": dist.Gamma(1.0, 1.0)}.items():
            sample(name, fn)
        sample("cut", dist.TruncatedNormal(0.0, 1.0, low=0.0))
        sample("kept", dist.Normal(0.0, 1.0), infer={"reparam": False})
        sample("seen", dist.Normal(0.0, 1.0), obs=0.0)

    with h.trace() as tr:
        h.reparam(model, config=AutoReparam())()
    assert tr.stochastic_nodes == [
        *("normal_decentered", "lognormal_base_decentered", "vector_decentered", "angle_unwrapped"),
        *("direction_normal_decentered", "half", "gamma", "cut", "kept"),
    ]
    assert tr.param_nodes == [f"{n}_centered" for n in ("normal", "lognormal_base", "vector", "direction_normal")]
    assert tr["vector_centered"].value.tolist() == [0.5, 0.5]
    with h.trace() as twice:
        h.reparam(h.reparam(model, config=AutoReparam()), config=AutoReparam())()
    assert list(twice) == list(tr)


def test_a_decentred_guide_fits_a_funnel_better() -> None:
    """Neal's funnel under a mean-field guide: by far more than the noise of the estimate (the gap is above 1 nat)."""

    def funnel() -> None:
        log_scale = sample("log_scale", dist.Normal(0.0, 3.0))
        with plate("p", 9):
            sample("x", dist.Normal(0.0, (log_scale / 2).exp()))

    def guide(name: str) -> Callable[[], None]:
        positive = dist.constraints.positive

        def fn() -> None:
            sample("log_scale", dist.Normal(param("m", 0.0), param("s", 1.0, constraint=positive)))
            with plate("p", 9):
                sample(name, dist.Normal(param("mx", torch.zeros(9)), param("sx", torch.ones(9), constraint=positive)))

        return fn

    def loss(model: Callable[[], None], name: str) -> float:
        torch.manual_seed(0)
        with ParamStore():
            svi = inference.SVI(model, guide(name), inference.optim.Adam({"lr": 0.03}), inference.Trace_ELBO())
            losses = [svi.step() for _ in range(1000)]
        return float(np.mean(losses[-300:]))

    assert loss(h.reparam(funnel, {"x": LocScaleReparam(0.0)}), "x_decentered") < loss(funnel, "x") - 1.0


def test_a_reparameteriser_may_be_a_function() -> None:
    def exponential(name: str, fn: Any, obs: Any) -> Any:
        return fn if obs is not None else sample(f"{name}_unit", dist.Exponential(torch.ones(()))) / fn.rate

    tr = changed(lambda: sample("x", dist.Exponential(4.0)), exponential)
    assert tr["x"].value == tr["x_unit"].value / 4
    named = h.reparam(
        lambda: sample("x", dist.Exponential(4.0)), lambda site: exponential if site.name == "x" else None
    )
    assert list(h.trace(named).get_trace()) == ["x_unit", "x"]

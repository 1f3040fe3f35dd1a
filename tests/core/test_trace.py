"""Traces: what they hold, what they add up, how they read."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import ppl_dist as dist
from ppl import ParamStore, Site, Trace, deterministic, param, plate, sample
from ppl import handlers as h

Y = torch.tensor([0.5, -1.0, 2.0])


def model() -> None:
    mu = sample("mu", dist.Normal(0.0, 1.0))
    with plate("data", 3):
        theta = sample("theta", dist.Normal(mu, 1.0))
        sample("y", dist.Normal(theta, 2.0), obs=Y)
    deterministic("total", theta.sum())
    sample("v", dist.Normal(torch.zeros(2), 1.0).to_event(1))


@pytest.fixture
def tr() -> Trace:
    return h.trace(h.seed(model, rng_seed=0)).get_trace()


def test_mapping(tr: Trace) -> None:
    assert list(tr) == ["mu", "data", "theta", "y", "total", "v"]
    assert len(tr) == 6 and "mu" in tr and "nu" not in tr
    assert tr["mu"] is tr.nodes["mu"]
    assert tr.stochastic_nodes == ["mu", "theta", "v"]
    assert tr.observation_nodes == ["y"] and tr.param_nodes == []
    assert tr == tr and tr != tr.copy()


def test_sites_read_both_ways(tr: Trace) -> None:
    site = tr["mu"]
    assert site["value"] is site.value and site["fn"] is site.fn
    assert "value" in site and "log_prob" not in site and "nonsense" not in site
    assert site.get("log_prob", 3) == 3 and site.get("name") == "mu"
    assert "log_prob" not in site.keys() and "scale" in site.keys()  # noqa: SIM118  (keys() is what is tested)
    site["scale"] = 2.0
    assert site.scale == 2.0
    tr.compute_log_prob()
    assert "log_prob" in site
    for wrong in (lambda: site["nonsense"], lambda: site.__setitem__("nonsense", 1)):
        with pytest.raises(KeyError, match="nonsense"):
            wrong()


def test_log_prob_sum_is_the_log_joint(tr: Trace) -> None:
    mu, theta, v = (tr[name].value for name in ("mu", "theta", "v"))
    normal = torch.distributions.Normal
    exact = normal(0.0, 1.0).log_prob(mu) + normal(mu, 1.0).log_prob(theta).sum()
    exact = exact + normal(theta, 2.0).log_prob(Y).sum() + normal(0.0, 1.0).log_prob(v).sum()
    torch.testing.assert_close(tr.log_prob_sum(), exact)
    assert tr["theta"].log_prob.shape == (3,) and tr["v"].log_prob.shape == ()
    assert tr["theta"].log_prob_sum.shape == ()


def test_filters(tr: Trace) -> None:
    latent = tr.log_prob_sum(lambda name, site: not site.is_observed)
    assert "log_prob" not in tr["y"]
    tr.compute_log_prob(lambda name, site: name == "y")
    torch.testing.assert_close(latent + tr["y"].log_prob_sum, tr.log_prob_sum())


def test_log_prob_is_differentiable() -> None:
    loc = torch.tensor(0.3, requires_grad=True)
    with h.trace() as tr:
        sample("x", dist.Normal(loc, 1.0), obs=torch.tensor(1.0))
    (grad,) = torch.autograd.grad(tr.log_prob_sum(), loc)
    assert grad.item() == pytest.approx(0.7)


def test_empty() -> None:
    empty = Trace()
    assert empty.log_prob_sum().item() == 0.0
    assert repr(empty) == "Trace: 0 sites, log p = 0" or repr(empty) == "Trace: 0 sites"
    assert "site" in empty.format_shapes()


def test_copy_and_detach() -> None:
    loc = torch.tensor(0.3, requires_grad=True)
    with h.trace() as tr:
        sample("x", dist.Normal(loc, 1.0), infer={"a": 1})
    tr.compute_log_prob()
    shallow, cut = tr.copy(), tr.detach()
    shallow["x"].infer["b"] = 2
    assert tr["x"].infer == {"a": 1}
    assert shallow["x"].value is tr["x"].value
    assert tr["x"].value.requires_grad and not cut["x"].value.requires_grad
    assert not cut["x"].log_prob.requires_grad and tr["x"].log_prob.requires_grad


def test_format_shapes(tr: Trace) -> None:
    tr.compute_log_prob()
    assert tr.format_shapes().splitlines() == [
        " site   dist  value  log_prob  dims",
        "   mu    |      |           |",
        " data    |    3 |              data",
        "theta  3 |    3 |         3 |  data",
        "    y  3 |    3 |         3 |  data",
        "total    |      |",
        "    v    | 2    | 2         |",
    ]


def test_repr_is_a_short_table(tr: Trace) -> None:
    assert repr(tr).splitlines()[0] == "Trace: 6 sites"
    total = tr.log_prob_sum().item()
    lines = repr(tr).splitlines()
    assert lines[0] == f"Trace: 6 sites, log p = {total:.5g}"
    assert lines[1].split() == ["mu", "latent", "Normal", "()", f"{tr['mu'].log_prob_sum.item():.5g}"]
    assert lines[4].split()[:4] == ["y", "observed", "Normal", "(3,)"]
    assert "Normal.to_event(1)" in lines[6]
    assert max(map(len, lines)) <= 80


def test_repr_of_a_long_trace_fits_a_terminal() -> None:
    with h.trace() as tr:
        for i in range(200):
            sample(f"x{i}", dist.Normal(0.0, 1.0))
    lines = repr(tr).splitlines()
    assert len(lines) < 30 and any("176 more" in line for line in lines)
    assert "x0 " in lines[1] and lines[-1].strip().startswith("x199")


def test_repr_where_values_cannot_be_read() -> None:
    def inside(loc: torch.Tensor) -> torch.Tensor:
        with h.trace() as tr:
            sample("x", dist.Normal(loc, 1.0), obs=torch.tensor(0.0))
        total = tr.log_prob_sum()
        assert "..." in repr(tr)
        return total

    assert torch.func.vmap(inside)(torch.zeros(3)).shape == (3,)


def test_html() -> None:
    with h.trace() as tr:
        sample("<b>", dist.Normal(0.0, 1.0))
    html = tr._repr_html_()
    assert "<td>&lt;b&gt;</td>" in html and "<td>Normal(loc=0, scale=1)</td>" in html and "<b>" not in html


def test_a_parameter_may_be_read_twice() -> None:
    with ParamStore(), h.trace() as tr:
        param("loc", 1.0)
        param("loc", 1.0)
    assert tr.param_nodes == ["loc"]


def test_pickle_and_deepcopy() -> None:
    with h.trace() as tr, h.seed(rng_seed=0):
        sample("x", dist.Normal(0.0, 1.0))
    for other in (pickle.loads(pickle.dumps(tr)), copy.deepcopy(tr)):
        assert isinstance(other["x"], Site)
        torch.testing.assert_close(other.log_prob_sum(), tr.log_prob_sum())


def test_several_devices_worth_of_dtypes_add_up() -> None:
    with h.trace() as tr:
        sample("a", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))
        sample(
            "b", dist.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0), obs=torch.tensor(0.0, dtype=torch.float64)
        )
    assert tr.log_prob_sum().item() == pytest.approx(-1.8378770664)


def test_log_prob_through_func_transforms() -> None:
    def log_joint(x: torch.Tensor) -> torch.Tensor:
        with h.trace() as tr, h.substitute(data={"x": x}):
            sample("x", dist.Normal(0.0, 1.0))
            sample("y", dist.Normal(x, 1.0), obs=torch.tensor(2.0))
        return tr.log_prob_sum()

    grads = torch.func.vmap(torch.func.grad(log_joint))(torch.tensor([0.0, 1.0]))
    assert grads.tolist() == [2.0, 0.0]


def test_a_trace_of_a_seeded_run_can_be_pickled() -> None:
    def model() -> None:  # sites that draw, and sites that have a value or make one without the generator
        x = sample("x", dist.Normal(0.0, 1.0))
        sample("y", dist.Normal(x, 1.0), obs=0.0)
        deterministic("twice", 2 * x)
        with plate("data", 3):
            sample("z", dist.Normal(x, 1.0))

    with h.seed(rng_seed=0), h.trace() as tr:
        model()
    assert all(site.generator is None for site in tr.values())
    assert list(pickle.loads(pickle.dumps(tr.detach()))) == list(tr)

"""The report on gradients: its numbers against exact ones, its tables, its picture; and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

import ppl
import ppl_dist as dist
from inference import DecayingAverage, LearnedBaseline, LeaveOneOut, ReweightedWakeSleep, Trace_ELBO, estimate
from inference.diagnostics import Moments, gradient_report
from inference.in_use import estimators_in_use
from ppl import ParamStore, observe, param, plate, sample
from ppl import handlers as h
from tests.errors.reading import fails
from tests.support.enumeration import exact_elbo_loss

Normal, Bernoulli = dist.Normal, dist.Bernoulli
LOGIT = 0.4
SCORE = {"plain": {"baseline": "none"}, "level": {"baseline": 1.5}, "exact": {"estimator": "enumerate"}}


@pytest.fixture(autouse=True)
def store() -> Iterator[ParamStore]:
    with ParamStore() as own:
        yield own


def model() -> None:
    k = sample("k", Bernoulli(0.3))
    observe("x", Normal(2.0 * k, 1.0), 1.7)


def guide() -> None:
    sample("k", Bernoulli(logits=param("logit", LOGIT)))


def chain_model() -> None:
    a = sample("a", Normal(0.0, 1.0))
    observe("x", Normal(sample("b", Normal(a, 1.0)), 1.0), 1.0)


def chain_guide() -> None:
    a = sample("a", Normal(param("loc", 0.0), 1.0))
    sample("b", Normal(a + param("shift", 0.0), param("scale", 1.0, constraint=dist.constraints.positive)))


def score_gradients(baseline: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Both values that the score-function gradient takes, and their probabilities, from the two densities."""
    p = torch.tensor(LOGIT, dtype=torch.float64).sigmoid()
    k = torch.tensor([0.0, 1.0], dtype=torch.float64)
    q = torch.stack([1 - p, p])
    prior = torch.tensor([0.7, 0.3], dtype=torch.float64)
    cost = q.log() - prior.log() + 0.5 * (1.7 - 2 * k) ** 2 + 0.5 * torch.tensor(2 * torch.pi).log()
    return (cost - baseline) * (k - p), q


@pytest.mark.parametrize(("label", "baseline"), [("plain", 0.0), ("level", 1.5)])
def test_mean_and_variance_of_a_score_function(label: str, baseline: float) -> None:
    """False alarms: 1 in 10^5 for each of two figures, at 4.4 standard errors."""
    n = 600
    row = gradient_report(model, guide, estimators={label: SCORE[label]}, num_draws=n)[label]
    values, q = score_gradients(baseline)
    mean = (q * values).sum()
    variance, fourth = ((q * (values - mean) ** power).sum() for power in (2, 4))
    moments = row.params["logit"]
    assert moments.count == n
    assert abs(moments.mean - mean) < 4.4 * (variance / n).sqrt()
    assert abs(moments.variance - variance) < 4.4 * ((fourth - variance**2) / n).sqrt() + 2 * variance / n
    assert row.error() == pytest.approx(float((moments.variance / n) ** 0.5))
    assert row.signal_to_noise("logit") == pytest.approx(abs(float(moments.mean)) / float(moments.variance) ** 0.5)
    assert row.work() == row.variance() * row.milliseconds


def test_enumeration_has_the_exact_gradient_and_no_variance() -> None:
    report = gradient_report(model, guide, Trace_ELBO(), estimators=SCORE, num_draws=20)
    with ParamStore() as own:
        exact_elbo_loss(model, guide).backward()
        exact = own.leaves["logit"].grad
    assert exact is not None
    assert float(report["exact"].params["logit"].mean) == pytest.approx(float(exact), rel=1e-5)
    assert report["exact"].variance() == 0.0 and report["exact"].signal_to_noise() == float("inf")
    assert report.best == "exact" and list(report) == ["plain", "level", "exact"]


def test_moments_are_those_of_all_draws_at_once() -> None:
    draws = torch.randn(30, 2, 3, generator=torch.Generator().manual_seed(0)) + 1e4
    late, zeros = Moments(draws[0], count=5), torch.zeros(5, 2, 3)
    for gradient in draws:
        late.add(gradient)
    late.add(None)
    seen = torch.cat([zeros, draws, torch.zeros(1, 2, 3)]).double()
    torch.testing.assert_close(late.mean, seen.mean(0))
    torch.testing.assert_close(late.variance, seen.var(0))
    torch.testing.assert_close(late.standard_error, seen.std(0) / 6)


def test_a_site_has_the_noise_of_the_parameters_of_its_own_distribution() -> None:
    report = gradient_report(chain_model, chain_guide, num_draws=10)
    assert report.sites == {"a": ("loc",), "b": ("shift", "scale")}
    row = report["Trace_ELBO"]
    assert row.variance("shift", "scale") == pytest.approx(row.variance("shift") + row.variance("scale"))
    assert row.variance() == pytest.approx(row.variance("loc") + row.variance("shift", "scale"))


def test_nothing_outside_changes(store: ParamStore) -> None:
    net = torch.nn.BatchNorm1d(1)

    def own_guide() -> None:
        net(torch.randn(4, 1))
        guide()
        sample("aux", Bernoulli(logits=param("new", 0.1)), infer={"is_auxiliary": True})

    leaf = guide() or store.leaves["logit"]
    leaf.grad = torch.tensor(7.0)
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    before = torch.random.get_rng_state()
    one = gradient_report(model, own_guide, num_draws=5)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    two = gradient_report(model, own_guide, num_draws=5)
    assert torch.equal(one["Trace_ELBO"].params["logit"].mean, two["Trace_ELBO"].params["logit"].mean)
    other = gradient_report(model, own_guide, num_draws=5, seed=1)
    assert not torch.equal(one["Trace_ELBO"].params["logit"].mean, other["Trace_ELBO"].params["logit"].mean)
    assert list(store) == ["logit"] and store.leaves["logit"] is leaf
    assert leaf.grad == 7.0 and leaf.item() == pytest.approx(LOGIT)
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())


def test_values_are_checked_once() -> None:
    seen: list[bool] = []

    def looking() -> None:
        seen.append(dist.validation_enabled_now())
        guide()

    gradient_report(model, looking, num_draws=3)
    assert seen[0] and not any(seen[2:])


def test_bounds_by_label_and_by_estimator_share_a_table() -> None:
    bounds = {"one": Trace_ELBO(), "four": Trace_ELBO(4, vectorize_particles=True)}
    report = gradient_report(model, guide, bounds, estimators=SCORE, num_draws=4)
    assert list(report) == [f"{bound}, {label}" for bound in bounds for label in SCORE]
    assert len(report) == 6 and report.params == ["logit"]
    text = repr(report)
    assert text.startswith("gradient_report: 4 draws; least variance x ms: ")
    for word in ("parameter", "signal/noise", "four, exact", "enumerate (2 values)", "score, given baseline", "logit"):
        assert word in text and word.replace('"', "&quot;") in report._repr_html_()


def test_a_biased_estimator_is_named_and_loses() -> None:
    bounds = {"weighed": ReweightedWakeSleep(2), "plain": Trace_ELBO()}
    report = gradient_report(model, guide, bounds, num_draws=4)
    assert report["weighed"].biased and not report["plain"].biased
    assert report.best == "plain"
    assert "weighed (biased)" in repr(report) and "weighed by importance (biased)" in repr(report)


def test_the_picture_shows_every_parameter_and_estimator(tmp_path: Any) -> None:
    report = gradient_report(chain_model, chain_guide, {"a": Trace_ELBO(), "b": Trace_ELBO(2)}, num_draws=3)
    figure = report.plot()
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert len(axes.patches) == 2 * 4
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["all", "loc", "shift", "scale"]
    assert axes.get_title() == f"best: {report.best}"
    figure.savefig(tmp_path / "gradients.png")


def test_a_picture_of_no_noise(tmp_path: Any) -> None:
    gradient_report(model, guide, estimators={"exact": SCORE["exact"]}, num_draws=3).plot().savefig(tmp_path / "a.png")


# Errors


def test_what_is_no_bound() -> None:
    message = fails(
        TypeError, lambda: gradient_report(model, guide, torch.tensor(1.0)), "gradient_report: elbo", "got T"
    )  # type: ignore[arg-type]  # the error
    assert "Try gradient_report(model, guide, Trace_ELBO(), *args)" in message


def test_too_few_draws() -> None:
    fails(ValueError, lambda: gradient_report(model, guide, num_draws=1), "num_draws must be at least 2", "got 1")
    assert gradient_report(model, guide, num_draws=2).num_draws == 2


def test_no_parameter() -> None:
    def fixed() -> None:
        sample("k", Bernoulli(0.5))

    fails(ValueError, lambda: gradient_report(model, fixed), "depends on parameters, got one that depends on none")


# In words


@pytest.mark.parametrize(
    ("infer", "words"),
    [
        ({}, "score, decaying average"),
        ({"samples": 4}, "score, 4 draws, leave-one-out"),
        ({"samples": 4, "baseline": "none"}, "score, 4 draws, no baseline"),
        ({"baseline": 0.5}, "score, given baseline"),
        ({"baseline": DecayingAverage(0.5)}, "score, decaying average"),
        ({"baseline": {"use_decaying_avg_baseline": True}}, "score, decaying average"),
        ({"baseline": LeaveOneOut("rows")}, 'score, leave-one-out over plate "rows"'),
        ({"baseline": "batch_average"}, "score, batch average"),
        ({"baseline": LearnedBaseline(torch.nn.Linear(1, 3), torch.ones(1))}, "score, learned baseline"),
        ({"estimator": "enumerate"}, "enumerate (2 values)"),
        ({"estimator": "enumerate", "budget": 1}, "enumerate (1 of 2 values, and 1 drawn from the rest)"),
    ],
    ids=str,
)
def test_estimators_in_words(infer: dict[str, Any], words: str) -> None:
    with h.trace() as run, estimate(first_available_dim=-2), plate("rows", 3):
        k = sample("k", Bernoulli(0.5), infer=infer)
        sample("z", Normal(0.0, 1.0))
        sample("x", Normal(k, 1.0), obs=torch.ones(3))
    assert estimators_in_use(run) == {"k": words, "z": "pathwise"}


def test_particles_in_words() -> None:
    elbo = Trace_ELBO(10, vectorize_particles=True)
    report = gradient_report(model, guide, {"elbo": elbo}, num_draws=2)
    assert report["elbo"].estimators == {"k": "score, leave-one-out over 10 particles"}
    assert ppl.runtime.current() is None

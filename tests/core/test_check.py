"""The lint: one broken program per kind of finding, whose fix makes it go away; sound programs; nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import nn

import ppl
import ppl_dist as dist
from examples import eight_schools, vae_digits
from inference.surrogate import estimator_of
from ppl import ParamStore, check, param, plate, sample
from ppl import handlers as h
from ppl.nn import Module, Param, Sample
from ppl_dist import constraints

Normal = dist.Normal
Program = Callable[..., Any]


@pytest.fixture(autouse=True)
def store() -> Iterator[ParamStore]:
    with ParamStore() as own:
        yield own


def model() -> None:
    z = sample("z", Normal(0.0, 1.0))
    with plate("data", 3):
        sample("x", Normal(z, 1.0), obs=torch.zeros(3))


def guide() -> None:
    sample("z", Normal(param("loc", 0.0), param("scale", 1.0, constraint=constraints.positive)))


def one(law: Any, **options: Any) -> Program:
    """A program with one site."""
    return lambda: sample("z", law() if isinstance(law, FunctionType) else law, **options)


def taught(law: Callable[[torch.Tensor], Any], **options: Any) -> Program:
    """A guide with one site and one parameter."""
    return lambda: sample("z", law(param("p", torch.tensor(0.5))), **options)


def twice(name: str) -> Program:
    return lambda: (sample("z", Normal(0.0, 1.0)), sample(name, Normal(0.0, 1.0)))


def typo(name: str) -> Program:
    return lambda: sample(name, Normal(param("loc", 0.0), 1.0))


def helper(**options: Any) -> Program:
    return lambda: (guide(), sample("aux", Normal(0.0, 1.0), **options))


def detached(cut: bool) -> Program:
    def program() -> None:
        loc = param("loc", 0.0)
        sample("z", Normal(loc.detach() if cut else loc, 1.0))

    return program


def batch(size: int | None, full: int = 6) -> Program:
    def program() -> None:
        if size is None:
            sample("z", Normal(param("loc", 0.0), 1.0).expand([2]).to_event(0))
        else:
            with plate("data", full, subsample_size=size):
                sample("z", Normal(param("loc", 0.0), 1.0))

    return program


def rows(plated: bool) -> Program:
    def program() -> None:
        if plated:
            with plate("z_plate", 3, dim=-1):
                sample("z", Normal(torch.zeros(3), 1.0))
        else:
            sample("z", Normal(torch.zeros(3), 1.0))

    return program


Bernoulli = dist.Bernoulli
CASES: dict[str, tuple[str, str, str, tuple[Program, Program | None], tuple[Program, Program | None]]] = {
    # kind, site, what the fix says, (model, guide) that are wrong, (model, guide) as the fix has them
    "missing": ("missing", "z", 'sample("z", ...)', (model, lambda: None), (model, guide)),
    "missing: close": ("missing", "z", "", (model, typo("zz")), (model, typo("z"))),
    "unknown": ("unknown", "aux", "is_auxiliary", (model, helper()), (model, helper(infer={"is_auxiliary": True}))),
    "unknown: observed": (
        "unknown",
        "z",
        "leaving it out of the guide",
        (one(Normal(0.0, 1.0), obs=1.0), typo("z")),
        (one(Normal(0.0, 1.0), obs=1.0), lambda: None),
    ),
    "support": (
        "support",
        "z",
        "TransformedDistribution(Normal(...), [biject_to(Gamma(...).support)])",
        (one(dist.Gamma(2.0, 1.0)), taught(lambda p: Normal(p + 9.0, 0.1))),
        (
            one(dist.Gamma(2.0, 1.0)),
            taught(lambda p: dist.TransformedDistribution(Normal(p, 1.0), [dist.biject_to(constraints.positive)])),
        ),
    ),
    "support: discrete": (
        "support",
        "z",
        "Poisson(...)",
        (one(dist.Poisson(2.0)), taught(lambda p: Normal(p, 1.0))),
        (one(dist.Poisson(2.0)), taught(dist.Poisson, infer={"baseline": "decaying_average"})),
    ),
    "shape": (
        "shape",
        "z",
        ".to_event(1)",
        (one(Normal(torch.zeros(3), 1.0).to_event(1)), taught(lambda p: Normal(p, 1.0))),
        (one(Normal(torch.zeros(3), 1.0).to_event(1)), taught(lambda p: Normal(p, torch.ones(3)).to_event(1))),
    ),
    "plate": ("plate", "z", 'plate("z_plate", 3, dim=-1)', (rows(False), None), (rows(True), None)),
    "subsample: none": (
        "subsample",
        "z",
        'plate("data", 6, subsample_size=2)',
        (batch(2), batch(None)),
        (batch(2),) * 2,
    ),
    "subsample: size": ("subsample", "z", "subsample_size=2", (batch(2), batch(3)), (batch(2), batch(2))),
    "subsample: guide alone": ("subsample", "z", "subsample_size=3", (batch(6), batch(3)), (batch(3), batch(3))),
    "subsample: full size": ("subsample", "z", 'plate("data", 6,', (batch(2), batch(2, 7)), (batch(2), batch(2))),
    "baseline": (
        "baseline",
        "z",
        'infer={"baseline": "decaying_average"}',
        (one(Bernoulli(0.5)), taught(Bernoulli, infer={"baseline": "none"})),
        (one(Bernoulli(0.5)), taught(Bernoulli)),
    ),
    "gradient": ("gradient", "loc", "without detach()", (model, detached(True)), (model, detached(False))),
    "condition": (
        "condition",
        "zz",
        'Did you mean "z"',
        (h.condition(model, data={"zz": torch.tensor(0.0)}), None),
        (h.condition(model, data={"z": torch.tensor(0.0)}), None),
    ),
    "do": (
        "condition",
        "zz",
        'Did you mean "z"',
        (h.do(model, data={"zz": torch.tensor(0.0)}), guide),
        (h.do(model, data={"z": torch.tensor(0.0)}), lambda: None),
    ),
    "nonfinite": (
        "nonfinite",
        "z",
        "mask",
        (lambda: ppl.factor("z", -float("inf")), None),
        (lambda: ppl.factor("z", 0.0), None),
    ),
    "error: a name twice": ("error", "z", 'sample("z_2"', (twice("z"), None), (twice("z_2"), None)),
    "error: a value outside": (
        "error",
        "z",
        "",
        (one(dist.Gamma(1.0, 1.0), obs=-1.0), None),
        (one(dist.Gamma(1.0, 1.0), obs=1.0), None),
    ),
    "error: an argument": (
        "error",
        "z",
        "",
        (one(lambda: Normal(0.0, -1.0)), None),
        (one(lambda: Normal(0.0, 1.0)), None),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_program_is_found_and_its_fix_is_not(case: str) -> None:
    kind, site, fix, broken, fixed = CASES[case]
    report = check(*broken)
    assert report, "nothing was found"
    first = report.findings[0]
    assert (first.kind, first.site) == (kind, site), report
    assert fix in first.fix and first.fix[0].isupper(), report
    assert f"{kind}: {first.message}" in repr(report) and first.fix in repr(report)
    assert not check(*fixed), check(*fixed)


def test_a_condition_that_matches_nothing_hides_no_other_finding() -> None:
    both = check(h.condition(model, data={"zz": torch.tensor(0.0)}), typo("y"))
    assert [finding.kind for finding in both.findings] == ["condition", "missing", "unknown"]
    assert 'did you mean "zz"' in check(model, typo("zz")).findings[0].message


def test_an_error_is_not_followed_by_guesses() -> None:
    def fails() -> None:
        sample("a", Normal(0.0, 1.0))
        raise KeyError("data")

    report = check(fails, fails)
    assert [finding.kind for finding in report.findings] == ["error", "error"]
    assert "KeyError" in report.findings[0].message and report.findings[0].site == "guide"
    assert list(report.model) == ["a"]


def test_what_is_no_distribution() -> None:
    report = check(one(torch.zeros(())), one(Normal(0.0, 1.0)))
    assert "expected a distribution" in report.findings[0].message and "sample(" in report.findings[0].fix
    assert "findings" in repr(report) or "finding" in repr(report)


def test_examples_are_sound() -> None:
    schools = check(eight_schools.model, eight_schools.guide, eight_schools.SIGMA, eight_schools.Y)
    vae = vae_digits.Autoencoder()
    assert not schools, schools
    digits = check(vae.model, vae.guide, torch.zeros(20, vae_digits.PIXELS), batch=5)
    assert not digits, digits
    assert digits.estimators == {"z": "pathwise"}


def test_sound_programs_have_no_findings() -> None:
    ours = Module()
    ours.w = Sample(Normal(0.0, 1.0))
    ours.forward = lambda: sample("x", Normal(ours.w, 1.0), obs=0.0)  # type: ignore[method-assign]
    theirs = Module()
    theirs.loc = Param(0.0)
    theirs.forward = lambda: sample("w", Normal(theirs.loc, 1.0))  # type: ignore[method-assign]
    for case in (
        check(ours, theirs),
        check(model),
        check(one(dist.Gamma(2.0, 1.0)), taught(lambda p: dist.LogNormal(p, 1.0))),  # inside the support
        check(one(dist.Dirichlet(torch.ones(3))), taught(lambda p: dist.Dirichlet(p.exp() * torch.ones(3)))),
        check(one(Bernoulli(0.5)), one(Bernoulli(0.5))),  # nothing to learn, so no score term
        check(one(Bernoulli(0.5), infer={"enumerate": "parallel"}), lambda: None),
        check(batch(2), batch(2)),
        check(lambda: sample("x", Normal(param("loc", 0.0), 1.0), obs=1.0)),
    ):
        assert not case, case


def test_the_report_names_the_estimator_that_inference_uses() -> None:
    def sites() -> None:
        p = param("p", torch.tensor(0.5))
        sample("a", Normal(p, 1.0))
        sample("b", Normal(p, 1.0), infer={"estimator": "score", "baseline": "decaying_average"})
        sample("c", Bernoulli(p), infer={"baseline": torch.tensor(1.0)})
        sample("d", Bernoulli(p))
        sample("e", Bernoulli(p), infer={"estimator": "straight_through"})
        sample("f", Bernoulli(p), infer={"baseline": "none"})

    report = check(sites, sites)
    assert report.estimators == {
        "a": "pathwise",
        "b": "score, baseline: decaying average",
        "c": "score, baseline: given",
        "d": "score, baseline: chosen at the first step",
        "e": "straight_through (biased)",
        "f": "score, baseline: none",
    }
    for name in "abcdf":
        assert report.estimators[name].startswith(estimator_of(report.guide[name]).name)
    text = repr(report)
    assert text.startswith("check: 1 finding\nguide:\n") and "model:\n" in text and "estimators:\n" in text
    assert report.model.format_shapes() in text


def test_nothing_is_left_behind(store: ParamStore) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net(torch.randn(4, 2))
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    buffers = dict(net.named_buffers())
    param("loc", 1.0)

    def moves() -> None:
        net(ppl.sample("noise", Normal(torch.zeros(4, 2), 1.0).to_event(2)))
        ppl.module("net", net)
        store_inside = ppl.get_param_store()
        store_inside["loc"] = 5.0
        sample("z", Normal(param("loc", 0.0), 1.0))

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with h.trace() as outside, ppl.validation_enabled(False), torch.no_grad():
        check(moves, moves)
    assert torch.equal(torch.rand(3), expected)
    assert list(store) == ["loc"] and store["loc"].item() == 1.0
    assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())
    assert all(value is buffers[name] for name, value in net.named_buffers())
    assert all(leaf.grad is None for leaf in net.parameters())
    assert len(outside) == 0 and ppl.get_param_store() is store
    assert not nn.modules.module._global_forward_pre_hooks


def test_two_checks_find_the_same() -> None:
    assert repr(check(model, guide)) == repr(check(model, guide))

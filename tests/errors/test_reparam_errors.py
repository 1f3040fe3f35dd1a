"""Every deliberate error of `reparam` says where, what was expected, what it got and what to try."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import ppl_dist as dist
from inference import reparam as r
from ppl import handlers as h
from ppl import sample
from tests.errors.reading import advice, fails, model

NAMES = {**{name: getattr(r, name) for name in r.__all__}, "reparam": h.reparam, "model": model, "sample": sample}


def changed(fn: Any, how: Any) -> Any:
    return h.trace(h.reparam(lambda: sample("x", fn), config={"x": how})).get_trace()


def test_a_misspelt_name() -> None:
    config = {"mu": r.LocScaleReparam(0.0), "thetaa": r.LocScaleReparam(0.0)}
    message = fails(
        ValueError,
        h.reparam(model, config=config),
        "reparam: no site ",
        '"thetaa" in the model; did you mean "theta"?',
        "Sites: mu, mu_decentered, tau, theta, obs",
    )
    config[advice(message, r'did you mean "(\w+)"')] = config.pop("thetaa")
    h.reparam(model, config=config)()


def test_a_config_of_the_wrong_kind() -> None:
    message = fails(TypeError, lambda: h.reparam(model), "reparam:", "dictionary", "got NoneType")
    eval(advice(message), NAMES)()


@pytest.mark.parametrize(
    ("how", "needs"),
    [
        (r.LocScaleReparam(0.5), "loc and scale, on the whole real line"),
        (r.StudentTReparam(), "a StudentT distribution"),
        (r.TransformReparam(), "a TransformedDistribution"),
        (r.CircularReparam(), "angles from -pi to pi"),
        (r.ProjectedNormalReparam(), "a ProjectedNormal distribution"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_a_distribution_that_does_not_fit(how: Any, needs: str) -> None:
    message = fails(TypeError, lambda: changed(dist.Gamma(1.0, 1.0), how), 'site "x" must have', needs, "got Gamma")
    assert message.startswith(type(how).__name__)
    better = advice(message, r"or (AutoReparam\(\))")
    h.reparam(lambda: sample("x", dist.Gamma(1.0, 1.0)), config=eval(better, NAMES))()


@pytest.mark.parametrize("fn", [dist.LogNormal(0.0, 1.0), dist.TruncatedNormal(0.0, 1.0, low=0.0)], ids=repr)
def test_loc_and_scale_that_do_not_shift_and_stretch(fn: Any) -> None:
    fails(TypeError, lambda: changed(fn, r.LocScaleReparam(0.5)), "on the whole real line")


@pytest.mark.parametrize(
    ("centered", "bad"), [(-0.25, "-0.25"), (1.5, "1.5"), (torch.tensor([0.5, 1.5]), "1.5"), (math.nan, "nan")], ids=str
)
def test_centered_outside_the_unit_interval(centered: Any, bad: str) -> None:
    message = fails(ValueError, lambda: r.LocScaleReparam(centered), "LocScaleReparam", "in [0, 1]", f"got {bad}")
    eval(f"LocScaleReparam({advice(message)})", NAMES)


def test_a_transform_along_a_batch_dimension() -> None:
    normal = dist.Normal(torch.zeros(4), 1.0)
    parts = ('HaarReparam: site "x"', "1 event dimension(s)", "got 0")
    message = fails(ValueError, lambda: changed(normal, r.HaarReparam()), *parts)
    better = advice(message, r"Try sample\(\"x\", Normal\(\.\.\.\)(.+)\)\.")
    assert "x_haar" in changed(eval(f"normal{better}", {"normal": normal}), r.HaarReparam())


def test_sections_that_do_not_add_up() -> None:
    fn = dist.Normal(torch.zeros(4), 1.0).to_event(1)
    parts = ('SplitReparam: site "x" has event shape (4,)', "sections=[1, 2]", "dim=-1")
    message = fails(ValueError, lambda: changed(fn, r.SplitReparam([1, 2], -1)), *parts)
    assert "x_split_1" in changed(fn, eval(advice(message), NAMES))


def test_a_section_given_and_another_drawn() -> None:
    fn = dist.Normal(torch.zeros(4), 1.0).to_event(1)
    split = h.reparam(lambda: sample("x", fn), config={"x": r.SplitReparam([1, 3], -1)})
    given = {"x_split_0": torch.zeros(1)}
    fails(RuntimeError, h.substitute(split, data=given), "SplitReparam: section 1", "section 0", "given")
    h.substitute(split, data={**given, "x_split_1": torch.zeros(3)})()

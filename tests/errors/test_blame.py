"""An error raised while a distribution is built names the site it was being built for."""

from __future__ import annotations

import pytest
import torch

import ppl
import ppl_dist as dist
from inference import SVI
from inference.optim import Adam
from ppl import handlers
from ppl.blame import _primitives


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


def negative_scale() -> None:
    ppl.sample("fine", dist.Normal(0.0, 1.0))
    ppl.sample("theta", dist.Normal(torch.zeros(2), torch.tensor([1.0, -2.0])))


def mismatched() -> None:
    with ppl.plate("data", 3):
        ppl.observe(
            "y",
            dist.Normal(
                torch.zeros(2),
                torch.ones(3),
            ).to_event(1),
            torch.zeros(3),
        )


def in_a_loop() -> None:
    for i in range(2):
        ppl.sample(f"x_{i}", dist.Normal(0.0, 1.0 - 2 * i))


def in_a_function() -> None:
    def spread() -> dist.Distribution:
        return dist.Normal(0.0, -1.0)

    ppl.sample("z", spread())


def nested() -> None:
    ppl.sample("outer", dist.Normal(ppl.sample("inner", dist.Normal(0.0, -1.0)), 1.0))


@pytest.mark.parametrize(
    ("model", "site", "says"),
    [
        (
            negative_scale,
            '"theta"',
            "Normal: `scale` must be positive; 1 of 2 entries is not (first: -2 at [1], float32).",
        ),
        (mismatched, '"y"', "Normal: batch shapes do not broadcast: loc (2,), scale (3,)."),
        (in_a_loop, "f'x_{i}'", "Normal: `scale` must be positive; got -1, float32."),
        (in_a_function, '"z"', "Normal: `scale` must be positive; got -1, float32."),
        (nested, '"inner"', "Normal: `scale` must be positive; got -1, float32."),
    ],
)
def test_the_site_is_named(model, site, says) -> None:
    with pytest.raises(ValueError) as caught:
        handlers.trace(model).get_trace()
    assert str(caught.value).startswith(says)
    assert f"while building the distribution of site {site} (test_blame.py, line " in notes(caught.value)


def test_the_step_of_a_fit_names_site_and_role() -> None:
    def guide() -> None:
        ppl.sample("theta", dist.Normal(0.0, ppl.param("scale", -1.0)))

    with pytest.raises(ValueError) as caught:
        SVI(negative_scale, guide, Adam(lr=0.1), seed=0).step()
    assert 'site "theta"' in notes(caught.value)
    assert "in the guide" in notes(caught.value)


def test_an_error_of_the_site_itself_is_annotated_once() -> None:
    def model() -> None:
        ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match='site "x": the name is already taken') as caught:
        handlers.trace(model).get_trace()
    assert notes(caught.value).count("while ") == 1


def test_an_error_elsewhere_gets_no_site() -> None:
    def model() -> None:
        ppl.sample("x", dist.Normal(0.0, 1.0))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        handlers.trace(model).get_trace()
    assert "while building" not in notes(caught.value)


def test_a_file_that_cannot_be_parsed_leaves_the_error_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(source: str) -> None:
        raise SystemError("two threads parsed at once")

    monkeypatch.setattr("ppl.blame.ast.parse", fails)
    _primitives.cache_clear()
    with pytest.raises(ValueError, match="`scale` must be positive") as caught:
        handlers.trace(negative_scale).get_trace()
    _primitives.cache_clear()
    assert "while building" not in notes(caught.value)

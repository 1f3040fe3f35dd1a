"""The library in one page against the real one: the same programs, the same draws, the same gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import inference
import ppl
from examples import minippl
from ppl import ParamStore, handlers

LIBRARIES = {"mini": (minippl, minippl), "real": (ppl, handlers)}


@pytest.fixture(autouse=True)
def _own_parameters() -> Iterator[None]:
    minippl.PARAMS.clear()
    with ParamStore():
        yield
    minippl.PARAMS.clear()


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], Any]], list[Any]]:
    """Runs something with each library, its programs being written with the primitives of that library."""

    def run(what: Callable[[Any], Any]) -> list[Any]:
        found = []
        for primitives, of_library in LIBRARIES.values():
            with monkeypatch.context() as patch:
                patch.setattr(minippl, "sample", primitives.sample)
                patch.setattr(minippl, "param", primitives.param)
                torch.manual_seed(5)
                found.append(what(of_library))
        return found

    return run


def rows(tr: Any) -> list[tuple[Any, ...]]:
    of = [(site["name"], site["type"], site["value"]) for site in tr.values()]
    return [(name, kind, value.tolist()) for name, kind, value in of]


def test_it_fits_a_page() -> None:
    assert len(Path(minippl.__file__).read_text().splitlines()) <= 200


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "trace": lambda h: minippl.guide,
    "replay": lambda h: h.replay(minippl.model, trace=h.trace(minippl.guide).get_trace()),
    "condition": lambda h: h.condition(minippl.model, data={"mu": torch.tensor(0.5)}),
    "block": lambda h: h.block(minippl.model),
    "nested": lambda h: h.replay(
        h.condition(minippl.model, data={"coin": torch.tensor(1.0)}), trace=h.trace(minippl.guide).get_trace()
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_handlers_agree(name: str, both: Any) -> None:
    mini, real = both(lambda h: rows(h.trace(WRAPPED[name](h)).get_trace()))
    assert mini == real
    assert not minippl.STACK


def test_the_bound_and_its_gradient_agree(both: Any) -> None:
    elbo = inference.Trace_ELBO()

    def step(h: Any) -> tuple[float, dict[str, float]]:
        mini = h is minippl
        loss = (minippl.negative_elbo if mini else elbo.differentiable_loss)(minippl.model, minippl.guide)
        loss.backward()
        leaves = minippl.PARAMS if mini else ppl.get_param_store().leaves
        return loss.item(), {name: leaf.grad.item() for name, leaf in leaves.items()}

    (loss, gradients), (real_loss, real_gradients) = both(step)
    assert loss == pytest.approx(real_loss, rel=1e-5)
    assert gradients == pytest.approx(real_gradients, rel=1e-4)


def test_the_stack_is_restored_after_an_error() -> None:
    def fails() -> None:
        with minippl.block():
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        minippl.trace(fails).get_trace()
    assert not minippl.STACK


def test_it_finds_the_exact_posterior(capsys: pytest.CaptureFixture[str]) -> None:
    assert minippl.main() == 0
    assert "exact   1.297" in capsys.readouterr().out

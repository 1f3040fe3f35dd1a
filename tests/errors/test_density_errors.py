"""Every deliberate error of `ppl.log_density` says where, what was expected, what it got and what to try."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ppl
import ppl_dist as dist
from ppl import handlers, log_density, sample

from .reading import advice, fails, model

VALUES = {"mu": torch.tensor(0.1), "tau": torch.tensor(1.0), "theta": torch.zeros(3)}
HOW = ["__call__", "unconstrained", "constrain"]


@pytest.mark.parametrize("how", HOW)
def test_a_latent_site_without_a_value(how: str) -> None:
    values = {name: value for name, value in VALUES.items() if name != "tau"}
    function = getattr(log_density(model), how)
    where = 'log_density: no value for the latent site "tau". Values: mu, theta.'
    message = fails(ValueError, lambda: function(values), where, 'Try adding "tau", or handlers.condition')
    assert 'while at site "tau" (sample, Gamma)' in message
    assert function(VALUES) is not None
    text = advice(message, r", or (handlers.+)\.$").replace("...", "torch.tensor(1.0)")
    conditioned = eval(text, {"handlers": handlers, "model": model, "torch": torch})
    getattr(log_density(conditioned), how)(values)


@pytest.mark.parametrize("how", HOW)
def test_a_misspelt_name(how: str) -> None:
    """Whether the right name is there too, or not."""
    function = getattr(log_density(model), how)
    renamed = {"mu": VALUES["mu"], "taau": VALUES["tau"], "theta": VALUES["theta"]}
    fails(ValueError, lambda: function(renamed), 'no value for the latent site "tau"; did you mean "taau"?')
    fails(
        ValueError,
        lambda: function({**VALUES, "thetaa": torch.zeros(3)}),
        'log_density: no latent site or parameter "thetaa" in the model; did you mean "theta"?',
        "Sites: mu, tau, theta.",
    )


def test_an_observed_site_takes_no_value() -> None:
    values = {**VALUES, "obs": torch.zeros(3)}
    with pytest.raises(ValueError, match='log_density: no latent site or parameter "obs" in the model') as info:
        log_density(model)(values)
    assert "Sites: mu, tau, theta." in str(info.value)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)], ids=str)
@pytest.mark.parametrize("how", HOW)
def test_a_value_of_another_shape(how: str, shape: tuple[int, ...]) -> None:
    """It would be broadcast against the plate, or count several times."""
    function = getattr(log_density(model), how)
    where = f'log_density: site "theta" needs a value of shape (3,), got {shape}.'
    message = fails(ValueError, lambda: function({**VALUES, "theta": torch.zeros(shape)}), where, "torch.func.vmap")
    if shape in ((), (1,)):
        better = eval(advice(message, r"Try (.+?), or"), {"value": torch.zeros(shape)})
        assert function({**VALUES, "theta": better}) is not None


def test_a_point_of_a_simplex_has_fewer_coordinates_on_the_line() -> None:
    potential = log_density(lambda: sample("p", dist.Dirichlet(torch.ones(3))))
    where = 'site "p" needs a value of shape (2,), got (3,).'
    fails(ValueError, lambda: potential.unconstrained({"p": torch.zeros(3)}), where)
    potential.unconstrained({"p": torch.zeros(2)})


def test_a_discrete_site_has_no_place_on_the_line() -> None:
    def coin() -> None:
        sample("k", dist.Bernoulli(0.3))

    potential = log_density(coin)
    for function in (potential.unconstrained, potential.unconstrain):
        message = fails(
            NotImplementedError,
            lambda function=function: function({"k": torch.tensor(1.0)}),
            "biject_to has no entry for",
            "real numbers do not map onto a discrete set.",
            "Try a continuous family, or a value that is observed.",
        )
        assert 'site "k" (sample, Bernoulli)' in message or function == potential.unconstrain
    observed = handlers.condition(coin, data={"k": torch.tensor(1.0)})
    assert log_density(observed).unconstrained({}).item() == pytest.approx(-1.2039728)


def test_an_enumerated_site_is_not_summed_over() -> None:
    """Its density would be added up over all values, which is no density of anything."""

    def coin() -> None:
        sample("k", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})

    potential = log_density(handlers.enum(coin, first_available_dim=-1))
    fails(ValueError, lambda: potential({}), 'no value for the latent site "k"')
    assert potential({"k": torch.tensor(1.0)}).item() == pytest.approx(-1.2039728)


@pytest.mark.parametrize("values", [0.5, None, torch.zeros(2)], ids=["number", "none", "tensor"])
def test_values_that_are_no_mapping(values: Any) -> None:
    potential = log_density(lambda: sample("x", dist.Normal(0.0, 1.0)))
    where = "log_density: expected values as a dictionary by name, got"
    message = fails(TypeError, lambda: potential(values), where)
    names = {"log_density": log_density, "model": potential.model}
    assert eval(advice(message), names).item() == pytest.approx(-1.0439385)


def test_a_model_that_is_none() -> None:
    message = fails(TypeError, lambda: log_density(3), "log_density: model must be a function, got int.")  # type: ignore[arg-type]
    assert advice(message) == "log_density(model, ...)"


def test_a_value_outside_the_support() -> None:
    potential = log_density(model)
    outside = {**VALUES, "tau": torch.tensor(-1.0)}
    with ppl.validation_enabled(True), pytest.raises(ValueError) as info:
        potential(outside)
    assert any('site "tau"' in note or 'site "theta"' in note for note in info.value.__notes__)
    with ppl.validation_enabled(False):
        assert not potential(outside).isfinite()

"""First and second derivatives of special functions, and their passage through torch's transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_dist import special
from ppl_dist.special import binomial, logistic, student, von_mises

F64 = torch.float64


def unit(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (0.05 + 0.9 * torch.rand(shape, dtype=F64, generator=generator)).requires_grad_()


def wide(low: float, high: float, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return (low + (high - low) * torch.rand(shape, dtype=F64, generator=generator)).requires_grad_()


def pair(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tensors


SMOOTH: dict[str, tuple[Tensor, ...]] = {
    "ndtr": pair(wide(-4, 4, 6)),
    "log_ndtr": pair(wide(-9, 4, 6)),
    "ndtri": pair(unit(6)),
    "ndtri_exp": pair(wide(-20, -0.01, 6)),
    "log1mexp": pair(wide(-3, -0.01, 6)),
    "logsubexp": pair(wide(1, 3, 4), wide(-3, 0.5, 4)),
    "log1pmx": pair(wide(-0.5, 0.9, 6)),
    "xlogy": pair(wide(0, 2, 3), wide(0.1, 3, 3)),
    "xlog1py": pair(wide(0, 2, 3), wide(-0.5, 3, 3)),
    "deviance": pair(wide(1, 9, 4), wide(2, 7, 4)),
    "stirling_error": pair(wide(0.5, 15, 6)),
    "log_factorial_excess": pair(wide(0.5, 15, 6)),
    "lgamma1p": pair(wide(0.01, 0.3, 6)),
    "gammainc": pair(wide(0.2, 6, 5), wide(0.1, 7, 5)),
    "gammaincc": pair(wide(0.2, 6, 5), wide(0.1, 7, 5)),
    "log_gammainc": pair(wide(0.2, 6, 5), wide(0.1, 7, 5)),
    "log_gammaincc": pair(wide(0.2, 6, 5), wide(0.1, 7, 5)),
    "gammaincinv": pair(wide(0.6, 6, 5), unit(5)),
    "gammainccinv": pair(wide(0.6, 6, 5), unit(5)),
    "beta_log_density": pair(wide(0.2, 15, 5), wide(0.3, 9, 5), unit(5)),
    "f_log_density": pair(wide(0.2, 15, 5), wide(0.3, 9, 5), wide(0.2, 4, 5)),
    "betainc": pair(wide(0.2, 6, 5), wide(0.3, 9, 5), unit(5)),
    "betaincc": pair(wide(0.2, 6, 5), wide(0.3, 9, 5), unit(5)),
    "log_betainc": pair(wide(0.2, 6, 5), wide(0.3, 9, 5), unit(5)),
    "log_betaincc": pair(wide(0.2, 6, 5), wide(0.3, 9, 5), unit(5)),
    "betaincinv": pair(wide(0.6, 6, 4), wide(0.7, 9, 4), unit(4)),
    "betainccinv": pair(wide(0.6, 6, 4), wide(0.7, 9, 4), unit(4)),
    "log_beta": pair(wide(0.2, 15, 4), wide(0.3, 9, 4)),
    "multi_log_beta": pair(wide(0.2, 15, 2, 3)),
    "betaincinv_odds": pair(wide(0.6, 6, 4), wide(0.7, 9, 4), unit(4)),
    "binet_excess": pair(wide(0.5, 15, 4), wide(0.7, 14, 4), wide(-0.1, 0.3, 4)),
    "digamma_error": pair(wide(0.5, 15, 6)),
    "expm1mx": pair(wide(-1, 1, 6)),
    "exprel": pair(wide(-0.3, 0.4, 6)),
    "lgamma_excess": pair(wide(0.5, 15, 4), wide(0.7, 14, 4)),
    "lgamma_rise": pair(wide(0.5, 15, 4), wide(0.1, 2, 4)),
    "log1prel": pair(wide(-0.3, 0.4, 6)),
    "log_excess": pair(wide(0.5, 5, 4), wide(0.7, 4, 4)),
    "log_ndtr_between": pair(wide(-2, 3, 4), wide(3.1, 4, 4), wide(0.5, 3, 4)),
    "log_quotient": pair(wide(0.5, 5, 4), wide(0.7, 4, 4)),
    "log_stdtr": pair(wide(0.6, 20, 5), wide(-4, 4, 5)),
    "stdtr": pair(wide(0.6, 20, 5), wide(-4, 4, 5)),
    "stdtrit": pair(wide(0.6, 20, 5), unit(5)),
    "trigamma": pair(wide(0.5, 15, 6)),
}


def with_rest(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of chances p, 1 - p and their logs, as one of p alone."""
    return lambda k, m, p: function(k, m, p, 1 - p, p.log(), (-p).log1p())


# those that stand beside the public ones, with points on both sides of where their formulas change
INNER: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "log_binomial": (with_rest(binomial.log_binomial), pair(wide(1, 40, 6), wide(0.5, 60, 6), unit(6))),
    "log_count_share": (
        lambda a, k: binomial.log_count_share(a, k, torch.full_like(a, 30.0), torch.full_like(k, 50.0)),
        pair(wide(0.5, 40, 6), wide(1, 50, 6)),
    ),
    "poisson_surprise": (
        lambda k, n: binomial.poisson_surprise(k, n, torch.full_like(k, 0.4), torch.full_like(k, 0.4).log(), k - 0.4 * n),
        pair(wide(1, 40, 6), wide(2, 90, 6)),
    ),
    "half_step": (student.half_step, pair(wide(0.5, 20, 6))),
    "half_step_slope": (student.half_step_slope, pair(wide(0.5, 20, 6))),
    "log_i0e": (von_mises.log_i0e, pair(wide(0.5, 200, 6))),
    "length_deficit": (von_mises.length_deficit, pair(wide(0.5, 200, 6))),
    "expit": (logistic.expit, pair(wide(-30, 30, 6))),
    "softplus_mean": (logistic.softplus_mean, pair(wide(-4, 4, 4), wide(0.3, 3, 4))),
}


@pytest.mark.parametrize("name", INNER)
def test_first_and_second_derivatives_of_inner_functions(name: str) -> None:
    function, arguments = INNER[name]
    assert gradcheck(function, arguments)
    assert gradgradcheck(function, arguments)


def function_of(name: str) -> Callable[..., Tensor]:
    """The function; of a pair of results, the one that is not a step on the way."""
    found: Callable[..., Any] = getattr(special, name)
    return (lambda *values: found(*values)[1]) if name == "log_ndtr_between" else found


def test_every_public_function_is_in_the_derivative_table() -> None:
    assert set(SMOOTH) == set(special.__all__)


@pytest.mark.parametrize("name", SMOOTH)
def test_first_and_second_derivatives(name: str) -> None:
    function = function_of(name)
    assert gradcheck(function, SMOOTH[name])
    assert gradgradcheck(function, SMOOTH[name])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, on first forward mode
@pytest.mark.parametrize("name", SMOOTH)
def test_vmap_equals_the_batch_and_hessian_goes_through(name: str) -> None:
    function = function_of(name)
    arguments = tuple(v.detach() for v in SMOOTH[name])
    torch.testing.assert_close(torch.func.vmap(function)(*arguments), function(*arguments), rtol=1e-12, atol=1e-14)

    def total(*values: Tensor) -> Tensor:
        result: Tensor = function(*values)
        return result.sum()

    hessian = torch.func.hessian(total)(*arguments)
    inputs = arguments[0] if len(arguments) == 1 else arguments
    backward = torch.autograd.functional.hessian(total, inputs)  # type: ignore[no-untyped-call]  # torch's gap
    torch.testing.assert_close(hessian, backward if len(arguments) == 1 else backward[0][0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_make_fx_traces_value_and_gradient(name: str) -> None:
    function = function_of(name)
    arguments = tuple(v.detach() for v in SMOOTH[name])

    def value_and_gradient(*values: Tensor) -> tuple[Tensor, ...]:
        leaves = [v.detach().requires_grad_() for v in values]
        value = function(*leaves)
        return value.detach(), *torch.autograd.grad(value.sum(), leaves)

    traced = make_fx(value_and_gradient)(*arguments)
    others = tuple(0.9 * v for v in arguments)
    torch.testing.assert_close(traced(*others), value_and_gradient(*others))

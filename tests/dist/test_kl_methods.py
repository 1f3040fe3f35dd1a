"""`kl_divergence(..., method=...)`: Monte Carlo with its standard error, and quadrature with its bound."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import ppl_dist as dist
from ppl_dist import Distribution, KLEstimate, kl_divergence
from ppl_dist.kl import estimates
from ppl_dist.kl.registry import _infinite, _rules
from tests.dist.test_kl import EXAMPLES, NO_VARIANCE, double
from tests.support.statistics import STANDARD_ERRORS

NUMBERS = [
    pytest.param(p, q, id=f"{p.__name__}-{q.__name__}")
    for (p, q), rule in _rules.items()
    if p in EXAMPLES and q in EXAMPLES and rule is not _infinite
    if EXAMPLES[p][0].event_dim == 0 and dist.Delta not in (p, q)
]
SMOOTH = 1e-10  # of the closed form, where neither side has a kink
# the mass lies at both ends, so that the quantile function all but jumps between them: only the error is asked for
JUMPS = {dist.VonMises, dist.RelaxedBernoulli}


@pytest.mark.parametrize("p, q", NUMBERS)
def test_quadrature_gives_every_closed_form(p: type[Distribution], q: type[Distribution]) -> None:
    for left in EXAMPLES[p]:
        for right in EXAMPLES[q]:
            closed = kl_divergence(left, right)
            value, error = kl_divergence(left, right, method="quadrature")
            assert value.shape == error.shape == closed.shape
            diverges = closed.isinf() & value.isfinite()
            assert (error[diverges] > 0.5 * value[diverges]).all()
            gap = torch.where(closed == value, 0.0, (closed - value).abs())[~diverges]
            assert (gap <= error[~diverges]).all()
            if dist.Laplace not in (p, q) and p not in JUMPS and (p, q) not in NO_VARIANCE:
                assert (gap <= SMOOTH * (1 + closed[~diverges].abs())).all()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


MONTE_CARLO = [
    (dist.Normal(*double(0.3, 1.2)), dist.Normal(*double([-0.5, 2.0], [0.7, 3.0]))),
    (dist.Poisson(*double([2.5, 0.3])), dist.Poisson(*double([[4.0], [1.0]]))),
    (dist.Dirichlet(*double([2.0, 1.5, 3.0])), dist.Dirichlet(*double([[1.0, 2.0, 3.0], [2.0] * 3]))),
    (dist.Normal(*double([0.0, 1.0], 1.0)).to_event(1), dist.Normal(*double([0.5, 0.5], 2.0)).to_event(1)),
]


@pytest.mark.parametrize("p, q", MONTE_CARLO)
def test_monte_carlo_within_its_standard_error(p: Any, q: Any) -> None:
    estimate = kl_divergence(p, q, method="monte_carlo", num_samples=20_000, generator=seeded())
    closed = kl_divergence(p, q)
    assert isinstance(estimate, KLEstimate)
    assert estimate.value.shape == estimate.error.shape == closed.shape
    assert ((estimate.value - closed).abs() <= STANDARD_ERRORS * estimate.error).all()
    assert (estimate.error > 0).all()
    assert (estimate.error < 0.05 * (1 + closed)).all()


def gradients(build: Any, given: list[Tensor], **kwargs: Any) -> Tensor:
    value = kl_divergence(*build(*given), **kwargs)
    total = value.value if isinstance(value, KLEstimate) else value
    return torch.stack(torch.autograd.grad(total.sum(), given))


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda a, b: (dist.Gamma(a, b), dist.Gamma(b, a)), id="pathwise"),
        pytest.param(lambda a, b: (dist.Poisson(a), dist.Poisson(b)), id="score function"),
    ],
)
def test_gradients_are_unbiased(build: Any) -> None:
    given = [v.requires_grad_() for v in double(2.5, 1.5)]
    exact = gradients(build, given)
    kwargs = {"method": "monte_carlo", "num_samples": 500, "generator": seeded()}
    each = torch.stack([gradients(build, given, **kwargs) for _ in range(200)])
    error = each.std(0) / math.sqrt(len(each))
    assert ((each.mean(0) - exact).abs() <= STANDARD_ERRORS * error).all()
    if build is not None and not isinstance(build(*given)[0], dist.Poisson):
        torch.testing.assert_close(gradients(build, given, method="quadrature"), exact, rtol=1e-8, atol=1e-10)


def test_small_pieces_give_the_mean_and_error_of_one_large_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = dist.Normal(*double(0.0, [1.0, 2.0])), dist.Laplace(*double(0.0, 1.0))
    monkeypatch.setattr(estimates, "CHUNK", 14)
    pieces = kl_divergence(p, q, method="monte_carlo", num_samples=100, generator=seeded())
    generator = seeded()
    draws = [p.sample((n,), generator=generator) for n in [7] * 14 + [2]]
    ratio = p.log_prob(torch.cat(draws)) - q.log_prob(torch.cat(draws))
    torch.testing.assert_close(pieces.value, ratio.mean(0))
    torch.testing.assert_close(pieces.error, ratio.std(0) / 10)


def test_a_draw_off_the_right_support_makes_value_and_error_infinite() -> None:
    p, q = dist.Normal(0.0, 1.0), dist.Exponential(1.0)
    for method in ("monte_carlo", "quadrature"):
        value, error = kl_divergence(p, q, method=method)  # type: ignore[call-overload]  # mypy joins both literals to str
        assert value == error == math.inf


def test_quadrature_sums_counts_of_several_lengths() -> None:
    p, q = dist.DiscreteUniform(*double([0.0, 1.0], [5.0, 3.0])), dist.Poisson(*double(2.0))
    value, error = kl_divergence(p, q, method="quadrature")
    torch.testing.assert_close(value, kl_divergence(p, q))
    assert (error < 1e-12).all()


def test_errors_name_the_other_method() -> None:
    p, q = dist.Dirichlet(torch.ones(2)), dist.Dirichlet(torch.ones(2))
    with pytest.raises(NotImplementedError, match=r"quadrature is for distributions of single numbers.*monte_carlo"):
        kl_divergence(p, q, method="quadrature")
    with pytest.raises(ValueError, match="spread over .* values, too many to add up"):
        kl_divergence(dist.Geometric(torch.tensor(1e-9)), dist.Poisson(1.0), method="quadrature")
    with pytest.raises(ValueError, match="num_samples must be at least 2, got 1"):
        kl_divergence(p, q, method="monte_carlo", num_samples=1)
    with pytest.raises(ValueError, match='method must be None, "closed_form", "monte_carlo" or "quadrature", got'):
        kl_divergence(p, q, method="exact")  # type: ignore[call-overload]  # refused at run time too


class Bare(Distribution):
    """A user's class with a density and nothing else."""

    support = dist.constraints.real

    def log_prob(self, value: Tensor) -> Tensor:
        return dist.Normal(0.0, 1.0).log_prob(value)

    def rsample(self, sample_shape: Any = (), **kwargs: Any) -> Tensor:
        return torch.randn(sample_shape)


def test_a_class_without_quantiles_says_so_and_has_the_other_method() -> None:
    p, q = Bare(), dist.Logistic(0.0, 1.0)
    with pytest.raises(NotImplementedError) as info:
        kl_divergence(p, q, method="quadrature")
    assert "monte_carlo" in "".join(info.value.__notes__)
    value, error = kl_divergence(p, q, method="monte_carlo")
    exact = kl_divergence(dist.Normal(0.0, 1.0), q, method="quadrature").value
    assert (value - exact).abs() <= STANDARD_ERRORS * error

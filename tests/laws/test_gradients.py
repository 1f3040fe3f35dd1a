"""Gradients: of the log density by finite differences, of draws against the distribution function or the moments."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppl_dist import Distribution, biject_to, transform_to
from ppl_dist.constraints import Constraint, Symmetric, is_dependent, real
from tests.support.families import Case, Row, continuous, each, on_line, smooth
from tests.support.statistics import assert_mean


def constraint_of(row: Row, case: Case, name: str) -> Constraint:
    """The declared constraint; a parameter whose set depends on the others is nudged as it stands."""
    declared = row.constraint(case, name)
    return real if is_dependent(declared) else declared


def free(row: Row, case: Case) -> tuple[list[str], list[Tensor]]:
    """The parameters in unconstrained coordinates, where every direction is allowed; counts stay as they are."""
    names = [name for name in case.params if not constraint_of(row, case, name).is_discrete]
    values = case.tensors()
    return names, [transform_to(constraint_of(row, case, n)).inv(values[n]).detach().requires_grad_() for n in names]


def build(row: Row, case: Case, names: list[str], coordinates: tuple[Tensor, ...]) -> Distribution:
    params = {n: transform_to(constraint_of(row, case, n))(u) for n, u in zip(names, coordinates, strict=True)}
    return row.new(**{**case.tensors(), **params}, **case.static, validate_args=False)


def _moves(row: Row, case: Case) -> bool:
    return row.kind != "point" and smooth(row, case)


@each("log_prob gradient in parameters", where=_moves)
def test_log_prob_gradient_in_the_parameters(row: Row, case: Case) -> None:
    names, coordinates = free(row, case)
    x = row.points(case)[2:5]
    assert torch.autograd.gradcheck(
        lambda *u: build(row, case, names, u).log_prob(x), coordinates, rtol=1e-4, atol=1e-5
    )


@each("log_prob gradient in value", where=continuous)
def test_log_prob_gradient_in_the_value(row: Row, case: Case) -> None:
    d = row.make(case)
    to_support = biject_to(d.support)
    u = to_support.inv(row.points(case)[2:5]).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda u: d.log_prob(to_support(u)), [u], rtol=1e-4, atol=1e-5)


@each("log_prob second derivative", where=lambda row, case: _moves(row, case) and case is row.cases[0])
def test_log_prob_has_second_derivatives(row: Row, case: Case) -> None:
    names, coordinates = free(row, case)
    x = row.points(case)[2:4]
    assert torch.autograd.gradgradcheck(
        lambda *u: build(row, case, names, u).log_prob(x), coordinates, rtol=1e-3, atol=1e-4
    )


def reparametrised(row: Row, case: Case) -> bool:
    return continuous(row, case) and row.pathwise(case)


@each("rsample: implicit", where=lambda row, case: row.one_noise and reparametrised(row, case) and on_line(row, case))
def test_pathwise_gradient_is_the_implicit_one(row: Row, case: Case) -> None:
    """Moving a parameter moves a draw along its quantile: dx/dt = -(dF/dt) / f, by central differences of F."""
    n = 40
    params = {name: value.expand((n, *row.make(case).batch_shape)) for name, value in case.tensors().items()}
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    x = row.new(**leaves, validate_args=False).rsample()
    grads = dict(zip(leaves, torch.autograd.grad(x.sum(), list(leaves.values())), strict=True))
    x = x.detach().numpy()
    given = {name: value.numpy() for name, value in params.items()}
    f = np.exp(row.reference(**given).law.logpdf(x))
    use = smallest_tail(row.reference(**given).law, x) > 1e-3
    for name, value in given.items():
        h = 1e-5 * np.maximum(1e-3, np.abs(value))
        up, down = ({**given, name: value + s * h} for s in (1, -1))
        slope = (row.reference(**up).law.cdf(x) - row.reference(**down).law.cdf(x)) / (2 * h)
        allowed = 2e-3 * np.abs(slope / f) + 1e-9 / (h * f)  # torch's own gamma derivative is good to about 1e-3
        assert (np.abs(grads[name].numpy() + slope / f) <= allowed + 1e-9)[use].all()


def smallest_tail(law: object, x: np.ndarray) -> np.ndarray:
    return np.minimum(law.cdf(x), law.sf(x))


@each(
    "rsample: moments",
    where=lambda row, case: reparametrised(row, case) and row.has("variance") and "heavy" not in case.traits,
)
def test_pathwise_gradient_of_an_expectation(row: Row, case: Case) -> None:
    """E[d(w . (x + x^2))/dt], one gradient per draw, against the gradient of the two moments themselves."""
    n = 10_000
    leaves = {name: value.expand((n, *value.shape)).clone().requires_grad_() for name, value in case.tensors().items()}
    batch = row.make(case).batch_shape
    padded = {}
    for name, value in leaves.items():  # so that n stays the leading dimension of the batch
        missing = len(batch) - (value.dim() - 1 - row.event_dims(case, name))
        padded[name] = value.reshape((n,) + (1,) * missing + value.shape[1:])
    d = row.new(**padded, **case.static, validate_args=False)
    x = d.rsample()
    weights = torch.arange(1.0, 1 + x[0].numel(), dtype=x.dtype).reshape(x.shape[1:]).cos()
    got = torch.autograd.grad((weights * (x + x.square())).sum(), list(leaves.values()), allow_unused=True)
    plain = {name: value.requires_grad_() for name, value in case.tensors().items()}
    same = row.new(**plain, **case.static)
    mean = same.mean + same.mean.square() + same.variance
    expected = torch.autograd.grad((weights * mean).sum(), list(plain.values()), allow_unused=True)
    for name, per_draw, exact in zip(plain, got, expected, strict=True):
        given = torch.zeros_like(leaves[name]) if per_draw is None else per_draw
        wanted = torch.zeros_like(plain[name]) if exact is None else exact
        if isinstance(row.constraint(case, name), Symmetric):  # a symmetric matrix has no separate entries
            given, wanted = given + given.mT, wanted + wanted.mT
        assert_mean(given.numpy(), wanted.numpy(), slack=1e-9)


@each("rsample: graph", where=lambda row, case: reparametrised(row, case) and case is row.cases[0])
def test_only_rsample_carries_a_graph(row: Row, case: Case) -> None:
    leaves = {name: value.requires_grad_() for name, value in case.tensors().items()}
    d = row.new(**leaves, **case.static)
    assert d.rsample().requires_grad
    assert not d.sample().requires_grad
    assert d().requires_grad


@each("draw and density together: gradient", where=lambda row, case: row.pathwise(case) and _moves(row, case))
def test_density_computed_with_the_draw_has_the_total_derivative(row: Row, case: Case) -> None:
    """What cancels in value must cancel in gradient: a guide's density is differentiated this way at every step."""
    names, coordinates = free(row, case)

    def gradients(*, together: bool) -> tuple[Tensor, ...]:
        d, generator = build(row, case, names, tuple(coordinates)), torch.Generator().manual_seed(5)
        if together:
            log_prob = d.rsample_and_log_prob((20,), generator=generator)[1]
        else:
            log_prob = d.log_prob(d.rsample((20,), generator=generator))
        return torch.autograd.grad(log_prob.sum(), coordinates, materialize_grads=True)

    for a, b in zip(gradients(together=True), gradients(together=False), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)

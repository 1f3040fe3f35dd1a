"""Laws on the sphere: their mass by going round it, their slopes along it, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

import ppl_dist as dist
from tests.errors.reading import advice


def double(*values: object) -> torch.Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)


@pytest.mark.parametrize("m", [[0.0, 0.0], [1.0, -0.5], [3.0, 4.0], [0.0, -20.0]], ids=str)
def test_mass_on_the_circle(m: list[float]) -> None:
    """Equal steps round the circle are exact for a smooth periodic density."""
    angle = torch.arange(400, dtype=torch.float64) * (2 * math.pi / 400)
    log_prob = dist.ProjectedNormal(double(m)).log_prob(torch.stack([angle.cos(), angle.sin()], -1))
    torch.testing.assert_close(log_prob.exp().sum() * (2 * math.pi / 400), double(1.0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("m", [[0.0, 0.0, 0.0], [1.0, -0.5, 2.0], [4.0, 0.0, -3.0]], ids=str)
def test_mass_on_the_sphere(m: list[float]) -> None:
    """By Gauss and Legendre from pole to pole (height is area, as Archimedes knew) and equal steps round."""
    height, weights = (torch.as_tensor(v) for v in np.polynomial.legendre.leggauss(80))
    angle = torch.arange(160, dtype=torch.float64) * (2 * math.pi / 160)
    width = (1 - height**2).sqrt()[:, None]
    x = torch.stack([width * angle.cos(), width * angle.sin(), height[:, None].expand(80, 160)], -1)
    mass = (dist.ProjectedNormal(double(m)).log_prob(x).exp().sum(-1) * weights).sum() * (2 * math.pi / 160)
    torch.testing.assert_close(mass, double(1.0), rtol=1e-11, atol=0)


def test_on_the_line_of_the_mean_the_density_is_known() -> None:
    """At t = m . x in two dimensions it is (1 + t Phi(t) / phi(t)) exp(-|m|^2 / 2) / 2 pi; 50 digits at t = -40."""
    m, t = double(2.0, 1.0), 2.0
    x = double(1.0, 0.0)
    expected = math.log1p(t * stats.norm.cdf(t) / stats.norm.pdf(t)) - 2.5 - math.log(2 * math.pi)
    torch.testing.assert_close(dist.ProjectedNormal(m).log_prob(x), double(expected), rtol=1e-13, atol=0)
    # there t Phi/phi is -0.99938, and no digit is left of it at t = -1e8
    behind = dist.ProjectedNormal(double(-40.0, 0.0)).log_prob(x)
    torch.testing.assert_close(behind, double(-800 - math.log(2 * math.pi) - 7.37962982341528750), rtol=1e-14, atol=0)
    far = dist.ProjectedNormal(double(-1e8, 0.0)).log_prob(x) + 0.5e16
    assert abs(far + math.log(2 * math.pi) + 2 * math.log(1e8)) < 2  # one spacing of 5e15 is 1


def test_the_density_moves_along_the_sphere_as_it_should() -> None:
    angle = double([0.1, 2.0, -3.0]).requires_grad_()
    d = dist.ProjectedNormal(double(1.5, -2.0))
    assert torch.autograd.gradcheck(lambda a: d.log_prob(torch.stack([a.cos(), a.sin()], -1)), [angle])
    assert torch.autograd.gradgradcheck(lambda a: d.log_prob(torch.stack([a.cos(), a.sin()], -1)), [angle])


def test_the_uniform_law_has_no_mode() -> None:
    assert dist.ProjectedNormal([0.0, 0.0]).mode.isnan().all()
    torch.testing.assert_close(dist.ProjectedNormal([3.0, 4.0]).mode, torch.tensor([0.6, 0.8]))


def test_one_number_has_no_direction() -> None:
    with pytest.raises(ValueError, match=r"ProjectedNormal: `concentration` must have at least 2 entries.*\(1,\)") as e:
        dist.ProjectedNormal([1.0])
    eval(f"dist.ProjectedNormal({advice(str(e.value))})")

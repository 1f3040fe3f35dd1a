"""Draws against their laws: 1e6 of each family, over parameters from 1e-3 to 1e6, in both precisions.

Every draw is held against the `cdf` in double precision, which the laws of accuracy hold to 50 digits. About 1400
random comparisons are made, each at the level of `tests.support.statistics`, so that correct samplers raise a false
alarm in this file with probability below 1e-5; moments are held to the 5.96 standard errors that this level is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import ppl_dist as dist
from ppl_dist import Distribution
from tests.support.statistics import STANDARD_ERRORS, assert_follows

N = 1_000_000
FEWER = 10_000  # of a law whose sampler is its quantile function, which other laws hold


def truncated(base: type[Distribution]) -> Callable[..., Distribution]:
    def build(low: Any, high: Any, **params: Any) -> Distribution:
        return dist.Truncated(base(**params, validate_args=False), low, high, validate_args=False)

    build.__name__ = f"Truncated{base.__name__}"
    return build


def mixture(loc: Any, scale: Any, weight: Any, **_: Any) -> Distribution:
    parts = dist.Normal(torch.stack([loc, -loc]), torch.stack([scale, 1 / scale]))
    return dist.MixtureSameFamily(dist.Categorical(probs=torch.stack([weight, 1 - weight])), parts)


TINY, SMALL, LARGE, HUGE = 1e-3, 0.05, 1e3, 1e6
# family: the names of its parameters, and their settings
LINES: dict[Any, tuple[str, list[tuple[float, ...]]]] = {
    dist.Gamma: (
        "concentration rate",
        [(TINY, 1.0), (TINY, TINY), (0.01, LARGE), (0.3, TINY), (1.0, 1.0), (30.0, HUGE), (HUGE, 1.0)],
    ),
    dist.InverseGamma: ("concentration rate", [(TINY, 1.0), (SMALL, HUGE), (0.3, TINY), (3.0, 1.0), (HUGE, HUGE)]),
    dist.Chi2: ("df", [(TINY,), (0.5,), (3.0,), (HUGE,)]),
    dist.Exponential: ("rate", [(TINY,), (1.0,), (HUGE,)]),
    dist.Beta: (
        "concentration1 concentration0",
        [(TINY, TINY), (TINY, LARGE), (LARGE, 0.01), (SMALL, 0.3), (0.5, 2.0), (30.0, 1.0), (HUGE, HUGE), (HUGE, 3.0)],
    ),
    dist.Kumaraswamy: (
        "concentration1 concentration0",
        [(TINY, TINY), (SMALL, LARGE), (LARGE, SMALL), (2.0, 3.0), (HUGE, HUGE)],
    ),
    dist.StudentT: (
        "df loc scale",
        [(TINY, 0.0, 1.0), (SMALL, 1.0, TINY), (0.5, 0.0, 1.0), (3.0, 1.0, 2.0), (LARGE, 0.0, HUGE), (HUGE, 0.0, 1.0)],
    ),
    dist.FisherSnedecor: (
        "df1 df2",
        [(TINY, TINY), (TINY, LARGE), (LARGE, TINY), (SMALL, SMALL), (1.0, 5.0), (HUGE, 3.0), (HUGE, HUGE)],
    ),
    dist.VonMises: (
        "loc concentration",
        [(0.0, TINY), (1.0, 0.5), (3.0, 4.0), (0.0, LARGE), (-3.0, LARGE), (2.0, HUGE)],
    ),
    dist.Normal: ("loc scale", [(0.0, TINY), (1.0, 1.0), (LARGE, 1.0), (0.0, HUGE)]),
    dist.LogNormal: ("loc scale", [(0.0, TINY), (1.0, 1.0), (-3.0, 20.0)]),
    dist.HalfNormal: ("scale", [(TINY,), (HUGE,)]),
    dist.Cauchy: ("loc scale", [(0.0, TINY), (1.0, 1.0), (0.0, HUGE)]),
    dist.HalfCauchy: ("scale", [(TINY,), (HUGE,)]),
    dist.Laplace: ("loc scale", [(0.0, TINY), (1.0, 1.0), (0.0, HUGE)]),
    dist.Logistic: ("loc scale", [(0.0, TINY), (1.0, 1.0), (0.0, HUGE)]),
    dist.Gumbel: ("loc scale", [(0.0, TINY), (1.0, 1.0), (0.0, HUGE)]),
    dist.Weibull: ("scale concentration", [(1.0, TINY), (1.0, SMALL), (HUGE, 1.0), (1.0, 3.0), (TINY, LARGE)]),
    dist.Pareto: ("scale alpha", [(1.0, TINY), (1.0, SMALL), (TINY, 1.0), (HUGE, 3.0), (1.0, HUGE)]),
    dist.GeneralizedPareto: (
        "loc scale concentration",
        [(0.0, 1.0, TINY), (0.0, TINY, 20.0), (0.0, HUGE, -0.5), (1.0, 1.0, -20.0)],
    ),
    dist.ContinuousBernoulli: ("logits", [(-LARGE,), (-TINY,), (0.0,), (3.0,), (30.0,)]),
    dist.RelaxedBernoulli: ("temperature logits", [(0.01, 0.0), (0.5, 3.0), (2.0, -1.0), (LARGE, 0.0)]),
    dist.LogitRelaxedBernoulli: ("temperature logits", [(TINY, 0.0), (2.0, -1.0), (HUGE, 0.0)]),
    dist.Uniform: ("low high", [(0.0, TINY), (-1.0, HUGE)]),
    dist.TruncatedNormal: (
        "loc scale low high",
        [(0.0, 1.0, -1.0, 2.0), (0.0, 1.0, 8.0, 9.0), (0.0, 1.0, -60.0, -50.0), (5.0, 1e-2, 0.0, 1.0)],
    ),
    truncated(dist.Gamma): (
        "low high concentration rate",
        [(1.0, 2.0, TINY, 1.0), (50.0, 90.0, 3.0, 1.0), (1e-9, 1e-3, 3.0, 1.0)],
    ),
    truncated(dist.StudentT): ("low high df loc scale", [(30.0, 1e4, 0.5, 0.0, 1.0), (-90.0, -80.0, 30.0, 0.0, 1.0)]),
    mixture: ("loc scale weight", [(3.0, 1.0, 0.5), (0.0, LARGE, 0.999)]),
}
COUNTS: dict[Any, tuple[str, list[tuple[float, ...]]]] = {
    dist.Poisson: ("rate", [(TINY,), (0.5,), (9.9,), (10.1,), (LARGE,), (HUGE,), (3e7,), (1e9,), (1e15,)]),
    dist.Geometric: ("probs", [(1e-6,), (TINY,), (0.3,), (0.999,)]),
    dist.Binomial: (
        "total_count probs",
        [(10.0, 0.3), (LARGE, TINY), (3e4, 0.3), (HUGE, 0.5), (HUGE, 1e-6), (1e8, 0.3), (1e8, 1 - 2.0**-20), (1e9, 1e-4)],
    ),
    dist.NegativeBinomial: (
        "total_count logits",
        [(TINY, 0.0), (TINY, 7.0), (0.5, 3.0), (3.0, 0.0), (LARGE, 5.0), (HUGE, -6.0), (HUGE, 3.0)],
    ),
    dist.GammaPoisson: ("concentration rate", [(TINY, TINY), (TINY, LARGE), (3.0, 1.0), (HUGE, 1e-2)]),
    dist.BetaBinomial: (
        "concentration1 concentration0 total_count",
        [(TINY, TINY, 100.0), (TINY, LARGE, 1e3), (2.0, 3.0, 10.0), (LARGE, LARGE, 2e3)],
    ),
}


def _settings(table: dict[Any, tuple[str, list[tuple[float, ...]]]]) -> Iterator[Any]:
    for family, (names, rows) in table.items():
        for row in rows:
            for dtype in (torch.float32, torch.float64):
                shown = ", ".join(f"{value:g}" for value in row)
                params = dict(zip(names.split(), row, strict=True))
                yield pytest.param(family, params, dtype, id=f"{family.__name__}({shown})-{str(dtype)[6:]}")


def built(family: Any, params: dict[str, float], dtype: torch.dtype) -> tuple[Any, Any]:
    """A distribution of the dtype, and the one in double precision whose parameters are the same numbers."""
    given = {name: torch.tensor(value, dtype=dtype) for name, value in params.items()}
    return family(**given), family(**{name: value.double() for name, value in given.items()})


def seeded(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def drawn(d: Distribution, request: pytest.FixtureRequest) -> torch.Tensor:
    count = FEWER if isinstance(d, dist.Truncated) else N
    return d.sample((count,), generator=seeded(request.node.name))


def cdf_of(d: Any) -> Callable[[np.ndarray], np.ndarray]:
    """P(X <= x) also off the support."""
    return lambda x: d._cdf(d._into_closure(torch.from_numpy(x))).numpy()


def assert_moments(draws: np.ndarray, exact: Any) -> None:
    """The mean, by the variance of the law, and the variance, by that of the draws.

    Not where there are no such moments, or one draw in ten thousand makes them.
    """
    try:
        mean, variance = float(exact.mean), float(exact.variance)
    except NotImplementedError:
        return
    if not np.isfinite(variance) or exact.support is dist.constraints.circular or variance > (100 * mean) ** 2 > 0:
        return
    draws = draws.astype(np.float64)
    rounding = 2 * float(np.finfo(np.float32).eps) * abs(mean)
    assert abs(draws.mean() - mean) <= STANDARD_ERRORS * np.sqrt(variance / len(draws)) + rounding
    square = (draws - mean) ** 2
    error = STANDARD_ERRORS * square.std() / np.sqrt(len(draws))
    assert abs(square.mean() - variance) <= error + 2 * rounding * np.sqrt(variance) + rounding**2


@pytest.mark.parametrize(("family", "params", "dtype"), list(_settings(LINES)))
def test_draws_on_the_line(family: Any, params: dict[str, float], dtype: torch.dtype, request: Any) -> None:
    d, exact = built(family, params, dtype)
    draws = drawn(d, request)
    assert d.support.check(draws).all()
    assert_follows(draws.numpy(), cdf_of(exact))
    assert_moments(draws.numpy(), exact)


@pytest.mark.parametrize(("family", "params", "dtype"), list(_settings(COUNTS)))
def test_counts(family: Any, params: dict[str, float], dtype: torch.dtype, request: Any) -> None:
    d, exact = built(family, params, dtype)
    draws = drawn(d, request)
    assert d.support.check(draws).all()
    assert_follows(draws.numpy(), cdf_of(exact), whole=True)
    assert_moments(draws.numpy(), exact)


def follows(name: str, joint: torch.Tensor, law: Any, *, whole: bool = False) -> None:
    """One number of each of many joint draws follows `law`, in double precision."""
    assert torch.isfinite(joint).all(), name
    assert_follows(joint.numpy(), cdf_of(law), whole=whole)


def wide(*values: Any) -> list[torch.Tensor]:
    return [torch.as_tensor(value, dtype=torch.float64) for value in values]


DTYPES = [torch.float32, torch.float64]
JOINT = 300_000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("concentration", [[TINY] * 3, [SMALL, 2.0, 30.0], [TINY, HUGE], [HUGE, 2 * HUGE, 1.0]])
def test_coordinates_of_dirichlet_are_beta(concentration: list[float], dtype: torch.dtype, request: Any) -> None:
    a = torch.tensor(concentration, dtype=dtype)
    x = dist.Dirichlet(a).sample((JOINT,), generator=seeded(request.node.name))
    assert dist.constraints.simplex.check(x).all()
    assert (x.amax(-1) > x.amin(-1)).all()
    one, rest = wide(a[0], a[1:].double().sum())
    follows("x_0", x[:, 0], dist.Beta(one, rest))
    if len(a) > 2:
        follows("x_1", x[:, 1], dist.Beta(*wide(a[1], a[0].double() + a[2])))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("total", [10.0, 3e4, 1e7])  # in single precision larger counts are no whole numbers
def test_counts_of_categories_are_binomial(total: float, dtype: torch.dtype, request: Any) -> None:
    probs = torch.tensor([0.2, 0.5, 0.3 - 2.0**-20, 2.0**-20], dtype=dtype)
    x = dist.Multinomial(torch.tensor(total, dtype=dtype), probs).sample((JOINT,), generator=seeded(request.node.name))
    for k in (0, 3):
        share = probs[k].double() / probs.double().sum()
        follows(f"x_{k}", x[:, k], dist.Binomial(*wide(total, share)), whole=True)
    a = torch.tensor([SMALL, 2.0, 30.0], dtype=dtype)
    if total < HUGE:
        x = dist.DirichletMultinomial(a, total).sample((JOINT,), generator=seeded(request.node.name))
        follows("x_0", x[:, 0], dist.BetaBinomial(*wide(a[0], a[1:].sum(), total)), whole=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("df", [2.0, 5.0, HUGE])
def test_diagonals_of_wishart_matrices(df: float, dtype: torch.dtype, request: Any) -> None:
    v = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=dtype)
    degrees = torch.tensor(df, dtype=dtype)
    x = dist.Wishart(degrees, v).sample((JOINT,), generator=seeded(request.node.name))
    follows("x_11", x[:, 0, 0], dist.Gamma(*wide(df / 2, 0.25)))
    if dtype is torch.float64:  # the determinant of what one coordinate leaves: df - 1
        left = x[:, 1, 1] - x[:, 0, 1] ** 2 / x[:, 0, 0]
        follows("x_22.1", left, dist.Gamma(*wide((df - 1) / 2, 0.5 / 0.875)))
    x = dist.InverseWishart(degrees, v).sample((JOINT,), generator=seeded(request.node.name))
    follows("inverse", x[:, 0, 0], dist.InverseGamma(*wide((df - 1) / 2, 1.0)))


@pytest.mark.parametrize("concentration", [0.5, 1.0, 30.0, HUGE])
@pytest.mark.parametrize("n", [2, 3])
def test_correlations_of_lkj_are_beta(n: int, concentration: float, request: Any) -> None:
    c = torch.tensor(concentration, dtype=torch.float64)
    x = dist.LKJ(n, c).sample((JOINT // 3,), generator=seeded(request.node.name))
    shape = c - 1 + n / 2
    law = dist.TransformedDistribution(dist.Beta(shape, shape), dist.transforms.AffineTransform(*wide(-1.0, 2.0)))
    follows("first row", x[:, 0, 1], law)
    follows("last row", x[:, n - 1, n - 2], law)
    corner = dist.LKJCholesky(n, c).sample((JOINT // 3,), generator=seeded(request.node.name))[:, 1, 1]
    follows("corner", corner.square(), dist.Beta(c + (n - 2) / 2, *wide(0.5)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("df", [TINY, SMALL, 3.0, HUGE])
def test_coordinates_of_multivariate_t(df: float, dtype: torch.dtype, request: Any) -> None:
    loc, factor = torch.tensor([0.0, 1.0], dtype=dtype), torch.tensor([[1.0, 0.0], [3.0, 4.0]], dtype=dtype)
    degrees = torch.tensor(df, dtype=dtype)
    x = dist.MultivariateStudentT(degrees, loc, factor).sample((JOINT,), generator=seeded(request.node.name))
    for k, scale in ((0, 1.0), (1, 5.0)):
        follows(f"x_{k}", x[:, k], dist.StudentT(degrees.double(), *wide(loc[k], scale)))


SATURATING = ["TanhTransform", "SigmoidTransform", "SoftplusTransform", "StickBreakingTransform"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("name", SATURATING)
def test_density_of_a_saturated_draw_is_finite(name: str, scale: float, dtype: torch.dtype, request: Any) -> None:
    transform = getattr(dist.transforms, name)()
    base = dist.Normal(torch.zeros(3, dtype=dtype), scale)
    base = base.to_event(1) if transform.domain.event_dim else base
    d = dist.TransformedDistribution(base, transform)
    x, log_prob = d.rsample_and_log_prob((20_000,), generator=seeded(request.node.name))
    assert torch.isfinite(x).all() and torch.isfinite(log_prob).all()

"""Rows of the families of matrices, and of vectors with a scale matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.distributions as td

import ppl_dist as dist

from .. import matrices, references
from ..table import VECTOR, Case, Row, case, no_form

NEARLY_SINGULAR = "a thousandth of the mass is nearer to singular matrices than floats can tell"
NOT_ON_A_GRID = "a grid does not reach where the tails of so few degrees of freedom end"


def _given(p: dict[str, np.ndarray]) -> np.ndarray:
    """V from the one form it is given in."""
    if "scale_tril" in p:
        return p["scale_tril"] @ np.swapaxes(p["scale_tril"], -1, -2)
    return p["covariance_matrix"] if "covariance_matrix" in p else np.linalg.inv(p["precision_matrix"])


def _low_rank(loc: np.ndarray, cov_factor: np.ndarray, cov_diag: np.ndarray) -> references.MultivariateNormal:
    diagonal = cov_diag[..., None] * np.eye(cov_diag.shape[-1])
    return references.MultivariateNormal(loc, cov_factor @ np.swapaxes(cov_factor, -1, -2) + diagonal)


def _wishart(df: np.ndarray, **p: np.ndarray) -> matrices.Wishart:
    return matrices.Wishart(df, _given(p))


def _inverse_wishart(df: np.ndarray, **p: np.ndarray) -> matrices.Wishart:
    return matrices.Wishart(df, _given(p), inverse=True)


def _lkj(concentration: np.ndarray, dim: int) -> matrices.Correlations:
    return matrices.Correlations(dim, concentration)


def _lkj_cholesky(concentration: np.ndarray, dim: int) -> matrices.Correlations:
    return matrices.Correlations(dim, concentration, factor=True)


PAIR = [[1.0, 0.4], [0.4, 2.0]]
TRIPLE = [[2.0, 0.3, -0.5], [0.3, 1.0, 0.2], [-0.5, 0.2, 1.5]]
NOT_DEFINITE: list[Any] = [[1.0, 2.0], [2.0, 1.0]]
NOT_COVARIANCES = ([[1.0, 0.0], [0.0, -1.0]], NOT_DEFINITE, [[1.0, 0.5], [0.0, 1.0]], [[float("nan")] * 2] * 2)


def _scales(extra: float, *, heavy: bool) -> tuple[Case, ...]:
    """The same cases for both laws of matrices; the inverse one needs more degrees of freedom for its moments."""
    traits = ("heavy",) if heavy else ()
    return (
        case("standard", df=5.0 + extra, covariance_matrix=PAIR),
        case("factor", df=[4.0 + extra, 9.5 + extra], scale_tril=[[0.5, 0.0], [1.0, 2.0]]),
        case("precision", df=6.5 + extra, precision_matrix=[PAIR, [[3.0, -1.0], [-1.0, 0.7]]]),
        case("outer", df=[[4.0 + extra], [8.0 + extra]], covariance_matrix=[PAIR, [[0.1, 0.0], [0.0, 30.0]]]),
        case("triple", "many", df=5.0 + extra, covariance_matrix=TRIPLE),
        case("few", *traits, df=1.5, covariance_matrix=PAIR),
        case("single", df=3.0 + extra, covariance_matrix=[[2.0]]),
        case("large", df=1e4, covariance_matrix=PAIR),
    )


def _correlations() -> tuple[Case, ...]:
    return (
        case("standard", concentration=1.5, static={"dim": 3}),
        case("batch", concentration=[0.5, 1.0, 4.0], static={"dim": 3}),
        case("pair", concentration=[1.0, 2.5], static={"dim": 2}),
        case("four", "many", concentration=[[1.0], [3.0]], static={"dim": 4}),
        case("large", concentration=300.0, static={"dim": 3}),
    )


ROWS: tuple[Row, ...] = (
    Row(
        dist.LowRankMultivariateNormal,
        _low_rank,
        (
            case("standard", loc=[0.0, 1.0], cov_factor=[[1.0], [-0.5]], cov_diag=[0.5, 2.0]),
            case(
                "batch",
                loc=[[0.0, 1.0, 2.0], [2.0, -1.0, 0.0]],
                cov_factor=[[1.0, 0.2], [0.5, -0.3], [0.0, 1.5]],
                cov_diag=[[1.0, 2.0, 0.1], [0.3, 0.5, 0.7]],
            ),
            case(
                "outer",
                loc=[[[0.0, 1.0]], [[2.0, -1.0]], [[0.0, 0.0]]],
                cov_factor=[[[1.0], [0.2]], [[0.3], [3.0]]],
                cov_diag=[1.0, 0.5],
            ),
            case("stiff", loc=[0.0, 1.0], cov_factor=[[30.0], [-20.0]], cov_diag=[0.05, 0.02]),
        ),
        lacks=VECTOR,
        outside=([float("nan"), 0.0],),
        bad=({"cov_diag": [1.0, -2.0]}, {"cov_diag": [1.0, 0.0]}, {"loc": [float("nan"), 0.0]}),
        whole={"loc": [0, 1], "cov_factor": [[1], [2]], "cov_diag": [1, 2]},
        peer=td.LowRankMultivariateNormal,
    ),
    Row(
        dist.MultivariateStudentT,
        matrices.MultivariateStudentT,
        (
            case("standard", df=9.0, loc=[0.0, 1.0], scale_tril=[[1.0, 0.0], [0.5, 2.0]]),
            case("batch", df=[12.0, 30.0], loc=[[0.0, 1.0], [2.0, -1.0]], scale_tril=[[1.0, 0.0], [0.5, 0.3]]),
            case(
                "outer",
                "many",
                df=[[9.0], [20.0]],
                loc=[0.0, 1.0, 2.0],
                scale_tril=[[[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [0.1, 0.2, 0.3]]] * 2,
            ),
            case("heavy", "heavy", df=[0.5, 1.5, 2.5], loc=[0.0, 1.0], scale_tril=[[1.0, 0.0], [0.5, 2.0]]),
            case("large", df=1e8, loc=[0.0, 1.0], scale_tril=[[1.0, 0.0], [0.5, 2.0]]),
            case("normal", "edge", df=float("inf"), loc=[0.0, 1.0], scale_tril=[[1.0, 0.0], [0.5, 2.0]]),
        ),
        lacks=VECTOR | no_form("the mean of log(1 + a quadratic form) in another law", "kl_divergence"),
        outside=([float("nan"), 0.0],),
        bad=({"df": 0.0}, {"scale_tril": [[1.0, 0.5], [0.5, 2.0]]}, {"loc": [float("nan"), 0.0]}),
        whole={"df": 4, "loc": [0, 1], "scale_tril": [[1, 0], [1, 2]]},
        one_noise=False,
        gaps={
            "total mass: plane:heavy": NOT_ON_A_GRID,
        },
    ),
    Row(
        dist.Wishart,
        _wishart,
        _scales(0.0, heavy=False),
        lacks=VECTOR,
        outside=(
            [[1.0, 0.0], [0.0, -1.0]],
            [[1.0, 2.0], [2.0, 1.0]],
            [[1.0, 0.5], [0.0, 1.0]],
            [[float("nan")] * 2] * 2,
        ),
        bad=({"df": 0.5}, {"df": 1.0}, {"covariance_matrix": NOT_DEFINITE}),
        whole={"df": 3, "covariance_matrix": [[2, 1], [1, 3]]},
        peer=td.Wishart,
        one_noise=False,
        torch_wrong={"*:kl_divergence": "right for single matrices, negative for some batches"},
        gaps={"total mass: plane:few": NEARLY_SINGULAR},
    ),
    Row(
        dist.InverseWishart,
        _inverse_wishart,
        _scales(10.0, heavy=True),
        lacks=VECTOR,
        outside=(
            [[1.0, 0.0], [0.0, -1.0]],
            [[1.0, 2.0], [2.0, 1.0]],
            [[1.0, 0.5], [0.0, 1.0]],
            [[float("nan")] * 2] * 2,
        ),
        bad=({"df": 0.5}, {"df": 1.0}, {"covariance_matrix": NOT_DEFINITE}),
        whole={"df": 3, "covariance_matrix": [[2, 1], [1, 3]]},
        one_noise=False,
        gaps={"total mass: plane:few": NEARLY_SINGULAR},
    ),
    Row(
        dist.LKJCholesky,
        _lkj_cholesky,
        _correlations(),
        lacks=VECTOR,
        outside=([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.9, 1.0]], [[float("nan")] * 3] * 3),
        bad=({"concentration": 0.0}, {"concentration": -1.0}),
        whole={"concentration": 2},
        peer=td.LKJCholesky,
        one_noise=False,
        torch_wrong={"*:has_rsample": "its draws are differentiable in the concentration"},
    ),
    Row(
        dist.LKJ,
        _lkj,
        _correlations(),
        lacks=VECTOR,
        outside=(
            [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]],
            [[float("nan")] * 3] * 3,
        ),
        bad=({"concentration": 0.0}, {"concentration": -1.0}),
        whole={"concentration": 2},
        one_noise=False,
    ),
)

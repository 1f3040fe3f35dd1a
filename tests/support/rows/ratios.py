"""Rows of the families with power tails, with their formulas in mpmath."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.distributions as td
from scipy import stats

import ppl_dist as dist

from .. import references
from ..exact import Exact, beta_tails, mp
from ..table import CONTINUOUS, SCALES, Accuracy, Row, case, line, no_form


def _student_tail(t: Any, df: Any) -> Any:
    """P(T > t)."""
    if t < 0:
        return 1 - _student_tail(-t, df)
    return beta_tails(df / 2, mp.mpf(1) / 2, df / (df + t * t), t * t / (df + t * t))[0] / 2


STUDENT = Exact(
    lambda x, df, loc, scale: (
        mp.loggamma((df + 1) / 2)
        - mp.loggamma(df / 2)
        - mp.log(df * mp.pi) / 2
        - mp.log(scale)
        - (df + 1) / 2 * mp.log1p(((x - loc) / scale) ** 2 / df)
    ),
    lambda x, df, loc, scale: _student_tail((loc - x) / scale, df),
    lambda x, df, loc, scale: _student_tail((x - loc) / scale, df),
)
FISHER = Exact(
    lambda x, df1, df2: (
        df1 / 2 * mp.log(df1 / df2)
        + (df1 / 2 - 1) * mp.log(x)
        - (df1 + df2) / 2 * mp.log1p(df1 * x / df2)
        - (mp.loggamma(df1 / 2) + mp.loggamma(df2 / 2) - mp.loggamma((df1 + df2) / 2))
    ),
    lambda x, df1, df2: beta_tails(df1 / 2, df2 / 2, df1 * x / (df1 * x + df2), df2 / (df1 * x + df2))[0],
    lambda x, df1, df2: beta_tails(df1 / 2, df2 / 2, df1 * x / (df1 * x + df2), df2 / (df1 * x + df2))[1],
)


def _exponential(x: Any, loc: Any, scale: Any, concentration: Any) -> Any:
    """The value of the standard exponential law at the same level."""
    z = (x - loc) / scale
    if concentration == 0:
        return z
    grown = concentration * z
    return mp.inf if grown <= -1 else mp.log1p(grown) / concentration


GENERALIZED_PARETO = Exact(
    lambda x, loc, scale, concentration: (
        -mp.log(scale) - (1 + concentration) * _exponential(x, loc, scale, concentration)
    ),
    lambda x, loc, scale, concentration: -mp.expm1(-_exponential(x, loc, scale, concentration)),
    lambda x, loc, scale, concentration: mp.exp(-_exponential(x, loc, scale, concentration)),
)
ENDLESS = "nan; the integral is infinite"
OPEN = no_form("the mean of log(1 + c x^2), or of log(1 + c x), in another law", "kl_divergence")
SINGLE = "its constants are float32, and the operation refuses to mix"


def _generalized_pareto(loc: np.ndarray, scale: np.ndarray, concentration: np.ndarray) -> references.Line:
    """Points are kept off the upper end, where a float does not say how far it is away."""
    ends = np.broadcast_to(np.inf, np.broadcast_shapes(loc.shape, scale.shape, concentration.shape)).copy()
    np.divide((1e-6 - 1) * scale, concentration, out=ends, where=concentration < 0)
    law, given = (
        stats.genpareto(concentration, loc, scale),
        {"loc": loc, "scale": scale, "concentration": concentration},
    )
    return references.Line(law, GENERALIZED_PARETO, given, ends=(-np.inf, loc + ends))


ROWS: tuple[Row, ...] = (
    Row(
        dist.StudentT,
        line(stats.t, STUDENT),
        (
            case("standard", df=6.5, loc=0.0, scale=1.0),
            case("batch", "heavy", df=[1.5, 2.0, 3.5, 30.0], loc=[-1.0, 0.0, 2.5, 1.0], scale=[0.3, 1.0, 4.0, 2.0]),
            case("outer", df=[[9.0], [20.0]], loc=[0.5, -2.0, 1.0], scale=1.5),
            case("many", df=1e4, loc=1.0, scale=1e-2),
        ),
        lacks=CONTINUOUS | OPEN,
        outside=(float("nan"),),
        bad=({"df": 0.0}, {"scale": -1.0}, {"loc": float("nan")}),
        whole={"df": 3, "loc": 0, "scale": 2},
        peer=td.StudentT,
        one_noise=False,
        accuracy=(Accuracy({"df": (1e-8, 1e-3, 1.0, 30.0, 1e4, 1e8), "loc": (0.0, 1.0), "scale": (1e-8, 1.0)}),),
    ),
    Row(
        dist.FisherSnedecor,
        line(lambda df1, df2: stats.f(dfn=df1, dfd=df2), FISHER),
        (
            case("standard", df1=4.0, df2=20.0),
            case("batch", "heavy", df1=[0.5, 3.0, 10.0, 40.0], df2=[5.0, 6.0, 5.5, 8.0]),
            case("outer", "heavy", df1=[[2.5], [3.0]], df2=[7.0, 9.0, 30.0]),
        ),
        lacks=CONTINUOUS | OPEN,
        outside=(-1.0, 0.0, float("nan")),
        bad=({"df1": 0.0}, {"df2": -1.0}),
        whole={"df1": 3, "df2": 9},
        peer=td.FisherSnedecor,
        one_noise=False,
        accuracy=(Accuracy(dict.fromkeys(("df1", "df2"), (1e-8, 1e-3, 1.0, 30.0, 1e4, 1e8))),),
    ),
    Row(
        dist.GeneralizedPareto,
        _generalized_pareto,
        (
            case("standard", loc=0.0, scale=1.0, concentration=0.1),
            case("batch", loc=[-1.0, 0.0, 2.5], scale=[0.3, 1.0, 4.0], concentration=[0.15, 1e-9, 0.0]),
            case("outer", loc=[[0.5], [-2.0]], scale=1.5, concentration=[-0.25, 0.01, -0.0625]),
            case("heavy", "heavy", loc=0.0, scale=2.0, concentration=[0.6, 1.0, 1.2]),
            case("ending", loc=0.0, scale=2.0, concentration=[-0.5, -1.0]),
        ),
        lacks=CONTINUOUS,
        outside=(-1.0, float("nan")),
        bad=({"scale": 0.0}, {"loc": float("nan")}, {"concentration": float("nan")}),
        whole={"loc": 0, "scale": 2, "concentration": 1},
        peer=td.GeneralizedPareto,
        accuracy=(Accuracy({"loc": (0.0, -1e8), "scale": SCALES, "concentration": (-0.5, -1e-8, 0.0, 1.0, 1e4)}),),
        gaps={"variance:heavy": "infinite; scipy says nan"},
        torch_wrong={
            "heavy:mean": ENDLESS,
            "heavy:variance": ENDLESS,
            "heavy:stddev": ENDLESS,
            "*:log_prob": SINGLE,
            "*:cdf": SINGLE,
            "*:icdf": SINGLE,
        },
    ),
)

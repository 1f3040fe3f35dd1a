"""Rows of normal vectors with structure, and of ordered categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributions as td
from scipy import special, stats

import ppl_dist as dist

from .. import references
from ..exact import mp
from ..statistics import assert_uniform
from ..table import JUMPS, VECTOR, Row, case, no_form

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
PANELS = np.linspace(-14, 14, 41)
NOISE = (PANELS[:-1, None] + np.diff(PANELS)[:, None] * (NODES + 1) / 2).ravel()
MASS = (np.diff(PANELS)[:, None] * WEIGHTS / 2).ravel() * np.exp(-(NOISE**2) / 2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class LogisticNormal:
    """Shares of what is left of a stick, each a logistic function of its own normal number."""

    loc: np.ndarray
    scale: np.ndarray

    def _logits(self) -> np.ndarray:
        """Every value of the logit of each share that matters, weighted by `MASS` along the last dimension."""
        loc, scale = self._full()
        return (loc - np.log(np.arange(loc.shape[-1], 0, -1.0)))[..., None] + scale[..., None] * NOISE

    def _full(self) -> tuple[np.ndarray, np.ndarray]:
        return np.broadcast_arrays(self.loc, self.scale)

    def _along(self, share: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """The sums, over a piece's own share and what earlier shares leave, that give each piece."""
        left = np.concatenate([np.zeros_like(rest[..., :1]), rest.cumsum(-1)], -1)
        return np.concatenate([share + left[..., :-1], left[..., -1:]], -1)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        loc, scale = self._full()
        batch = np.broadcast_shapes(x.shape[:-1], loc.shape[:-1])
        x, loc, scale = (np.broadcast_to(v, batch + v.shape[-1:]) for v in (x, loc, scale))
        out = np.empty(batch)
        n = loc.shape[-1]
        for where in np.ndindex(batch):
            pieces = [mp.mpf(float(v)) for v in x[where]]
            terms = [-mp.log(v) for v in pieces]
            for i in range(n):
                z = mp.log(pieces[i] / mp.fsum(pieces[i + 1 :])) + mp.log(n - i)
                s = mp.mpf(float(scale[where][i]))
                terms.append(-(((z - mp.mpf(float(loc[where][i]))) / s) ** 2) / 2 - mp.log(s) - mp.log(2 * mp.pi) / 2)
            out[where] = float(mp.fsum(terms))
        return out

    def points(self) -> np.ndarray:
        loc, scale = self._full()
        noise = np.random.default_rng(0).normal(size=(7, *loc.shape))
        return self._broken(loc + scale * noise)

    def _broken(self, z: np.ndarray) -> np.ndarray:
        n = z.shape[-1]
        v = z - np.log(np.arange(n, 0, -1.0))
        left = np.concatenate([np.zeros_like(v[..., :1]), special.log_expit(-v).cumsum(-1)], -1)
        return np.exp(np.concatenate([special.log_expit(v) + left[..., :-1], left[..., -1:]], -1))

    def _shares(self) -> list[np.ndarray]:
        return [special.expit(self._logits()), special.expit(-self._logits())]

    @property
    def mean(self) -> np.ndarray:
        return np.exp(self._along(*(np.log(share @ MASS) for share in self._shares())))

    @property
    def variance(self) -> np.ndarray:
        """A product of independent shares has E[x]^2 (prod(1 + V / m^2) - 1)."""
        means = [share @ MASS for share in self._shares()]
        gains = [((share - m[..., None]) ** 2 @ MASS) / m**2 for share, m in zip(self._shares(), means, strict=True)]
        return self.mean**2 * np.expm1(self._along(*map(np.log1p, gains)))

    def entropy(self) -> np.ndarray:
        loc, scale = self._full()
        shares, rests = (special.log_expit(sign * self._logits()) @ MASS for sign in (1, -1))
        log_det = shares + np.arange(loc.shape[-1], 0, -1.0) * rests
        return (0.5 + 0.5 * np.log(2 * np.pi) + np.log(scale) + log_det).sum(-1)

    def assert_fits(self, draws: np.ndarray) -> None:
        """Each log ratio of a piece to all later ones is normal, and independent of the others: so is their sum."""
        loc, scale = self._full()
        left = np.flip(np.flip(draws, -1).cumsum(-1), -1)
        z = np.log(draws[..., :-1] / left[..., 1:]) + np.log(np.arange(loc.shape[-1], 0, -1.0))
        assert_uniform(stats.norm(loc, scale).cdf(z))
        assert_uniform(stats.norm(loc.sum(-1), np.sqrt((scale**2).sum(-1))).cdf(z.sum(-1)))


def _walk(scale: np.ndarray, num_steps: int) -> references.MultivariateNormal:
    time = np.arange(1.0, num_steps + 1)
    covariance = scale[..., None, None] ** 2 * np.minimum(time[:, None], time)
    return references.MultivariateNormal(np.zeros((*scale.shape, num_steps)), covariance)


@dataclass(frozen=True)
class ZeroSumNormal:
    """A normal law on a subspace, by a basis of it that Gram and Schmidt would find."""

    scale: np.ndarray
    event_shape: tuple[int, ...]

    @property
    def _basis(self) -> np.ndarray:
        """Orthonormal columns that span the subspace, shape (size, d)."""
        basis = np.ones((1, 1))
        for n in self.event_shape:
            steps = np.linalg.qr(np.eye(n)[:, :-1] - np.eye(n)[:, 1:])[0]
            basis = np.kron(basis, steps)
        return basis

    @property
    def _inner(self) -> references.MultivariateNormal:
        """The law of the coordinates in that basis."""
        d = self._basis.shape[1]
        return references.MultivariateNormal(
            np.zeros((*self.scale.shape, d)), self.scale[..., None, None] ** 2 * np.eye(d)
        )

    def _flat(self, x: np.ndarray) -> np.ndarray:
        return x.reshape((*x.shape[: x.ndim - len(self.event_shape)], -1))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return self._inner.log_prob(self._flat(x) @ self._basis)

    def points(self) -> np.ndarray:
        flat = self._inner.points() @ self._basis.T
        return flat.reshape(flat.shape[:-1] + self.event_shape)

    @property
    def mean(self) -> np.ndarray:
        return np.zeros(self.scale.shape + self.event_shape)

    @property
    def variance(self) -> np.ndarray:
        kept = (self._basis**2).sum(-1)
        return (self.scale[..., None] ** 2 * kept).reshape(self.scale.shape + self.event_shape)

    def entropy(self) -> np.ndarray:
        return self._inner.entropy()

    def assert_fits(self, draws: np.ndarray) -> None:
        self._inner.assert_fits(self._flat(draws) @ self._basis)


def _logistic(z: Any) -> Any:
    return 1 / (1 + mp.exp(-z))


def _ordered(predictor: np.ndarray, cutpoints: np.ndarray) -> references.Finite:
    batch = np.broadcast_shapes(predictor.shape, cutpoints.shape[:-1])
    predictor, cutpoints = np.broadcast_to(predictor, batch), np.broadcast_to(cutpoints, batch + cutpoints.shape[-1:])

    def below(k: int, where: tuple[int, ...]) -> Any:
        return _logistic(mp.mpf(float(cutpoints[where][k])) - mp.mpf(float(predictor[where])))

    def mass(k: int, where: tuple[int, ...]) -> float:
        upper = below(k, where) if k < cutpoints.shape[-1] else mp.mpf(1)
        return float(upper - (below(k - 1, where) if k else mp.mpf(0)))

    probs = np.empty((*batch, cutpoints.shape[-1] + 1))
    for where in np.ndindex(batch):
        probs[where] = [mass(k, where) for k in range(probs.shape[-1])]
    return references.Finite(probs)


ROWS: tuple[Row, ...] = (
    Row(
        dist.LogisticNormal,
        LogisticNormal,
        (
            case("standard", loc=[0.0, 1.0], scale=[1.0, 0.5]),
            case("batch", loc=[[0.3, -1.0], [2.0, 0.0]], scale=[[0.5, 2.0], [1.5, 0.2]]),
            case("outer", loc=[[[0.3, -1.0]], [[2.0, 0.0]]], scale=[[0.5, 2.0], [1.5, 0.2], [1.0, 1.0]]),
            case("one row of scales", loc=[[0.3, -1.0], [2.0, 0.0]], scale=[0.7, 0.7]),
            case("narrow", loc=[1.0, -2.0], scale=[1e-3, 1e-2]),
            case("wide", loc=[2.0], scale=[8.0]),
            case("low", loc=[-25.0, 3.0], scale=[0.8, 2.0]),
        ),
        lacks=VECTOR | no_form("the root of K equations, one of many peaks at wide scales", "mode"),
        outside=([0.5, 0.6, 0.1], [-0.1, 0.6, 0.5], [float("nan"), 0.5, 0.5]),
        bad=({"scale": [1.0, -1.0]}, {"scale": [0.0, 1.0]}, {"loc": [float("nan"), 0.0]}),
        whole={"loc": [0, 1], "scale": [1, 2]},
        peer=td.LogisticNormal,
    ),
    Row(
        dist.GaussianRandomWalk,
        _walk,
        (
            case("standard", scale=1.5, static={"num_steps": 2}),
            case("batch", scale=[0.1, 1.0, 30.0], static={"num_steps": 3}),
            case("one step", scale=[[0.5], [2.0]], static={"num_steps": 1}),
        ),
        lacks=VECTOR,
        outside=([float("nan"), 0.0],),
        bad=({"scale": -1.0}, {"scale": 0.0}, {"scale": float("nan")}),
        whole={"scale": 2},
    ),
    Row(
        dist.ZeroSumNormal,
        ZeroSumNormal,
        (
            case("standard", scale=1.5, static={"event_shape": (3,)}),
            case("batch", scale=[0.1, 1.0, 30.0], static={"event_shape": (4,)}),
            case("plane", scale=[[0.5], [2.0]], static={"event_shape": (2, 3)}),
        ),
        lacks=VECTOR,
        outside=([1.0, 1.0, 1.0], [float("nan"), 0.0, 0.0]),
        bad=({"scale": -1.0}, {"scale": 0.0}, {"scale": float("nan")}),
        whole={"scale": 2},
    ),
    Row(
        dist.OrderedLogistic,
        _ordered,
        (
            case("standard", predictor=0.3, cutpoints=[-1.0, 0.5, 2.0]),
            case("batch", predictor=[0.0, -2.0, 5.0], cutpoints=[-1.0, 1.0]),
            case("outer", predictor=[[0.3], [1.5]], cutpoints=[[-1.0, 0.5], [0.0, 0.1], [-3.0, 4.0]]),
            case("close", predictor=1.0, cutpoints=[0.0, 1e-9, 1.0]),
            case("far", "heavy", predictor=[30.0, -35.0], cutpoints=[-1.0, 0.0]),
            case("two", predictor=0.5, cutpoints=[0.0]),
        ),
        kind="discrete",
        lacks=JUMPS,
        outside=(0.5, 4.0, -1.0, float("nan")),
        bad=({"predictor": float("nan")}, {"cutpoints": [1.0, 0.5, 2.0]}, {"cutpoints": [0.0, 0.0, 1.0]}),
        whole={"predictor": 1, "cutpoints": [0, 1, 3]},
    ),
)

"""Rows of laws on the sphere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import integrate, special

import ppl_dist as dist

from ..exact import mp
from ..statistics import assert_mean, assert_uniform
from ..table import VECTOR, Row, case, no_form


@dataclass(frozen=True)
class ProjectedNormal:
    """The direction of a normal vector; its density is an integral over the length."""

    concentration: np.ndarray

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        m, x = np.broadcast_arrays(self.concentration, x)
        out = np.empty(x.shape[:-1])
        for where in np.ndindex(out.shape):
            out[where] = _log_density(m[where], x[where])
        return out

    def points(self) -> np.ndarray:
        z = self.concentration + np.random.default_rng(0).normal(size=(7, *self.concentration.shape))
        z = np.concatenate([z, -z[:2]])
        return z / np.linalg.norm(z, axis=-1, keepdims=True)

    def _pole(self) -> tuple[np.ndarray, np.ndarray]:
        length = np.linalg.norm(self.concentration, axis=-1)
        first = np.eye(self.concentration.shape[-1])[0]
        return length, np.where(
            length[..., None] > 0, self.concentration / np.maximum(length, 1e-300)[..., None], first
        )

    @property
    def variance(self) -> np.ndarray:
        length, pole = self._pole()
        n, out = pole.shape[-1], np.empty_like(pole)
        for where in np.ndindex(length.shape):
            angle, below = _polar(float(length[where]), n)
            mean, square = (integrate.simpson(np.cos(angle) ** k * below[0], x=angle) for k in (1, 2))
            out[where] = pole[where] ** 2 * (square - mean**2) + (1 - pole[where] ** 2) * (1 - square) / (n - 1)
        return out

    def assert_fits(self, draws: np.ndarray) -> None:
        """The angle from the pole follows its law, and the rest of a draw favours no side."""
        length, pole = self._pole()
        cosine = (draws * pole).sum(-1)
        levels = np.empty_like(cosine)
        for where in np.ndindex(length.shape):
            angle, (_, cdf) = _polar(float(length[where]), pole.shape[-1])
            at = (slice(None), *where)
            levels[at] = np.interp(np.arccos(np.clip(cosine[at], -1, 1)), angle, cdf)
        assert_uniform(levels)
        assert_mean(draws - cosine[..., None] * pole, 0.0)


def _log_density(m: np.ndarray, x: np.ndarray) -> float:
    mean, value = ([mp.mpf(float(v)) for v in row] for row in (m, x))
    length = mp.sqrt(mp.fsum(v * v for v in value))
    t = mp.fsum(a * b for a, b in zip(mean, value, strict=True)) / length
    n = len(mean)
    peak = (t + mp.sqrt(t * t + 4 * (n - 1))) / 2
    highest = (n - 1) * mp.log(peak) + t * peak - peak**2 / 2

    def integrand(r: Any) -> Any:
        return r ** (n - 1) * mp.exp(r * t - r * r / 2 - highest)

    steps = [max(mp.mpf(0), peak + k) for k in (-12, -6, -3, -1.5)]
    ends = sorted({*steps, peak, peak * 2, peak * 6, peak + 3, peak + 12})
    area = mp.quad(integrand, [*ends, max(ends[-1], 80 * peak) if t < 3 else ends[-1]])
    return float(mp.log(area) + highest - mp.fsum(v * v for v in mean) / 2 - mp.mpf(n) / 2 * mp.log(2 * mp.pi))


def _polar(length: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles from 0 to pi with the density and the distribution function of the angle between a draw and the pole."""
    angle = np.linspace(0, np.pi, 4001)
    r = np.linspace(0, length + 12, 2001)[:, None]
    with np.errstate(divide="ignore"):
        radial = (n - 1) * np.log(r) - (r**2 - 2 * r * length * np.cos(angle) + length**2) / 2
    around = 2 * np.pi ** ((n - 1) / 2) / special.gamma((n - 1) / 2)  # the area of the sphere of one dimension less
    density = around * np.sin(angle) ** (n - 2) * integrate.simpson(np.exp(radial), x=r[:, 0], axis=0)
    density /= (2 * np.pi) ** (n / 2)
    return angle, np.stack([density, integrate.cumulative_simpson(density, x=angle, initial=0)])


NO_CHART = "the sphere has no chart to integrate or differentiate in; tests/dist/test_directions.py goes round it"

ROWS: tuple[Row, ...] = (
    Row(
        dist.ProjectedNormal,
        ProjectedNormal,
        (
            case("standard", concentration=[1.0, -0.5]),
            case("batch", concentration=[[0.3, -1.0, 2.0], [4.0, 0.0, 3.0]]),
            case("five", concentration=[[0.5, -1.0, 0.0, 2.0, 0.3]]),
            case("uniform", concentration=[0.0, 0.0, 0.0]),
            case("long", concentration=[[[30.0, -40.0]], [[0.0, 300.0]]]),
        ),
        lacks=VECTOR
        | no_form("confluent hypergeometric functions", "mean", "variance")
        | no_form("the mean of the logarithm of an integral", "entropy", "kl_divergence"),
        outside=([1.0, 1.0], [0.0, 0.0], [float("nan"), 1.0]),
        bad=({"concentration": [float("nan"), 1.0]}, {"concentration": [float("inf"), 1.0]}),
        whole={"concentration": [1, 2]},
        gaps={"total mass: plane": NO_CHART, "log_prob gradient in value": NO_CHART},
    ),
)

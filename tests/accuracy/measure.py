"""How far a method is from the exact values on its grid, in units of what it may be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ..support.table import INVERSES, Accuracy, Row
from .values import Point, read

ROUNDINGS = 4  # of the inputs that a result may be off by, whatever the bound
MOOT = 0.1  # where the rounding of a level moves its quantile by more than this part of it, the level says nothing
LOGS = ("log_prob", "log_cdf", "log_survival_function")


@dataclass(frozen=True)
class Errors:
    """One method in one dtype at the points of a grid."""

    name: str
    points: list[Point]
    got: np.ndarray
    exact: np.ndarray
    error: np.ndarray
    """Relative; absolute where a logarithm is below 1."""
    allowed: np.ndarray
    """The larger of the stated bound and what the rounding of the inputs does."""

    @property
    def ratio(self) -> np.ndarray:
        with np.errstate(over="ignore"):
            return self.error / self.allowed

    def worst(self) -> float:
        return float(np.max(self.ratio, initial=0.0))

    def describe(self, count: int = 8) -> str:
        """The points with the largest errors, a line each."""
        lines = [f"{self.name}: {int((self.ratio > 1).sum())} of {len(self.points)} points miss the bound"]
        for i in np.argsort(-self.ratio)[:count]:
            if self.ratio[i] > 1:
                p = self.points[i]
                given = ", ".join(f"{n}={v!r}" for n, v in p.setting.items())
                lines.append(
                    f"  {given}, x={p.x!r}: {self.got[i]!r}, exact {self.exact[i]!r}, error {self.error[i]:.1e}, "
                    f"allowed {self.allowed[i]:.1e}"
                )
        return "\n".join(lines)


def errors(row: Row, accuracy: Accuracy, method: str, dtype: torch.dtype, *, alone: bool = False) -> Errors:
    """All settings in one batch, where a look at the values finds them large; or each alone, where it may not."""
    points = [p for p in read(row, accuracy) if dtype == torch.float64 or p.single()]
    if method in INVERSES:
        points = [p for p in points if torch.finfo(dtype).tiny < _tail(p, method) and _level(p, method, dtype) < 1]
    settings = {n: torch.tensor([p.setting[n] for p in points], dtype=dtype) for n in accuracy.grid}
    at = [_level(p, method, dtype) if method in INVERSES else p.x for p in points]
    levels = torch.tensor(at, dtype=dtype)
    got = np.empty(len(points))
    for place in _groups(points, alone=alone):
        d = row.new(**{n: v[place] for n, v in settings.items()}, **accuracy.static, validate_args=False)
        result = getattr(d, method)(levels[place])
        assert result.dtype == dtype
        got[place] = result.double().numpy()
    exact = _rounded([float(_exact(p, method)) for p in points], dtype)
    with np.errstate(all="ignore"):
        # an overflow is as far off as the largest number is
        got = np.where(np.isfinite(exact), np.clip(got, -torch.finfo(dtype).max, torch.finfo(dtype).max), got)
        gap = np.where(got == exact, 0.0, np.abs(got - exact))
        if method in INVERSES and dtype != torch.float64:
            # a rounded level has a quantile of its own, which float64 knows; far out no linear slack tells how far off
            wide = getattr(row.new(**{n: v.double() for n, v in settings.items()}, **accuracy.static), method)
            reached = wide(levels.double()).to(dtype).double().numpy()
            gap = np.where(got == reached, 0.0, np.fmin(gap, np.abs(got - reached)))
        size = np.abs(exact)
        scale = np.maximum(1.0, size) if method in LOGS else np.maximum(size, torch.finfo(dtype).tiny)
        inputs = np.array([_slack(p, method, ROUNDINGS * torch.finfo(dtype).eps) for p in points])
        error = np.nan_to_num(gap / scale, nan=np.inf)
        allowed = np.maximum(accuracy.bound(method, dtype), np.nan_to_num(inputs / scale, nan=0.0))
        if method in INVERSES:
            allowed = np.where(allowed > MOOT, np.inf, allowed)
    return Errors(f"{row.name}.{method}, {dtype}", points, got, exact, error, allowed)


def _groups(points: list[Point], *, alone: bool) -> list[slice]:
    """Where the points of one setting stand, or all points."""
    if not alone:
        return [slice(0, len(points))]
    starts = [i for i, p in enumerate(points) if i == 0 or p.setting != points[i - 1].setting]
    return [slice(*ends) for ends in pairwise([*starts, len(points)])]


def _tail(p: Point, method: str) -> Any:
    return p.cdf if method == "icdf" else p.sf


def _level(p: Point, method: str, dtype: torch.dtype) -> float:
    return float(_rounded([float(_tail(p, method))], dtype)[0])


def _rounded(values: list[float], dtype: torch.dtype) -> np.ndarray:
    return torch.tensor(values, dtype=torch.float64).to(dtype).double().numpy()


def _exact(p: Point, method: str) -> Any:
    if method in INVERSES:
        return p.x
    return getattr(p, {"survival_function": "sf", "log_survival_function": "log_sf"}.get(method, method))


def _slack(p: Point, method: str, roundings: float) -> float:
    """What the rounding of the inputs does to the result."""
    of_density, of_cdf, of_sf = (roundings * slack for slack in p.slack)
    if method == "log_prob":
        return of_density
    lower = method in ("cdf", "log_cdf", "icdf")
    of_tail = of_cdf if lower else of_sf
    if method in INVERSES:
        log_tail = float(p.log_cdf if lower else p.log_sf)
        return float(np.exp(min(log_tail - float(p.log_prob) + np.log(roundings + of_tail), 709.0)))
    return of_tail * float(abs(_exact(p, method))) if not method.startswith("log") else of_tail

"""Points on a grid of parameters, with the exact density and tails there, and how well conditioned they are."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..support.exact import mp
from ..support.references import Line
from ..support.table import Accuracy, Row, follow

FOLDER = Path(__file__).parent / "values"
LEVELS = (0.5, 0.1, 1e-3, 1e-8, 1e-20, 1e-100, 1e-300)
EXTREMES = (0.0, 1.2e-38, 1e-30, 1e30, 3e38, 1.0 - 2.0**-24, 1.0)
DIGITS = 18


@dataclass(frozen=True)
class Point:
    """One value under one setting of the parameters.

    `slack` says how far each result moves, in units of eps, when every input moves by eps of itself: by how much the
    density's logarithm, and by what part of itself each tail. A method cannot be asked for more.
    """

    setting: dict[str, float]
    x: float
    log_prob: Any
    cdf: Any
    sf: Any
    slack: tuple[float, float, float]

    @property
    def log_cdf(self) -> Any:
        return _log(self.cdf, self.sf)

    @property
    def log_sf(self) -> Any:
        return _log(self.sf, self.cdf)

    def single(self) -> bool:
        """Whether all inputs are numbers of float32 too."""
        tiny = np.finfo(np.float32).tiny
        return all(_single(v) == v for v in (*self.setting.values(), self.x)) and not 0 < abs(self.x) < tiny


def _log(p: Any, q: Any) -> Any:
    if p <= 0:
        return mp.ninf
    return mp.log(p) if p < 0.5 else mp.log1p(-q)


def file_of(row: Row, accuracy: Accuracy) -> Path:
    """`values/Gamma-concentration-rate.csv`."""
    return FOLDER / ("-".join([row.name, *accuracy.grid, *map(str, accuracy.static.values())]) + ".csv")


def read(row: Row, accuracy: Accuracy) -> list[Point]:
    with file_of(row, accuracy).open(newline="") as file:
        return [_point(line, list(accuracy.grid)) for line in csv.DictReader(file)]


def _point(line: dict[str, str], names: list[str]) -> Point:
    log_prob, cdf, sf = (mp.mpf(line[key]) for key in ("log_prob", "cdf", "sf"))
    slack = tuple(float(line[f"{key}_slack"]) for key in ("log_prob", "cdf", "sf"))
    return Point({n: _number(line[n]) for n in names}, _number(line["x"]), log_prob, cdf, sf, slack)  # type: ignore[arg-type]


def _text(v: float) -> str:
    """A number of float32 as it reads there; one of float64 alone with a mark."""
    return str(np.float32(v)) if _single(v) == v else f"{v!r}d"


def _single(v: float) -> float:
    """The nearest number of float32."""
    with np.errstate(over="ignore"):
        return float(np.float32(v))


def _number(text: str) -> float:
    return float(text[:-1]) if text.endswith("d") else float(np.float32(text))


def write(row: Row, accuracy: Accuracy, points: list[Point]) -> None:
    slacks = ["log_prob_slack", "cdf_slack", "sf_slack"]
    with file_of(row, accuracy).open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([*accuracy.grid, "x", "log_prob", "cdf", "sf", *slacks])
        for p in points:
            exact = [mp.nstr(v, DIGITS, min_fixed=0, max_fixed=0) for v in (p.log_prob, p.cdf, p.sf)]
            out.writerow([*map(_text, p.setting.values()), _text(p.x), *exact, *(f"{s:.1e}" for s in p.slack)])


def settings(accuracy: Accuracy) -> Iterator[dict[str, float]]:
    """All combinations, in numbers of float32, so that both dtypes are held to the same values."""
    for values in itertools.product(*accuracy.grid.values()):
        yield {name: _single(v) for name, v in zip(accuracy.grid, values, strict=True)}


def make(row: Row, accuracy: Accuracy) -> list[Point]:
    """All points of a grid."""
    found = []
    for setting in settings(accuracy):
        judge, d = _both(row, accuracy, setting)
        if isinstance(judge, Line):
            whole = {name for name in setting if _whole(row, d, name)}
            found += [point(judge, setting, x, whole) for x in values(judge, row, d)]
    return found


def again(row: Row, accuracy: Accuracy, old: Point) -> Point:
    """The same point, computed anew."""
    judge, d = _both(row, accuracy, old.setting)
    return point(judge, old.setting, old.x, {name for name in old.setting if _whole(row, d, name)})


def _both(row: Row, accuracy: Accuracy, setting: dict[str, float]) -> tuple[Any, Any]:
    """The reference, as one law on the line where it has that form too, and the distribution at one setting."""
    judge = row.reference(**{n: np.asarray(v) for n, v in setting.items()}, **accuracy.static)
    return getattr(judge, "line", judge), row.new(**setting, **accuracy.static)


def _whole(row: Row, d: Any, name: str) -> bool:
    """Whether a parameter is a whole number: there is no rounding of those."""
    where, _, label = row.paths.get(name, name).rpartition(".")
    return bool(follow(d, where).arg_constraints[label].is_discrete)


def values(judge: Line, row: Row, d: Any) -> list[float]:
    """Quantiles from one tail to the other, and numbers next to where a support may end.

    As numbers of float32, for which both dtypes are held to the same values; and the quantiles in float64.
    """
    with np.errstate(all="ignore"):
        levels = np.asarray(LEVELS)
        body = np.concatenate([judge.law.ppf(levels), judge.law.isf(levels)])
    found = {_single(x) for x in body} | {_single(x) for x in EXTREMES}
    found |= {-x for x in found} | {float(x) for x in body if _single(x) != x}
    if row.kind == "discrete":
        found = {float(np.floor(x)) for x in found if abs(x) < 1e15}
    return sorted(x for x in found if math.isfinite(x) and bool(d.support.check(torch.tensor(x, dtype=torch.float64))))


def point(judge: Line, setting: dict[str, float], x: float, whole: set[str]) -> Point:
    exact = judge.exact
    assert exact.cdf is not None and exact.sf is not None
    inputs = {"x": mp.mpf(x), **{name: mp.mpf(v) for name, v in setting.items()}}
    log_prob, cdf, sf = (f(**inputs) for f in (exact.log_prob, exact.cdf, exact.sf))
    moving = [n for n in inputs if n not in whole and not (judge.discrete and n == "x") and inputs[n] != 0]
    slack = (
        _slack(exact.log_prob, inputs, moving, log_prob, mp.mpf(1)),
        _slack(exact.cdf, inputs, moving, cdf, cdf),
        _slack(exact.sf, inputs, moving, sf, sf),
    )
    return Point(setting, x, log_prob, cdf, sf, slack)


def _slack(formula: Callable[..., Any], inputs: dict[str, Any], moving: list[str], here: Any, unit: Any) -> float:
    """The sum over the inputs of |input * derivative| / unit."""
    if not mp.isfinite(here) or unit == 0:
        return 0.0
    step, total = mp.mpf(10) ** -22, mp.mpf(0)
    for name in moving:
        for side in (1, -1):  # one of the two may leave the domain
            try:
                moved = formula(**{**inputs, name: inputs[name] * (1 + side * step)})
            except (ValueError, ZeroDivisionError):
                continue
            if isinstance(moved, mp.mpf) and mp.isfinite(moved):
                total += abs(moved - here) / step
                break
    return float(total / unit)

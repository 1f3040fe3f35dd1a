"""How often a correct sampler may fail a test: the one home of that figure.

A run makes fewer than `COMPARISONS` random comparisons; each is made at level `RUN_RATE / COMPARISONS`,
so that by the union bound a run over correct code raises a false alarm with probability at most `RUN_RATE`.
Seeds follow from test names, so a run that passes once passes again on the same versions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

RUN_RATE = 1e-5
COMPARISONS = 4000
LEVEL = RUN_RATE / COMPARISONS
STANDARD_ERRORS = float(stats.norm.isf(LEVEL / 2))  # 5.96


PILOT = 0.05  # of the draws only say where the cells end
CELLS = 200
OFF = 4.0  # spacings of the dtype by which rounding may move a draw, unseen by the test
HELD = 0.49 * np.finfo(float).max
WIDE = 256.0  # the least width of a cell in spacings


def assert_mean(draws: np.ndarray, expected: np.ndarray | float, slack: float = 1e-12) -> None:
    """The mean of `draws` along the first dimension is `expected`, within the standard errors of the level."""
    error = np.abs(draws.mean(0) - expected)
    allowed = STANDARD_ERRORS * draws.std(0, ddof=1) / np.sqrt(len(draws)) + slack * (1 + np.abs(expected))
    assert np.all(error <= allowed), f"means {draws.mean(0)}, expected {expected}, error {error}, allowed {allowed}"


def assert_uniform(levels: np.ndarray) -> None:
    """Kolmogorov-Smirnov: `levels`, the reference cdf at each draw, look uniform on [0, 1], column by column."""
    for column in levels.reshape(len(levels), -1).T:
        p = stats.kstest(column, "uniform").pvalue
        assert p >= LEVEL, f"KS p-value {p:.3g} below {LEVEL:.3g} for {len(levels)} draws"


def assert_frequencies(counts: np.ndarray, probs: np.ndarray) -> None:
    """Chi-square: `counts` fit `probs`; cells that expect fewer than 10 are pooled, impossible cells must be empty."""
    total = counts.sum()
    assert counts[probs == 0].sum() == 0, "draws where the mass is zero"
    expected = probs * total
    rare = expected < 10
    pooled_counts = np.append(counts[~rare], counts[rare].sum())
    pooled = np.append(expected[~rare], total - expected[~rare].sum())
    keep = pooled > 1e-9 * total
    pooled_counts, pooled = pooled_counts[keep], pooled[keep]
    if len(pooled) == 1:
        assert pooled_counts[0] == total
        return
    statistic = ((pooled_counts - pooled) ** 2 / pooled).sum()
    p = stats.chi2.sf(statistic, len(pooled) - 1)
    assert p >= LEVEL, f"chi-square p-value {p:.3g} below {LEVEL:.3g}"


def assert_follows(draws: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray], *, whole: bool = False) -> None:
    """Chi-square over about 200 cells, and repeated values: rounded `draws` come from the law of `cdf`.

    Cells end at order statistics of the first 5 % of the draws; the others are counted, against differences of `cdf`
    halfway to the next float. What lies beyond the ends of the dtype is expected at these ends, and a cell may hold as
    many draws too many as have an end within `OFF` spacings. Between the outermost ends a value may occur twice as
    often as the floats there make likely, or the 24 or 53 bits of a uniform number.

    Args:
        draws: one dimension, float32 or float64 as the sampler made them.
        cdf: from float64 points to P(X <= x).
        whole: the draws are counts, which repeat.
    """
    assert not np.isnan(draws).any(), f"{np.isnan(draws).sum()} draws are nan"
    pilot = int(PILOT * len(draws))
    ends = _cell_ends(np.sort(draws[:pilot]), whole=whole)
    rest = np.sort(draws[pilot:])
    step = np.spacing(np.minimum(np.abs(ends), np.finfo(ends.dtype).max / 2)).astype(float)
    cut = np.clip(ends.astype(float) + np.maximum(step, float(whole)) / 2, -HELD, HELD)
    off = np.where(whole & (step <= 1), 0.0, OFF * step)
    below, level, above = cdf(np.stack([cut - off, cut, cut + off]))
    _assert_reach(draws, cdf)
    n, reached = len(rest), np.searchsorted(rest, ends, side="right")
    expected = n * np.diff(level, prepend=0.0, append=1.0)
    counts = np.diff(reached, prepend=0, append=n)
    unsure = n * np.maximum(level - below, above - level)
    _assert_cells(counts, expected, np.append(unsure, 0.0) + np.insert(unsure, 0, 0.0))
    if not whole and len(ends) > 1:
        inner = rest[reached[0] : reached[-1]]
        repeats = (inner[1:] == inner[:-1]).sum()
        each = np.maximum(expected[1:-1] / (np.diff(ends.astype(float)) / step[1:]), unsure[1:] / OFF)
        each = np.maximum(each, unsure[:-1] / OFF)
        likely = (expected[1:-1] * each).sum() / 2 + len(inner) ** 2 * np.finfo(draws.dtype).eps / 4
        assert repeats <= 4 * likely + 30, f"{repeats} values repeat, {likely:.3g} are likely"


def _assert_reach(draws: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray]) -> None:
    """Nothing is left out beyond the least and the largest draw, unless there are no floats for it."""
    facts = np.finfo(draws.dtype)
    low, high = draws.min(), draws.max()
    both = np.clip(np.array([low, high], dtype=float), -HELD, HELD)
    off = OFF * np.spacing(np.minimum(np.abs(both), facts.max / 2).astype(draws.dtype)).astype(float)
    below, upto = cdf(both + np.array([-1, 1]) * off)
    assert low == facts.tiny or low < -0.999 * facts.max or below * len(draws) < 20, f"no draw below {low}: {below:.3g}"
    assert high > 0.999 * facts.max or (1 - upto) * len(draws) < 20, f"no draw above {high}: {1 - upto:.3g}"


def _cell_ends(pilot: np.ndarray, *, whole: bool) -> np.ndarray:
    """Floats up to which cells reach: the least one where draws are pushed to the bottom, not the last at the top."""
    outer = np.array([0, 4, 40])
    values = np.unique(pilot[np.concatenate([outer, np.arange(1, CELLS) * len(pilot) // CELLS, -1 - outer])])
    less, more = np.searchsorted(pilot, values), len(pilot) - np.searchsorted(pilot, values, side="right")
    before = np.nextafter(values, -np.inf, dtype=values.dtype)
    before = np.minimum(before, values - 1) if whole else before
    ends, kept = np.unique(np.where(more < less, before, values)), []
    for end in ends:
        width = WIDE * np.spacing(np.minimum(np.abs(end), np.finfo(end.dtype).max / 2)).astype(float)
        if not kept or end - kept[-1] >= (width if width > WIDE or not whole else 1):
            kept.append(end)
    return np.array(kept, dtype=pilot.dtype)


def _assert_cells(counts: np.ndarray, expected: np.ndarray, doubt: np.ndarray) -> None:
    rare = expected < 10
    counts, expected, doubt = (np.append(v[~rare], v[rare].sum()) for v in (counts, expected, doubt))
    empty = expected < 1e-3
    assert (counts[empty] <= doubt[empty] + 1).all(), f"{counts[empty]} draws where {expected[empty]} are expected"
    counts, expected, doubt = counts[~empty], expected[~empty], doubt[~empty]
    gap = np.maximum(np.abs(counts - expected) - doubt, 0.0)
    p = stats.chi2.sf((gap**2 / expected).sum(), max(len(expected) - 1, 1))
    worst = np.argsort(-(gap**2) / expected)[:3]
    shown = ", ".join(f"cell {i}: {counts[i]:.0f} for {expected[i]:.1f}" for i in worst)
    assert p >= LEVEL, f"chi-square p-value {p:.3g} below {LEVEL:.3g} over {len(expected)} cells; {shown}"

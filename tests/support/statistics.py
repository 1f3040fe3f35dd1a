"""How often a correct sampler may fail a test: the one home of that figure.

A run makes fewer than `COMPARISONS` random comparisons; each is made at level `RUN_RATE / COMPARISONS`,
so that by the union bound a run over correct code raises a false alarm with probability at most `RUN_RATE`.
Seeds follow from test names, so a run that passes once passes again on the same versions.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

RUN_RATE = 1e-5
COMPARISONS = 2000
LEVEL = RUN_RATE / COMPARISONS
STANDARD_ERRORS = float(stats.norm.isf(LEVEL / 2))  # 5.85


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

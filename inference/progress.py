"""The progress bar of a run: the loss, smoothed, and no cost worth measuring."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from tqdm import tqdm

__all__ = ["Bar", "progress_bar"]

INTERVAL = 0.2  # seconds between two redraws


class Bar:
    """A bar over `total` steps; `update` is called once per step.

    Args:
        total: how many steps there will be.
        enabled: False shows nothing, but still says what must be said.
    """

    def __init__(self, total: int, *, enabled: bool) -> None:
        self.smoothed = 0.0
        self._weight = 0.0
        self._done = 0
        self._shown_at = monotonic()
        self._bar = tqdm(total=total, unit="step", leave=True, file=sys.stderr) if enabled else None

    def update(self, loss: float) -> None:
        """Count one step."""
        self._done += 1
        # an exponential average with its start-up weight divided out, as Adam corrects its moments
        self.smoothed = 0.98 * self.smoothed + 0.02 * loss
        self._weight = 0.98 * self._weight + 0.02
        if self._bar is not None and monotonic() - self._shown_at > INTERVAL:
            self.show()

    def show(self) -> None:
        """Redraw."""
        if self._bar is None or self._done == 0:
            return
        self._shown_at = monotonic()
        self._bar.set_postfix_str(f"loss {self.smoothed / self._weight:.4g}", refresh=False)
        self._bar.update(self._done - self._bar.n)

    def say(self, text: str) -> None:
        """A line above the bar, or on standard error where there is none."""
        if self._bar is None:
            print(text, file=sys.stderr)
        else:
            self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Show the last state and end the bar."""
        self.show()
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress_bar(total: int, *, enabled: bool) -> Iterator[Bar]:
    """A `Bar` that is closed at the end, whatever happens."""
    bar = Bar(total, enabled=enabled)
    try:
        yield bar
    finally:
        bar.close()

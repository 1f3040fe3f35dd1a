"""Ratios against the peers, each measured in one process run, alternating, on one thread: `python -m benchmarks`."""

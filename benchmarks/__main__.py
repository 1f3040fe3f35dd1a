"""`python -m benchmarks [NAME ...] [--rounds N] [--quick]`: measure, print and keep the numbers."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import (
    belief_net,
    compiled,
    elbos,
    families,
    final_loss,
    first_step,
    long_run,
    passes,
    scaling,
    sites,
    svi_eight_schools,
    tails,
    variance,
)
from .report import NOT_INSTALLED, Report
from .timing import one_core

BENCHMARKS: dict[str, Callable[..., Report]] = {
    "sites": sites.run,
    "svi": svi_eight_schools.run,
    "families": families.run,
    "passes": passes.run,
    "tails": tails.run,
    "variance": variance.run,
    "belief_net": belief_net.run,
    "elbos": elbos.run,
    "compiled": compiled.run,
    "first_step": first_step.run,
    "final_loss": final_loss.run,
    "scaling": scaling.run,
    "long_run": long_run.run,
}
PEERS = ("torch", "pyro-ppl", "numpyro", "jax")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 unless a benchmark could not be trusted, which raises."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios against the peers.")
    parser.add_argument("names", nargs="*", metavar="|".join(BENCHMARKS), help="which ones; all when left out")
    parser.add_argument("--rounds", type=int, help="how many rounds the fastest is taken of (default 60)")
    parser.add_argument("--quick", action="store_true", help="one tiny round each: does it run, not how fast")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks.json"), help="where the numbers go")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    rounds = chosen.rounds or (1 if chosen.quick else 60)
    facts = environment()
    versions = ", ".join(f"{k} {v}" for k, v in facts.items())
    print(f"One core and thread, fastest of {rounds} alternating rounds. {versions}")
    reports: dict[str, Report] = {}
    for name in chosen.names or BENCHMARKS:
        with nullcontext() if name == "first_step" else one_core():  # which nobody does who waits for a compiler
            reports[name] = BENCHMARKS[name](rounds=rounds, quick=chosen.quick)
        print(f"\n{reports[name]}", flush=True)
    data = {"environment": facts, "rounds": rounds, "benchmarks": {k: r.as_data() for k, r in reports.items()}}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


def environment() -> dict[str, str]:
    """Versions of what is compared."""
    found = {"python": platform.python_version()}
    for peer in PEERS:
        try:
            found[peer] = version(peer)
        except PackageNotFoundError:
            found[peer] = NOT_INSTALLED
    return found


if __name__ == "__main__":
    sys.exit(main())

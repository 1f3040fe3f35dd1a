"""How far each estimator's mean gradient is from the exact one: `python -m tests.infer.unbiased_table [--all]`.

One line per setting, over all programs it goes with; with `--all` one per program and setting as well. Errors are in
standard errors; the standard error and the bias are in percent of the norm of the exact gradient.
"""

from __future__ import annotations

import sys
import zlib

import torch

from tests.support.unbiased import ESTIMATORS, Comparison, pairs, tried

COLUMNS = ("programs", "entries", "largest error", "beyond 2", "standard error", "off")


def head() -> str:
    return f"{'estimator':32}" + "".join(f"{name:>15}" for name in COLUMNS)


def line(name: str, found: list[Comparison]) -> str:
    off = torch.cat([one.off for one in found])
    precision, bias = max(one.precision for one in found), max(one.bias for one in found)
    beyond = float((off > 2).double().mean())
    return f"{name:32}{len(found):15}{len(off):15}{float(off.max()):15.2f}{beyond:15.1%}{precision:15.2%}{bias:15.2%}"


def main(*, everything: bool) -> None:
    torch.set_num_threads(1)
    print(head())
    known = [*pairs(), *pairs(biased=True)]
    for name in ESTIMATORS:
        found = []
        for program in (program for program, setting in known if setting == name):
            torch.manual_seed(zlib.crc32(f"{program} {name}".encode()))
            found.append(tried(program, name))
            if everything:
                print(line(f"  {program[:30]}", found[-1:]), flush=True)
        print(line(name, found), flush=True)


if __name__ == "__main__":
    main(everything="--all" in sys.argv)

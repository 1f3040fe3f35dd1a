"""Make the exact values, or the page that says how near to them the families come."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor

from ..support.families import FAMILIES
from . import page
from .values import make, write


def work(place: tuple[int, int]) -> str:
    row = FAMILIES[place[0]]
    accuracy = row.accuracy[place[1]]
    points = make(row, accuracy)
    write(row, accuracy, points)
    return f"{row.name}: {len(points)} points"


def main(what: str, *names: str) -> None:
    if what == "make":
        places = [
            (i, j) for i, row in enumerate(FAMILIES) for j in range(len(row.accuracy)) if row.name in names or not names
        ]
        with ProcessPoolExecutor(2) as pool:
            for line in pool.map(work, places):
                print(line, flush=True)
    else:
        page.main()


if __name__ == "__main__":
    main(*sys.argv[1:])

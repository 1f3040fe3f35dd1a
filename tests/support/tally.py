"""How many capabilities the families of the table have, and what they lack and why: the last lines of a test run."""

from __future__ import annotations

from collections.abc import Iterator

from .families import FAMILIES
from .table import CAPABILITIES, Lack, Row


def tally(*, verbose: bool) -> Iterator[str]:
    """One line of counts; then, when `verbose`, a line for each reason and each known gap.

    A family that stands in several rows is counted by each: its kinds have different capabilities.
    """
    lacking = [(row, *found) for row in FAMILIES for found in lacks(row)]
    silent = sum(not lack.applies for *_, lack in lacking)
    gaps = sum(len(row.gaps) for row in FAMILIES)
    yield (
        f"families: {len({row.family for row in FAMILIES})} in the table, "
        f"{len(FAMILIES) * len(CAPABILITIES) - len(lacking)} capabilities; {silent} do not apply; with a reason: "
        f"{len(lacking) - silent} without a known form, {gaps} exceptions to laws"
    )
    if verbose:
        yield from dict.fromkeys(line for row in FAMILIES for line in details(row))


def details(row: Row) -> Iterator[str]:
    """A line for each reason, with the capabilities it speaks about."""
    found: dict[Lack, list[str]] = {}
    for key, lack in row.lacks.items():
        found.setdefault(lack, []).append(key)
    for lack, keys in found.items():
        state = "no form of" if lack.applies else "does not apply:"
        yield f"    {row.name}: {state} {', '.join(keys)}: {lack.reason}"
    for law, reason in row.gaps.items():
        yield f"    {row.name}: law '{law}': {reason}"


def lacks(row: Row) -> Iterator[tuple[str, Lack]]:
    """The capabilities that no case of a row has."""
    for method in CAPABILITIES:
        lack = row.lack(method)
        if lack is not None:
            yield method, lack

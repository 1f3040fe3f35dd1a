"""What has changed from one run of a model to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppl.messages import align, cut, family, frames_text, kind, shape_of, summary
from ppl.showing import parts
from ppl.site import Site

__all__ = ["Difference", "Differences", "compare"]

_Fact = tuple[str, Any, Any]


class Difference(NamedTuple):
    """One change: the site, what changed, how it was and is, in words, and by how much numbers differ at most."""

    site: str
    what: str
    before: str
    after: str
    gap: float | None = None


class Differences(tuple[Difference, ...]):
    """The changes from one trace to another, in the order of the sites. It prints as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self:
            return "no differences"
        rows = [[*map(cut, d[:4], (28, 24, 40, 40)), "" if d.gap is None else f"by {d.gap:.3g}"] for d in self]
        title = f"{len(self)} difference{'' if len(self) == 1 else 's'}"
        return "\n".join([title, *(f"  {line}" for line in align(rows, "<<<<<"))])


def compare(one: Mapping[str, Site], other: Mapping[str, Site], atol: float) -> Differences:
    """The changes from `one` to `other`."""
    found = [Difference(name, "site", kind(site), "absent") for name, site in one.items() if name not in other]
    found += [Difference(name, "site", "absent", kind(site)) for name, site in other.items() if name not in one]
    shared = [name for name in one if name in other]
    moved = [pair for pair in zip(shared, (name for name in other if name in one), strict=True) if pair[0] != pair[1]]
    found += [Difference(was, "order", was, now) for was, now in moved[:1]]
    facts = ((name, *fact) for name in shared for fact in _facts(one[name], other[name]))
    return Differences([*found, *filter(None, (_difference(*fact, atol) for fact in facts))])


def _facts(one: Site, other: Site) -> Iterator[_Fact]:
    yield "kind", kind(one), kind(other)
    yield "plates", frames_text(one.cond_indep_stack), frames_text(other.cond_indep_stack)
    if one.type == other.type == "sample":
        yield "distribution", family(one.fn), family(other.fn)
        before, after = dict(parts(one.fn)), dict(parts(other.fn))
        shared = [name for name in before if name in after]
        if not shared and family(one.fn) == family(other.fn):  # by other parameters: probs or logits
            yield "parameters", ", ".join(before), ", ".join(after)
        yield from ((f"fn.{name}", before[name], after[name]) for name in shared)
    yield "scale", one.scale, other.scale
    yield "mask", one.mask, other.mask
    yield "value", one.value, other.value
    if one.log_prob is not None and other.log_prob is not None:
        yield "log_prob", one.log_prob, other.log_prob


def _difference(site: str, what: str, before: Any, after: Any, atol: float) -> Difference | None:
    if not (isinstance(before, Tensor | float) and isinstance(after, Tensor | float)):
        return None if before is after or before == after else Difference(site, what, summary(before), summary(after))
    a, b = torch.as_tensor(before), torch.as_tensor(after)
    for fact, was, now in (("shape", shape_of(a), shape_of(b)), ("dtype", a.dtype, b.dtype)):
        if was != now:
            return Difference(site, fact if what == "value" else f"{what} {fact}", str(was), str(now))
    gap = _gap(a, b)
    return None if gap is None or gap <= atol else Difference(site, what, summary(a), summary(b), gap)


def _gap(one: Tensor, other: Tensor) -> float | None:
    """The largest absolute difference; None where all entries are equal, NaN where only one of them is a number."""
    a, b = (value.detach().cpu() for value in (one, other))
    same = (a == b) | ((a != a) & (b != b))
    wide = torch.complex128 if a.is_complex() else torch.float64
    gaps = torch.where(same, 0.0, (a.to(wide) - b.to(wide)).abs())
    return None if bool(same.all()) else float(gaps.max())

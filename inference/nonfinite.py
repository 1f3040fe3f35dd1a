"""Who made the loss infinite or nan: the same step once more, with every check on, and a message that says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl import ParamStore, Trace
from ppl.runtime import Handler, Site
from ppl_dist import validating

from .elbo import ELBO

__all__ = ["explain_nonfinite"]


def explain_nonfinite(
    where: str,
    bound: ELBO,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    params: ParamStore,
) -> ValueError:
    """The error for a loss that is not finite; call it with the random state of the step that failed.

    Args:
        where: the beginning of the message: what failed, and when.
        bound: the bound that was estimated.
        model: the model.
        guide: the guide.
        args: positional arguments of both.
        kwargs: keyword arguments of both.
        params: the parameters at that step.
    """
    bad_param = _first_bad(params)
    parameter = f" Parameter {bad_param}." if bad_param else ""
    try:
        with _Latest() as latest, torch.no_grad(), validating(True):
            for _ in range(1 if bound.vectorize_particles else bound.num_particles):
                model_trace, guide_trace = bound.traces(model, guide, args, kwargs)
                site = _first_bad_site(guide_trace, "guide") or _first_bad_site(model_trace, "model")
                if site:
                    break
    except ValueError as error:
        notes = getattr(error, "__notes__", [])
        place = _place(notes, latest)
        found = ValueError(f"{where}. With checks on, {place}: {error}{parameter} {_advice(bad_param)}")
        for note in notes:
            found.add_note(note)
        found.__cause__ = error
        return found
    return ValueError(f"{where}. {site or 'No single site is to blame.'}{parameter} {_advice(bad_param)}")


class _Latest(Handler):
    """Remembers the sample site that was met last: a distribution that cannot be built never becomes a site."""

    def __init__(self) -> None:
        self.sites: dict[str, str] = {}

    def process(self, site: Site) -> None:
        if site.type == "sample":
            self.sites["in the guide" if site.scored else "in the model"] = site.name


def _place(notes: Sequence[str], latest: _Latest) -> str:
    """Where an error came from, from the notes that were added on its way."""
    role = next((note for note in notes if note in ("in the guide", "in the model")), "in the program")
    for note in notes:
        if note.startswith(("while at ", "in the log_prob of ")):
            return f"{role}, {note}"
    return f'{role}, after site "{latest.sites[role]}"' if role in latest.sites else f"{role}, before its first site"


def _advice(bad_param: str | None) -> str:
    if bad_param:
        return "Try a smaller learning rate, or a constraint that keeps the parameter in its range."
    return "Try another initial value, a smaller learning rate, or data scaled to order one."


def _first_bad(values: Mapping[str, Tensor]) -> str | None:
    for name, value in values.items():
        facts = _facts(value)
        if facts:
            return f'"{name}" {facts}'
    return None


def _facts(value: Any) -> str | None:
    """`is nan at [1] (1 of 3 entries)`, or None where all entries are finite."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return None
    bad = ~value.detach().isfinite()
    count = int(bad.sum())
    if count == 0:
        return None
    place = [int(i) for i in bad.nonzero()[0]]
    at = f" at {place} ({count} of {value.numel()} entries)" if value.dim() else ""
    return f"is {value.detach()[tuple(place)].item()}{at}"


def _first_bad_site(trace: Trace, role: str) -> str | None:
    for name, site in trace.items():
        if site.type == "sample":
            what = _site_facts(site)
            if what:
                return f'Site "{name}" of the {role}: {what}, with {site.fn!r}.'
    return None


def _site_facts(site: Site) -> str | None:
    for what, value in (("its value", site.value), ("its log_prob", site.log_prob)):
        facts = _facts(value)
        if facts:
            return f"{what} {facts}"
    return None

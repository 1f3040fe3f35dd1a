"""Which estimator each latent site uses, in words: what tables say, and the note at the first step."""

from __future__ import annotations

from collections.abc import Mapping

from ppl.messages import listed
from ppl.runtime import Handler, Site

from .estimators import estimator_of

__all__ = ["estimators_in_use", "note", "watch"]


def estimators_in_use(guide_trace: Mapping[str, Site]) -> dict[str, str]:
    """What each latent site uses, by name: the estimator, its draws or its baseline, and whether it is biased.

    A site that asks for no baseline is told as with a memory for running ones, which `SVI` and `gradient_report` give.

    Args:
        guide_trace: the trace of a guide, or of any stochastic program.

    >>> import ppl, ppl_dist as dist
    >>> with ppl.handlers.trace() as tr:
    ...     k = ppl.sample("k", dist.Poisson(3.0))
    ...     z = ppl.sample("z", dist.Normal(0.0, 1.0))
    >>> estimators_in_use(tr)
    {'k': 'score, decaying average', 'z': 'pathwise'}
    """
    latent = {name: site for name, site in guide_trace.items() if site.type == "sample" and not site.is_observed}
    return {name: (site.infer.get("_estimator") or estimator_of(site)).describe(site) for name, site in latent.items()}


def note(in_use: Mapping[str, str]) -> str | None:
    """One line on the sites whose gradient is not pathwise; None where there are none."""
    groups: dict[str, list[str]] = {}
    for name, words in in_use.items():
        if not words.startswith("pathwise"):
            groups.setdefault(words, []).append(f'"{name}"')
    told = "; ".join(f"{words}, at {listed(names)}" for words, names in groups.items())
    return f"Gradients that are not pathwise: {told}." if told else None


class watch(Handler):
    """Keep the latent sites that were drawn by their estimators, by name; of several particles the last."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}

    def finish(self, site: Site) -> None:
        if "_estimator" in site.infer and site.type == "sample":
            self.sites[site.name] = site

"""The estimators of gradients, by the names that sites give them."""

from __future__ import annotations

from ppl.messages import did_you_mean, listed
from ppl.runtime import Site

from .arm import Arm
from .disarm import Disarm
from .enumerated import Enumerate
from .estimator import Context, Estimator, Guard, Part
from .measure_valued import MeasureValued
from .sampled import PathDerivative, Pathwise, Score

__all__ = ["ESTIMATORS", "Context", "Estimator", "Guard", "Part", "estimator_of"]

ESTIMATORS: dict[str, Estimator] = {
    estimator.name: estimator
    for estimator in (
        Pathwise(),
        PathDerivative(),
        Score(),
        Enumerate(),
        Arm(),
        Disarm(),
        MeasureValued(),
    )
}


def estimator_of(site: Site) -> Estimator:
    """What a latent site asks for: pathwise where the family has it and nothing else was asked, else score.

    Raises:
        ValueError: the estimator is unknown, or cannot be used at this site.
    """
    asked = site.infer.get("estimator")
    if asked is None:
        if site.infer.get("enumerate") and "num_samples" not in site.infer:  # as existing scripts ask for it
            asked = "enumerate"
        else:
            return ESTIMATORS["pathwise" if site.fn.has_rsample else "score"]
    found = ESTIMATORS.get(asked)
    if found is None:
        raise ValueError(
            f'site "{site.name}": unknown estimator {asked!r}{did_you_mean(str(asked), ESTIMATORS)} '
            f'Expected one of {listed(ESTIMATORS)}. Try infer={{"estimator": "score"}}.'
        )
    found.check(site)
    return found

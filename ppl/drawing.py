"""Drawing the value of a site: pathwise where the distribution can, and from the site's own generator if it has one."""

from __future__ import annotations

from typing import Any

import torch

from ppl.site import Site
from ppl_dist.samplers import draw_from, takes_generator

__all__ = ["draw", "draw_as_asked"]


def draw(name: str, fn: Any, generator: torch.Generator | None = None, *, pathwise: bool = True) -> Any:
    """A value for the site `name` from its distribution; it carries a gradient where `has_rsample` and `pathwise`."""
    try:
        method = fn.rsample if fn.has_rsample and pathwise else fn.sample
        if generator is None:
            return method()
    except (AttributeError, TypeError):
        if isinstance(fn, type) or not hasattr(fn, "log_prob"):
            raise _not_a_distribution(name, fn) from None
        raise
    return draw_from(method, generator)


def draw_as_asked(site: Site) -> None:
    """Give `site` a value as it asks: by its estimator, from its generator, with its log density where it can."""
    fn, generator = site.fn, site.generator
    pathwise = site.infer.get("estimator") != "score"
    if site.scored and pathwise and _can_score(fn):
        site.value, site.unscaled_log_prob = fn.rsample_and_log_prob(generator=generator)
    else:
        site.value = draw(site.name, fn, generator, pathwise=pathwise)
    site.generator = None  # it has done its work; a finished site can be pickled


def _can_score(fn: Any) -> bool:
    """Whether `fn` draws a value together with its log density, from any generator."""
    method = getattr(type(fn), "rsample_and_log_prob", None)
    return method is not None and fn.has_rsample and takes_generator(type(fn).rsample)


def _not_a_distribution(name: str, fn: Any) -> TypeError:
    got = f"the class {fn.__name__}" if isinstance(fn, type) else type(fn).__name__
    return TypeError(
        f'site "{name}": expected a distribution (sample, log_prob, batch_shape, event_shape), got {got}. '
        f'Try sample("x", Normal(0.0, 1.0)).'
    )

"""Drawing the value of a site: pathwise where the distribution can, and from the site's own generator if it has one."""

from __future__ import annotations

from typing import Any

from ppl.site import Site
from ppl_dist.samplers import draw_from, takes_generator

__all__ = ["draw", "draw_as_asked", "refuse"]


def draw(name: str, fn: Any, generator: Any = None, *, pathwise: bool = True) -> Any:
    """A value for the site `name` from its distribution; it carries a gradient where `has_rsample`."""
    try:
        return draw_from(fn.rsample if pathwise and fn.has_rsample else fn.sample, generator)
    except (AttributeError, TypeError):
        refuse(name, fn)
        raise


def draw_as_asked(site: Site) -> None:
    """Give `site` a value as it asks: by its estimator, from its generator, with its log density where it can.

    Inference may draw it in a way of its own: then `infer["_draw"]` takes the site.
    """
    fn, generator = site.fn, site.generator
    if "_draw" in site.infer:
        return site.infer.pop("_draw")(site)  # type: ignore[no-any-return]  # it gives nothing back
    pathwise = site.infer.get("estimator") != "score"
    if site.scored and pathwise and _can_score(fn):
        site.value, site.unscaled_log_prob = fn.rsample_and_log_prob(generator=generator)
    else:
        site.value = draw(site.name, fn, generator, pathwise=pathwise)


def _can_score(fn: Any) -> bool:
    """Whether `fn` draws a value together with its log density, from any generator."""
    method = getattr(type(fn), "rsample_and_log_prob", None)
    return method is not None and fn.has_rsample and takes_generator(type(fn).rsample)


def refuse(name: str, fn: Any) -> None:
    """Raise if `fn` is no distribution."""
    if hasattr(fn, "log_prob") and not isinstance(fn, type):
        return
    got = f"the class {fn.__name__}" if isinstance(fn, type) else type(fn).__name__
    raise TypeError(
        f'site "{name}": expected a distribution (sample, log_prob, batch_shape, event_shape), got {got}. '
        f'Try sample("x", Normal(0.0, 1.0)).'
    ) from None

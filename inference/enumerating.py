"""`config_enumerate`: ask for the enumeration of all discrete sites of a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.handlers import infer_config
from ppl.runtime import Site

from .estimators.enumerated import has_list

__all__ = ["config_enumerate"]


def config_enumerate(
    fn: Callable[..., Any] | None = None,
    default: str | None = "parallel",
    expand: bool = False,
    num_samples: int | None = None,
) -> infer_config:
    """Put `infer={"enumerate": default}` on every latent site whose values can be listed, where it has none itself.

    Args:
        fn: the model or guide; without one, a decorator.
        default: "parallel" or "sequential", which are both summed exactly; None changes nothing.
        expand: repeat the values for every entry of the batch.
        num_samples: draw so many values of every site instead, whatever its family; None lists them all.

    Raises:
        ValueError: `default` is another word, or `num_samples` does not fit.

    >>> import torch, ppl, ppl_dist as dist
    >>> @config_enumerate
    ... def guide():
    ...     return ppl.sample("z", dist.Bernoulli(0.5))
    >>> ppl.handlers.trace(guide).get_trace()["z"].infer["enumerate"]
    'parallel'
    """
    if default not in ("parallel", "sequential", None):
        raise ValueError(
            f'config_enumerate: default must be "parallel", "sequential" or None, got {default!r}. '
            f'Try config_enumerate(program, default="parallel").'
        )
    if num_samples is not None and (default != "parallel" or num_samples < 1):
        raise ValueError(
            f'config_enumerate: num_samples must be at least 1, with default "parallel"; got num_samples '
            f'{num_samples}, default {default!r}. Try config_enumerate(program, "parallel", num_samples=10).'
        )
    advice: dict[str, Any] = {"enumerate": default, "expand": expand}
    if num_samples is not None:
        advice["num_samples"] = num_samples

    def ask(site: Site) -> dict[str, Any]:
        wanted = site.type == "sample" and not site.is_observed and default is not None
        fits = wanted and not site.infer.keys() & {"enumerate", "estimator"}
        return advice if fits and (num_samples is not None or has_list(site.fn)) else {}

    return infer_config(fn, ask)

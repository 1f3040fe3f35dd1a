"""The words a model is written with.

With no handler active a primitive acts at once and builds no `Site`: a model is then an ordinary function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ppl.checks import checked_mask
from ppl.drawing import draw
from ppl.params import get_param_store
from ppl.runtime import Site, current, emit
from ppl_dist import Unit, constraints
from ppl_dist.constraints import Constraint
from ppl_dist.shapes import unflatten_mask

__all__ = ["deterministic", "factor", "module", "observe", "param", "sample"]

Module = TypeVar("Module", bound=nn.Module)


def as_value(value: Any) -> Any:
    """Numbers, lists and arrays as tensors; anything else as it is. Bools become 0.0 and 1.0, as samples are."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, bool):
        return torch.tensor(float(value))
    if isinstance(value, int | float | list | tuple) or hasattr(value, "__array__"):
        return torch.as_tensor(value)
    return value


def sample(
    name: str,
    fn: Any,
    obs: Any = None,
    *,
    obs_mask: Tensor | bool | None = None,
    infer: Mapping[str, Any] | None = None,
) -> Any:
    """Draw from a distribution, or observe it: the statement a model is made of.

    Args:
        name: name of the site, unique in the model.
        fn: a distribution, of `ppl_dist` or of `torch.distributions`.
        obs: the observed value; numbers become tensors.
        obs_mask: booleans that broadcast with the batch shape: which entries of `obs` were observed. The others are
            drawn, at a site `name_unobserved` beside `name_observed`; `name` is then where the two come together.
        infer: advice to inference, for instance `{"estimator": "score"}`.

    Returns:
        The value, of shape `batch_shape + event_shape`; inside plates the batch shape has their sizes. A draw carries
        the pathwise gradient where the distribution has one.

    >>> import ppl_dist as dist
    >>> sample("x", dist.Normal(0.0, 1.0), obs=0.5)
    tensor(0.5000)
    """
    if obs_mask is not None:
        return _partly_observed(name, fn, obs, obs_mask, infer)
    if current() is None:
        return draw(name, fn) if obs is None else as_value(obs)
    advice = {} if infer is None else dict(infer)
    if obs is None:
        return emit(Site("sample", name, fn, None, False, advice)).value
    return emit(Site("sample", name, fn, as_value(obs), True, advice)).value


def _partly_observed(name: str, fn: Any, obs: Any, obs_mask: Any, infer: Mapping[str, Any] | None) -> Tensor:
    """Two sites, each counted where it holds, and the value made of both."""
    if obs is None:
        raise TypeError(
            f'site "{name}": obs_mask says which entries of obs were observed, and obs is None. '
            f'Try sample("{name}", fn, obs=values, obs_mask=obs_mask).'
        )
    keep = torch.as_tensor(checked_mask(f'site "{name}"', "obs_mask", obs_mask))
    seen = Site("sample", f"{name}_observed", fn, as_value(obs), is_observed=True, infer=dict(infer or {}))
    rest = Site("sample", f"{name}_unobserved", fn, infer=dict(infer or {}))
    for site, mask in ((seen, keep), (rest, ~keep)):
        site.mask = mask
        emit(site)
    event_dim, shape = len(fn.event_shape), tuple(keep.shape)
    batch = tuple(rest.value.shape[: rest.value.dim() - event_dim])
    if len(shape) > len(batch) or any(k not in (1, b) for k, b in zip(shape[::-1], batch[::-1], strict=False)):
        raise ValueError(
            f'site "{name}": obs_mask must broadcast to the batch shape {batch} of the site, got shape {shape}. '
            f"Try a mask of that shape, or a plate around the site."
        )
    return deterministic(name, torch.where(unflatten_mask(keep, event_dim), seen.value, rest.value), event_dim)


def observe(name: str, fn: Any, value: Any) -> Any:
    """Observe `value` from `fn`: `sample` with the value given.

    Args:
        name: name of the site, unique in the model.
        fn: a distribution.
        value: the observed value; numbers become tensors.
    """
    if value is None:
        raise TypeError(f'observe: site "{name}" needs a value, got None. Try sample("{name}", fn) to draw one.')
    return sample(name, fn, value)


def deterministic(name: str, value: Tensor, event_dim: int | None = None) -> Tensor:
    """Record a value computed from others, so that traces and predictions show it.

    Args:
        name: name of the site, unique in the model.
        value: the value.
        event_dim: how many of its rightmost dimensions are not batch dimensions; advice to readers of the trace.
    """
    if current() is not None:
        kwargs = {"event_dim": event_dim}
        value = emit(Site("deterministic", name, None, as_value(value), kwargs=kwargs)).value
    return value


def factor(name: str, log_factor: Tensor | float, *, has_rsample: bool | None = None) -> None:
    """Add `log_factor` (nats) to the log joint density.

    Args:
        name: name of the site, unique in the model.
        log_factor: its shape is a batch shape, claimed by plates like that of any site.
        has_rsample: in a guide, whether the factor depends on parameters through pathwise draws only.
    """
    if current() is not None:
        unit = Unit(log_factor, has_rsample=bool(has_rsample), validate_args=False)  # NaN may lie under a mask
        emit(Site("sample", name, unit, unit.sample(), is_observed=True))


def param(
    name: str,
    init: Tensor | float | Callable[[], Tensor] | None = None,
    constraint: Constraint = constraints.real,
    event_dim: int | None = None,
) -> Tensor:
    """A learnable parameter of the ambient `ParamStore`, registered the first time it is met.

    Args:
        name: name of the parameter.
        init: initial value, inside the constraint, or a function that gives it; may be left out once registered.
        constraint: the set the parameter stays in. What is learned is an unconstrained tensor.
        event_dim: how many rightmost dimensions belong together. Inside a subsampled plate, a parameter with
            `event_dim` given is cut down to the minibatch along the dimension of the plate.

    Returns:
        The constrained value, a differentiable function of the unconstrained one.

    Raises:
        ValueError: `init` is missing or outside the constraint, or the name has another shape or constraint already.

    >>> from ppl import ParamStore
    >>> with ParamStore():
    ...     param("scale", 2.0, constraint=constraints.positive).item()
    2.0
    """
    store = get_param_store()
    if current() is None:
        return store.get_or_init(name, init, constraint, event_dim)
    kwargs = {"constraint": constraint, "event_dim": event_dim}
    value: Tensor = emit(Site("param", name, store.get_or_init, args=(init,), kwargs=kwargs)).value
    return value


def module(name: str, nn_module: Module) -> Module:
    """Make the parameters of a torch module learnable: one param site per parameter that requires a gradient.

    The sites are called `name$$$parameter`. The parameters of the module itself are what is learned, so it can
    be used as usual afterwards.

    Args:
        name: prefix of the names.
        nn_module: the module.

    Returns:
        The module; or, where a handler or another store gave other values, a copy of it with these values in place
        of its parameters. The copy shares the buffers.
    """
    store, active = get_param_store(), current() is not None
    replaced: dict[int, Tensor] = {}
    for key, own in nn_module.named_parameters():
        if own.requires_grad:
            full = f"{name}$$${key}"
            value = emit(Site("param", full, store.adopt, args=(own,))).value if active else store.adopt(full, own)
            if value is not own:
                replaced[id(own)] = value
    return with_parameters(nn_module, replaced, {}) if replaced else nn_module


def with_parameters(old: Any, replaced: Mapping[int, Tensor], memo: dict[int, Any]) -> Any:
    """A copy of the tree of modules under `old`, with other tensors in place of the replaced parameters."""
    if id(old) in memo:
        return memo[id(old)]

    def swap(value: Any) -> Any:
        if isinstance(value, list) and any(id(item) in replaced for item in value):  # recurrent layers keep such lists
            return [swap(item) for item in value]
        return replaced.get(id(value), value)

    new = memo[id(old)] = object.__new__(type(old))
    new.__dict__.update({key: swap(value) for key, value in old.__dict__.items()})
    new.__dict__["_copy_of"] = old.__dict__.get("_copy_of", old)
    new.__dict__["_parameters"] = {key: swap(value) for key, value in old._parameters.items()}
    new.__dict__["_modules"] = {
        key: child if child is None else with_parameters(child, replaced, memo) for key, child in old._modules.items()
    }
    return new

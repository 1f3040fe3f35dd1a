"""Say by name what sites are: data, interventions, values to use, priors of parameters. And draw what was data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

import torch
from torch import nn

from ppl.drawing import refuse
from ppl.messages import did_you_mean, family, listed
from ppl.params import get_param_store
from ppl.primitives import as_value, module
from ppl.runtime import Handler, Site
from ppl.trace import Trace
from ppl_dist import Independent

__all__ = ["condition", "do", "lift", "random_module", "substitute", "uncondition"]


class _Fixing(Handler):
    """Shared by the four: what to do by name, and an error for a name that matched nothing.

    A `Trace` given as data is not searched for misspelt names: nobody typed them.
    """

    kinds, argument, example = "site", "data", '(model, data={"x": 0.5})'

    def __init__(self, fn: Callable[..., Any] | None = None, data: Mapping[str, Any] | Trace | None = None) -> None:
        super().__init__(fn)
        kind = type(self).__name__.lstrip("_")
        if not isinstance(data, Mapping):
            got = f"got {type(data).__name__}. Try {kind}{self.example}."
            raise TypeError(f"{kind}: expected {self.argument} as a dictionary by name, {got}")
        for name in (name for name, value in data.items() if value is None):
            raise TypeError(f'{kind}: site "{name}" needs a value, got None. Try leaving "{name}" out, to draw it.')
        self.strict = not isinstance(data, Trace)
        if isinstance(data, Trace):
            data = {name: site.value for name, site in data.items() if site.type in ("sample", "param")}
        self.data = {name: as_value(value) for name, value in data.items()}
        self.seen: dict[str, Site] = {}

    def begin(self) -> Self:
        run = copy.copy(self)
        run.seen = {}
        return run

    def process(self, site: Site) -> None:
        if self.accepts(site):
            self.seen.setdefault(site.name, site)
            key = self.key(site.name)
            if key in self.data:
                self.fix(site, self.data[key])

    def key(self, name: str) -> str:
        """The name by which to look up a site."""
        return name

    def accepts(self, site: Site) -> bool:
        """Whether this kind of site can be fixed."""
        return site.type == "sample"

    def fix(self, site: Site, value: Any) -> None:
        """Give the site its value, and say what that makes of it."""
        site.value = value

    def end(self, error: BaseException | None) -> None:
        known = {*self.seen, *map(self.key, self.seen)}
        name = next((name for name in self.data if name not in known), None)
        if error is None and self.strict and self.seen and name is not None:
            close, sites = did_you_mean(name, known), f"Sites: {listed(self.seen)}."
            raise ValueError(f'{type(self).__name__.lstrip("_")}: no {self.kinds} "{name}" in the model{close} {sites}')


class condition(_Fixing):
    """Observe values: the sites become data, as if they had been written with `obs`.

    Args:
        fn: the model.
        data: values by site name, or a trace whose values to take.

    Raises:
        ValueError: after the run, if a name in `data` is not a sample site of the model.
    """

    def fix(self, site: Site, value: Any) -> None:
        site.value, site.is_observed = value, True


class do(_Fixing):
    """Intervene: downstream sees the given value, and the site's own mechanism is cut off.

    The site contributes no log-probability. It goes on as a "deterministic" site with
    `infer["intervened"]` set, so that handlers further out record the value but cannot condition on it.

    Args:
        fn: the model.
        data: values by site name, or a trace whose values to take.

    Raises:
        ValueError: after the run, if a name in `data` is not a sample site of the model.
    """

    def accepts(self, site: Site) -> bool:
        return site.type == "sample" or "intervened" in site.infer  # a further intervention replaces the first

    def fix(self, site: Site, value: Any) -> None:
        site.type, site.value, site.is_observed = "deterministic", value, False
        site.infer = {**site.infer, "intervened": True}


class substitute(_Fixing):
    """Give latent sites and parameters a value without observing them: they stay latent.

    Args:
        fn: the model.
        data: values by site name (parameters: the constrained value), or a trace whose values to take.

    Raises:
        ValueError: after the run, if a name in `data` is neither a latent site nor a parameter of the model.
    """

    kinds = "latent site or parameter"

    def accepts(self, site: Site) -> bool:
        return site.type == "param" or (site.type == "sample" and not site.is_observed)


class uncondition(Handler):
    """Draw what was observed: observed sample sites become latent, as if they had been written without `obs`.

    The value that each had is kept in `infer["obs"]`, beside `infer["was_observed"]`. Factors have nothing to draw and
    stay as they are.

    Args:
        fn: the model.
    """

    def process(self, site: Site) -> None:
        if site.type == "sample" and site.is_observed and not hasattr(site.fn, "log_factor"):
            site.infer = {**site.infer, "was_observed": True, "obs": site.value}
            site.value, site.is_observed = None, False


class lift(_Fixing):
    """Draw parameters from a prior: param sites become latent sample sites, and the store does not hear of them.

    A prior is a distribution, or a function that takes the site and gives one. It is expanded to the shape of the
    parameter, and its batch dimensions become part of the event, all but those that the `event_dim` of the parameter
    leaves out.

    Args:
        fn: the model.
        prior: one prior for all parameters, or priors by name. `ppl.module` names parameters `name$$$key`; the key
            alone is enough. Parameters that are not named stay parameters.

    Raises:
        ValueError: while running, if a prior does not fit the shape of its parameter; after the run, if a name in
            `prior` is not a parameter of the model.

    >>> import ppl_dist as dist
    >>> from ppl import handlers, param
    >>> handlers.trace(lift(lambda: param("w", torch.zeros(2)), prior=dist.Normal(0.0, 1.0))).get_trace()
    Trace: 1 site
      w  latent  Normal.to_event(1)  (2,)
    """

    kinds, argument, example = "parameter", "prior", '(model, prior={"x": Normal(0.0, 1.0)})'

    def __init__(self, fn: Callable[..., Any] | None = None, prior: Any = None) -> None:
        super().__init__(fn, {"": prior} if hasattr(prior, "log_prob") or callable(prior) else prior)

    def accepts(self, site: Site) -> bool:
        return site.type == "param"

    def key(self, name: str) -> str:
        short = name.rpartition("$$$")[2]
        return next((key for key in (name, short, "") if key in self.data), short)

    def fix(self, site: Site, value: Any) -> None:
        earlier = self.seen[site.name]
        if earlier is not site:  # a parameter may be read again, and is drawn once
            site.value, site.stop = earlier.value, True
            return
        prior = value(site) if callable(value) and not hasattr(value, "log_prob") else value
        refuse(site.name, prior)
        site.fn = _fitted(site.name, prior, *_shape(site))
        site.type, site.args, site.kwargs = "sample", (), None


def _shape(site: Site) -> tuple[tuple[int, ...], int]:
    """The shape of a parameter, found without registering it, and how many of its dimensions belong to the event.

    One with an entry per index of a subsampled plate is drawn for the minibatch alone, and counts for the whole.
    """
    init = site.args[0] if site.args[0] is not None else get_param_store()[site.name]
    shape = list(torch.as_tensor(init() if callable(init) else init).shape)
    given = (site.kwargs or {}).get("event_dim")
    event_dim: int = len(shape) if given is None else given
    for frame in site.cond_indep_stack:
        if frame.dim is None or len(shape) < event_dim - frame.dim:
            continue
        if shape[frame.dim - event_dim] == frame.full_size != frame.size:
            shape[frame.dim - event_dim] = frame.size
            site.scale = site.scale * frame.full_size / max(frame.size, 1)
    return tuple(shape), event_dim


def _fitted(name: str, prior: Any, shape: tuple[int, ...], event_dim: int) -> Any:
    """The prior over values of `shape`."""
    batch, event = tuple(prior.batch_shape), tuple(prior.event_shape)
    cut = len(shape) - len(event)
    pairs = zip(reversed(batch), reversed(shape[: max(cut, 0)]), strict=False)
    if shape[cut:] != event or len(batch) > cut or any(own not in (1, size) for own, size in pairs):
        raise ValueError(
            f'lift: param "{name}" has shape {shape} but its prior {family(prior)} has shape {batch + event} '
            f'(batch {batch}, event {event}). Try prior={{"{name}": Normal(0.0, 1.0).expand({list(shape)})}}.'
        )
    wide = prior if batch == shape[:cut] else prior.expand(torch.Size(shape[:cut]))
    return Independent(wide, event_dim - len(event)) if event_dim > len(event) else wide


def random_module(name: str, nn_module: nn.Module, prior: Any) -> Callable[[], nn.Module]:
    """A function that gives copies of a torch module with parameters drawn from a prior, at sites `name$$$key`.

    Args:
        name: prefix of the names.
        nn_module: the module; it stays as it is.
        prior: as for `handlers.lift`. Parameters without a prior are learned, as by `module`.

    >>> import ppl_dist as dist
    >>> net = random_module("net", nn.Linear(2, 1), prior=dist.Normal(0.0, 1.0))
    >>> net()(torch.zeros(5, 2)).shape
    torch.Size([5, 1])
    """
    return partial(lift(module, prior=prior), name, nn_module)

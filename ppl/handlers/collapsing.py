"""Integrate latent sites out, exactly, where what they are the parameter of is conjugate to them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

import ppl_dist as dist
from ppl.messages import call_text, family, frames_text, listed, shape_of
from ppl.provenance import provenance, track
from ppl.runtime import Site, current
from ppl_dist.samplers import draw
from ppl_dist.shapes import broadcast_shapes

__all__ = ["collapse"]

_Statistics = Callable[[Any, Tensor], tuple[Tensor, ...]]


def _normal(weighted: Tensor, precision: Tensor) -> dist.Normal:
    return dist.Normal(weighted / precision, precision.rsqrt())


def _one_hot(d: Any, x: Tensor) -> tuple[Tensor]:
    return ((x.unsqueeze(-1) == torch.arange(d.probs.shape[-1], device=x.device)).to(d.probs.dtype),)


# the numbers of a prior to which an observation adds its statistics, and the distribution with other such numbers
_PRIORS: dict[type, tuple[Callable[[Any], tuple[Tensor, ...]], Callable[..., Any]]] = {
    dist.Beta: (lambda d: (d.concentration1, d.concentration0), dist.Beta),
    dist.Gamma: (lambda d: (d.concentration, d.rate), dist.Gamma),
    dist.Dirichlet: (lambda d: (d.concentration,), dist.Dirichlet),
    dist.Normal: (lambda d: (d.loc / d.scale**2, d.scale**-2), _normal),
}
# the parameter of a likelihood that the prior is conjugate to, and the statistics of an observation
_PAIRS: dict[tuple[type, type], tuple[str, _Statistics]] = {
    (dist.Beta, dist.Bernoulli): ("probs", lambda d, x: (x, 1 - x)),
    (dist.Beta, dist.Binomial): ("probs", lambda d, x: (x, d.total_count - x)),
    (dist.Beta, dist.Geometric): ("probs", lambda d, x: (torch.ones_like(x), x)),
    (dist.Beta, dist.NegativeBinomial): ("probs", lambda d, x: (x, d.total_count)),
    (dist.Gamma, dist.Poisson): ("rate", lambda d, x: (x, torch.ones_like(x))),
    (dist.Gamma, dist.Exponential): ("rate", lambda d, x: (torch.ones_like(x), x)),
    (dist.Gamma, dist.Gamma): ("rate", lambda d, x: (d.concentration, x)),
    (dist.Dirichlet, dist.Categorical): ("probs", _one_hot),
    (dist.Dirichlet, dist.OneHotCategorical): ("probs", lambda d, x: (x,)),
    (dist.Dirichlet, dist.Multinomial): ("probs", lambda d, x: (x,)),
    (dist.Normal, dist.Normal): ("loc", lambda d, x: (x / d.scale**2, d.scale**-2)),
}


class collapse(track):
    """Integrate latent sites out where what is drawn from them is conjugate: their density leaves the model.

    A latent site of a family that is a conjugate prior becomes a deterministic one, and what has it as its parameter
    gets the density that is left when it is integrated out, given all that came before. The log joint density of a
    trace is then the exact log marginal density of the other sites. The pairs are Beta with Bernoulli, Binomial,
    Geometric and NegativeBinomial; Gamma with Poisson, Exponential and the rate of Gamma; Dirichlet with Categorical,
    OneHotCategorical and Multinomial; Normal with the `loc` of Normal.

    The value of a collapsed site is a draw from its prior. After the run its `infer["posterior"]` is its law given the
    values of the other sites. This is the delayed sampling of Murray et al. (2018), "Delayed sampling and automatic
    Rao-Blackwellization of probabilistic programs", without its chains: a latent site below a collapsed one is drawn.

    Args:
        fn: the model.

    Raises:
        ValueError: a collapsed site is used in any other way, or what is drawn from it is below a mask or a scale.
            A site with `infer={"collapse": False}` stays in the model.

    >>> from ppl import handlers, plate, sample
    >>> def model(y):
    ...     p = sample("p", dist.Beta(1.0, 1.0))
    ...     with plate("data", len(y)):
    ...         sample("y", dist.Bernoulli(p), obs=y)
    >>> tr = handlers.trace(collapse(model)).get_trace(torch.tensor([1.0, 0.0, 1.0]))
    >>> tr.log_prob_sum().exp()  # 2! 1! / 4!
    tensor(0.0833)
    >>> tr["p"].infer["posterior"]
    Beta(concentration1: 3, concentration0: 2)
    """

    latents: dict[str, Site]  # the collapsed sites
    same: dict[int, tuple[Tensor, int, str]]  # by id, the tensors that hold the value of one, with their versions

    def begin(self) -> Self:
        stack = current()
        around = frames_text([frame for frame in stack.frames if frame.dim is not None]) if stack else ""
        if around:
            raise ValueError(f"collapse: expected no plate around it, got {around}. Try opening the plate inside.")
        run = super().begin()
        run.latents, run.same = {}, {}
        return run

    def process(self, site: Site) -> None:
        if site.type not in ("sample", "deterministic"):
            return
        fn = site.fn if site.type == "sample" else None
        names = (self.read | provenance((fn, site.scale, site.mask, site.value))) & self.latents.keys()
        if names:
            self._check(site, names)
            site.fn = _Predictive(self.latents[min(names)], fn)
        elif type(fn) in _PRIORS and site.value is None and _counts_once(site) and site.infer.get("collapse", True):
            site.type, self.latents[site.name] = "deterministic", site

    def finish(self, site: Site) -> None:
        super().finish(site)
        if self.latents.get(site.name) is site:
            site.infer["posterior"] = site.fn
            self._hold(site.value, site.name)
        elif isinstance(site.fn, _Predictive) and site.type == "sample":
            if shape_of(site.mask) or shape_of(site.scale):  # of handlers further out; a number scales all alike
                raise ValueError(_refusal(site, site.fn.latent, "one below a mask or a scale"))
            site.fn.latent.infer["posterior"] = site.fn.posterior(site.value)

    def watch(self, name: str, args: Any, kwargs: Any, result: Any, read: frozenset[str]) -> None:
        super().watch(name, args, kwargs, result, read)
        held = self._held(args[0]) if args else None
        if held in self.latents and name in ("expand", "broadcast_to"):
            self._hold(result, held)
        elif held in self.latents and type(self.latents[held].fn) is dist.Dirichlet:  # families normalise shares
            total = f"the sum of {held}"
            if name == "sum" and (args[1:], kwargs) == ((-1,), {"keepdim": True}):
                self._hold(result, total)
            elif name == "div" and self._held(args[1]) == total:
                self._hold(result, held)

    def _hold(self, value: Tensor, name: str) -> None:
        self.same[id(value)] = value, value._version, name

    def _held(self, value: Any) -> str | None:
        """The name of what this tensor holds, unchanged: a collapsed site, repeated along plates perhaps."""
        tensor, version, name = self.same.get(id(value), (None, 0, ""))
        return name if tensor is not None and tensor._version == version else None

    def _check(self, site: Site, names: frozenset[str]) -> None:
        """Raise unless the site has one collapsed site, as it is, as the right parameter and nowhere else."""
        latent = self.latents[min(names)]
        key, _ = _PAIRS.get((type(latent.fn), type(site.fn)), ("", None))
        parameters = getattr(site.fn, "__dict__", {})
        used = [name for name, value in parameters.items() if provenance(value) & names]
        if latent.name in self.read:
            got = "a decision after a look at it"
        elif used and (used != [key] or self._held(parameters[key]) != latent.name):
            got = f"it or an expression of it in {listed(used)} of {family(site.fn)}"
        elif not used or provenance((site.scale, site.mask, site.value)) & names:
            got = f"it in the value, the mask or the scale of a {site.type} site"
        elif not _counts_once(site):
            got = "one below a mask or a scale"
        else:
            return
        raise ValueError(_refusal(site, latent, got))


class _Predictive(dist.Distribution):
    """A distribution `fn` of which one parameter is integrated out over the present posterior of `latent`.

    With z for the parameter, p(x) = p(z) p(x | z) / p(z | x) at any z. What shares one z is one draw: the log density
    has the batch shape of z, where that of a draw may be wider.
    """

    def __init__(self, latent: Site, fn: Any) -> None:
        super().__init__(fn.batch_shape, fn.event_shape)
        self.latent, self.fn, self.prior = latent, fn, latent.infer["posterior"]
        self.parameter, self.statistics = _PAIRS[type(self.prior), type(fn)]
        self.has_rsample = fn.has_rsample  # type: ignore[misc]  # it depends on the instance here

    @property
    def support(self) -> Any:
        return self.fn.support

    def rsample(self, sample_shape: Any = (), *, generator: torch.Generator | None = None) -> Tensor:
        if sample_shape:  # draws of their own have a parameter of their own each
            return torch.stack([self.rsample(sample_shape[1:], generator=generator) for _ in range(sample_shape[0])])
        return draw(self._given(draw(self.prior, torch.Size(), generator)), torch.Size(), generator)

    def log_prob(self, value: Tensor) -> Tensor:
        posterior = self.posterior(value)
        z = posterior.mean.detach()
        likelihood = self._total(self._given(z).log_prob(value), value, self.prior.batch_shape)
        total: Tensor = self.prior.log_prob(z) + likelihood - posterior.log_prob(z)
        return total

    def posterior(self, value: Tensor) -> Any:
        """The law of the parameter given that this value was drawn."""
        numbers, build = _PRIORS[type(self.prior)]
        pairs = zip(numbers(self.prior), self.statistics(self.fn, value), strict=True)
        return build(*(old + self._total(added, value, old.shape) for old, added in pairs))

    def _total(self, terms: Tensor, value: Tensor, shape: torch.Size) -> Tensor:
        """The sum over all that shares one parameter: from batch and event dimensions to `shape`."""
        events = len(shape) - len(self.prior.batch_shape)
        batch = broadcast_shapes([self.batch_shape, value.shape[: value.dim() - self.event_dim]])
        return terms.expand(batch + terms.shape[terms.dim() - events :]).sum_to_size(shape)

    def _given(self, z: Tensor) -> Any:
        fn = copy.copy(self.fn)
        fn.__dict__[self.parameter] = z.expand(fn.__dict__[self.parameter].shape)
        return fn


def _counts_once(site: Site) -> bool:
    return isinstance(site.scale, float) and site.scale == 1.0 and (site.mask is None or site.mask is True)


def _refusal(site: Site, latent: Site, got: str) -> str:
    fits = " or ".join(
        f"`{key}` of {fn.__name__}" for (prior, fn), (key, _) in _PAIRS.items() if prior is type(latent.fn)
    )
    return (
        f'site "{site.name}": collapse needs "{latent.name}" as it is as {fits}, in sites that count once; got {got}. '
        f'Try leaving it:  sample("{latent.name}", {call_text(latent.fn)}, infer={{"collapse": False}}).'
    )

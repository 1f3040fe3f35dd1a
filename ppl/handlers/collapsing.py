"""Integrate latent sites out, exactly, where what they are the parameter of is conjugate to them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot

import ppl_dist as dist
from ppl.messages import call_text, family, frames_text, listed, shape_of
from ppl.provenance import provenance, track
from ppl.runtime import Handler, Site, enclosing
from ppl_dist.samplers import draw
from ppl_dist.shapes import broadcast_shapes

__all__ = ["collapse"]

# the parameter of a likelihood that a prior is conjugate to, the numbers of the prior to which an observation adds its
# statistics, and the distribution with other such numbers
_PRIORS: dict[type, tuple[str, Callable[[Any], tuple[Tensor, ...]], Callable[..., Any]]] = {
    dist.Beta: ("probs", lambda d: (d.concentration1, d.concentration0), dist.Beta),
    dist.Gamma: ("rate", lambda d: (d.concentration, d.rate), dist.Gamma),
    dist.Dirichlet: ("probs", lambda d: (d.concentration,), dist.Dirichlet),
    dist.Normal: ("loc", lambda d: (d.loc / d.scale**2, d.scale**-2), lambda w, p: dist.Normal(w / p, p.rsqrt())),
}
# by prior and likelihood, the statistics of an observation
_STATISTICS: dict[tuple[type, type], Callable[[Any, Tensor], tuple[Tensor, ...]]] = {
    (dist.Beta, dist.Bernoulli): lambda d, x: (x, 1 - x),
    (dist.Beta, dist.Binomial): lambda d, x: (x, d.total_count - x),
    (dist.Beta, dist.Geometric): lambda d, x: (torch.ones_like(x), x),
    (dist.Beta, dist.NegativeBinomial): lambda d, x: (x, d.total_count),
    (dist.Gamma, dist.Poisson): lambda d, x: (x, torch.ones_like(x)),
    (dist.Gamma, dist.Exponential): lambda d, x: (torch.ones_like(x), x),
    (dist.Gamma, dist.Gamma): lambda d, x: (d.concentration, x),
    (dist.Dirichlet, dist.Categorical): lambda d, x: (one_hot(x.long(), d.probs.shape[-1]),),
    (dist.Dirichlet, dist.OneHotCategorical): lambda d, x: (x,),
    (dist.Dirichlet, dist.Multinomial): lambda d, x: (x,),
    (dist.Normal, dist.Normal): lambda d, x: (x / d.scale**2, d.scale**-2),
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
        frames = [handler.frame for handler in enclosing(Handler) if handler.frame is not None]
        if around := [frame for frame in frames if frame.dim is not None]:
            raise ValueError(
                f"collapse: expected no plate around it, got {frames_text(around)}. Try opening it inside."
            )
        run = super().begin()
        run.latents, run.same = {}, {}
        return run

    def process(self, site: Site) -> None:
        fn = site.fn if site.type == "sample" else None
        if names := (self.read | provenance((fn, site.scale, site.mask, site.value))) & self.latents.keys():
            latent = self.latents[min(names)]
            if misuse := self._misuse(site, latent, names):
                raise ValueError(_refusal(site, latent, misuse))
            site.fn = _Predictive(latent, fn)
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
        latent = self.latents.get(self._held(args[0])) if args else None
        if latent is None:
            return
        total = f"the sum of {latent.name}"  # families normalise shares
        if name in ("expand", "broadcast_to") or (name == "div" and self._held(args[1]) == total):
            self._hold(result, latent.name)
        elif type(latent.fn) is dist.Dirichlet and (name, args[1:], kwargs) == ("sum", (-1,), {"keepdim": True}):
            self._hold(result, total)

    def _hold(self, value: Tensor, name: str) -> None:
        self.same[id(value)] = value, value._version, name

    def _held(self, value: Any) -> str:
        """The name of what this tensor holds, unchanged: a collapsed site, repeated along plates perhaps."""
        tensor, version, name = self.same.get(id(value), (None, 0, ""))
        return name if tensor is not None and tensor._version == version else ""

    def _misuse(self, site: Site, latent: Site, names: frozenset[str]) -> str:
        """What the site has of collapsed ones, where it is not a single one, as it is, as the right parameter alone."""
        key = _PRIORS[type(latent.fn)][0] if (type(latent.fn), type(site.fn)) in _STATISTICS else ""
        used = [name for name, value in getattr(site.fn, "__dict__", {}).items() if provenance(value) & names]
        if latent.name in self.read:
            return "a decision after a look at it"
        if used and (used != [key] or self._held(vars(site.fn)[key]) != latent.name):
            return f"it or an expression of it in {listed(used)} of {family(site.fn)}"
        if not used or provenance((site.scale, site.mask, site.value)) & names:
            return f"it in the value, the mask or the scale of a {site.type} site"
        return "" if _counts_once(site) else "one below a mask or a scale"


class _Predictive(dist.Distribution):
    """A distribution `fn` of which one parameter is integrated out over the present posterior of `latent`.

    With z for the parameter, p(x) = p(z) p(x | z) / p(z | x) at any z. What shares one z is one draw: the log density
    has the batch shape of z, where that of a draw may be wider.
    """

    support = None  # it depends on the instance here, and so does whether a draw is pathwise

    def __init__(self, latent: Site, fn: Any) -> None:
        super().__init__(fn.batch_shape, fn.event_shape)
        self.latent, self.fn, self.prior = latent, fn, latent.infer["posterior"]
        self.support, self.has_rsample = fn.support, fn.has_rsample  # type: ignore[misc]  # of the class elsewhere

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
        _, numbers, build = _PRIORS[type(self.prior)]
        pairs = zip(numbers(self.prior), _STATISTICS[type(self.prior), type(self.fn)](self.fn, value), strict=True)
        return build(*(old + self._total(added, value, old.shape) for old, added in pairs))

    def _total(self, terms: Tensor, value: Tensor, shape: torch.Size) -> Tensor:
        """The sum over all that shares one parameter: from batch and event dimensions to `shape`."""
        events = len(shape) - len(self.prior.batch_shape)
        batch = broadcast_shapes([self.batch_shape, value.shape[: value.dim() - self.event_dim]])
        return terms.expand(batch + terms.shape[terms.dim() - events :]).sum_to_size(shape)

    def _given(self, z: Tensor) -> Any:
        fn, key = copy.copy(self.fn), _PRIORS[type(self.prior)][0]
        vars(fn)[key] = z.expand(vars(fn)[key].shape)
        return fn


def _counts_once(site: Site) -> bool:
    return isinstance(site.scale, float) and site.scale == 1.0 and (site.mask is None or site.mask is True)


def _refusal(site: Site, latent: Site, got: str) -> str:
    prior, name = type(latent.fn), latent.name
    fits = " or ".join(f"`{_PRIORS[prior][0]}` of {fn.__name__}" for other, fn in _STATISTICS if other is prior)
    return (
        f'site "{site.name}": collapse needs "{name}" as it is as {fits}, in sites that count once; got {got}. '
        f'Try leaving it:  sample("{name}", {call_text(latent.fn)}, infer={{"collapse": False}}).'
    )

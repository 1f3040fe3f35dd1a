"""Integrate latent sites out, exactly, where what they are the parameter of is conjugate to them."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor

import ppl_dist as dist
from ppl.messages import call_text, family, frames_text, listed, shape_of
from ppl.provenance import provenance, track
from ppl.runtime import Handler, Site, enclosing
from ppl_dist.conjugate import PRIORS, STATISTICS, Predictive

__all__ = ["collapse"]


class collapse(track):
    """Integrate latent sites out where what is drawn from them is conjugate: their density leaves the model.

    A latent site of a family that is a conjugate prior becomes a deterministic one, and what has it as its parameter
    gets the density that is left when it is integrated out, given all that came before. The log joint density of a
    trace is then the exact log marginal density of the other sites. The pairs are Beta with Bernoulli, Binomial,
    Geometric and NegativeBinomial; Gamma with Poisson, Exponential and the rate of Gamma; Dirichlet with Categorical,
    OneHotCategorical and Multinomial; Normal with the `loc` of Normal.

    The value of a collapsed site is a draw from its prior. After the run its `infer["posterior"]` is its law given the
    values of the other sites. This is the delayed sampling of Murray and others (arXiv 1708.07787, 2018), without its
    chains: a latent site below a collapsed one is drawn.

    Args:
        fn: the model.

    Raises:
        ValueError: a collapsed site is used in any other way, or what is drawn from it is below a mask or a scale.
            A site with `infer={"collapse": False}` stays in the model.

    >>> import torch
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
    predicted: dict[str, Site]  # by the name of a site below one, that one
    same: dict[int, tuple[Tensor, int, str]]  # by id, the tensors that hold the value of one, with their versions

    def begin(self) -> Self:
        frames = [handler.frame for handler in enclosing(Handler) if handler.frame is not None]
        if around := [frame for frame in frames if frame.dim is not None]:
            raise ValueError(
                f"collapse: expected no plate around it, got {frames_text(around)}. Try opening it inside."
            )
        run = super().begin()
        run.latents, run.predicted, run.same = {}, {}, {}
        return run

    def process(self, site: Site) -> None:
        fn = site.fn if site.type == "sample" else None
        if names := (provenance((fn, site.scale, site.mask, site.value)) | self.read) & self.latents.keys():
            latent = self.latents[min(names)]
            if misuse := self._misuse(site, latent, names):
                raise ValueError(_refusal(site, latent, misuse))
            self.predicted[site.name] = latent
            site.fn = Predictive(latent.infer["posterior"], fn)
        elif type(fn) in PRIORS and site.value is None and _counts_once(site) and site.infer.get("collapse", True):
            site.type, self.latents[site.name] = "deterministic", site

    def finish(self, site: Site) -> None:
        super().finish(site)
        if self.latents.get(site.name) is site:
            site.infer["posterior"] = site.fn
            self._hold(site.value, site.name)
        elif site.type == "sample" and (latent := self.predicted.get(site.name)):
            if shape_of(site.mask) or shape_of(site.scale):  # of handlers further out; a number scales all alike
                raise ValueError(_refusal(site, latent, "one below a mask or a scale"))
            latent.infer["posterior"] = site.fn.posterior(site.value)

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
        key = PRIORS[type(latent.fn)][0] if (type(latent.fn), type(site.fn)) in STATISTICS else ""
        used = [name for name, value in getattr(site.fn, "__dict__", {}).items() if provenance(value) & names]
        if latent.name in self.read:
            return "a decision after a look at it"
        if used and (used != [key] or self._held(vars(site.fn)[key]) != latent.name):
            return f"it or an expression of it in {listed(used)} of {family(site.fn)}"
        if not used or provenance((site.scale, site.mask, site.value)) & names:
            return f"it in the value, the mask or the scale of a {site.type} site"
        return "" if _counts_once(site) else "one below a mask or a scale"


def _counts_once(site: Site) -> bool:
    return isinstance(site.scale, float) and site.scale == 1.0 and (site.mask is None or site.mask is True)


def _refusal(site: Site, latent: Site, got: str) -> str:
    prior, name = type(latent.fn), latent.name
    fits = " or ".join(f"`{PRIORS[prior][0]}` of {fn.__name__}" for other, fn in STATISTICS if other is prior)
    return (
        f'site "{site.name}": collapse needs "{name}" as it is as {fits}, in sites that count once; got {got}. '
        f'Try leaving it:  sample("{name}", {call_text(latent.fn)}, infer={{"collapse": False}}).'
    )

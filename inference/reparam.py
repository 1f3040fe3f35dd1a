"""Reparameterisers: other ways to draw a site, with the same law, for guides and samplers that find them easier.

>>> import ppl_dist as dist
>>> from ppl import handlers, sample
>>> def model():
...     return sample("x", dist.Normal(3.0, 0.1))
>>> handlers.trace(handlers.reparam(model, config={"x": LocScaleReparam(0.0)})).get_trace()
Trace: 2 sites
  x_decentered  latent         Normal  ()
  x             deterministic          ()
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

import ppl_dist as dist
from ppl.messages import call_text, family, number
from ppl.primitives import factor, param, sample
from ppl.site import Site
from ppl_dist.combine.wrapper import Wrapper
from ppl_dist.samplers import unit_uniform
from ppl_dist.shapes import sum_rightmost

__all__ = [
    "AutoReparam",
    "CircularReparam",
    "DiscreteCosineReparam",
    "HaarReparam",
    "LocScaleReparam",
    "ProjectedNormalReparam",
    "Reparam",
    "SplitReparam",
    "StudentTReparam",
    "TransformReparam",
    "UnitJacobianReparam",
]


class Reparam(Protocol):
    """Another way to draw a site, with the same law: an object, or a function, called as `(name, fn, obs)`.

    It gets the name of the site, its distribution, and its observed value or None. It samples auxiliary sites
    with `ppl.sample`, called `name` and a suffix, and returns one of two things: the value of the site, which then
    becomes deterministic; or a distribution, from which the site is drawn or observed instead.

    An observed site must keep its density. To return `fn` as it came is always right.
    """

    def __call__(self, name: str, fn: Any, obs: Any) -> Any: ...


def unwrap(fn: Any) -> tuple[Any, int]:
    """The distribution under any `to_event`, and the number of dimensions that these make part of the event."""
    dims = 0
    while hasattr(fn, "reinterpreted_batch_ndims"):
        fn, dims = fn.base_dist, dims + fn.reinterpreted_batch_ndims
    return fn, dims


def wrap(fn: Any, dims: int) -> Any:
    """The inverse of `unwrap`."""
    return dist.Independent(fn, dims) if dims else fn


def through(
    name: str, suffix: str, base: Any, transform: dist.Transform, obs: Any, infer: Mapping[str, Any] | None = None
) -> Any:
    """The value of the site `name` as `transform` of an auxiliary site that is drawn from `base`.

    An observed value goes back through the transform, and the log-det of the way is a factor beside it: the density
    of the data stays as it was, whatever the parameters of the transform are.
    """
    if obs is None:
        return transform(sample(f"{name}_{suffix}", base, infer=infer))
    before = transform.inv(obs)
    sample(f"{name}_{suffix}", base, obs=before, infer=infer)
    log_det = transform.log_abs_det_jacobian(before, obs)
    factor(f"{name}_log_det", -sum_rightmost(log_det, len(base.event_shape) - transform.domain.event_dim))
    return obs


def require(reparam: object, name: str, needs: str, fn: Any, *, fits: bool) -> None:
    """Raise unless the reparameteriser knows another way to draw the site."""
    if not fits:
        raise TypeError(
            f'{type(reparam).__name__}: site "{name}" must have {needs}, got {family(fn)}. '
            f'Try a config without "{name}", or AutoReparam().'
        )


def has_loc_scale(fn: Any) -> bool:
    """Whether `fn` is the law of loc + scale z: it has both, on the whole line (so LogNormal is not)."""
    declared = {"loc", "scale"} <= set(getattr(fn, "arg_constraints", ())) and not fn.event_shape
    return declared and not (hasattr(fn.support, "lower_bound") or hasattr(fn.support, "upper_bound"))


class LocScaleReparam:
    """Partly decentre x ~ D(loc, scale): draw `x_decentered` from D(c loc, scale**c), and shift and stretch it.

    x = loc + scale**(1 - c) (z - c loc), so that c = 1 is the site as it is and c = 0 takes everything out of it:
    then z does not depend on loc and scale a priori, which is what a guide or a sampler needs in a funnel. In between,
    the best c is learned with the guide.

    Reference: Gorinova, Moore and Hoffman (2020), "Automatic Reparameterisation of Probabilistic Programs".

    Args:
        centered: c in [0, 1], a number or a tensor that broadcasts with the event; None makes it the parameter
            `x_centered`, which starts at 0.5.
        shape_params: names of the other parameters of D; () takes those that D declares.

    Raises:
        ValueError: `centered` is outside [0, 1].
    """

    def __init__(self, centered: Tensor | float | None = None, shape_params: Collection[str] = ()) -> None:
        low, high = torch.aminmax(torch.as_tensor(0.0 if centered is None else centered))
        if not (low >= 0 and high <= 1):
            wrong = number(high if low >= 0 else low)
            raise ValueError(f"LocScaleReparam: `centered` must lie in [0, 1], got {wrong}. Try centered=0.0.")
        self.centered, self.shape_params = centered, tuple(shape_params)

    def __call__(self, name: str, fn: Any, obs: Any) -> Any:
        base, dims = unwrap(fn)
        require(self, name, "loc and scale, on the whole real line", fn, fits=has_loc_scale(base))
        c, loc, scale = self.centered, base.loc, base.scale
        if c is None:
            c = param(
                f"{name}_centered", lambda: loc.new_full(fn.event_shape, 0.5), constraint=dist.constraints.unit_interval
            )
        elif not isinstance(c, Tensor) and c == 1:
            return fn
        others = {key: getattr(base, key) for key in self.shape_params or base.arg_constraints}
        rest = type(base)(**{**others, "loc": c * loc, "scale": scale**c})
        stretch = scale ** (1 - c)
        shift = dist.AffineTransform(loc - stretch * c * loc, stretch)
        return through(name, "decentered", wrap(rest, dims), shift, obs, infer={"reparam": False})


class StudentTReparam:
    """Draw x ~ StudentT(df, loc, scale) as Normal(loc, scale / sqrt(g)), with the auxiliary `x_gamma` for g.

    g ~ Gamma(df/2, df/2). The site stays what it was, latent or observed, and has light tails given g.
    """

    def __call__(self, name: str, fn: Any, obs: Any) -> Any:
        base, dims = unwrap(fn)
        require(self, name, "a StudentT distribution", fn, fits=isinstance(base, dist.StudentT))
        precision = sample(f"{name}_gamma", wrap(dist.Gamma(base.df / 2, base.df / 2), dims))
        return wrap(dist.Normal(base.loc, base.scale * precision.rsqrt()), dims)


class TransformReparam:
    """Draw x ~ TransformedDistribution(base, transforms) as the transforms of the auxiliary `x_base`.

    An observed value is carried back to the base; where the transforms cannot be turned round it stays where it is.
    """

    def __call__(self, name: str, fn: Any, obs: Any) -> Any:
        outer, dims = unwrap(fn)
        require(self, name, "a TransformedDistribution", fn, fits=isinstance(outer, dist.TransformedDistribution))
        forward = dist.ComposeTransform(outer.transforms)
        if obs is not None and not forward.bijective:
            return fn
        return through(name, "base", wrap(outer.base_dist, dims), forward, obs)


class Coordinates:
    """What reparameterisers share that draw x at `x_suffix` as `transform`(x)."""

    transform: dist.Transform
    suffix: str

    def __call__(self, name: str, fn: Any, obs: Any) -> Any:
        lacking = self.transform.domain.event_dim - len(fn.event_shape)
        if lacking > 0:
            raise ValueError(
                f'{type(self).__name__}: site "{name}" needs {self.transform.domain.event_dim} event dimension(s), got '
                f'{len(fn.event_shape)}. Try sample("{name}", {call_text(fn)}.to_event({lacking})).'
            )
        image = dist.TransformedDistribution(fn, self.transform)
        return through(name, self.suffix, image, self.transform.inv, obs)


class UnitJacobianReparam(Coordinates):
    """Draw x in other coordinates: `transform`(x) at the auxiliary site `x_suffix`, whose law is that of the image.

    Args:
        transform: a bijection, usually one that keeps volumes.
        suffix: what is put after the name.
    """

    def __init__(self, transform: dist.Transform, suffix: str = "transformed") -> None:
        self.transform, self.suffix = transform, suffix


class HaarReparam(Coordinates):
    """Draw the Haar wavelets of x, `x_haar`: smooth and local changes of a time series come apart.

    Args:
        dim: the event dimension to transform, negative.
        flip: whether to run through it backwards.
    """

    def __init__(self, dim: int = -1, flip: bool = False) -> None:
        self.transform, self.suffix = dist.HaarTransform(dim, flip), "haar"


class DiscreteCosineReparam(Coordinates):
    """Draw the cosine coefficients of x, `x_dct`: slow and fast changes of a time series come apart.

    Args:
        dim: the event dimension to transform, negative.
        smooth: what makes noise of this smoothness white: 0 for white noise, 1 for a random walk.
    """

    def __init__(self, dim: int = -1, smooth: float = 0.0) -> None:
        self.transform, self.suffix = dist.DiscreteCosineTransform(dim, smooth), "dct"


TURN = 2 * math.pi
LOG_ONE_TURN = math.log1p(-math.exp(-TURN))


def wrapped(angle: Tensor) -> Tensor:
    """The same angle from -pi to pi."""
    return (angle - TURN * (angle / TURN).round()).clamp(-math.pi, math.pi)


class Unwrapped(Wrapper):
    """The angles of `base_dist` on the whole line: of all u = x + 2 pi k, the one nearest to a logistic draw.

    density  p(u mod 2 pi) (F(v + pi) - F(v - pi)),  v = u - mean, F the logistic cdf. These differences add up to one
    over the turns k, so that u mod 2 pi has the law p; and as F(v + pi) F(pi - v) (1 - exp(-2 pi)) they are smooth and
    have one peak, so that u moves through +-pi as through any other angle.
    """

    support = dist.constraints.real

    def __init__(self, base_dist: Any) -> None:
        super().__init__(base_dist, base_dist.batch_shape)

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        x, mean = self._draw_base(shape, generator), self.base_dist.mean
        near = mean + unit_uniform(shape, x, generator).logit(eps=torch.finfo(x.dtype).eps)
        return x + TURN * ((near - x) / TURN).detach().round()

    def _log_prob(self, x: Tensor) -> Tensor:
        v = x - self.base_dist.mean
        turn = logsigmoid(math.pi + v) + logsigmoid(math.pi - v) + LOG_ONE_TURN
        return self.base_dist.log_prob(wrapped(x)) + turn


class CircularReparam:
    """Draw an angle on the real line, `x_unwrapped`, and wrap it into [-pi, pi]. An observed angle stays as it is.

    The line has no end for a guide or a sampler to run into. Every angle lies on it once per turn, with weights that
    fall off from the mean, so that the auxiliary site has a proper law and can be drawn.
    """

    def __call__(self, name: str, fn: Any, obs: Any) -> Any:
        base, dims = unwrap(fn)
        require(self, name, "angles from -pi to pi", fn, fits=base.support == dist.constraints.circular)
        if obs is not None:
            return fn
        return wrapped(sample(f"{name}_unwrapped", wrap(Unwrapped(base), dims)))


class ProjectedNormalReparam:
    """Draw a direction as that of a normal vector, `x_normal`. An observed direction stays as it is."""

    def __call__(self, name: str, fn: Any, obs: Any) -> Any:
        base, dims = unwrap(fn)
        require(self, name, "a ProjectedNormal distribution", fn, fits=isinstance(base, dist.ProjectedNormal))
        if obs is not None:
            return fn
        return dist.NormalizeTransform()(sample(f"{name}_normal", wrap(dist.Normal(base.concentration, 1.0), dims + 1)))


class Section(Wrapper):
    """One section of a draw from `base_dist`: the first draws them all, the last has the density of them all.

    The sections of one draw depend on each other as `base_dist` says, which need not know the law of a section alone.
    So the density is counted once, where all are known, and is 1 before.
    """

    def __init__(self, base: Any, whole: SplitReparam, earlier: Sequence[Tensor], drawn: list[Tensor]) -> None:
        self.sections, self.dim, self.index = whole.sections, whole.dim, len(earlier)
        self.earlier, self.drawn = tuple(earlier), drawn
        shape = list(base.event_shape)
        shape[self.dim] = self.sections[self.index]
        super().__init__(base, base.batch_shape, shape)

    @property
    def support(self) -> Any:
        whole = self.base_dist.support
        return whole if isinstance(whole, dist.constraints.Independent) else dist.constraints.dependent

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        if self.index == 0:
            lead = shape[: len(shape) - len(self.event_shape)]
            whole = self._draw_base(lead + self.base_dist.event_shape, generator)
            self.drawn[:] = torch.split(whole, self.sections, self.dim)
        if not self.drawn:
            raise RuntimeError(
                f"SplitReparam: section {self.index} needs section 0 drawn, got it given. Try giving both."
            )
        return self.drawn[self.index]

    def _log_prob(self, x: Tensor) -> Tensor:
        if self.index < len(self.sections) - 1:
            return x.new_zeros(x.shape[: x.dim() - len(self.event_shape)])
        return self.base_dist.log_prob(torch.cat([*self.earlier, x], self.dim))


class SplitReparam:
    """Draw the sections of x along one event dimension, `x_split_0`, `x_split_1`, ..., so that each gets its own guide.

    The density of x is counted at the last section, where it is that of all of them. An observed site stays as it is.

    Args:
        sections: their sizes, which add up to that of the dimension.
        dim: the event dimension, negative.
    """

    def __init__(self, sections: Sequence[int], dim: int) -> None:
        self.sections, self.dim = list(sections), dim

    def __call__(self, name: str, fn: Any, obs: Any) -> Any:
        shape = tuple(fn.event_shape)
        if not -len(shape) <= self.dim < 0 or sum(self.sections) != shape[self.dim]:
            raise ValueError(
                f'SplitReparam: site "{name}" has event shape {shape}, which sections={self.sections} along '
                f"dim={self.dim} do not add up to. Try SplitReparam([1, {shape[-1] - 1 if shape else 1}], dim=-1)."
            )
        if obs is not None:
            return fn
        parts: list[Tensor] = []
        drawn: list[Tensor] = []
        for i in range(len(self.sections)):
            parts.append(sample(f"{name}_split_{i}", Section(fn, self, parts, drawn)))
        return torch.cat(parts, self.dim)


class AutoReparam:
    """A config for whole models: each latent site gets the reparameteriser that its distribution calls for.

    Location and scale are taken out, transforms undone where they can be (and the location and scale before them
    taken out in turn), angles unwrapped, directions made from normal vectors. A site with `infer={"reparam": False}`
    stays as it is.

    Args:
        centered: as for `LocScaleReparam`.
    """

    def __init__(self, centered: Tensor | float | None = None) -> None:
        self.loc_scale = LocScaleReparam(centered)

    def __call__(self, site: Site) -> Reparam | None:
        """The reparameteriser for `site`, or None to leave it as it is."""
        fn = unwrap(site.fn)[0]
        if site.is_observed:
            return None
        if has_loc_scale(fn):
            return self.loc_scale
        if isinstance(fn, dist.TransformedDistribution):
            return TransformReparam() if dist.ComposeTransform(fn.transforms).bijective else None
        others: dict[type, Reparam] = {dist.VonMises: CircularReparam(), dist.ProjectedNormal: ProjectedNormalReparam()}
        return others.get(type(fn))

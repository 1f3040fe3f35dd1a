"""What every estimator shares: how a site is drawn, and how the costs that follow become their expectation.

An estimator is a rule for one expectation. `draw` gives the site its value; `expect` takes what later sites and costs
came to, as a function of that value, and gives a tensor whose value and gradient are, in expectation over the draw,
those of E[cost]. The engine (`surrogate.py`) applies the rules from the last site to the first.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ppl.messages import family
from ppl.runtime import Frame, Site
from ppl_dist.samplers import draw

from ..baselines import Baselines

__all__ = [
    "Context",
    "Estimator",
    "Guard",
    "Part",
    "has_rows",
    "laid_out",
    "log_density",
    "magic_box",
    "not_differentiable",
    "once",
    "samples",
    "slope",
]


class Context(NamedTuple):
    """What else an estimator may use.

    Attributes:
        own: the weight of the log density of the site among the costs; 0 where it is none of them.
        memory: what running baselines remember; None where there is no memory.
        guard: refuses second derivatives.
        frames: the plates of the site that own a dimension.
        waits: the sites that its shares, and its own draw, may depend on, one bit each.
        dims: the dimensions of `frames` and of all rows.
    """

    own: Any
    memory: Baselines | None
    guard: Guard
    frames: frozenset[Frame]
    waits: int
    dims: frozenset[int]

    def part(self, cost: Tensor) -> Part:
        """A share of the cost-to-go of the batch shape of the site."""
        return Part(cost, self.frames, self.waits, self.dims)


class Part(NamedTuple):
    """A share of the cost-to-go of a site: the costs that still have the same plates and wait for the same sites.

    Attributes:
        cost: its batch dimensions are those of `frames`, and rows.
        frames: the plates that tell its entries apart.
        waits: the sites it depends on that are still to be passed, one bit each.
        dims: the dimensions of `frames` and of all rows.
    """

    cost: Tensor
    frames: frozenset[Frame]
    waits: int
    dims: frozenset[int]

    def fold(self, x: Tensor) -> Tensor:
        """`x`, of the batch shape of the site, added up over the dimensions that this share does not tell apart."""
        dims = [dim for dim in range(-x.dim(), 0) if x.shape[dim] != 1 and dim not in self.dims]
        return x.sum(dims, keepdim=True) if dims else x


class Estimator:
    """One way to estimate the gradient of an expectation over a site.

    Attributes:
        name: what a site calls it by, `infer={"estimator": name}`.
        biased: whether the expectation of the gradient is another one.
        any_order: whether derivatives of every order are right, or the first alone.
        through: whether the gradient goes through the draw, so that a single one leaves nothing to do.
    """

    name: ClassVar[str]
    biased: ClassVar[bool] = False
    any_order: ClassVar[bool] = False
    through: ClassVar[bool] = False

    def check(self, site: Site) -> None:
        """Raise if the estimator cannot be used at this site."""

    def rows(self, site: Site) -> bool:
        """Whether it draws several values, along a batch dimension of their own."""
        return samples(site) > 1

    def plain(self, site: Site) -> bool:
        """Whether the site is drawn as any other; `draw` is then not called."""
        return not self.rows(site)

    def draw(self, site: Site) -> None:
        """Give the site its value; rows go to the batch dimension `infer["_enumerate_dim"]`."""
        site.value = laid_out(draw(site.fn, torch.Size((samples(site),)), site.generator), site)

    def scoring(self, fn: Any) -> Any:
        """What scores such a draw in place of `fn`, in the program and in others that replay it."""
        return fn

    def path(self, site: Site) -> Tensor | None:
        """What the costs must be differentiable in, or the gradient would lack a part; None where nothing."""
        return None

    def expect(self, site: Site, parts: list[Part], context: Context) -> list[Part]:
        """The shares of the cost-to-go that are left when the expectation over the draw is taken.

        Args:
            site: the site, with its value.
            parts: the shares that depend on it.
            context: what else there is to know.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define expect(site, parts, context).")

    def describe(self, site: Site) -> str:
        """What the site uses, in a few words for a table."""
        count = samples(site)
        return f"{self.name}{f', {count} draws' if count > 1 else ''}{' (biased)' if self.biased else ''}"

    def refuse(self, site: Site, lacks: str, better: str) -> Exception:
        """The error for a family that the estimator is not for."""
        return ValueError(
            f'site "{site.name}": {family(site.fn)} {lacks}, which the estimator "{self.name}" needs. {better}'
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def magic_box(log_density: Tensor) -> Tensor:
    """One in value; its derivatives of every order are those of the density over the density.

    Foerster, Farquhar, Al-Shedivat, Rocktaeschel, Xing, Whiteson 2018, "DiCE: The Infinitely Differentiable Monte Carlo
    Estimator".
    """
    return torch.exp(log_density - log_density.detach())


def log_density(site: Site) -> Tensor:
    """The log density of a site's own draw, neither scaled nor masked.

    A minibatch scales the cost, not the score; and what is drawn under a mask moves the costs below it all the same.
    """
    if site.unscaled_log_prob is None:
        site.unscaled_log_prob = site.fn.log_prob(site.value.detach())
    return site.unscaled_log_prob  # type: ignore[no-any-return]  # a site holds anything; here it is a tensor


def laid_out(values: Tensor, site: Site) -> Tensor:
    """`values`, of shape [rows] + B + E, with the rows at the batch dimension that the site was given."""
    ones = -site.infer["_enumerate_dim"] - 1 - len(site.fn.batch_shape)
    return values.reshape(values.shape[:1] + (1,) * ones + values.shape[1:])


def samples(site: Site) -> int:
    """How many draws the site asks for.

    Raises:
        ValueError: it is no whole number, or less than 1.
    """
    count = site.infer.get("samples", 1)
    if not isinstance(count, int) or count < 1:
        raise ValueError(
            f'site "{site.name}": "samples" must be a whole number, at least 1, got {count!r}. '
            f'Try infer={{"samples": 2}}.'
        )
    return count


def not_differentiable(site: Site) -> ValueError:
    """The error for a cost that has the rows of a site, and no derivative along its draw."""
    return ValueError(
        f'site "{site.name}": expected costs that are differentiable in the draw, got one that depends on it '
        f'through a comparison, a rounding or an index. Try infer={{"estimator": "score"}} there.'
    )


def has_rows(x: Tensor, site: Site) -> bool:
    """Whether a tensor depends on the draws of a site that was drawn in rows."""
    dim: int = site.infer["_enumerate_dim"]
    return x.dim() >= -dim and x.shape[dim] > 1


class Guard:
    """Refuses second derivatives, unless it is open: a control variate is trained through them."""

    open = False


def once(x: Tensor, site: Site, guard: Guard, *ties: Tensor) -> Tensor:
    """`x`, whose gradient may not be differentiated: it would be the derivative of an estimate.

    Nor may it with respect to what the `ties` depend on, which the estimate has left out.
    """
    return _Once.apply(x, site.name, guard, *ties)  # type: ignore[no-any-return,no-untyped-call]  # torch has no types


def slope(of: Tensor, by: Tensor, site: Site, guard: Guard, *ties: Tensor) -> Tensor:
    """Zeros, entry by entry, with the first derivative of `of * by.detach()`; `ties` are what `by` was made of."""
    return (once(of, site, guard, *ties) - of.detach()) * by.detach()


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, site: str, guard: Guard, *ties: Tensor) -> Tensor:
        ctx.site, ctx.guard, ctx.ties = site, guard, len(ties)
        ctx.save_for_backward(x, *ties)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (passed,) = gradients
        if torch.is_grad_enabled():
            passed = _Refused.apply(ctx.site, ctx.guard, passed, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return passed, None, None, *[None] * ctx.ties


class _Refused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, site: str, guard: Guard, gradient: Tensor, *behind: Tensor) -> Tensor:
        ctx.site, ctx.guard, ctx.behind = site, guard, len(behind)
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if ctx.guard.open:
            return None, None, *gradients, *[None] * ctx.behind
        raise RuntimeError(
            f"surrogate_loss: expected to be differentiated once, got a second time: the estimator of site "
            f'"{ctx.site}" gives the first derivative only. Try infer={{"estimator": "score"}} there, or "enumerate".'
        )

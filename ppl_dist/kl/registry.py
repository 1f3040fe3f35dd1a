"""Kullback-Leibler divergences: closed forms, found by the types of both sides.

A rule is registered for a pair of classes and serves their subclasses too; the most specific pair
wins, the left side deciding first. Pairs that are infinite for every parameter, because the left support is
not contained in the right one, are rows of a table rather than functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import torch
from torch import Tensor

from ..distribution import Distribution
from ..shapes import broadcast_shapes

if TYPE_CHECKING:
    from .estimates import KLEstimate

__all__ = ["kl_divergence", "register_infinite", "register_kl"]

Rule = Callable[[Any, Any], Tensor]
F = TypeVar("F", bound=Callable[..., Tensor])

_rules: dict[tuple[type, type], Rule] = {}
_found: dict[tuple[type, type], Rule | None] = {}


def register_kl(type_p: Any, type_q: Any) -> Callable[[F], F]:
    """Register the decorated `rule(p, q) -> Tensor` (nats, shape B) for two families and their subclasses.

    Raises:
        TypeError: either is not a subclass of `Distribution`.
    """
    for kind in (type_p, type_q):
        if not isinstance(kind, type) or not issubclass(kind, Distribution):
            raise TypeError(f"register_kl: expected two Distribution classes, got {kind!r}.")

    def decorator(rule: F) -> F:
        _rules[type_p, type_q] = rule
        _found.clear()
        return rule

    return decorator


def register_infinite(type_p: type, *types_q: type) -> None:
    """State that KL(p || q) is infinite for every parameter, for each family on the right."""
    for type_q in types_q:
        register_kl(type_p, type_q)(_infinite)


def _infinite(p: Distribution, q: Distribution) -> Tensor:
    like = next(v for v in p.__dict__.values() if isinstance(v, Tensor))
    return torch.full(broadcast_shapes([p.batch_shape, q.batch_shape]), torch.inf, dtype=like.dtype, device=like.device)


def require_equal_events(p: Distribution, q: Distribution) -> None:
    """Raise unless one draw has the same shape on both sides."""
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: event shapes differ: {tuple(p.event_shape)}, {tuple(q.event_shape)}. They must be equal."
        )


def missing(p: Distribution, q: Distribution) -> NotImplementedError:
    """The error for a pair without a rule."""
    left, right = type(p).__name__, type(q).__name__
    known = sorted({b.__name__ for a, b in _rules if issubclass(type(p), a)})
    return NotImplementedError(
        f"{left} has no closed-form kl_divergence to {right}. Registered for {left}: {', '.join(known) or 'none'}. "
        f'Try register_kl({left}, {right}), or an estimate: kl_divergence(p, q, method="monte_carlo").'
    )


def _lookup(type_p: type, type_q: type) -> Rule | None:
    for left in type_p.__mro__:
        for right in type_q.__mro__:
            if (left, right) in _rules:
                return _rules[left, right]
    return None


@overload
def kl_divergence(
    p: Distribution,
    q: Distribution,
    *,
    method: Literal["closed_form"] | None = None,
    num_samples: int = ...,
    generator: torch.Generator | None = None,
) -> Tensor: ...
@overload
def kl_divergence(
    p: Distribution,
    q: Distribution,
    *,
    method: Literal["monte_carlo", "quadrature"],
    num_samples: int = ...,
    generator: torch.Generator | None = None,
) -> KLEstimate: ...
def kl_divergence(
    p: Distribution,
    q: Distribution,
    *,
    method: Literal["closed_form", "monte_carlo", "quadrature"] | None = None,
    num_samples: int = 10_000,
    generator: torch.Generator | None = None,
) -> Tensor | KLEstimate:
    """KL(p || q) = E_p[log p - log q] in nats, of the batch shape of both.

    >>> import ppl_dist as dist
    >>> dist.kl_divergence(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0))
    tensor(0.5000)
    >>> p, q = dist.Normal(0.0, 1.0), dist.Logistic(0.0, 1.0)
    >>> dist.kl_divergence(p, q, method="quadrature").value
    tensor(0.1932)

    Args:
        p: the distribution of the mean.
        q: the other.
        method: by default, and as "closed_form", the rule registered for the two families. "monte_carlo" gives an
            unbiased `KLEstimate` and its standard error: with derivatives along the path of the draws where p has
            `rsample`, else by the score function, unbiased either way. A draw where q has no density makes value and
            error infinite; an infinity that no draw has met goes unnoticed. "quadrature" takes single numbers: an
            integral over the quantiles of p, or a sum over its counts, with an estimate of the error; where the
            integral diverges that is as large as the value.
        num_samples: how many draws Monte Carlo makes.
        generator: where they come from.

    Raises:
        NotImplementedError: no closed form is registered for these two families, or p has no quantiles to integrate.
        ValueError: there is no such method, or the counts of p are spread too wide to be added up.
    """
    if method is None or method == "closed_form":
        return _closed_form(p, q)
    from .estimates import by_monte_carlo, by_quadrature

    if method == "monte_carlo":
        return by_monte_carlo(p, q, num_samples, generator)
    if method == "quadrature":
        return by_quadrature(p, q)
    raise ValueError(
        f'kl_divergence: method must be None, "closed_form", "monte_carlo" or "quadrature", got {method!r}.'
    )


def _closed_form(p: Distribution, q: Distribution) -> Tensor:
    key = type(p), type(q)
    if key not in _found:
        _found[key] = _lookup(*key)
    rule = _found[key]
    if rule is None:
        raise missing(p, q)
    return rule(p, q)

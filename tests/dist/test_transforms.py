"""Transforms: inverse, log-det against autograd's Jacobian, shapes, images, cache, sign and combinations."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.distributions.transforms as tt
from torch import Tensor

import ppl_dist as dist
from ppl_dist import constraints as c
from ppl_dist import transforms as t


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


# transform, the shape of one event of x
BIJECTIONS: dict[str, tuple[t.Transform, tuple[int, ...]]] = {
    "exp": (t.ExpTransform(), ()),
    "power": (t.PowerTransform(2.5), ()),
    "negative power": (t.PowerTransform(-1.5), ()),
    "sigmoid": (t.SigmoidTransform(), ()),
    "softplus": (t.SoftplusTransform(), ()),
    "tanh": (t.TanhTransform(), ()),
    "affine": (t.AffineTransform(1.0, -2.0), ()),
    "affine tensors": (t.AffineTransform(torch.tensor([1.0, 2.0]), torch.tensor([0.5, -3.0]), event_dim=1), (2,)),
    "stick breaking": (t.StickBreakingTransform(), (3,)),
    "correlation": (t.CorrCholeskyTransform(), (6,)),
    "elu": (t.ELUTransform(), ()),
    "leaky relu": (t.LeakyReLUTransform(0.1), ()),
    "ordered": (t.OrderedTransform(), (4,)),
    "permute": (t.PermuteTransform(torch.tensor([2, 0, 3, 1])), (4,)),
    "lower cholesky affine": (
        t.LowerCholeskyAffine(normal(3), torch.tensor([[1.0, 0, 0], [0.5, 2, 0], [-1, 1, 0.3]], dtype=torch.float64)),
        (3,),
    ),
    "packed lower cholesky": (t.PackedLowerCholeskyTransform(), (6,)),
    "packed positive definite": (t.PackedPositiveDefiniteTransform(), (6,)),
    "from factor to factor": (t.ComposeTransform([t.PackedPositiveDefiniteTransform(), t.CholeskyTransform()]), (6,)),
    "packed softplus": (t.PackedSoftplusLowerCholeskyTransform(), (6,)),
    "packed unit": (t.PackedUnitLowerCholeskyTransform(), (6,)),
    "to a correlation factor and back": (
        t.ComposeTransform([t.CorrCholeskyTransform(), t.CorrMatrixCholeskyTransform().inv]),
        (6,),
    ),
    "from a correlation matrix": (
        t.ComposeTransform(
            [
                t.CorrCholeskyTransform(),
                t.CorrMatrixCholeskyTransform().inv,
                t.CorrMatrixCholeskyTransform(),
                t.CorrCholeskyTransform().inv,
            ]
        ),
        (6,),
    ),
    "simplex to ordered": (t.SimplexToOrderedTransform(torch.tensor(0.3, dtype=torch.float64)), (4,)),
    "inverse of simplex to ordered": (t.SimplexToOrderedTransform().inv, (3,)),
    "zero sum": (t.ZeroSumTransform(), (3,)),
    "zero sum of two": (t.ZeroSumTransform(2), (3, 2)),
    "cosine": (t.DiscreteCosineTransform(), (5,)),
    "cosine of an even number": (t.DiscreteCosineTransform(-1, 0.5), (6,)),
    "cosine down": (t.DiscreteCosineTransform(-2, smooth=-1.0), (4, 3)),
    "haar": (t.HaarTransform(), (8,)),
    "haar of an odd number": (t.HaarTransform(flip=True), (7,)),
    "haar down": (t.HaarTransform(-2), (5, 2)),
    "levels": (t.CumulativeDistributionTransform(dist.Normal(torch.tensor(0.5, dtype=torch.float64), 2.0)), ()),
    "inverse of levels": (t.CumulativeDistributionTransform(dist.Gamma(torch.tensor(2.5, dtype=torch.float64), 2.0)).inv, ()),
    "identity": (t.identity_transform, ()),
    "compose": (t.ComposeTransform([t.AffineTransform(0.5, 2.0), t.SigmoidTransform(), t.ExpTransform()]), ()),
    "compose wide": (t.ComposeTransform([t.AffineTransform(0.5, 2.0), t.StickBreakingTransform()]), (3,)),
    "independent": (t.IndependentTransform(t.ExpTransform(), 2), (2, 3)),
    "reshape": (t.ReshapeTransform((2, 3), (6,)), (2, 3)),
    "inverse": (t.ExpTransform().inv, ()),
    "inverse of stick breaking": (t.StickBreakingTransform().inv, (4,)),
    "cat": (t.CatTransform([t.ExpTransform(), t.AffineTransform(1.0, 3.0)], dim=-1, lengths=[1, 2]), (3,)),
    "stack": (t.StackTransform([t.ExpTransform(), t.TanhTransform()], dim=-1), (2,)),
    "stack of vectors": (t.StackTransform([t.IndependentTransform(t.ExpTransform(), 1)] * 2, dim=-2), (2, 3)),
    "stack inside": (t.StackTransform([t.IndependentTransform(t.TanhTransform(), 1)] * 2, dim=-1), (3, 2)),
    "cat inside": (t.CatTransform([t.IndependentTransform(t.TanhTransform(), 1)] * 2, -1, [2, 3]), (5,)),
}
ONTO: dict[str, tuple[t.Transform, tuple[int, ...]]] = {
    "abs": (t.AbsTransform(), ()),
    "softmax": (t.SoftmaxTransform(), (3,)),
    "lower cholesky": (t.LowerCholeskyTransform(), (3, 3)),
    "positive definite": (t.PositiveDefiniteTransform(), (3, 3)),
    "softplus lower cholesky": (t.SoftplusLowerCholeskyTransform(), (3, 3)),
    "unit lower cholesky": (t.UnitLowerCholeskyTransform(), (3, 3)),
    "normalize": (t.NormalizeTransform(), (3,)),
}
EVERY = BIJECTIONS | ONTO


def inputs(transform: t.Transform, event: tuple[int, ...], *batch: int) -> Tensor:
    """Random points of the domain: the image of noise under the domain's own transform."""
    domain = transform.domain
    if type(domain) in (c.Cat, c.Stack) or c.is_dependent(domain):
        return normal(*batch, *event)
    to_domain = dist.transform_to(domain)
    return to_domain(normal(*to_domain.inverse_shape(torch.Size((*batch, *event)))))


@pytest.mark.parametrize("name", EVERY)
def test_image_shapes_and_round_trip(name: str) -> None:
    transform, event = EVERY[name]
    x = inputs(transform, event, 5)
    assert transform.domain.check(x).all()
    y = transform(x)
    assert y.shape == transform.forward_shape(x.shape)
    assert x.shape == transform.inverse_shape(y.shape)
    assert transform.codomain.check(y).all()
    back = transform.inv(y)
    torch.testing.assert_close(transform(back), y)
    if transform.bijective:
        torch.testing.assert_close(back, x)
    assert transform.inv.inv is transform or transform.inv.inv == transform
    assert (transform.inv.domain, transform.inv.codomain) == (transform.codomain, transform.domain)


def free_coordinates(y: Tensor, constraint: c.Constraint) -> Tensor:
    """As many coordinates of y as its set has dimensions."""
    base = constraint.base_constraint if isinstance(constraint, c.Independent) else constraint
    if base == c.simplex:
        return y[..., :-1]
    if base in (c.lower_cholesky, c.softplus_lower_cholesky, c.positive_definite):
        rows, columns = torch.tril_indices(y.shape[-1], y.shape[-1])
        return y[..., rows, columns]
    if base in (c.corr_cholesky, c.corr_matrix, c.unit_lower_cholesky):
        rows, columns = torch.tril_indices(y.shape[-1], y.shape[-1], -1)
        return y[..., rows, columns]
    return y.reshape(-1)


def jacobian(transform: t.Transform, x: Tensor) -> Tensor:
    """log|det dy/dx| of one event by autograd, in free coordinates on both sides; in lengths where y lies in a plane."""
    if transform.domain == c.simplex:  # the last coordinate of the input follows from the others
        whole = lambda head: transform(torch.cat([head, 1 - head.sum(-1, keepdim=True)]))  # noqa: E731
        square = torch.autograd.functional.jacobian(lambda h: whole(h).reshape(-1), x[:-1])
    else:
        square = torch.autograd.functional.jacobian(
            lambda x: free_coordinates(transform(x), transform.codomain).reshape(-1), x
        )
    n = square.shape[0] if square.dim() else 1
    square = square.reshape(n, -1)
    if isinstance(transform.codomain, c.ZeroSum):
        return torch.linalg.slogdet(square.mT @ square).logabsdet / 2
    return torch.linalg.slogdet(square).logabsdet


@pytest.mark.parametrize("name", BIJECTIONS)
def test_log_det_is_that_of_the_jacobian(name: str) -> None:
    transform, event = BIJECTIONS[name]
    x = inputs(transform, event, 4)
    y, log_det = transform.call_and_log_det(x)
    torch.testing.assert_close(y, transform(x))
    torch.testing.assert_close(log_det, transform.log_abs_det_jacobian(x, y))
    assert log_det.shape == x.shape[: x.dim() - transform.domain.event_dim]
    for i in range(4):
        torch.testing.assert_close(log_det[i].sum(), jacobian(transform, x[i]))
    torch.testing.assert_close(transform.inv.log_abs_det_jacobian(y, x), -log_det)


@pytest.mark.parametrize("name", ONTO)
def test_what_is_not_one_to_one_has_no_log_det(name: str) -> None:
    transform, event = EVERY[name]
    x = inputs(transform, event, 2)
    assert not transform.bijective
    with pytest.raises(NotImplementedError, match=f"{type(transform).__name__} has no log_abs_det_jacobian"):
        transform.log_abs_det_jacobian(x, transform(x))


PARTS = ("inv", "sign", "bijective", "domain", "codomain", "event_dim", "forward_shape", "inverse_shape")


@pytest.mark.parametrize("name", tt.__all__)
def test_every_name_of_torch_is_here_with_its_call_form(name: str) -> None:
    ours, theirs = getattr(t, name), getattr(tt, name)
    if not isinstance(theirs, type):
        assert isinstance(ours, t.Transform)
        return
    mine, given = (inspect.signature(kind).parameters.values() for kind in (ours, theirs))
    assert [(p.name, p.default) for p in mine] == [(p.name, p.default) for p in given]
    for part in (*PARTS, "cache_size", "with_cache", "log_abs_det_jacobian"):
        assert hasattr(ours, part)


def test_every_public_transform_is_walked() -> None:
    def kinds(transform: t.Transform) -> set[type]:
        inner = [v for value in vars(transform).values() for v in (value if isinstance(value, list) else [value])]
        return {type(transform)}.union(*(kinds(v) for v in inner if isinstance(v, t.Transform)))

    walked = set().union(*(kinds(transform) for transform, _ in EVERY.values()))
    public = {getattr(t, name) for name in t.__all__} - {t.Transform, t.identity_transform}
    assert public - walked == set()


@pytest.mark.parametrize("name", [n for n, (transform, _) in EVERY.items() if transform.affine])
def test_affine_transforms_are_affine_and_know_their_variances(name: str) -> None:
    transform, event = EVERY[name]
    x = inputs(transform, event, 3)
    middle = transform(x.mean(0, keepdim=True).expand(x.shape))
    torch.testing.assert_close(middle[0], transform(x).mean(0))
    variance = x.square()
    try:
        spread = transform._variance(variance)
    except NotImplementedError:
        return
    draws = x.new_tensor([-1.0, 1.0]).reshape((2,) + (1,) * x.dim()) * variance.sqrt()
    torch.testing.assert_close(spread, transform(draws).var(0, correction=0))
    torch.testing.assert_close(transform.inv._variance(spread), variance)


SIGNED: list[tuple[t.Transform, int]] = [
    (t.ExpTransform(), 1),
    (t.ExpTransform().inv, 1),
    (t.AffineTransform(0.0, -2.0), -1),
    (t.PowerTransform(2.0), 1),
    (t.PowerTransform(-2.0), -1),
    (t.ComposeTransform([t.AffineTransform(0.0, -2.0), t.AffineTransform(0.0, -1.0)]), 1),
    (t.ComposeTransform([t.AffineTransform(0.0, -2.0), t.SigmoidTransform()]), -1),
    (t.IndependentTransform(t.AffineTransform(0.0, torch.tensor(-1.0)), 1), -1),
]


@pytest.mark.parametrize("transform, sign", SIGNED, ids=lambda v: type(v).__name__)
def test_sign_is_the_direction_of_the_map(transform: t.Transform, sign: int) -> None:
    assert transform.sign == sign
    x = torch.linspace(0.1, 2.0, 9, dtype=torch.float64)
    assert ((transform(x).diff().sign()) == sign).all()


@pytest.mark.parametrize("name", ["stick breaking", "softmax", "correlation", "abs"])
def test_maps_that_are_not_monotone_have_no_sign(name: str) -> None:
    with pytest.raises(NotImplementedError, match="has no sign: it is not a monotone map"):
        _ = EVERY[name][0].sign


@pytest.mark.parametrize("name", EVERY)
def test_cache_returns_the_very_input(name: str) -> None:
    transform, event = EVERY[name]
    cached = transform.with_cache(1)
    assert cached.cache_size == 1 and transform.cache_size == 0
    assert cached.with_cache(1) == cached
    x = inputs(transform, event, 3)
    y = cached(x)
    assert cached.inv(y) is x
    assert cached(x) is y
    torch.testing.assert_close(cached(x.clone()), y)
    y = transform(x).detach()
    back = cached.inv(y)
    assert cached(back) is y


@pytest.mark.parametrize("name", EVERY)
def test_equality_text_and_copies(name: str) -> None:
    transform, _ = EVERY[name]
    for same in (copy.deepcopy(transform), pickle.loads(pickle.dumps(transform.with_cache(1))).with_cache(0)):
        assert same == transform or name in {"compose", "compose wide", "identity"}
    kind = transform.inv if name.startswith("inverse") else transform
    assert type(kind).__name__ in repr(transform)
    assert [n for n, (other, _) in EVERY.items() if other == transform] == [name]


def test_composition_is_applied_in_order() -> None:
    x = normal(5)
    affine, exp = t.AffineTransform(1.0, 2.0), t.ExpTransform()
    both = t.ComposeTransform([affine, exp])
    torch.testing.assert_close(both(x), (1 + 2 * x).exp())
    torch.testing.assert_close(both.inv(both(x)), x)
    assert both.domain == c.real and both.codomain == c.positive
    assert t.ComposeTransform([]) == t.identity_transform


def test_composition_widens_the_event_where_a_part_needs_it() -> None:
    narrow_first = t.ComposeTransform([t.ExpTransform().inv, t.StickBreakingTransform()])
    assert narrow_first.domain == c.independent(c.positive, 1)
    assert narrow_first.event_dim == 1
    wide_first = t.ComposeTransform([t.StickBreakingTransform(), t.AffineTransform(0.0, 2.0)])
    x = normal(4, 3)
    assert wide_first.call_and_log_det(x)[1].shape == (4,)


def test_pieces_go_through_their_own_transform() -> None:
    parts: list[t.Transform] = [t.ExpTransform(), t.AffineTransform(1.0, 3.0), t.TanhTransform()]
    x = normal(4, 3)
    expected = torch.stack([part(x[:, i]) for i, part in enumerate(parts)], -1)
    torch.testing.assert_close(t.StackTransform(parts, -1)(x), expected)
    torch.testing.assert_close(t.CatTransform(parts, -1, [1, 1, 1])(x), expected)


EXTREMES: dict[str, tuple[t.Transform, Callable[[Tensor], Tensor]]] = {
    "softplus": (t.SoftplusTransform(), lambda x: x),
    "tanh": (t.TanhTransform(), lambda x: x),
    "sigmoid": (t.SigmoidTransform(), lambda x: x),
    "stick breaking": (t.StickBreakingTransform(), lambda x: x[:, None].expand(-1, 3)),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_log_det_is_finite_far_out(name: str) -> None:
    transform, shaped = EXTREMES[name]
    x = shaped(torch.tensor([-300.0, -40.0, 40.0, 300.0], dtype=torch.float64))
    y, log_det = transform.call_and_log_det(x)
    assert torch.isfinite(y).all() and torch.isfinite(log_det).all()


def test_inverse_of_small_outputs_keeps_its_digits() -> None:
    x = torch.tensor([-30.0, -300.0], dtype=torch.float64)
    for transform in (t.SoftplusTransform(), t.SigmoidTransform()):
        torch.testing.assert_close(transform.inv(transform(x)), x, rtol=1e-13, atol=0)


def test_bases_of_waves_are_what_they_are_called() -> None:
    """Against the definitions: the cosines themselves, and for a constant the one coefficient it has."""
    n = 6
    k = torch.arange(n, dtype=torch.float64)
    cosines = (torch.pi * (k + 0.5) * k[:, None] / n).cos() * (2 / n) ** 0.5
    cosines[0] /= 2**0.5
    x = normal(3, n)
    torch.testing.assert_close(t.DiscreteCosineTransform()(x), x @ cosines.mT)
    torch.testing.assert_close(t.DiscreteCosineTransform(-2)(x.mT), cosines @ x.mT)
    weights = (k + 0.5) ** 0.5
    torch.testing.assert_close(
        t.DiscreteCosineTransform(smooth=0.5)(x), x @ cosines.mT * weights / weights.log().mean().exp()
    )
    half = 0.5**0.5
    haar = t.HaarTransform()
    torch.testing.assert_close(haar(torch.ones(4, dtype=torch.float64)), 2.0 * torch.eye(4, dtype=torch.float64)[0])
    torch.testing.assert_close(
        haar(torch.tensor([1.0, 2.0, 4.0, 8.0])), torch.tensor([7.5, -4.5, -half, -4.0 * half])
    )
    torch.testing.assert_close(t.HaarTransform(flip=True)(x), haar(x.flip(-1)))
    for transform in (haar, t.DiscreteCosineTransform(), t.ZeroSumTransform()):
        torch.testing.assert_close(transform(x).norm(dim=-1), x.norm(dim=-1))


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: t.ExpTransform(cache_size=2), "ExpTransform: cache_size must be 0 or 1, got 2"),
    (lambda: t.ReshapeTransform((2, 3), (5,)), r"ReshapeTransform: \(2, 3\) holds 6 numbers and \(5,\) holds 5"),
    (lambda: t.ReshapeTransform((2, 3), (6,))(torch.zeros(3, 2)), r"ends in \(2, 3\), got \(3, 2\)"),
    (lambda: t.HaarTransform(dim=0), r"HaarTransform: dim must be negative, counted from the right, got 0\. Try dim=-1"),
    (lambda: t.ZeroSumTransform(0), r"ZeroSumTransform: transform_ndims must be at least 1, got 0\. Try"),
    (lambda: t.PackedUnitLowerCholeskyTransform()(torch.zeros(5)), r"n \(n - 1\) / 2 for some n, got 5\. Try 6\."),
    (lambda: t.CorrCholeskyTransform()(torch.zeros(4)), r"must be d \(d - 1\) / 2 for some d, got 4"),
]


@pytest.mark.parametrize("build, text", BAD, ids=["cache", "reshape", "reshape call", "dim", "ndims", "unit", "correlation"])
def test_errors(build: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        build()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (
            lambda: t.PermuteTransform(torch.tensor([0, 0, 2])),
            r"numbers 0 \.\. 2 .* got \[0, 0, 2\]\. Try",
        ),
        (lambda: t.LeakyReLUTransform(-1.0), r"negative_slope must be positive, got -1\.0\. Try"),
        (lambda: t.LowerCholeskyAffine(normal(3), normal(2, 2)), r"loc \(3,\) and scale_tril \(2, 2\) do not fit"),
        (lambda: t.PackedLowerCholeskyTransform()(normal(5)), r"must be n \(n \+ 1\) / 2 for some n, got 5\. Try 6\."),
    ],
    ids=["permute", "leaky relu", "affine", "packed"],
)
def test_what_cannot_be_built_says_why(build: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build()

"""Independent, expanded, masked and transformed distributions, alone and inside one another."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree

import ppl_dist as dist
from ppl_dist import Distribution, constraints, transforms


def combined() -> dict[str, Distribution]:
    normal = dist.Normal(torch.zeros(4, 3), torch.tensor([1.0, 2.0, 3.0]))
    exp = transforms.ExpTransform()
    stick = transforms.StickBreakingTransform()
    return {
        "independent": normal.to_event(1),
        "independent twice": normal.to_event(1).to_event(1),
        "masked": normal.mask(torch.tensor([True, False, True])),
        "masked by a bool": normal.mask(False),
        "masked event": normal.to_event(1).mask(torch.tensor([True, False, True, True])),
        "transformed": dist.TransformedDistribution(normal, [exp]),
        "transformed event": dist.TransformedDistribution(
            normal.to_event(1), [transforms.AffineTransform(0.0, 0.3), stick.inv.inv]
        ),
        "transformed to a vector": dist.TransformedDistribution(normal, stick),
        "chain": dist.TransformedDistribution(normal, [transforms.AffineTransform(1.0, -2.0), exp]),
        "independent of transformed": dist.TransformedDistribution(normal, [exp]).to_event(2),
        "family in an event": dist.LogNormal(torch.zeros(4, 3), 0.5).to_event(1),
        "vectors": dist.Dirichlet(torch.ones(4, 2, 3)).to_event(1),
        "counts": dist.Poisson(torch.ones(4, 2)).to_event(1),
    }


NAMES = list(combined())
EACH = pytest.mark.parametrize("name", NAMES)


@EACH
def test_shapes(name: str) -> None:
    d = combined()[name]
    x = d.sample((5,))
    assert x.shape == (5, *d.batch_shape, *d.event_shape)
    assert d.log_prob(x).shape == (5, *d.batch_shape)
    assert len(d.event_shape) == d.support.event_dim
    assert d.support.check(x).all()


@EACH
def test_expand_and_index(name: str) -> None:
    d = combined()[name]
    wide = d.expand((2, *d.batch_shape))
    assert type(wide) is type(d) and wide.event_shape == d.event_shape
    x = d.sample()
    torch.testing.assert_close(wide.log_prob(x), d.log_prob(x).expand(2, *d.batch_shape))
    assert wide.sample().shape == (2, *d.batch_shape, *d.event_shape)
    one = wide[1]
    assert type(one) is type(d) and one.batch_shape == d.batch_shape and one.event_shape == d.event_shape
    torch.testing.assert_close(one.log_prob(x), d.log_prob(x))


@EACH
def test_copies_trees_and_dtypes(name: str) -> None:
    d = combined()[name]
    x = d.sample()
    leaves, spec = _pytree.tree_flatten(d)
    assert leaves and all(isinstance(leaf, Tensor) for leaf in leaves)
    for same in (copy.deepcopy(d), pickle.loads(pickle.dumps(d)), _pytree.tree_unflatten(leaves, spec)):
        assert type(same) is type(d) and (same.batch_shape, same.event_shape) == (d.batch_shape, d.event_shape)
        torch.testing.assert_close(same.log_prob(x), d.log_prob(x))
    assert d.to(torch.float64).log_prob(x.double()).dtype == torch.float64
    assert repr(d) and "\n" not in repr(d)


@pytest.mark.parametrize("name", [n for n in NAMES if "bool" not in n])
def test_vmap_over_a_combined_distribution(name: str) -> None:
    d = combined()[name]
    wide = d.expand((6, *d.batch_shape)).to(torch.float64)
    wide = _pytree.tree_map(torch.clone, wide)
    x = wide.sample()
    mapped = torch.func.vmap(lambda d, x: d.log_prob(x))(wide, x)
    torch.testing.assert_close(mapped, wide.log_prob(x))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "counts"])
def test_draw_and_density_together(name: str) -> None:
    d = combined()[name].to(torch.float64)
    value, log_prob = d.rsample_and_log_prob((50,))
    torch.testing.assert_close(log_prob, d.log_prob(value), rtol=1e-6, atol=1e-8)


@EACH
def test_off_support_values_under_both_switches(name: str) -> None:
    d = combined()[name]
    x = torch.full_like(d.sample(), torch.nan)
    if name == "masked by a bool":
        assert (d.log_prob(x) == 0).all()
        return
    with pytest.raises(ValueError, match="the value must"):
        d.log_prob(x)


def test_independent_is_the_sum_and_delegates_the_rest() -> None:
    base = dist.Normal(torch.randn(4, 3), torch.rand(4, 3) + 0.5)
    d = base.to_event(1)
    torch.testing.assert_close(d.entropy(), base.entropy().sum(-1))
    assert d.has_rsample and not d.has_enumerate_support
    for name in ("mean", "variance", "mode", "stddev"):
        torch.testing.assert_close(getattr(d, name), getattr(base, name))
    assert d.support == constraints.independent(constraints.real, 1)
    assert base.to_event(0) is base
    with pytest.raises(NotImplementedError, match=r"Independent has no enumerate_support.*Try enumerating base_dist"):
        dist.Bernoulli(torch.ones(3) / 2).to_event(1).enumerate_support()


def test_mask_silences_nan_under_the_mask_and_its_gradient() -> None:
    loc = torch.zeros(3, requires_grad=True)
    d = dist.Normal(loc, 1.0).mask(torch.tensor([True, False, True]))
    log_prob = d.log_prob(torch.tensor([1.0, float("nan"), 2.0]))
    assert log_prob[1] == 0
    torch.testing.assert_close(torch.autograd.grad(log_prob.sum(), loc)[0], torch.tensor([1.0, 0.0, 2.0]))
    assert d.expand((2, 3))[:, :2].log_prob(torch.zeros(2, 2)).shape == (2, 2)


def test_mask_broadcasts_the_batch() -> None:
    d = dist.Normal(0.0, 1.0).mask(torch.tensor([True, False]))
    assert d.batch_shape == (2,) and d.sample().shape == (2,)
    assert dist.Normal(torch.zeros(2), 1.0).mask(True).log_prob(torch.zeros(2)).shape == (2,)


def test_transformed_distribution_functions_follow_the_sign() -> None:
    base = dist.Normal(torch.tensor(0.3, dtype=torch.float64), 1.5)
    for scale in (2.0, -2.0):
        d = dist.TransformedDistribution(base, [transforms.AffineTransform(1.0, scale)])
        same = dist.Normal(1.0 + scale * base.loc, 2.0 * base.scale)
        x = torch.tensor([-3.0, 0.0, 4.0], dtype=torch.float64)
        p = torch.tensor([0.01, 0.5, 0.9], dtype=torch.float64)
        for name in ("log_prob", "cdf", "log_cdf", "survival_function", "log_survival_function"):
            torch.testing.assert_close(getattr(d, name)(x), getattr(same, name)(x))
        for name in ("icdf", "isf"):
            torch.testing.assert_close(getattr(d, name)(p), getattr(same, name)(p))
        torch.testing.assert_close(d.median, same.median)


def test_transformed_support_and_broadcasting() -> None:
    shift = transforms.AffineTransform(torch.zeros(3), 1.0)
    d = dist.TransformedDistribution(dist.Normal(0.0, 1.0), [shift])
    assert d.batch_shape == (3,) and len(d.sample().unique()) == 3
    plain = dist.TransformedDistribution(dist.Gamma(2.0, 1.0), [])
    torch.testing.assert_close(plain.log_prob(torch.tensor(1.5)), dist.Gamma(2.0, 1.0).log_prob(torch.tensor(1.5)))
    inside = dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0), transforms.StickBreakingTransform())
    assert inside.event_shape == (3,) and inside.support == constraints.simplex


def test_transformed_density_is_not_clipped_where_the_transform_saturates() -> None:
    d = dist.TransformedDistribution(dist.Normal(40.0, 1.0), [transforms.SigmoidTransform()])
    value, log_prob = d.rsample_and_log_prob((100,))
    assert (value > 1 - 1e-7).all() and (log_prob > 30).all()  # inverted from the rounded value: -257


def test_compile_goes_through_a_combination() -> None:
    def f(loc: Tensor, x: Tensor) -> Tensor:
        d = dist.TransformedDistribution(dist.Normal(loc, 1.0), [transforms.ExpTransform()])
        return d.expand((2, 3)).to_event(1).mask(torch.tensor([True, False])).log_prob(x)

    loc, x = torch.randn(3), torch.rand(2, 3) + 0.1
    torch.testing.assert_close(torch.compile(f, fullgraph=True, backend="eager")(loc, x), f(loc, x))
    torch._dynamo.reset()


def test_vmap_takes_and_gives_transformed_distributions() -> None:
    """The tensors of a transform are part of the tree, as those of the base are."""
    shifts = torch.tensor([0.0, 1.0, 2.0])

    def shifted(shift: torch.Tensor) -> dist.TransformedDistribution:
        chain = [dist.transforms.ExpTransform(), dist.transforms.AffineTransform(shift, 2.0)]
        return dist.TransformedDistribution(dist.Normal(shift, 1.0), chain)

    together = torch.func.vmap(shifted)(shifts)
    assert together.batch_shape == (3,)
    x = torch.tensor(9.0)
    each = torch.stack([shifted(shift).log_prob(x) for shift in shifts])
    torch.testing.assert_close(together.log_prob(x), each)
    torch.testing.assert_close(torch.func.vmap(lambda d: d.log_prob(x))(together), each)


def affine_chains() -> dict[str, tuple[Distribution, Distribution]]:
    """A chain of affine transforms, and the family that it makes of its base."""
    normal = dist.Normal(*(torch.tensor(v, dtype=torch.float64) for v in ([0.3, -1.0, 2.0], [0.5, 1.0, 2.0])))
    laplace = dist.Laplace(normal.loc, normal.scale)
    t = transforms
    turned = t.PermuteTransform(torch.tensor([2, 0, 1]))
    slopes = torch.tensor([0.5, -3.0, 2.0], dtype=torch.float64)
    return {
        "numbers": (
            dist.TransformedDistribution(normal, [t.AffineTransform(1.0, -2.0), t.AffineTransform(0.5, 3.0)]),
            dist.Normal(3.5 - 6.0 * normal.loc, 6.0 * normal.scale),
        ),
        "tensors": (
            dist.TransformedDistribution(normal, t.AffineTransform(slopes, slopes)),
            dist.Normal(slopes + slopes * normal.loc, slopes.abs() * normal.scale),
        ),
        "a batch of its own": (
            dist.TransformedDistribution(dist.Normal(0.0, slopes.abs()[0]), t.AffineTransform(slopes, 2.0)),
            dist.Normal(slopes, 2.0 * slopes.abs()[0]),
        ),
        "inverse": (
            dist.TransformedDistribution(normal, t.AffineTransform(1.0, 4.0).inv),
            dist.Normal((normal.loc - 1.0) / 4.0, normal.scale / 4.0),
        ),
        "composed": (
            dist.TransformedDistribution(
                laplace, t.ComposeTransform([t.AffineTransform(1.0, 4.0), t.AffineTransform(0.0, slopes).inv])
            ),
            dist.Laplace((1.0 + 4.0 * normal.loc) / slopes, 4.0 * normal.scale / slopes.abs()),
        ),
        "vectors": (
            dist.TransformedDistribution(normal.to_event(1), [t.AffineTransform(slopes, slopes, event_dim=1), turned]),
            dist.Normal((slopes + slopes * normal.loc)[[2, 0, 1]], (slopes.abs() * normal.scale)[[2, 0, 1]]).to_event(1),
        ),
        "numbers moved to the event": (
            dist.TransformedDistribution(normal, [t.AffineTransform(1.0, 2.0), turned]),
            dist.Normal((1.0 + 2.0 * normal.loc)[[2, 0, 1]], 2.0 * normal.scale[[2, 0, 1]]).to_event(1),
        ),
        "reshaped": (
            dist.TransformedDistribution(
                normal.to_event(1),
                [t.ReshapeTransform((3,), (3, 1)), t.IndependentTransform(t.AffineTransform(1.0, 2.0), 2)],
            ),
            dist.Normal((1.0 + 2.0 * normal.loc)[:, None], 2.0 * normal.scale[:, None]).to_event(2),
        ),
        "nothing": (dist.TransformedDistribution(laplace, []), laplace),
    }


@pytest.mark.parametrize("name", affine_chains())
def test_moments_and_entropy_go_through_affine_chains(name: str) -> None:
    chain, same = affine_chains()[name]
    x = same.sample((5,))
    torch.testing.assert_close(chain.log_prob(x), same.log_prob(x))
    for part in ("mean", "variance", "stddev", "mode"):
        torch.testing.assert_close(getattr(chain, part), getattr(same, part))
    torch.testing.assert_close(chain.entropy(), same.entropy())
    torch.testing.assert_close(chain.perplexity(), same.perplexity())


def test_a_chain_that_mixes_entries_has_no_variance_but_the_rest() -> None:
    tril = torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=torch.float64)
    loc = torch.tensor([1.0, -1.0], dtype=torch.float64)
    chain = dist.TransformedDistribution(
        dist.Normal(torch.zeros_like(loc), 1.0).to_event(1), transforms.LowerCholeskyAffine(loc, tril)
    )
    same = dist.MultivariateNormal(loc, scale_tril=tril)
    torch.testing.assert_close(chain.mean, same.mean)
    torch.testing.assert_close(chain.mode, same.mode)
    torch.testing.assert_close(chain.entropy(), same.entropy())
    with pytest.raises(NotImplementedError, match="TransformedDistribution has no variance"):
        _ = chain.variance
    waves = dist.TransformedDistribution(same, transforms.DiscreteCosineTransform())
    torch.testing.assert_close(waves.entropy(), same.entropy())


def test_other_chains_say_that_they_have_no_moments() -> None:
    chain = dist.TransformedDistribution(dist.Normal(0.0, 1.0), [transforms.ExpTransform()])
    for part in ("mean", "variance", "stddev", "mode"):
        missing = "variance" if part == "stddev" else part
        with pytest.raises(NotImplementedError, match=f"TransformedDistribution has no {missing}"):
            getattr(chain, part)
    with pytest.raises(NotImplementedError, match="TransformedDistribution has no entropy"):
        chain.entropy()

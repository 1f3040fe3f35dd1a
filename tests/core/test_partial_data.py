"""Data that come in parts: partly observed, in minibatches of a loader, ragged, cut to the indices of a plate."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.data import DataLoader

import inference
import ppl
import ppl_dist as dist
from ppl import ParamStore, handlers, plate, plate_stack, sample, subsample
from tests.errors.reading import fails

KEEP = torch.tensor([True, False, True])
Y = torch.tensor([1.0, math.nan, 2.0])


def partly(mu: float = 0.0) -> torch.Tensor:
    with plate("data", 3):
        y: torch.Tensor = sample("y", dist.Normal(mu, 1.0), obs=Y, obs_mask=KEEP)
    return y


def test_entries_that_were_not_observed_are_drawn() -> None:
    tr = handlers.trace(handlers.seed(partly, rng_seed=0)).get_trace()
    assert list(tr) == ["data", "y_observed", "y_unobserved", "y"]
    assert (tr.stochastic_nodes, tr.observation_nodes) == (["y_unobserved"], ["y_observed"])
    assert tr["y"].type == "deterministic"
    drawn = tr["y_unobserved"].value
    assert torch.equal(tr["y"].value, torch.stack([Y[0], drawn[1], Y[2]]))
    assert torch.equal(partly()[KEEP], Y[KEEP])  # with no handler as well


def test_each_entry_counts_once() -> None:
    tr = handlers.trace(partly).get_trace()
    drawn = tr["y"].value
    torch.testing.assert_close(tr.log_prob_sum(), dist.Normal(0.0, 1.0).log_prob(drawn).sum())


def test_missing_entries_are_learned_as_latents() -> None:
    def model() -> None:
        mu = sample("mu", dist.Normal(0.0, 1.0))
        with plate("data", 3):
            sample("y", dist.Normal(mu, 1.0), obs=Y, obs_mask=KEEP)

    def guide() -> None:
        sample("mu", dist.Normal(ppl.param("m", 0.0), ppl.param("s", 1.0, constraint=dist.constraints.positive)))
        with plate("data", 3):
            sample("y_unobserved", dist.Normal(ppl.param("m_y", 0.0), 1.0))

    with ParamStore():
        run = inference.SVI(model, guide, inference.optim.Adam(lr=0.02), seed=1).run(1500, progress=False)
    # two observations of variance 1 under a standard normal prior: mean 3 / 3, variance 1 / 3
    assert run.params["m"].item() == pytest.approx(1.0, abs=0.15)
    assert run.params["m_y"].item() == pytest.approx(1.0, abs=0.2)


def test_vectors_and_masks_with_events() -> None:
    keep = torch.tensor([True, False])
    with plate("rows", 2):
        value = sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=torch.ones(2, 3), obs_mask=keep)
    assert torch.equal(value[0], torch.ones(3))
    assert not torch.equal(value[1], torch.ones(3))


def test_a_mask_that_is_none() -> None:
    message = fails(
        TypeError, lambda: sample("y", dist.Normal(0.0, 1.0), Y, obs_mask=KEEP.int()), 'site "y"', "obs_mask"
    )
    assert "Try obs_mask=mask.bool()" in message
    fails(TypeError, lambda: sample("y", dist.Normal(0.0, 1.0), obs_mask=KEEP), 'site "y"', "obs is None", "obs=values")


def test_a_mask_of_a_wrong_shape() -> None:
    def two(keep: torch.Tensor) -> torch.Tensor:
        with plate("data", 3):
            return sample("y", dist.Normal(0.0, 1.0), obs=Y, obs_mask=keep)  # type: ignore[no-any-return]

    message = fails(ValueError, lambda: two(KEEP[:2]), 'site "y"', "batch shape (3,)", "got shape (2,)")
    assert "Try a mask of that shape, or a plate around the site." in message
    assert two(KEEP).shape == two(KEEP[:1]).shape == (3,)


def test_a_stack_of_plates() -> None:
    with handlers.trace() as tr, plate_stack("image", (2, 3, 4), rightmost_dim=-2):
        sample("x", dist.Normal(0.0, 1.0))
    assert tr["x"].value.shape == (2, 3, 4, 1)
    assert [(f.name, f.dim, f.size) for f in tr["x"].cond_indep_stack] == [
        ("image_0", -4, 2),
        ("image_1", -3, 3),
        ("image_2", -2, 4),
    ]
    assert ppl.runtime.current() is None
    with pytest.raises(
        TypeError, match=r'plate_stack "image": expected a sequence of sizes, got int. Try sizes=\(3,\)'
    ):
        plate_stack("image", 3).__enter__()  # type: ignore[arg-type]


def test_subsample_cuts_along_every_plate() -> None:
    data = torch.arange(40.0).reshape(4, 5, 2)
    with plate("rows", 4, subsample=[3, 1], dim=-2) as i, plate("columns", 5, subsample=[0, 4, 2], dim=-1) as j:
        part = subsample(data, event_dim=1)
        assert torch.equal(part, data[i][:, j])
        assert torch.equal(subsample(torch.ones(1, 5, 2), event_dim=1), torch.ones(1, 3, 2))  # nothing along the rows
        assert subsample(torch.ones(2), event_dim=1).shape == (2,)
    with plate("whole", 4):
        assert subsample(data, event_dim=2) is data


def test_subsample_of_a_wrong_size() -> None:
    with plate("rows", 4, subsample_size=2):
        message = fails(
            ValueError, lambda: subsample(torch.zeros(3), event_dim=0), "subsample", "(3,)", '"rows"', "size 4"
        )
    assert "Try that size or 1 there." in message


def test_minibatches_of_a_loader_with_their_indices() -> None:
    y = torch.randn(10, generator=torch.Generator().manual_seed(0))

    def model(i: torch.Tensor) -> None:
        with plate("data", len(y), subsample=i):
            sample("y", dist.Normal(0.0, 1.0), obs=y[i])

    seen, totals = [], []
    for i in DataLoader(range(10), batch_size=4):  # type: ignore[arg-type]  # a range is a sequence, all a loader needs
        tr = handlers.trace(model).get_trace(i)
        assert tr["y"].scale == 10 / len(i)  # the last batch is smaller
        seen.append(tr["data"].value)
        totals.append(tr.log_prob_sum() * len(i) / 10)
    assert torch.equal(torch.cat(seen), torch.arange(10))
    torch.testing.assert_close(torch.stack(totals).sum(), dist.Normal(0.0, 1.0).log_prob(y).sum())


def test_ragged_data_through_a_mask() -> None:
    lengths, values = torch.tensor([3, 1, 2]), torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0], [5.0, 6.0, 0.0]])

    def model() -> None:
        with plate("rows", 3), handlers.mask(mask=torch.arange(3)[:, None] < lengths), plate("steps", 3, dim=-2):
            sample("y", dist.Normal(0.0, 1.0), obs=values.T)

    expected = dist.Normal(0.0, 1.0).log_prob(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).sum()
    torch.testing.assert_close(handlers.trace(model).get_trace().log_prob_sum(), expected)

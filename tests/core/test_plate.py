"""Plates: dimensions, expansion, minibatches, loops."""

from __future__ import annotations

import pytest
import torch

import ppl_dist as dist
from ppl import Frame, ParamStore, deterministic, param, plate, sample
from ppl import handlers as h
from ppl.runtime import current


def z(loc: float = 0.0) -> dist.Normal:
    return dist.Normal(loc, 1.0)


def test_a_plate_expands_what_is_inside() -> None:
    with plate("data", 5) as i:
        x = sample("x", z())
    assert x.shape == (5,) and i.tolist() == [0, 1, 2, 3, 4]
    assert len(set(x.tolist())) == 5  # five draws, not one repeated


def test_nested_plates_take_free_dims_from_the_right() -> None:
    with h.trace() as tr, plate("outer", 3), plate("inner", 4):
        x = sample("x", z())
        deterministic("d", x * 2)
    assert x.shape == (4, 3)
    frames = (Frame("outer", -1, 3, 3), Frame("inner", -2, 4, 4))
    assert tr["x"].cond_indep_stack == tr["d"].cond_indep_stack == frames


def test_given_dims_and_gaps() -> None:
    with plate("far", 2, dim=-3), plate("near", 5) as near:
        assert near.tolist() == [0, 1, 2, 3, 4]
        assert sample("x", z()).shape == (2, 1, 5)
        with plate("between", 4):
            assert sample("y", z()).shape == (2, 4, 5)
            assert sample("v", z().expand([3]).to_event(1)).shape == (2, 4, 5, 3)


def test_crossing_plates_made_once() -> None:
    rows, columns = plate("rows", 2, dim=-2), plate("columns", 3, dim=-1)
    with h.trace() as tr:
        with rows:
            a = sample("a", z())
        with columns:
            b = sample("b", z())
        with rows, columns:
            c = sample("c", dist.Normal(a + b, 1.0))
    assert (a.shape, b.shape, c.shape) == ((2, 1), (3,), (2, 3))
    assert list(tr) == ["rows", "a", "columns", "b", "c"]


def test_size_one_is_expanded_and_full_size_is_kept() -> None:
    with plate("data", 4):
        full = dist.Normal(torch.arange(4.0), 1.0)
        with h.trace() as tr:
            sample("full", full)
            sample("one", dist.Normal(torch.zeros(1), 1.0))
    assert tr["full"].fn is full  # nothing to do, nothing made
    assert tr["one"].fn.batch_shape == (4,)


def test_observations_are_expanded_too() -> None:
    y = torch.randn(6)
    with h.trace() as tr, plate("data", 6):
        sample("y", z(), obs=y)
    assert tr["y"].fn.batch_shape == (6,)
    torch.testing.assert_close(tr.log_prob_sum(), z().log_prob(y).sum())


def test_a_plate_of_open_size() -> None:
    with h.trace() as tr, plate("data") as i:
        sample("y", z(), obs=torch.zeros(7))
        sample("x", dist.Normal(torch.zeros(7), 1.0))
    assert len(i) == 0
    assert tr["y"].cond_indep_stack == (Frame("data", -1, -1, -1),)
    assert tr.compute_log_prob() is None and tr["y"].log_prob.shape == (7,)


def test_indices_that_were_written_to_are_not_handed_out_again() -> None:
    size = 2_000  # long enough to be kept
    for _ in range(2):
        with plate("data", size) as i:
            assert torch.equal(i, torch.arange(size))
            i.add_(1)
    with torch.inference_mode():
        assert len(plate("data", size + 1).indices) == size + 1
    x = torch.zeros(size + 1, requires_grad=True)
    x[plate("data", size + 1).indices].sum().backward()


def test_length_and_indices() -> None:
    assert len(plate("data", 10)) == 10
    p = plate("data", 10, subsample_size=4)
    assert len(p) == 4
    with p as i:
        assert torch.equal(p.indices, i)
    assert len(plate("data", 10, subsample=[1, 7])) == 2
    assert plate("data", torch.tensor(3)).size == 3  # type: ignore[arg-type]


def test_subsample_draws_without_replacement_and_uniformly() -> None:
    counts = torch.zeros(6)
    runs = 2000
    for _ in range(runs):
        with plate("data", 6, subsample_size=2) as i:
            assert len(set(i.tolist())) == 2
            counts[i] += 1
    # each count is Binomial(2000, 1/3), sd 21.1; six of them within 4.5 sd fails once in 25,000 runs
    assert (counts - runs / 3).abs().max() < 4.5 * (runs * 2 / 9) ** 0.5


def test_subsampled_log_prob_is_unbiased() -> None:
    y = torch.randn(8, dtype=torch.float64)
    exact = z().log_prob(y).sum()
    totals = []
    for _ in range(600):
        with h.trace() as tr, plate("data", 8, subsample_size=3) as i:
            sample("y", z(), obs=y[i])
        totals.append(tr.log_prob_sum())
    estimates = torch.stack(totals)
    error = estimates.std() / len(totals) ** 0.5
    assert (estimates.mean() - exact).abs() < 4.5 * error  # fails once in 150,000 runs


def test_exhaustive_minibatches_average_to_the_full_plate() -> None:
    y = torch.randn(4)
    pairs = torch.combinations(torch.arange(4), 2)
    totals = []
    for pair in pairs:
        with h.trace() as tr, plate("data", 4, subsample=pair) as i:
            sample("y", z(), obs=y[i])
        totals.append(tr.log_prob_sum())
    torch.testing.assert_close(torch.stack(totals).mean(), z().log_prob(y).sum())


def test_nested_subsampling_multiplies_scales() -> None:
    with h.trace() as tr, plate("a", 10, subsample_size=5), plate("b", 9, subsample_size=3):
        sample("x", z())
    assert tr["x"].scale == pytest.approx(6.0)
    assert tr["a"].type == tr["b"].type == "subsample"
    assert tr["x"].fn.batch_shape == (3, 5)


def test_one_minibatch_per_name_and_run() -> None:
    reused = plate("data", 1000, subsample_size=5)

    def model() -> tuple[torch.Tensor, ...]:
        with reused as first:
            pass
        with reused as second, h.mask(mask=True):
            pass
        with plate("data", 1000, subsample_size=5) as third:  # the name is the plate
            pass
        return first, second, third

    seen = []
    for _ in range(2):
        with h.trace() as tr:
            first, second, third = model()
        assert torch.equal(first, second) and torch.equal(first, third)
        assert torch.equal(tr["data"].value, first) and list(tr) == ["data"]
        seen.append(first)
    assert not torch.equal(*seen)  # a new run draws anew


def test_replay_gives_the_model_the_minibatch_of_the_guide() -> None:
    def program() -> torch.Tensor:
        with plate("data", 100, subsample_size=5) as i:
            sample("x", z())
        return i

    guide = h.trace(program).get_trace()
    with h.trace() as tr:
        used = h.replay(program, trace=guide)()
    assert torch.equal(used, guide["data"].value)
    assert tr["x"].value is guide["x"].value


def test_given_indices_are_not_replayed() -> None:
    guide = h.trace(lambda: plate("data", 9, subsample=[0, 1]).indices).get_trace()
    used = h.replay(lambda: plate("data", 9, subsample=[2, 3]).indices, trace=guide)()
    assert used.tolist() == [2, 3]


def test_plates_have_no_log_prob() -> None:
    with h.trace() as tr, plate("data", 8, subsample_size=2):
        pass
    assert tr.log_prob_sum().item() == 0.0


def test_parameters_are_cut_down_to_the_minibatch() -> None:
    with ParamStore() as store:
        with plate("data", 10, subsample_size=3) as i:
            local = param("local", torch.arange(10.0), event_dim=0)
            vectors = param("vectors", torch.arange(20.0).reshape(10, 2), event_dim=1)
            shared = param("shared", torch.zeros(1), event_dim=0)
            whole = param("whole", torch.zeros(10))
        assert torch.equal(local, i.float()) and vectors.shape == (3, 2)
        assert shared.shape == (1,) and whole.shape == (10,)
        local.sum().backward()
        assert store.leaves["local"].grad is not None and store.leaves["local"].grad.sum() == 3


def test_sequential() -> None:
    with h.trace() as tr:
        for i in plate("data", 3):
            assert isinstance(i, int)
            sample(f"x_{i}", z())
    assert list(tr) == ["data", "x_0", "x_1", "x_2"]
    assert tr["x_1"].fn.batch_shape == ()
    assert tr["x_1"].cond_indep_stack == (Frame("data", None, 3, 3),)


def test_sequential_minibatch_is_scaled_and_covers_what_was_drawn() -> None:
    with h.trace() as tr:
        visited = []
        for i in plate("data", 10, subsample_size=4):
            visited.append(i)
            sample(f"x_{i}", z())
    assert visited == tr["data"].value.tolist()
    assert tr[f"x_{visited[0]}"].scale == 2.5


def test_sequential_loops_nest_with_each_other_and_with_plates() -> None:
    with h.trace() as tr:
        for i in plate("a", 2):
            for j in plate("b", 2):
                with plate(f"inner_{i}{j}", 3):
                    sample(f"x_{i}{j}", z())
    names = [frame.name for frame in tr["x_01"].cond_indep_stack]
    assert names == ["a", "b", "inner_01"]
    assert tr["x_01"].cond_indep_stack[2].dim == -1


def test_a_break_leaves_the_next_site_outside() -> None:
    with h.trace() as tr:
        for i in plate("data", 3):
            if i:
                break
        sample("x", z())
    assert tr["x"].cond_indep_stack == ()


def test_a_plate_decorates_a_function() -> None:
    @plate("data", 4)
    def body() -> torch.Tensor:
        return sample("x", z())

    assert body().shape == (4,)
    assert current() is None


def test_an_empty_minibatch_and_an_empty_plate() -> None:
    with h.trace() as tr, plate("data", 5, subsample_size=0) as i:
        sample("x", z())
    assert len(i) == 0 and tr["x"].value.shape == (0,) and tr.log_prob_sum().item() == 0.0
    with plate("none", 0) as i:
        assert len(i) == 0

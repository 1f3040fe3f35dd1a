"""S + B + E: draws, densities, expansion, indexing and `to_event` have the shapes they promise."""

from __future__ import annotations

import pytest
import torch

from tests.support.families import Case, Row, each


@each("shapes")
def test_draws_and_densities(row: Row, case: Case) -> None:
    d = row.make(case)
    for sample_shape in [(), (4,), (2, 3)]:
        x = d.sample(sample_shape)
        assert x.shape == torch.Size(sample_shape) + d.batch_shape + d.event_shape == d.shape(sample_shape)
        assert d.log_prob(x).shape == torch.Size(sample_shape) + d.batch_shape
        assert not x.requires_grad
    assert d.event_dim == len(d.event_shape)


@each("shapes: rsample", where=lambda row, case: row.pathwise(case))
def test_rsample(row: Row, case: Case) -> None:
    d = row.make(case)
    x, log_prob = d.rsample_and_log_prob((5,))
    assert d.rsample((5,)).shape == x.shape == d.shape((5,))
    assert log_prob.shape == torch.Size((5,)) + d.batch_shape
    torch.testing.assert_close(log_prob, d.log_prob(x))


@each("shapes: no rsample", where=lambda row, case: not row.pathwise(case))
def test_without_rsample_it_says_so(row: Row, case: Case) -> None:
    with pytest.raises(NotImplementedError, match=rf"{row.name}.*rsample.*Try sample\(\)"):
        row.make(case).rsample()


@each("shapes: batch of values")
def test_log_prob_broadcasts_the_value(row: Row, case: Case) -> None:
    d = row.make(case)
    wide = d.expand((3, *d.batch_shape))
    x = row.points(case)[0]
    torch.testing.assert_close(wide.log_prob(x), d.log_prob(x).expand(wide.batch_shape))


@each("expand")
def test_expand_keeps_the_type_and_copies_nothing(row: Row, case: Case) -> None:
    d = row.make(case)
    wide = d.expand((5, 2, *d.batch_shape))
    assert type(wide) is type(d)
    assert wide.batch_shape == (5, 2, *d.batch_shape)
    assert wide.event_shape == d.event_shape
    for name in case.params:
        value = row.read(wide, name)
        assert value.stride()[:2] == (0, 0)
        assert value.data_ptr() == row.read(d, name).data_ptr()
    assert wide.sample().shape == wide.shape()
    x = row.points(case)
    torch.testing.assert_close(wide.log_prob(x[0]), d.log_prob(x[0]).expand(wide.batch_shape))
    assert d.expand_by((3,)).batch_shape == (3, *d.batch_shape)
    with pytest.raises(ValueError, match=f"{row.name}: batch shape"):
        d.expand((2, *d.batch_shape)).expand((3, *d.batch_shape))


@each("expand: full shape")
def test_expand_to_its_own_shape_keeps_the_graph_under_no_grad(row: Row, case: Case) -> None:
    leaves = {name: value.requires_grad_() for name, value in case.tensors().items()}
    d = row.new(**leaves, **case.static)
    with torch.no_grad():
        same = d.expand(d.batch_shape)
    for name in leaves:
        assert row.read(same, name) is row.read(d, name) or row.read(same, name).requires_grad


@each("getitem", where=lambda row, case: True)
def test_indexing_selects_from_the_batch(row: Row, case: Case) -> None:
    d = row.make(case)
    wide = d.expand((4, 3, *d.batch_shape))
    x = row.points(case)[0]
    full = wide.log_prob(x)
    for index in [0, slice(1, 3), (slice(None), 1), (..., None), (None, 2), torch.tensor([0, 2])]:
        part = wide[index]
        assert type(part) is type(d)
        assert part.event_shape == d.event_shape
        assert part.batch_shape == full[index].shape
        assert part.sample().shape == part.shape()
    torch.testing.assert_close(wide[2].log_prob(x), full[2])


@each("to_event")
def test_to_event_sums_the_log_density(row: Row, case: Case) -> None:
    d = row.make(case).expand((4, 3, *row.make(case).batch_shape))
    batch = d.batch_shape
    x = d.sample()
    for n in range(len(batch) + 1):
        event = d.to_event(n)
        cut = len(batch) - n
        assert event.batch_shape == batch[:cut]
        assert event.event_shape == batch[cut:] + d.event_shape
        summed = d.log_prob(x)
        torch.testing.assert_close(event.log_prob(x), summed.sum(tuple(range(-n, 0))) if n else summed)
        assert event.sample((2,)).shape == (2, *batch, *d.event_shape)
    assert d.to_event().batch_shape == ()


@each("empty batch")
def test_empty_batches_are_ordinary(row: Row, case: Case) -> None:
    d = row.make(case)
    none = d.expand((0, *d.batch_shape))
    x = none.sample()
    assert x.shape == (0, *d.batch_shape, *d.event_shape)
    assert none.log_prob(x).shape == (0, *d.batch_shape)
    built = row.new(**{name: row.read(none, name) for name in case.params}, **case.static)
    assert built.batch_shape == none.batch_shape
    assert built.sample((2,)).shape == (2, *none.shape())

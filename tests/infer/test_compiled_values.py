"""What compiled functions return, against the functions themselves."""

from __future__ import annotations

import torch
from torch import Tensor

import inference
from inference.compile.drawing import FEW


def test_what_a_call_returned_is_not_changed_by_the_next() -> None:
    both = inference.compile(lambda x: (x + 1.0, x * 2.0))
    first = both(torch.ones(3))
    both(torch.zeros(3))
    assert [each.tolist() for each in first] == [[2.0] * 3] * 2


def test_an_input_and_its_views() -> None:
    x = torch.arange(4.0).reshape(2, 2)
    for found, wanted in zip(inference.compile(lambda x: (x, x.t(), x[0]))(x), (x, x.t(), x[0]), strict=True):
        assert torch.equal(found, wanted)


def test_an_operation_that_does_nothing_to_a_view() -> None:
    large, x = torch.rand(512, 4, 3), torch.rand(3, 4)

    def program(x: Tensor) -> Tensor:
        wide = x[:, 0].expand(4, 3) * torch.ones(4, 3)
        return ((torch.zeros(4, 3) + x.t()) * large).sum((1, 2)) + (wide * large).sum((1, 2))

    torch.testing.assert_close(inference.compile(program)(x), program(x))


def test_few_draws_depend_on_the_upper_half_of_the_counter() -> None:
    draw = inference.compile(lambda: torch.rand(FEW))
    draw()
    (recorded,) = draw.known.values()
    assert recorded is not None
    low, high = (recorded.kernel([torch.tensor(place)])[0].clone() for place in (5, 5 + 2**32))
    assert not torch.equal(low, high)


def test_counts_and_chances_that_broadcast() -> None:
    chances = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
    drawn = inference.compile(torch.binomial)(torch.tensor([10.0]), chances)
    assert drawn.tolist() == [0.0, 10.0, 0.0, 10.0, 10.0]


def test_another_layout_behind_the_same_tensor_is_seen() -> None:
    x = torch.arange(4.0).reshape(2, 2)
    function = inference.compile(lambda x: x + 1.0)
    function(x)
    (recorded,) = function.known.values()
    assert recorded is not None
    bound = recorded.kernel.bound([torch.tensor(0), x])
    assert not bound.moved()
    for change in (x.t_, lambda: x.set_(torch.ones(2, 2).t()), lambda: x.resize_(4)):  # type: ignore[no-untyped-call]
        change()
        assert bound.moved()
        assert not bound.moved()

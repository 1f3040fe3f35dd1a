"""`ppl_dist.utils` answers what `torch.distributions.utils` answers, by calling both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributions.utils as theirs

from ppl_dist import utils as ours

DOUBLE = torch.tensor([1.0, 2.0], dtype=torch.float64)
PROBS = torch.tensor([0.0, 0.3, 1.0])
CALLS: dict[str, list[tuple[Any, ...]]] = {
    "broadcast_all": [(), (1, 2), (True,), (1.5, DOUBLE), (1, torch.tensor([1, 2])), (DOUBLE[:1], torch.ones(3, 1))],
    "clamp_probs": [(PROBS,), (PROBS.half(),), (PROBS.double(),)],
    "probs_to_logits": [(PROBS,), (PROBS, True), (PROBS.double(), False)],
    "logits_to_probs": [(DOUBLE,), (DOUBLE, True), (torch.zeros(2, 3),)],
    "tril_matrix_to_vec": [(torch.rand(2, n, n), d) for n in range(1, 5) for d in range(-n, n)],
    "vec_to_tril_matrix": [
        (torch.rand(2, len(torch.tril_indices(n, n, d)[0])), d) for n in range(1, 5) for d in range(1 - n, n)
    ],
}


@pytest.mark.parametrize("name, args", [pytest.param(n, a, id=f"{n}-{i}") for n in CALLS for i, a in enumerate(CALLS[n])])
def test_equal_to_torch(name: str, args: tuple[Any, ...]) -> None:
    torch.testing.assert_close(getattr(ours, name)(*args), getattr(theirs, name)(*args), rtol=1e-6, atol=0)


WRONG: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
    (ours.broadcast_all, ("a", 1.0), "broadcast_all: expected numbers and tensors, got str"),
    (ours.tril_matrix_to_vec, (torch.eye(2), 2), r"diag must lie in -2..1 for matrices of size 2, got 2"),
    (ours.vec_to_tril_matrix, (torch.ones(5),), "no square matrix has 5 entries on and below diagonal 0"),
]


@pytest.mark.parametrize("call, args, message", WRONG)
def test_wrong_arguments_say_what_was_expected(call: Callable[..., Any], args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*args)


def test_every_name_is_called_here() -> None:
    assert set(theirs.__all__) == set(ours.__all__) == {*CALLS, "lazy_property"}


@pytest.mark.parametrize("module", [ours, theirs], ids=["ours", "torch"])
def test_a_lazy_property_is_computed_once_with_gradients_and_stored(module: Any) -> None:
    class Square:
        calls = 0

        @module.lazy_property  # type: ignore[untyped-decorator]  # either module
        def area(self) -> bool:
            """The area."""
            self.calls += 1
            return torch.is_grad_enabled()

    assert not isinstance(Square.area, bool)
    square = Square()
    with torch.no_grad():
        assert square.area is True
    assert square.area is True
    assert square.calls == 1
    assert vars(square)["area"] is True

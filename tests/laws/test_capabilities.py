"""What a family can do: each capability answers in its shape, or the table says why not and so does the error."""

from __future__ import annotations

import re

import pytest
from torch import Tensor

from ppl_dist import Distribution, kl_divergence
from tests.support.families import FAMILIES, Case, Row, each
from tests.support.table import CAPABILITIES, ROOTS
from tests.support.tally import tally

AT_A_LEVEL = {"icdf", "isf", "quantile"}
AT_A_VALUE = {"cdf", "log_cdf", "survival_function", "log_survival_function"}


def ask(d: Distribution, method: str, x: Tensor) -> Tensor:
    if method == "kl_divergence":
        return kl_divergence(d, d)
    if method in AT_A_LEVEL | AT_A_VALUE:
        return getattr(d, method)(x if method in AT_A_VALUE else 0.5 + 0 * x)
    found = getattr(d, method)
    return found if isinstance(found, Tensor) else found()


@each("capabilities")
def test_a_capability_answers_or_is_lacking_with_a_reason(row: Row, case: Case) -> None:
    d, x = row.make(case), row.points(case)[0]
    for method in CAPABILITIES:
        if row.has(method, case):
            shape = d.batch_shape if method in {"entropy", "kl_divergence"} else d.batch_shape + d.event_shape
            answer = ask(d, method, x)
            assert (answer.shape[1:] if method == "enumerate_support" else answer.shape) == shape, method
        else:
            with pytest.raises(NotImplementedError) as caught:
                ask(d, method, x)
            root = ROOTS.get(method, method)
            assert re.match(rf"{row.name} .*\b({method}|{root})\b", str(caught.value)), caught.value


@each("capabilities: flags")
def test_the_flags_say_what_there_is(row: Row, case: Case) -> None:
    d = row.make(case)
    assert d.has_rsample == row.has("rsample", case)
    assert d.has_enumerate_support == row.has("enumerate_support", case)


def test_every_lack_is_of_a_capability_of_a_case_and_has_a_reason() -> None:
    for row in FAMILIES:
        cases = {one.name for one in row.cases}
        for key, lack in row.lacks.items():
            method, _, name = key.partition(":")
            assert method in set(CAPABILITIES) - set(ROOTS), (row.name, key)
            assert name in cases | {""}, (row.name, key)
            assert lack.reason


def test_the_run_ends_with_the_count_of_families_and_of_gaps() -> None:
    (summary, *details) = tally(verbose=True)
    assert summary.startswith(f"families: {len({row.family for row in FAMILIES})} in the table, ")
    assert [summary] == list(tally(verbose=False))
    gaps = sum(len(row.gaps) for row in FAMILIES)
    assert f"{gaps} exceptions to laws" in summary
    assert any(re.match(r" +MixtureSameFamily: no form of mode: a mixture", line) for line in details)

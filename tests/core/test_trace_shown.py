"""How a trace is shown: who owns its dimensions, tables that fit, values in a few words."""

from __future__ import annotations

from html import escape

import pytest
import torch

import ppl_dist as dist
from ppl import Trace, deterministic, factor, param, plate, sample
from ppl import handlers as h
from ppl.messages import cut, summary
from ppl.params import ParamStore
from ppl.showing import law


def grid() -> Trace:
    with ParamStore(), h.seed(rng_seed=0), h.trace() as tr:
        with plate("rows", 4, dim=-2):
            row = sample("row", dist.Normal(0.0, 1.0))
            with plate("columns", 100, subsample_size=3, dim=-1) as i:
                cell = sample("cell", dist.Normal(row, 1.0).expand([4, 3]))
                sample("vector", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=torch.zeros(4, 3, 2))
                deterministic("computed", cell * 2)
                deterministic("with_event", cell, event_dim=1)
                param("per_column", torch.zeros(100, 2), event_dim=1)
        assert len(i) == 3
        factor("f", cell.sum())
    return tr


def test_dim_names() -> None:
    tr = grid()
    assert tr.dim_names("rows") == ("rows",) and tr.dim_names("columns") == ("columns",)
    assert tr.dim_names("row") == ("rows", None)
    for name in ("cell", "vector", "computed"):
        assert tr.dim_names(name) == ("rows", "columns"), name
    assert tr.dim_names("with_event") == (None,), "of size 4, which is not that of the columns"
    assert tr.dim_names("per_column") == ("columns",)
    assert tr.dim_names("f") == ()


def test_dim_names_of_enumerated_sites() -> None:
    tr = grid()
    wide = torch.zeros(5, 1, 4, 3)
    tr["cell"].value, tr["cell"].infer["_dim_to_name"] = wide, {-4: "z"}
    assert tr.dim_names("cell") == ("z", None, "rows", "columns")
    tr["vector"].fn, tr["vector"].infer["_dim_to_name"] = dist.Normal(wide.unsqueeze(-1), 1.0).to_event(1), {-4: "z"}
    assert tr.dim_names("vector") == ("z", None, "rows", "columns"), "the distribution is wider than the value"
    assert "z - rows columns" in tr.format_shapes() and "z - rows columns" in tr._repr_html_()


def test_format_shapes_names_the_dimensions() -> None:
    lines = grid().format_shapes("Shapes of the grid:", last_site="vector").splitlines()
    assert lines[0] == "Shapes of the grid:" and lines[1].split() == ["site", "dist", "value", "log_prob", "dims"]
    assert [line.split()[0] for line in lines[2:]] == ["rows", "row", "columns", "cell", "vector"]
    assert lines[3].split() == ["row", "4", "1", "|", "4", "1", "|", "rows", "-"]
    assert lines[6].split()[-2:] == ["rows", "columns"]
    assert len({line.index("|") for line in lines[2:]}) == 1, "the bars stand under each other"


def test_format_shapes_shows_all_and_knows_no_other_site() -> None:
    tr = grid()
    assert len(tr.format_shapes().splitlines()) == len(tr) + 1
    with pytest.raises(KeyError, match="nonsense"):
        tr.format_shapes(last_site="nonsense")


def test_repr_fits_a_terminal() -> None:
    long = "encoder.layers.0.attention.projection.weight"
    with h.trace() as tr:
        sample(long, dist.Normal(0.0, 1.0).expand([1] * 30).to_event(30))
        sample(long[:-1] + "s", dist.Normal(0.0, 1.0))
    lines = repr(tr).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].split()[0] == "encoder.layer...ction.weight" and lines[2].split()[0].endswith("weighs")
    assert max(map(len, tr.format_shapes().splitlines())) < 220


def test_html_tells_distribution_plates_and_value() -> None:
    tr = grid()
    tr.compute_log_prob()
    html = tr._repr_html_()
    assert html.count("<tr>") == len(tr) + 1
    plates = 'plate "rows" (dim -2, size 4), plate "columns" (dim -1, size 3 of 100)'
    assert escape(plates) in html and "rows columns" in html
    assert "Normal(loc=0, scale=1).to_event(1)" in html and "±" in html
    assert f"{tr['cell'].log_prob_sum.item():.5g}" in html


def test_html_of_a_huge_trace() -> None:
    with h.trace() as tr:
        for i in range(1000):
            sample(f"<{i}>", dist.Normal(0.0, 1.0), obs=0.0)
    html = tr._repr_html_()
    assert html.count("<tr>") == 202 and "800 more" in html and "&lt;999&gt;" in html and "<0>" not in html


def test_in_a_loop() -> None:
    with h.trace() as tr:
        for i in plate("steps", 2):
            sample(f"x{i}", dist.Normal(0.0, 1.0))
    assert escape('plate "steps" (sequential, size 2)') in tr._repr_html_() and tr.dim_names("x0") == ()


def test_summary() -> None:
    nan = float("nan")
    cases = {
        "0.5": torch.tensor(0.5),
        "[0.5, -1, 2]": torch.tensor([0.5, -1.0, 2.0]),
        "[1, nan]": torch.tensor([1.0, nan]),
        "3": torch.full((4, 5), 3),
        "1": torch.ones(2, 2, dtype=torch.bool),
        "4.5 ± 2.9 in [0, 9]": torch.arange(10),
        "1 ± 1 in [0, 2], 3 not finite": torch.tensor([nan, nan, 0.0, 2.0, float("inf")]),
        "5 numbers, 5 not finite": torch.full((5,), nan),
        "[]": torch.zeros(0),
        "None": None,
        "7": 7,
    }
    for words, value in cases.items():
        assert summary(value) == words, value
    assert summary(torch.zeros(3, dtype=torch.complex64)) == "..."
    assert len(summary("long " * 100)) == 40


def test_summary_where_values_cannot_be_read() -> None:
    def inside(x: torch.Tensor) -> torch.Tensor:
        assert summary(x) == "..." and summary(x.sum()) == "..."
        return x

    torch.func.vmap(inside)(torch.zeros(2, 10))


def test_cut() -> None:
    assert cut("short", 5) == "short" and cut("abcdefghij", 9) == "abc...hij" and len(cut("a" * 100, 28)) == 28


def test_law() -> None:
    assert law(dist.Normal(torch.tensor([0.0, 1.0]), 2.0)) == "Normal(loc=[0, 1], scale=2)"
    mixture = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(torch.zeros(2), 1.0))
    assert law(mixture).startswith("MixtureSameFamily(mixture_distribution.probs=0.5")
    assert law(torch.distributions.Poisson(3.0)) == "Poisson(rate=3)"

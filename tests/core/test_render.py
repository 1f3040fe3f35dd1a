"""Drawings of models: what depends on what, by hand; and that no picture has anything in the wrong place."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import ppl_dist as dist
from ppl import ParamStore, deterministic, factor, module, param, plate, sample
from ppl import handlers as h
from ppl.layout import Key, Layout, Rect, _spread
from ppl.render import _graph, render_dot, render_model


def schools() -> None:
    mu = sample("mu", dist.Normal(0.0, 5.0))
    tau = sample("tau", dist.HalfCauchy(5.0))
    with plate("schools", 8):
        theta = sample("theta", dist.Normal(mu, tau))
        sample("y", dist.Normal(theta, 10.0), obs=torch.zeros(8))


def mixture() -> None:
    weights = sample("weights", dist.Dirichlet(torch.ones(3)))
    with plate("components", 3):
        mu = sample("mu", dist.Normal(0.0, 1.0))
        sigma = sample("sigma", dist.LogNormal(0.0, 1.0))
    with plate("data", 100):
        z = sample("z", dist.Categorical(weights))
        sample("x", dist.Normal(mu[z], sigma[z]), obs=torch.zeros(100))


def nested() -> None:
    alpha = sample("alpha", dist.Normal(0.0, 1.0))
    beta = sample("beta", dist.Normal(0.0, 1.0))
    with plate("states", 5, dim=-2):
        c = sample("c", dist.Normal(alpha, 1.0))
        with plate("counties", 4, dim=-1):
            d = sample("d", dist.Normal(c, 1.0))
            sample("y", dist.Normal(d + beta, 1.0), obs=torch.zeros(5, 4))
        e = sample("e", dist.Normal(d.mean(-1, keepdim=True), 1.0))
    sample("total", dist.Normal(e.sum(), 1.0), obs=torch.tensor(0.0))


def crossed() -> None:
    m = sample("m", dist.Normal(0.0, 1.0))
    rows, columns = plate("rows", 5, dim=-2), plate("columns", 4, dim=-1)
    with rows:
        r = sample("r", dist.Normal(m, 1.0))
    with columns:
        c = sample("c", dist.Normal(m, 1.0))
    with rows, columns:
        sample("cell", dist.Normal(r + c, 1.0), obs=torch.zeros(5, 4))


def vae() -> None:
    decoder = module("decoder", nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)))
    noise = param("noise", 1.0, constraint=dist.constraints.positive)
    data = torch.zeros(10, 3)
    with plate("data", 10, subsample_size=5) as i:
        z = sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        image = deterministic("image", decoder(z))
        sample("x", dist.Normal(image, noise).to_event(1), obs=data[i])
    factor("penalty", -noise)


def hmm() -> None:
    transition = sample("transition", dist.Dirichlet(torch.ones(3, 3)).to_event(1))
    emission = sample("emission", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    z = torch.tensor(0)
    for t in plate("time", 4):
        z = sample(f"z_{t}", dist.Categorical(transition[z]))
        sample(f"x_{t}", dist.Normal(emission[z], 1.0), obs=torch.tensor(0.0))


def circle_of_blocks() -> None:
    with plate("data", 3):
        a = sample("a", dist.Normal(0.0, 1.0))
    g, m = sample("g", dist.Normal(0.0, 1.0)), sample("m", dist.Normal(a.mean(), 1.0))
    with plate("data", 3):
        sample("b", dist.Normal(a + g + m, 1.0), obs=torch.zeros(3))


def thirty() -> None:
    drawn: list[torch.Tensor] = []
    for i in range(30):
        mean = drawn[i // 2].mean() + drawn[i // 3].mean() if i else 0.0
        if i % 3 == 1:
            with plate("left", 3):
                drawn.append(sample(f"v{i}", dist.Normal(mean, 1.0)))
        else:
            drawn.append(sample(f"v{i}", dist.Normal(mean, 1.0)))


def nothing() -> None:
    pass


MODELS: dict[str, Callable[[], None]] = {
    model.__name__: model for model in (schools, mixture, nested, crossed, vae, hmm, circle_of_blocks, thirty, nothing)
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def edges(model: Callable[[], None], *, params: bool = False, computed: bool = False) -> set[str]:
    return {f"{a[-1]} {b[-1]}" for a, b in _graph(model, None, None, False, params, computed)[1]}


@pytest.fixture(autouse=True)
def own_store() -> object:
    with ParamStore() as store:
        yield store


EXPECTED = {
    "schools": "mu theta, tau theta, theta y",
    "mixture": "weights z, mu x, sigma x, z x",
    "nested": "alpha c, c d, d y, beta y, d e, e total",
    "crossed": "m r, m c, r cell, c cell",
    "vae": "z x",
    "circle_of_blocks": "a m, a b, g b, m b",
    "hmm": "transition z_0, transition z_1, transition z_2, transition z_3, z_0 z_1, z_1 z_2, z_2 z_3, "
    "emission x_0, emission x_1, emission x_2, emission x_3, z_0 x_0, z_1 x_1, z_2 x_2, z_3 x_3",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_edges(name: str) -> None:
    assert edges(MODELS[name]) == set(EXPECTED[name].split(", "))


def test_edges_through_what_may_be_left_out() -> None:
    assert edges(vae, params=True) == {"decoder x", "noise x", "noise penalty", "z x"}
    assert edges(vae, computed=True) == {"z image", "image x"}
    both = edges(vae, params=True, computed=True)
    assert both == {"decoder image", "z image", "image x", "noise x", "noise penalty"}


def test_kinds_and_plates() -> None:
    nodes, _, _ = _graph(vae, None, None, False, True, True)
    assert nodes == {
        ("decoder",): "param",
        ("noise",): "param",
        ("data (5 of 10)", "z"): "latent",
        ("data (5 of 10)", "image"): "deterministic",
        ("data (5 of 10)", "x"): "observed",
        ("penalty",): "factor",
    }
    nodes, _, _ = _graph(crossed, None, None, False, False, False)
    assert {("rows (5)", "columns (4)", "cell"), ("columns (4)", "c")} <= set(nodes)


def layout(model: Callable[[], None]) -> tuple[Layout, dict[Key, Rect]]:
    nodes, links, _ = _graph(model, None, None, False, True, True)
    labels = {key[:n]: 1.5 for key in nodes for n in range(1, len(key))}
    made = Layout(dict.fromkeys(nodes, (0.8, 0.5)), links, labels)
    return made, {key: (x - 0.4, y - 0.25, x + 0.4, y + 0.25) for key, (x, y) in made.centres.items()}


def apart(a: Rect, b: Rect) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def within(a: Rect, b: Rect) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]


@every_model
def test_nothing_overlaps_and_boxes_hold_their_members(model: Callable[[], None]) -> None:
    made, rects = layout(model)
    assert all(apart(a, b) for a, b in combinations(rects.values(), 2))
    for path, box in made.boxes.items():
        assert box[2] - box[0] >= 1.5 and within(box, made.page)
        for key, rect in rects.items():
            assert (within if key[: len(path)] == path else apart)(rect, box), (key, path)
        for other, inner in made.boxes.items():
            if other != path and len(other) >= len(path):
                assert (within if other[: len(path)] == path else apart)(inner, box), (other, path)
    assert all(within(rect, made.page) for rect in rects.values())


@every_model
def test_edges_go_from_end_to_end_and_around_the_nodes(model: Callable[[], None]) -> None:
    made, rects = layout(model)
    for (a, b), points in made.routes.items():
        assert points[0] == made.centres[a] and points[-1] == made.centres[b]
        down = points[0][1] < points[-1][1]  # blocks in a circle have an edge that goes up, as it can
        for p, q in pairwise(points) if down else ():
            for t in torch.linspace(0, 1, 101).tolist():
                x, y = p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])
                hit = [name for name, r in rects.items() if r[0] < x < r[2] and r[1] < y < r[3]]
                assert set(hit) <= {a, b}, (a, b, hit)


def test_only_a_circle_of_blocks_has_edges_that_go_up() -> None:
    for name, model in MODELS.items():
        made, _ = layout(model)
        up = [edge for edge, points in made.routes.items() if points[0][1] >= points[-1][1]]
        assert not up or name in ("circle_of_blocks", "thirty"), (name, up)


def crossings(routes: list[list[tuple[float, float]]]) -> int:
    def side(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    lines = [line for points in routes for line in pairwise(points)]
    pairs = ((side(*p, q[0]) * side(*p, q[1]), side(*q, p[0]) * side(*q, p[1])) for p, q in combinations(lines, 2))
    return sum(max(pair) < -1e-9 for pair in pairs)


def test_no_crossings_where_there_need_be_none() -> None:
    for model in (schools, mixture, nested, crossed, vae):
        made, _ = layout(model)
        assert crossings(list(made.routes.values())) == 0, model


def test_spread_keeps_order_and_gaps_and_what_fits() -> None:
    wanted, widths = [0.0, 0.1, 3.0, 2.0, 2.5], [1.0, 0.5, 0.2, 1.0, 0.4]
    gaps = [(a + b) / 2 + 0.3 for a, b in pairwise(widths)]
    centres = _spread(wanted, widths)
    assert all(b - a >= gap - 1e-9 for (a, b), gap in zip(pairwise(centres), gaps, strict=True))
    assert _spread(centres, widths) == pytest.approx(centres)
    assert sum(_spread([2.0] * 3, [1.0] * 3)) == pytest.approx(6.0), "to both sides alike"


def test_drawing_leaves_no_trace(own_store: ParamStore) -> None:
    own_store.get_or_init("noise", 2.0, dist.constraints.positive)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with h.trace() as around:
        render_model(lambda: (vae(), torch.rand(())), render_params=True)
    assert torch.equal(torch.rand(3), expected)
    assert list(own_store) == ["noise"] and own_store["noise"].item() == pytest.approx(2.0) and len(around) == 0


def test_pyplot_is_left_alone() -> None:
    import matplotlib.pyplot as plt

    backend, settings = plt.get_backend(), dict(plt.rcParams)
    render_model(schools)
    assert plt.get_fignums() == [] and plt.get_backend() == backend and dict(plt.rcParams) == settings


def test_arguments() -> None:
    def model(n: int, extra: bool = False) -> None:
        for i in range(n):
            sample(f"x{i}", dist.Normal(0.0, 1.0))
        if extra:
            sample("extra", dist.Normal(0.0, 1.0))

    text = render_dot(model, (2,), {"extra": True})
    assert '"x1"' in text and '"x2"' not in text and '"extra"' in text


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_files(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"model.{ending}"
    figure = render_model(vae, filename=file, render_distributions=True, render_params=True, render_deterministic=True)
    assert file.read_bytes()[:5] in (b"\x89PNG\r", b"%PDF-", b"<?xml")
    words = [text.get_text() for text in figure.axes[0].texts]
    assert {"decoder", "z", "image", "x", "penalty", "data (5 of 10)"} <= set(words)
    assert "z ~ Normal.to_event(1)\nx ~ Normal.to_event(1)" in words
    assert figure.get_size_inches()[0] > 1.0


def test_dot_file(tmp_path: Path) -> None:
    for ending in ("dot", "gv"):
        render_model(schools, filename=str(tmp_path / f"m.{ending}"))
        assert (tmp_path / f"m.{ending}").read_text() == render_dot(schools) + "\n"


@every_model
def test_dot_is_well_formed(model: Callable[[], None]) -> None:
    text = render_dot(model, render_distributions=True, render_params=True, render_deterministic=True)
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "Q", text)  # what is left once every quoted string is taken out
    assert '"' not in bare and bare.startswith("digraph {") and bare.rstrip().endswith("}")
    depth = 0
    for char in bare:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    word = r"\w+=[\w.Q]+"
    line = rf"digraph {{|}}|subgraph Q {{|Q -> Q|Q \[{word}( {word})*\]|{word}( {word})*"
    assert all(re.fullmatch(line, row.strip()) for row in bare.splitlines())


def test_dot_quotes_names() -> None:
    def model() -> None:
        with plate('a "plate"', 2):
            sample('x "y" \\ z', dist.Normal(0.0, 1.0))

    text = render_dot(model, render_distributions=True)
    assert '"x \\"y\\" \\\\ z"' in text and 'label="a \\"plate\\" (2)"' in text
    assert '"x \\"y\\" \\\\ z ~ Normal\\l"'.replace('"x', 'label="x') in text


def test_dot_of_crossed_plates() -> None:
    text = render_dot(crossed)
    assert text.count("subgraph") == 3 and text.count('label="columns (4)"') == 2
    names = re.findall(r'subgraph ("[^"]+")', text)
    assert len(set(names)) == 3 and all(name.startswith('"cluster_') for name in names)


def test_importing_ppl_imports_no_matplotlib() -> None:
    """It is imported where a figure is made, and nowhere else: read off the source, as a new process takes long."""
    import ast

    import ppl

    for file in Path(ppl.__file__).parent.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            assert not (isinstance(node, ast.Import | ast.ImportFrom) and "matplotlib" in ast.unparse(node)), file

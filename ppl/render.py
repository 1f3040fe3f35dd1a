"""Draw a model as a graph: its sites, what depends on what, and its plates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ppl.handlers import block, seed, trace
from ppl.layout import Layout, Point
from ppl.messages import cut, family, kind
from ppl.params import get_param_store
from ppl.provenance import _tag, parents, track, untracked
from ppl.runtime import Frame, Handler, Site
from ppl.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["render_dot", "render_model"]

_INK, _GREY = "0.15", "0.45"


class _Node(NamedTuple):
    kind: str
    law: str
    plates: tuple[str, ...]


def render_model(
    model: Callable[..., Any],
    model_args: tuple[Any, ...] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    filename: str | Path | None = None,
    render_distributions: bool = False,
    render_params: bool = False,
    render_deterministic: bool = False,
) -> Figure:
    """Draw the graph of a model.

    Latent sites are white, observed ones grey, computed ones dashed, factors small squares; parameters have no border.
    A plate is a box with its name and size. The model is run once, with random numbers and parameters of its own.

    Args:
        model: the model.
        model_args: its arguments.
        model_kwargs: its keyword arguments.
        filename: where to save the picture; with the ending `.dot` or `.gv`, the text that `render_dot` gives.
        render_distributions: whether to list the distribution of each site.
        render_params: whether to draw parameters; those of a module are one node.
        render_deterministic: whether to draw deterministic sites.

    Returns:
        A matplotlib figure, one inch of it per inch.
    """
    nodes, edges = _graph(model, model_args, model_kwargs, render_params, render_deterministic)
    figure = _figure(nodes, edges, render_distributions)
    if filename is not None and Path(filename).suffix in (".dot", ".gv"):
        Path(filename).write_text(_dot(nodes, edges, render_distributions) + "\n", encoding="utf-8")
    elif filename is not None:
        figure.savefig(filename)
    return figure


def render_dot(
    model: Callable[..., Any],
    model_args: tuple[Any, ...] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    render_distributions: bool = False,
    render_params: bool = False,
    render_deterministic: bool = False,
) -> str:
    """The graph of a model in the DOT language of Graphviz.

    Args:
        model: the model.
        model_args: its arguments.
        model_kwargs: its keyword arguments.
        render_distributions: whether to list the distribution of each site.
        render_params: whether to draw parameters; those of a module are one node.
        render_deterministic: whether to draw deterministic sites.

    >>> import ppl_dist as dist
    >>> from ppl import sample
    >>> print(render_dot(lambda: sample("y", dist.Normal(sample("x", dist.Normal(0.0, 1.0)), 1.0))))
    digraph {
      "x" [shape=ellipse style=filled fillcolor=white]
      "y" [shape=ellipse style=filled fillcolor=white]
      "x" -> "y"
    }
    """
    return _dot(*_graph(model, model_args, model_kwargs, render_params, render_deterministic), render_distributions)


class _Stage(Handler):
    """Inside `track`: what depends on a computed value depends on what it was computed from through it alone."""

    def finish(self, site: Site) -> None:
        if site.type == "deterministic":
            site.value = _tag(untracked(site.value), frozenset({site.name}))


def _run(model: Callable[..., Any], args: Any, kwargs: Any, stage: bool) -> Trace:
    store = get_param_store()
    scratch = store.bind({name: leaf.detach().clone().requires_grad_() for name, leaf in store.named_parameters()})
    with scratch, torch.random.fork_rng(), block(), trace() as tr, track(), _Stage() if stage else Handler():
        seed(model, rng_seed=0)(*(args or ()), **(kwargs or {}))
    return tr


def _graph(
    model: Callable[..., Any], args: Any, kwargs: Any, params: bool, deterministic: bool
) -> tuple[dict[str, _Node], list[tuple[str, str]]]:
    kinds = {"sample", *(("param",) if params else ()), *(("deterministic",) if deterministic else ())}
    tr = _run(model, args, kwargs, deterministic)
    shown = {name: _node_name(tr, name) for name, site in tr.items() if site.type in kinds}
    nodes: dict[str, _Node] = {}
    edges: dict[tuple[str, str], None] = {}
    for name, node in shown.items():
        nodes.setdefault(node, _node(tr[name]))
        given = parents(tr[name])
        edges |= {(parent, node): None for other, parent in shown.items() if other in given and parent != node}
    return nodes, list(edges)


def _node_name(tr: Trace, name: str) -> str:
    module, dollars, _ = name.partition("$$$")
    return module if dollars and module not in tr else name


def _node(site: Site) -> _Node:
    factor = hasattr(site.fn, "log_factor")
    law = "" if site.type != "sample" or factor else f"{site.name} ~ {family(site.fn)}"
    return _Node("factor" if factor else kind(site), law, tuple(_label(frame) for frame in site.cond_indep_stack))


def _label(frame: Frame) -> str:
    size = "" if frame.size == -1 else f" ({frame.size})"
    return frame.name + (size if frame.size == frame.full_size else f" ({frame.size} of {frame.full_size})")


_DOT_STYLES = {
    "latent": "shape=ellipse style=filled fillcolor=white",
    "observed": "shape=ellipse style=filled fillcolor=gray85",
    "deterministic": "shape=ellipse style=dashed",
    "param": "shape=plaintext",
    "factor": 'shape=square style=filled fillcolor=gray15 label="" width=0.15',
}


def _dot(nodes: Mapping[str, _Node], edges: list[tuple[str, str]], distributions: bool) -> str:
    lines = [f"{_quoted(a)} -> {_quoted(b)}" for a, b in edges]
    laws = [node.law for node in nodes.values() if node.law]
    if distributions and laws:
        text = "".join(f"{_quoted(law)[1:-1]}\\l" for law in laws)
        lines.append(f'"~" [shape=plaintext label="{text}"]')
    return "\n".join(["digraph {", *(f"  {line}" for line in [*_cluster(nodes, ()), *lines]), "}"])


def _cluster(nodes: Mapping[str, _Node], path: tuple[str, ...]) -> Iterator[str]:
    n, inner = len(path), dict[tuple[str, ...], None]()
    for name, node in nodes.items():
        if node.plates == path:
            yield f"{_quoted(name)} [{_DOT_STYLES[node.kind]}]"
        elif node.plates[:n] == path:
            inner[node.plates[: n + 1]] = None
    for child in inner:
        yield f"subgraph {_quoted('cluster_' + '/'.join(child))} {{"
        yield f"  label={_quoted(child[-1])} labeljust=r labelloc=b style=rounded"
        yield from (f"  {line}" for line in _cluster(nodes, child))
        yield "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _figure(nodes: Mapping[str, _Node], edges: list[tuple[str, str]], distributions: bool) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    squares = {name for name, node in nodes.items() if node.kind == "factor"}
    rooms = {name: (max(_width(name, 10) * (2 if name in squares else 1) + 0.15, 0.6), 0.46) for name in nodes}
    shapes = rooms | dict.fromkeys(squares, (0.16, 0.16))
    plates = {name: node.plates for name, node in nodes.items()}
    labels = {path[:n]: _width(path[n - 1], 8) for path in plates.values() for n in range(1, len(path) + 1)}
    layout = Layout(rooms, plates, edges, labels)
    laws = [node.law for node in nodes.values() if node.law] if distributions else []
    left, top, legend, bottom = layout.page
    right, bottom = (
        legend + max((_width(law, 9) for law in laws), default=0.0),
        max(bottom, top + 0.2 * len(laws) + 0.3),
    )
    figure = Figure(figsize=(right - left, bottom - top))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(left, right), ylim=(bottom, top))
    axes.set_axis_off()
    axes.text(legend, top + 0.2, "\n".join(laws), fontsize=9, color=_INK, va="top", linespacing=1.5)
    for path, (x0, y0, x1, y1) in layout.boxes.items():
        box = FancyBboxPatch((x0, y0), x1 - x0, y1 - y0, "round,pad=0,rounding_size=0.08", fill=False, ec=_GREY, lw=0.8)
        axes.add_patch(box)
        look = {"fc": "white", "ec": "none", "pad": 0.5}  # an edge that passes behind a label does not cross it out
        axes.text(x1 - 0.07, y1 - 0.07, cut(path[-1], 32), fontsize=8, color=_GREY, ha="right", va="bottom", bbox=look)
    for (a, b), points in layout.routes.items():
        ends = [_border(points[0], points[1], shapes[a]), *points[1:-1], _border(points[-1], points[-2], shapes[b])]
        axes.add_patch(FancyArrowPatch(path=_rounded(ends), arrowstyle="-|>", mutation_scale=9, color=_INK, lw=0.9))
    for name, (x, y) in layout.centres.items():
        _draw_node(axes, name, nodes[name].kind, (x, y), shapes[name])
    return figure


def _draw_node(axes: Any, name: str, role: str, centre: Point, size: Point) -> None:
    from matplotlib.patches import Ellipse, Rectangle

    (x, y), (w, h) = centre, size
    if role == "factor":
        axes.add_patch(Rectangle((x - w / 2, y - h / 2), w, h, fc=_INK, zorder=3))
        axes.text(x + w, y, cut(name, 32), fontsize=8, color=_INK, va="center", zorder=4)
        return
    if role != "param":
        fill, line = "0.85" if role == "observed" else "white", "--" if role == "deterministic" else "-"
        axes.add_patch(Ellipse(centre, w, h, fc=fill, ec=_INK, lw=0.9, ls=line, zorder=3))
    axes.text(x, y, cut(name, 32), fontsize=10, color=_INK, ha="center", va="center", zorder=4)


def _width(text: str, points: float) -> float:
    """How wide a line of text is, with some air around it, in inches."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0.0, 0.0), cut(text, 32), size=points).get_extents().width) / 72 + 0.15


def _border(centre: Point, towards: Point, size: Point) -> Point:
    """Where the line from the centre of an ellipse to another point leaves it."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    part = 0.5 / (hypot(dx / size[0], dy / size[1]) or 1.0)
    return centre[0] + part * dx, centre[1] + part * dy


def _rounded(points: list[Point]) -> Any:
    """The path through these corners, each cut short by a curve."""
    from matplotlib.path import Path as Curve

    vertices, codes = [points[0]], [Curve.MOVETO]
    for a, b, c in zip(points, points[1:], points[2:], strict=False):
        vertices += [_towards(b, a), b, _towards(b, c)]
        codes += [Curve.LINETO, Curve.CURVE3, Curve.CURVE3]
    return Curve([*vertices, points[-1]], [*codes, Curve.LINETO])


def _towards(a: Point, b: Point) -> Point:
    part = min(0.3 / (hypot(b[0] - a[0], b[1] - a[1]) or 1.0), 0.5)
    return a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])

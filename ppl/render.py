"""Draw a model as a graph: its sites, what depends on what, and its plates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl.checks import check_callable
from ppl.handlers import trace
from ppl.layout import Key, Layout
from ppl.lint import aside
from ppl.messages import cut, family, kind, size_text
from ppl.provenance import _tag, parents, track, untracked
from ppl.runtime import Handler, Site

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["render_dot", "render_model"]

# the kind of each node, by the labels of the plates around it and its name; the edges; the distributions in words
_Graph = tuple[dict[Key, str], list[tuple[Key, Key]], list[str]]
_INK, _GREY = "0.15", "0.45"
_SHOWN = 32  # characters of a name
_ARROW: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 9, "shrinkA": 0, "shrinkB": 0, "color": _INK}
_LOOKS: dict[str, tuple[str, dict[str, Any]]] = {  # of each kind of node, in DOT and in matplotlib
    "latent": ("shape=ellipse style=filled fillcolor=white", {"fc": "white"}),
    "observed": ("shape=ellipse style=filled fillcolor=gray85", {"fc": "0.85"}),
    "deterministic": ("shape=ellipse style=dashed", {"fc": "white", "ls": "--"}),
    "param": ("shape=plaintext", {"fc": "white", "ec": "none"}),
    "factor": ('shape=square style=filled fillcolor=gray15 label="" width=0.15', {"fc": _INK}),
}


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
    graph = _graph(model, model_args, model_kwargs, render_distributions, render_params, render_deterministic)
    figure = _figure(graph)
    if filename is not None and Path(filename).suffix in (".dot", ".gv"):
        Path(filename).write_text(_dot(graph) + "\n", encoding="utf-8")
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
    return _dot(_graph(model, model_args, model_kwargs, render_distributions, render_params, render_deterministic))


class _Stage(Handler):
    """Inside `track`: what depends on a computed value depends on what it was computed from through it alone."""

    def finish(self, site: Site) -> None:
        if site.type == "deterministic":
            site.value = _tag(untracked(site.value), frozenset({site.name}))


def _graph(
    model: Callable[..., Any], args: Any, kwargs: Any, distributions: bool, params: bool, deterministic: bool
) -> _Graph:
    check_callable("render_model", "model", model)
    with aside(), trace() as tr, track(), _Stage() if deterministic else Handler():
        model(*(args or ()), **(kwargs or {}))
    shown = {"sample": True, "param": params, "deterministic": deterministic}
    keys = {name: _key(site, tr) for name, site in tr.items() if shown.get(site.type)}
    nodes: dict[Key, str] = {}
    edges: dict[tuple[Key, Key], None] = {}
    laws: list[str] = []
    for name, key in keys.items():
        site, given = tr[name], parents(tr[name])
        nodes.setdefault(key, "factor" if hasattr(site.fn, "log_factor") else kind(site))
        edges |= {(parent, key): None for other, parent in keys.items() if other in given and parent != key}
        if distributions and nodes[key] in ("latent", "observed"):
            laws.append(f"{name} ~ {family(site.fn)}")
    return nodes, list(edges), laws


def _key(site: Site, sites: Mapping[str, Site]) -> Key:
    module = site.name.partition("$$$")[0]  # whose parameters are one node
    plates = (f.name + ("" if f.size == -1 else f" ({size_text(f)})") for f in site.cond_indep_stack)
    return *plates, site.name if module in sites else module


_quoted = partial(json.dumps, ensure_ascii=False)


def _dot(graph: _Graph) -> str:
    nodes, edges, laws = graph
    lines = [*_cluster(nodes, ()), *(f"{_quoted(a[-1])} -> {_quoted(b[-1])}" for a, b in edges)]
    if laws:
        text = _quoted("\n".join([*laws, ""])).replace("\\n", "\\l")  # a line break that aligns to the left
        lines.append(f'"~" [shape=plaintext label={text}]')
    return "\n".join(["digraph {", *(f"  {line}" for line in lines), "}"])


def _cluster(nodes: Mapping[Key, str], path: Key) -> Iterator[str]:
    n = len(path)
    yield from (f"{_quoted(key[-1])} [{_LOOKS[role][0]}]" for key, role in nodes.items() if key[:-1] == path)
    for child in dict.fromkeys(key[: n + 1] for key in nodes if key[:n] == path and len(key) > n + 1):
        yield f"subgraph {_quoted('cluster_' + '/'.join(child))} {{"
        yield f"  label={_quoted(child[-1])} labeljust=r labelloc=b style=rounded"
        yield from (f"  {line}" for line in _cluster(nodes, child))
        yield "}"


def _figure(graph: _Graph) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse, FancyArrowPatch, Rectangle

    nodes, edges, laws = graph
    squares = {key: (0.16, 0.16) for key, role in nodes.items() if role == "factor"}
    rooms = {key: (max(_width(key[-1], 10) * (2 if key in squares else 1) + 0.15, 0.6), 0.46) for key in nodes}
    layout = Layout(rooms, edges, {key[:n]: _width(key[n - 1], 8) for key in nodes for n in range(1, len(key))})
    left, top, legend, bottom = layout.page
    right = legend + max((_width(law, 9) for law in laws), default=0.0)
    bottom = max(bottom, top + 0.2 * len(laws) + 0.3)
    figure = Figure(figsize=(right - left, bottom - top))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(left, right), ylim=(bottom, top))
    axes.set_axis_off()
    words = "\n".join(cut(law, _SHOWN) for law in laws)
    axes.text(legend, top + 0.2, words, fontsize=9, color=_INK, va="top", linespacing=1.5)
    for path, (x0, y0, x1, y1) in layout.boxes.items():
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=_GREY, lw=0.8))
        words, under = cut(path[-1], _SHOWN), {"fc": "white", "ec": "none", "pad": 0.5}  # no edge crosses out a label
        axes.text(x1 - 0.07, y1 - 0.07, words, fontsize=8, color=_GREY, ha="right", va="bottom", bbox=under)
    shapes: dict[Key, Ellipse | Rectangle] = {}
    for key, (x, y) in layout.centres.items():
        w, h = (rooms | squares)[key]
        shapes[key] = Rectangle((x - w / 2, y - h / 2), w, h) if key in squares else Ellipse((x, y), w, h)
        axes.add_patch(shapes[key]).set(**{"ec": _INK, "lw": 0.9, "zorder": 3, **_LOOKS[nodes[key]][1]})
        at, side = (x + w, "left") if key in squares else (x, "center")
        axes.text(at, y, cut(key[-1], _SHOWN), fontsize=10, color=_INK, ha=side, va="center", zorder=4)
    for (_, child), points in layout.routes.items():
        axes.plot(*zip(*points[:-1], strict=True), color=_INK, lw=1.0)
        axes.add_patch(FancyArrowPatch(*points[-2:], patchB=shapes[child], **_ARROW))
    return figure


def _width(text: str, points: float) -> float:
    """How wide a line of text is, with some air around it, in inches."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0.0, 0.0), cut(text, _SHOWN), size=points).get_extents().width) / 72 + 0.15

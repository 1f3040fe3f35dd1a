"""Where the parts of a drawn model go: nodes in layers, plates as boxes around their members, edges around the nodes.

Every plate is laid out as a block of layers and is then one item in the layers of the plate around it (Sugiyama, Tagawa
and Toda 1981, *Methods for visual understanding of hierarchical system structures*, with blocks for nodes). An edge has
a waypoint in every layer that it passes, inside the blocks of its ends too, so that room is left for it. Passes over the
picture move everything towards its neighbours, as far as the widths allow, and the picture with the fewest crossings is
kept.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Layout", "lay_out"]

Path = tuple[str, ...]  # the plates around a node, outermost first
Edge = tuple[str, str]
Point = tuple[float, float]
Rect = tuple[float, float, float, float]  # left, top, right, bottom; y runs down
_GAP, _LAYER_GAP, _PAD, _LABEL = 0.3, 0.42, 0.16, 0.2  # inches, as all lengths here
_PASSES = 30


class Layout(NamedTuple):
    """The page, the centres of the nodes, the boxes of the plates, the corners of the edges from centre to centre."""

    page: Rect
    centres: dict[str, Point]
    boxes: dict[Path, Rect]
    routes: dict[Edge, list[Point]]


class _Spot(NamedTuple):
    """The place of an item: its middle, and how far the layer that it is in reaches up and down from there."""

    x: float
    y: float
    reach: float
    width: float
    height: float


def lay_out(
    sizes: Mapping[str, Point], plates: Mapping[str, Path], edges: Sequence[Edge], labels: Mapping[Path, float]
) -> Layout:
    """Lay out a directed graph without cycles.

    Args:
        sizes: width and height of each node, in the order of the program.
        plates: the plates around each node.
        edges: pairs of a parent and a child.
        labels: the width of the label of each plate, which stands in its lower right corner.
    """
    picture = _Picture(sizes, plates, edges, labels)
    spots = min((picture.moved(step) for step in range(_PASSES)), key=picture.cost)
    rects = {key: _rect(spot) for key, spot in spots.items() if spot.width}
    boxes = {path: rects[path] for path in picture.ranks if path}
    routes = {}
    for edge, chain in picture.chains.items():
        around = [rect for key, rect in rects.items() if key not in edge and key not in _prefixes(plates, edge)]
        around += [
            (right - labels[path], bottom - _LABEL, right, bottom) for path, (_, _, right, bottom) in boxes.items()
        ]
        routes[edge] = _straightened(_corners([spots[key] for key in chain]), around)
    return Layout(rects[()], {name: spots[name][:2] for name in sizes}, boxes, routes)


class _Picture:
    """The layers of each block and the waypoints of each edge, which stay; and the places, which move."""

    def __init__(
        self, sizes: Any, plates: Mapping[str, Path], edges: Iterable[Edge], labels: Mapping[Path, float]
    ) -> None:
        self.sizes, self.plates, self.edges, self.labels = sizes, plates, edges, labels
        paths = dict.fromkeys(path[:n] for path in plates.values() for n in range(len(path) + 1)) or {(): None}
        self.ranks = {path: self._ranks(path) for path in paths}
        self.chains: dict[Edge, list[Hashable]] = {}
        self.layers: dict[Path, list[list[Any]]] = {}
        for path, ranks in self.ranks.items():
            self.layers[path] = [[] for _ in range(max(ranks.values(), default=0) + 1)]
            for item, rank in ranks.items():
                self.layers[path][rank].append(item)
        for edge in edges:
            self.chains[edge] = [edge[0], *self._waypoints(edge), edge[1]]
        self.x: dict[Hashable, float] = {}

    def item(self, name: str, path: Path) -> Any:
        """What stands for a node in the block `path`: itself, a block inside, or None if it is not in there."""
        own, n = self.plates[name], len(path)
        return None if own[:n] != path else name if len(own) == n else own[: n + 1]

    def _ranks(self, path: Path) -> dict[Any, int]:
        """The layer of each item in a block: below all its parents, but a source just above its highest child."""
        items = dict.fromkeys(item for name in self.plates if (item := self.item(name, path)) is not None)
        links = [(self.item(a, path), self.item(b, path)) for a, b in self.edges]
        parents: dict[Any, list[Any]] = {item: [] for item in items}
        for a, b in links:
            if a is not None and b is not None and a != b:
                parents[b].append(a)
        ranks: dict[Any, int] = {}

        def rank(item: Any) -> int:
            if item not in ranks:
                ranks[
                    item
                ] = -1  # blocks can depend on each other both ways: such a link is left out where it comes back
                ranks[item] = 1 + max((rank(parent) for parent in parents[item]), default=-1)
            return ranks[item]

        for item in items:
            rank(item)
        for item in items:
            below = [ranks[b] for b in items if item in parents[b]]
            if not parents[item] and below:
                ranks[item] = max(min(below) - 1, 0)
        return ranks

    def _waypoints(self, edge: Edge) -> Iterator[Hashable]:
        """The places an edge passes: out of the blocks around its start, and into those around its end."""
        start, end = (self.plates[name] for name in edge)
        shared = next((n for n in range(len(start), -1, -1) if start[:n] == end[:n]), 0)
        out = [start[:n] for n in range(len(start), shared, -1)]
        for path in [*out, start[:shared], *(end[:n] for n in range(shared + 1, len(end) + 1))]:
            a, b = (self.item(name, path) for name in edge)
            ranks, layers = self.ranks[path], self.layers[path]
            for rank in range(0 if a is None else ranks[a] + 1, len(layers) if b is None else ranks[b]):
                layers[rank].append((edge, path, rank))
                yield layers[rank][-1]

    def moved(self, step: int) -> dict[Any, _Spot]:
        """The picture with everything moved towards its parents, its children or both, in turn."""
        links: dict[Hashable, list[Hashable]] = {}
        for chain in self.chains.values():
            for a, b in zip(chain, chain[1:], strict=False):
                links.setdefault(b, []).extend([a] if step % 3 != 1 else [])
                links.setdefault(a, []).extend([b] if step % 3 != 0 else [])
        spots = self._block((), links)
        self.x = {key: spot.x for key, spot in spots.items()}
        return spots

    def _block(self, path: Path, links: Mapping[Hashable, list[Hashable]]) -> dict[Any, _Spot]:
        """The places of all that is in a block, around the middle of its upper edge; its own is under its path."""
        spots: dict[Any, _Spot] = {}
        y = _PAD
        for layer in self.layers[path]:
            inside = {item: self._block(item, links) if item in self.ranks else {} for item in layer}
            sizes = {
                item: inside[item][item][3:] if inside[item] else self.sizes.get(item, (0.0, 0.0)) for item in layer
            }
            wanted = [self._wanted([item, *inside[item]], links, i) for i, item in enumerate(layer)]
            order = sorted(range(len(layer)), key=lambda i: (wanted[i], self.x.get(layer[i], i)))  # noqa: B023  (used at once)
            centres = _spread([wanted[i] for i in order], [sizes[layer[i]][0] for i in order])
            tall = max(height for _, height in sizes.values())
            for i, x in zip(order, centres, strict=True):
                item, (width, height) = layer[i], sizes[layer[i]]
                top = y + (tall - height) / 2
                spots |= {k: s._replace(x=s.x + x, y=s.y + top) for k, s in inside[item].items()}
                spots[item] = _Spot(x, y + tall / 2, tall / 2, width, height)
            y += tall + _LAYER_GAP
        left = min((spot.x - spot.width / 2 for spot in spots.values()), default=0.0)
        right = max((spot.x + spot.width / 2 for spot in spots.values()), default=0.0)
        width = max(right - left, self.labels.get(path, 0.0)) + 2 * _PAD
        height = y - _LAYER_GAP + (_LABEL + _PAD / 2 if path else _PAD)
        spots = {key: spot._replace(x=spot.x - (left + right) / 2) for key, spot in spots.items()}
        return spots | {path: _Spot(0.0, height / 2, height / 2, width, height)}

    def _wanted(self, keys: Sequence[Hashable], links: Mapping[Hashable, list[Hashable]], i: int) -> float:
        """Where the neighbours of an item would have it, by the places of the last pass."""
        own = set(keys)
        pulls = [self.x[b] - self.x[a] for a in keys for b in links.get(a, ()) if b not in own and self.x]
        return self.x.get(keys[0], float(i)) + (sum(pulls) / len(pulls) if pulls else 0.0)

    def cost(self, spots: Mapping[Any, _Spot]) -> float:
        """Crossings first, then the way that edges go sideways."""
        chains = [[spots[key] for key in chain] for chain in self.chains.values()]
        parts = [(a[:2], b[:2]) for chain in chains for a, b in zip(chain, chain[1:], strict=False)]
        crossings = sum(_cross(p, q) for i, p in enumerate(parts) for q in parts[:i])
        return 10 * crossings + sum(abs(a[0] - b[0]) for a, b in parts)


def _spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The centres nearest to the wanted ones, in least squares, that keep the order and the gaps: pooled neighbours."""
    offsets = [0.0]
    for a, b in zip(widths, widths[1:], strict=False):
        offsets.append(offsets[-1] + (a + b) / 2 + _GAP)
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append((want - offset, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (b, m), (a, n) = pools.pop(), pools.pop()
            pools.append(((a * n + b * m) / (n + m), n + m))
    starts = [start for start, n in pools for _ in range(n)]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]


def _rect(spot: _Spot) -> Rect:
    return (
        spot.x - spot.width / 2,
        spot.y - spot.height / 2,
        spot.x + spot.width / 2,
        spot.y + spot.height / 2,
    )


def _prefixes(plates: Mapping[str, Path], names: Iterable[str]) -> set[Path]:
    return {plates[name][:n] for name in names for n in range(len(plates[name]) + 1)}


def _corners(chain: Sequence[_Spot]) -> list[Point]:
    """From the first to the last centre, straight down through the layers between."""
    first, last = chain[0], chain[-1]
    through = [(spot.x, spot.y + side * spot.reach) for spot in chain for side in (-1, 1)][1:-1]
    return [first[:2], *(through if first.y < last.y else ()), last[:2]]


def _straightened(points: Sequence[Point], around: Sequence[Rect]) -> list[Point]:
    """The corners that are needed to keep out of the rectangles."""
    kept, i = [points[0]], 0
    while i < len(points) - 1:
        clear = (
            j for j in range(len(points) - 1, i + 1, -1) if not any(_hits(points[i], points[j], r) for r in around)
        )
        i = next(clear, i + 1)
        kept.append(points[i])
    return kept


def _hits(p: Point, q: Point, rect: Rect) -> bool:
    """Whether a line passes a rectangle or comes close: clipped, it keeps some length (Liang and Barsky 1984)."""
    margin, low, high = 0.05, 0.0, 1.0
    for k in (0, 1):
        step, near, far = q[k] - p[k], rect[k] - margin - p[k], rect[k + 2] + margin - p[k]
        if step == 0.0:
            low, high = (low, high) if near < 0.0 < far else (1.0, 0.0)
        else:
            low, high = max(low, min(near / step, far / step)), min(high, max(near / step, far / step))
    return low < high


def _cross(p: tuple[Point, ...], q: tuple[Point, ...]) -> bool:
    def side(a: Point, b: Point, c: Point) -> float:
        return (
            math.copysign(1.0, turn)
            if abs(turn := (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) > 1e-9
            else 0.0
        )

    return side(*p, q[0]) * side(*p, q[1]) < 0 and side(*q, p[0]) * side(*q, p[1]) < 0

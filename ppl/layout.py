"""Where the parts of a drawn model go: nodes in layers, plates as boxes around their members, edges around the nodes.

Every plate is laid out as a block of layers, and is then one item in the layers of the plate around it (after Sugiyama,
Tagawa and Toda 1981, *Methods for visual understanding of hierarchical system structures*). An edge has a waypoint in
every layer that it passes, in the blocks around its ends too, so that room is left for it. Passes over the picture move
everything towards its neighbours as far as the widths allow, and the picture with the fewest crossings is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any, NamedTuple

__all__ = ["Layout", "Point"]

Path = tuple[str, ...]  # the plates around a node, outermost first
Edge = tuple[str, str]
Point = tuple[float, float]  # inches, as all lengths here; y runs down
Rect = tuple[float, float, float, float]  # left, top, right, bottom
_GAP, _LAYER_GAP, _PAD, _LABEL = 0.3, 0.42, 0.16, 0.2
_PASSES = 30


class _Spot(NamedTuple):
    """The place of an item: its middle and size, and how far its layer reaches up and down from there."""

    x: float
    y: float
    width: float = 0.0
    height: float = 0.0
    reach: float = 0.0

    @property
    def rect(self) -> Rect:
        return self.x - self.width / 2, self.y - self.height / 2, self.x + self.width / 2, self.y + self.height / 2


class Layout:
    """A layout of a directed graph without cycles.

    Args:
        sizes: width and height of each node, in the order of the program.
        plates: the plates around each node.
        edges: pairs of a parent and a child.
        labels: the width of the label of each plate, which stands in its lower right corner.

    Attributes:
        page: the rectangle that holds everything.
        centres: the middle of each node.
        boxes: the rectangle of each plate.
        routes: the corners of each edge, from the middle of the parent to that of the child.
    """

    def __init__(
        self,
        sizes: Mapping[Any, Point],
        plates: Mapping[str, Path],
        edges: Iterable[Edge],
        labels: Mapping[Path, float],
    ) -> None:
        self._sizes, self._plates, self._labels = sizes, plates, labels
        paths = dict.fromkeys(path[:n] for path in ((), *plates.values()) for n in range(len(path) + 1))
        self._ranks = {path: self._ranked(path, edges) for path in paths}
        self._layers: dict[Path, list[list[Any]]] = {
            path: [[item for item in ranks if ranks[item] == n] for n in range(max(ranks.values(), default=-1) + 1)]
            for path, ranks in self._ranks.items()
        }
        self._chains = {edge: [edge[0], *self._waypoints(edge), edge[1]] for edge in edges}
        self._x: dict[Any, float] = {}
        self._spots = spots = min((self._moved(step) for step in range(_PASSES)), key=self._cost)
        rects = {item: spot.rect for item, spot in spots.items() if spot.width}
        self.page, self.centres = rects[()], {name: spots[name][:2] for name in sizes}
        self.boxes = {path: rects[path] for path in paths if path}
        signs = [(x - labels[path], y - _LABEL, x, y) for path, (_, _, x, y) in self.boxes.items()]
        self.routes: dict[Edge, list[Point]] = {}
        for edge, chain in self._chains.items():
            own = {*edge, *(plates[name][:n] for name in edge for n in range(len(plates[name]) + 1))}
            around = [rect for item, rect in rects.items() if item not in own] + signs
            self.routes[edge] = _straightened([spots[key] for key in chain], around)

    def _item(self, name: str, path: Path) -> Any:
        """What stands for a node in the block `path`: itself, a block inside, or None if it is not in there."""
        own, n = self._plates[name], len(path)
        return None if own[:n] != path else name if len(own) == n else own[: n + 1]

    def _ranked(self, path: Path, edges: Iterable[Edge]) -> dict[Any, int]:
        """The layer of each item in a block: below all its parents; that of a source, just above its highest child."""
        parents: dict[Any, list[Any]] = {self._item(name, path): [] for name in self._plates}
        for a, b in ((self._item(a, path), self._item(b, path)) for a, b in edges):
            parents[b] += [a] if a != b and a is not None else []
        parents.pop(None, None)
        ranks: dict[Any, int] = {}

        def rank(item: Any) -> int:
            if item not in ranks:
                ranks[item] = -1  # blocks can depend on each other both ways: the link that closes a circle is left out
                ranks[item] = 1 + max((rank(parent) for parent in parents[item]), default=-1)
            return ranks[item]

        for item in parents:
            rank(item)
        for source in (item for item, above in parents.items() if not above):
            below = [ranks[child] - 1 for child in parents if source in parents[child]]
            ranks[source] = max(min(below, default=0), 0)
        return ranks

    def _waypoints(self, edge: Edge) -> Iterator[Any]:
        """The places that an edge passes: out of the blocks around its start, and into those around its end."""
        start, end = (self._plates[name] for name in edge)
        shared = max(n for n in range(len(start) + 1) if start[:n] == end[:n])
        out = [start[:n] for n in range(len(start), shared, -1)]
        for path in (*out, *(end[:n] for n in range(shared, len(end) + 1))):
            a, b = (self._ranks[path].get(self._item(name, path)) for name in edge)
            for rank in range(0 if a is None else a + 1, len(self._layers[path]) if b is None else b):
                key = (edge, path, rank)
                self._layers[path][rank].append(key)
                yield key

    def _moved(self, step: int) -> dict[Any, _Spot]:
        """The picture with everything moved towards its parents, its children or both, in turn."""
        links: dict[Any, list[Any]] = {}
        for a, b in (link for chain in self._chains.values() for link in pairwise(chain)):
            links.setdefault(b, []).extend([a] if step % 3 != 1 else [])
            links.setdefault(a, []).extend([b] if step % 3 != 0 else [])
        spots = self._block((), links)
        self._x = {key: spot.x for key, spot in spots.items()}
        return spots

    def _block(self, path: Path, links: Mapping[Any, list[Any]]) -> dict[Any, _Spot]:
        """The places of all that is in a block, from the middle of its upper edge; its own is under its path."""
        spots, y = dict[Any, _Spot](), _PAD
        for layer in self._layers[path]:
            parts = {key: self._block(key, links) if key in self._ranks else {} for key in layer}
            boxes = {
                key: _Spot(0, 0, *self._sizes.get(key, ())) if not parts[key] else parts[key][key] for key in layer
            }
            wanted = {key: self._wanted({key: None, **parts[key]}, links, i) for i, key in enumerate(layer)}
            order = sorted(layer, key=wanted.__getitem__)
            tall = max(box.height for box in boxes.values())
            centres = _spread([wanted[key] for key in order], [boxes[key].width for key in order])
            for key, x in zip(order, centres, strict=True):
                top = y + (tall - boxes[key].height) / 2
                spots |= {k: s._replace(x=s.x + x, y=s.y + top) for k, s in parts[key].items()}
                spots[key] = boxes[key]._replace(x=x, y=y + tall / 2, reach=tall / 2)
            y += tall + _LAYER_GAP
        left, right = (side((s.rect[i] for s in spots.values()), default=0.0) for side, i in ((min, 0), (max, 2)))
        width = max(right - left, self._labels.get(path, 0.0)) + 2 * _PAD
        height = max(y - _LAYER_GAP, _PAD) + (_LABEL + _PAD / 2 if path else _PAD)
        spots = {key: spot._replace(x=spot.x - (left + right) / 2) for key, spot in spots.items()}
        return spots | {path: _Spot(0.0, height / 2, width, height, height / 2)}

    def _wanted(self, inside: Mapping[Any, Any], links: Mapping[Any, list[Any]], i: int) -> float:
        """Where its neighbours would have an item, by the places of the last pass."""
        x = self._x
        pulls = [x[b] - x[a] for a in inside for b in links.get(a, ()) if b not in inside] if x else []
        return x.get(next(iter(inside)), float(i)) + sum(pulls) / max(len(pulls), 1)

    def _cost(self, spots: Mapping[Any, _Spot]) -> float:
        """Crossings first, then the way that edges go sideways."""
        lines = [(spots[a][:2], spots[b][:2]) for chain in self._chains.values() for a, b in pairwise(chain)]
        return 10 * sum(_cross(p, q) for p, q in combinations(lines, 2)) + sum(abs(p[0] - q[0]) for p, q in lines)


def _spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The centres nearest to the wanted ones, in least squares, that keep the order and the gaps: pooled neighbours."""
    offsets = [0.0]
    for a, b in pairwise(widths):
        offsets.append(offsets[-1] + (a + b) / 2 + _GAP)
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append((want - offset, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (b, m), (a, n) = pools.pop(), pools.pop()
            pools.append(((a * n + b * m) / (n + m), n + m))
    return [start + offset for start, offset in zip((a for a, n in pools for _ in range(n)), offsets, strict=True)]


def _straightened(chain: Sequence[_Spot], around: Sequence[Rect]) -> list[Point]:
    """Straight down through every layer on the way, less the corners that are not needed to keep out of `around`."""
    points = [(spot.x, spot.y + side * spot.reach) for spot in chain for side in (-1, 1)]
    points[0], points[-1] = chain[0][:2], chain[-1][:2]
    if points[0][1] > points[-1][1]:  # a block that depends on its surroundings both ways: this one goes up
        return [points[0], points[-1]]
    kept = [0]
    while kept[-1] < len(points) - 1:
        i = kept[-1]
        kept.append(next((j for j in range(len(points) - 1, i, -1) if _clear(points[i], points[j], around)), i + 1))
    return [points[i] for i in kept]


def _clear(p: Point, q: Point, around: Sequence[Rect]) -> bool:
    """Whether a line stays away from all rectangles, looked at in 50 of its points."""
    line = [(p[0] + t / 50 * (q[0] - p[0]), p[1] + t / 50 * (q[1] - p[1])) for t in range(51)]
    return not any(a - 0.05 < x < c + 0.05 and b - 0.05 < y < d + 0.05 for x, y in line for a, b, c, d in around)


def _cross(p: tuple[Point, Point], q: tuple[Point, Point]) -> bool:
    def side(a: Point, b: Point, c: Point) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    return max(side(*p, q[0]) * side(*p, q[1]), side(*q, p[0]) * side(*q, p[1])) < -1e-9

"""Where the parts of a drawn model go: nodes in layers, plates as boxes around their members, edges around the nodes.

Every plate is laid out as a block of layers, and is then one item in the layers of the plate around it (after Sugiyama,
Tagawa and Toda 1981, *Methods for visual understanding of hierarchical system structures*). An edge has a waypoint in
every layer that it passes, in the blocks around its ends too, so that room is left for it. Passes over the picture move
everything towards its neighbours as far as the widths allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

__all__ = ["Key", "Layout", "Point", "Rect"]

Key = tuple[Any, ...]  # of a block, its path; of a node or a waypoint, the path of its block and one entry more
Edge = tuple[Key, Key]
Point = tuple[float, float]  # inches, as all lengths here; y runs down
Rect = tuple[float, float, float, float]  # left, top, right, bottom
_GAP, _LAYER_GAP, _PAD, _LABEL = 0.3, 0.42, 0.16, 0.2
_PASSES = 30


class Layout:
    """A layout of a directed graph without cycles.

    Args:
        sizes: width and height of each node, in the order of the program; its key is the plates around it, outermost
            first, and then its name.
        edges: pairs of a parent and a child.
        labels: the width of the label of each plate, which stands in its lower right corner.

    Attributes:
        page: the rectangle that holds everything.
        centres: the middle of each node.
        boxes: the rectangle of each plate.
        routes: the corners of each edge, from the middle of the parent to that of the child.
    """

    def __init__(self, sizes: Mapping[Key, Point], edges: Sequence[Edge], labels: Mapping[Key, float]) -> None:
        self._sizes = dict(sizes)
        self._middles: dict[Key, Point] = {(): (0.0, 0.0)}  # of each item, seen from that of its block
        self._reach: dict[Key, float] = {}  # how far the layer of an item goes up and down from its middle
        self._set_layers(edges)
        for _ in range(_PASSES):
            self._settle(labels)
        rects = {key: self._rect(key) for key, size in self._sizes.items() if any(size)}
        self.page, self.centres = rects[()], {key: self._at(key) for key in sizes}
        self.boxes = {path: rects[path] for path in reversed(self._layers) if path}
        signs = [(x - labels[path], y - _LABEL, x, y) for path, (_, _, x, y) in self.boxes.items()]
        self.routes: dict[Edge, list[Point]] = {}
        for edge, chain in self._chains.items():
            own = {key[:n] for key in edge for n in range(len(key) + 1)}
            around = [rect for key, rect in rects.items() if key not in own] + signs
            # straight down through every layer on the way
            sides = [(*self._at(key), side * self._reach[key]) for key in chain for side in (-1, 1)]
            corners = [self._at(chain[0]), *((x, y + dy) for x, y, dy in sides[1:-1]), self._at(chain[-1])]
            self.routes[edge] = _straightened(corners, around)

    def _set_layers(self, edges: Sequence[Edge]) -> None:
        """Put items into layers, below their parents; lead each edge through the layers between its ends."""
        parents: dict[Key, list[Key]] = {key[:n]: [] for key in self._sizes for n in range(1, len(key) + 1)}
        for a, b in edges:
            n = _fork(a, b)
            parents[b[:n]].append(a[:n])
        ranks: dict[Key, int] = {}

        def rank(item: Key) -> int:
            if item not in ranks:
                ranks[item] = -1  # blocks can depend on each other both ways: the link that closes a circle is left out
                ranks[item] = 1 + max(map(rank, parents[item]), default=-1)
            return ranks[item]

        for item in parents:
            rank(item)
        for source in (item for item in parents if not parents[item]):  # just above its highest child
            ranks[source] = max(min((ranks[child] - 1 for child in parents if source in parents[child]), default=0), 0)
        blocks = dict.fromkeys([(), *(item[:-1] for item in parents)])
        inner_first = sorted(blocks, key=len, reverse=True)
        self._layers: dict[Key, list[list[Key]]] = {path: [] for path in inner_first}
        for item in sorted(parents, key=ranks.__getitem__):
            layers = self._layers[item[:-1]]
            layers += [[] for _ in range(len(layers), ranks[item] + 1)]
            layers[-1].append(item)
        self._chains = {edge: self._chain(*edge, ranks) for edge in edges}
        for layers in self._layers.values():
            self._middles |= {key: (float(i), 0.0) for layer in layers for i, key in enumerate(layer)}
        self._pulls: dict[Key, list[tuple[Key, Key]]] = {key: [] for key in self._middles}
        for a, b in (link for chain in self._chains.values() for link in pairwise(chain)):
            for one, other in ((a, b), (b, a)):
                for n in range(_fork(a, b), len(one) + 1):
                    self._pulls[one[:n]].append((one, other))

    def _chain(self, a: Key, b: Key, ranks: Mapping[Key, int]) -> list[Key]:
        """The ends of an edge and, between them, its new waypoints: out of the blocks around `a`, into those of `b`."""
        n = _fork(a, b) - 1
        spans: list[tuple[Key, int, int | None]] = [
            *((a[:k], ranks[a[: k + 1]] + 1, None) for k in range(len(a) - 1, n, -1)),
            (a[:n], ranks[a[: n + 1]] + 1, ranks[b[: n + 1]]),
            *((b[:k], 0, ranks[b[: k + 1]]) for k in range(n + 1, len(b))),
        ]
        chain = [a]
        for path, start, stop in spans:
            for layer in self._layers[path][start:stop]:
                chain.append((*path, (a, b, len(chain))))
                self._sizes[chain[-1]] = (0.0, 0.0)
                layer.append(chain[-1])
        return [*chain, b]

    def _settle(self, labels: Mapping[Key, float]) -> None:
        """Move everything towards its neighbours, and fit the blocks around it."""
        for path, layers in self._layers.items():
            top = _PAD
            for layer in layers:
                wanted = {key: self._wanted(key) for key in layer}
                layer.sort(key=wanted.__getitem__)
                tall = max((self._sizes[key][1] for key in layer), default=0.0)
                spread = _spread([wanted[key] for key in layer], [self._sizes[key][0] for key in layer])
                self._middles |= {key: (x, top + tall / 2) for key, x in zip(layer, spread, strict=True)}
                self._reach |= dict.fromkeys(layer, tall / 2)
                top += tall + _LAYER_GAP
            placed = {key: self._middles[key] for layer in layers for key in layer}
            ends = [x + side * self._sizes[key][0] for key, (x, _) in placed.items() for side in (-0.5, 0.5)] or [0.0]
            left, right, height = min(ends), max(ends), top - _LAYER_GAP + _LABEL + _PAD / 2
            self._sizes[path] = max(right - left, labels.get(path, 0.0)) + 2 * _PAD, height
            self._middles |= {key: (x - (left + right) / 2, y - height / 2) for key, (x, y) in placed.items()}

    def _wanted(self, key: Key) -> float:
        """Where its neighbours would have an item."""
        pulls = [self._at(other)[0] - self._at(one)[0] for one, other in self._pulls[key]]
        return self._middles[key][0] + sum(pulls) / max(len(pulls), 1)

    def _at(self, key: Key) -> Point:
        """The middle of an item, seen from that of the page."""
        steps = [self._middles[key[:n]] for n in range(len(key) + 1)]
        return sum(x for x, _ in steps), sum(y for _, y in steps)

    def _rect(self, key: Key) -> Rect:
        (x, y), (w, h) = self._at(key), self._sizes[key]
        return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _fork(a: Key, b: Key) -> int:
    """How many entries it takes to tell two keys apart."""
    return next(n for n, (p, q) in enumerate(zip(a, b, strict=False), start=1) if p != q)


def _spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Centres near the wanted ones, with gaps: halfway between pushing all to the right and all to the left."""
    offsets = list(accumulate(((a + b) / 2 + _GAP for a, b in pairwise(widths)), initial=0.0))
    free = [want - offset for want, offset in zip(wanted, offsets, strict=True)]
    right, left = accumulate(free, max), reversed(list(accumulate(reversed(free), min)))
    return [(a + b) / 2 + offset for a, b, offset in zip(right, left, offsets, strict=True)]


def _straightened(points: Sequence[Point], around: Sequence[Rect]) -> list[Point]:
    """A line through these points, less the corners that are not needed to keep out of `around`."""
    kept, last = [0], len(points) - 1
    while kept[-1] < last:
        i = kept[-1]
        kept.append(next((j for j in range(last, i, -1) if _clear(points[i], points[j], around)), i + 1))
    return [points[i] for i in kept]


def _clear(p: Point, q: Point, around: Sequence[Rect]) -> bool:
    """Whether a line stays away from all rectangles, looked at in 50 of its points."""
    line = [(p[0] + t / 50 * (q[0] - p[0]), p[1] + t / 50 * (q[1] - p[1])) for t in range(51)]
    return not any(a - 0.05 < x < c + 0.05 and b - 0.05 < y < d + 0.05 for x, y in line for a, b, c, d in around)

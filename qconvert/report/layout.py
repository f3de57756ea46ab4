"""Layered drawing of a graph: ranks, order within ranks, coordinates, and a fold into columns so that a long graph fills a page.

The steps are those of Sugiyama, Tagawa and Toda (IEEE Transactions on Systems, Man, and Cybernetics 11, 1981): longest paths give
ranks, barycentres the order, and coordinates minimize the squared distance of neighbours under the order, which is an isotonic
regression for each rank. All edges that leave a node share one line as far as they go together.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

BOX = 34  # height of a node
ROW = 62  # from one rank to the next
GAP = 18  # between neighbours of a rank
_LANE = 6
_GUTTER = 56
_SWEEPS, _ROUNDS = 6, 12
_BENDS = 6  # for each node on average: the longest lines beyond that are cut
_MOST_COLUMNS, _LEAST_RANKS = 64, 12
_STRAIGHT = re.compile(r"V-?\d+(?=V)")


@dataclass(frozen=True)
class Layout:
    """Where everything is, in pixels from the top left.

    Attributes:
        places: centre of each node.
        paths: an SVG path for each edge; those of `jumps` are only stubs at both ends.
    """

    places: tuple[tuple[int, int], ...]
    paths: tuple[str, ...]
    jumps: frozenset[int]
    width: int
    height: int


def layered(widths: Sequence[int], edges: Sequence[tuple[int, int]], aspect: float = 1.6) -> Layout:
    """Draw an acyclic graph.

    Args:
        widths: of the nodes, which are numbered in topological order.
        edges: from a smaller to a larger number.
        aspect: wanted width over height.
    """
    if not widths:
        return Layout((), (), frozenset(), 0, 0)
    net = _net(widths, edges)
    _order(net)
    xs = _coordinates(net)
    return _drawn(net, xs, _columns(net, xs, aspect), edges)


@dataclass(eq=False)
class _Net:
    """Nodes and the bends of long edges, by rank; `up` and `down` are neighbours in the ranks beside."""

    widths: list[int]
    rank: list[int]
    layers: list[list[int]]
    up: list[list[int]]
    down: list[list[int]]
    nodes: int
    chains: Mapping[int, list[int]]


def _net(widths: Sequence[int], edges: Sequence[tuple[int, int]]) -> _Net:
    count, unique = len(widths), list(dict.fromkeys(edges))
    rank = _ranks(count, unique)
    reach: dict[int, int] = {}
    for a, b in unique:
        reach[a] = max(reach.get(a, 0), rank[b])
    chains: dict[int, list[int]] = {}
    all_widths, all_ranks = list(widths), list(rank)
    budget = _BENDS * count + 1000
    for a, far in sorted(reach.items(), key=lambda item: item[1] - rank[item[0]]):
        bends = far - rank[a] - 1
        if bends > budget:
            break
        budget -= bends
        chains[a] = list(range(len(all_ranks), len(all_ranks) + bends))
        all_ranks += range(rank[a] + 1, far)
        all_widths += [2] * bends
    up: list[list[int]] = [[] for _ in all_ranks]
    down: list[list[int]] = [[] for _ in all_ranks]
    links = [(a, b) for a, chain in chains.items() for a, b in pairwise([a, *chain])]
    links += [(_before(chains, rank, a, b), b) for a, b in unique if a in chains]
    for a, b in links:
        down[a].append(b)
        up[b].append(a)
    layers: list[list[int]] = [[] for _ in range(max(all_ranks) + 1)]
    source = {bend: a for a, chain in chains.items() for bend in chain}
    for v in sorted(range(len(all_ranks)), key=lambda v: source.get(v, v)):
        layers[all_ranks[v]].append(v)
    return _Net(all_widths, all_ranks, layers, up, down, count, chains)


def _before(chains: Mapping[int, list[int]], rank: Sequence[int], a: int, b: int) -> int:
    """What stands one rank above the end of an edge: its start, or a bend."""
    return a if rank[b] == rank[a] + 1 else chains[a][rank[b] - rank[a] - 2]


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Longest path from the top; nodes with more readers than inputs move down to their readers."""
    readers: list[list[int]] = [[] for _ in range(count)]
    inputs = [0] * count
    rank = [0] * count
    for a, b in sorted(edges):
        readers[a].append(b)
        inputs[b] += 1
    for a in range(count):
        for b in readers[a]:
            rank[b] = max(rank[b], rank[a] + 1)
    for a in reversed(range(count)):
        if len(readers[a]) > inputs[a]:
            rank[a] = max(rank[a], min(rank[b] for b in readers[a]) - 1)
    lowest = min(rank)
    return [r - lowest for r in rank]


# --- order ---------------------------------------------------------------------------------------------------------------


def _order(net: _Net) -> None:
    """Sort the ranks by the middle of their neighbours, down and up, and keep the order with the fewest crossings."""
    best, fewest = [list(layer) for layer in net.layers], _crossings(net)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        forward = sweep % 2 == 0
        neighbours = net.up if forward else net.down
        place = [0.0] * len(net.rank)
        for layer in net.layers if forward else reversed(net.layers):
            keys = {v: _middle(neighbours[v], place, n) for n, v in enumerate(layer)}
            layer.sort(key=keys.__getitem__)
            for n, v in enumerate(layer):
                place[v] = float(n)
        found = _crossings(net)
        if found < fewest:
            best, fewest = [list(layer) for layer in net.layers], found
    net.layers = best


def _middle(neighbours: Sequence[int], place: Sequence[float], otherwise: float) -> float:
    return sum(place[v] for v in neighbours) / len(neighbours) if neighbours else otherwise


def _crossings(net: _Net) -> int:
    place = {v: n for layer in net.layers for n, v in enumerate(layer)}
    total = 0
    for layer in net.layers:
        seen: list[int] = []
        for v in layer:
            ends = sorted(place[b] for b in net.down[v])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


# --- coordinates ---------------------------------------------------------------------------------------------------------


def _coordinates(net: _Net) -> list[float]:
    xs = [0.0] * len(net.rank)
    for layer in net.layers:
        at = 0.0
        for v in layer:
            xs[v] = at + net.widths[v] / 2
            at += net.widths[v] + GAP
        for v in layer:
            xs[v] -= at / 2
    for turn in range(_ROUNDS):
        forward = turn % 2 == 0
        both = turn >= _ROUNDS - 2
        for layer in net.layers if forward else reversed(net.layers):
            _settle(net, layer, xs, forward or both, both or not forward)
    return xs


def _settle(net: _Net, layer: Sequence[int], xs: list[float], up: bool, down: bool) -> None:
    """Move a rank's nodes as near to their neighbours as the order allows."""
    targets, weights = [], []
    for v in layer:
        pulls = [(xs[u], _pull(net, v, u)) for u in (net.up[v] if up else [])]
        pulls += [(xs[u], _pull(net, v, u)) for u in (net.down[v] if down else [])]
        total = sum(w for _, w in pulls)
        targets.append(sum(x * w for x, w in pulls) / total if total else xs[v])
        weights.append(total or 0.1)
    offsets, at = [0.0], 0.0
    for a, b in pairwise(layer):
        at += (net.widths[a] + net.widths[b]) / 2 + GAP
        offsets.append(at)
    found = _isotonic([t - o for t, o in zip(targets, offsets, strict=True)], weights)
    for v, y, o in zip(layer, found, offsets, strict=True):
        xs[v] = y + o


def _pull(net: _Net, a: int, b: int) -> float:
    """Bends hold together, so that long edges are straight."""
    bends = (a >= net.nodes) + (b >= net.nodes)
    return (1.0, 2.0, 8.0)[bends]


def _isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The nearest ascending sequence (weighted least squares), by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, mass, size = value, weight, 1
        while blocks and blocks[-1][0] > mean:
            before, more, count = blocks.pop()
            mean, mass, size = (before * more + mean * mass) / (more + mass), more + mass, size + count
        blocks.append((mean, mass, size))
    return [mean for mean, _, size in blocks for _ in range(size)]


# --- columns -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """Ranks first to last, drawn with x moved by `shift`; what goes on in the next column leaves through `gutter`."""

    first: int
    last: int
    shift: float
    gutter: float


def _columns(net: _Net, xs: Sequence[float], aspect: float) -> list[_Column]:
    """The fold whose page comes nearest to the wanted proportions."""
    ranks = len(net.layers)
    spans = [
        (min(xs[v] - net.widths[v] / 2 for v in layer), max(xs[v] + net.widths[v] / 2 for v in layer))
        for layer in net.layers
    ]
    crossing = [sum(len(net.down[v]) for v in layer) for layer in net.layers]
    best: tuple[float, list[_Column]] | None = None
    for count in range(1, min(_MOST_COLUMNS, max(ranks // _LEAST_RANKS, 1)) + 1):
        columns, width = _placed(_cuts(crossing, count), spans)
        height = ROW * max(c.last - c.first + 1 for c in columns)
        cost = abs(log(width / height / aspect))
        if best is None or cost < best[0]:
            best = (cost, columns)
    assert best is not None
    return best[1]


def _cuts(crossing: Sequence[int], count: int) -> list[tuple[int, int]]:
    """First and last ranks of columns of about equal length, cut where few lines cross."""
    ranks = len(crossing)
    ends: list[int] = []
    for n in range(1, count):
        middle, window = n * ranks // count, max(ranks // (6 * count), 1)
        around = range(max(middle - window, (ends[-1] + 1) if ends else 0), min(middle + window, ranks - 2) + 1)
        ends.append(min(around, key=lambda r: (crossing[r], abs(r - middle)), default=middle))
    starts = [0, *(end + 1 for end in ends)]
    return list(zip(starts, [*ends, ranks - 1], strict=True))


def _placed(cuts: Sequence[tuple[int, int]], spans: Sequence[tuple[float, float]]) -> tuple[list[_Column], float]:
    columns, at = [], 0.0
    for first, last in cuts:
        left, right = min(s[0] for s in spans[first : last + 1]), max(s[1] for s in spans[first : last + 1])
        columns.append(_Column(first, last, at - left, at + right - left + _GUTTER / 2))
        at += right - left + _GUTTER
    return columns, at - _GUTTER


# --- paths ---------------------------------------------------------------------------------------------------------------


def _drawn(net: _Net, xs: Sequence[float], columns: Sequence[_Column], edges: Sequence[tuple[int, int]]) -> Layout:
    column_of = [n for n, c in enumerate(columns) for _ in range(c.first, c.last + 1)]
    lanes: dict[tuple[int, int], int] = {}
    top = ROW // 2 + _LANE * 4

    def place(v: int) -> tuple[int, int]:
        column = columns[column_of[net.rank[v]]]
        return round(xs[v] + column.shift), round((net.rank[v] - column.first) * ROW) + top

    def hop(a: int, b: int) -> str:
        """From a column to the next: down, through the gutter, up, and in from above."""
        here, there = column_of[net.rank[a]], column_of[net.rank[b]]
        lane = lanes.setdefault((a, here), sum(1 for key in lanes if key[1] == here)) % 8
        column = columns[here]
        bottom = (column.last - column.first) * ROW + top + BOX // 2 + 8 + _LANE * lane
        x, y = place(b)
        ceiling = top - BOX // 2 - 8 - _LANE * (lane % 4)
        assert there == here + 1
        return f"V{bottom}H{round(column.gutter) - _LANE * lane + 20}V{ceiling}H{x}V{y - _half(net, b)}"

    def path(a: int, b: int) -> str:
        x, y = place(a)
        if a not in net.chains:
            end = place(b)
            return f"M{x} {y + BOX // 2}v10M{end[0]} {end[1] - BOX // 2 - 10}v10"
        points = [a, *net.chains[a][: net.rank[b] - net.rank[a] - 1], b]
        text, y = f"M{x} {y + BOX // 2}", y + BOX // 2
        for one, two in pairwise(points):
            x1, y1 = place(two)
            y1 -= _half(net, two)
            if column_of[net.rank[one]] != column_of[net.rank[two]]:
                text += hop(one, two)
            elif x1 == x:
                text += f"V{y1}"
            else:
                middle = (y + y1) // 2
                text += f"C{x} {middle} {x1} {middle} {x1} {y1}"
            x, y = x1, y1
        return _STRAIGHT.sub("", text)  # straight lines one after the other as one

    width = max(round(c.gutter) for c in columns) - _GUTTER // 2
    height = max(c.last - c.first for c in columns) * ROW + 2 * top
    jumps = frozenset(n for n, (a, _) in enumerate(edges) if a not in net.chains)
    return Layout(tuple(map(place, range(net.nodes))), tuple(path(a, b) for a, b in edges), jumps, width, height)


def _half(net: _Net, v: int) -> int:
    return BOX // 2 if v < net.nodes else 0

"""What moves would cost in predicted time, what they would gain in accuracy, and the order in which they pay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from ...graph import Array, Graph, Node
from ...plan import Kind
from ...plan.work import reads
from .move import Move
from .moved import MovedPlan, small_weights
from .screen import Screening
from .sources import may_be_dynamic


class Board:
    """Prices moves by the products of a screening."""

    def __init__(self, found: Screening, state: MovedPlan, corrected: bool) -> None:
        self._products = found.corrected if corrected else found.products
        self._column = {source.key: i for i, source in enumerate(found.sources)}
        self._powers = np.square(self._products).mean(axis=0)
        self.found, self.state = found, state

    @cached_property
    def _affects(self) -> Mapping[str, tuple[str, ...]]:
        """Node to the tensors whose rounding may change with it: its own, and what copies of them are called."""
        graph = self.state.graph
        return {
            node.name: tuple(
                dict.fromkeys((*node.inputs, *(o for u in (node, *_next(graph, node)) for o in u.outputs)))
            )
            for node in graph.nodes
        }

    def active(self, state: MovedPlan) -> frozenset[int]:
        """Columns of the errors that a plan with some moves makes."""
        return frozenset(self._of_tensors(state, self.state.plan.tensors)) | frozenset(
            self._of_nodes(state, state.nodes)
        )

    def _of_tensors(self, state: MovedPlan, names: Iterable[str]) -> Iterator[int]:
        for name in names:
            key = ("range", name, state.methods[name]) if name in state.methods else ("tensor", name, "")
            if key in self._column and state.is_rounded(name):
                yield self._column[key]

    def _of_nodes(self, state: MovedPlan, names: Iterable[str]) -> Iterator[int]:
        for name in names:
            kind = state.nodes[name].kind
            coarse = (
                kind in (Kind.INTEGER, Kind.DYNAMIC, Kind.LOOKUP, Kind.WEIGHT_ONLY)
                and ("weights", name) not in state.exact
            )
            if coarse and ("weight", name, "") in self._column:
                yield self._column["weight", name, ""]
            if kind is Kind.DYNAMIC and ("dynamic", name, "") in self._column:
                yield self._column["dynamic", name, ""]

    def after(self, state: MovedPlan, columns: frozenset[int], move: Move) -> tuple[MovedPlan, frozenset[int]]:
        """The plan and the columns after a move, looking only at what it touches."""
        new, of_tensors = state.made(move), move.row.of == "tensors"
        touched = set(move.names) if of_tensors else {t for name in move.names for t in self._affects[name]}
        nodes = () if of_tensors else move.names
        gone = {*self._of_tensors(state, touched), *self._of_nodes(state, nodes)}
        come = {*self._of_tensors(new, touched), *self._of_nodes(new, nodes)}
        return new, (columns - gone) | come

    def row(self, columns: Iterable[int]) -> Array:
        """Sum [draws] of some errors."""
        return np.asarray(self._products[:, sorted(columns)].sum(axis=1))

    def noise(self, columns: frozenset[int]) -> float:
        """Predicted noise over signal of a set of errors together.

        A few dozen directions tell how errors add up only roughly, and a search would pick what cancels in them by chance; so
        half of the estimate treats the errors as independent.
        """
        together = float(np.square(self.row(columns)).mean())
        return (together + float(self._powers[sorted(columns)].sum())) / 2


def _next(graph: Graph, node: Node) -> tuple[Node, ...]:
    return tuple(u for out in node.outputs if out for u in graph.consumers_of(out))


def decibels(noise: float) -> float:
    """Noise over signal as SQNR; infinite where there is none beyond float32's own."""
    return float(-10 * np.log10(noise)) if noise > _NOTHING else float("inf")


_NOTHING = 1e-16


def candidates(board: Board, known: frozenset[str], dynamic: bool = True) -> list[Move]:
    """Every single change that could remove an error.

    Args:
        known: nodes that a rule may name.
    """
    state = board.state
    moves = [] if state.target.placement.whole else [*_around_tensors(state), *_single_nodes(state)]
    if dynamic:
        moves += [
            Move(kind="dynamic", names=(n.name,), about=n.name)
            for n in state.graph.nodes
            if may_be_dynamic(n, state.graph, state.plan, state.target)
        ]
    moves += [
        Move(kind="range", names=(s.name,), method=s.method, about=s.name)
        for s in board.found.sources
        if s.kind == "range"
    ]
    moves += [Move(kind="weights", names=(name,), about=name) for name, _ in small_weights(state.plan)]
    moves += _widened(state)
    return [m for m in dict.fromkeys(moves) if m.row.of == "tensors" or known.issuperset(m.names)]


def _widened(state: MovedPlan) -> Iterator[Move]:
    """Tensors with 16 bits, where the target has kernels that pay: where float is no choice.

    A kernel reads as many bits as it writes, so what the readers write gets 16 bits as well.
    """
    if state.target.formats.wide_activation is None or not state.target.placement.whole:
        return
    groups: dict[int, list[str]] = {}
    for name, chosen in state.plan.tensors.items():
        groups.setdefault(chosen.group, []).append(name)
    for names in groups.values():
        written = (out for name in names for out in state.written_behind(name) if out in state.plan.tensors)
        wide = dict.fromkeys((*names, *(n for out in written for n in groups[state.plan.tensors[out].group])))
        writers = {p.op for name in wide if (p := state.graph.producer.get(name)) is not None}
        narrow = [name for name in names if state.plan.tensors[name].format.bits <= 8]
        if narrow and writers.isdisjoint(state.target.kernels.without_wide):
            yield Move(kind="wide", names=tuple(wide), about=names[0])


def _around_tensors(state: MovedPlan) -> Iterator[Move]:
    """A tensor stays float if the nodes that read or write it as integers do."""
    for name in state.plan.tensors:
        readers = [n.name for n in state.graph.consumers_of(name) if reads(state.nodes[n.name], n, name)]
        producer = state.graph.producer.get(name)
        if producer is not None:
            chosen = state.nodes[producer.name]
            readers += [chosen.host] if chosen.kind is Kind.ABSORBED else [producer.name] if chosen.writes else []
        if readers:
            yield Move(kind="float", names=tuple(dict.fromkeys(readers)), about=name)


def _single_nodes(state: MovedPlan) -> Iterator[Move]:
    for name in dict.fromkeys(name for name, _ in state.plan.weights):
        if state.nodes[name].kind in (Kind.INTEGER, Kind.DYNAMIC, Kind.LOOKUP, Kind.WEIGHT_ONLY):
            yield Move(kind="float", names=(name,), about=name)


_TINY = 0.05  # moves that gain less than this share of what the best one gains only make the list long


def ladder(
    board: Board,
    moves: Sequence[Move],
    most: int,
    floor_share: float = 0.01,
    worth_db: float = 0.05,
    allowed: Callable[[MovedPlan], bool] = lambda state: True,
) -> list[Move]:
    """Moves one after the other, each the one that gains most for its predicted time given those before it.

    Args:
        floor_share: share of the model's time that any move counts as costing at least, so that free ones do not gain without end.
        worth_db: gain below which a move is not worth it.
        allowed: whether a state may be reached.
    """
    state, columns = board.state, board.active(board.state)
    total = state.plan.prediction.ns or 1e6
    steps: list[Move] = []
    while len(steps) < most and columns:
        before = board.noise(columns)
        found = [(move, *board.after(state, columns, move)) for move in moves if state.takes(move)]
        priced = [
            (before - board.noise(cols), new.around(_nodes(m)) - state.around(_nodes(m)), m, new, cols)
            for m, new, cols in found
            if allowed(new)
        ]
        least = max(_TINY * max((p[0] for p in priced), default=0.0), before * (1 - 10 ** (-worth_db / 10)))
        worth = [p for p in priced if p[0] >= least]
        best = max(worth, key=lambda p: p[0] / _price(state, p[2], p[1] / total, floor_share), default=None)
        if best is None:
            break
        steps.append(
            best[2].model_copy(
                update={
                    "us": best[1] / 1000,
                    "bytes": _bytes(state, best[2]),
                    "before_db": decibels(before),
                    "after_db": decibels(before - best[0]),
                }
            )
        )
        state, columns = best[3], best[4]
    return steps


def _bytes(state: MovedPlan, move: Move) -> int:
    """Bytes that a move adds to the file."""
    return state.bytes_of(move.names) // move.row.growth if move.row.growth else 0


def _price(state: MovedPlan, move: Move, time_share: float, floor_share: float) -> float:
    """Time and size that a move costs: all weights in float count as half of the time."""
    grown = 0.5 * _bytes(state, move) / max(state.plan.prediction.float_bytes, 1)
    return max(time_share, floor_share * move.row.price) + grown


def _nodes(move: Move) -> tuple[str, ...]:
    return () if move.row.of == "tensors" else move.names

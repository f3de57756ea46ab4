"""What can be changed about a draft, what each change costs in predicted time, and what it gains in accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ...graph import Array, Graph, Node
from ...ops import Tie, spec
from ...plan import Kind, NodePlan, Plan
from ...plan.cost import conversion_ns, estimate
from ...plan.limits import Call
from ...plan.work import arrives_as_integers, reads
from ...targets import Target
from .screen import Screening
from .sources import may_be_dynamic


@dataclass(frozen=True, slots=True)
class Move:
    """One change.

    Attributes:
        kind: "float" (nodes are left float), "dynamic" (nodes measure their ranges at run time), "range" (a tensor gets
            another range method), "weights" (weights of few bits get 8), "wide" (tensors get 16 bits).
        names: of the nodes, or of the tensors.
        method: of "range".
        about: the tensor or node whose error it removes.
        ns: predicted time that it costs; bytes: size that it costs.
        before_db, after_db: predicted output SQNR.
    """

    kind: str
    names: tuple[str, ...]
    method: str = ""
    about: str = ""
    ns: float = 0.0
    bytes: int = 0
    before_db: float = 0.0
    after_db: float = 0.0


OF_TENSORS = ("range", "wide")  # kinds of moves whose names are those of tensors


def _small(plan: Plan) -> list[tuple[str, int]]:
    """Weights of fewer than 8 bits."""
    return [key for key, chosen in plan.weights.items() if chosen.format.bits < 7]  # 7 are for narrow sums


@dataclass(frozen=True, eq=False)
class State:
    """A plan with some moves made: what is left of its nodes and of its errors.

    Attributes:
        nodes: plans of all nodes.
        methods: tensor to the range method that replaces the recipe's.
        exact: kinds and names of the moves behind which the rounding of a tensor or of weights no longer counts.
    """

    graph: Graph
    plan: Plan
    target: Target
    nodes: Mapping[str, NodePlan]
    methods: Mapping[str, str] = field(default_factory=dict)
    exact: frozenset[tuple[str, str]] = frozenset()

    def made(self, move: Move) -> State:
        """The state after a move."""
        if move.kind == "range":
            return replace(self, methods={**self.methods, move.names[0]: move.method})
        if move.kind in ("weights", "wide"):
            return replace(self, exact=self.exact | {(move.kind, name) for name in move.names})
        nodes = dict(self.nodes)
        for name in move.names:
            kind = Kind.FLOAT if move.kind == "float" else Kind.DYNAMIC
            nodes[name] = replace(nodes[name], kind=kind, reads=(), writes=False, integer_ns=self._ns(name, kind))
            for clamp in (
                n for n in self.graph.consumers_of(self.graph.by_name[name].output) if nodes[n.name].host == name
            ):
                nodes[clamp.name] = replace(
                    nodes[clamp.name], kind=Kind.FLOAT, host="", integer_ns=nodes[clamp.name].float_ns
                )
        return replace(self, nodes=self._freed(nodes, move.names))

    def _ns(self, name: str, kind: Kind) -> float:
        chosen, model = self.nodes[name], self.target.cost
        if kind is Kind.FLOAT or model is None:
            return chosen.float_ns
        found = estimate(Call(self.graph.by_name[name], self.graph, self.plan.shapes), model).dynamic_ns
        return found if found is not None else chosen.float_ns

    def _freed(self, nodes: dict[str, NodePlan], names: Iterable[str]) -> dict[str, NodePlan]:
        """Kernels before the changed nodes that write float if nobody reads integers any more."""
        free = {k.op for k in self.target.kernels.integer if k.output == "free"}
        for name in names:
            for source in self.graph.by_name[name].inputs:
                producer = self.graph.producer.get(source)
                if producer is None or producer.op not in free or not nodes[producer.name].writes:
                    continue
                if not any(reads(nodes[n.name], n, source) for n in self.graph.consumers_of(source)):
                    nodes[producer.name] = replace(nodes[producer.name], writes=False)
        return nodes

    def is_rounded(self, name: str) -> bool:
        """Whether a tensor is still rounded, by itself and not as a copy of one that is."""
        if self._is_wide(name) and all(self._is_wide(out) for out in _written_behind(self, name)):
            return False
        written = arrives_as_integers(self.graph, name, self.nodes)
        if not written and not any(reads(self.nodes[n.name], n, name) for n in self.graph.consumers_of(name)):
            return False
        producer = self.graph.producer.get(name)
        row = spec(producer) if producer is not None else None
        copies = (
            producer is not None
            and row is not None
            and row.tie is Tie.SAME
            and self.nodes[producer.name].kind is Kind.INTEGER
        )
        return not copies

    @property
    def integer_share(self) -> float:
        """Share of the multiply-accumulates in integer kernels."""
        total = sum(p.macs for p in self.nodes.values())
        return sum(p.macs for p in self.nodes.values() if p.kind in (Kind.INTEGER, Kind.DYNAMIC)) / max(total, 1)

    @property
    def small_share(self) -> float:
        """Share of the weights of few bits that keep them."""
        small = {name: self.graph.weights[self.graph.by_name[name].input(i)].size for name, i in _small(self.plan)}
        kept = (n for name, n in small.items() if ("weights", name) not in self.exact and self._is_integer(name))
        return sum(kept) / sum(small.values()) if small else 1.0

    def _is_integer(self, name: str) -> bool:
        return not self.nodes[name].kind.floating

    def _is_wide(self, name: str) -> bool:
        chosen = self.plan.tensors.get(name)
        return chosen is None or chosen.format.bits > 8 or ("wide", name) in self.exact

    def around(self, names: Iterable[str]) -> float:
        """Predicted time of some nodes with the conversions at their borders."""
        nodes = [self.graph.by_name[name] for name in names]
        clamps = [u for n in nodes for u in self.graph.consumers_of(n.output) if self.plan.nodes[u.name].host == n.name]
        tensors = dict.fromkeys(
            name for n in (*nodes, *clamps) for name in (*n.inputs, *n.outputs) if name in self.plan.shapes
        )
        return sum(self.nodes[n.name].integer_ns for n in (*nodes, *clamps)) + sum(
            self._conversion(name) for name in tensors
        )

    def _conversion(self, name: str) -> float:
        model, shape = self.target.cost, self.plan.shapes.get(name)
        if model is None or shape is None or name in self.graph.weights:
            return 0.0
        readers = self.graph.consumers_of(name)
        integer = sum(reads(self.nodes[n.name], n, name) for n in readers)
        if not arrives_as_integers(self.graph, name, self.nodes):
            return conversion_ns(model.quantize, model.relayout, shape) * bool(integer)
        absorbed = any(self.nodes[n.name].kind is Kind.ABSORBED for n in readers)
        outside = 0 if absorbed else len(readers) - integer + (name in self.graph.outputs)
        return conversion_ns(model.dequantize, model.relayout, shape) * outside

    def bytes_of(self, names: Iterable[str]) -> int:
        """Bytes that the constants of some nodes would grow by in float."""
        wanted = {name for name in names if not self.nodes[name].kind.floating}
        held = {self.graph.by_name[n].input(i) for n, i in self.plan.weights if n in wanted}
        return sum(
            int(self.graph.weights[w].nbytes) - int(self.graph.weights[w].size) for w in held if w in self.graph.weights
        )


class Board:
    """Prices moves by the products of a screening."""

    def __init__(self, found: Screening, state: State, corrected: bool) -> None:
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

    def active(self, state: State) -> frozenset[int]:
        """Columns of the errors that a state makes."""
        return frozenset(self._of_tensors(state, self.state.plan.tensors)) | frozenset(
            self._of_nodes(state, state.nodes)
        )

    def _of_tensors(self, state: State, names: Iterable[str]) -> Iterator[int]:
        for name in names:
            key = ("range", name, state.methods[name]) if name in state.methods else ("tensor", name, "")
            if key in self._column and state.is_rounded(name):
                yield self._column[key]

    def _of_nodes(self, state: State, names: Iterable[str]) -> Iterator[int]:
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

    def after(self, state: State, columns: frozenset[int], move: Move) -> tuple[State, frozenset[int]]:
        """State and columns after a move, looking only at what it touches."""
        new, of_tensors = state.made(move), move.kind in OF_TENSORS
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
            Move("dynamic", (n.name,), about=n.name)
            for n in state.graph.nodes
            if may_be_dynamic(n, state.graph, state.plan, state.target)
        ]
    moves += [Move("range", (s.name,), s.method, s.name) for s in board.found.sources if s.kind == "range"]
    moves += [Move("weights", (name,), about=name) for name, _ in _small(state.plan)]
    moves += _widened(state)
    return [m for m in dict.fromkeys(moves) if m.kind in OF_TENSORS or known.issuperset(m.names)]


def _widened(state: State) -> Iterator[Move]:
    """Tensors with 16 bits, where the target has kernels that pay: where float is no choice.

    A kernel reads as many bits as it writes, so what the readers write gets 16 bits as well.
    """
    if state.target.formats.wide_activation is None or not state.target.placement.whole:
        return
    groups: dict[int, list[str]] = {}
    for name, chosen in state.plan.tensors.items():
        groups.setdefault(chosen.group, []).append(name)
    for names in groups.values():
        written = (out for name in names for out in _written_behind(state, name) if out in state.plan.tensors)
        wide = dict.fromkeys((*names, *(n for out in written for n in groups[state.plan.tensors[out].group])))
        writers = {p.op for name in wide if (p := state.graph.producer.get(name)) is not None}
        narrow = [name for name in names if state.plan.tensors[name].format.bits <= 8]
        if narrow and writers.isdisjoint(state.target.kernels.without_wide):
            yield Move("wide", tuple(wide), about=names[0])


def _written_behind(state: State, name: str) -> Iterator[str]:
    """What the integer nodes that read a tensor write, behind a clamp that they take in."""
    for reader in state.graph.consumers_of(name):
        if reads(state.plan.nodes[reader.name], reader, name):
            clamps = (
                u for u in state.graph.consumers_of(reader.output) if state.plan.nodes[u.name].host == reader.name
            )
            yield from (*reader.outputs, *(c.output for c in clamps))


def _around_tensors(state: State) -> Iterator[Move]:
    """A tensor stays float if the nodes that read or write it as integers do."""
    for name in state.plan.tensors:
        readers = [n.name for n in state.graph.consumers_of(name) if reads(state.nodes[n.name], n, name)]
        producer = state.graph.producer.get(name)
        if producer is not None:
            chosen = state.nodes[producer.name]
            readers += [chosen.host] if chosen.kind is Kind.ABSORBED else [producer.name] if chosen.writes else []
        if readers:
            yield Move("float", tuple(dict.fromkeys(readers)), about=name)


def _single_nodes(state: State) -> Iterator[Move]:
    for name in dict.fromkeys(name for name, _ in state.plan.weights):
        if state.nodes[name].kind in (Kind.INTEGER, Kind.DYNAMIC, Kind.LOOKUP, Kind.WEIGHT_ONLY):
            yield Move("float", (name,), about=name)


_TINY = 0.05  # moves that gain less than this share of what the best one gains only make the list long


def ladder(
    board: Board,
    moves: Sequence[Move],
    most: int,
    floor_share: float = 0.01,
    worth_db: float = 0.05,
    allowed: Callable[[State], bool] = lambda state: True,
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
        found = [(move, *board.after(state, columns, move)) for move in moves if _fits(state, move)]
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
            replace(
                best[2],
                ns=best[1],
                bytes=_bytes(state, best[2]),
                before_db=decibels(before),
                after_db=decibels(before - best[0]),
            )
        )
        state, columns = best[3], best[4]
    return steps


def _bytes(state: State, move: Move) -> int:
    """Bytes that a move adds to the file."""
    if move.kind == "float":
        return state.bytes_of(move.names)
    return state.bytes_of(move.names) // 6 if move.kind == "weights" else 0  # from 4 bits to 8, not to 32


def _price(state: State, move: Move, time_share: float, floor_share: float) -> float:
    """Time and size that a move costs: all weights in float count as half of the time.

    Where only bits of weights are added, nothing is converted and nothing can go wrong at run time: a tenth of the floor.
    """
    grown = 0.5 * _bytes(state, move) / max(state.plan.prediction.float_bytes, 1)
    return max(time_share, floor_share * (0.1 if move.kind == "weights" else 1.0)) + grown


def _nodes(move: Move) -> tuple[str, ...]:
    return () if move.kind in OF_TENSORS else move.names


def _fits(state: State, move: Move) -> bool:
    """Whether a move would still change something."""
    if move.kind == "range":
        return state.methods.get(move.names[0]) != move.method
    if move.kind == "wide":
        return not {("wide", name) for name in move.names} <= state.exact
    if move.kind == "weights":
        return ("weights", move.names[0]) not in state.exact and not state.nodes[move.names[0]].kind.floating
    if move.kind == "dynamic":
        return all(state.nodes[n].kind is Kind.INTEGER for n in move.names)
    return any(not state.nodes[n].kind.floating for n in move.names)

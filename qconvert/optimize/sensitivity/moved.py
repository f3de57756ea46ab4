"""A plan with some moves made, before anything is planned again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ...graph import Graph
from ...ops import Tie, spec
from ...plan import Kind, NodePlan, Plan
from ...plan.cost import conversion_ns, estimate
from ...plan.limits import Call
from ...plan.work import arrives_as_integers, reads
from ...targets import Target
from .move import Move


def small_weights(plan: Plan) -> list[tuple[str, int]]:
    """Weights of fewer than 8 bits."""
    return [key for key, chosen in plan.weights.items() if chosen.format.bits < 7]  # 7 are for narrow sums


@dataclass(frozen=True, eq=False)
class MovedPlan:
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

    def made(self, move: Move) -> MovedPlan:
        """The plan after a move."""
        kind = move.row.becomes
        if move.method:
            return replace(self, methods={**self.methods, **dict.fromkeys(move.names, move.method)})
        if kind is None:
            return replace(self, exact=self.exact | {(move.kind, name) for name in move.names})
        nodes = dict(self.nodes)
        for name in move.names:
            nodes[name] = replace(nodes[name], kind=kind, reads=(), writes=False, integer_ns=self._ns(name, kind))
            for clamp in (
                n for n in self.graph.consumers_of(self.graph.by_name[name].output) if nodes[n.name].host == name
            ):
                nodes[clamp.name] = replace(
                    nodes[clamp.name], kind=Kind.FLOAT, host="", integer_ns=nodes[clamp.name].float_ns
                )
        return replace(self, nodes=self._freed(nodes, move.names))

    def takes(self, move: Move) -> bool:
        """Whether a move would still change something."""
        if move.method:
            return any(self.methods.get(name) != move.method for name in move.names)
        if move.row.becomes is Kind.DYNAMIC:
            return all(self.nodes[name].kind is Kind.INTEGER for name in move.names)
        left = (name for name in move.names if (move.kind, name) not in self.exact)
        return any(move.row.of == "tensors" or self._is_integer(name) for name in left)

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
        if self._is_wide(name) and all(self._is_wide(out) for out in self.written_behind(name)):
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
        small = {
            name: self.graph.weights[self.graph.by_name[name].input(i)].size for name, i in small_weights(self.plan)
        }
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

    def written_behind(self, name: str) -> Iterator[str]:
        """What the integer nodes that read a tensor write, behind a clamp that they take in."""
        for reader in self.graph.consumers_of(name):
            if reads(self.plan.nodes[reader.name], reader, name):
                clamps = (
                    u for u in self.graph.consumers_of(reader.output) if self.plan.nodes[u.name].host == reader.name
                )
                yield from (*reader.outputs, *(c.output for c in clamps))

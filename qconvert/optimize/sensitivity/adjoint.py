"""How an error anywhere in the model shows at its outputs, for all places at once: reverse-mode differentiation of a graph.

For a direction v at the outputs, the gradient g of v·y with respect to a value x tells that a small error e in x moves v·y by
g·e. One run forwards and one backwards therefore price every layer and tensor, so that the cost grows with the number of
layers; pushing each error through the rest of the model instead would take its square.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce

from ...graph import Graph, Node
from .rules import RULES
from .tape import Tape


class Adjoint:
    """Gradients of a graph's values, added to a tape.

    Attributes:
        blocked: nodes that an error passes, but for whose operator there is no rule: what is before them looks better than it is.
    """

    def __init__(self, tape: Tape, places: Iterable[str], seeds: Mapping[str, str]) -> None:
        """Differentiate.

        Args:
            places: values whose gradients are wanted.
            seeds: outputs to the values that hold their directions.
        """
        self._tape = tape
        self._parts: dict[str, list[tuple[str, str]]] = {name: [("", seed)] for name, seed in seeds.items()}
        self._sums: dict[tuple[str, frozenset[str] | None], str] = {}
        self.blocked: list[Node] = []
        wanted = _behind(tape.graph, set(places))
        for node in reversed(tape.graph.nodes):
            self._pass(node, wanted)

    def gradient(self, name: str, readers: frozenset[str] | None = None) -> str | None:
        """Gradient of a value, or the part of it that comes through some readers; None where nothing arrives."""
        parts = [g for reader, g in self._parts.get(name, ()) if readers is None or reader in readers]
        if not parts:
            return None
        key = (name, readers)
        if key not in self._sums:
            self._sums[key] = reduce(lambda a, b: self._tape.op("Add", a, b), parts)
        return self._sums[key]

    def _pass(self, node: Node, wanted: set[str]) -> None:
        """Let gradients through one node."""
        gradients = [self.gradient(out) if out else None for out in node.outputs]
        needed = {i for i, name in enumerate(node.inputs) if name in wanted}
        if not needed or all(g is None for g in gradients):
            return
        rule = RULES.get(node.op) if node.domain == "" and not node.bodies else None
        found = rule(self._tape, node, gradients, needed) if rule is not None else None
        if found is None:
            self.blocked.append(node)
            return
        for i, gradient in found.items():
            if i in needed:
                self._parts.setdefault(node.inputs[i], []).append((node.name, gradient))


def _behind(graph: Graph, places: set[str]) -> set[str]:
    """Float values that depend on one of the places."""
    found = set(places)
    for node in graph.nodes:
        if any(name in found for name in node.reads):
            found.update(o for o in node.outputs if graph.type_of(o).dtype in ("float32", None))
    return found


def upstream(graph: Graph, nodes: Iterable[Node]) -> set[str]:
    """Every value that nodes depend on."""
    found: set[str] = set()
    frontier = [name for node in nodes for name in node.reads]
    while frontier:
        name = frontier.pop()
        if name not in found:
            found.add(name)
            producer = graph.producer.get(name)
            frontier.extend(producer.reads if producer is not None else ())
    return found

"""One operator becomes a chain of others, by a row of a table of such decompositions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import Diagnostic
from ..graph import Array, Edit, Graph, Node
from .rewrite import Change, label, left


class Chain:
    """Nodes that together replace one, the last of them giving its output."""

    def __init__(self, graph: Graph, edit: Edit, node: Node) -> None:
        self.graph, self.edit, self.node = graph, edit, node
        self.nodes: list[Node] = []

    def add(self, op: str, *inputs: str | float | Array, last: str = "", **attributes: Any) -> str:
        """Append an operator; numbers and arrays become weights. `last`: the output that it gives."""
        names = tuple(i if isinstance(i, str) else self._weight(i) for i in inputs)
        name = f"{self.node.name}_{op}" if last != self.node.output else self.node.name
        output = last or self.edit.fresh(f"{self.node.output}_{op}")
        self.nodes.append(
            Node(op, names, (output,), attributes, self.edit.fresh_node(name) if name != self.node.name else name)
        )
        return output

    def _weight(self, value: float | Array) -> str:
        array = np.asarray(value) if isinstance(value, np.ndarray) else np.asarray(value, np.float32)
        return self.edit.add_weight(f"{self.node.name}_constant", array)

    def done(self) -> None:
        """Put the chain in the node's place."""
        self.edit.replace(self.node, *self.nodes)


@dataclass(frozen=True, slots=True)
class Decomposition:
    """How one operator is taken apart.

    Attributes:
        why_not: "" to go ahead, a reason for a note, None where the row does not speak of the node.
        build: adds the parts to a chain.
    """

    why_not: Callable[[Graph, Node], str | None]
    build: Callable[[Chain], None]


def always(graph: Graph, node: Node) -> str:
    """The condition of decompositions without one."""
    return ""


def taken_apart(graph: Graph, node: Node, row: Decomposition, into: str) -> Change | Diagnostic | None:
    """The change that puts a chain in the place of a node.

    Args:
        into: what it becomes, in words.
    """
    reason = row.why_not(graph, node)
    if reason is None:
        return None
    if reason:
        return left(node, reason)

    def apply(edit: Edit) -> None:
        chain = Chain(graph, edit, node)
        row.build(chain)
        chain.done()

    return Change(f"{label(node)} -> {into}", (node,), apply)

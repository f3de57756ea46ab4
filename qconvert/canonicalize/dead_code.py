"""Nodes and weights that contribute to no graph output."""

from __future__ import annotations

from ..graph import Edit, Graph
from .rewrite import Rewrite, label


def drop_dead_code(graph: Graph) -> Rewrite:
    """Remove what no graph output depends on. Exact: operators have no side effects."""
    smaller = Edit(graph).graph()
    names = {id(node) for node in smaller.nodes}
    nodes = [f"{label(node)} is unused -> removed" for node in graph.nodes if id(node) not in names]
    weights = [f"weight `{name}` is unused -> removed" for name in graph.weights if name not in smaller.weights]
    return Rewrite(smaller, (*nodes, *weights)) if nodes or weights else Rewrite(graph)

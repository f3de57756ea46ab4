"""Every node gets a name of its own, so that messages, rules of a recipe and reports can speak of it."""

from __future__ import annotations

from ..graph import Edit, Graph, Node
from .rewrite import Rewrite


def name_nodes(graph: Graph) -> Rewrite:
    """Name nameless nodes after their operator and first output, and number duplicates; values keep their names.

    Exact: node names mean nothing to the computation.
    """
    edit = Edit(graph)
    seen: set[str] = set()
    done: list[str] = []
    for node in graph.nodes:
        if node.name and node.name not in seen:
            seen.add(node.name)
            continue
        name = edit.fresh_node(node.name or f"{node.op}_{_first_output(node)}")
        seen.add(name)
        edit.replace(node, node.with_(name=name))
        done.append(
            f"{node.op} `{node.name}` (name used twice) -> `{name}`"
            if node.name
            else f"{node.op} without a name -> `{name}`"
        )
    return Rewrite(edit.graph() if done else graph, tuple(done))


def _first_output(node: Node) -> str:
    return next((out for out in node.outputs if out), "unused")

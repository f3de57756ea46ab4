"""AveragePool over all of space becomes GlobalAveragePool, for targets whose global mean has a scale of its own."""

from __future__ import annotations

from ..errors import Diagnostic
from ..graph import Graph, Node
from .match import is_op, static_dims
from .rewrite import Change, Rewrite, label, sweep


def whole_pool(graph: Graph) -> Rewrite:
    """Name a pool whose one window is the whole plane what it is. Exact: no padding takes part."""
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    dims = static_dims((graph.type_of(node.inputs[0]).shape or (None,))[2:]) if is_op(node, "AveragePool") else None
    if dims is None or dims != tuple(node.attr("kernel_shape")) or any(node.attr("pads") or ()):
        return None
    new = Node("GlobalAveragePool", node.inputs, node.outputs, {}, node.name)
    return Change(f"{label(node)} -> GlobalAveragePool", (node,), lambda edit: edit.replace(node, new))

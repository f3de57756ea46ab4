"""Reductions over axes that are given do not depend on what they would do without."""

from __future__ import annotations

from ..graph import Graph, Node
from .match import integers, without
from .rewrite import Change, Rewrite, label, sweep

_FLAG = "noop_with_empty_axes"
# Of one value they give that value; the others take its magnitude, square or logarithm also where nothing is reduced.
_UNCHANGED = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSumExp")


def plain_reductions(graph: Graph) -> Rewrite:
    """Drop `noop_with_empty_axes` where it says nothing, and reductions over no axes that change nothing. Exact by definition.

    Exporters write the attribute everywhere, and kernels refuse it.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | None:
    if node.domain or not node.op.startswith("Reduce") or not node.attr(_FLAG):
        return None
    axes = integers(graph, node, "axes", 1) if node.input(1) or node.attr("axes") is not None else ()
    if axes is None or not (axes or node.op in _UNCHANGED):
        return None
    now = (
        node.with_(attributes=without(node, _FLAG))
        if axes
        else Node("Identity", node.inputs[:1], node.outputs, name=node.name)
    )
    return Change(f"{label(node)} -> {now.op}", (node,), lambda edit: edit.replace(node, now))

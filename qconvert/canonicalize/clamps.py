"""Max and Min with a number are clamps, and a clamp behind a clamp is one."""

from __future__ import annotations

from ..graph import Array, Edit, Graph, Node
from .match import is_op, like, one_of_two, produced_by, scalar, why_shared
from .rewrite import Change, Rewrite, label, sweep

_LOW = {"Max": True, "Min": False}


def join_clamps(graph: Graph) -> Rewrite:
    """Write `max(x, number)` and `min(x, number)` as Relu or Clip, and a Clip of a Relu or Clip with one reader as one Clip.

    Exact: the composition of two clamps is the clamp to the second's limits of the first's limits. Ranges of integer operators take
    clamps in, and runtimes fuse them.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | None:
    if node.op in _LOW and is_op(node, node.op):
        return _from_number(graph, node)
    first = produced_by(graph, node.input(0), "Relu", "Clip") if is_op(node, "Clip", "Relu") else None
    if first is None or why_shared(graph, first.output) is not None:
        return None
    inner, outer = _bounds(graph, first), _bounds(graph, node)
    if inner is None or outer is None:
        return None
    low, high = (min(max(end, outer[0]), outer[1]) for end in inner)
    return _change(graph, node, first.inputs[0], (low, high), (first, node))


def _from_number(graph: Graph, node: Node) -> Change | None:
    found = one_of_two(node, lambda name: scalar(graph, name) is not None)
    if found is None or len(graph.weights[found[0]].shape) > (graph.type_of(found[1]).rank or 0):
        return None
    number, infinite = float(scalar(graph, found[0]) or 0.0), float("inf")
    return _change(graph, node, found[1], (number, infinite) if _LOW[node.op] else (-infinite, number), (node,))


def _change(
    graph: Graph, node: Node, source: str, bounds: tuple[float, float], touched: tuple[Node, ...]
) -> Change | None:
    ends = [like(graph, source, end) for end in bounds]
    if ends[0] is None or ends[1] is None:
        return None
    name = "Relu" if bounds == (0.0, float("inf")) else "Clip"

    def apply(edit: Edit) -> None:
        inputs = (source,) if name == "Relu" else (source, *(_put(edit, node, end) for end in ends))
        for gone in touched[:-1]:
            edit.replace(gone)
        edit.replace(node, Node(name, tuple(inputs), node.outputs, name=node.name))

    return Change(f"{' + '.join(label(each) for each in touched)} -> {name}", touched, apply)


def _put(edit: Edit, node: Node, end: Array | None) -> str:
    return "" if end is None or not abs(float(end)) < float("inf") else edit.add_weight(f"{node.name}/limit", end)


def _bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """The limits of a clamp, None if they are not constant."""
    if node.op == "Relu":
        return 0.0, float("inf")
    ends = []
    for index, key, free in ((1, "min", -float("inf")), (2, "max", float("inf"))):
        name, given = node.input(index), node.attr(key)
        value = scalar(graph, name) if name else (free if given is None else float(given))
        if value is None:
            return None
        ends.append(value)
    return ends[0], ends[1]

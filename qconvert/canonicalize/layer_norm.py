"""The chain of operators that older exporters write for LayerNormalization becomes the operator itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import Diagnostic
from ..graph import Array, Edit, Graph, Node
from .match import (
    integers,
    is_op,
    leak_of,
    like,
    one_of_two,
    produced_by,
    replace_chain,
    scalar,
    static_dims,
    times_scalar,
)
from .rewrite import Change, Rewrite, label, left, sweep

_SINCE = 17
_TYPES = ("float16", "bfloat16", "float32")  # the operator computes its statistics in float32, too coarse for float64


@dataclass(frozen=True)
class _Norm:
    """The core of the chain, `(x - mean) / sqrt(variance + epsilon)`, without factor and offset."""

    source: str
    axes: int
    epsilon: float
    nodes: tuple[Node, ...]

    @property
    def attributes(self) -> dict[str, float]:
        """Those of the operator."""
        return {"axis": -self.axes, "epsilon": self.epsilon}


def fuse_layer_norm(graph: Graph) -> Rewrite:
    """Fuse ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add over the last axes into LayerNormalization.

    Exact up to rounding: the operator is defined as this very chain. Only where the opset has it already and nobody else reads an
    intermediate value.
    """
    return sweep(graph, _attempt) if graph.opset >= _SINCE else Rewrite(graph)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    norm = _core(graph, node) if is_op(node, "Div") else None
    if norm is None:
        return None
    shape = static_dims((graph.type_of(norm.source).shape or ())[-norm.axes :])
    if graph.type_of(norm.source).dtype not in _TYPES or not shape:
        return left(node, "a LayerNormalization chain needs a float32 or float16 input with static last axes")
    scaled = _next(graph, node.output, "Mul", shape)
    shifted = _next(graph, scaled[0].output, "Add", shape) if scaled else None
    tail = [found for found in (scaled, shifted) if found]
    nodes = (*norm.nodes, node, *(found[0] for found in tail))
    leak = leak_of(graph, nodes)
    if leak:
        return left(node, f"`{leak}` inside a LayerNormalization chain is read elsewhere")

    def apply(edit: Edit) -> None:
        parameters = [found[1] for found in tail] or [
            edit.add_weight(f"{norm.source}_ones", _ones(graph, norm.source, shape))
        ]
        replace_chain(edit, nodes, Node("LayerNormalization", (norm.source, *parameters), (), norm.attributes))

    return Change(f"{len(nodes)} nodes at {label(node)} -> LayerNormalization", nodes, apply)


def _ones(graph: Graph, name: str, shape: tuple[int, ...]) -> Array:
    ones = like(graph, name, np.ones(shape))
    return np.ones(shape, np.float32) if ones is None else ones


def _core(graph: Graph, div: Node) -> _Norm | None:
    centred = produced_by(graph, div.inputs[0], "Sub")
    root = produced_by(graph, div.inputs[1], "Sqrt")
    plus = produced_by(graph, root.inputs[0], "Add") if root else None
    epsilon = times_scalar(graph, plus, "Add") if plus else None
    variance = produced_by(graph, epsilon[0], "ReduceMean") if epsilon else None
    square = produced_by(graph, variance.inputs[0], "Pow", "Mul") if variance else None
    if not (centred and root and plus and epsilon and variance and square):
        return None
    again = _squared(graph, square)
    mean = produced_by(graph, centred.inputs[1], "ReduceMean")
    same = again is not None and again.op == "Sub" and again.inputs == centred.inputs
    if mean is None or not same or mean.inputs[0] != centred.inputs[0] or again is None:
        return None
    axes = _last_axes(graph, mean, variance)
    nodes = tuple(dict.fromkeys((mean, centred, again, square, variance, plus, root)))
    return _Norm(centred.inputs[0], axes, epsilon[1], nodes) if axes else None


def _squared(graph: Graph, node: Node) -> Node | None:
    """The node whose result is squared."""
    square = scalar(graph, node.inputs[1]) == 2.0 if node.op == "Pow" else node.inputs[0] == node.inputs[1]
    return graph.producer.get(node.inputs[0]) if square else None


def _last_axes(graph: Graph, mean: Node, variance: Node) -> int:
    """How many last axes both means run over, 0 if that is not what they do."""
    rank = graph.type_of(mean.inputs[0]).rank
    counts = set()
    for node in (mean, variance):
        axes = integers(graph, node, "axes", 1)
        if axes is None or not node.attr("keepdims", 1) or (rank is None and any(a >= 0 for a in axes)):
            return 0
        last = sorted(a if a < 0 else a - (rank or 0) for a in axes)
        counts.add(len(last) if last == list(range(-len(last), 0)) else 0)
    return counts.pop() if len(counts) == 1 else 0


def _next(graph: Graph, value: str, op: str, shape: tuple[int, ...]) -> tuple[Node, str] | None:
    """The Mul or Add behind a value and its other operand, if that has the normalized shape."""
    users = graph.consumers_of(value)
    if len(users) != 1 or value in graph.outputs or not is_op(users[0], op):
        return None
    found = one_of_two(users[0], lambda name: name == value)
    return (users[0], found[1]) if found and graph.type_of(found[1]).shape == shape else None

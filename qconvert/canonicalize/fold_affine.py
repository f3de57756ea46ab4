"""Mul, Add, Sub and Div by constants directly behind a layer move into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import Diagnostic
from ..graph import Array, Graph, Node
from .fold import fold_behind
from .layers import Affine, Layer, layer_at
from .match import is_op, one_of_two, why_shared
from .rewrite import Change, Rewrite, left, sweep

_ONE, _ZERO = np.ones(1), np.zeros(1)


def fold_affine(graph: Graph) -> Rewrite:
    """Fold a constant factor or offset, one for all or one a channel, into the Conv, ConvTranspose, Gemm or MatMul in front.

    Exact up to one rounding, as the layer is linear. The Add behind a MatMul that is its bias stays: that is the normal form, and
    what follows it is folded into both.
    """
    return sweep(graph, _attempt)


@dataclass(frozen=True)
class _Operation:
    """`value op number`, or `number op value` if the constant comes first."""

    node: Node
    value: str
    number: Array
    first: bool


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    operation = _operation(graph, node) if is_op(node, "Mul", "Add", "Sub", "Div") else None
    layer = layer_at(graph, graph.producer.get(operation.value)) if operation else None
    if operation is None or not isinstance(layer, Layer) or _is_bias(node, layer) or why_shared(graph, operation.value):
        return None  # a layer with other readers too is not the pattern
    found = _fold(graph, operation, layer)
    return left(node, found) if isinstance(found, str) else found


def _operation(graph: Graph, node: Node) -> _Operation | None:
    found = one_of_two(node, lambda name: name in graph.weights)
    number = graph.constant(found[0]) if found else None
    return _Operation(node, found[1], number, found[0] == node.inputs[0]) if found and number is not None else None


def _is_bias(node: Node, layer: Layer) -> bool:
    return node.op == "Add" and layer.node.op == "MatMul" and layer.add is None


def _fold(graph: Graph, operation: _Operation, layer: Layer) -> Change | str:
    per_channel = _per_channel(graph, layer, operation.number)
    if per_channel is None:
        return f"its constant of shape {list(operation.number.shape)} is not one value a channel"
    affine = _affine(operation.node.op, per_channel, operation.first)
    if affine is None:
        return "it divides by the layer's result or by zero"
    return fold_behind(graph, operation.node, operation.value, -1 if layer.node.op == "MatMul" else 1, affine)


def _affine(op: str, number: Array, first: bool) -> Affine | None:
    match op:
        case "Mul":
            return Affine(number, _ZERO)
        case "Add":
            return Affine(_ONE, number)
        case "Sub":
            return Affine(-_ONE, number) if first else Affine(_ONE, -number)
        case _:
            return None if first or not number.all() else Affine(1.0 / number, _ZERO)


def _per_channel(graph: Graph, layer: Layer, number: Array) -> Array | None:
    """The constant as one value a channel (or one for all), None if it varies otherwise or would widen the result."""
    rank, axis = _rank_and_axis(graph, layer)
    if number.ndim > rank:
        return None
    shape = (1,) * (rank - number.ndim) + number.shape
    others = [size for i, size in enumerate(shape) if i != axis]
    fits = all(size == 1 for size in others) and shape[axis] in (1, layer.channels)
    return number.astype(np.float64).reshape(-1) if fits else None


def _rank_and_axis(graph: Graph, layer: Layer) -> tuple[int, int]:
    if layer.node.op == "MatMul":
        rank = graph.type_of(layer.end.output).rank or graph.type_of(layer.node.inputs[0]).rank or 1
        return rank, rank - 1
    return (2 if layer.node.op == "Gemm" else layer.weight.ndim), 1

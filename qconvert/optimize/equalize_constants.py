"""Constants that can take a factor a channel up: which element of a weight belongs to which channel of its layer.

Each function gets the channels of the layer's result (`GIVERS`) or of its data input (`TAKERS`) and returns those of its
constant inputs by index, None where the layer cannot take part.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Array, Graph, Node
from .equalize_channels import Channels

_Found = dict[int, Array] | None
_Rule = Callable[[Node, Graph, Channels, Array], _Found]


def _row(channels: Channels, ids: Array, axis: int, size: int) -> Array:
    """Channels [size] along one axis."""
    return np.broadcast_to(channels.folded(ids, (axis,)).reshape(-1), (size,))


def _trailing(graph: Graph, name: str) -> tuple[int, ...]:
    return (1,) * (len(graph.weight_shape(name)) - 2)


def _biased(node: Node, graph: Graph, found: dict[int, Array], row: Array) -> _Found:
    """With the bias, which must be constant, and one row if it is a matrix."""
    return {**found, 2: row} if node.input(2) else found


def _conv_gives(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    row = _row(channels, ids, 1, graph.weight_shape(node.input(1))[0])
    return _biased(node, graph, {1: row.reshape(-1, 1, *_trailing(graph, node.input(1)))}, row)


def _conv_takes(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    out, width = graph.weight_shape(node.input(1))[:2]
    group = node.attr("group", 1)
    row = _row(channels, ids, 1, group * width).reshape(group, width)
    return {1: np.repeat(row, out // group, axis=0).reshape(out, width, *_trailing(graph, node.input(1)))}


def _transposed_gives(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    into, width = graph.weight_shape(node.input(1))[:2]
    group = node.attr("group", 1)
    row = _row(channels, ids, 1, group * width)
    table = np.repeat(row.reshape(group, width), into // group, axis=0)
    return _biased(node, graph, {1: table.reshape(into, width, *_trailing(graph, node.input(1)))}, row)


def _transposed_takes(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    row = _row(channels, ids, 1, graph.weight_shape(node.input(1))[0])
    return {1: row.reshape(-1, 1, *_trailing(graph, node.input(1)))}


def _gemm_gives(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    transposed = node.attr("transB", 0)
    row = _row(channels, ids, 1, graph.weight_shape(node.input(1))[0 if transposed else 1])
    return _biased(node, graph, {1: row.reshape((-1, 1) if transposed else (1, -1))}, row)


def _gemm_takes(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    if node.attr("transA", 0):
        return None
    transposed = node.attr("transB", 0)
    row = _row(channels, ids, 1, graph.weight_shape(node.input(1))[1 if transposed else 0])
    return {1: row.reshape((1, -1) if transposed else (-1, 1))}


def _matmul_gives(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    shape = graph.weight_shape(node.input(1))
    return {1: _row(channels, ids, -1, shape[1]).reshape(1, -1)} if len(shape) == 2 else None


def _matmul_takes(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    shape = graph.weight_shape(node.input(1))
    return {1: _row(channels, ids, -1, shape[0]).reshape(-1, 1)} if len(shape) == 2 else None


def _last_axis_norm(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    shape = graph.weight_shape(node.input(1))
    if node.attr("axis", -1) not in (-1, ids.ndim - 1) or len(shape) != 1:
        return None
    row = _row(channels, ids, -1, shape[0])
    return _biased(node, graph, {1: row}, row)


def _channel_norm(node: Node, graph: Graph, channels: Channels, ids: Array) -> _Found:
    row = _row(channels, ids, 1, graph.weight_shape(node.input(1))[0])
    return {1: row, 2: row}


GIVERS: dict[str, _Rule] = {
    "Conv": _conv_gives,
    "ConvTranspose": _transposed_gives,
    "Gemm": _gemm_gives,
    "MatMul": _matmul_gives,
    "LayerNormalization": _last_axis_norm,
    "RMSNormalization": _last_axis_norm,
    "BatchNormalization": _channel_norm,
    "InstanceNormalization": _channel_norm,
}

TAKERS: dict[str, _Rule] = {
    "Conv": _conv_takes,
    "ConvTranspose": _transposed_takes,
    "Gemm": _gemm_takes,
    "MatMul": _matmul_takes,
}

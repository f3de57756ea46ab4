"""Layers with a constant weight, and how a factor and an offset per channel move into them.

Everything here rests on one fact: a layer is linear, so `a * (W x + b) + c = (a W) x + (a b + c)` per output channel, and
`W (a x + c) + b = (W a) x + (W c + b)` per input channel. Sums and products are made in float64 and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..graph import Array, Edit, Graph, Node
from ..ops import WEIGHTED
from .match import FLOATS, is_op, one_of_two, produced_by, put_weight, why_shared, without


@dataclass(frozen=True)
class Affine:
    """`scale * x + shift`, one value a channel or one for all, in float64."""

    scale: Array
    shift: Array


@dataclass(frozen=True)
class Layout:
    """A weight reshaped so that groups have an axis of their own.

    Attributes:
        shape: group, then the axes of the weight.
        out: axes that enumerate the output channels; into: those that enumerate the input channels.
    """

    shape: tuple[int, ...]
    out: tuple[int, int]
    into: tuple[int, int]

    def channels(self, axes: tuple[int, int]) -> int:
        """Number of channels along such a pair of axes."""
        return self.shape[axes[0]] * self.shape[axes[1]]

    def spread(self, vector: Array, axes: tuple[int, int]) -> Array:
        """One value a channel (or one for all), ready to be multiplied with the reshaped weight."""
        full = np.broadcast_to(np.asarray(vector, np.float64).reshape(-1), (self.channels(axes),))
        return full.reshape([size if i in axes else 1 for i, size in enumerate(self.shape)])


@dataclass(frozen=True)
class Layer:
    """A Conv, ConvTranspose, Gemm or MatMul with a constant weight and a constant bias or none.

    Attributes:
        add: the Add that holds the bias of a MatMul.
        bias: with Gemm's `beta` already multiplied in.
    """

    node: Node
    weight: Array
    bias: Array | None
    layout: Layout
    add: Node | None = None

    @property
    def end(self) -> Node:
        """The node that gives the layer's result."""
        return self.add or self.node

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The one or two nodes of the layer."""
        return (self.node,) if self.add is None else (self.node, self.add)

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.layout.channels(self.layout.out)

    @property
    def finite(self) -> bool:
        """Whether all numbers are finite, which a rescaled float16 weight need not be."""
        parts = [self.weight] if self.bias is None else [self.weight, self.bias]
        return all(bool(np.isfinite(p.astype(np.float64)).all()) for p in parts)


def layer_at(graph: Graph, node: Node | None) -> Layer | str | None:
    """The layer whose result a node gives.

    Returns:
        The layer, a reason why it cannot be changed, or None if the node is no layer at all.
    """
    if node is None or not is_op(node, *WEIGHTED, "Add"):
        return None
    if node.op == "Add":
        return _matmul_with_bias(graph, node)
    weight = graph.constant(node.input(1))
    if weight is None or str(weight.dtype) not in FLOATS:
        return f"the weight of {node.op} `{node.name}` is not a float constant"
    layout = _layout(node, weight.shape)
    if layout is None:
        return f"the weight of {node.op} `{node.name}` is not a matrix"
    bias = graph.constant(node.input(2)) if node.input(2) else None
    if node.input(2) and bias is None:
        return f"the bias of {node.op} `{node.name}` is not constant"
    return Layer(node, weight, _times_beta(node, bias), layout)


def _times_beta(node: Node, bias: Array | None) -> Array | None:
    beta = float(node.attr("beta", 1.0))
    return bias if bias is None or beta == 1.0 else (bias.astype(np.float64) * beta).astype(bias.dtype)


def _matmul_with_bias(graph: Graph, add: Node) -> Layer | str | None:
    found = one_of_two(add, lambda name: name in graph.weights)
    matmul = produced_by(graph, found[1], "MatMul") if found else None
    if found is None or matmul is None or why_shared(graph, found[1]):
        return None
    layer, bias = layer_at(graph, matmul), graph.constant(found[0])
    if not isinstance(layer, Layer) or bias is None:
        return None
    rank = graph.type_of(found[1]).rank or 1
    per_channel = bias.ndim <= rank and bias.shape[:-1] == (1,) * (bias.ndim - 1) and bias.size in (1, layer.channels)
    return replace(layer, bias=np.broadcast_to(bias.reshape(-1), (layer.channels,)), add=add) if per_channel else None


def _layout(node: Node, shape: tuple[int, ...]) -> Layout | None:
    group = int(node.attr("group", 1))
    if node.op in ("Conv", "ConvTranspose"):
        work = (group, shape[0] // group, *shape[1:])
        return Layout(work, (0, 1), (0, 2)) if node.op == "Conv" else Layout(work, (0, 2), (0, 1))
    if len(shape) != 2:
        return None
    return Layout((1, *shape), (0, 1), (0, 2)) if node.attr("transB", 0) else Layout((1, *shape), (0, 2), (0, 1))


def scale_output(layer: Layer, by: Affine) -> Layer:
    """The layer whose result is `scale * result + shift`, per output channel."""
    weight = layer.weight.astype(np.float64).reshape(layer.layout.shape) * layer.layout.spread(
        by.scale, layer.layout.out
    )
    bias = _shifted(np.float64(0) if layer.bias is None else layer.bias.astype(np.float64) * by.scale, by.shift, layer)
    return _rounded(layer, weight, bias)


def scale_input(layer: Layer, by: Affine) -> Layer:
    """The layer that gives for x what this one gives for `scale * x + shift`, per input channel (no padding: see the caller)."""
    layout = layer.layout
    wide = layer.weight.astype(np.float64).reshape(layout.shape)
    weight = wide * layout.spread(by.scale, layout.into)
    rest = tuple(i for i in range(wide.ndim) if i not in layout.out)
    offset = (wide * layout.spread(by.shift, layout.into)).sum(axis=rest).reshape(-1) * float(
        layer.node.attr("alpha", 1.0)
    )
    bias = _shifted(np.float64(0) if layer.bias is None else layer.bias.astype(np.float64), offset, layer)
    return _rounded(layer, weight, bias)


def _shifted(bias: Array | np.float64, shift: Array, layer: Layer) -> Array | None:
    if layer.bias is None and not np.any(shift):
        return None
    return np.asarray(bias + np.broadcast_to(np.asarray(shift, np.float64).reshape(-1), (layer.channels,)))


def _rounded(layer: Layer, weight: Array, bias: Array | None) -> Layer:
    dtype = layer.weight.dtype
    with np.errstate(over="ignore"):
        return replace(
            layer,
            weight=weight.reshape(layer.weight.shape).astype(dtype),
            bias=None if bias is None else bias.astype(dtype),
        )


def pad_weight(layer: Layer, axis: int, channels: int) -> Layer:
    """The layer with zeros appended to its weight along an axis, and to its bias if that is the axis of the output channels (0)."""
    extra = [(0, channels - size if i == axis else 0) for i, size in enumerate(layer.weight.shape)]
    bias = (
        np.pad(layer.bias, (0, channels - layer.bias.shape[0])) if layer.bias is not None and axis == 0 else layer.bias
    )
    return replace(layer, weight=np.pad(layer.weight, extra), bias=bias)


def put_layer(edit: Edit, graph: Graph, new: Layer, output: str, drop: tuple[str, ...] = ("beta",)) -> None:
    """Put a layer with new numbers into the place of the old one.

    Args:
        edit: collects the change; graph: what it changes.
        new: the layer as it shall be; its nodes are those of the graph.
        output: how its result is called.
        drop: attributes that are inside the numbers now.
    """
    node = new.node
    weight = put_weight(edit, graph, node.input(1), node, new.weight)
    if node.op == "MatMul":
        return _put_matmul(edit, graph, new, weight, output)
    inputs: tuple[str, ...] = (node.input(0), weight)
    if new.bias is not None:
        old = node.input(2)
        inputs += (
            put_weight(edit, graph, old, node, new.bias) if old else edit.add_weight(f"{weight}_bias", new.bias),
        )
    edit.replace(node, node.with_(inputs=inputs, outputs=(output,), attributes=without(node, *drop)))
    return None


def _put_matmul(edit: Edit, graph: Graph, new: Layer, weight: str, output: str) -> None:
    node, inputs = new.node, (new.node.input(0), weight)
    if new.bias is None:
        edit.replace(node, node.with_(inputs=inputs, outputs=(output,)))
        return
    inner = node.output if node.output != output else edit.fresh(f"{output}_product")
    edit.set_type(inner, graph.type_of(node.output))
    matmul = node.with_(inputs=inputs, outputs=(inner,))
    if new.add is None:
        bias = edit.add_weight(f"{weight}_bias", new.bias)
        edit.replace(node, matmul, Node("Add", (inner, bias), (output,), name=edit.fresh_node(f"{node.name}_bias")))
        return
    old = next(name for name in new.add.inputs if name != node.output)
    bias = put_weight(edit, graph, old, new.add, new.bias)
    edit.replace(node, matmul)
    edit.replace(new.add, new.add.with_(inputs=(inner, bias), outputs=(output,)))

"""Finding the layers that can take over a constant factor of a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Edit, Graph, Node
from .conv_pad import pad_amounts
from .layers import Affine, Layer, layer_at, put_layer, scale_input
from .match import captured, is_op
from .rewrite import label

# f(k x) = k f(x) for every k > 0, with x the first input.
_HOMOGENEOUS = (
    *(
        "AveragePool",
        "DepthToSpace",
        "Flatten",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "ReduceMax",
    ),
    *("ReduceMean", "ReduceSum", "Relu", "Reshape", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze"),
)


@dataclass(frozen=True)
class Absorption:
    """The layers that read a value, all of its readers counted, directly or through operators that hand on a factor."""

    layers: tuple[Layer, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Nodes whose weights change."""
        return tuple(layer.node for layer in self.layers)

    def names(self) -> str:
        """The layers, for a message."""
        return ", ".join(label(node) for node in self.nodes)

    def apply(self, edit: Edit, graph: Graph, factor: float) -> None:
        """Multiply the weights by the factor."""
        by = Affine(np.asarray([factor]), np.zeros(1))
        for layer in self.layers:
            put_layer(edit, graph, scale_input(layer, by), layer.node.output)


def absorb(graph: Graph, value: str) -> Absorption | str:
    """Find the layers that can multiply by a positive factor what the producer of a value leaves out.

    Exact up to rounding: layers are linear in their data, and everything on the way there is positively homogeneous. A Mul hands on
    the factor of one of its inputs, not of both.

    Returns:
        The layers, or which reader stands against it.
    """
    scaled, todo, layers = {value}, [value], list[Layer]()
    while todo:
        name = todo.pop(0)
        if name in graph.outputs or captured(graph, name):
            return f"`{name}` is a graph output" if name in graph.outputs else f"`{name}` is read inside a body"
        for user in graph.consumers_of(name):
            layer = _layer(graph, user, name)
            if layer is not None:
                layers.append(layer)
            elif not _hands_on(graph, user, name):
                return f"{label(user)} cannot take over the factor"
            elif user.output not in scaled:
                scaled.add(user.output)
                todo.append(user.output)
    twice = [
        n for n in graph.nodes if n.output in scaled and is_op(n, "Mul", "Div") and all(i in scaled for i in n.inputs)
    ]
    return f"{label(twice[0])} would take the factor twice" if twice else Absorption(tuple(layers))


def _layer(graph: Graph, node: Node, data: str) -> Layer | None:
    layer = layer_at(graph, node) if node.op != "Add" else None
    return layer if isinstance(layer, Layer) and node.inputs[0] == data and node.inputs.count(data) == 1 else None


def _hands_on(graph: Graph, node: Node, data: str) -> bool:
    if node.inputs.count(data) != 1 or len([out for out in node.outputs if out]) != 1:
        return False
    if is_op(node, "Mul"):
        return True
    if node.inputs[0] != data:
        return False
    return is_op(node, "Div", *_HOMOGENEOUS) or (is_op(node, "Pad") and isinstance(pad_amounts(graph, node), tuple))

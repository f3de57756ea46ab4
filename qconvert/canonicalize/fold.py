"""Folding `scale * x + shift` into the layer that computes x; shared by the rules for BatchNormalization and for Mul and Add."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Edit, Graph, Node
from .layers import Affine, Layer, layer_at, put_layer, scale_output
from .match import axis_before, why_shared
from .rewrite import Change, label


@dataclass(frozen=True)
class Found:
    """A layer and the operators between it and where the search began, nearest to the layer last."""

    layer: Layer
    through: tuple[Node, ...]


def layer_behind(graph: Graph, value: str, axis: int) -> Found | str:
    """Search the layer whose output channels run along `axis` of a value, through operators that keep channels together.

    Returns:
        What was found, or why there is nothing that could be changed.
    """
    through: list[Node] = []
    while True:
        shared = why_shared(graph, value)
        if shared:
            return shared
        node = graph.producer.get(value)
        layer = layer_at(graph, node)
        if node is None or isinstance(layer, str):
            return layer if isinstance(layer, str) else f"`{value}` is not computed by a layer"
        if layer is not None:
            return (
                Found(layer, tuple(through))
                if _channels_at(graph, layer, axis)
                else f"its channels are not those of {label(node)}"
            )
        before = axis_before(graph, node, axis)
        if before is None:
            return f"{label(node)} in front of it is no layer"
        through.append(node)
        value, axis = node.inputs[0], before


def _channels_at(graph: Graph, layer: Layer, axis: int) -> bool:
    if layer.node.op != "MatMul":
        return axis == 1
    rank = graph.type_of(layer.end.output).rank or graph.type_of(layer.node.inputs[0]).rank
    return axis == -1 or (rank is not None and axis == rank - 1)


def fold_behind(graph: Graph, tail: Node, value: str, axis: int, by: Affine) -> Change | str:
    """Fold a node that computes `scale * value + shift` per channel of `axis` into the layer behind `value`.

    Returns:
        The change, or why it is not possible.
    """
    found = layer_behind(graph, value, axis)
    if isinstance(found, str):
        return found
    if by.scale.size not in (1, found.layer.channels) or by.shift.size not in (1, found.layer.channels):
        return f"it has not one value for each channel of {label(found.layer.node)}"
    new = scale_output(found.layer, by)
    if not new.finite:
        return f"the weight would overflow {new.weight.dtype}"
    line = f"{label(found.layer.node)} + {label(tail)} -> {label(found.layer.node)}"
    return Change(line, (*new.nodes, *found.through, tail), lambda edit: _apply(edit, graph, new, found.through, tail))


def _apply(edit: Edit, graph: Graph, new: Layer, through: tuple[Node, ...], tail: Node) -> None:
    """The last node of the chain takes over the output of the node that vanishes, which may be a graph output."""
    edit.replace(tail)
    put_layer(edit, graph, new, new.end.output if through else tail.output)
    if through:
        edit.replace(through[0], through[0].with_(outputs=(tail.output,)))

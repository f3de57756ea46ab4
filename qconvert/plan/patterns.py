"""Structures in a graph that decide placement: attention, additive masks, residual additions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..graph import Array, Graph, Node
from ..ops import ATTENTION, spec
from .model import Kind, NodePlan

_CARRY = {
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Cast",
    "Dropout",
    "Identity",
    "Flatten",
    "Slice",
    "Expand",
    "Tile",
}
_SCORES = _CARRY | {"Add", "Sub", "Mul", "Div", "Where", "Max"}
_MASK_STEPS = _CARRY | {
    "Add",
    "Sub",
    "Mul",
    "Where",
    "Neg",
    "Concat",
    "Gather",
    "Not",
    "Equal",
    "Less",
    "Greater",
    "Trilu",
    "ConstantOfShape",
    "And",
    "Or",
}
_FUSED_ATTENTION = {
    "Attention",
    ATTENTION,
    "com.microsoft.MultiHeadAttention",
    "com.microsoft.GroupQueryAttention",
    "com.microsoft.DecoderMaskedMultiHeadAttention",
    "com.microsoft.LongformerAttention",
}
MASK_VALUE = 1e3  # an additive mask is at least this far below the scores; real activations in front of Softmax are not


def attention_softmaxes(graph: Graph) -> tuple[Node, ...]:
    """Softmax nodes between two matrix products of activations (Vaswani et al. 2017, section 3.2.1)."""
    return tuple(
        node
        for node in graph.nodes
        if node.op == "Softmax" and _product_before(graph, node) and _product_after(graph, node)
    )


def has_attention(graph: Graph) -> bool:
    """Whether the model has attention, spelled out or as one operator."""
    return any(node.key in _FUSED_ATTENTION for node in graph.nodes) or bool(attention_softmaxes(graph))


def _product_before(graph: Graph, softmax: Node) -> Node | None:
    return next((n for n in _walk_back(graph, softmax.input(0), _SCORES, 8) if is_activation_product(graph, n)), None)


def _product_after(graph: Graph, softmax: Node) -> Node | None:
    frontier, seen = list(graph.consumers_of(softmax.output)), 0
    while frontier and seen < 8:
        node, seen = frontier.pop(0), seen + 1
        if is_activation_product(graph, node):
            return node
        if node.op in _CARRY:
            frontier.extend(graph.consumers_of(node.output))
    return None


def is_activation_product(graph: Graph, node: Node) -> bool:
    """Whether the node multiplies two matrices that are both computed at run time."""
    return node.op == "MatMul" and not any(name in graph.weights for name in node.inputs)


def masks(graph: Graph) -> frozenset[str]:
    """Tensors that carry an additive mask: large negative constants that are added to scores in front of Softmax.

    Quantizing them stretches a range by orders of magnitude, so both they and the sum must stay float.
    """
    found: set[str] = set()
    for node in graph.nodes:
        if node.op == "Softmax":
            for add in _walk_back(graph, node.input(0), _SCORES, 6):
                for name in add.inputs if add.op in ("Add", "Where", "Sub") else ():
                    if _is_mask(graph, name, subtracted=add.op == "Sub" and name == add.inputs[1]):
                        found.update({name, add.output})
    return frozenset(found)


def _is_mask(graph: Graph, name: str, subtracted: bool) -> bool:
    """Whether the value comes from constants with large magnitudes, through mask arithmetic only."""
    array = graph.constant(name)
    if array is not None:
        return _extreme(-array if subtracted and array.dtype.kind == "f" else array)
    steps = list(_walk_back(graph, name, _MASK_STEPS, 12))
    if any(node.op not in _MASK_STEPS for node in steps):
        return False
    constants = (graph.constant(i) for node in steps for i in node.inputs)
    return any(
        _extreme(-np.abs(c)) for c in constants if c is not None and c.dtype.kind == "f"
    )  # the sign may still turn


def _extreme(array: Array) -> bool:
    return array.size > 0 and array.dtype.kind == "f" and bool(np.nanmin(array) <= -MASK_VALUE)


def _walk_back(graph: Graph, name: str, through: Iterable[str], limit: int) -> Iterable[Node]:
    """Producers of a value, nearest first, passing through the given operators only."""
    frontier, seen = [name], 0
    while frontier and seen < limit:
        node = graph.producer.get(frontier.pop(0))
        if node is None:
            continue
        seen += 1
        yield node
        if node.op in through:
            frontier.extend(i for i in node.inputs if i)


def tail(graph: Graph, nodes: Mapping[str, NodePlan]) -> frozenset[str]:
    """Integer nodes that only move, pool or combine what the last integer layers wrote: no integer layer follows them."""
    followed: set[str] = set()
    found: set[str] = set()
    for node in reversed(graph.nodes):
        row = spec(node)
        users = [user for name in node.outputs for user in graph.consumers_of(name)]
        layer = row is not None and row.weighted and nodes[node.name].kind is Kind.INTEGER
        if layer or any(user.name in followed for user in users):
            followed.add(node.name)
        elif nodes[node.name].kind is Kind.INTEGER:
            found.add(node.name)
    return frozenset(found)


def silu_product(graph: Graph, sigmoid: Node) -> Node | None:
    """The Mul that completes x * sigmoid(x)."""
    user = graph.sole_consumer(sigmoid.output)
    return user if user is not None and user.op == "Mul" and sigmoid.input(0) in user.inputs else None


_SILU = (-10.0, float("inf"))  # x * sigmoid(x) is above -0.0005 for all smaller x


def useful_interval(graph: Graph, name: str) -> tuple[float, float] | None:
    """Interval of a value outside of which none of its readers notices a difference; None where one does."""
    if name in graph.outputs:
        return None
    users = graph.consumers_of(name)
    products = {p.name for n in users if n.op == "Sigmoid" and (p := silu_product(graph, n)) is not None}
    found: list[tuple[float, float]] = []
    for node in users:
        row = spec(node)
        silu = node.name in products or (node.op == "Sigmoid" and silu_product(graph, node) is not None)
        interval = _SILU if silu else row.saturates if row is not None else None
        if interval is None:
            return None
        found.append(interval)
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def residual_skip(graph: Graph, add: Node, weighted: frozenset[str]) -> int | None:
    """Input of a residual Add that is the skip branch, None if the Add is none.

    The other input is the conv side: written by an operator of `weighted` (node names) for this Add alone. Where both are,
    the side with fewer weighted operators up to the common source is the skip (a 1x1 shortcut convolution).

    This decides in a float graph what the plan quantizes; `verify.fusion.residual` reads Q/DQ files of any tool by ModelOpt's rule.
    """
    if add.op != "Add" or len(add.inputs) != 2 or any(i in graph.weights for i in add.inputs):
        return None
    sides = [_conv_side(graph, name, weighted) for name in add.inputs]
    if not any(sides):
        return None
    if all(sides):
        depth = [_depth(graph, name, weighted) for name in add.inputs]
        return 0 if depth[0] < depth[1] else 1
    return sides.index(False)


def _conv_side(graph: Graph, name: str, weighted: frozenset[str]) -> bool:
    node = graph.producer.get(name)
    return node is not None and node.name in weighted and graph.sole_consumer(name) is not None


def _depth(graph: Graph, name: str, weighted: frozenset[str]) -> int:
    """Weighted operators on the main path back to the nearest value that several nodes read."""
    count = 0
    while (node := graph.producer.get(name)) is not None:
        count += node.name in weighted
        name = node.input(0)
        if len(graph.consumers_of(name)) > 1:
            break
    return count

"""Which tensors cannot be negative, whatever is fed."""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import Node, Weight
from ..ops import COPIES, NO_OPS, POOLS

_ALWAYS = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Abs", "Sqrt", "Softplus", "ReduceL1", "ReduceL2", "ReduceSumSquare"})  # fmt: skip
_IF_INPUTS = COPIES | POOLS | NO_OPS
_IF_ALL = frozenset({"Add", "Mul", "Concat", "Div", "Sum", "Min"})
_DEPTH = 50  # operators that are looked through, and elements of a constant that are looked at
_SMALL = 4096


def is_nonnegative(name: str, nodes: Mapping[str, Node], weights: Mapping[str, Weight], depth: int = _DEPTH) -> bool:
    """Whether a tensor is proven to have no negative values.

    Args:
        nodes: by first output.
    """
    if name in weights:
        return int(weights[name].size) <= _SMALL and bool((weights[name].numpy() >= 0).all())
    node = nodes.get(name)
    if node is None or node.domain or not depth:
        return False
    if node.op in _ALWAYS:
        return True
    if node.op == "Clip":
        low = weights.get(node.input(1))
        return low is not None and float(low.numpy().reshape(-1)[0]) >= 0
    if node.op == "Resize" and node.attr("mode", "nearest") == "cubic":
        return False
    if node.op in _IF_INPUTS or node.op == "Resize":
        return is_nonnegative(node.inputs[0], nodes, weights, depth - 1)
    if node.op == "Max":
        return any(is_nonnegative(each, nodes, weights, depth - 1) for each in node.inputs)
    return node.op in _IF_ALL and all(is_nonnegative(each, nodes, weights, depth - 1) for each in node.inputs)

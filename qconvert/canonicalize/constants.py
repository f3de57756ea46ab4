"""Constant nodes become weights."""

from __future__ import annotations

import numpy as np

from ..errors import Diagnostic
from ..graph import Array, Graph, Node
from .match import is_op, nodes_to_weights
from .rewrite import Rewrite, label, left

_DTYPES = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def constants_to_weights(graph: Graph) -> Rewrite:
    """Turn Constant nodes into weights of the same name. Exact: both are the same tensor.

    Text and sparse constants have no weight form here and stay; so do those that are graph outputs.
    """
    weights: dict[str, Array] = {}
    skipped: list[Diagnostic] = []
    nodes = [n for n in graph.nodes if is_op(n, "Constant") and n.output not in graph.outputs]
    for node in nodes:
        value = _value(node)
        if value is None:
            skipped.append(left(node, f"no weight form for the attribute {', '.join(node.attributes)}"))
        else:
            weights[node.output] = value
    done = tuple(f"{label(node)} -> weight `{node.output}`" for node in nodes if node.output in weights)
    return Rewrite(nodes_to_weights(graph, weights), done, tuple(skipped))


def _value(node: Node) -> Array | None:
    value = node.attr("value")
    if value is not None:
        return value if isinstance(value, np.ndarray) else None
    for name, dtype in _DTYPES.items():
        if node.attr(name) is not None:
            return np.asarray(node.attr(name), dtype)
    return None

"""Weights in small floats as float32 constants: the same numbers for a runtime that cannot read them."""

from __future__ import annotations

import numpy as np

from ..graph import Array, Edit, Graph, Node, weight
from .stored import MXFP8

_FP4 = "float4_e2m1fn"
_E8M0_BIAS = 127


def with_small_floats_rebuilt(graph: Graph) -> Graph:
    """The graph with what dequantizes FP4 and MXFP8 weights computed; itself where there is none."""
    edit, known = Edit(graph), dict[str, Array]()
    for node in graph.nodes:
        value = _value(node, graph, known)
        if value is not None:
            known[node.output] = value
    for node in graph.nodes:
        if node.op in (MXFP8, "DequantizeLinear") and node.output in known:
            users = graph.consumers_of(node.output)
            edit.replace(node)
            if any(user.output not in known for user in users):
                edit.redirect(node.output, edit.add_weight(f"{node.output}/rebuilt", weight(known[node.output])))
    return edit.graph() if known else graph


def _value(node: Node, graph: Graph, known: dict[str, Array]) -> Array | None:
    """What a node makes of a weight in small floats, or of the scales of one; None for every other node."""
    codes = graph.weights.get(node.input(0))
    if codes is None or node.op not in (MXFP8, "DequantizeLinear"):
        return None
    scale = known.get(node.input(1), graph.constant(node.input(1)))
    readers = [user for user in graph.consumers_of(node.output) if user.input(1) == node.output]
    of_scales = any(r.op == "DequantizeLinear" and _is_fp4(graph, r.input(0)) for r in readers)
    if scale is None or not (node.op == MXFP8 or codes.dtype == _FP4 or of_scales):
        return None
    real = scale.astype(np.float32) if node.op != MXFP8 else np.exp2(scale.astype(np.float32) - _E8M0_BIAS)
    values = codes.numpy().astype(np.float32)
    spread = np.repeat(real, int(node.attr("block_size")), axis=int(node.attr("axis"))) if real.ndim else real
    return np.asarray(values * spread, dtype=np.float32)


def _is_fp4(graph: Graph, name: str) -> bool:
    return name in graph.weights and graph.weights[name].dtype == _FP4

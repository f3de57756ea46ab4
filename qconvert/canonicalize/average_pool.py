"""AveragePool becomes a depthwise Conv with a constant weight, for targets whose integer Conv beats their integer pool."""

from __future__ import annotations

import math

import numpy as np

from ..errors import Diagnostic
from ..graph import Edit, Graph, Node
from .match import is_op, like
from .rewrite import Change, Rewrite, label, left, sweep


def average_pool_to_conv(graph: Graph) -> Rewrite:
    """Write a two-dimensional AveragePool as a depthwise Conv whose weights are one over the size of the window.

    Exact up to rounding where every window divides by the same number: no padding, or padding that counts.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    if not is_op(node, "AveragePool"):
        return None
    shape = graph.type_of(node.inputs[0]).shape
    channels = shape[1] if shape and len(shape) == 4 else None
    reason = _why_not(node, shape is not None, channels)
    if reason or not isinstance(channels, int):
        return left(node, f"it cannot become a Conv: {reason}")
    kernel = tuple(node.attr("kernel_shape"))
    weight = like(graph, node.inputs[0], np.full((channels, 1, *kernel), 1.0 / math.prod(kernel)))
    if weight is None:
        return left(node, "it cannot become a Conv: its type is not known")
    kept = {key: node.attr(key) for key in ("pads", "strides", "dilations") if node.attr(key) is not None}
    attributes = {**kept, "kernel_shape": kernel, "group": channels}

    def apply(edit: Edit) -> None:
        name = edit.add_weight(f"{node.name}_weight", weight)
        edit.replace(node, Node("Conv", (node.inputs[0], name), node.outputs, attributes, name=node.name))

    return Change(f"{label(node)} -> depthwise Conv `{node.name}`", (node,), apply)


def _why_not(node: Node, known: bool, channels: object) -> str | None:
    if not isinstance(channels, int):
        return "it is not two-dimensional with a known number of channels" if known else "its shape is not known"
    if node.attr("ceil_mode", 0):
        return "ceil_mode lets the last windows be smaller"
    if node.attr("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return f"auto_pad {node.attr('auto_pad')} is not resolved"
    return (
        "windows at the border leave out the padding"
        if any(node.attr("pads") or ()) and not node.attr("count_include_pad", 0)
        else None
    )

"""A 16-bit model in float32 arithmetic: the same numbers on a runtime that has no such kernels.

Hardware multiplies and adds in float32 and rounds each result to 16 bits. Writing this rounding as a pair of Casts behind every
operator gives what it computes, overflow included; onnxruntime's CPU kernels leave the rounding out between neighbours, or have no
kernels at all.
"""

from __future__ import annotations

import numpy as np

from ..graph import Edit, Graph, Node, TensorType, infer_types
from .half import CODES
from .rebuilt import with_small_floats_rebuilt

_HALVES = ("float16", "bfloat16")
_TYPES = ("to", "dtype", "output_dtype")  # attributes that name an element type


def half_edges(graph: Graph) -> frozenset[str]:
    """Graph inputs and outputs in 16-bit floats."""
    return frozenset(n for n in (*graph.inputs, *graph.outputs) if graph.type_of(n).dtype in _HALVES)


def emulated(graph: Graph, edges: frozenset[str] = frozenset()) -> Graph:
    """The graph with every 16-bit value as a float32 value that has been rounded, and weights in small floats rebuilt.

    Args:
        edges: graph inputs and outputs that keep their 16-bit type; all others become float32.
    """
    graph = with_small_floats_rebuilt(graph)
    if not _may_hold_halves(graph):
        return graph
    typed = infer_types(graph)
    half = {n: d for n in (*typed.inputs, *typed.values()) if (d := typed.type_of(n).dtype) in _HALVES}
    if not half and not any(w.dtype in _HALVES for w in graph.weights.values()):
        return graph
    edit = Edit(typed)
    for name, weight in typed.weights.items():
        if weight.dtype in _HALVES:
            edit.set_weight(name, weight.numpy().astype(np.float32))
    given: dict[str, str] = {}
    for name in typed.feeds:
        if name in half:
            given[name] = edit.fresh(f"{name}/rounded")
            edit.add(*_rounding(edit, name, given[name], str(half[name])))
    for node in typed.nodes:
        raw = tuple(edit.fresh(f"{name}/raw") if name in half else name for name in node.outputs)
        inputs = tuple(given.get(name, name) for name in node.inputs)
        steps: list[Node] = []
        for source, name in zip(raw, node.outputs, strict=True):
            if name in edges & half.keys():
                given[name] = edit.fresh(f"{name}/widened")
                steps += _rounding(edit, source, given[name], str(half[name]), name)
            elif name in half:
                steps += _rounding(edit, source, name, str(half[name]))
        edit.replace(node, node.with_(inputs=inputs, outputs=raw, attributes=_widened(node)), *steps)
    for name in half.keys() - edges:
        edit.set_type(name, TensorType("float32", typed.type_of(name).shape))
    return edit.graph()


def _may_hold_halves(graph: Graph) -> bool:
    """Whether anything brings 16-bit floats into a graph; most drafts are judged without, and inferring all types takes its time."""
    kinds = {*(known.dtype for known in graph.types.values()), *(w.dtype for w in graph.weights.values())}
    attributes = (pair for node in graph.nodes for pair in node.attributes.items())
    return not kinds.isdisjoint(_HALVES) or not all(_plain(*pair) for pair in attributes)


def _plain(key: str, value: object) -> bool:
    """Whether an attribute makes no 16-bit float."""
    if isinstance(value, np.ndarray):
        return str(value.dtype) not in _HALVES
    if isinstance(value, int) and key in _TYPES:
        return value not in {CODES[name] for name in _HALVES}
    if isinstance(value, tuple):
        return all(_plain(key, each) for each in value)
    return isinstance(value, int | float | str | bytes)  # not a graph


def _rounding(edit: Edit, source: str, result: str, dtype: str, rounded: str = "") -> tuple[Node, Node]:
    rounded = rounded or edit.fresh(f"{result}/{dtype}")
    return (
        Node("Cast", (source,), (rounded,), {"to": CODES[dtype]}, edit.fresh_node(f"{result}/round")),
        Node("Cast", (rounded,), (result,), {"to": CODES["float32"]}, edit.fresh_node(f"{result}/widen")),
    )


def _widened(node: Node) -> dict[str, object]:
    """Attributes with element types and constants in float32."""
    codes = {CODES[name] for name in _HALVES}
    found = dict(node.attributes)
    for key, value in found.items():
        if key in _TYPES and value in codes:
            found[key] = CODES["float32"]
        elif isinstance(value, np.ndarray) and str(value.dtype) in _HALVES:
            found[key] = value.astype(np.float32)
    return found

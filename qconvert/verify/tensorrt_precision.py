"""What stays float32 when half precision is asked for: the error C010 of `check_tensorrt`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import Diagnostic, Severity
from ..graph import Node
from .fusion import label
from .quantized import DEQUANTIZE, QUANTIZE, QuantizedView, onnx_type

_SHAPES = frozenset({"Shape", "Size", "NonZero", "Constant", "ConstantOfShape", "Range", "Cast", "CastLike", "Identity"})  # fmt: skip


def float32_remainder(view: QuantizedView) -> Iterator[Diagnostic]:
    """C010: a strongly typed network takes its types from the file, so float32 parts stay float32 (guide, strong typing).

    Parts that data enters only through a Cast (a softmax kept in float32 on purpose) are not reported.
    """
    if view.precision not in ("float16", "bfloat16") or view.outer is not None:
        return
    for island, entries in _islands(view):
        hint = f"convert the part to {view.precision}, the scales of its DequantizeLinear nodes included"
        yield Diagnostic(
            "C010",
            f"{len(island)} float32 nodes, entered from: {', '.join(entries[:3])}",
            label(island[0]),
            hint,
            Severity.ERROR,
        )


def _islands(view: QuantizedView) -> Iterator[tuple[list[Node], list[str]]]:
    """Float32 nodes that are connected, Q/DQ between them or not, and their inputs that come without a Cast."""
    import networkx  # 0.1 s that only this check needs

    types = _float_types(view)
    pairs = [n for n in view.graph.nodes if n.op in QUANTIZE | DEQUANTIZE]
    nodes = [n for n in view.graph.nodes if n.op not in QUANTIZE | DEQUANTIZE | _SHAPES and _computes(view, n, types)]
    links: networkx.Graph = networkx.Graph()
    maker = {out: n for n in (*nodes, *pairs) for out in n.outputs if out not in view.constants}
    links.add_edges_from((maker[name], n) for n in (*nodes, *pairs) for name in n.inputs if name in maker)
    place = {n: i for i, n in enumerate(nodes)}
    links.add_nodes_from(nodes)
    parts = [sorted(place[n] for n in part if n in place) for part in networkx.connected_components(links)]
    for part in sorted(filter(None, parts)):
        inputs = dict.fromkeys(
            n for i in part for n in nodes[i].inputs if n and n not in view.constants and types.get(n) == "float32"
        )
        entries = [n for n in inputs if (p := view.producer(n)) is None or p.op in DEQUANTIZE]
        if entries or not any((p := view.producer(n)) is not None and p.op == "Cast" for n in inputs):
            yield [nodes[i] for i in part], entries or ["weights"]


def _computes(view: QuantizedView, node: Node, types: Mapping[str, str | None]) -> bool:
    return any(types.get(out) == "float32" and out not in view.constants for out in node.outputs)


def _float_types(view: QuantizedView) -> Mapping[str, str | None]:
    """Element types of all values: recorded ones, and the rest from Cast, the scales of DQ, and the first float input."""
    types: dict[str, str | None] = {name: view.dtype(name) for name in (*view.graph.inputs, *view.graph.weights)}
    for node in view.graph.nodes:
        first = next(
            (t for n in node.inputs if (t := types.get(n)) in ("float32", "float16", "bfloat16", "float64")), None
        )
        if node.op in DEQUANTIZE:
            guess = (onnx_type(node.attr("output_dtype")) if node.attr("output_dtype") else None) or types.get(
                node.input(1)
            )
        elif node.op in ("Cast", "Constant"):
            guess = (
                onnx_type(node.attr("to")) if node.op == "Cast" else view.dtype(node.outputs[0] if node.outputs else "")
            )
        else:
            guess = first
        types.update({out: view.graph.type_of(out).dtype or guess for out in node.outputs if out})
    return types

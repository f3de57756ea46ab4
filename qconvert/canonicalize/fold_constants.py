"""Nodes whose result is known without running the model become weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Array, Graph, Node, numpy_dtype, to_proto
from ..ops import VIEWS
from .match import nodes_to_weights, static_dims
from .rewrite import Rewrite, label

LARGEST = 4 << 20  # bytes of a result that is computed ahead
GROWTH = 8  # a result may be this many times as large as its inputs ...
SMALL = 4 << 10  # ... or have this many bytes: shapes, masks and position numbers

# Results that differ from run to run, or that are the very thing that a quantized model wants to see as nodes.
_NEVER = {"Bernoulli", "Constant", "DequantizeLinear", "DynamicQuantizeLinear", "Multinomial", "QuantizeLinear"}
_RANDOM = "Random"
# Operators whose result can be much larger than their inputs: only where its size is known before it is computed.
_GROWING = {
    "CenterCropPad",
    "Compress",
    "ConstantOfShape",
    "Expand",
    "EyeLike",
    "OneHot",
    "Pad",
    "Range",
    "Resize",
    "Tile",
    "Upsample",
}
# Pure changes of layout: a weight that nobody else reads is replaced by one of the same size, so it may be of any size.
_LAYOUT = VIEWS | {"Transpose"}


def fold_constants(graph: Graph) -> Rewrite:
    """Compute Shape and Size of static tensors, and small nodes whose inputs are all constant, by ONNX's reference evaluator.

    Exact: the operators are deterministic and the reference is their definition. What the reference cannot compute, and what
    would make the file much larger, is left.
    """
    known: dict[str, Array] = {}
    done: list[str] = []
    for node in graph.nodes:
        found = _folded(graph, node, known)
        if found:
            known.update(found)
            done.append(f"{label(node)} -> constant {', '.join(f'`{name}`' for name in found)}")
    return Rewrite(nodes_to_weights(graph, known), tuple(done))


def _folded(graph: Graph, node: Node, known: dict[str, Array]) -> dict[str, Array]:
    if (
        node.domain
        or node.bodies
        or node.op in _NEVER
        or node.op.startswith(_RANDOM)
        or not node.output
        or any(out in graph.outputs for out in node.outputs)
    ):
        return {}
    if node.op in ("Shape", "Size"):
        return _static_shape(graph, node, known)
    inputs = {
        name: known[name] if name in known else graph.constant(name)
        for name in node.reads
        if name in known or _fits(graph, node, name)
    }
    values = {name: value for name, value in inputs.items() if value is not None}
    if not node.reads or len(values) != len(node.reads) or _too_large(graph, node, values, _sizes_before(graph, node)):
        return {}
    results = _evaluate(node, values, graph.opsets)
    fits = (
        results and not _too_large(graph, node, values, [r.nbytes for r in results.values()]) and _typed(graph, results)
    )
    return results if fits else {}


def _static_shape(graph: Graph, node: Node, known: dict[str, Array]) -> dict[str, Array]:
    source = node.inputs[0]
    shape = known[source].shape if source in known else static_dims(graph.type_of(source).shape)
    if shape is None:
        return {}
    part = shape[slice(node.attr("start"), node.attr("end"))]
    return {node.output: np.asarray(part if node.op == "Shape" else int(np.prod(shape, dtype=np.int64)), np.int64)}


def _fits(graph: Graph, node: Node, name: str) -> bool:
    """Whether an input is a weight that is worth reading: one larger than the limit only for a change of layout."""
    weight = graph.weights.get(name)
    return weight is not None and (int(weight.nbytes) <= LARGEST or _moves_weight(graph, node))


def _moves_weight(graph: Graph, node: Node) -> bool:
    return node.op in _LAYOUT and len(graph.consumers_of(node.inputs[0])) == 1


def _sizes_before(graph: Graph, node: Node) -> list[int] | None:
    """Bytes of the results as far as shape inference knows, None if it does not."""
    sizes = []
    for kind in (graph.type_of(out) for out in node.outputs if out):
        shape = static_dims(kind.shape)
        if shape is None or kind.dtype in (None, "string"):
            return None
        sizes.append(int(np.prod(shape, dtype=np.int64)) * numpy_dtype(str(kind.dtype)).itemsize)
    return sizes


def _too_large(graph: Graph, node: Node, inputs: dict[str, Array], sizes: list[int] | None) -> bool:
    if sizes is None:
        return node.op in _GROWING
    given = sum(v.nbytes for v in inputs.values())
    limit = given if _moves_weight(graph, node) else min(LARGEST, max(GROWTH * given, SMALL))
    return sum(sizes) > limit


def _evaluate(node: Node, inputs: dict[str, Array], opsets: Any) -> dict[str, Array]:
    from onnx.reference import ReferenceEvaluator  # many models have nothing to fold

    outputs = tuple(out for out in node.outputs if out)
    alone = Graph(nodes=(node,), inputs=tuple(inputs), outputs=outputs, weights={}, types={}, opsets=opsets)
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(to_proto(alone)).run(None, dict(inputs))
    except Exception:  # the reference lacks operators and types, and fails in as many ways; the node then simply stays
        return {}
    arrays = {
        name: np.asarray(value)
        for name, value in zip(outputs, found, strict=True)
        if isinstance(value, np.ndarray | np.generic)
    }
    return arrays if len(arrays) == len(outputs) else {}


def _typed(graph: Graph, results: dict[str, Array]) -> bool:
    """Whether the results are numbers or truth values of the types that shape inference expects."""
    wanted = {name: graph.type_of(name).dtype for name in results}
    return all(
        value.dtype.kind not in "OSU" and wanted[name] in (None, str(value.dtype)) for name, value in results.items()
    )

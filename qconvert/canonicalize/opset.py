"""Raising the opset of a model to what the quantized formats need."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, version_converter

from ..errors import fail
from ..graph import Graph, Node, TensorType, Weight, from_proto, to_proto
from .match import is_op, nodes_to_weights
from .rewrite import Rewrite

LARGE = 1024  # bytes above which a weight does not travel through the converter
_NEW_RESIZE = 11  # from this opset on, Resize has a coordinate transformation that is not the old one by default

_NEW_SCAN = 9  # before this opset, Scan had a batch axis, which the converter does not notice
_HINT = "re-export the model with a newer opset"


def raise_opset(graph: Graph, minimum: int) -> Rewrite:
    """Convert the model to opset `minimum` by onnx's version converter, if it is older.

    Exact: the converter replaces each operator by its newer form with the same meaning; where it loses the meaning (the
    coordinates of Upsample and the first Resize), that is repaired here. Only weights that may be parameters travel through it.

    Raises:
        QConvertError: M007, where the converter fails or its result is not a valid model.
    """
    if graph.opset >= minimum:
        return Rewrite(graph)
    if "" not in graph.opsets:  # nothing but operators of other domains
        return Rewrite(graph.with_(opsets={**graph.opsets, "": minimum}), (f"opset {minimum} added",))
    if graph.opset < _NEW_SCAN and any(is_op(node, "Scan") for node in graph.nodes):
        raise fail("M007", f"opset {graph.opset} cannot be raised to {minimum}: Scan had a batch axis then", hint=_HINT)
    small = {name: w for name, w in graph.weights.items() if int(w.nbytes) <= LARGE}
    large = {name: w for name, w in graph.weights.items() if name not in small}
    converted = _convert(_with_large_as_inputs(graph, large), minimum)
    lost = [name for name in graph.outputs if name not in converted.outputs]
    if lost:
        raise fail(
            "M007",
            f"raising opset {graph.opset} to {minimum} lost the graph output `{lost[0]}`",
            hint=_HINT,
        )
    nodes = tuple(_with_old_coordinates(graph, node) for node in converted.nodes)
    changed = converted.with_(
        nodes=nodes,
        inputs=graph.inputs,
        outputs=graph.outputs,
        weights={**{n: w for n, w in converted.weights.items() if n not in large}, **large},
        types=_types(graph, converted, nodes),
        metadata=graph.metadata,
        name=graph.name,
    )
    return Rewrite(_with_new_weights(graph, changed), (f"opset {graph.opset} -> {minimum}",))


def _with_new_weights(graph: Graph, changed: Graph) -> Graph:
    """What were attributes before are inputs now; they become weights, so that no nodes are added to those that are known."""
    added = [n for n in changed.nodes if is_op(n, "Constant") and n.output not in graph.producer]
    values = {n.output: n.attr("value") for n in added if isinstance(n.attr("value"), np.ndarray)}
    return nodes_to_weights(changed, values)


def _with_large_as_inputs(graph: Graph, large: Mapping[str, Weight]) -> Graph:
    return graph.with_(
        inputs=tuple(dict.fromkeys([*graph.inputs, *(n for n in graph.weights if n in large)])),
        weights={n: w for n, w in graph.weights.items() if n not in large},
        types={**graph.types, **{n: graph.type_of(n) for n in large}},
    )


def _convert(graph: Graph, minimum: int) -> Graph:
    proto = to_proto(graph)
    proto.ir_version = max(proto.ir_version, helper.find_min_ir_version_for([helper.make_opsetid("", minimum)]))
    try:
        converted = version_converter.convert_version(proto, minimum)
        converted.ir_version = proto.ir_version
        if set(graph.opsets) <= {""}:  # operators of other domains have no schema to check against
            onnx.checker.check_model(converted)
    except Exception as error:  # the converter raises a dozen types, its own one derived from nothing narrower
        reason = (str(error).strip().splitlines() or ["the converter gave no reason"])[0]
        raise fail(
            "M007",
            f"opset {graph.opset} cannot be raised to {minimum}: {reason}",
            hint=_HINT,
        ) from error
    return from_proto(converted)


def _with_old_coordinates(graph: Graph, node: Node) -> Node:
    """Before opset 11, Resize and Upsample scaled coordinates without an offset and rounded down."""
    if graph.opset >= _NEW_RESIZE or not is_op(node, "Resize") or "coordinate_transformation_mode" in node.attributes:
        return node
    kept = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return node.with_(attributes={**node.attributes, **kept})


def _types(graph: Graph, converted: Graph, nodes: tuple[Node, ...]) -> dict[str, TensorType]:
    alive = {*graph.inputs, *(out for node in nodes for out in node.outputs)}
    return {name: kind for name, kind in {**converted.types, **graph.types}.items() if name in alive}

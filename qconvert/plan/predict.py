"""What the plan expects of the result: size, integer share, time."""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import Graph
from .cost import conversion_ns
from .model import Kind, NodePlan, Prediction, WeightPlan
from .work import Work, arrives_as_integers, reads


def predict(
    work: Work,
    nodes: Mapping[str, NodePlan],
    weights: Mapping[tuple[str, int], WeightPlan],
    anchors: frozenset[str],
    ties: Mapping[str, str],
) -> Prediction:
    """Size, integer share and, where the target has a cost model, time of the planned file."""
    graph = work.graph
    integer = sum(p.macs for p in nodes.values() if p.kind in (Kind.INTEGER, Kind.DYNAMIC))
    timed = work.target.cost is not None
    return Prediction(
        float_bytes=sum(int(w.nbytes) for w in graph.weights.values()),
        bytes=_bytes(graph, weights, anchors, ties),
        macs=sum(p.macs for p in nodes.values()),
        integer_macs=integer,
        float_ns=sum(p.float_ns for p in nodes.values()) if timed else None,
        ns=sum(p.integer_ns for p in nodes.values()) + _conversions(work, nodes) if timed else None,
    )


def _bytes(
    graph: Graph, weights: Mapping[tuple[str, int], WeightPlan], anchors: frozenset[str], ties: Mapping[str, str]
) -> int:
    total = 0
    for name, tensor in graph.weights.items():
        uses = [(node, i) for node in graph.consumers_of(name) for i, used in enumerate(node.inputs) if used == name]
        plans = {weights[node.name, i] for node, i in uses if (node.name, i) in weights}
        shape = graph.weight_shape(name)
        small = sum(p.nbytes(shape) for p in plans) * (name not in ties)
        floats = any((node.name, i) not in weights and node.name not in anchors for node, i in uses)
        anchored = any(node.name in anchors and i == 1 for node, i in uses)
        total += small + int(tensor.nbytes) * floats + 2 * int(tensor.size) * anchored
    return total


def _conversions(work: Work, nodes: Mapping[str, NodePlan]) -> float:
    """Predicted ns of all quantizations and dequantizations between regions."""
    model, graph = work.target.cost, work.graph
    if model is None:
        return 0.0
    total = 0.0
    for name in graph.values():
        shape = work.shapes.get(name)
        if shape is None:
            continue
        readers = graph.consumers_of(name)
        integer = sum(reads(nodes[n.name], n, name) for n in readers)
        absorbed = any(nodes[n.name].kind is Kind.ABSORBED for n in readers)
        if not arrives_as_integers(graph, name, nodes):
            total += conversion_ns(model.quantize, model.relayout, shape) * bool(integer)
        elif not absorbed:
            outside = len(readers) - integer + (name in graph.outputs)
            total += conversion_ns(model.dequantize, model.relayout, shape) * outside
    return total

"""A quantized model seen without its conversions: the operators that it was made of, and what runs each of them."""

from __future__ import annotations

from pathlib import Path

from ..graph import Graph, Node
from ..plan import Kind, NodePlan, Plan, Prediction
from .model import RunsAs
from .quantized import DEQUANTIZE, QUANTIZE
from .readback import read_back


def skeleton(graph: Graph) -> Graph:
    """The graph without QuantizeLinear and DequantizeLinear: readers take the tensor before the pair, or the codes of a weight.

    It is for looking at, not for running.
    """
    source: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        if node.op in QUANTIZE | DEQUANTIZE and node.inputs and node.outputs:
            source[node.output] = source.get(node.input(0), node.input(0))
            continue
        inputs = tuple(source.get(name, name) for name in node.inputs)
        kept.append(node if inputs == node.inputs else node.with_(inputs=inputs))
    named = tuple(n if n.name else n.with_(name=f"{n.op}: {n.output}") for n in kept)
    return graph.with_(nodes=named, outputs=tuple(source.get(name, name) for name in graph.outputs))


def executed(path: Path, bare: Graph) -> tuple[RunsAs, ...]:
    """What runs each node of a model's skeleton in onnxruntime on this host, read from the graph that it optimized.

    Raises:
        QConvertError: V002 where onnxruntime does not load the model.
    """
    nodes = {node.name: NodePlan(Kind.FLOAT) for node in bare.nodes}
    nothing = Plan("", nodes, {}, {}, (), Prediction(0, 0, 0, 0), {})
    return read_back(path, bare, nothing).nodes

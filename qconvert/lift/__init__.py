"""Files that are quantized already: the float network in them, and what they say about ranges and weights.

Q/DQ pairs, integer operators and dynamic chains are taken out of the graph; their scales become values beside it, from which the
ordinary plan, emission and algorithms start.
"""

from __future__ import annotations

from ..canonicalize import RULES
from ..errors import Diagnostic, QConvertError, Severity
from ..graph import Edit, Graph, Node, TensorType, infer_types
from .blocks import lift_product, lift_table
from .dynamic import Sums
from .edges import name_outputs, name_values
from .model import Grid, Lifted, Params, Span, WeightNote
from .operators import INTEGER_OPS, is_quantized, lift_integer
from .pairs import lift_dequantize, lift_on_codes, lift_quantize
from .spread import spread
from .walk import UnliftableError, Walk

__all__ = ["Grid", "Lifted", "Params", "Span", "WeightNote", "is_quantized", "lift", "spread"]

_BEFORE = ("names", "inputs", "constants", "no-ops", "fold-constants")  # so that scales and codes are plain constants
_HINT = "start from the FP32 model, or use `qconvert check` to lint this one"


def lift(graph: Graph) -> Lifted:
    """Take the quantization out of a graph; a float graph comes back as it is.

    Raises:
        QConvertError: M008 for every node that has no float form, with the reason.
    """
    if not any(is_quantized(node) for node in graph.nodes):
        return Lifted(graph, graph)
    walk = Walk(_prepared(graph))
    _go(walk)
    name_outputs(walk)
    name_values(walk)
    if walk.faults:
        raise QConvertError(Diagnostic(d.code, d.message, d.where, _HINT) for d in walk.faults)
    found = _finished(walk)
    known = {*found.producer, *found.inputs}
    spans = {name: span for name, span in walk.spans.items() if name in known}
    weights = {name: note for name, note in walk.notes.items() if name in found.weights}
    text = f"the model is quantized already: {len(spans)} ranges and {len(weights)} constants are taken from it"
    note = Diagnostic("M103", text, None, "`calibration: {given: ...}` says what becomes of them", Severity.NOTE)
    return Lifted(graph, found, spans, weights, (note,))


def _prepared(graph: Graph) -> Graph:
    found = infer_types(graph)
    for name in _BEFORE:
        found = RULES[name].run(found).graph
    return infer_types(found)


def _go(walk: Walk) -> None:
    """Walk along the nodes; what reads the result of a node that could not be lifted is passed over."""
    sums, lost = Sums(walk), set[str]()
    for node in walk.graph.nodes:
        if lost.intersection(node.reads):
            lost.update(node.outputs)
            continue
        try:
            if not sums.take(node):
                _place(walk, node)
        except UnliftableError as reason:
            lost.update(node.outputs)
            walk.faults.append(Diagnostic("M008", f"{node.op} has no float form: {reason}", f"node `{node.name}`"))


def _place(walk: Walk, node: Node) -> None:
    if node.op == "QuantizeLinear":
        lift_quantize(walk, node)
    elif node.op == "DequantizeLinear":
        lift_dequantize(walk, node)
    elif node.op in INTEGER_OPS:
        lift_integer(walk, node)
    elif node.op == "MatMulNBits":
        lift_product(walk, node)
    elif node.op == "GatherBlockQuantized":
        lift_table(walk, node)
    elif is_quantized(node):
        raise UnliftableError("its codes and scales are inside of the operator")
    elif any(name in walk.codes for name in node.reads):
        lift_on_codes(walk, node)
    else:
        walk.put(node.with_(inputs=tuple(walk.value(name) for name in node.inputs)))


def _finished(walk: Walk) -> Graph:
    real = {r.name: TensorType("float32", walk.graph.type_of(code).shape) for code, r in walk.codes.items()}
    types = {name: kind for name, kind in {**walk.types, **real}.items() if name not in walk.weights}
    domains = {"", *(node.domain for node in walk.nodes.values())}
    opsets = {domain: version for domain, version in walk.graph.opsets.items() if domain in domains}
    made = walk.graph.with_(nodes=tuple(walk.nodes.values()), weights=walk.weights, types=types, opsets=opsets)
    return Edit(made).graph()

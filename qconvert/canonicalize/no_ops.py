"""Operators that hand their input on unchanged."""

from __future__ import annotations

from ..errors import Diagnostic
from ..graph import Edit, Graph, Node, onnx_dtype
from .match import captured, is_op
from .rewrite import Change, Rewrite, label, left, sweep

_TRAINING_MODE_INPUT = 2


def drop_no_ops(graph: Graph) -> Rewrite:
    """Remove Identity, Dropout at inference, and Cast to the type that the value has already.

    Exact: the output is the input, bit for bit. The names of graph outputs stay: where the no-op gives a graph output, the node
    in front of it takes over that name.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    if not _is_no_op(graph, node):
        return None
    source, result = node.inputs[0], node.output
    if result not in graph.outputs:
        if captured(graph, result):
            return left(node, f"the body of an If, Loop or Scan reads `{result}`")
        return Change(f"{label(node)} -> removed", (node,), lambda edit: _bypass(edit, node))
    producer = graph.producer.get(source)
    if producer is None or source in graph.outputs or captured(graph, source):
        return None  # it gives a graph output its name
    return Change(f"{label(node)} -> removed", (node, producer), lambda edit: _rename(edit, producer, node))


def _bypass(edit: Edit, node: Node) -> None:
    edit.redirect(node.output, node.inputs[0])
    edit.replace(node)


def _rename(edit: Edit, producer: Node, node: Node) -> None:
    source, result = node.inputs[0], node.output
    edit.replace(producer, producer.with_(outputs=tuple(result if out == source else out for out in producer.outputs)))
    edit.replace(node)
    edit.redirect(source, result)


def _is_no_op(graph: Graph, node: Node) -> bool:
    if is_op(node, "Identity"):
        return True
    if is_op(node, "Cast"):
        dtype = graph.type_of(node.inputs[0]).dtype
        return dtype is not None and onnx_dtype(dtype) == int(node.attr("to", 0))
    return is_op(node, "Dropout") and _is_inference(graph, node)


def _is_inference(graph: Graph, node: Node) -> bool:
    mask = node.outputs[1] if len(node.outputs) > 1 else ""
    if mask and (graph.consumers_of(mask) or mask in graph.outputs):
        return False
    mode = node.input(_TRAINING_MODE_INPUT)
    value = graph.constant(mode) if mode else None
    return not mode or (value is not None and not value.any())

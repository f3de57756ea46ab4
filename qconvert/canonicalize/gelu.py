"""The erf form of Gelu becomes the operator itself."""

from __future__ import annotations

import math

from ..errors import Diagnostic
from ..graph import Graph, Node
from .match import close, is_op, leak_of, one_of_two, produced_by, replace_chain, scalar, times_scalar
from .rewrite import Change, Rewrite, label, left, sweep

_SINCE = 20


def fuse_gelu(graph: Graph) -> Rewrite:
    """Fuse `0.5 * x * (1 + erf(x / sqrt(2)))`, its products in any order, into Gelu.

    Exact up to rounding: it is the operator's definition. Only where the opset has it already.
    """
    return sweep(graph, gelu_by_erf) if graph.opset >= _SINCE else Rewrite(graph)


def gelu_by_erf(graph: Graph, erf: Node) -> Change | Diagnostic | None:
    """The change that fuses the Gelu around an Erf."""
    scaled = graph.producer.get(erf.inputs[0]) if is_op(erf, "Erf") else None
    source = _over_root_two(graph, scaled) if scaled else None
    plus = graph.sole_consumer(erf.output)
    if scaled is None or source is None or plus is None or times_scalar(graph, plus, "Add") != (erf.output, 1.0):
        return None
    products = _products(graph, plus.output, source)
    if products is None:
        return None
    nodes = (scaled, erf, plus, *products)
    leak = leak_of(graph, nodes)
    if leak:
        return left(erf, f"`{leak}` inside a Gelu is read elsewhere")
    new = Node("Gelu", (source,), ())
    return Change(f"{len(nodes)} nodes at {label(erf)} -> Gelu", nodes, lambda edit: replace_chain(edit, nodes, new))


def _over_root_two(graph: Graph, node: Node) -> str | None:
    """The x of `x / sqrt(2)` or `x * sqrt(0.5)`."""
    dtype = graph.type_of(node.output).dtype
    if is_op(node, "Div"):
        return node.inputs[0] if close(scalar(graph, node.inputs[1]), math.sqrt(2.0), dtype) else None
    found = times_scalar(graph, node)
    return found[0] if found and close(found[1], math.sqrt(0.5), dtype) else None


def _products(graph: Graph, plus: str, source: str) -> tuple[Node, Node] | None:
    """The two Muls that make `plus * source * 0.5`, the last one last: (p x) 0.5, (p 0.5) x or p (x 0.5)."""
    for first in graph.consumers_of(plus):
        other = _other(first, plus)
        last = graph.sole_consumer(first.output)
        wanted = 0.5 if other == source else source if scalar(graph, other) == 0.5 else None
        if (
            last is not None
            and wanted is not None
            and wanted in (_other(last, first.output), scalar(graph, _other(last, first.output)))
        ):
            return first, last
        inner = produced_by(graph, other, "Mul")
        if inner is not None and times_scalar(graph, inner) == (source, 0.5):
            return inner, first
    return None


def _other(node: Node, value: str) -> str:
    """The other factor of a Mul, "" for any other operator."""
    found = one_of_two(node, lambda name: name == value) if is_op(node, "Mul") else None
    return found[1] if found else ""

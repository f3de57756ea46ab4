"""Intervals of tensors that the file says nothing about, from those of tensors that it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np

from ..graph import Graph, Node
from ..ops import Role, Tie, clamp_bounds, inputs_with, spec
from .model import Span

Ends = tuple[float, float]


def spread(graph: Graph, spans: Mapping[str, Span]) -> dict[str, Span]:
    """The intervals with those that interval arithmetic adds; products with weights say too little and add none."""
    found = dict(spans)
    for node in graph.nodes:
        for name in node.outputs:
            made = _result(node, graph, found) if name and name not in found else None
            if made is not None:
                found[name] = made
    return found


def _result(node: Node, graph: Graph, known: Mapping[str, Span]) -> Span | None:
    row = spec(node)
    if row is None:
        return None
    if row.fixed is not None:
        return Span(*row.fixed)
    read = [_operand(graph, node.inputs[i], known) for i in inputs_with(node, Role.DATA)]
    if not read or any(span is None for span in read):
        return None
    operands = [span for span in read if span is not None]
    if row.tie is Tie.SAME and not (node.op == "Resize" and node.attr("mode", "nearest") == "cubic"):
        return operands[0]
    if row.tie is Tie.CLAMP:
        bounds = clamp_bounds(node, graph)
        return None if bounds is None else _cut(operands[0], bounds)
    rule = _RULES.get(node.op)
    return rule([(span.low, span.high) for span in operands]) if rule is not None else None


def _operand(graph: Graph, name: str, known: Mapping[str, Span]) -> Span | None:
    constant = graph.constant(name)
    if constant is not None and constant.size:
        return Span(float(np.min(constant)), float(np.max(constant)))
    return known.get(name)


def _cut(span: Span, bounds: Ends) -> Span:
    low, high = max(span.low, bounds[0]), min(span.high, bounds[1])
    return span if (low, high) == (span.low, span.high) else Span(min(low, high), max(low, high))


def _sum(operands: list[Ends]) -> Span:
    return Span(sum(low for low, _ in operands), sum(high for _, high in operands))


def _difference(operands: list[Ends]) -> Span:
    (a, b), (c, d) = operands
    return Span(a - d, b - c)


def _product(operands: list[Ends]) -> Span:
    ends = (
        [x * y for x, y in product(*operands)]
        if len(operands) == 2
        else [float(np.prod(p)) for p in product(*operands)]
    )
    return Span(min(ends), max(ends))


def _union(operands: list[Ends]) -> Span:
    return Span(min(low for low, _ in operands), max(high for _, high in operands))


def _function(function: Callable[[float], float]) -> Callable[[list[Ends]], Span]:
    """A function that never falls."""
    return lambda operands: Span(function(operands[0][0]), function(operands[0][1]))


def _magnitude(operands: list[Ends]) -> Span:
    low, high = operands[0]
    return Span(0.0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high)))


def _swish(operands: list[Ends]) -> Span:
    low, high = operands[0]
    return Span(-0.375 if low < 0 else 0.0, max(high, 0.0))


_RULES: dict[str, Callable[[list[Ends]], Span]] = {
    "Add": _sum,
    "Sub": _difference,
    "Mul": _product,
    "Max": _union,
    "Min": _union,
    "Where": _union,
    "Concat": _union,
    "AveragePool": _union,
    "GlobalAveragePool": _union,
    "ReduceMean": _union,
    "Abs": _magnitude,
    "Neg": lambda operands: Span(-operands[0][1], -operands[0][0]),
    "HardSwish": _swish,
    "Elu": _function(lambda x: x if x > 0 else float(np.expm1(x))),
}

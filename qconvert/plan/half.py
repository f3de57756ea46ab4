"""Which nodes of a 16-bit model run in 16 bits, and why the others stay in float32.

Kernels for LayerNormalization, Softmax and the like add up in float32 whatever the type of their input, so as whole operators they
may be 16 bits wide. Spelled out in small operators, every step between is rounded: a square leaves float16 above 256, an
epsilon of 1e-12 is zero, e^x leaves it above 11, and angles of Sin and Cos lose their fraction. Those chains stay in float32
from the operator that needs it to the point where they meet other activations again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import fail
from ..graph import Graph, Node, gives, only_tensors, takes
from ..recipe.types import Change
from .model import Kind, NodePlan, Plan, Reason

SENSITIVE: Mapping[str, str] = {
    "Exp": "e^x leaves float16 above 11",
    "Pow": "powers leave float16 early",
    "Sin": "angles lose their fraction",
    "Cos": "angles lose their fraction",
    "Sqrt": "small sums of squares lose their precision",
    "Log": "numbers near 0 and 1 lose their precision",
    "Reciprocal": "small numbers leave float16",
    "ReduceSum": "long sums leave float16",
    "ReduceSumSquare": "squares leave float16 above 256",
    "ReduceL1": "long sums leave float16",
    "ReduceL2": "squares leave float16 above 256",
    "ReduceLogSum": "long sums leave float16",
    "ReduceLogSumExp": "e^x leaves float16 above 11",
    "ReduceProd": "products leave float16 early",
    "CumSum": "long sums lose their last digits",
    "Softplus": "e^x leaves float16 above 11",
    "LpNormalization": "squares leave float16 above 256",
    "MeanVarianceNormalization": "squares leave float16 above 256",
}
_OPSETS = {"float16": 13, "bfloat16": 22}  # convolutions and pools take bfloat16 from opset 22 on
_ANGLES = {"Sin", "Cos"}
_FOLLOW = frozenset(SENSITIVE) | {
    "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "Sum", "Mean", "ReduceMean", "ReduceMax", "ReduceMin", "Clip", "Relu", "Floor", "Erf", "Tanh", "Sigmoid"
}  # fmt: skip


def with_halves(
    graph: Graph,
    plan: Plan,
    dtype: str,
    rules: Mapping[str, Change],
    kept: Mapping[str, Reason],
    alone: bool,
) -> Plan:
    """The plan with what is neither integer nor in need of float32 in a 16-bit type.

    Args:
        alone: the recipe asks for no integers at all.

    Raises:
        QConvertError: R009 where a rule wants the other 16-bit type.
    """
    for name, rule in rules.items():
        if rule.precision not in (None, "float32", dtype):
            text = f"a rule asks for {rule.precision} in a {dtype} model"
            raise fail("R009", text, name, f"a model has one 16-bit type: write `precision: {dtype}`")
    nodes = halved(graph, plan.nodes, dtype, rules, kept)
    if alone:  # why they are not integer needs no word
        nodes = {name: replace(p, reason=None) if p.kind is Kind.HALF else p for name, p in nodes.items()}
    halves = {name for name, p in nodes.items() if p.kind is Kind.HALF}
    watched = tuple(n for n in graph.values() if graph.type_of(n).dtype == "float32")
    saved = sum(
        weight.nbytes // 2
        for name, weight in graph.weights.items()
        if weight.dtype == "float32" and {n.name for n in graph.consumers_of(name)} <= halves
    )
    prediction = replace(plan.prediction, bytes=plan.prediction.bytes - saved)
    opset = max(plan.opset, _OPSETS[dtype] if halves else 0)
    single = frozenset(name for name, p in nodes.items() if p.kind is Kind.FLOAT)
    return replace(plan, nodes=nodes, single=single, watched=watched, prediction=prediction, opset=opset)


def halved(
    graph: Graph,
    nodes: Mapping[str, NodePlan],
    dtype: str,
    rules: Mapping[str, Change],
    kept: Mapping[str, Reason],
) -> dict[str, NodePlan]:
    """The plan of a graph whose float nodes run in a 16-bit type.

    Args:
        nodes: plan of every node; those that stay FLOAT are the question.
        dtype: "float16" or "bfloat16".
        rules: a rule's `precision` decides against everything but the lack of such an operator.
        kept: nodes that were found to need float32.
    """
    single = _single(graph, dtype, rules, kept)
    done = dict(nodes)
    for node in graph.nodes:
        chosen = nodes[node.name]
        if chosen.kind is Kind.FLOAT and _has_floats(graph, node):
            reason = single.get(node.name)
            done[node.name] = replace(chosen, kind=Kind.HALF) if reason is None else replace(chosen, reason=reason)
    return done


def _single(graph: Graph, dtype: str, rules: Mapping[str, Change], kept: Mapping[str, Reason]) -> dict[str, Reason]:
    """Nodes that stay in float32, with the reason."""
    asked = {name: rule.precision for name, rule in rules.items() if rule.precision is not None}
    found: dict[str, Reason] = {}
    chain: set[str] = set()
    for node in graph.nodes:
        reason = _barred(graph, node, dtype) or _needed(kept.get(node.name))
        if reason is None and asked.get(node.name) == "float32":
            reason = Reason("P004", "a rule keeps it in float32")
        if reason is None and node.name not in asked and (reason := _sensitive(node, dtype)) is not None:
            chain.add(node.name)
        if reason is not None:
            found[node.name] = reason
    free = {node.name for node in graph.nodes} - asked.keys()
    _follow_up(graph, found, free)
    _follow_down(graph, found, chain, free)
    return found


def _needed(reason: Reason | None) -> Reason | None:
    """A reason for float32; others only speak against integers."""
    return reason if reason is not None and reason.code == "P014" else None


def _has_floats(graph: Graph, node: Node) -> bool:
    return any(graph.type_of(name).dtype in ("float32", None) for name in (*node.inputs, *node.outputs) if name)


def _barred(graph: Graph, node: Node, dtype: str) -> Reason | None:
    """Why the node has no 16-bit form at all."""
    if node.bodies:
        return Reason("P006", f"{node.op} has a body, which stays in float32")
    opset = graph.opset
    floats = [i for i, o in enumerate(node.outputs) if o and graph.type_of(o).dtype in ("float32", None)]
    inputs = [i for i, n in enumerate(node.inputs) if n and graph.type_of(n).dtype == "float32"]
    fits = all(gives(node, opset, i, dtype) for i in floats) and (
        not inputs or any(takes(node, opset, i, dtype) for i in inputs)
    )
    return None if fits and only_tensors(node, opset) else Reason("P015", f"{node.op} has no form in {dtype}")


def _sensitive(node: Node, dtype: str) -> Reason | None:
    why = SENSITIVE.get(node.op) if node.domain == "" else None
    if why is None and node.op == "Mul" and node.input(0) == node.input(1):
        why = "squares leave float16 above 256"
    if why is None:
        return None
    return Reason("P014", f"{node.op}: {why}" if dtype == "float16" else f"{node.op}: few digits add up to none")


def _follow_down(graph: Graph, found: dict[str, Reason], chain: set[str], free: set[str]) -> None:
    """Small operators on nothing but results of the chains go on in float32, until they meet other activations."""
    for node in graph.nodes:
        fed = [n for n in node.inputs if n and n not in graph.weights and graph.type_of(n).dtype == "float32"]
        inside = all(name in graph.producer and graph.producer[name].name in chain for name in fed)
        if node.op in _FOLLOW and node.name in free - found.keys() and fed and inside:
            chain.add(node.name)
            found[node.name] = Reason("P014", f"goes on from `{fed[0]}` in float32")


def _follow_up(graph: Graph, found: dict[str, Reason], free: set[str]) -> None:
    """What only computes angles of Sin and Cos is in float32 too."""
    angles = {node.name for node in graph.nodes if node.op in _ANGLES and node.name in found}
    for node in reversed(graph.nodes):
        readers = [user for out in node.outputs if out not in graph.outputs for user in graph.consumers_of(out)]
        outside = any(out in graph.outputs for out in node.outputs)
        if readers and not outside and node.name in free - found.keys() and all(r.name in angles for r in readers):
            angles.add(node.name)
            found[node.name] = Reason("P014", "computes angles")

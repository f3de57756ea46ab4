"""HardSwish and HardSigmoid become Add, Clip and Mul, and their constant factor moves into the layers behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import Diagnostic
from ..graph import Edit, Graph, Node
from .absorb import Absorption, absorb
from .match import close, is_op, like, produced_by, scalar, times_scalar, why_shared
from .rewrite import Change, Rewrite, label, left, sweep

_ALPHA, _BETA = 0.2, 0.5  # defaults of HardSigmoid
_SIXTH = 1.0 / 6.0


@dataclass(frozen=True)
class _Gate:
    """`factor * clip(x + shift, 0, top)`, multiplied by x for HardSwish.

    Attributes:
        nodes: what it replaces; the last one gives the result.
    """

    source: str
    shift: float
    top: float
    factor: float
    times_source: bool
    nodes: tuple[Node, ...]


def split_hard_swish(graph: Graph) -> Rewrite:
    """Write HardSwish as `x * clip(x + 3, 0, 6)` and HardSigmoid as `clip(x + beta / alpha, 0, 1 / alpha)`, three cheap operators.

    What is missing is a constant factor (1/6, alpha). Layers behind absorb it into their weights, which is exact up to rounding, as
    everything up to there is positively homogeneous. Where they cannot, HardSwish gets an explicit Mul and HardSigmoid stays. The
    trailing `/ 6` or `* 1/6` of a HardSwish that was exported in parts is absorbed in the same way.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    gate = _gate(graph, node)
    if gate is None:
        return _absorb_division(graph, node)
    if like(graph, gate.source, 0.0) is None:
        return left(node, "its type is not known")
    absorbed = absorb(graph, gate.nodes[-1].output)
    if isinstance(absorbed, str) and not gate.times_source:
        return left(node, f"its factor {gate.factor:g} has no place to go: {absorbed}")
    where = (
        f"factor 1/6 in a Mul, as {absorbed}"
        if isinstance(absorbed, str)
        else f"factor {gate.factor:g} in {absorbed.names()}"
    )
    touched = gate.nodes if isinstance(absorbed, str) else (*gate.nodes, *absorbed.nodes)
    return Change(
        f"{' + '.join(map(label, gate.nodes))} -> Add, Clip{', Mul' * gate.times_source}; {where}",
        touched,
        lambda edit: _split(edit, graph, gate, absorbed),
    )


def _gate(graph: Graph, node: Node) -> _Gate | None:
    if is_op(node, "HardSwish"):
        return _Gate(node.inputs[0], 3.0, 6.0, _SIXTH, True, (node,))
    if not is_op(node, "HardSigmoid"):
        return None
    alpha, beta = float(node.attr("alpha", _ALPHA)), float(node.attr("beta", _BETA))
    user = graph.sole_consumer(node.output)
    swish = user is not None and is_op(user, "Mul") and set(user.inputs) == {node.inputs[0], node.output}
    if user is not None and swish and close(alpha, _SIXTH, None) and close(beta, 0.5, None):
        return _Gate(node.inputs[0], 3.0, 6.0, _SIXTH, True, (node, user))
    return _Gate(node.inputs[0], beta / alpha, 1.0 / alpha, alpha, False, (node,)) if alpha > 0.0 else None


def _split(edit: Edit, graph: Graph, gate: _Gate, absorbed: Absorption | str) -> None:
    end, kind = gate.nodes[-1], graph.type_of(gate.source)
    number = _numbers(edit, graph, gate.source)

    def value(part: str) -> str:
        name = edit.fresh(f"{end.output}_{part}")
        edit.set_type(name, kind)
        return name

    def node(op: str, inputs: tuple[str, ...], output: str) -> Node:
        return Node(op, inputs, (output,), name=edit.fresh_node(f"{end.name}_{op.lower()}"))

    moved, last = value("shifted"), value("product") if isinstance(absorbed, str) else end.output
    clipped = value("clipped") if gate.times_source else last
    new = [
        node("Add", (gate.source, number("shift", gate.shift)), moved),
        node("Clip", (moved, number("zero", 0.0), number("top", gate.top)), clipped),
    ]
    if gate.times_source:
        new.append(node("Mul", (gate.source, clipped), last))
    if isinstance(absorbed, str):
        new.append(node("Mul", (last, number("factor", gate.factor)), end.output))
    else:
        absorbed.apply(edit, graph, gate.factor)
    for old in gate.nodes[:-1]:
        edit.replace(old)
    edit.replace(end, *new)


def _numbers(edit: Edit, graph: Graph, source: str) -> Callable[[str, float], str]:
    """A function that stores a number as a weight of the type of `source`."""

    def number(part: str, value: float) -> str:
        array = like(graph, source, value)
        return edit.add_weight(f"{source}_{part}", np.asarray(value, np.float32) if array is None else array)

    return number


def _absorb_division(graph: Graph, node: Node) -> Change | None:
    """Absorb a positive constant factor of `clip(...)` or `x * clip(...)`; silently None where nothing can."""
    found = _factor(graph, node)
    if found is None or why_shared(graph, found[0]) or not _is_gated(graph, found[0]):
        return None
    absorbed = absorb(graph, node.output)
    if isinstance(absorbed, str) or not absorbed.layers:
        return None

    def apply(edit: Edit) -> None:
        edit.replace(node)
        edit.redirect(node.output, found[0])
        absorbed.apply(edit, graph, found[1])

    return Change(f"{label(node)} -> factor {found[1]:g} in {absorbed.names()}", (node, *absorbed.nodes), apply)


def _factor(graph: Graph, node: Node) -> tuple[str, float] | None:
    if is_op(node, "Div"):
        divisor = scalar(graph, node.inputs[1])
        return (node.inputs[0], 1.0 / divisor) if divisor and divisor > 0.0 else None
    found = times_scalar(graph, node)
    return found if found and found[1] > 0.0 else None


def _is_gated(graph: Graph, value: str) -> bool:
    mul = produced_by(graph, value, "Mul")
    return any(produced_by(graph, name, "Clip") for name in (value, *(mul.inputs if mul else ())))

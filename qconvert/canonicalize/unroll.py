"""Short LSTM and GRU layers become one product over all steps and a few element-by-element operators a step.

Source: ONNX operators LSTM and GRU; gates lie in the order i, o, f, c and z, r, h. Exact up to rounding. A layer of one step with its
state as graph inputs and outputs, as streaming models have it, is the shortest case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import Diagnostic
from ..graph import Array, Edit, Graph, Node
from .chain import Chain
from .lstm import why_not_fused, why_not_plain
from .match import static_dims
from .rewrite import Change, Rewrite, label, left, sweep

MOST_STEPS = 32
_GATES = {"LSTM": 4, "GRU": 3}


def unroll(graph: Graph) -> Rewrite:
    """Unroll every LSTM and GRU of up to 32 steps that no fused kernel can run."""
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    if node.op not in _GATES or node.domain:
        return None
    fused = why_not_fused(graph, node) if node.op == "LSTM" else ""
    if node.op == "LSTM" and not fused:
        return None
    dims = static_dims(graph.type_of(node.input(0)).shape)
    reason = why_not_unrolled(graph, node)
    if reason or dims is None:
        return left(node, reason)

    def apply(edit: Edit) -> None:
        chain = Chain(graph, edit, node)
        _layer(chain, dims)
        chain.done()

    return Change(f"{label(node)} -> {dims[0]} steps" + (f", as {fused}" if fused else ""), (node,), apply)


def why_not_unrolled(graph: Graph, node: Node) -> str:
    """Why an LSTM or GRU cannot be unrolled, "" if it can."""
    dims = static_dims(graph.type_of(node.input(0)).shape)
    if dims is None or len(dims) != 3:
        return "its input has no fixed size"
    if dims[0] > MOST_STEPS:
        return f"{dims[0]} steps are too many to unroll (most: {MOST_STEPS})"
    return why_not_plain(graph, node, dims[0])


@dataclass(frozen=True, eq=False)
class _Direction:
    """One pass over the steps: number among the directions, weights [gates*H, I] and [gates*H, H], biases, order of steps."""

    number: int
    inputs: Array
    recurrent: Array
    input_bias: Array
    recurrent_bias: Array
    steps: tuple[int, ...]

    @property
    def hidden(self) -> int:
        return int(self.recurrent.shape[1])


def _directions(chain: Chain, steps: int) -> list[_Direction]:
    graph, node = chain.graph, chain.node
    w, r = (graph.weights[node.inputs[i]].numpy() for i in (1, 2))
    b = graph.weights[node.inputs[3]].numpy() if node.input(3) else np.zeros((len(w), 2 * w.shape[1]), np.float32)
    kind, half = node.attr("direction", "forward"), w.shape[1]
    forward, backward = tuple(range(steps)), tuple(range(steps))[::-1]
    orders = {"forward": [forward], "reverse": [backward], "bidirectional": [forward, backward]}[kind]
    return [_Direction(n, w[n], r[n], b[n, :half], b[n, half:], order) for n, order in enumerate(orders)]


def _layer(chain: Chain, dims: tuple[int, ...]) -> None:
    steps, batch, size = dims
    node = chain.node
    rows = chain.add("Reshape", node.inputs[0], np.array((steps * batch, size), np.int64))
    found = _directions(chain, steps)
    seen: list[dict[int, str]] = []
    ends: list[tuple[str, str]] = []
    for way in found:
        hidden, states, cell = _pass(chain, way, rows, steps, batch)
        seen.append(states)
        ends.append((hidden, cell))
    shape = (1, 1, batch, found[0].hidden)
    outputs = [*node.outputs, "", "", ""]
    if outputs[0]:
        by_step = [_joined(chain, [_shaped(chain, way[step], shape) for way in seen], 1) for step in range(steps)]
        _output(chain, _joined(chain, by_step, 0), outputs[0], (steps, len(found), batch, found[0].hidden))
    for name, values in zip(outputs[1:3], zip(*ends, strict=True), strict=True):
        if name:
            joined = _joined(chain, [_shaped(chain, v, shape[1:]) for v in values], 0)
            _output(chain, joined, name, (len(found), batch, found[0].hidden))


def _shaped(chain: Chain, value: str, shape: tuple[int, ...]) -> str:
    return chain.add("Reshape", value, np.array(shape, np.int64))


def _joined(chain: Chain, values: list[str], axis: int) -> str:
    return values[0] if len(values) == 1 else chain.add("Concat", *values, axis=axis)


def _output(chain: Chain, value: str, name: str, shape: tuple[int, ...]) -> None:
    chain.add("Reshape", value, np.array(shape, np.int64), last=name)


def _pass(chain: Chain, way: _Direction, rows: str, steps: int, batch: int) -> tuple[str, dict[int, str], str]:
    """Last hidden state, hidden state by step, and last cell state ("" for GRU)."""
    products = chain.add("Gemm", rows, way.inputs, _folded_bias(chain, way), transB=1)
    parts = _split(chain, products, [batch] * steps, 0)
    hidden, cell = (_state(chain, i, way, batch) for i in (5, 6))
    states: dict[int, str] = {}
    for step in way.steps:
        if chain.node.op == "LSTM":
            hidden, cell = _lstm(chain, way, parts[step], hidden, cell)
        else:
            hidden = _gru(chain, way, parts[step], hidden)
        states[step] = hidden
    return hidden, states, cell if chain.node.op == "LSTM" else hidden


def _folded_bias(chain: Chain, way: _Direction) -> Array:
    """Both biases where they only add up; GRU with linear_before_reset keeps that of its last gate apart."""
    if chain.node.op == "GRU" and chain.node.attr("linear_before_reset", 0):
        apart = way.recurrent_bias.copy()
        apart[2 * way.hidden :] = 0
        return np.asarray(way.input_bias + apart)
    return np.asarray(way.input_bias + way.recurrent_bias)


def _state(chain: Chain, index: int, way: _Direction, batch: int) -> str:
    """A state at the beginning as [batch, H]: zeros if it is not given, "" stands for them."""
    name = chain.node.input(index)
    if not name:
        return ""
    one = name
    if len(_directions_of(chain)) > 1:
        one = _split(chain, name, [1, 1], 0)[way.number]
    return chain.add("Reshape", one, np.array((batch, way.hidden), np.int64))


def _directions_of(chain: Chain) -> Array:
    return chain.graph.weights[chain.node.inputs[1]].numpy()


def _split(chain: Chain, value: str, sizes: list[int], axis: int) -> list[str]:
    if len(sizes) == 1:
        return [value]
    names = [chain.edit.fresh(f"{value}_part") for _ in sizes]
    table = chain.edit.add_weight(f"{chain.node.name}_sizes", np.array(sizes, np.int64))
    chain.nodes.append(
        Node("Split", (value, table), tuple(names), {"axis": axis}, chain.edit.fresh_node(f"{chain.node.name}_Split"))
    )
    return names


def _lstm(chain: Chain, way: _Direction, product: str, hidden: str, cell: str) -> tuple[str, str]:
    total = chain.add("Add", product, chain.add("Gemm", hidden, way.recurrent, transB=1)) if hidden else product
    i, o, f, g = _split(chain, total, [way.hidden] * 4, 1)
    new = chain.add("Mul", chain.add("Sigmoid", i), chain.add("Tanh", g))
    if cell:
        new = chain.add("Add", chain.add("Mul", chain.add("Sigmoid", f), cell), new)
    return chain.add("Mul", chain.add("Sigmoid", o), chain.add("Tanh", new)), new


def _gru(chain: Chain, way: _Direction, product: str, hidden: str) -> str:
    size = way.hidden
    z, r, g = _split(chain, product, [size] * 3, 1)
    before = bool(chain.node.attr("linear_before_reset", 0))
    bias = way.recurrent_bias[2 * size :]
    if hidden:
        rz, rr = _split(chain, chain.add("Gemm", hidden, way.recurrent[: 2 * size], transB=1), [size] * 2, 1)
        z, r = chain.add("Add", z, rz), chain.add("Add", r, rr)
    reset = chain.add("Sigmoid", r) if hidden or before else ""
    if before:
        inner = chain.add(
            "Mul",
            reset,
            chain.add("Gemm", hidden, way.recurrent[2 * size :], bias, transB=1) if hidden else bias.reshape(1, -1),
        )
        g = chain.add("Add", g, inner)
    elif hidden:
        g = chain.add("Add", g, chain.add("Gemm", chain.add("Mul", reset, hidden), way.recurrent[2 * size :], transB=1))
    candidate, gate = chain.add("Tanh", g), chain.add("Sigmoid", z)
    if not hidden:
        return chain.add("Sub", candidate, chain.add("Mul", gate, candidate))
    return chain.add("Add", candidate, chain.add("Mul", gate, chain.add("Sub", hidden, candidate)))

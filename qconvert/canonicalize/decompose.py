"""Operators that integer-only targets lack become operators that they have; each form is exact up to rounding.

Gelu alone takes an approximation, the tanh form of its paper in its sigmoid spelling: x sigmoid(x (1.5958 + 0.07135 x x)), whose
largest error is 0.0005. The argument is clipped to 10, where sigmoid is 1 for 8 bits, so that its range stays small.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from ..errors import Diagnostic
from ..graph import Graph, Node
from .chain import Chain, Decomposition, always, taken_apart
from .gelu import gelu_by_erf
from .match import produced_by, static_dims
from .rewrite import Change, Rewrite, sweep

_MOST_COPIES = 16


def decompose(graph: Graph) -> Rewrite:
    """Apply every row of the table, to the erf form of Gelu in models whose opset lacks the operator too."""
    fused = sweep(graph, gelu_by_erf)
    found = sweep(fused.graph, _attempt)
    return Rewrite(found.graph, (*fused.done, *found.done), found.skipped)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    row = DECOMPOSITIONS.get(node.op) if not node.domain else None
    return None if row is None else taken_apart(graph, node, row, "operators with integer kernels")


# --- conditions ----------------------------------------------------------------------------------------------------------


def _one_output(graph: Graph, node: Node) -> str | None:
    return "" if len([o for o in node.outputs if o]) == 1 else "its further outputs are read"


def _dims(graph: Graph, node: Node) -> tuple[int, ...] | None:
    return static_dims(graph.type_of(node.input(0)).shape)


def _sized(graph: Graph, node: Node) -> str | None:
    return "" if _dims(graph, node) else "its shape is not known"


def _copies(graph: Graph, node: Node) -> str | None:
    repeats = graph.constant(node.input(1))
    if repeats is None:
        return "its repeats are computed at run time"
    return "" if prod(int(r) for r in repeats) <= _MOST_COPIES else f"it makes more than {_MOST_COPIES} copies"


def _by_columns(graph: Graph, node: Node) -> str | None:
    if node.attr("mode", "DCR") != "CRD":
        return None
    return _sized(graph, node)


def _root(graph: Graph, node: Node) -> str | None:
    return "" if produced_by(graph, node.inputs[-1], "Sqrt") else None


def _cube(graph: Graph, node: Node) -> str | None:
    value = graph.constant(node.input(1))
    return "" if value is not None and value.size == 1 and float(value.reshape(-1)[0]) == 3.0 else None


def _many(graph: Graph, node: Node) -> str | None:
    return "" if len(node.inputs) > 0 else None


# --- forms ---------------------------------------------------------------------------------------------------------------


def _hard_sigmoid(chain: Chain) -> None:
    node = chain.node
    scaled = chain.add("Mul", node.inputs[0], float(node.attr("alpha", 0.2)))
    moved = chain.add("Add", scaled, float(node.attr("beta", 0.5)))
    chain.add("Clip", moved, 0.0, 1.0, last=node.output)


def _gelu(chain: Chain) -> None:
    source, factor = chain.node.inputs[0], 2 * sqrt(2 / np.pi)
    square = chain.add("Mul", source, source)
    slope = chain.add("Add", chain.add("Mul", square, factor * 0.044715), factor)
    argument = chain.add("Clip", chain.add("Mul", source, slope), -10.0, 10.0)
    chain.add("Mul", source, chain.add("Sigmoid", argument), last=chain.node.output)


def _layer_norm(chain: Chain) -> None:
    node, rank = chain.node, len(_dims(chain.graph, chain.node) or ())
    axes = tuple(range(node.attr("axis", -1) % rank, rank))
    centred = chain.add("Sub", node.inputs[0], _mean(chain, node.inputs[0], axes))
    variance = _mean(chain, chain.add("Mul", centred, centred), axes)
    inverse = chain.add("Pow", chain.add("Add", variance, float(node.attr("epsilon", 1e-5))), -0.5)
    bias = node.input(2)
    normal = chain.add("Mul", centred, inverse)
    scaled = chain.add("Mul", normal, node.inputs[1], last="" if bias else node.output)
    if bias:
        chain.add("Add", scaled, bias, last=node.output)


def _mean(chain: Chain, source: str, axes: tuple[int, ...]) -> str:
    if chain.graph.opset >= 18:
        return chain.add("ReduceMean", source, np.array(axes, np.int64), keepdims=1)
    return chain.add("ReduceMean", source, axes=axes, keepdims=1)


def _batch_norm(chain: Chain) -> None:
    graph, node = chain.graph, chain.node
    scale, bias, mean, variance = (np.asarray(graph.weights[name].numpy(), np.float64) for name in node.inputs[1:5])
    factor = scale / np.sqrt(variance + float(node.attr("epsilon", 1e-5)))
    offset, rank = bias - mean * factor, len(_dims(graph, node) or ())
    if rank in (3, 4):
        weight = factor.reshape(-1, 1, *(1,) * (rank - 2)).astype(np.float32)
        chain.add(
            "Conv",
            node.inputs[0],
            weight,
            offset.astype(np.float32),
            last=node.output,
            group=len(factor),
            kernel_shape=(1,) * (rank - 2),
        )
        return
    shape = (-1, *(1,) * (rank - 2))
    scaled = chain.add("Mul", node.inputs[0], factor.reshape(shape).astype(np.float32))
    chain.add("Add", scaled, offset.reshape(shape).astype(np.float32), last=node.output)


def _constant_statistics(graph: Graph, node: Node) -> str | None:
    if len([o for o in node.outputs if o]) > 1 or any(name not in graph.weights for name in node.inputs[1:5]):
        return "it is in training form"
    return _sized(graph, node)


def _tile(chain: Chain) -> None:
    repeats = [int(r) for r in chain.graph.weights[chain.node.inputs[1]].numpy()]
    axes = [axis for axis, count in enumerate(repeats) if count > 1]
    now = chain.node.inputs[0]
    for axis in axes:
        now = chain.add("Concat", *[now] * repeats[axis], axis=axis, last=chain.node.output if axis == axes[-1] else "")
    if not axes:
        chain.add("Identity", now, last=chain.node.output)


def _columns_first(chain: Chain) -> None:
    n, c, h, w = _dims(chain.graph, chain.node) or (1, 1, 1, 1)
    b = int(chain.node.attr("blocksize"))
    split = chain.add("Reshape", chain.node.inputs[0], np.array((n, c // (b * b), b, b, h, w), np.int64))
    moved = chain.add("Transpose", split, perm=(0, 1, 4, 2, 5, 3))
    chain.add("Reshape", moved, np.array((n, c // (b * b), h * b, w * b), np.int64), last=chain.node.output)


def _over_root(chain: Chain) -> None:
    root = chain.graph.producer[chain.node.inputs[-1]]
    inverse = chain.add("Pow", root.inputs[0], -0.5, last=chain.node.output if chain.node.op == "Reciprocal" else "")
    if chain.node.op == "Div":
        chain.add("Mul", chain.node.inputs[0], inverse, last=chain.node.output)


def _third_power(chain: Chain) -> None:
    source = chain.node.inputs[0]
    chain.add("Mul", chain.add("Mul", source, source), source, last=chain.node.output)


def _sum(chain: Chain) -> None:
    now, rest = chain.node.inputs[0], chain.node.inputs[1:]
    if not rest:
        chain.add("Identity", now, last=chain.node.output)
    for n, other in enumerate(rest):
        now = chain.add("Add", now, other, last=chain.node.output if n == len(rest) - 1 else "")


DECOMPOSITIONS: dict[str, Decomposition] = {
    "HardSigmoid": Decomposition(always, _hard_sigmoid),
    "Gelu": Decomposition(always, _gelu),
    "LayerNormalization": Decomposition(
        lambda graph, node: _one_output(graph, node) or _sized(graph, node), _layer_norm
    ),
    "BatchNormalization": Decomposition(_constant_statistics, _batch_norm),
    "Tile": Decomposition(_copies, _tile),
    "DepthToSpace": Decomposition(_by_columns, _columns_first),
    "Div": Decomposition(_root, _over_root),
    "Reciprocal": Decomposition(_root, _over_root),
    "Pow": Decomposition(_cube, _third_power),
    "Sum": Decomposition(_many, _sum),
}

"""Facts about ONNX operators that no target can change: what each input is for, how scales are tied, how much work a call is.

An operator that is not in `OPS` is simply float everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from .graph import Graph, Node

Shapes = Mapping[str, tuple[int, ...]]


class Role(StrEnum):
    """What an input is for."""

    DATA = "data"  # an activation
    WEIGHT = "weight"  # a tensor that is usually a constant and has a scale per channel
    BIAS = "bias"  # added to the accumulator
    PARAM = "param"  # shapes, indices, bounds: never quantized


class Tie(StrEnum):
    """How the scale of the output relates to that of the first data input."""

    FREE = "free"  # the kernel requantizes: any scale
    SAME = "same"  # values are moved or selected, so the integers are only right under the input's scale
    CLAMP = "clamp"  # the output is the input cut to an interval; it vanishes into the range of a quantized output


class Copy(StrEnum):
    """Which values of its first input an operator hands on as they are; none for those that compute."""

    NONE = "none"
    VIEW = "view"  # all of them in the same order, under another shape
    PLACED = "placed"  # in another order, repeated, or some of them


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One operator.

    Attributes:
        roles: role of input i; the last one repeats for variadic operators.
        tie: relation of the output's scale to the input's.
        fixed: range that the output cannot leave, whatever the input.
        saturates: interval outside of which the output changes by less than half an 8-bit step, so that inputs may be cut to it.
        weighted: the operator multiplies and accumulates against a weight (or a second activation).
        copy: which values it hands on unchanged.
        pools: the output is a mean, a sum, or the largest or smallest of values.
    """

    roles: tuple[Role, ...]
    tie: Tie = Tie.FREE
    fixed: tuple[float, float] | None = None
    saturates: tuple[float, float] | None = None
    weighted: bool = False
    copy: Copy = Copy.NONE
    pools: bool = False

    def role(self, index: int) -> Role:
        """Role of input `index`."""
        return self.roles[min(index, len(self.roles) - 1)]


# onnxruntime's: the product that gives queries, keys and values, and what follows.
ATTENTION = "com.microsoft.Attention"
D, W, B, P = Role.DATA, Role.WEIGHT, Role.BIAS, Role.PARAM

OPS: dict[str, OpSpec] = {
    # multiply-accumulate
    "Conv": OpSpec((D, W, B), weighted=True),
    "ConvTranspose": OpSpec((D, W, B), weighted=True),
    "Gemm": OpSpec((D, W, B), weighted=True),
    "MatMul": OpSpec((D, W), weighted=True),
    # several products in one kernel, with what lies between them: none that algorithms for one product could see
    "LSTM": OpSpec((D, W, W, B, P)),
    "GRU": OpSpec((D, W, W, B, P)),
    "RNN": OpSpec((D, W, W, B, P)),
    ATTENTION: OpSpec((D, W, B, P)),
    # element by element, each operand with its own scale
    "Add": OpSpec((D,)),
    "Sub": OpSpec((D,)),
    "Mul": OpSpec((D,)),
    "Div": OpSpec((D,)),
    "Max": OpSpec((D,)),
    "Min": OpSpec((D,)),
    "Where": OpSpec((P, D, D)),
    "Concat": OpSpec((D,)),
    # averages
    "AveragePool": OpSpec((D,), pools=True),
    "GlobalAveragePool": OpSpec((D,), pools=True),
    "ReduceMean": OpSpec((D, P), pools=True),
    "ReduceSum": OpSpec((D, P), pools=True),
    # functions of one value
    "Sigmoid": OpSpec((D,), fixed=(0.0, 1.0), saturates=(-8.0, 8.0)),
    "HardSigmoid": OpSpec((D,), fixed=(0.0, 1.0), saturates=(-3.0, 3.0)),
    "Tanh": OpSpec((D,), fixed=(-1.0, 1.0), saturates=(-4.0, 4.0)),
    "Softmax": OpSpec((D,), fixed=(0.0, 1.0)),
    "LeakyRelu": OpSpec((D,)),
    "PRelu": OpSpec((D, W)),
    "Elu": OpSpec((D,)),
    "Abs": OpSpec((D,)),
    "Neg": OpSpec((D,)),
    "Pow": OpSpec((D, P)),
    "Reciprocal": OpSpec((D,)),
    "LogSoftmax": OpSpec((D,)),
    "ArgMax": OpSpec((D,)),
    "ArgMin": OpSpec((D,)),
    "HardSwish": OpSpec((D,), saturates=(-3.0, float("inf"))),
    "Relu": OpSpec((D,), Tie.CLAMP),
    "Clip": OpSpec((D, P), Tie.CLAMP),
    # values are only moved, repeated or selected
    "Reshape": OpSpec((D, P), Tie.SAME, copy=Copy.VIEW),
    "Flatten": OpSpec((D,), Tie.SAME, copy=Copy.VIEW),
    "Squeeze": OpSpec((D, P), Tie.SAME, copy=Copy.VIEW),
    "Unsqueeze": OpSpec((D, P), Tie.SAME, copy=Copy.VIEW),
    "Transpose": OpSpec((D,), Tie.SAME, copy=Copy.PLACED),
    "Slice": OpSpec((D, P), Tie.SAME, copy=Copy.PLACED),
    "Split": OpSpec((D, P), Tie.SAME, copy=Copy.PLACED),
    "Expand": OpSpec((D, P), Tie.SAME, copy=Copy.PLACED),
    "Tile": OpSpec((D, P), Tie.SAME, copy=Copy.PLACED),
    "Gather": OpSpec((D, P), Tie.SAME, copy=Copy.PLACED),
    "DepthToSpace": OpSpec((D,), Tie.SAME, copy=Copy.PLACED),
    "SpaceToDepth": OpSpec((D,), Tie.SAME, copy=Copy.PLACED),
    "Pad": OpSpec((D, P), Tie.SAME),
    "MaxPool": OpSpec((D,), Tie.SAME, pools=True),
    "GlobalMaxPool": OpSpec((D,), Tie.SAME, pools=True),
    "ReduceMax": OpSpec((D, P), Tie.SAME, pools=True),
    "ReduceMin": OpSpec((D, P), Tie.SAME, pools=True),
    "Resize": OpSpec((D, P), Tie.SAME),
}

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}

WEIGHTED = frozenset(op for op, row in OPS.items() if row.weighted)
CLAMPS = frozenset(op for op, row in OPS.items() if row.tie is Tie.CLAMP)
VIEWS = frozenset(op for op, row in OPS.items() if row.copy is Copy.VIEW)
COPIES = frozenset(op for op, row in OPS.items() if row.copy is not Copy.NONE)
POOLS = frozenset(op for op, row in OPS.items() if row.pools)
NO_OPS = frozenset({"Identity", "Dropout"})  # hand their input on; canonicalization removes them, so they have no row


def spec(node: Node) -> OpSpec | None:
    """The operator's row, None for an unknown operator or domain."""
    return OPS.get(node.key)


def inputs_with(node: Node, role: Role) -> tuple[int, ...]:
    """Indices of the given inputs of a node that have the role."""
    row = spec(node)
    return () if row is None else tuple(i for i, name in enumerate(node.inputs) if name and row.role(i) is role)


def weight_axis(node: Node, rank: int) -> int | None:
    """Output-channel axis of the weight, along which scales may differ; None where the operator has no such axis.

    ConvTranspose with several groups shares axis 1 between them, so it has none.
    """
    match node.key:
        case "Conv":
            return 0
        case "ConvTranspose":
            return 1 if node.attr("group", 1) == 1 else None
        case "Gemm":
            return 0 if node.attr("transB", 0) else 1
        case "MatMul":
            return rank - 1 if rank >= 2 else None
        case "LSTM" | "GRU" | "RNN" | "com.microsoft.Attention":
            return 1
    return None


def weight_gates(node: Node) -> int:
    """Equal parts of the weight's output-channel axis, the gates of a recurrent layer; 0 for one product."""
    return _GATES.get(node.key, 0)


def clamp_bounds(node: Node, graph: Graph) -> tuple[float, float] | None:
    """Interval to which a Relu or Clip cuts its input; None where a bound is not constant."""
    if node.op == "Relu":
        return (0.0, float("inf"))
    bounds = [float("-inf"), float("inf")]
    for i, key in enumerate(("min", "max")):
        if key in node.attributes:
            bounds[i] = float(node.attr(key))
        elif node.input(i + 1):
            array = graph.constant(node.input(i + 1))
            if array is None:
                return None
            bounds[i] = float(array.reshape(-1)[0])
    return (bounds[0], bounds[1])


def macs(node: Node, graph: Graph, shapes: Shapes) -> int:
    """Multiply-accumulates of one call; 0 for operators that only move or map values, or where a shape is unknown.

    Of a fused attention only those with its weight count: the products of its activations stay float, whatever the plan.
    """
    out, weight = shapes.get(next(filter(None, node.outputs), "")), _shape(node.input(1), graph, shapes)
    if out is None or weight is None:
        return 0
    match node.key:
        case "Conv":
            return prod(out) * prod(weight[1:])
        case "ConvTranspose":
            data = shapes.get(node.input(0))
            return 0 if data is None else prod(data) * prod(weight[1:])
        case "Gemm":
            return prod(out) * weight[1 if node.attr("transB", 0) else 0]
        case "MatMul":
            return prod(out) * (weight[-2] if len(weight) > 1 else weight[0])
        case "LSTM" | "GRU" | "RNN":
            data = shapes.get(node.input(0))
            rows = 0 if data is None else prod(data[:2])
            return rows * prod(weight[:2]) * (weight[2] + weight[1] // _GATES[node.key])
        case "com.microsoft.Attention":
            data = shapes.get(node.input(0))
            return 0 if data is None else prod(data) * weight[-1]
    return 0


def _shape(name: str, graph: Graph, shapes: Shapes) -> tuple[int, ...] | None:
    if name in graph.weights:
        return graph.weight_shape(name)
    return shapes.get(name)

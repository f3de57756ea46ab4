"""Integer operators as what they compute in real numbers: which inputs are operands, where scales and zero points stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Node
from ..ops import weight_axis
from .edges import read_codes
from .model import Params
from .walk import Real, UnliftableError, Walk, same_scale

Operand = tuple[int, int, int]  # places of value, scale and zero point


@dataclass(frozen=True, slots=True)
class IntegerOp:
    """One operator on codes.

    Attributes:
        op: the standard operator that it stands for.
        operands: of the float operator, in order.
        result: places of scale and zero point of the result, None where it is float.
        bias: place of a bias: int32 in the scale of the products, or float.
        plain: inputs that are no operands and come first.
        repeats: the operand repeats to the end of the inputs.
        dropped: attributes that the standard operator does not have.
    """

    op: str
    operands: tuple[Operand, ...]
    result: tuple[int, int] | None
    bias: int | None = None
    plain: tuple[int, ...] = ()
    repeats: bool = False
    dropped: tuple[str, ...] = ()

    def places(self, node: Node) -> tuple[Operand, ...]:
        """Places of all operands of a node."""
        if not self.repeats:
            return self.operands
        first = self.operands[0]
        return tuple((i, i + 1, i + 2) for i in range(first[0], len(node.inputs) - 2, 3))


def _pair(op: str, *dropped: str) -> IntegerOp:
    return IntegerOp(op, ((0, 1, 2),), (3, 4), dropped=dropped)


_TWO = ((0, 1, 2), (3, 4, 5))

INTEGER_OPS: dict[str, IntegerOp] = {
    "QLinearConv": IntegerOp("Conv", _TWO, (6, 7), bias=8),
    "QLinearMatMul": IntegerOp("MatMul", _TWO, (6, 7)),
    "QLinearAdd": IntegerOp("Add", _TWO, (6, 7)),
    "QLinearMul": IntegerOp("Mul", _TWO, (6, 7)),
    "QGemm": IntegerOp("Gemm", _TWO, (7, 8), bias=6),
    "QLinearSigmoid": _pair("Sigmoid"),
    "QLinearLeakyRelu": _pair("LeakyRelu"),
    "QLinearSoftmax": _pair("Softmax", "opset"),
    "QLinearAveragePool": _pair("AveragePool", "channels_last"),
    "QLinearGlobalAveragePool": _pair("GlobalAveragePool", "channels_last"),
    "QLinearReduceMean": _pair("ReduceMean"),
    "QLinearConcat": IntegerOp("Concat", ((2, 3, 4),), (0, 1), repeats=True),
    "QLinearWhere": IntegerOp("Where", ((1, 2, 3), (4, 5, 6)), (7, 8), plain=(0,)),
    "MatMulIntegerToFloat": IntegerOp("MatMul", ((0, 2, 4), (1, 3, 5)), None, bias=6),
}

# Operators that a float graph cannot spell without knowing more than their inputs.
MARKS = ("QLinear", "QAttention", "QEmbed", "QGemm", "QMoE", "DynamicQuantize", "MatMulInteger", "ConvInteger", "TRT_FP", "TRT_INT", "TRT_MXFP")  # fmt: skip
BLOCKS = frozenset({"MatMulNBits", "GatherBlockQuantized"})
PAIRS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def is_quantized(node: Node) -> bool:
    """Whether a node computes on codes or converts to or from them."""
    return (
        node.op in PAIRS | BLOCKS
        or node.op.startswith(MARKS)
        or any(is_quantized(n) for b in node.bodies for n in b.nodes)
    )


def lift_integer(walk: Walk, node: Node) -> None:
    """An integer operator becomes the float operator that it stands for."""
    known = INTEGER_OPS[node.op]
    if node.attr("channels_last", 0):
        raise UnliftableError("its channels are last")
    read = [_operand(walk, node, known, index, places) for index, places in enumerate(known.places(node))]
    inputs = [*(walk.value(node.input(i)) for i in known.plain), *(name for name, _ in read)]
    bias = node.input(known.bias) if known.bias is not None else ""
    apart = bool(bias) and known.op == "MatMul"  # which has no bias
    if bias and not apart:
        inputs.append(_bias(walk, bias, read))
    attributes = {key: item for key, item in node.attributes.items() if key not in known.dropped}
    output = walk.fresh(f"{node.output}/product") if apart else node.output
    walk.put(Node(known.op, tuple(inputs), (output,), attributes, node.name))
    if apart:
        walk.put(Node("Add", (output, walk.value(bias)), node.outputs, name=walk.fresh_node(f"{node.name}/bias")))
    if known.result is not None and node.input(known.result[0]):
        scale, zero = (node.input(i) for i in known.result)
        params = walk.params(walk.graph.type_of(zero).dtype or "uint8", scale, zero, None)
        walk.set_float(node.output, node.output)
        walk.codes[node.output] = Real(walk.saturated(node.output, params), params)


def _operand(walk: Walk, node: Node, known: IntegerOp, index: int, places: Operand) -> tuple[str, Params]:
    name, scale, zero = (node.input(i) for i in places)
    real = walk.codes.get(name)
    if real is not None and real.params is None:
        raise UnliftableError(f"the scale of `{name}` is measured at run time")
    kind = walk.graph.type_of(name)
    axis = weight_axis(Node(known.op, (), (), node.attributes), len(kind.shape or ())) if index == 1 else None
    params = walk.params(kind.dtype or (real.params.dtype if real and real.params else "uint8"), scale, zero, axis)
    if real is not None:
        same_scale(real, params, name)
        return real.name, params
    if name in walk.graph.weights:
        return walk.dequantized(name, params), params
    if name not in walk.graph.feeds:
        raise UnliftableError(f"nothing is known of the codes in `{name}`")
    result = walk.fresh(f"{name}/real")
    read_codes(walk, name, params, result)
    walk.codes[name] = Real(result, params)
    return result, params


def _bias(walk: Walk, name: str, read: list[tuple[str, Params]]) -> str:
    """int32 in the scale of the products, as float."""
    scale = read[0][1].scale.astype(np.float64) * read[1][1].scale
    return walk.constant(f"{name}/real", walk.array(name) * scale)

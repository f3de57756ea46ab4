"""Integer operators for ranges that are measured at run time."""

from __future__ import annotations

import numpy as np

from ..calibrate import QuantParams
from ..graph import Array, Edit, Graph, Node
from .constants import MICROSOFT, Constants

_LSTM_INPUTS = 8  # of the float operator, from the data to the peepholes
_OF_QATTENTION = frozenset({"num_heads", "unidirectional", "mask_filter_value", "scale"})


def dynamic_product(
    edit: Edit, constants: Constants, node: Node, params: QuantParams, shared: dict[str, tuple[str, ...]]
) -> list[Node]:
    """A MatMul or Gemm with an activation quantized at run time: DynamicQuantizeLinear, MatMulInteger, Cast, Mul (, Add).

    This is the form that onnxruntime fuses to DynamicQuantizeMatMul or MatMulIntegerToFloat.

    Args:
        params: symmetric int8 parameters of the weight, one scale a column or one in all.
        shared: activation to the outputs of its DynamicQuantizeLinear, so that several products share one.
    """
    nodes = _measured(edit, node.input(0), shared)
    codes, scale, zero = shared[node.input(0)]
    name = node.input(1)
    transpose = bool(node.attr("transB", 0)) if node.op == "Gemm" else False
    weight = constants.operand(name, params, "turned" if transpose else "own")
    weight_scale, weight_zero = constants.scale(params, name)
    biased = node.op == "Gemm" and bool(node.input(2))
    product, as_float, both = (edit.fresh(f"{node.output}/{part}") for part in ("int32", "float", "scale"))
    result = edit.fresh(f"{node.output}/product") if biased else node.output
    nodes += [
        Node(
            "MatMulInteger",
            (codes, weight, zero, weight_zero),
            (product,),
            name=edit.fresh_node(f"{node.name}/MatMulInteger"),
        ),
        Node("Cast", (product,), (as_float,), {"to": 1}, edit.fresh_node(f"{node.name}/Cast")),
        Node("Mul", (scale, weight_scale), (both,), name=edit.fresh_node(f"{node.name}/scale")),
        Node("Mul", (as_float, both), (result,), name=edit.fresh_node(f"{node.name}/rescale")),
    ]
    if biased:
        nodes.append(Node("Add", (result, node.input(2)), node.outputs, name=edit.fresh_node(f"{node.name}/bias")))
    return nodes


def _measured(edit: Edit, source: str, shared: dict[str, tuple[str, ...]]) -> list[Node]:
    """The DynamicQuantizeLinear of a value, where it has none yet."""
    if source in shared:
        return []
    shared[source] = tuple(edit.fresh(f"{source}/{part}") for part in ("q", "scale", "zero_point"))
    name = edit.fresh_node(f"{source}/DynamicQuantizeLinear")
    return [Node("DynamicQuantizeLinear", (source,), shared[source], name=name)]


def dynamic_attention(
    edit: Edit, constants: Constants, node: Node, params: QuantParams, shared: dict[str, tuple[str, ...]]
) -> list[Node]:
    """An Attention of com.microsoft with an activation quantized at run time: DynamicQuantizeLinear, QAttention.

    Args:
        params, shared: as for `dynamic_product`.
    """
    nodes = _measured(edit, node.input(0), shared)
    codes, scale, zero = shared[node.input(0)]
    weight_scale, weight_zero = constants.scale(params, node.input(1))
    weight, bias, mask, past = (constants.operand(node.input(1), params), *(node.input(i) for i in (2, 3, 4)))
    inputs = (codes, weight, bias, scale, weight_scale, mask, zero, weight_zero, past)
    plain = {key: value for key, value in node.attributes.items() if key in _OF_QATTENTION}
    return [*nodes, Node("QAttention", inputs, node.outputs, plain, node.name, MICROSOFT)]


def dynamic_lstm(constants: Constants, graph: Graph, node: Node, params: tuple[QuantParams, QuantParams]) -> Node:
    """An LSTM with its input and its state quantized at every step: DynamicQuantizeLSTM (com.microsoft).

    Args:
        params: symmetric int8 parameters of the input's and the state's weights [D, 4H, K], one scale a row or one in all.
    """
    directions = graph.weight_shape(node.inputs[1])[0]
    inputs = [*node.inputs, *[""] * (_LSTM_INPUTS - len(node.inputs))]
    for index, found in enumerate(params, 1):
        name = node.inputs[index]
        inputs[index] = constants.operand(name, found, "turned")
        scale, zero = (_by_direction(a, directions) for a in (found.scale, found.zero_point.astype(np.int8)))
        inputs += [constants.shared(scale, f"{name}/scale"), constants.shared(zero, f"{name}/zero_point")]
    plain = {key: value for key, value in node.attributes.items() if key != "layout"}
    return Node("DynamicQuantizeLSTM", tuple(inputs), node.outputs, plain, node.name, MICROSOFT)


def _by_direction(values: Array, directions: int) -> Array:
    """One scale a direction and row [D, 4H], or one a direction [D]."""
    return np.tile(values, (directions, 1)) if values.ndim else np.full(directions, values)

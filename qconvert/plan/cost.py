"""Predicted time of a call from its shapes: the target's cost rows applied to classes of calls. Nothing here measures."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..ops import Role, inputs_with, macs, spec
from ..targets.model import Cost, CostModel, CostRow
from .limits import Call
from .patterns import is_activation_product

_CLASS = {
    "Add": "elementwise",
    "Sub": "elementwise",
    "Mul": "elementwise",
    "Div": "elementwise",
    "Where": "elementwise",
    "Concat": "concat",
    "MaxPool": "max-pool",
    "AveragePool": "average-pool",
    "GlobalAveragePool": "global-pool",
    "ReduceMean": "global-pool",
    "Sigmoid": "table",
    "LeakyRelu": "table",
    "Softmax": "softmax",
    "Relu": "clamp",
    "Clip": "clamp",
    "Resize": "resize",
    "HardSwish": "function",
    "HardSigmoid": "function",
    "Tanh": "function",
    "Erf": "function",
    "Gelu": "function",
    "Exp": "function",
    "LayerNormalization": "normalization",
    "InstanceNormalization": "normalization",
    "BatchNormalization": "elementwise",
}
_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
_COPIES = {"Slice", "Split", "Expand", "Tile", "Gather", "Pad", "DepthToSpace", "SpaceToDepth"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted ns of one call in each form; None where the form does not exist for its class."""

    float_ns: float
    integer_ns: float | None
    dynamic_ns: float | None


def classify(call: Call) -> str:
    """Class of a call, the key of the cost rows: operators whose kernels share their speed."""
    node, weight = call.node, call.shape(1)
    match node.op:
        case "Conv":
            return _classify_conv(call, weight)
        case "Gemm":
            return "gemm"
        case "MatMul":
            return "batched-matmul" if is_activation_product(call.graph, node) else "gemm"
        case "Add" | "Mul" | "Sub" | "Div":
            shapes = [prod(call.shape(i)) for i in range(2)]
            return "elementwise" if shapes[0] == shapes[1] else "broadcast"
        case "Transpose":
            return "transpose" if len(call.out) <= 4 else "transpose-nd"
        case op if op in _VIEWS:
            return "view"
        case op if op in _COPIES:
            return "copy"
        case op:
            return _CLASS.get(op, "other")


def _classify_conv(call: Call, weight: tuple[int, ...]) -> str:
    if len(weight) < 3:
        return "conv"
    group = int(call.node.attr("group", 1))
    if group == 1:
        if weight[1] <= 4:
            return "conv-stem"
        return "conv-1x1" if prod(weight[2:]) == 1 else "conv"
    if weight[1] > 1:
        return "conv-grouped"
    return "conv-depthwise" if weight[0] % 16 == 0 else "conv-depthwise-odd"


def estimate(call: Call, model: CostModel) -> Estimate:
    """Predicted time of one call in float, in integers, and with dynamic ranges."""
    row = model.rows.get(classify(call)) or model.rows["other"]
    size = _size(call, row)
    return Estimate(
        _apply(row.float, size),
        None if row.integer is None else _apply(row.integer, size),
        None if row.dynamic is None else _apply(row.dynamic, size),
    )


@dataclass(frozen=True, slots=True)
class _Size:
    macs: float
    read: int
    written: int
    weights: int


def _size(call: Call, row: CostRow) -> _Size:
    node, graph = call.node, call.graph
    row_spec = spec(node)
    data = inputs_with(node, Role.DATA) if row_spec else range(len(node.inputs))
    read = sum(prod(call.shape(i)) for i in data if call.shape(i) and node.input(i) not in graph.weights)
    weights = prod(call.shape(1)) if row_spec and row_spec.weighted and call.shape(1) else 0
    written = sum(prod(call.shapes[o]) for o in node.outputs if o in call.shapes)
    return _Size(macs(node, graph, call.shapes) * _padding(call, row), read, written, weights)


def _padding(call: Call, row: CostRow) -> float:
    """Factor by which the kernel's channel blocks enlarge the work."""
    weight = call.shape(1)
    if len(weight) < 2 or row.pad_out == row.pad_in == 1:
        return 1.0
    if call.node.op == "Conv":
        out, inner = weight[0], prod(weight[1:])
    else:
        transposed = call.node.op == "Gemm" and call.node.attr("transB", 0)
        inner, out = (weight[-1], weight[-2]) if transposed else (weight[-2], weight[-1])
    return _up(out, row.pad_out) * _up(inner, row.pad_in) / (out * inner)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _apply(cost: Cost, size: _Size) -> float:
    return cost.fixed + cost.mac * size.macs + cost.read * size.read + cost.write * size.written + cost.weight * size.weights

"""What onnxruntime fuses to integer operators when it loads a graph with Q/DQ pairs, and why it does not where it does not.

Read in onnxruntime 1.31.1 (`core/optimizer/qdq_transformer`) and confirmed on optimized graphs. Copying operators (Reshape,
Transpose, MaxPool, ...) count as transparent: the runtime moves Q and DQ past them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..graph import Node
from ..ops import CLAMPS, Role, clamp_bounds, inputs_with, spec
from ..targets.onnxruntime_cpu import KERNELS
from .fusion import label
from .quantized import COMMUTING, QUANTIZE, Dequantize, Quantize, QuantizedView

# Operators that compute in 8 bits; QGemm, DynamicQuantizeMatMul and the like may still write float.
INTEGER = frozenset({
    "QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearWhere", "QLinearSigmoid",
    "QLinearLeakyRelu", "QLinearSoftmax", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearReduceMean",
    "QGemm", "QAttention", "NhwcMaxPool", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM", "MatMulNBits", "GatherBlockQuantized",
})  # fmt: skip

# Types of codes for which a DequantizeLinear in front of a product becomes MatMulNBits.
_FEW_BITS = frozenset({"int2", "uint2", "int4", "uint4", "int8", "uint8"})

# Operators that the runtime fuses although a plan does not ask for it.
_FUSED = {k.op for k in KERNELS} | {"Softmax", "Where", "Expand", "Tile", "GatherElements", "ReduceMax", "ReduceMin", "ArgMax", "DepthToSpace"}  # fmt: skip
_MODES = {k.op: limit.value for k in KERNELS for limit in k.limits if limit.name == "mode"}
_FLOAT_RESULT = frozenset({"Gemm", "MatMul", "ArgMax"})  # they need no Q behind them
QUANTIZED_AT_LOAD = frozenset({"Conv", "ConvTranspose", "Gemm"})  # WeightBiasQuantization
_EIGHT = ("int8", "uint8", None)


def why_float(view: QuantizedView, node: Node) -> str:
    """Why onnxruntime runs a node of a quantized graph in float; "" if it runs in integers."""
    if node.op in INTEGER:
        return ""
    if node.domain or node.op not in _FUSED:
        return f"onnxruntime has no integer kernel for {node.op}"
    if node.op in _MODES and node.attr("mode", "nearest") != _MODES[node.op]:
        return f"onnxruntime has no integer kernel for {node.op} with mode {node.attr('mode')}"
    data, weights = inputs_with(node, Role.DATA), inputs_with(node, Role.WEIGHT)
    operands = (*data, *weights) if spec(node) is not None else (0,)
    causes = (_operand_float(view, node.input(i), "weight" if i in weights else "input") for i in sorted(operands))
    found = next((cause for cause in causes if cause), "")
    return found or ("" if node.op in _FLOAT_RESULT else _result_float(view, node))


def becomes_nbits(view: QuantizedView, node: Node, dq: Dequantize) -> bool:
    """Whether a product and the DequantizeLinear of its constant weight become MatMulNBits, which reads the codes itself.

    DQMatMulToMatMulNBits in qdq_selectors.cc, confirmed on optimized graphs: the weight is [inputs, outputs] with scales a
    channel or blocks along the inputs, nobody else reads it, and a Gemm does nothing but add a row.
    """
    shape, bias = view.shape(dq.node.output) or (), view.shape(node.input(2)) if node.input(2) else None
    plain = all(
        node.attr(key, wanted) == wanted
        for key, wanted in (("transA", 0), ("transB", 0), ("alpha", 1.0), ("beta", 1.0))
    )
    row = bias is None or (len(bias) == 1 and len(shape) == 2 and bias[0] == shape[1])
    along = dq.params.axis in (0, -2) if dq.params.blocked else dq.params.axis in (None, 1, -1)
    fits = node.op in ("MatMul", "Gemm") and not node.domain and node.input(1) == dq.node.output and len(shape) == 2
    return fits and plain and row and along and dq.params.dtype in _FEW_BITS and len(dq.consumers) == 1


def _operand_float(view: QuantizedView, name: str, role: str) -> str:
    feed = view.feed(name)
    if feed is None:
        return f"its {role} `{name}` is float"
    if feed.dq.params.dtype not in _EIGHT:
        return f"its {role} `{name}` is {feed.dq.params.dtype}, the integer kernels take 8 bits"
    return ""


def _result_float(view: QuantizedView, node: Node) -> str:
    for out in (o for o in node.outputs if o):
        if out in view.graph.outputs:
            return f"its result `{out}` is a graph output that nothing quantizes"
        readers = list(view.sinks(out, lambda n: n.op in COMMUTING and not n.domain))
        loose = [n for n in readers if n.op not in QUANTIZE]
        if len(readers) == 1 and loose and loose[0].op in CLAMPS:
            if not clamp_vanishes(view, loose[0]):
                return f"`{label(loose[0])}` follows, and the quantized range of its result is wider than the clamp"
        elif loose:
            others = f" (it has {len(readers)} readers)" if len(readers) > 1 else ""
            return f"nothing quantizes its result `{out}` before `{label(loose[0])}` reads it{others}"
        elif wide := next((q for n in readers if (q := view.q(n.output)) and q.params.dtype not in _EIGHT), None):
            return f"its result `{out}` is {wide.params.dtype}, the integer kernels write 8 bits"
    return ""


def clamp_vanishes(view: QuantizedView, clamp: Node) -> bool:
    """Whether the range of the quantized result already clamps, so that the runtime drops a Relu or Clip."""
    readers = list(view.sinks(clamp.output, lambda n: n.op in COMMUTING))
    bounds = clamp_bounds(clamp, view.graph)
    if not readers or bounds is None or any(n.op not in QUANTIZE for n in readers):
        return False
    return all(_within(view.quantizes[n.output], bounds) for n in readers)


def _within(q: Quantize, bounds: tuple[float, float]) -> bool:
    if q.params.scale is None or q.params.scale.size != 1 or q.params.dtype not in ("int8", "uint8"):
        return False
    scale, zero = (
        float(q.params.scale.ravel()[0]),
        0 if q.params.zero_point is None else int(q.params.zero_point.ravel()[0]),
    )
    info = np.iinfo(q.params.dtype)
    return scale * (info.min - zero) >= bounds[0] and scale * (info.max - zero) <= bounds[1]


def float_regions(
    nodes: Sequence[Node], accept: Callable[[Node], bool], through: Callable[[Node], bool]
) -> list[list[Node]]:
    """Accepted nodes grouped by direct connection, also through nodes that `through` lets pass but that are not listed."""
    group: dict[str, int] = {}
    members: dict[int, list[Node]] = {}
    for i, node in enumerate(nodes):
        if not (accepted := accept(node)) and not through(node):
            continue
        joined = {group[name] for name in node.reads if name in group}
        home = min(joined, default=i)
        for other in joined - {home}:
            members[home] = members.get(home, []) + members.pop(other, [])
            group.update((name, home) for name, g in group.items() if g == other)
        members.setdefault(home, []).extend([node] if accepted else [])
        group.update((out, home) for out in node.outputs if out)
    place = {id(node): i for i, node in enumerate(nodes)}
    return [sorted(found, key=lambda n: place[id(n)]) for _, found in sorted(members.items()) if found]

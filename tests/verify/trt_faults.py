"""For each finding of the TensorRT validator one small graph that deserves it and a near one that does not."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
from trt_build import FP8, INT4, Net
from trt_models import resnet, transformer

from qconvert.graph import Graph, Node, infer_types


def bias(int32: bool) -> Graph:
    net = Net()
    x, w = net.pair(net.input(1, 32, 8, 8)), net.folded((32, 32, 3, 3), 0)
    b = net.const(np.zeros(32, np.int32 if int32 else np.float32), "b")
    b = net.op("DequantizeLinear", b, net.const(np.full(32, 0.001, np.float32)), name="bias_dq", axis=0) if int32 else b
    return net.graph(net.op("Conv", x, w, b, name="conv"))


def activation_type(dtype: type, zero: int = 0, omit: bool = False) -> Graph:
    net = Net()
    x = net.input(1, 32, 8, 8)
    if not omit:
        return net.graph(net.conv(net.pair(x, dtype=dtype, zero=zero, name="act"), 32, 32))
    s = net.const(np.float32(0.1))
    q = net.op("QuantizeLinear", x, s, name="act_q")
    return net.graph(net.conv(net.op("DequantizeLinear", q, s, name="act_dq"), 32, 32))


def scale(value: float, float_type: type = np.float32) -> Graph:
    net = Net()
    x = net.pair(net.input(1, 32, 8, 8, dtype=np.dtype(float_type).name), value, float_type=float_type, name="act")
    w = net.folded((32, 32, 3, 3), 0, float_type=float_type)
    return net.graph(net.op("Conv", x, w, name="conv"))


def weight_axis(op: str, axis: int, **attributes: int) -> Graph:
    net = Net()
    shape = {"Conv": (32, 48, 3, 3), "ConvTranspose": (48, 32, 3, 3), "Gemm": (48, 32), "MatMul": (48, 32)}[op]
    shape = shape[::-1] if attributes.get("transB") else shape
    x = net.pair(net.input(*((4, 48, 8, 8) if op.startswith("Conv") else (4, 48))))
    return net.graph(net.op(op, x, net.folded(shape, axis), name="op", **attributes))


def transposed_weight(axis: int) -> Graph:
    net = Net()
    w = net.op("Transpose", net.folded((32, 48), axis), perm=(1, 0))
    return net.graph(net.op("MatMul", net.pair(net.input(4, 48)), w, name="op"))


def unwritten_axis(written: bool) -> Graph:
    graph = weight_axis("MatMul", 1)
    nodes = [
        n.with_(attributes={}) if n.op == "DequantizeLinear" and "w" in n.name and not written else n
        for n in graph.nodes
    ]
    return graph.with_(nodes=tuple(nodes))


def activation_channels(many: bool) -> Graph:
    net = Net()
    x = net.input(1, 32, 8, 8)
    x = net.pair(x, np.full(32, 0.1), axis=1, name="act") if many else net.pair(x, name="act")
    return net.graph(net.conv(x, 32, 32))


def integer_op(op: str, domain: str = "") -> Graph:
    net = Net()
    x = net.input(1, 32, 8, 8, dtype="uint8")
    return net.graph(net.op(op, x, net.const(np.ones((32, 32, 3, 3), np.uint8)), name="op", domain=domain), infer=False)


def opset(version: int, dtype: type = np.int8, float_type: type = np.float32) -> Graph:
    net = Net(version)
    x = net.pair(net.input(4, 64, dtype=np.dtype(float_type).name), 0.1, dtype=dtype, float_type=float_type)
    return net.graph(
        net.op("MatMul", x, net.folded((64, 32), 1, dtype=dtype, float_type=float_type), name="op"), infer=False
    )


def blocks(
    size: int, axis: int = 0, dtype: type = INT4, shape: tuple[int, int] = (128, 64), op: str = "MatMul"
) -> Graph:
    net = Net(23)
    data = net.const(np.ones(shape, dtype), "w")
    scales = tuple(-(-d // size) if i == axis else d for i, d in enumerate(shape))
    s = net.const(np.full(scales, 0.1, np.float32))
    w = net.op("DequantizeLinear", data, s, name="w_dq", axis=axis, block_size=size)
    x = net.input(4, shape[0])
    return net.graph(net.op(op, x if dtype is INT4 else net.pair(x, dtype=dtype), w, name="op"), infer=False)


def run_time(scale_too: bool, weight_too: bool) -> Graph:
    net = Net()
    x = net.pair(net.input(1, 32, 8, 8))
    w = net.pair(net.input(32, 32, 3, 3, name="w")) if weight_too else net.folded((32, 32, 3, 3), 0)
    y = net.op("Conv", x, w, name="conv")
    s = net.op("ReduceMax", y, keepdims=0) if scale_too else net.const(np.float32(0.1))
    q = net.op("QuantizeLinear", y, s, net.const(np.int8(0)), name="late_q")
    y = net.op("DequantizeLinear", q, s, net.const(np.int8(0)), name="late_dq")
    return net.graph(net.conv(y, 32, 32))


def half(cast: bool, scales: type) -> Graph:
    net = Net()
    x = net.input(1, 32, 8, 8, dtype="float16" if cast else "float32")
    x = net.op("Cast", x, to=1) if cast else net.op("Relu", x)
    x = net.op("Cast", net.op("Exp", x, name="exp"), to=10)
    y = net.op("Conv", net.pair(x, float_type=scales), net.folded((32, 32, 3, 3), 0, float_type=scales), name="conv")
    return net.graph(y)


def embedding(scales: type) -> Graph:
    net = Net()
    y = net.op(
        "Gather",
        net.const(np.ones((100, 64), scales), "table"),
        net.input(1, 8, name="ids", dtype="int64"),
        name="embed",
    )
    return net.graph(net.op("Relu", y))


def half_quantized(weights: bool, data: bool, shared: bool = False) -> Graph:
    net = Net()
    x = net.input(1, 32, 8, 8)
    x = net.pair(x) if data else x
    y = net.conv(x, 32, 32, int8=weights, name="conv")
    return net.graph(y, *([net.conv(x, 32, 32, name="other")] if shared else []))


def before(op: str, between: bool) -> Graph:
    net = Net()
    y = net.conv(net.pair(net.input(1, 32, 8, 8)), 32, 32, name="layer")
    y = net.pair(y, name="mid") if between else y
    extra = {
        "BatchNormalization": [net.const(np.ones(32, np.float32)) for _ in range(4)],
        "Clip": [net.const(np.float32(0)), net.const(np.float32(6))],
    }
    y = net.op("Mul", y, net.op("Sigmoid", y)) if op == "SiLU" else net.op(op, y, *extra.get(op, []))
    return net.graph(net.conv(y if between else net.pair(y), 32, 32))


def before_bias(between: bool) -> Graph:
    net = Net()
    y = net.op("MatMul", net.pair(net.input(4, 32)), net.folded((32, 64), 1), name="layer")
    y = net.pair(y, name="mid") if between else y
    y = net.op("Add", y, net.const(np.ones(64, np.float32)), name="bias")
    return net.graph(net.dense(net.pair(y), 64, 32))


def inside_silu(between: bool) -> Graph:
    net = Net()
    y = net.conv(net.pair(net.input(1, 32, 8, 8)), 32, 32, name="layer")
    s = net.op("Sigmoid", y)
    y = net.op("Mul", y, net.pair(s, name="mid") if between else s)
    return net.graph(net.conv(net.pair(y), 32, 32))


def shared_before_activation() -> Graph:
    """A conv result that goes to an activation and to a skip input: the pair is the skip's own."""
    net = Net()
    y = net.conv(net.pair(net.input(1, 32, 8, 8)), 32, 32, name="layer")
    z = net.conv(net.pair(net.op("Relu", y)), 32, 32, name="branch")
    y = net.op("Relu", net.op("Add", z, net.pair(y, 0.2), name="add"))
    return net.graph(net.conv(net.pair(y), 32, 32))


def add(conv: bool, skip: bool, both_convs: bool = False, after: bool = True) -> Graph:
    net = Net()
    x = net.input(1, 32, 8, 8)
    p = net.pair(x)
    a = net.op("Relu", net.conv(p, 32, 32))
    a = net.conv(net.pair(a), 32, 32, name="long")
    b = net.conv(p, 32, 32, 1, name="short") if both_convs else x
    b = (net.pair(b, 0.3) if both_convs else p) if skip else b
    y = net.op("Relu", net.op("Add", net.pair(a, 0.2) if conv else a, b, name="add"))
    return net.graph(net.conv(net.pair(y), 32, 32)) if after else net.graph(y)


def small(cin: int, cout: int, k: int = 3, group: int = 1, *, first: bool = True, int8: bool = True) -> Graph:
    net = Net()
    x = net.input(1, cin, 16, 16)
    x = net.pair(x if first else net.op("Relu", x)) if int8 else x
    return net.graph(net.conv(x, cin, cout, k, group, int8=int8, name="conv"))


def matrix(rows: int | str, n_in: int, n_out: int) -> Graph:
    net = Net()
    return net.graph(net.dense(net.pair(net.input(rows, n_in)), n_in, n_out, name="dense"))


def pool(after: bool, shared: bool = False, op: str = "GlobalAveragePool") -> Graph:
    net = Net()
    x = net.pair(net.op("Relu", net.conv(net.pair(net.input(1, 32, 8, 8)), 32, 32)))
    y = net.op(op, x, name="pool")
    y = net.conv(net.pair(y), 32, 32, 1) if after else net.op("Exp", y)
    return net.graph(y, *([net.conv(x, 32, 32)] if shared else []))


def output(pair: bool, reshape: bool = False, shared: bool = False) -> Graph:
    net = Net()
    y = net.op("Relu", net.conv(net.pair(net.input(1, 32, 8, 8)), 32, 32))
    y = net.pair(y, name="last") if pair else y
    z = net.conv(y if pair else net.pair(y), 32, 32) if shared else ""
    y = net.op("Flatten", y) if reshape else y
    return net.graph(y, *([z] if shared else []))


def concat(first: float, second: float, behind: float | None) -> Graph:
    net = Net()
    x = net.pair(net.input(1, 32, 8, 8))
    parts = [net.pair(net.op("Relu", net.conv(x, 32, 32)), s) for s in (first, second)]
    y = net.op("Concat", *parts, axis=1, name="cat")
    y = net.op("Exp", y) if behind is None else net.pair(y, behind) if behind else y
    return net.graph(net.conv(y, 64, 32) if behind is not None else y)


def twice(between: str, second: float) -> Graph:
    net = Net()
    y = net.pair(net.op("Relu", net.conv(net.pair(net.input(1, 32, 8, 8)), 32, 32)), 0.1)
    y = net.op("MaxPool", y, kernel_shape=(2, 2)) if between == "MaxPool" else net.op(between, y) if between else y
    return net.graph(net.conv(net.pair(y, second, name="again"), 32, 32))


def attention(
    *,
    scale_after: bool = False,
    move: str = "",
    length: int = 64,
    head: int = 32,
    dtype: type = np.int8,
    int8: bool = True,
) -> Graph:
    net = Net()
    q, k, v = (
        net.input(1, 2, *((head, length) if n == "k" and move != "Transpose" else (length, head)), name=n)
        for n in "qkv"
    )
    wrap = (lambda t: net.pair(t, dtype=dtype)) if int8 else (lambda t: t)
    k = net.op("Transpose", wrap(k), perm=(0, 1, 3, 2), name="move") if move == "Transpose" else wrap(k)
    k = net.op("Cast", k, to=1, name="move") if move == "Cast" else k
    s = net.op("MatMul", wrap(q), k, name="bmm1")
    s = net.op("Mul", s, net.const(np.float32(0.2)), name="scaling") if scale_after else s
    mask = net.input(1, 1, length, length, name="mask")
    p = net.op("Softmax", net.op("Add", s, mask), axis=-1)
    return net.graph(net.op("MatMul", wrap(p), wrap(v), name="bmm2"))


def island(cout: int, float_before: bool) -> Graph:
    net = Net()
    x = net.input(1, 32, 32, 32)
    x = net.conv(x if float_before else net.pair(x), 32, 32, int8=not float_before)
    y = net.conv(net.pair(net.op("Relu", x)), 32, cout, 3, name="alone")
    return net.graph(net.op("Relu", net.conv(y, cout, 32, int8=False)))


def in_body() -> Graph:
    """An If whose branch has a wrong zero point."""
    inner = Net()
    inner.opset = 21
    body = inner.graph(inner.pair("x", zero=3, name="inner"), infer=False)
    net = Net()
    net.input(1, 32, name="x")
    net.input(name="cond", dtype="bool")
    net.nodes.append(Node("If", ("cond",), ("y",), {"then_branch": body, "else_branch": body}, "if"))
    return net.graph("y", infer=False)


Case = tuple[str, str, Callable[[], Graph], Callable[[], Graph]]

# code, node that the finding names, a graph with it, a graph without it
CASES: list[Case] = [
    ("C001", "bias_dq", lambda: bias(True), lambda: bias(False)),
    ("C002", "act_q", lambda: activation_type(np.uint8), lambda: activation_type(np.int8)),
    ("C002", "act_q", lambda: activation_type(np.int16), lambda: activation_type(FP8)),
    ("C002", "act_q", lambda: activation_type(np.int8, omit=True), lambda: activation_type(np.int8)),
    ("C002", "act_q", lambda: activation_type(ml_dtypes.float8_e5m2), lambda: activation_type(FP8)),
    ("C003", "act_q", lambda: activation_type(np.uint8, 128), lambda: activation_type(np.uint8)),
    ("C003", "act_q", lambda: activation_type(np.int8, 3), lambda: activation_type(np.int8)),
    ("C003", "inner_q", in_body, lambda: bias(False)),
    ("C004", "act_q", lambda: scale(0.0), lambda: scale(0.1)),
    ("C004", "act_q", lambda: scale(-0.1), lambda: scale(1e-30)),
    ("C004", "act_q", lambda: scale(float("nan")), lambda: scale(1e-7)),
    ("C004", "act_q", lambda: scale(float("inf")), lambda: scale(6e4)),
    ("C004", "act_q", lambda: scale(1e-5, np.float16), lambda: scale(1e-4, np.float16)),
    ("C005", "op", lambda: weight_axis("Conv", 1), lambda: weight_axis("Conv", 0)),
    ("C005", "op", lambda: weight_axis("ConvTranspose", 0), lambda: weight_axis("ConvTranspose", 1)),
    ("C005", "op", lambda: weight_axis("Gemm", 1, transB=1), lambda: weight_axis("Gemm", 0, transB=1)),
    ("C005", "op", lambda: weight_axis("Gemm", 0), lambda: weight_axis("Gemm", 1)),
    ("C005", "op", lambda: weight_axis("MatMul", 0), lambda: weight_axis("MatMul", -1)),
    ("C005", "op", lambda: transposed_weight(1), lambda: transposed_weight(0)),
    ("C005", "act_q", lambda: activation_channels(True), lambda: activation_channels(False)),
    ("C005", "w2_dq", lambda: unwritten_axis(False), lambda: unwritten_axis(True)),
    ("C006", "op", lambda: integer_op("ConvInteger"), lambda: integer_op("Conv")),
    ("C006", "op", lambda: integer_op("QLinearConv"), lambda: integer_op("Relu")),
    ("C006", "op", lambda: integer_op("QLinearAdd", "com.microsoft"), lambda: integer_op("Gelu", "com.microsoft")),
    ("C007", "w2_dq", lambda: opset(11), lambda: opset(13)),
    ("C007", "x_p0_q", lambda: opset(17, FP8), lambda: opset(19, FP8)),
    ("C007", "x_p0_q", lambda: opset(17, np.int8, np.float16), lambda: opset(19, np.int8, np.float16)),
    ("C007", "w_dq", lambda: blocks(64).with_(opsets={"": 19}), lambda: blocks(64)),
    ("C008", "w_dq", lambda: blocks(32), lambda: blocks(64)),
    ("C008", "w_dq", lambda: blocks(64, dtype=np.int8), lambda: blocks(128)),
    ("C008", "w_dq", lambda: blocks(64, shape=(100, 64)), lambda: blocks(64, shape=(192, 64))),
    ("C008", "op", lambda: blocks(64, axis=1), lambda: blocks(64, axis=0)),
    ("C008", "w_dq", lambda: blocks(64, shape=(128, 33)), lambda: blocks(64, shape=(128, 34))),
    ("C008", "act_q", lambda: activation_type(INT4), lambda: activation_type(np.int8)),
    ("C009", "late_q", lambda: run_time(True, False), lambda: run_time(False, False)),
    ("C009", "conv", lambda: run_time(False, True), lambda: run_time(False, False)),
    ("C101", "conv", lambda: half_quantized(True, False), lambda: half_quantized(True, True)),
    ("C101", "conv", lambda: half_quantized(False, True), lambda: half_quantized(False, False)),
    ("C101", "conv", lambda: half_quantized(False, True), lambda: half_quantized(False, True, shared=True)),
    ("C102", "mid_q", lambda: before("Relu", True), lambda: before("Relu", False)),
    ("C102", "mid_q", lambda: before("Clip", True), lambda: before("Clip", False)),
    ("C102", "mid_q", lambda: before("LeakyRelu", True), lambda: before("LeakyRelu", False)),
    ("C102", "mid_q", lambda: before("BatchNormalization", True), lambda: before("BatchNormalization", False)),
    ("C102", "mid_q", lambda: before("SiLU", True), lambda: before("SiLU", False)),
    ("C102", "mid_q", lambda: before_bias(True), lambda: before_bias(False)),
    ("C102", "mid_q", lambda: inside_silu(True), lambda: inside_silu(False)),
    ("C102", "mid_q", lambda: before("Relu", True), shared_before_activation),
    ("C103", "add", lambda: add(True, True), lambda: add(False, True)),
    ("C103", "add", lambda: add(True, False), lambda: add(False, True)),
    ("C103", "add", lambda: add(True, True, both_convs=True), lambda: add(True, False, both_convs=True)),
    ("C103", "add", lambda: add(True, True, both_convs=True), lambda: add(False, True, both_convs=True)),
    ("C104", "add", lambda: add(False, False), lambda: add(False, True)),
    ("C104", "add", lambda: add(False, False, both_convs=True), lambda: add(True, False, both_convs=True)),
    ("C104", "add", lambda: add(False, False), lambda: add(False, False, after=False)),
    ("C105", "conv", lambda: small(3, 12), lambda: small(3, 32)),
    ("C105", "conv", lambda: small(12, 12, group=12), lambda: small(24, 24, group=24)),
    ("C105", "conv", lambda: small(8, 8, first=False), lambda: small(8, 16, first=False)),
    ("C105", "conv", lambda: small(3, 12), lambda: small(3, 12, int8=False)),
    ("C105", "dense", lambda: matrix(1, 64, 64), lambda: matrix(8, 64, 64)),
    ("C105", "dense", lambda: matrix(8, 64, 10), lambda: matrix("batch", 64, 100)),
    ("C106", "pool", lambda: pool(False), lambda: pool(True)),
    ("C106", "pool", lambda: pool(False), lambda: pool(False, shared=True)),
    ("C107", "last_q", lambda: output(True), lambda: output(False)),
    ("C107", "last_q", lambda: output(True, reshape=True), lambda: output(True, shared=True)),
    ("C108", "cat", lambda: concat(0.1, 0.2, 0.2), lambda: concat(0.2, 0.2, 0.2)),
    ("C108", "cat", lambda: concat(0.2, 0.2, 0.3), lambda: concat(0.1, 0.2, None)),
    ("C108", "cat", lambda: concat(0.1, 0.2, 0), lambda: concat(0.2, 0.2, 0)),
    ("C109", "again_q", lambda: twice("", 0.1), lambda: twice("MaxPool", 0.1)),
    ("C109", "again_q", lambda: twice("MaxPool", 0.2), lambda: twice("Relu", 0.2)),
    ("C110", "scaling", lambda: attention(scale_after=True), attention),
    ("C110", "move", lambda: attention(move="Transpose"), attention),
    ("C110", "move", lambda: attention(move="Cast"), lambda: attention(scale_after=True, int8=False)),
    ("C111", "bmm1", lambda: attention(length=640), lambda: attention(length=512)),
    ("C111", "bmm1", lambda: attention(head=8, dtype=FP8), lambda: attention(head=64, length=640, dtype=FP8)),
    ("C112", "alone", lambda: island(32, True), lambda: island(32, False)),
]  # fmt: skip

# The same for `precision="float16"`.
HALF_CASES: list[Case] = [
    ("C010", "conv", lambda: half(True, np.float32), lambda: half(True, np.float16)),
    ("C010", "relu0", lambda: half(False, np.float16), lambda: half(True, np.float16)),
    ("C010", "stem", lambda: infer_types(resnet(False)), lambda: half(True, np.float16)),
    ("C010", "embed", lambda: embedding(np.float32), lambda: embedding(np.float16)),
    ("C010", "ln1", transformer, lambda: half(True, np.float16)),
]

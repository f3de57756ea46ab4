"""Gradients against differences of the runtime, operator by operator, and of whole small models."""

from __future__ import annotations

import numpy as np
import pytest
from quantize_support import random, text_model

from qconvert.graph import Graph, TensorType
from qconvert.optimize.sensitivity.adjoint import Adjoint
from qconvert.optimize.sensitivity.tape import start
from qconvert.runtime import opened

CASES = {
    "conv": ("y = Conv<pads=[1,1,1,1]>(x, w)", {"w": random(6, 4, 3, 3)}),
    "conv strided": ("y = Conv<pads=[1,1,0,0], strides=[2,2]>(x, w)", {"w": random(6, 4, 3, 3)}),
    "conv same": ("y = Conv<auto_pad=\"SAME_UPPER\", strides=[2,2]>(x, w)", {"w": random(6, 4, 3, 3)}),
    "pool same": ("y = AveragePool<auto_pad=\"SAME_LOWER\", kernel_shape=[2,2], strides=[2,2], count_include_pad=1>(x)", {}),
    "conv dilated": ("y = Conv<dilations=[2,2]>(x, w)", {"w": random(6, 4, 2, 2)}),
    "depthwise": ("y = Conv<group=4, pads=[1,1,1,1]>(x, w)", {"w": random(4, 1, 3, 3)}),
    "depthwise strided": ("y = Conv<group=4, pads=[1,1,1,1], strides=[2,2]>(x, w)", {"w": random(4, 1, 3, 3)}),
    "grouped": ("y = Conv<group=2, pads=[1,1,1,1]>(x, w)", {"w": random(6, 2, 3, 3)}),
    "transposed": ("y = ConvTranspose<strides=[2,2], output_padding=[1,1]>(x, w)", {"w": random(4, 3, 3, 3)}),
    "add channel": ("y = Add(x, c)", {"c": random(1, 4, 1, 1)}),
    "mul broadcast": ("z = GlobalAveragePool(x)\n y = Mul(x, z)", {}),
    "div": ("z = Exp(x)\n s = ReduceSum<keepdims=1>(z, a)\n y = Div(z, s)", {"a": np.array([1], dtype=np.int64)}),
    "sub": ("z = ReduceMax<axes=[3], keepdims=1>(x)\n y = Sub(x, z)", {}),
    "swish": ("s = Sigmoid(x)\n y = Mul(x, s)", {}),
    "hard swish": ("y = HardSwish(x)", {}),
    "hard sigmoid": ("y = HardSigmoid<alpha=0.3>(x)", {}),
    "leaky": ("y = LeakyRelu<alpha=0.2>(x)", {}),
    "clip": ("y = Clip(x, lo, hi)", {"lo": np.float32(-0.5), "hi": np.float32(0.7)}),
    "tanh": ("y = Tanh(x)", {}),
    "softplus": ("y = Softplus(x)", {}),
    "erf gelu": ("e = Erf(x)\n y = Mul(x, e)", {}),
    "power": ("z = Abs(x)\n q = Add(z, one)\n y = Pow(q, p)", {"p": np.float32(1.5), "one": np.float32(1.0)}),
    "root": ("z = Mul(x, x)\n q = Add(z, one)\n r = Sqrt(q)\n y = Reciprocal(r)", {"one": np.float32(1.0)}),
    "softmax": ("y = Softmax<axis=1>(x)", {}),
    "log softmax": ("y = LogSoftmax<axis=1>(x)", {}),
    "layer norm": ("y = LayerNormalization<axis=3>(x, g)", {"g": random(5)}),
    "max pool": ("y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)", {}),
    "average pool": ("y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x)", {}),
    "global max": ("y = GlobalMaxPool(x)", {}),
    "mean": ("y = ReduceMean<axes=[2,3], keepdims=0>(x)", {}),
    "norm": ("y = ReduceL2<axes=[1], keepdims=1>(x)", {}),
    "concat": ("z = Relu(x)\n y = Concat<axis=1>(x, z)", {}),
    "split": ("a, b = Split<axis=1>(x, s)\n y = Mul(a, b)", {"s": np.array([2, 2], dtype=np.int64)}),
    "slice": ("y = Slice(x, s, e, a, t)", {"s": np.array([1]), "e": np.array([6]), "a": np.array([2]), "t": np.array([2])}),
    "gather": ("y = Gather<axis=1>(x, i)", {"i": np.array([0, 2, 2], dtype=np.int64)}),
    "transpose": ("z = Transpose<perm=[0,2,3,1]>(x)\n y = MatMul(z, w)", {"w": random(4, 3)}),
    "products": ("z = Transpose<perm=[0,1,3,2]>(x)\n y = MatMul(x, z)", {}),
    "gemm": ("z = Flatten(x)\n y = Gemm<transB=1, alpha=0.5>(z, w)", {"w": random(3, 120)}),
    "pad": ("y = Pad(x, p)", {"p": np.array([0, 0, 1, 1, 0, 0, 1, 0], dtype=np.int64)}),
    "resize": ("y = Resize<mode=\"nearest\">(x, none, k)", {"none": np.zeros(0, dtype=np.float32), "k": np.array([1, 1, 2, 2], dtype=np.float32)}),
    "resize linear": ("y = Resize<mode=\"linear\">(x, none, k)", {"none": np.zeros(0, dtype=np.float32), "k": np.array([1, 1, 2, 1.6], dtype=np.float32)}),
    "resize to corners": ("y = Resize<mode=\"linear\", coordinate_transformation_mode=\"align_corners\">(x, none, none, k)", {"none": np.zeros(0, dtype=np.float32), "k": np.array([1, 4, 3, 9], dtype=np.int64)}),
    "instance norm": ("y = InstanceNormalization(x, g, b)", {"g": random(4), "b": random(4, seed=1)}),
    "mish": ("y = Mish(x)", {}),
    "selu": ("y = Selu(x)", {}),
    "celu": ("y = Celu<alpha=0.7>(x)", {}),
    "softsign": ("y = Softsign(x)", {}),
    "thresholded": ("y = ThresholdedRelu<alpha=0.3>(x)", {}),
    "log of sum": ("y = ReduceLogSumExp<axes=[1], keepdims=1>(x)", {}),
    "sum of squares": ("y = ReduceSumSquare<axes=[2], keepdims=0>(x)", {}),
    "sum of sizes": ("y = ReduceL1<axes=[1], keepdims=1>(x)", {}),
    "mean of two": ("z = Relu(x)\n y = Mean(x, z)", {}),
    "pick": ("y = GatherElements<axis=1>(x, i)", {"i": np.array([[[[1, 0, 3, 3, 2]]]], dtype=np.int64)}),
    "expand": ("z = GlobalAveragePool(x)\n y = Expand(z, s)", {"s": np.array([1, 4, 2, 3], dtype=np.int64)}),
    "depth": ("y = DepthToSpace<blocksize=2>(x)", {}),
    "where": ("c = Greater(x, zero)\n z = Neg(x)\n y = Where(c, x, z)", {"zero": np.float32(0.2)}),
    "max": ("z = Neg(x)\n y = Max(x, z)", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_slope_of_the_output(name: str) -> None:
    body, weights = CASES[name]
    graph = text_model(
        f"(float[1,4,6,5] x) => (float y) {{ {body} }}", opset=18 if "axes" not in body else 13, **weights
    )
    x = random(1, 4, 6, 5, seed=3)
    gradient, run, v = _gradient(graph, x)
    direction = random(1, 4, 6, 5, seed=9).astype(np.float64)
    step = 1e-3
    ahead, behind = (run((x + s * step * direction).astype(np.float32)) for s in (1, -1))
    slope = float((v * (ahead - behind)).sum()) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=0.03, abs=0.03)


def _gradient(graph: Graph, x):  # type: ignore[no-untyped-def]
    tape = start(graph, {"x": x})
    adjoint = Adjoint(tape, {"x"}, {"y": "v"})
    name = adjoint.gradient("x")
    assert name is not None
    assert not adjoint.blocked
    whole = tape.finished({"v": TensorType("float32", tape.shapes["y"])}, (name,))
    v = random(*tape.shapes["y"], seed=5)
    with opened(whole.with_(opsets={"": 18} if graph.opset >= 18 else graph.opsets)) as session:
        gradient = session.run({"x": x, "v": v})[name]
    with opened(graph) as session:
        pass
    return gradient, lambda value: session.run({"x": value})["y"].astype(np.float64), v


def test_an_operator_without_a_rule_blocks_and_is_named() -> None:
    graph = text_model(
        "(float[1,4,6,5] x) => (float y) { z = Relu(x)\n s = CumSum(z, a)\n y = Neg(s) }", a=np.array(1, dtype=np.int64)
    )
    tape = start(graph, {"x": random(1, 4, 6, 5)})
    adjoint = Adjoint(tape, {"z"}, {"y": "v"})
    assert [node.op for node in adjoint.blocked] == ["CumSum"]
    assert adjoint.gradient("z") is None

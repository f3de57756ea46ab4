"""What is inside of quantized files: the float network, its ranges and its codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lift_support import by_onnxruntime, images, outputs, sqnr
from quantize_support import X86, feeds_of, quantized, random, text_model

from qconvert.calibrate import constant_params, quantize
from qconvert.calibrate.params import QuantParams
from qconvert.errors import QConvertError
from qconvert.graph import Array, Graph, Node, load
from qconvert.lift import is_quantized, lift
from qconvert.plan import WeightPlan
from qconvert.targets.formats import Format

S8 = Format("int8", symmetric=True, narrow=True)
SCALES = {"s": np.float32(0.05), "z": np.uint8(0), "zm": np.uint8(128), "zs": np.int8(0)}


@pytest.mark.parametrize("activation", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_files_of_onnxruntime_hold_the_network_that_they_came_from(tmp_path: Path, form: str, activation: str) -> None:
    given_file = load(by_onnxruntime(tmp_path, form, activation))
    lifted, feeds = lift(given_file), images(4)
    assert not any(is_quantized(node) for node in lifted.graph.nodes)
    real, quantized_, float_ = (outputs(g, feeds) for g in (lifted.graph, given_file, load(tmp_path / "float.onnx")))
    assert sqnr(float_, real) > 35  # weights are rounded, activations are not
    assert sqnr(quantized_, real) > 25
    assert [n.op for n in lifted.graph.nodes].count("Relu") == 2, "the quantizer let them vanish into zero points"


def test_values_of_integer_operators_have_the_names_of_the_float_model(tmp_path: Path) -> None:
    lifted = lift(load(by_onnxruntime(tmp_path, "QOperator")))
    float_names = set(load(tmp_path / "float.onnx").values())
    assert {"c1", "c2", "p", "f"} <= set(lifted.graph.values()) & float_names
    assert {"x", "p", "f", "y"} <= lifted.spans.keys() & float_names
    assert not [name for name in (*lifted.graph.values(), *lifted.spans) if "_quantized" in name and "w" not in name]


def test_a_name_that_is_taken_is_not_given_twice() -> None:
    text = """(float[1,4] x) => (float[1,4] y) {
        x_quantized = QuantizeLinear(x, s, zm)
        a_quantized = com.microsoft.QLinearAdd(x_quantized, s, zm, x_quantized, s, zm, s, zm)
        a = Relu(x)
        b = DequantizeLinear(a_quantized, s, zm)
        y = Add(a, b)
    }"""
    lifted = lift(one(text))
    assert {"a", "a_quantized"} <= set(lifted.graph.values())
    assert "a_quantized" in lifted.spans


def test_dynamic_chains_are_products_again(tmp_path: Path) -> None:
    given_file = load(by_onnxruntime(tmp_path, "dynamic"))
    assert {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"} & {n.op for n in given_file.nodes}
    lifted, feeds = lift(given_file), images(4)
    assert not any(is_quantized(node) for node in lifted.graph.nodes)
    assert sqnr(outputs(load(tmp_path / "float.onnx"), feeds), outputs(lifted.graph, feeds)) > 35
    assert not lifted.spans


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_our_own_files_say_what_was_written(form: str) -> None:
    text = "(float[1,8,6,6] x) => (float[1,16,6,6] y) { c = Conv<pads=[1,1,1,1]>(x, w)\nr = Relu(c)\na = Add(r, k)\ny = Relu(a) }"
    graph = text_model(text, w=random(16, 8, 3, 3), k=random(16, 1, 1))
    made = quantized(graph, feeds_of(graph))
    lifted = lift(made.emit(form))
    said = sorted(span.grid.scale for span in lifted.spans.values() if span.grid is not None)
    assert said == sorted(float(params.scale) for params in made.activations.values())
    again = next(w.numpy() for w in lifted.graph.weights.values() if w.shape == (16, 8, 3, 3))
    codes = quantize(graph.weights["w"].numpy(), made.weights["n_c", 1])
    fresh = constant_params(again, WeightPlan(X86.formats.weight, 0))
    np.testing.assert_array_equal(quantize(again, fresh), codes)
    np.testing.assert_allclose(fresh.scale, made.weights["n_c", 1].scale, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 127), st.integers(0, 2**32 - 1))
def test_weights_on_a_grid_keep_it(channels: int, size: int, largest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(-largest, largest + 1, (channels, size)).astype(np.int8)
    scale = rng.uniform(1e-4, 1, channels).astype(np.float32)
    weights = codes.astype(np.float32) * scale[:, np.newaxis]
    params = constant_params(weights, WeightPlan(S8, 0))
    np.testing.assert_allclose(quantize(weights, params) * params.scale[:, None], weights, rtol=1e-5, atol=0)


def test_one_code_too_many_is_cut() -> None:
    codes = np.array([[-128, *range(-60, 60)]], np.float32)
    params = constant_params(codes * np.float32(0.1), WeightPlan(S8, 0))
    np.testing.assert_array_equal(quantize(codes * np.float32(0.1), params), np.maximum(codes, -127))


def one(text: str, **weights: Array) -> Graph:
    return text_model(text, **SCALES, **weights)


def test_narrow_codes_are_narrow_ranges() -> None:
    text = "(float[4] x) => (float[4] y) { q = QuantizeLinear(x, s, zs)\nn = Clip(q, low, high)\ny0 = DequantizeLinear(n, s, zs)\ny = Sqrt(y0) }"
    lifted = lift(one(text, low=np.int8(-7), high=np.int8(7)))
    assert [n.op for n in lifted.graph.nodes] == ["Sqrt"]
    span = lifted.spans["x"]
    assert (span.low, span.high) == pytest.approx((-0.35, 0.35))


def test_a_relu6_comes_back() -> None:
    text = "(float[1,3] x) => (float[1,3] y) { m = MatMul(x, w)\nq = QuantizeLinear(m, six, z)\nd = DequantizeLinear(q, six, z)\ny = Mul(d, d) }"
    graph = one(text, w=random(3, 3) * 20, six=np.float32(6 / 255))
    feeds = feeds_of(graph)
    found = lift(graph).graph
    assert [n.op for n in found.nodes] == ["MatMul", "Clip", "Mul"]
    assert sqnr(outputs(graph, feeds), outputs(found, feeds)) > 30


def test_codes_that_are_fed_and_read_keep_their_types() -> None:
    text = "(uint8[1,4] x) => (uint8[1,3] y) { d = DequantizeLinear(x, s, zm)\nm = MatMul(d, w)\ny = QuantizeLinear(m, s, zm) }"
    graph = one(text, w=random(4, 3) * 0.3)
    found = lift(graph).graph
    feed = {"x": np.array([[3, 120, 190, 255]], np.uint8)}
    assert not any(is_quantized(node) for node in found.nodes)
    np.testing.assert_array_equal(outputs(found, [feed])[0]["y"], outputs(graph, [feed])[0]["y"])


@pytest.mark.parametrize(
    "op", ["TRT_FP8QuantizeLinear", "TRT_INT4DequantizeLinear", "TRT_FP4DynamicQuantize", "TRT_MXFP8DequantizeLinear"]
)
def test_operators_of_tensorrt_are_quantized_and_not_lifted(op: str) -> None:
    graph = Graph((Node(op, ("x", "s"), ("y",), {}, "n", domain="trt"),), ("x", "s"), ("y",), {}, {})
    assert is_quantized(graph.nodes[0])
    with pytest.raises(QConvertError) as caught:
        lift(graph)
    assert [(d.code, d.where) for d in caught.value.diagnostics] == [("M008", "node `n`")]


def test_operators_that_move_codes_move_real_values() -> None:
    text = """(float[1,2,4,4] x) => (float[1,8] y) {
        q = QuantizeLinear(x, s, zm)
        p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(q)
        e = Pad(p, pads, zm)
        t = Transpose<perm=[0,2,3,1]>(e)
        f = Slice(t, starts, ends, axes)
        r = Reshape(f, shape)
        y = DequantizeLinear(r, s, zm) }"""
    graph = one(
        text,
        pads=np.array([0, 0, 1, 0, 0, 0, 0, 0]),
        starts=np.array([1]),
        ends=np.array([3]),
        axes=np.array([1]),
        shape=np.array([1, 8]),
    )
    found, feeds = lift(graph).graph, feeds_of(graph)
    assert not any(is_quantized(node) for node in found.nodes)
    assert sqnr(outputs(graph, feeds), outputs(found, feeds)) > 25


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("q = QuantizeLinear(x, s, z)\nb = BitShift<direction=\"RIGHT\">(q, one)\ny = DequantizeLinear(b, s, z)", "BitShift has no float form"),
        ("t = ReduceMax<keepdims=0>(x)\nq = QuantizeLinear(x, t, z)\ny = DequantizeLinear(q, t, z)", "`t` is computed at run time"),
        ("q = QuantizeLinear(x, s, z)\ny = DequantizeLinear(q, s2, z)", "written in one scale and read in another"),
        ("q, qs, qz = DynamicQuantizeLinear(x)\nm = MatMulInteger(q, w, qz)\nc = Cast<to=1>(m)\ny = Sqrt(c)", "in a way that is not known"),
    ],
)  # fmt: skip
def test_what_has_no_float_form_is_refused_by_node(body: str, says: str) -> None:
    graph = one(f"(float[2,2] x) => (float[2,2] y) {{ {body} }}", one=np.uint8(1), s2=np.float32(0.1), w=np.ones((2, 2), np.int8))  # fmt: skip
    with pytest.raises(QConvertError) as error:
        lift(graph)
    (found,) = error.value.diagnostics
    assert (found.code, found.where is not None and found.where.startswith("node `n_")) == ("M008", True)
    assert says in found.message


def test_a_float_model_stays_as_it_is() -> None:
    graph = text_model("(float[2] x) => (float[2] y) { y = Relu(x) }")
    lifted = lift(graph)
    assert lifted.graph is graph
    assert not lifted.changed


def test_equal_formats_keep_scale_and_zero_point_bit_for_bit() -> None:
    from qconvert.calibrate import params_for_span

    u8, s8 = Format("uint8", symmetric=False), Format("int8", symmetric=False)
    text = "(float[4] x) => (float[4] y) { q = QuantizeLinear(x, s, zp)\ny = DequantizeLinear(q, s, zp) }"
    span = lift(one(text, zp=np.uint8(77))).spans["x"]

    def values(params: QuantParams) -> tuple[float, int]:
        return float(params.scale), int(params.zero_point)

    assert values(params_for_span(span, u8)) == (float(np.float32(0.05)), 77)
    assert values(params_for_span(span, s8)) == (float(np.float32(0.05)), 77 - 128)
    symmetric = params_for_span(span, replace(s8, symmetric=True))
    assert (float(symmetric.high), int(symmetric.zero_point)) == (pytest.approx((255 - 77) * 0.05), 0)

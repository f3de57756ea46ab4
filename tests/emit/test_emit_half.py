"""Float16 for what is not integer, and the form of additions in front of LayerNormalization."""

import numpy as np
import onnx
import pytest
from quantize_support import random, text_model

from qconvert.calibrate import params_for_range
from qconvert.emit.half import half_scales, to_half
from qconvert.emit.norms import sums_before_norms
from qconvert.graph import to_proto, weight
from qconvert.runtime import Options, opened
from qconvert.targets import TARGETS

BLOCK = text_model(
    """(float[N,4,8] x) => (float[N,4,8] y, float[N,4,8] h) {
        a = MatMul(x, w)
        m = Mul(a, mask)
        h = Add(x, m)
        y = LayerNormalization<axis=-1>(h, gamma, beta)
    }""",
    w=random(8, 8),
    mask=np.float32(-1e9),
    gamma=random(8, seed=1),
    beta=random(8, seed=2),
)


def run(graph, feed):
    with opened(graph, Options()) as session:
        return session.run(feed)


def test_everything_inside_is_float16_and_the_edges_are_not():
    graph = to_half(BLOCK.with_(outputs=("y",)))
    onnx.checker.check_model(to_proto(graph), full_check=True)
    assert {graph.type_of(name).dtype for name in graph.weights} == {"float16"}
    assert graph.type_of("x").dtype == graph.type_of("y").dtype == "float32"
    assert [n.op for n in graph.nodes].count("Cast") == 2


def test_values_out_of_range_become_the_largest_number():
    graph = to_half(BLOCK)
    mask = next(w.numpy() for name, w in graph.weights.items() if name == "mask")
    assert float(mask) == -65504


def test_float16_stays_close_where_values_fit():
    graph = text_model("(float[N,8] x) => (float[N,4] y) { a = MatMul(x, w) y = Relu(a) }", w=random(8, 4))
    feed = {"x": random(3, 8)}
    assert np.allclose(run(graph, feed)["y"], run(to_half(graph), feed)["y"], atol=2e-2)


def test_bodies_stay_in_float32_with_what_they_capture():
    graph = text_model(
        """(bool c, float[2] x) => (float[2] y, float[2] z) {
            h = Sigmoid(x)
            k = Mul(h, h)
            z = Add(k, x)
            y = If(c) <then_branch = t () => (float[2] a) { a = Relu(k) }, else_branch = e () => (float[2] b) { b = Neg(k) }>
        }"""
    )
    half = to_half(graph)
    onnx.checker.check_model(to_proto(half), full_check=True)
    assert half.type_of("k").dtype == "float32"
    feed = {"c": np.array(True), "x": random(2)}
    for name, value in run(graph, feed).items():
        assert np.allclose(value, run(half, feed)[name], atol=2e-3)


@pytest.mark.parametrize("kept", [(), ("n_a",), ("n_m",), ("n_h", "n_y"), ("n_a", "n_m", "n_h", "n_y")])
@pytest.mark.parametrize("edges", [False, True])
def test_kept_nodes_compute_in_float32_between_casts(kept, edges):
    block = BLOCK.with_(weights={**BLOCK.weights, "mask": weight(np.float32(0.5))})
    half = to_half(block, kept=frozenset(kept), edges=edges)
    onnx.checker.check_model(to_proto(half), full_check=True)
    for node in half.nodes:
        if node.op != "Cast":
            wanted = "float32" if node.name in kept else "float16"
            assert {half.type_of(name).dtype for name in (*node.inputs, *node.outputs)} <= {wanted}
    edge = "float16" if edges else "float32"
    assert {half.type_of(name).dtype for name in (*half.inputs, *half.outputs)} == {edge}
    x = random(1, 4, 8)
    found = run(half, {"x": x.astype(edge)})
    for name, value in run(block, {"x": x}).items():
        assert found[name].dtype == edge
        assert np.allclose(value, found[name], rtol=2e-2, atol=2e-2)


def test_inputs_and_operators_without_16_bit_types_keep_float32():
    graph = text_model(
        """(float[1,1,4,4] x, int64 n) => (float[1,1,8,8] y, float[m] s) {
            y = Resize<mode="linear">(x, , scales)
            f = Cast<to=1>(n)
            s = Range(zero, f, one)
        }""",
        scales=np.array([1, 1, 2, 2], np.float32),
        zero=np.float32(0),
        one=np.float32(1),
    )
    half = to_half(graph)
    onnx.checker.check_model(to_proto(half), full_check=True)
    assert half.type_of(half.by_name["n_y"].input(2)).dtype == "float32"
    assert {half.type_of(name).dtype for name in half.by_name["n_s"].inputs} == {"float32"}
    feed = {"x": random(1, 1, 4, 4), "n": np.array(5)}
    assert run(half, feed)["s"].tolist() == [0, 1, 2, 3, 4]


def test_scales_are_normal_float16_numbers():
    format_ = TARGETS["tensorrt"].formats.weight
    params = {"w": params_for_range(format_, -np.array([1e-7, 0.3, 2.0]), np.array([1e-7, 0.3, 2.0]), 0)}
    scale = half_scales(params)["w"].scale
    assert np.array_equal(scale, scale.astype(np.float16).astype(np.float32))
    assert scale.min() >= np.finfo(np.float16).tiny


def test_additions_in_front_of_norms_become_sums_only_where_nobody_else_reads():
    alone = BLOCK.with_(outputs=("y",))
    assert [n.op for n in sums_before_norms(alone).nodes].count("Sum") == 1
    assert [n.op for n in sums_before_norms(BLOCK).nodes].count("Sum") == 0
    feed = {"x": random(2, 4, 8)}
    assert np.allclose(run(alone, feed)["y"], run(sums_before_norms(alone), feed)["y"], atol=1e-5)

"""Float16 for what is not integer, and the form of additions in front of LayerNormalization."""

import numpy as np
import onnx
import pytest
from quantize_support import random, text_model

from qconvert.calibrate import params_for_range
from qconvert.emit.half import half_scales, to_half
from qconvert.emit.norms import sums_before_norms
from qconvert.errors import QConvertError
from qconvert.graph import to_proto
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


def test_bodies_are_refused_with_a_reason():
    graph = text_model(
        """(bool c, float[2] x) => (float[2] y) {
            y = If(c) <then_branch = t () => (float[2] a) { a = Relu(x) }, else_branch = e () => (float[2] b) { b = Neg(x) }>
        }"""
    )
    with pytest.raises(QConvertError, match="R009"):
        to_half(graph)


def test_scales_are_normal_float16_numbers():
    format_ = TARGETS["tensorrt"].weight
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

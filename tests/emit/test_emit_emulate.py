"""16-bit models in float32 arithmetic: every value is what rounding after each operator makes of it."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import random, run, text_model

from qconvert.calibrate import sketch_of
from qconvert.calibrate.half import census_of_array, census_of_sketch
from qconvert.canonicalize import canonicalize
from qconvert.emit.emulate import emulated, half_edges
from qconvert.emit.half import to_half

TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("dtype", list(TYPES))
def test_rounding_after_every_operator(dtype):
    graph = text_model(
        "(float[3,8] x) => (float[3,8] y) { a = Mul(x, w) b = Add(a, x) y = Relu(b) }", opset=22, w=random(8)
    )
    x, kind = random(3, 8), TYPES[dtype]
    w = graph.weights["w"].numpy()
    half = x.astype(kind)
    wanted = np.maximum(
        (half.astype(np.float32) * w.astype(kind).astype(np.float32)).astype(kind).astype(np.float32)
        + half.astype(np.float32),
        0,
    )
    found = run(emulated(to_half(graph, dtype)), [{"x": x}])[0]["y"]
    assert np.array_equal(found, wanted.astype(kind).astype(np.float32))


def test_overflow_shows_that_the_runtime_at_hand_hides():
    graph = text_model("(float[4] x) => (float[4] y) { a = Mul(x, x) y = Mul(a, small) }", small=np.float32(1e-3))
    feed = [{"x": np.full(4, 300, np.float32)}]
    assert np.isinf(run(emulated(to_half(graph)), feed)[0]["y"]).all()
    kept = emulated(to_half(graph, kept=frozenset({"n_a", "n_y"})))
    assert np.allclose(run(kept, feed)[0]["y"], 90, rtol=1e-3)


def test_16_bit_edges_are_read_and_written_as_float32():
    graph = text_model("(float[4] x) => (float[4] y) { y = Sigmoid(x) }")
    found = emulated(to_half(graph, edges=True))
    assert {found.type_of(name).dtype for name in (*found.inputs, *found.outputs)} == {"float32"}
    x = random(4)
    assert np.allclose(run(found, [{"x": x}])[0]["y"], 1 / (1 + np.exp(-x)), atol=1e-3)


def test_edges_of_16_bits_in_the_model_itself_stay():
    graph = text_model("(float16[4] x) => (float16[4] y, float16[4] z) { y = Sigmoid(x) z = Add(y, x) }")
    found = emulated(graph, half_edges(graph))
    assert {found.type_of(name).dtype for name in (*found.inputs, *found.outputs)} == {"float16"}
    feeds = [{"x": random(4).astype(np.float16)}]
    assert all(np.array_equal(value, run(graph, feeds)[0][name]) for name, value in run(found, feeds)[0].items())


def test_float32_models_are_left_alone():
    graph = text_model("(float[4] x) => (float[4] y) { y = Sigmoid(x) }")
    assert emulated(graph) is graph


def test_bfloat16_models_of_common_operators_are_valid():
    graph = canonicalize(
        text_model(
            """(float[1,3,8,8] x) => (float[1,4] y) {
                a = Conv<pads=[1,1,1,1]>(x, w, b)
                r = Relu(a)
                p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
                g = GlobalAveragePool(p)
                y = Flatten(g)
            }""",
            w=random(4, 3, 3, 3),
            b=random(4),
        ),
        22,
    ).graph
    x = random(1, 3, 8, 8)
    wanted, found = run(graph, [{"x": x}])[0]["y"], run(emulated(to_half(graph, "bfloat16")), [{"x": x}])[0]["y"]
    assert np.allclose(wanted, found, rtol=0.05, atol=0.05)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50),
    st.sampled_from(sorted(TYPES)),
)
def test_the_census_counts_what_a_cast_does(values, dtype):
    array = np.array(values, np.float32)
    with np.errstate(over="ignore"):
        cast = array.astype(TYPES[dtype]).astype(np.float64)
    found = census_of_array(array, dtype)
    smallest = float(ml_dtypes.finfo(TYPES[dtype]).smallest_normal)
    assert found.lost == int(((cast == 0) & (array != 0)).sum())
    assert found.overflow >= int(np.isinf(cast).sum())  # what rounds down to the largest number counts as well
    assert found.subnormal == int(((np.abs(array.astype(np.float64)) < smallest) & (cast != 0)).sum())
    assert found.size == len(values)


def test_the_census_of_a_sketch_is_near_that_of_its_values():
    values = (random(4000) * 10.0 ** np.linspace(-10, 6, 4000)).astype(np.float32)
    exact, near = census_of_array(values, "float16"), census_of_sketch(sketch_of(values), "float16")
    for key in ("overflow", "subnormal", "lost"):
        assert getattr(near, key) == pytest.approx(getattr(exact, key), rel=0.03, abs=3)
    assert (near.size, near.peak) == (exact.size, pytest.approx(exact.peak))

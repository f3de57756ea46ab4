"""Which nodes of a 16-bit model stay in float32, and what is refused."""

import numpy as np
import pytest
from quantize_support import random, text_model

from qconvert.errors import QConvertError
from qconvert.plan import Kind, plan
from qconvert.recipe.types import Change, Recipe
from qconvert.runtime import concrete_shapes
from qconvert.targets import TARGETS

HALF = Recipe(mode="float16")


def chosen(graph, recipe=HALF, target="x86-vnni", **rules):
    changes = {name: Change(**change) for name, change in rules.items()}
    return plan(graph, TARGETS[target], recipe, concrete_shapes(graph, {}), changes)


def singles(graph, **options):
    found = chosen(graph, **options)
    floats = {n.name for n in graph.nodes if graph.type_of(n.output).dtype == "float32"}
    assert found.single >= {n for n in floats if found.nodes[n].kind is Kind.FLOAT}
    return {name.removeprefix("n_") for name in floats if found.nodes[name].kind is not Kind.HALF}


RMS = text_model(
    """(float[2,8] x) => (float[2,4] y) {
        s = Mul(x, x)
        m = ReduceMean<axes=[1]>(s)
        e = Add(m, eps)
        r = Sqrt(e)
        n = Div(x, r)
        g = Mul(n, gain)
        y = MatMul(g, w)
    }""",
    eps=np.float32(1e-12),
    gain=random(8),
    w=random(8, 4),
)
SOFTMAX = text_model(
    """(float[2,8] x) => (float[2,8] y) {
        t = ReduceMax<axes=[1]>(x)
        d = Sub(x, t)
        e = Exp(d)
        s = ReduceSum(e, axis)
        p = Div(e, s)
        y = MatMul(p, w)
    }""",
    axis=np.array([1]),
    w=random(8, 8),
)
ANGLES = text_model(
    """(int64[1,6] ids, float[6,4] x) => (float[6,4] y) {
        f = Cast<to=1>(ids)
        t = Transpose<perm=[1,0]>(f)
        a = Mul(t, rates)
        c = Cos(a)
        y = Mul(x, c)
    }""",
    rates=random(1, 4),
)


def test_the_variance_of_a_norm_that_is_spelled_out_stays_in_float32_up_to_the_division():
    assert singles(RMS) == {"s", "m", "e", "r"}


def test_the_sum_of_a_softmax_that_is_spelled_out_stays_in_float32():
    assert singles(SOFTMAX) == {"e", "s", "p"}


def test_angles_stay_in_float32_from_their_beginning():
    assert singles(ANGLES) == {"f", "t", "a", "c"}


def test_whole_operators_with_sums_inside_are_16_bits_wide():
    text = """(float[2,8] x) => (float[2,8] y) { l = LayerNormalization(x, g) y = Softmax(l) }"""
    assert singles(text_model(text, g=random(8))) == set()


def test_rules_decide_both_ways():
    assert singles(RMS, n_n={"precision": "float32"}) == {"s", "m", "e", "r", "n"}
    assert singles(RMS, n_s={"precision": "float16"}, n_m={"precision": "float16"}) == {"r"}


def test_operators_without_such_a_type_have_a_reason():
    graph = text_model(
        "(float[2,8] x, float l) => (float[m] y) { y = Range(zero, l, one) }", zero=np.float32(0), one=np.float32(1)
    )
    found = chosen(graph).nodes["n_y"]
    assert (found.kind, found.reason.code) == (Kind.FLOAT, "P015")


def test_every_float32_node_of_a_half_model_has_a_reason():
    for graph in (RMS, SOFTMAX, ANGLES):
        assert all(p.reason for p in chosen(graph).nodes.values() if p.kind is Kind.FLOAT)


def test_the_predicted_size_is_half():
    found = chosen(SOFTMAX).prediction
    assert found.bytes == found.float_bytes - 8 * 8 * 2


def test_bfloat16_wants_an_opset_in_which_all_operators_take_it():
    assert chosen(SOFTMAX, Recipe(mode="bfloat16"), "tensorrt").opset == 22


def test_integers_by_rule_beside_16_bits():
    graph = text_model(
        "(float[32,64] x) => (float[32,32] y) { a = MatMul(x, v) r = Tanh(a) y = MatMul(r, w) }",
        v=random(64, 64),
        w=random(64, 32),
    )
    found = chosen(graph, target="tensorrt", n_y={"mode": "static"})
    assert {n: p.kind for n, p in found.nodes.items()} == {"n_a": Kind.HALF, "n_r": Kind.HALF, "n_y": Kind.INTEGER}
    assert found.opset >= 19


def test_two_16_bit_types_in_one_model_are_refused():
    with pytest.raises(QConvertError, match=r"R009.*bfloat16"):
        chosen(RMS, n_s={"precision": "bfloat16"})

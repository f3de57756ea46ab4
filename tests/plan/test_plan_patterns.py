"""Attention, additive masks and residual sums are found where they are, and nowhere else."""

import numpy as np
import pytest
from quantize_support import TARGETS, planned, random, text_model

from qconvert.graph import Graph
from qconvert.plan import Kind
from qconvert.plan.patterns import attention_softmaxes, masks, residual_skip

HEAD = """(float[1,5,16] x, {inputs}) => (float[1,2,5,8] y) {{
    q0 = MatMul (x, wq) q1 = Reshape (q0, heads) q = Transpose <perm=[0,2,1,3]> (q1)
    k0 = MatMul (x, wk) k1 = Reshape (k0, heads) k = Transpose <perm=[0,2,3,1]> (k1)
    v0 = MatMul (x, wv) v1 = Reshape (v0, heads) v = Transpose <perm=[0,2,1,3]> (v1)
    raw = MatMul (q, k)
    scores = Div (raw, eight)
    {mask}
    p = Softmax <axis=-1> (masked)
    y = MatMul (p, v)
}}"""
BERT = """m1 = Unsqueeze (mask, axes) m2 = Cast <to=1> (m1) m3 = Sub (one, m2) m4 = Mul (m3, {low}) masked = Add (scores, m4)"""


def attention(mask: str, inputs: str = "int64[1,5] mask") -> Graph:
    weights = {
        "wq": random(16, 16), "wk": random(16, 16, seed=1), "wv": random(16, 16, seed=2),
        "heads": np.array([1, 5, 2, 8], np.int64), "eight": np.array(8, np.float32), "one": np.array(1, np.float32),
        "axes": np.array([1, 2], np.int64), "bert": np.array(-10000, np.float32), "positive": np.array(10000, np.float32),
        "lowest": np.array(np.finfo(np.float32).min), "infinite": np.array(-np.inf, np.float32), "zero": np.array(0, np.float32),
        "causal": np.triu(np.full((1, 1, 5, 5), -1e9, np.float32), 1), "allowed": np.tril(np.ones((1, 1, 5, 5), bool)),
        "position": random(1, 2, 5, 5) * 8,
    }  # fmt: skip
    return text_model(HEAD.format(mask=mask, inputs=inputs), **weights)


MASKED = {
    "bert": BERT.format(low="bert"),
    "lowest": BERT.format(low="lowest"),
    "subtracted": "m1 = Unsqueeze (mask, axes) m2 = Cast <to=1> (m1) m3 = Sub (one, m2) m4 = Mul (m3, positive) masked = Sub (scores, m4)",
    "causal constant": "masked = Add (scores, causal)",
    "constant first": "masked = Add (causal, scores)",
    "where": "masked = Where (allowed, scores, infinite)",
    "computed where": "m1 = Unsqueeze (mask, axes) m2 = Cast <to=9> (m1) m4 = Where (m2, zero, infinite) masked = Add (scores, m4)",
    "causal and padding": "s2 = Add (scores, causal) " + BERT.format(low="bert").replace("scores, m4", "s2, m4"),
}
UNMASKED = {
    "none": "masked = Identity (scores)",
    "position bias": "masked = Add (scores, position)",
    "fed bias": "masked = Add (scores, bias)",
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_and_what_they_are_added_to_stay_float(name: str) -> None:
    graph = attention(MASKED[name])
    assert "masked" in masks(graph)
    made = planned(graph)
    node = made.nodes["n_masked"]
    assert node.kind is Kind.FLOAT
    assert node.reason is not None
    assert node.reason.code == "P007"
    assert not {"masked", "m4", "causal"} & made.tensors.keys()
    assert made.nodes["n_q0"].kind is Kind.INTEGER


@pytest.mark.parametrize("name", UNMASKED)
def test_ordinary_sums_are_no_masks(name: str) -> None:
    graph = attention(UNMASKED[name], "float[1,2,5,5] bias" if name == "fed bias" else "int64[1,5] mask")
    assert masks(graph) == frozenset()


def test_a_large_constant_elsewhere_is_no_mask() -> None:
    graph = text_model(
        "(float[2,8] x) => (float[2,8] y) { a = Add (x, low) y = Relu (a) }", low=np.full(8, -1e6, np.float32)
    )
    assert masks(graph) == frozenset()


@pytest.mark.parametrize("mask", [*MASKED.values(), *list(UNMASKED.values())[:2]])
def test_attention_is_two_products_around_a_softmax(mask: str) -> None:
    graph = attention(mask)
    assert [n.name for n in attention_softmaxes(graph)] == ["n_p"]


def test_a_classifier_is_no_attention() -> None:
    graph = text_model(
        "(float[2,8] x) => (float[2,4] y) { l = MatMul (x, w) y = Softmax <axis=-1> (l) }", w=random(8, 4)
    )
    assert attention_softmaxes(graph) == ()


def test_a_softmax_between_layers_is_no_attention() -> None:
    graph = text_model(
        "(float[2,8] x) => (float[2,8] y) { l = MatMul (x, w) p = Softmax <axis=-1> (l) y = MatMul (p, w) }",
        w=random(8, 8),
    )
    assert attention_softmaxes(graph) == ()


RESIDUAL = (
    "(float[1,8,6,6] x) => (float[1,8,6,6] y) {{ s = Relu (x) a = Conv (s, w) r = Relu (a) b = Conv (r, w) {rest} }}"
)


@pytest.mark.parametrize(
    ("rest", "skip"),
    [
        ("y = Add (b, s)", 1),
        ("y = Add (s, b)", 0),
        ("c = Conv (s, w) y = Add (b, c)", 1),
        ("c = Conv (s, w) y = Add (c, b)", 0),
        ("t = Tanh (b) y = Add (t, s)", None),
        ("y = Add (b, constant)", None),
        ("y = Mul (b, s)", None),
        ("u = Add (b, s) y = Add (u, b)", None),
    ],
)
def test_the_skip_branch_of_a_residual_sum(rest: str, skip: int | None) -> None:
    graph = text_model(RESIDUAL.format(rest=rest), w=random(8, 8, 1, 1), constant=random(8, 1, 1))
    weighted = frozenset(n.name for n in graph.nodes if n.op == "Conv")
    assert residual_skip(graph, graph.by_name["n_y"], weighted) == skip


def test_a_fused_residual_reads_integers_on_its_skip_branch_only() -> None:
    graph = text_model(
        "(float[1,16,6,6] x) => (float[1,16,6,6] z) { s = Relu (x) a = Conv (s, w) r = Relu (a) b = Conv (r, w) y = Add (b, s) z = Relu (y) }",
        w=random(16, 16, 3, 3)[:, :, :1, :1],
    )
    made = planned(graph, TARGETS["tensorrt"])
    assert made.nodes["n_y"].reads == (1,)
    assert not made.nodes["n_y"].writes
    assert set(made.tensors) == {"s", "r"}

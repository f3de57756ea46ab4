"""Clamps under other names, and reductions with an attribute that says nothing."""

import numpy as np
import pytest
from canonicalize_support import check, model, ops

NUMBERS = {
    "zero": np.float32(0),
    "six": np.float32(6),
    "low": np.float32([-0.5]),
    "high": np.float32([[1.5]]),
    "row": np.zeros(4, np.float32),
}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("y = Max(x, zero)", ["Relu"]),
        ("y = Max(low, x)", ["Clip"]),
        ("y = Min(x, high)", ["Clip"]),
        ("a = Max(x, low) y = Min(a, high)", ["Clip"]),
        ("a = Relu(x) b = Min(a, high) y = Max(b, low)", ["Clip"]),
        ("a = Clip(x, zero, six) y = Relu(a)", ["Clip"]),
        ("a = Min(x, low) y = Relu(a)", ["Clip"]),
        ("a = Relu(x) b = Min(a, high) y = Add(a, b)", ["Relu", "Clip", "Add"]),
        ("y = Max(x, row)", ["Max"]),
        ("y = Max(x, zero, low)", ["Max"]),
        ("y = Max(x, x)", ["Max"]),
    ],
)
def test_clamps(body: str, wanted: list[str]) -> None:
    assert ops(check(model(f"(float[N,3,4] x) => (float[N,3,4] y) {{ {body} }}", weights=NUMBERS))) == wanted


def test_integers_and_growing_shapes_are_left() -> None:
    three = {"three": np.int64([3])}
    assert ops(check(model("(int64[4] x) => (int64[4] y) { y = Max(x, three) }", weights=three))) == ["Max"]
    deep = {"deep": np.zeros((1, 1, 1), np.float32)}
    assert ops(check(model("(float[4] x) => (float[1,1,4] y) { y = Max(x, deep) }", weights=deep))) == ["Max"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("ReduceSum<noop_with_empty_axes=1>(a, axes)", ["ReduceSum"]), ("ReduceMean<noop_with_empty_axes=1>(a)", [])],
)
def test_reductions_say_nothing_about_axes_that_are_there(text: str, wanted: list[str]) -> None:
    graph = model(
        f"(float[2,4] x) => (float[2,?] y) {{ a = Relu(x) b = {text} y = Neg(b) }}",
        opset=18,
        weights={"axes": np.int64([1])},
    )
    result = check(graph)
    assert ops(result) == ["Relu", *wanted, "Neg"]
    assert all(node.attr("noop_with_empty_axes") is None for node in result.graph.nodes)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMax", "ReduceLogSumExp", "ReduceL1", "ReduceL2", "ReduceSumSquare"])
def test_reductions_over_no_axes_give_what_they_gave(op: str) -> None:
    check(model(f"(float[2,4] x) => (float[2,4] y) {{ b = {op}<noop_with_empty_axes=1>(x) y = Neg(b) }}", opset=18))

"""Rules that tidy a model up: names, inputs, constants, no-ops, constant folding, opset."""

import numpy as np
import onnx
import pytest
from canonicalize_support import check, lines, model, ops, random, reasons, run
from onnx import helper

from qconvert.canonicalize import RULES, canonicalize
from qconvert.errors import QConvertError
from qconvert.graph import Graph, Node, TensorType, from_proto, weight


def test_table_has_titles_and_extra_names_are_checked() -> None:
    assert all(rule.title for rule in RULES.values())
    assert [name for name, rule in RULES.items() if not rule.always] == [
        "matmul-add-to-gemm",
        "average-pool-to-conv",
        "depthwise-channels",
        "hard-swish",
        "forward-lstm",
        "unroll",
        "decompose",
        "whole-pool",
        "stem-channels",
    ]
    with pytest.raises(ValueError, match="no rewrite rule is called 'nothing'"):
        canonicalize(model("(float[2] x) => (float[2] y) { y = Relu(x) }"), extra=["nothing"])


def test_nothing_to_do() -> None:
    result = check(model("(float[2] x) => (float[2] y) { [a] y = Relu(x) }"))
    assert (result.applied, result.diagnostics) == ((), ())


def test_names_are_made_unique() -> None:
    graph = Graph(
        nodes=(
            Node("Relu", ("x",), ("a",), name="same"),
            Node("Abs", ("a",), ("b",), name="same"),
            Node("Neg", ("b",), ("y",)),
        ),
        inputs=("x",),
        outputs=("y",),
        weights={},
        types={"x": TensorType("float32", (2,)), "y": TensorType("float32", (2,))},
    )
    result = canonicalize(graph)
    check(result.graph)
    assert [node.name for node in result.graph.nodes] == ["same", "same_1", "Neg_y"]
    assert lines(result, "names") == ("Abs `same` (name used twice) -> `same_1`", "Neg without a name -> `Neg_y`")


def test_weights_that_are_inputs() -> None:
    graph = model(
        "(float[2,3] x, float[3,4] w) => (float[2,4] y) { [m] y = MatMul(x, w) }",
        opset=13,
        ir=3,
        weights={"w": random(3, 4)},
    )
    result = check(graph)
    assert (result.graph.inputs, result.graph.ir_version) == (("x",), 4)
    assert lines(result, "inputs") == ("graph input `w` with a default value -> weight `w`",)


def test_models_that_had_to_list_weights_as_inputs_can_take_others() -> None:
    result = check(model("(float[2] x) => (float[2] y) { y = Relu(x) }", opset=13, ir=3))
    assert result.graph.ir_version == 4
    assert lines(result, "inputs") == ("IR version 3 -> 4",)


def test_dead_code() -> None:
    result = check(
        model(
            "(float[2] x) => (float[2] y) { [a] y = Relu(x) [b] z = Abs(x) [c] q = Neg(z) }",
            weights={"unused": random(4)},
        )
    )
    assert ops(result) == ["Relu"]
    assert lines(result, "dead-code") == (
        "Abs `b` is unused -> removed",
        "Neg `c` is unused -> removed",
        "weight `unused` is unused -> removed",
    )


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value_float = 1.5", np.float32(1.5)),
        ("value_floats = [1.5, 2.5]", np.float32([1.5, 2.5])),
        ("value_int = 3", np.int64(3)),
        ("value_ints = [3, 4]", np.int64([3, 4])),
        ("value = float[2] {5, 6}", np.float32([5, 6])),
    ],
)
def test_constant_nodes(attribute: str, expected: np.ndarray) -> None:
    result = check(
        model(
            f"(float[2] x) => (y) {{ [k] c = Constant<{attribute}>() [t] f = Cast<to=1>(c) [a] y = Mul(x, f) }}".replace(
                "(y)", "(float[2] y)"
            )
        )
    )
    assert ops(result) == ["Mul"]
    assert lines(result, "constants") == ("Constant `k` -> weight `c`",)
    name = next(iter(result.graph.weights))
    np.testing.assert_array_equal(result.graph.constant(name), np.asarray(expected, np.float32))


def test_constant_as_graph_output_stays() -> None:
    result = check(
        model("(float[2] x) => (float[2] y, float c) { [k] c = Constant<value_float=2.0>() [a] y = Mul(x, c) }")
    )
    assert ops(result) == ["Constant", "Mul"]


def test_constants_stay_shared() -> None:
    result = check(
        model(
            "(float[2] x) => (float[2] y) { [k] c = Constant<value_float=2.0>() [a] z = Mul(x, c) [b] y = Pow(z, c) }"
        )
    )
    assert [node.inputs[1] for node in result.graph.nodes] == ["c", "c"]


@pytest.mark.parametrize("op", ["Identity(z)", "Dropout(z)", "Cast<to=1>(z)", "Dropout(z, r, t)"])
def test_no_ops_go_and_graph_outputs_keep_their_names(op: str) -> None:
    text = f"(float[2] x) => (float[2] y) <float r = {{0.5}}, bool t = {{0}}> {{ [a] z = Relu(x) [b] w = {op} [c] v = Abs(w) [d] y = Identity(v) }}"
    result = check(model(text))
    assert [str(node) for node in result.graph.nodes] == ["z = Relu(x)", "y = Abs(z)"]
    assert len(lines(result, "no-ops")) == 2


@pytest.mark.parametrize("text", ["{ [b] y = Identity(x) }", "{ [a] z = Relu(x) [b] y = Cast<to=7>(z) }"])
def test_what_only_looks_like_a_no_op_stays(text: str) -> None:
    kind = "int64" if "to=7" in text else "float"
    assert lines(check(model(f"(float[2] x) => ({kind}[2] y) {text}")), "no-ops") == ()


def test_no_op_between_two_graph_outputs_stays() -> None:
    result = check(model("(float[2] x) => (float[2] z, float[2] y) { [a] z = Relu(x) [b] y = Identity(z) }"))
    assert ops(result) == ["Relu", "Identity"]


def test_dropout_whose_mask_is_used_stays() -> None:
    result = check(model("(float[2] x) => (float[2] y, bool[2] m) { [a] y, m = Dropout(x) }"))
    assert ops(result) == ["Dropout"]


BODY = """(float[2] x, bool c) => (float[2] y) {
    [k] k = Constant<value_float=2.0>()
    [a] z = Identity(x)
    [i] y = If(c) <then_branch = t () => (float[2] p) { p = Mul(z, k) }, else_branch = e () => (float[2] q) { q = Neg(z) }>
}"""


def test_bodies_keep_what_they_read() -> None:
    result = check(model(BODY))
    assert ops(result) == ["Identity", "If"]
    assert list(result.graph.weights) == ["k"]
    assert reasons(result) == ["a: Identity is left as it is: the body of an If, Loop or Scan reads `z`"]


def test_a_weight_that_a_body_reads_is_copied_by_a_fold() -> None:
    text = """(float[2,4] x, bool c) => (float[2,4] y) {
        [m] a = MatMul(x, w) [n] b = Mul(a, k)
        [i] y = If(c) <then_branch = t () => (float[2,4] p) { p = MatMul(b, w) }, else_branch = e () => (float[2,4] q) { q = Neg(b) }>
    }"""
    result = check(model(text, weights={"w": random(4, 4), "k": random(4)}))
    assert [str(node) for node in result.graph.nodes] == ["b = MatMul(x, w_1)", "y = If(c)"]


def test_a_layer_that_a_body_reads_keeps_its_constant() -> None:
    text = """(float[2,4] x, bool c) => (float[2,4] y) {
        [m] a = MatMul(x, w) [n] b = Mul(a, k)
        [i] y = If(c) <then_branch = t () => (float[2,4] p) { p = Neg(a) }, else_branch = e () => (float[2,4] q) { q = Neg(b) }>
    }"""
    assert ops(check(model(text, weights={"w": random(4, 4), "k": random(4)}))) == ["MatMul", "Mul", "If"]


def test_a_model_of_other_domains_only_gets_the_opset() -> None:
    graph = model("(float[2] x) => (float[2] y) { [a] y = com.microsoft.QuickGelu<alpha=1.0>(x) }").with_(
        opsets={"com.microsoft": 1}
    )
    assert check(graph).graph.opsets == {"com.microsoft": 1, "": 13}


def test_shapes_are_folded() -> None:
    text = """(float[2,3,4] x) => (float[2,12] y) <int64[1] zero = {0}, int64[1] rest = {-1}> {
        [a] s = Shape(x) [b] n = Gather(s, zero) [c] t = Concat<axis=0>(n, rest) [d] y = Reshape(x, t)
    }"""
    result = check(model(text))
    assert ops(result) == ["Reshape"]
    assert result.graph.constant("t").tolist() == [2, -1]
    assert lines(result, "fold-constants") == (
        "Shape `a` -> constant `s`",
        "Gather `b` -> constant `n`",
        "Concat `c` -> constant `t`",
    )


def test_shape_with_start_and_end_and_size() -> None:
    text = "(float[2,3,4] x) => (int64[1] y) { [a] s = Shape<start=1,end=2>(x) [b] n = Size(x) [c] y = Add(s, n) }"
    result = check(model(text))
    assert (result.graph.constant("s").tolist(), result.graph.constant("n").tolist()) == ([3], 24)


def test_dynamic_shapes_stay() -> None:
    assert ops(check(model("(float[N,3] x) => (int64[2] y) { [a] s = Shape(x) [b] y = Neg(s) }"))) == ["Shape", "Neg"]


def test_large_and_random_results_stay() -> None:
    text = "(float[2] x) => (float y) <int64[1] big = {100000}> { [a] t = ConstantOfShape(big) [b] r = RandomNormalLike(t) [c] s = ReduceSum<keepdims=0>(t) [d] z = ReduceSum<keepdims=0>(x) [e] y = Add(s, z) }"
    assert ops(check(model(text))) == ["ConstantOfShape", "ReduceSum", "ReduceSum", "Add"]


@pytest.mark.parametrize(
    ("readers", "left"),
    [("y = MatMul(x, t)", ["MatMul"]), ("z = MatMul(x, t) [c] y = Mul(z, w)", ["Transpose", "MatMul", "Mul"])],
)
def test_a_large_weight_is_transposed_only_where_nobody_else_reads_it(readers: str, left: list[str]) -> None:
    graph = model(
        f"(float[1100,1100] x) => (float[1100,1100] y) {{ [a] t = Transpose(w) [b] {readers} }}",
        weights={"w": random(1100, 1100)},
    )
    assert ops(check(graph)) == left


def test_a_node_that_the_reference_cannot_compute_stays() -> None:
    out_of_range = "<int64[2] i = {7, 8}, float[2] d = {1, 2}> { [a] g = Gather(d, i) [b] y = Add(x, g) }"
    assert ops(canonicalize(model(f"(float[2] x) => (float[2] y) {out_of_range}"))) == ["Gather", "Add"]


def test_types_are_inferred() -> None:
    assert check(model("(float[N,3] x) => (float[N,3] y) { [a] z = Relu(x) [b] y = Abs(z) }")).graph.type_of(
        "z"
    ).shape == ("N", 3)


OLD = """(float[1,16,6,6] x) => (float[1,2,1] y) {
    [c] a = Conv(x, w) [d] b = Clip<min=0.0, max=6.0>(a) [e] s = Softmax<axis=1>(b) [f] r = Dropout(s)
    [g] u = ReduceSum<axes=[2,3], keepdims=1>(r) [h] q = Squeeze<axes=[3]>(u) [i] y = Pad<pads=[0,0,0,0,-2,0], mode="constant", value=0.0>(q)
}"""


def test_raising_the_opset_keeps_names_and_large_weights() -> None:
    graph = model(OLD, opset=9, ir=4, weights={"w": random(4, 16, 3, 3), "unused": random(2)})
    result = check(graph, opset=17)
    assert lines(result, "opset") == ("opset 9 -> 17",)
    assert (result.graph.opset, result.graph.ir_version) == (17, 8)
    assert result.graph.weights["w"] is graph.weights["w"]
    assert {"c", "d", "g", "h", "i"} <= set(result.graph.by_name)
    assert {"a", "b", "s", "u", "q"} <= set(result.graph.values())


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("opset", "op"), [(8, "up8"), (9, "Upsample"), (10, "Resize")])
@pytest.mark.parametrize("scale", [1.5, 2.0, 3.0])
def test_old_upsampling_keeps_its_coordinates(mode: str, opset: int, op: str, scale: float) -> None:
    call = (
        f"Upsample<mode={mode!r}, scales=[1.0, 1.0, {scale}, {scale}]>(x)"
        if op == "up8"
        else f"{op}<mode={mode!r}>(x, sc)"
    )
    graph = model(
        f"(float[1,2,4,4] x) => (float[N,C,H,W] y) {{ [a] y = {call} }}".replace("'", '"'),
        opset=opset,
        ir=4,
        weights={} if op == "up8" else {"sc": np.float32([1, 1, scale, scale])},
    )
    assert ops(check(graph)) == ["Resize"]


def test_bodies_are_raised_too() -> None:
    text = """(float[1,3] x, bool c) => (float[3] y) { [a] z = Relu(x)
        [i] y = If(c) <then_branch = t () => (float[3] p) { p = Squeeze<axes=[0]>(z) }, else_branch = e () => (float[3] q) { q = Squeeze<axes=[0]>(x) }> }"""
    check(model(text, opset=11))


def test_an_opset_that_cannot_be_raised() -> None:
    node = helper.make_node("Upsample", ["x", "s"], ["y"], mode="nearest")
    value = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape)
        for n, shape in (("x", [1, 1, 2, 2]), ("s", [4]), ("y", None))
    ]
    proto = helper.make_model(
        helper.make_graph([node], "g", value[:2], value[2:]), opset_imports=[helper.make_opsetid("", 9)]
    )
    graph = from_proto(proto).with_(nodes=(Node("NoSuchOperator", ("x",), ("y",)),))
    with pytest.raises(QConvertError, match=r"M007.*opset 9 cannot be raised to 13"):
        canonicalize(graph)


def test_custom_domains_survive() -> None:
    graph = model("(float[2] x) => (float[2] y) { [a] z = com.microsoft.FastGelu(x) [b] y = Relu(z) }", opset=12)
    graph = graph.with_(opsets={**graph.opsets, "com.microsoft": 1})
    assert ops(check(graph)) == ["FastGelu", "Relu"]


def test_weights_of_equal_content_are_not_merged() -> None:
    graph = model(
        "(float[2] x) => (float[2] y) { [a] z = Mul(x, p) [b] y = Pow(z, q) }",
        weights={"p": np.float32([2, 2]), "q": np.float32([2, 2])},
    )
    assert set(check(graph).graph.weights) == {"p", "q"}


def test_the_original_is_not_changed() -> None:
    graph = model(OLD, opset=9, ir=4, weights={"w": random(4, 16, 3, 3)})
    text, value = str(graph), run(graph, {"x": random(1, 16, 6, 6)})
    canonicalize(graph, 17)
    assert str(graph) == text
    np.testing.assert_array_equal(run(graph, {"x": random(1, 16, 6, 6)})[0], value[0])


def test_a_weight_as_graph_output_is_kept() -> None:
    graph = model("(float[2] x) => (float[2] y, float[2] w) { [a] y = Mul(x, w) }").with_(
        weights={"w": weight(np.float32([1, 2]))}
    )
    assert canonicalize(graph).graph.outputs == ("y", "w")


def test_the_first_form_of_scan_is_refused() -> None:
    graph = model("(float[2] x) => (float[2] y) { [a] y = Relu(x) }", opset=8).with_(
        nodes=(Node("Scan", ("x",), ("y",)),)
    )
    with pytest.raises(QConvertError, match="Scan had a batch axis"):
        canonicalize(graph)

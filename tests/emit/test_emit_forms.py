"""What both forms of an artefact must keep: validity, signature, accuracy, and one constant for equal parameters."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from quantize_support import (
    EVERYWHERE,
    X86,
    Quantized,
    feeds_of,
    float_nodes,
    ops,
    optimized,
    quantized,
    random,
    run,
    text_model,
)

from qconvert.calibrate import params_for_range
from qconvert.canonicalize.opset import raise_opset
from qconvert.emit import EMITTERS
from qconvert.graph import Graph, to_proto
from qconvert.plan import Kind
from qconvert.targets import Kernel

FORMS = pytest.mark.parametrize("form", EMITTERS)

RESIDUAL = """(float[1,8,12,10] x) => (float[1,6] y, float[1,16,6,5] skip) {
    a = Conv <pads=[1,1,1,1]> (x, w1, b1)
    r = Relu(a)
    skip = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r)
    c = Conv <pads=[1,1,1,1]> (skip, w2, b2)
    s = Add(c, skip)
    t = Clip(s, low, high)
    p = GlobalAveragePool(t)
    f = Flatten(p)
    l = Gemm <transB=1> (f, w3, b3)
    y = Softmax <axis=-1> (l)
}"""


def residual() -> Graph:
    parts = {"w1": (16, 8, 3, 3), "b1": (16,), "w2": (16, 16, 3, 3), "b2": (16,), "w3": (6, 16), "b3": (6,)}
    bounds = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    return text_model(RESIDUAL, **{name: random(*shape) * 0.3 for name, shape in parts.items()}, **bounds)


def made(graph: Graph, **rules: object) -> Quantized:
    return quantized(graph, feeds_of(graph), **rules)  # type: ignore[arg-type]


def sqnr(graph: Graph, result: Graph, optimize: bool = True) -> float:
    """Signal to noise in dB, over all outputs and inputs."""
    pairs = zip(run(graph, feeds_of(graph), optimize=False), run(result, feeds_of(graph), optimize), strict=True)
    terms = [(np.square(a[n]).sum(), np.square(a[n] - b[n]).sum()) for a, b in pairs for n in a]
    return float(10 * np.log10(sum(s for s, _ in terms) / max(sum(e for _, e in terms), 1e-20)))


@FORMS
def test_the_artefact_passes_the_checker(form: str) -> None:
    onnx.checker.check_model(to_proto(made(residual()).emit(form)), full_check=True)


@FORMS
def test_inputs_and_outputs_keep_names_types_and_shapes(form: str) -> None:
    graph = residual()
    result = made(graph).emit(form)
    assert (result.inputs, result.outputs) == (graph.inputs, graph.outputs)
    for name in (*graph.inputs, *graph.outputs):
        assert result.type_of(name) == graph.type_of(name)


@FORMS
@pytest.mark.parametrize("optimize", [True, False])
def test_the_artefact_computes_what_the_model_does(form: str, optimize: bool) -> None:
    graph = residual()
    assert sqnr(graph, made(graph).emit(form), optimize) > 28


@FORMS
def test_all_of_a_convolutional_network_but_softmax_runs_on_integers(form: str, tmp_path: Path) -> None:
    executed = optimized(made(residual()).emit(form), tmp_path)
    assert [node.op for node in float_nodes(executed)] == ["Softmax"]
    assert ops(executed).count("QuantizeLinear") == 1
    assert {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"} <= set(ops(executed))


def test_the_operator_form_converts_only_where_integers_meet_float() -> None:
    result = made(residual()).emit("qoperator")
    assert ops(result) == [
        "QuantizeLinear", "QLinearConv", "MaxPool", "DequantizeLinear", "QLinearConv", "QLinearAdd",
        "QLinearGlobalAveragePool", "Flatten", "QGemm", "Softmax",
    ]  # fmt: skip
    assert result.opsets == {"": 17, "com.microsoft": 1}


def test_the_domain_is_imported_only_where_it_is_used() -> None:
    graph = text_model("(float[1,4,6,6] x) => (float[1,4,6,6] y) { y = Conv (x, w) }", w=random(4, 4, 1, 1))
    assert made(graph).emit("qoperator").opsets == {"": 17}


@FORMS
def test_equal_parameters_are_stored_once(form: str) -> None:
    result = made(residual()).emit(form)
    arrays = [
        (w.numpy().dtype, w.numpy().shape, w.numpy().tobytes())
        for name, w in result.weights.items()
        if "scale" in name or "zero_point" in name
    ]
    assert len(arrays) == len(set(arrays))


@FORMS
def test_many_biases_keep_their_own_scales(form: str) -> None:
    """Scales were once shared by the identity of objects that no longer existed."""
    layers = "\n".join(f"x{n + 1} = Conv (x{n}, w{n}, b{n})" for n in range(12))
    weights = {f"w{n}": random(8, 8, 1, 1, seed=n) * (0.2 + 0.1 * n) for n in range(12)}
    biases = {f"b{n}": random(8, seed=n) * 3 for n in range(12)}
    graph = text_model(f"(float[1,8,5,5] x0) => (float[1,8,5,5] x12) {{ {layers} }}", **weights, **biases)
    assert sqnr(graph, made(graph).emit(form)) > 20


@FORMS
def test_a_bias_that_two_layers_share_gets_the_scale_of_each(form: str) -> None:
    graph = text_model(
        "(float[1,4,6,6] x) => (float[1,4,6,6] y, float[1,4,6,6] z) { y = Conv (x, w1, b) z = Conv (x, w2, b) }",
        w1=random(4, 4, 1, 1), w2=9 * random(4, 4, 1, 1, seed=1), b=random(4) * 5,
    )  # fmt: skip
    result = made(graph).emit(form)
    assert sqnr(graph, result) > 30
    assert sum(w.numpy().dtype == np.int32 and w.numpy().any() for w in result.weights.values()) == 2


@FORMS
def test_layers_that_share_weight_bias_and_scale_share_the_codes(form: str) -> None:
    graph = text_model(
        "(float[1,4,6,6] x) => (float[1,4,6,6] y, float[1,4,3,3] z) { y = Conv (x, w, b) z = Conv <strides=[2,2]> (x, w, b) }",
        w=random(4, 4, 1, 1), b=random(4),
    )  # fmt: skip
    result = made(graph).emit(form)
    assert sorted(w.numpy().dtype.name for w in result.weights.values() if w.numpy().size > 4) == ["int8"]
    assert sum(w.numpy().dtype == np.int32 and w.numpy().any() for w in result.weights.values()) == 1


@FORMS
def test_one_weight_read_along_two_axes_is_quantized_for_each(form: str) -> None:
    weight = np.diag(np.full(8, 3.0, np.float32)) + np.eye(8, k=1, dtype=np.float32)
    graph = text_model(
        "(float[3,8] x) => (float[3,8] y, float[3,8] z) { y = MatMul (x, w) z = Gemm <transB=1> (x, w, b) }",
        w=weight,
        b=random(8),
    )
    assert sqnr(graph, made(graph).emit(form)) > 30


@FORMS
def test_dynamic_layers_with_one_weight_store_it_once(form: str) -> None:
    graph = text_model(
        "(float[3,64] x) => (float[3,64] z) { a = MatMul (x, w) b = Relu(a) z = MatMul (b, w) }", w=random(64, 64)
    )
    one = made(graph, recipe=EVERYWHERE.model_copy(update={"mode": "dynamic"}))
    result = one.emit(form)
    assert one.plan.count(Kind.DYNAMIC) == 2
    assert sum(int(w.nbytes) for w in result.weights.values()) < 64 * 64 + 1000
    assert sqnr(graph, result) > 25


@FORMS
def test_dynamic_layers_share_the_quantization_of_their_input(form: str) -> None:
    graph = text_model(
        "(float[3,16] x) => (float[3,8] q, float[3,8] k) { q = Gemm <transB=1> (x, w1, b) k = MatMul (x, w2) }",
        w1=random(8, 16), w2=random(16, 8), b=random(8),
    )  # fmt: skip
    result = made(graph, recipe=EVERYWHERE.model_copy(update={"mode": "dynamic"})).emit(form)
    assert ops(result).count("DynamicQuantizeLinear") == 1
    assert sqnr(graph, result) > 30


@FORMS
def test_a_graph_output_in_the_middle_keeps_its_clamp(form: str) -> None:
    graph = text_model(
        "(float[1,4,6,6] x) => (float[1,4,6,6] a, float[1,4,6,6] z) { a = Conv (x, w) r = Relu(a) z = Conv (r, w) }",
        w=random(4, 4, 1, 1),
    )
    one = made(graph)
    assert one.plan.nodes["n_r"].kind is Kind.FLOAT
    result = one.emit(form)
    assert "Relu" in ops(result)
    assert run(result, feeds_of(graph))[0]["a"].min() < 0
    assert sqnr(graph, result) > 28


@FORMS
def test_a_conv_behind_which_a_clamp_and_another_node_read_is_not_cut(form: str) -> None:
    graph = text_model(
        "(float[1,4,6,6] x) => (float[1,4,6,6] z) { a = Conv (x, w) r = Relu(a) z = Add(r, a) }", w=random(4, 4, 1, 1)
    )
    result = made(graph).emit(form)
    assert "Relu" in ops(result)
    assert sqnr(graph, result) > 28


@FORMS
def test_an_absorbed_clamp_is_gone_and_still_acts(form: str, tmp_path: Path) -> None:
    graph = text_model(
        "(float[1,4,6,6] x) => (float[1,4,6,6] z) { a = Conv (x, w) z = Clip(a, low, high) }",
        w=random(4, 4, 1, 1), low=np.array(-0.5, np.float32), high=np.array(1, np.float32),
    )  # fmt: skip
    one = made(graph)
    result = one.emit(form)
    assert "Clip" not in ops(result)
    step = float(one.activations["z"].scale)
    for outputs in run(result, [{"x": 100 * feed["x"]} for feed in feeds_of(graph)]):
        assert outputs["z"].min() >= -0.5 - 0.51 * step
        assert outputs["z"].max() <= 1 + 0.51 * step


@FORMS
@pytest.mark.parametrize("optimize", [True, False])
def test_a_clamp_stays_where_the_codes_reach_beyond_it(form: str, optimize: bool) -> None:
    """Symmetric codes of a rectified tensor have a negative half, so they do not saturate at 0."""
    graph = text_model("(float[1,4,6,6] x) => (float[1,4,6,6] z) { a = Conv (x, w) z = Relu(a) }", w=random(4, 4, 1, 1))
    result = made(graph, tensors={"z": {"symmetric": True}}).emit(form)
    assert "Relu" in ops(result)
    assert run(result, feeds_of(graph), optimize)[0]["z"].min() == 0
    assert sqnr(graph, result, optimize) > 28


@FORMS
def test_changed_parameters_cannot_undo_a_clamp(form: str) -> None:
    """Accuracy algorithms may hand in parameters of their own."""
    graph = text_model("(float[1,4,6,6] x) => (float[1,4,6,6] z) { a = Conv (x, w) z = Relu(a) }", w=random(4, 4, 1, 1))
    one = made(graph)
    wider = params_for_range(one.activations["z"].format, -3.0, 8.0)
    result = replace(one, activations={**one.activations, "z": wider}).emit(form)
    assert run(result, feeds_of(graph))[0]["z"].min() == 0


@FORMS
def test_readers_of_one_tensor_share_its_conversions(form: str) -> None:
    graph = text_model(
        """(float[1,4,6,6] x) => (float[1,4,6,6] p, float[1,4,6,6] q, float[1,4,6,6] r) {
        t = Tanh(x) a = Conv (t, w) b = Conv (t, w2) p = Tanh(a) q = Exp(a) r = Add(a, b) }""",
        w=random(4, 4, 1, 1), w2=random(4, 4, 1, 1, seed=2),
    )  # fmt: skip
    result = made(graph).emit(form)
    quantizes = [n for n in result.nodes if n.op == "QuantizeLinear" and n.input(0) == "t"]
    assert len(quantizes) == 1
    assert len([n for n in result.nodes if n.op == "DequantizeLinear" and n.output == "a"]) == 1
    assert sqnr(graph, result) > 28


@FORMS
def test_outputs_that_nobody_reads(form: str) -> None:
    graph = text_model("(float[2,8] x) => (float[2,4] z) { a, z = Split <axis=1> (x) }")
    result = made(graph).emit(form)
    assert sqnr(graph, result) > 35


@FORMS
def test_a_float_layer_amid_integers_keeps_its_precision(form: str) -> None:
    graph = text_model(
        "(float[1,8,6,6] x) => (float[1,8,6,6] z) { a = Conv (x, w) b = Conv (a, w2) z = Conv (b, w) }",
        w=random(8, 8, 1, 1), w2=random(8, 8, 1, 1, seed=4) * np.float32([100] + 7 * [1]).reshape(8, 1, 1, 1),
    )  # fmt: skip
    one = made(graph, nodes={"n_b": {"keep": "float"}})
    assert one.plan.anchors == {"n_b"}
    result = one.emit(form).with_(opsets={**one.emit(form).opsets, "": 21})
    assert any(w.numpy().dtype == np.int16 for w in result.weights.values())
    assert sqnr(graph, result) > 28


@FORMS
def test_16_bit_activations_run_in_every_form(form: str) -> None:
    graph = text_model(
        "(float[1,8,6,6] x) => (float[1,8,6,6] z) { a = Conv (x, w, b) z = Conv (a, w, b) }",
        opset=21,
        w=random(8, 8, 1, 1),
        b=random(8),
    )
    one = made(graph, tensors={"a": {"bits": 16}})
    assert one.plan.opset == 21
    assert one.activations["a"].format.dtype == "uint16"
    for optimize in (True, False):
        assert sqnr(graph, one.emit(form), optimize) > 28


@FORMS
def test_a_tied_group_has_one_scale(form: str) -> None:
    graph = text_model(
        "(float[1,4,6,6] x) => (float[6,24] z) { a = Conv (x, w) b = MaxPool <kernel_shape=[1,1]> (a) t = Transpose <perm=[0,2,3,1]> (b) z = Reshape (t, shape) }",
        w=random(4, 4, 1, 1), shape=np.array([6, -1], np.int64),
    )  # fmt: skip
    one = made(graph)
    assert one.activations["a"] is one.activations["z"]
    assert sqnr(graph, one.emit(form)) > 30


@FORMS
def test_padding_in_integers_is_padding_with_the_zero_point(form: str) -> None:
    graph = text_model(
        "(float[1,2,3,3] x) => (float[1,2,5,5] y, float[1,2,5,5] z) { y = Pad (x, pads) z = Pad (x, pads, value) }",
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), value=np.array(-0.5, np.float32),
    )  # fmt: skip
    target = replace(X86, kernels=replace(X86.kernels, integer=(*X86.kernels.integer, Kernel("Pad"))))
    one = made(graph, target=target)
    for optimize in (True, False):
        result = run(one.emit(form), feeds_of(graph), optimize)[0]
        assert (result["y"][..., 0] == 0).all()
        assert np.abs(result["z"][..., 0] + 0.5).max() <= 0.51 * float(one.activations["x"].scale)


def test_a_target_that_writes_float_gets_pairs_on_inputs_only() -> None:
    from qconvert.targets import TARGETS

    graph = text_model(
        "(float[1,16,8,8] x) => (float[1,16,8,8] z) { a = Conv (x, w) r = Relu(a) b = Conv (r, w) s = Add(b, r) z = Relu(s) }",
        w=random(16, 16, 1, 1),
    )
    one = made(graph, target=TARGETS["tensorrt"])
    result = one.emit("qdq")
    assert all(w.numpy().dtype != np.int32 for w in result.weights.values())
    pairs = {n.input(0) for n in result.nodes if n.op == "QuantizeLinear"}
    assert pairs == {"x", "r"}  # r: input of the second convolution and skip branch of the sum
    conv_side = result.producer[result.by_name["n_s"].input(0)]
    assert conv_side.op == "Conv"
    assert sqnr(graph, result, optimize=False) > 25


@FORMS
def test_four_bit_weights_are_stored_in_four_bits_and_run_in_integer_kernels(form: str, tmp_path: Path) -> None:
    graph = raise_opset(residual(), 21).graph
    rules = {node.name: {"weight_bits": 4} for node in graph.nodes if node.op in ("Conv", "Gemm")}
    made_small = made(graph, nodes=rules)
    result = made_small.emit(form)
    stored = [w for name, w in result.weights.items() if result.type_of(name).dtype == "int4"]
    assert sorted(tuple(w.shape) for w in stored) == sorted(graph.weight_shape(f"w{i}") for i in (1, 2, 3))
    assert made_small.plan.prediction.bytes < 0.6 * made(graph).plan.prediction.bytes
    executed = ops(optimized(result, tmp_path))
    assert {"QLinearConv", "QGemm"} <= set(executed)
    assert "Cast" not in executed
    for optimize in (False, True):
        assert sqnr(graph, result, optimize) > 12


@pytest.mark.parametrize(
    ("shape", "layer", "reader"),
    [
        ((2, 64), "MatMul (x, w)", "Add (a, c)"),
        ((2, 8, 64), "MatMul (x, w)", "Add (a, c)"),
        ((2, 64), "Gemm (x, w)", "Transpose <perm=[1,0]> (a)"),
    ],
)
def test_no_float_reader_takes_an_integer_product_into_a_float_operator(
    shape: tuple[int, ...], layer: str, reader: str, tmp_path: Path
) -> None:
    """The runtime's float fusions come first, and what they make dequantizes its weight at every run."""
    dims = ",".join(map(str, shape))
    graph = text_model(
        f"(float[{dims}] x, float[{dims}] c) => (float[{','.join('?' * len(shape))}] y) {{ a = {layer} s = {reader} y = Tanh (s) }}",
        w=random(64, 64),
    )
    kept = {"n_s": {"keep": "float"}, "n_y": {"keep": "float"}}
    executed = optimized(quantized(graph, feeds_of(graph), nodes=kept).emit(), tmp_path)
    assert {"QLinearMatMul", "QGemm"} & set(ops(executed)), "the product runs in integers"
    assert ops(executed).count("DequantizeLinear") == 1, "of its result, not of its weight"

"""What the runtime really executes, on real onnxruntime: everything is traced, and nothing is called integer that is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from quantize_support import Quantized, feeds_of, quantized, random, text_model

from qconvert.errors import QConvertError
from qconvert.graph import Graph, save, serialize, weight
from qconvert.plan import Kind, NodePlan, Plan
from qconvert.recipe.types import Recipe
from qconvert.verify import Readback, RunsAs, findings, read_back
from qconvert.verify.readback import UNTRACED, does

DYNAMIC = {name: {"keep": "integer", "mode": "dynamic"} for name in ("n_h0", "n_k")}


def residual(opset: int = 17) -> Graph:
    text = """(float[1,4,8,8] x) => (float[1,10] y) {
        a0 = Conv<pads=[1,1,1,1]>(x, w1, v1)
        a = Relu(a0)
        b0 = Conv<pads=[1,1,1,1]>(a, w2, v1)
        b = Relu(b0)
        c = Conv(b, w3)
        d = Add(a, c)
        p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(d)
        r = Reshape(p, s)
        y = Gemm(r, w4, v2)
    }"""
    weights = {"w1": random(16, 4, 3, 3), "v1": random(16), "w2": random(16, 16, 3, 3), "w3": random(16, 16, 1, 1), "w4": random(256, 10), "v2": random(10)}  # fmt: skip
    return text_model(text, opset, s=np.array([1, -1], np.int64), **weights)


def transformer() -> Graph:
    text = """(float[1,8,32] x) => (float[1,8,32] y) {
        h0 = MatMul(x, w1)
        h1 = Add(h0, v1)
        e0 = Div(h1, root)
        e1 = Erf(e0)
        e2 = Add(e1, one)
        e3 = Mul(h1, e2)
        h = Mul(e3, half)
        k = MatMul(h, w2)
        m = Add(k, x)
        y = LayerNormalization(m, g, z)
    }"""
    f = np.float32
    return text_model(text, w1=random(32, 64), v1=random(64), w2=random(64, 32), root=f(2**0.5), one=f(1), half=f(0.5), g=np.ones(32, f), z=np.zeros(32, f))  # fmt: skip


def back(made: Quantized, form: str = "qdq") -> Readback:
    return read_back(serialize(made.emit(form)), made.graph, made.plan)


def of(readback: Readback, name: str) -> RunsAs:
    return next(n for n in readback.nodes if n.node == name)


def as_planned(made: Quantized, **kinds: Kind) -> Plan:
    """The plan as if it had asked for something else."""
    nodes = {name: replace(p, kind=kinds.get(name, p.kind)) for name, p in made.plan.nodes.items()}
    return replace(made.plan, nodes=nodes)


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_an_integer_model_is_traced_completely(form: str) -> None:
    graph = residual()
    found = back(quantized(graph, feeds_of(graph)), form)

    assert {n.node: (n.kernel, n.integer) for n in found.nodes} == {
        "n_a0": ("QLinearConv", True),
        "n_a": ("", True),
        "n_b0": ("QLinearConv", True),
        "n_b": ("", True),
        "n_c": ("QLinearConv", True),
        "n_d": ("QLinearAdd", True),
        "n_p": ("NhwcMaxPool", True),
        "n_r": ("Reshape", True),
        "n_y": ("QGemm", True),
    }
    assert found.integer_macs == 1
    assert found.kernels["QLinearConv"] == 3
    assert found.islands == ()
    assert found.conversions == sum(found.kernels.get(op, 0) for op in ("QuantizeLinear", "DequantizeLinear")) > 0
    assert not any(n.cause for n in found.nodes)
    assert findings(found) == ()


def test_a_file_is_read_back_like_bytes(tmp_path: Path) -> None:
    graph = residual()
    made = quantized(graph, feeds_of(graph))
    save(made.emit(), tmp_path / "q.onnx")

    assert read_back(tmp_path / "q.onnx", made.graph, made.plan) == back(made)


def test_the_float_model_has_no_integer_node() -> None:
    graph = residual()
    plan = as_planned(quantized(graph, feeds_of(graph)), **{n.name: Kind.FLOAT for n in graph.nodes})

    found = read_back(serialize(graph), graph, plan)

    assert not any(n.integer for n in found.nodes)
    assert UNTRACED not in {n.kernel for n in found.nodes}
    assert of(found, "n_a0").kernel in ("nchwc.Conv", "FusedConv", "Conv")
    assert (found.integer_macs, found.conversions, found.islands) == (0, 0, ())
    assert findings(found) == ()


def test_an_integer_plan_against_a_float_file_is_told_node_by_node() -> None:
    graph = residual()
    made = quantized(graph, feeds_of(graph))

    found = read_back(serialize(graph), graph, made.plan)

    told = {d.where for d in findings(found) if d.code == "V101"}
    assert told == {n.node for n in found.nodes}
    assert "its input `x` is float" in of(found, "n_a0").cause
    assert of(found, "n_a").cause.startswith("its host `n_a0`")
    assert found.integer_macs == 0


def test_the_share_counts_multiply_accumulates() -> None:
    graph = residual()
    made = quantized(graph, feeds_of(graph), nodes={"n_y": {"keep": "float"}})
    found = back(made)

    assert of(found, "n_y") == RunsAs(node="n_y", op="Gemm", asked="float", kernel="Gemm", integer=False)
    assert found.integer_macs == pytest.approx(made.plan.prediction.integer_share)
    assert found.integer_macs < 1


def test_a_layer_that_the_runtime_quantizes_at_load_is_told() -> None:
    graph = residual()
    made = quantized(graph, feeds_of(graph))
    emitted = made.emit()
    conv = emitted.by_name["n_c"]
    trap = emitted.with_(
        nodes=tuple(n if n is not conv else n.with_(inputs=(n.input(0), "w3", *n.inputs[2:])) for n in emitted.nodes),
        weights={**emitted.weights, "w3": graph.weights["w3"]},
    )

    found = read_back(serialize(trap), graph, as_planned(made, n_c=Kind.FLOAT))

    assert of(found, "n_c").integer
    assert "quantizes its float weight `w3` at load" in of(found, "n_c").cause
    assert [(d.code, d.where) for d in findings(found)] == [("C209", "n_c")]


def test_a_float_layer_amid_integers_is_an_island() -> None:
    graph = residual(opset=21)
    made = quantized(graph, feeds_of(graph), nodes={"n_c": {"keep": "float"}})
    found = back(made)

    assert found.islands == ("n_c",)
    assert not of(found, "n_c").integer
    assert "float island: a rule keeps it float" in of(found, "n_c").cause
    assert findings(found) == ()  # as planned


def test_a_tensor_with_two_readers_keeps_int8_layers_in_float() -> None:
    graph = residual()
    made = quantized(graph, feeds_of(graph))
    emitted = made.emit()
    signed = {
        name: weight((value.numpy().astype(np.int16) - 128).astype(np.int8))
        for name, value in emitted.weights.items()
        if name.endswith("/zero_point") and str(value.numpy().dtype) == "uint8"
    }

    found = read_back(
        serialize(
            emitted.with_(
                weights={**emitted.weights, **signed}, types={k: t for k, t in emitted.types.items() if k in ("x", "y")}
            )
        ),
        graph,
        made.plan,
    )

    causes = {n.node: n.cause for n in found.nodes if not n.integer}
    assert causes, "onnxruntime turns all of it into uint8 by now"
    assert any("is int8 and has 2 consumers" in cause for cause in causes.values())


def test_a_missing_quantization_of_the_result_is_the_cause() -> None:
    graph = text_model("(float[1,16,8,8] x) => (float[1,16,8,8] y) { a = Conv(x, w)\n b = Conv(a, w2)\n y = Tanh(b) }", w=random(16, 16, 1, 1), w2=random(16, 16, 1, 1, seed=1))  # fmt: skip
    made = quantized(graph, feeds_of(graph))
    emitted = made.emit()
    pair = {"b/QuantizeLinear", "b/DequantizeLinear"}
    bare = emitted.with_(
        nodes=tuple(n.with_(outputs=("b",)) if n.name == "n_b" else n for n in emitted.nodes if n.name not in pair)
    )

    found = read_back(serialize(bare), graph, made.plan)

    assert of(found, "n_a").integer
    assert not of(found, "n_b").integer
    assert of(found, "n_b").cause == "nothing quantizes its result `b` before `n_y` reads it"
    assert [d.where for d in findings(found)] == ["n_b"]


def test_products_with_dynamic_ranges_and_what_went_into_them() -> None:
    graph = transformer()
    made = quantized(graph, feeds_of(graph), recipe=Recipe(), nodes=DYNAMIC)
    found = back(made)

    assert {n.node: n.kernel for n in found.nodes if n.asked == "dynamic"} == {"n_h0": "DynamicQuantizeMatMul", "n_k": "DynamicQuantizeMatMul"}  # fmt: skip
    assert found.integer_macs == 1
    assert {of(found, name).kernel for name in ("n_e0", "n_e1", "n_e2", "n_e3", "n_h")} <= {"", "Gelu"}
    assert "SkipLayerNormalization" not in found.kernels or of(found, "n_m").kernel == ""
    assert UNTRACED not in {n.kernel for n in found.nodes}
    assert findings(found) == ()


def test_tables_in_8_bits() -> None:
    graph = text_model("(int64[1,4] i) => (float[1,4,32] y) { e = Gather(t, i)\n y = LayerNormalization(e, g, z) }", t=random(1000, 32), g=np.ones(32, np.float32), z=np.zeros(32, np.float32))  # fmt: skip
    made = quantized(graph, [{"i": np.arange(4).reshape(1, 4)}])
    found = back(made)

    assert of(found, "n_e") == RunsAs(node="n_e", op="Gather", asked="lookup", kernel="Gather", integer=True)


def test_a_node_without_any_trace_is_reported_as_such() -> None:
    graph, other = residual(), text_model("(float[1,4] q) => (float[1,4] o) { o = Exp(q) }")
    made = quantized(graph, feeds_of(graph))

    found = read_back(serialize(other), graph, made.plan)

    assert {n.kernel for n in found.nodes if n.asked != "absorbed"} == {UNTRACED}
    assert not any(n.integer for n in found.nodes)
    assert {d.severity for d in findings(found)} <= {"note", "warning"}


def test_what_is_folded_at_load_is_not_integer() -> None:
    graph = text_model("(float[2,8] x) => (float[8,2] y) { s = Shape(x)\n r = Gather(s, one)\n t = Concat<axis=0>(r, minus)\n y = Reshape(x, t) }", one=np.array([1], np.int64), minus=np.array([-1], np.int64))  # fmt: skip
    plan = replace(quantized(residual(), feeds_of(residual())).plan, nodes={n.name: NodePlan(Kind.FLOAT) for n in graph.nodes})  # fmt: skip

    found = read_back(serialize(graph), graph, plan)

    assert {of(found, name).kernel for name in ("n_s", "n_r", "n_t")} == {""}
    assert of(found, "n_y").kernel == "Reshape"
    assert found.integer_macs == 0


def test_a_file_that_does_not_load_is_an_error() -> None:
    graph = residual()
    plan = quantized(graph, feeds_of(graph)).plan
    broken = graph.with_(nodes=tuple(n.with_(op="Reluu") if n.op == "Relu" else n for n in graph.nodes))

    with pytest.raises(QConvertError, match="V002"):
        read_back(serialize(broken), graph, plan)


@pytest.mark.parametrize(
    ("kernel", "op", "answer"),
    [
        ("QLinearConv", "Conv", True), ("FusedConv", "Conv", True), ("QGemm", "Gemm", True), ("QGemm", "MatMul", True),
        ("DynamicQuantizeMatMul", "Gemm", True), ("MatMulIntegerToFloat", "MatMul", True), ("NhwcMaxPool", "MaxPool", True),
        ("SkipLayerNormalization", "LayerNormalization", True), ("QLinearConcat", "Concat", True), ("QuickGelu", "Gelu", True),
        ("Reshape", "Shape", False), ("FusedMatMul", "Mul", False), ("QLinearConv", "Relu", False), ("QAttention", "MatMul", False),
    ],
)  # fmt: skip
def test_kernels_are_known_by_their_names(kernel: str, op: str, answer: bool) -> None:
    assert does(kernel, op) is answer


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_products_of_few_bits_are_found_and_what_follows_is_float(form: Literal["qdq", "qoperator"]) -> None:
    text = "(int64[2,5] i) => (float[2,5,40] y) { e = Gather <axis=0> (table, i) r = Sin (e) y = MatMul (r, w) }"
    graph = text_model(text, table=random(600, 40), w=random(40, 40))
    recipe = Recipe(mode="weight-only", format=form)
    found = quantized(graph, [], recipe=recipe)
    readback = read_back(serialize(found.emit(form)), graph, found.plan)
    by_name = {node.node: node for node in readback.nodes}
    assert by_name["n_y"].kernel == "MatMulNBits"
    assert by_name["n_y"].integer
    assert not by_name["n_r"].integer
    assert not findings(readback)

"""Operators that onnxruntime's optimizer has fused are taken apart, so that any target can quantize them."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from canonicalize_support import check, model, ops, positive, random

from qconvert.canonicalize import canonicalize
from qconvert.graph import Graph, load, save

IMAGE, KERNEL = "float[2,4,6,6] x", {"w": random(8, 4, 3, 3), "b": random(8)}


def fused(text: str, opset: int = 17, **weights: np.ndarray) -> Graph:
    return model(text, opset, weights=weights).with_(opsets={"": opset, "com.microsoft": 1})


@pytest.mark.parametrize(
    ("activation", "standard"),
    [
        ('activation="Relu"', "Relu"),
        ('activation="Sigmoid"', "Sigmoid"),
        ('activation="Tanh"', "Tanh"),
        ('activation="LeakyRelu", activation_params=[0.2]', "LeakyRelu"),
        ('activation="Clip", activation_params=[-0.5, 0.75]', "Clip"),
        ('activation="HardSigmoid", activation_params=[0.3, 0.4]', "HardSigmoid"),
    ],
)
def test_an_activation_leaves_its_convolution(activation: str, standard: str) -> None:
    text = f"({IMAGE}) => (float[2,8,6,6] y) {{ y = com.microsoft.FusedConv <pads=[1,1,1,1], {activation}> (x, w, b) }}"
    assert ops(check(fused(text, **KERNEL))) == ["Conv", standard]


def test_a_sum_leaves_its_convolution() -> None:
    text = f"""({IMAGE}, float[2,8,6,6] z) => (float[2,8,6,6] y) {{
        y = com.microsoft.FusedConv <pads=[1,1,1,1], activation="Relu"> (x, w, b, z)
    }}"""
    assert ops(check(fused(text, **KERNEL))) == ["Conv", "Add", "Relu"]


def test_an_unknown_activation_is_left_with_the_reason() -> None:
    text = f'({IMAGE}) => (float[2,8,6,6] y) {{ y = com.microsoft.FusedConv <pads=[1,1,1,1], activation="Mystery"> (x, w, b) }}'
    found = fused(text, **KERNEL)
    result = canonicalize(found)
    assert ops(result) == ["FusedConv"]
    assert any("Mystery" in d.message for d in result.diagnostics)


@pytest.mark.parametrize(
    ("attributes", "standard"),
    [('activation="Relu"', "Relu"), ('transB=0, alpha=0.5, activation="LeakyRelu", activation_alpha=0.3', "LeakyRelu")],
)
def test_an_activation_leaves_its_gemm(attributes: str, standard: str) -> None:
    text = f"(float[3,4] x) => (float[3,5] y) {{ y = com.microsoft.FusedGemm <{attributes}> (x, w, b) }}"
    assert ops(check(fused(text, w=random(4, 5), b=random(5)))) == ["Gemm", standard]


@pytest.mark.parametrize(
    ("attributes", "left", "right", "wanted"),
    [
        ("alpha=0.25", "2,3,4", "2,4,5", ["MatMul", "Mul"]),
        ("transB=1", "2,3,4", "2,5,4", ["Transpose", "MatMul"]),
        ("transA=1, transB=1, alpha=2.0", "2,4,3", "2,5,4", ["Transpose", "Transpose", "MatMul", "Mul"]),
    ],
)
def test_a_product_loses_its_factor_and_its_turns(attributes: str, left: str, right: str, wanted: list[str]) -> None:
    text = f"""(float[{left}] x, float[{right}] z) => (float[2,3,5] y) {{
        y = com.microsoft.FusedMatMul <{attributes}> (x, z)
    }}"""
    assert ops(check(fused(text))) == wanted


def test_a_turned_weight_becomes_a_weight() -> None:
    text = "(float[2,3,4] x) => (float[2,3,5] y) { y = com.microsoft.FusedMatMul <transB=1> (x, w) }"
    assert ops(check(fused(text, w=random(5, 4)))) == ["MatMul"]


@pytest.mark.parametrize("bias", ["", ", b"])
@pytest.mark.parametrize("total", ["", ", , , s"])
def test_a_sum_leaves_its_normalization(bias: str, total: str) -> None:
    result = ", float[2,3,8] s" if total else ""
    text = f"""(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y{result}) {{
        y{total} = com.microsoft.SkipLayerNormalization <epsilon=0.01> (x, z, scale, shift{bias})
    }}"""
    found = check(fused(text, scale=positive(8), shift=random(8), **({"b": random(8)} if bias else {})))
    assert ops(found) == ["Add", *(["Add"] if bias else []), "LayerNormalization"]


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("call", ["BiasGelu(x, b)", "Gelu(x)", "QuickGelu(x)"])
def test_gates_become_standard_operators(opset: int, call: str) -> None:
    text = f"(float[2,3,8] x) => (float[2,3,8] y) {{ y = com.microsoft.{call} }}"
    found = check(fused(text, opset, **({"b": random(8)} if "b)" in call else {})))
    assert {node.domain for node in found.graph.nodes} == {""}
    assert ("Gelu" in ops(found)) == (opset == 20 and "Quick" not in call)


def test_what_onnxruntime_saved_is_what_it_was_made_of(tmp_path: Path) -> None:
    text = f"""({IMAGE}) => (float[2,5] y) {{
        a = Conv <pads=[1,1,1,1]> (x, w, b)
        r = Relu (a)
        c = Conv <pads=[1,1,1,1]> (r, v)
        l = LeakyRelu <alpha=0.1> (c)
        p = GlobalAveragePool (l)
        f = Flatten (p)
        g = Gemm <transB=1> (f, u)
        y = Relu (g)
    }}"""
    graph = model(text, weights={**KERNEL, "v": random(8, 8, 3, 3), "u": random(5, 8)})
    save(graph, tmp_path / "plain.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(tmp_path / "plain.onnx", options, providers=["CPUExecutionProvider"])
    saved = load(tmp_path / "optimized.onnx")
    assert {node.op for node in saved.nodes} & {"FusedConv", "FusedGemm"}
    assert [op for op in ops(check(saved)) if op != "Flatten"] == [n.op for n in graph.nodes if n.op != "Flatten"]

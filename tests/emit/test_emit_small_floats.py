"""NVFP4 and MXFP8 weights for TensorRT: the numbers in the file, computed independently, are those that are evaluated."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from quantize_support import feeds_of, planned, quantized, random, run, text_model

from qconvert.calibrate import fake_quantize
from qconvert.emit.emulate import emulated
from qconvert.emit.half import to_half
from qconvert.errors import QConvertError
from qconvert.graph import infer_types, serialize
from qconvert.plan import Kind
from qconvert.recipe.types import Recipe
from qconvert.targets import TARGETS
from qconvert.verify import check

TENSORRT = TARGETS["tensorrt"]
MATMUL = text_model("(float[3,64] x) => (float[3,24] y) { y = MatMul(x, w) }", opset=23, w=random(64, 24))
GEMM = text_model(
    "(float[3,64] x) => (float[3,24] y) { y = Gemm<transB=1>(x, w, b) }", opset=23, w=random(24, 64), b=random(24)
)
MODELS = {"matmul": MATMUL, "gemm": GEMM}


def made(graph, levels):
    recipe = Recipe(mode="weight-only", weights={"levels": levels})
    return quantized(graph, feeds_of(graph), TENSORRT, recipe)


def stored(product, op):
    """Codes and operands of the operator that rebuilds the weight."""
    node = next(n for n in product.nodes if n.op == op and n.attr("block_size"))
    return node, product.weights[node.input(0)].numpy().astype(np.float32), node.input(1)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_nvfp4_is_fp4_times_fp8_times_one_number(name):
    graph = MODELS[name]
    full = made(graph, "nvfp4")
    product = full.emit()
    node, codes, scales = stored(product, "DequantizeLinear")
    inner = product.producer[scales]
    short, whole = (product.weights[inner.input(i)].numpy() for i in (0, 1))
    assert (product.weights[node.input(0)].dtype, short.dtype) == ("float4_e2m1fn", ml_dtypes.float8_e4m3fn)
    assert (node.attr("block_size"), node.attr("axis")) == (16, 0)  # the rows of [inputs, outputs] are summed over
    real = codes * np.repeat(short.astype(np.float32) * whole, 16, axis=0)
    wanted = fake_quantize(graph.weights["w"].numpy(), full.weights["n_y", 1])
    assert np.allclose(real if name == "matmul" else real.T, wanted, rtol=1e-5, atol=1e-7)
    original = graph.weights["w"].numpy()
    assert np.square(wanted - original).mean() < 0.02 * np.square(original).mean()
    onnx.checker.check_model(serialize(product), full_check=True)
    assert check(product, TENSORRT) == ()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_mxfp8_is_fp8_times_powers_of_two(name):
    graph = MODELS[name]
    full = made(graph, "mxfp8")
    product = full.emit()
    node, codes, scales = stored(product, "TRT_MXFP8DequantizeLinear")
    exponents = product.weights[scales].numpy()
    assert exponents.dtype == np.uint8
    assert (node.attr("block_size"), node.domain, product.opsets["trt"]) == (32, "trt", 1)
    real = codes * np.repeat(2.0 ** (exponents.astype(np.float32) - 127), 32, axis=0)
    wanted = fake_quantize(graph.weights["w"].numpy(), full.weights["n_y", 1])
    assert np.allclose(real if name == "matmul" else real.T, wanted, rtol=1e-6, atol=1e-7)
    original = graph.weights["w"].numpy()
    assert np.square(wanted - original).mean() < 1e-3 * np.square(original).mean()


@pytest.mark.parametrize("levels", ["nvfp4", "mxfp8"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_stand_in_computes_with_these_weights_in_both_widths(name, levels):
    graph = MODELS[name]
    full = made(graph, levels)
    feeds = feeds_of(graph)
    weight = fake_quantize(graph.weights["w"].numpy(), full.weights["n_y", 1])
    x = feeds[0]["x"]
    wanted = x @ weight if name == "matmul" else x @ weight.T + graph.weights["b"].numpy()
    assert np.allclose(run(emulated(full.emit()), feeds)[0]["y"], wanted, atol=1e-4)
    half = to_half(infer_types(full.emit()))
    assert np.allclose(run(emulated(half), feeds)[0]["y"], wanted, rtol=2e-2, atol=5e-2)
    assert check(half, TENSORRT) == ()


def test_layers_that_blocks_do_not_divide_stay_as_they_are():
    graph = text_model("(float[3,50] x) => (float[3,24] y) { y = MatMul(x, w) }", w=random(50, 24))
    found = planned(graph, TENSORRT, Recipe(mode="weight-only", weights={"levels": "nvfp4"})).nodes["n_y"]
    assert found.kind is Kind.FLOAT
    assert "16" in found.reason.text


@pytest.mark.parametrize("target", ["x86-vnni", "tflite-micro"])
def test_other_targets_refuse(target):
    with pytest.raises(QConvertError, match="R009"):
        planned(MATMUL, TARGETS[target], Recipe(mode="weight-only", weights={"levels": "nvfp4"}))

"""Values that no range or shape describes: infinite masks, sequences, optionals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from quantize_support import random, text_model

import qconvert
from qconvert.errors import QConvertError
from qconvert.graph import Graph, load, save
from qconvert.report import RunRecord

_STATIC = {"mode": "static", "placement": "everywhere", "algorithms": "none", "evaluation.latency": False}


def convert(graph: Graph, folder: Path, target: str, changes: Mapping[str, object] = _STATIC) -> RunRecord:
    """A conversion with eight samples of each input [1, n]."""
    save(graph, folder / "model.onnx")
    shapes = {name: graph.type_of(name).shape or () for name in graph.feeds}
    (folder / "data").mkdir()
    np.savez(folder / "data" / "x.npz", **{name: random(8, *shape[1:]) for name, shape in shapes.items()})  # type: ignore[arg-type]
    return qconvert.convert(folder / "model.onnx", folder / "out", data=folder / "data", target=target, changes=changes)


def masked() -> Graph:
    """Scores that are minus infinity where the input is negative, which a sigmoid takes to zero."""
    return text_model(
        """(float[1,16] x) => (float[1,8] y)
        { h = Gemm(x, w, b) c = Greater(h, zero) m = Where(c, h, low) s = Sigmoid(m) y = Gemm(s, v, d) }""",
        w=random(16, 16),
        b=random(16),
        v=random(16, 8),
        d=random(8),
        zero=np.float32(0),
        low=np.float32(-np.inf),
    )


@pytest.mark.parametrize("target", ["x86-vnni", "tensorrt"])
def test_what_touches_infinite_values_stays_float(tmp_path: Path, target: str) -> None:
    record = convert(masked(), tmp_path, target)
    assert record.measurements.fidelity is not None
    assert record.measurements.fidelity.sqnr_db > 30
    kinds = {node.name: node.kind for node in record.plan.nodes}
    assert (kinds["n_m"], kinds["n_s"], kinds["n_y"]) == (
        "float",
        "float",
        "integer" if target == "x86-vnni" else "float",
    )


def test_infinite_values_are_refused_where_nothing_can_stay_float(tmp_path: Path) -> None:
    graph = text_model(
        "(float[1,4] x) => (float[1,4] y) { z = Div(x, zero) y = Relu(z) }", zero=np.zeros(1, np.float32)
    )
    with pytest.raises(QConvertError) as refused:
        convert(graph, tmp_path, "tflite-micro")
    assert {d.code for d in refused.value.diagnostics} <= {"M013", "M014"}


@pytest.mark.parametrize("target", ["x86-vnni", "tflite-micro"])
def test_a_sum_that_cancels_is_zero(tmp_path: Path, target: str) -> None:
    """TFLM's kernel ends the process where a sum has a scale far below those of what is added."""
    graph = text_model(
        """(float[1,16] x) => (float[1,8] y)
        { s = Sigmoid(x) t = Add(s, tiny) d = Sub(t, s) e = Relu(d) f = Add(e, s) y = Gemm(f, w) }""",
        tiny=np.full((1, 16), 1e-7, np.float32),
        w=random(16, 8),
    )
    record = convert(graph, tmp_path, target)
    assert record.measurements.fidelity is not None
    assert record.measurements.fidelity.sqnr_db > 30


@pytest.mark.parametrize("mode", ["static", "dynamic", "weight-only", "codebook"])
@pytest.mark.parametrize(("weight", "x", "y"), [([32], "1,4,32", "1,4"), ([2, 32, 16], "1,2,4,32", "1,2,4,16")])
def test_products_with_weights_that_are_no_matrix(tmp_path: Path, mode: str, weight: list[int], x: str, y: str) -> None:
    graph = text_model(f"(float[{x}] x) => (float[{y}] y) {{ h = Relu(x) y = MatMul(h, w) }}", w=random(*weight))
    record = convert(graph, tmp_path, "x86-vnni", {**_STATIC, "mode": mode, "algorithms": "auto"})
    assert record.measurements.fidelity is not None
    assert record.measurements.fidelity.sqnr_db > 15


def test_empty_inputs_are_refused_where_sizes_are_fixed(tmp_path: Path) -> None:
    save(text_model("(float[2,0,4] x) => (float[2,0,4] y) { y = Relu(x) }"), tmp_path / "model.onnx")
    with pytest.raises(QConvertError, match=r"M010.*dimension 1 is 0"):
        qconvert.convert(tmp_path / "model.onnx", tmp_path / "out", target="tflite-micro")


def test_an_output_may_be_a_sequence(tmp_path: Path) -> None:
    graph = text_model(
        "(float[1,16] x) => (seq(float[1,4]) y) { h = Gemm(x, w) y = SplitToSequence<axis=1>(h, four) }",
        w=random(16, 8),
        four=np.int64(4),
    )
    convert(graph, tmp_path, "x86-vnni")
    result = onnx.load(tmp_path / "out" / "model.onnx")
    assert result.graph.output[0].type.HasField("sequence_type")
    assert "DequantizeLinear" in {node.op_type for node in result.graph.node}


@pytest.mark.parametrize("kind", ["seq(float[2])", "optional(float[2])"])
def test_an_input_may_not(tmp_path: Path, kind: str) -> None:
    read = "SequenceLength" if "seq" in kind else "OptionalHasElement"
    graph = text_model(f"({kind} x) => (int64 y) {{ y = {read}(x) }}")
    save(graph, tmp_path / "model.onnx")
    assert load(tmp_path / "model.onnx").type_of("x") == graph.type_of("x")
    with pytest.raises(QConvertError, match=r"M010.*input `x` is no tensor"):
        qconvert.convert(tmp_path / "model.onnx", tmp_path / "out", target="x86-vnni")


@pytest.mark.parametrize("size", [1, 2, 32])
def test_even_shares_survive_the_integer_softmax(tmp_path: Path, size: int) -> None:
    """QLinearSoftmax, which onnxruntime makes of any Softmax between Q/DQ pairs, overflows in small output scales."""
    graph = text_model(
        "(float[1,16] x) => (float[1,8] y) { g = Gemm(x, w, b) h = Sigmoid(g) s = Softmax(h) y = Gemm(s, v, d) }",
        w=random(16, size),
        b=random(size),
        v=random(size, 8),
        d=random(8) * np.float32(0.1),
    )
    record = convert(graph, tmp_path, "x86-vnni")
    assert record.measurements.fidelity is not None
    assert record.measurements.fidelity.sqnr_db > 30

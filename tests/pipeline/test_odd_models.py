"""Values that no range or shape describes: infinite masks, sequences, optionals."""

from __future__ import annotations

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


def convert(graph: Graph, folder: Path, target: str) -> RunRecord:
    """A conversion with eight samples of each input [1, n]."""
    save(graph, folder / "model.onnx")
    shapes = {name: graph.type_of(name).shape or () for name in graph.feeds}
    (folder / "data").mkdir()
    np.savez(folder / "data" / "x.npz", **{name: random(8, *shape[1:]) for name, shape in shapes.items()})  # type: ignore[arg-type]
    return qconvert.convert(folder / "model.onnx", folder / "out", data=folder / "data", target=target, changes=_STATIC)


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

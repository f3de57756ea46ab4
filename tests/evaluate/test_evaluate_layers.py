"""Error of layers, and sizes, on small real models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluate_models import FakeSamples, graph_of

from qconvert.data import Sample
from qconvert.evaluate import bytes_of, dequantized_values, layer_errors, layers, measure_size, model_files
from qconvert.graph import load, save, weight
from qconvert.runtime import Options, opened

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[b, 4] x) => (float[b, 4] y) '
FLOAT = graph_of(
    HEAD + "<float[4] two = {2, 2, 2, 2}> { [mul] m = Mul(x, two)\n [relu] r = Relu(m)\n [neg] y = Neg(r) }"
)
QDQ = graph_of(
    HEAD
    + """<float[4] two = {2, 2, 2, 2}, float s = {0.1}, uint8 z = {100}>
{
    [q0] xq = QuantizeLinear(x, s, z)
    [d0] xdq = DequantizeLinear(xq, s, z)
    [mul] raw = Mul(xdq, two)
    [q1] mq = QuantizeLinear(raw, s, z)
    [d1] m = DequantizeLinear(mq, s, z)
    [relu] r = Relu(m)
    [neg] y = Neg(r)
}"""
)
ROWS = np.random.default_rng(2).normal(size=(20, 4)).astype(np.float32)
SAMPLES = FakeSamples([Sample(f"s{i}", {"x": row[None]}) for i, row in enumerate(ROWS)])
VALUES = {"x": "xdq", "m": "m"}


def rounded(values):
    return (np.clip(np.round(values / np.float32(0.1)) + 100, 0, 255) - 100) * np.float32(0.1)


def slow(rows):
    """SQNR of both tensors by hand."""
    x, m = rows, rows * 2
    after_x = rounded(x)
    after_m = rounded(after_x * 2)
    return [10 * math.log10((r**2).sum() / ((v - r) ** 2).sum()) for r, v in ((x, after_x), (m, after_m))]


def test_values_are_found():
    assert dequantized_values(QDQ, ["m", "x", "r", "y", "gone"]) == {"m": "m", "x": "xdq"}


def test_layers_in_graph_order():
    found = layer_errors(FLOAT, QDQ, dict(reversed(VALUES.items())), SAMPLES, count=8)
    assert [(layer.tensor, layer.node, layer.op) for layer in found] == [("x", "", ""), ("m", "mul", "Mul")]
    assert [layer.sqnr_db for layer in found] == pytest.approx(slow(ROWS[:8]), rel=1e-4)


def test_all_samples_where_there_are_fewer():
    found = layer_errors(FLOAT, QDQ, VALUES, SAMPLES, count=100)
    assert [layer.sqnr_db for layer in found] == pytest.approx(slow(ROWS), rel=1e-4)


@pytest.mark.parametrize(("chunk", "budget"), [(1, 10**9), (64, 1), (64, 10**9)])
def test_chunks_do_not_change_the_result(monkeypatch, chunk, budget):
    monkeypatch.setattr(layers, "CHUNK", chunk)
    steps: list[tuple[int, int]] = []
    found = layer_errors(
        FLOAT, QDQ, VALUES, SAMPLES, shapes={"m": (1, 4)}, budget=budget, progress=lambda *s: steps.append(s)
    )
    assert [layer.sqnr_db for layer in found] == pytest.approx(slow(ROWS[:16]), rel=1e-4)
    assert steps == ([(2, 2)] if chunk == 64 and budget > 1 else [(1, 2), (2, 2)])


def test_chunks_keep_to_count_and_bytes():
    names = [f"t{i}" for i in range(1200)]
    assert [len(c) for c in layers._chunks(names, [1] * 1200, 10**6)] == [512, 512, 176]
    assert [len(c) for c in layers._chunks(names[:5], [10, 10, 500, 10, 10], 100)] == [2, 1, 2]
    assert list(layers._chunks([], [], 1)) == []


def test_nothing_quantized():
    assert layer_errors(FLOAT, FLOAT, {}, SAMPLES) == ()
    assert dequantized_values(FLOAT, ["x", "m"]) == {}


def test_the_whole_agrees_with_the_last_layer():
    """Relu and Neg add no error of their own, so the output is as far off as its quantized input where that is positive."""
    with opened(QDQ, Options(optimize=False)) as after:
        y = np.concatenate([after.run({"x": row[None]})["y"] for row in ROWS])
    np.testing.assert_allclose(-np.maximum(rounded(rounded(ROWS) * 2), 0), y, atol=1e-6)


def test_sizes(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(bytes(300))
    b.write_bytes(bytes(100))
    assert bytes_of([a, b, a, tmp_path / "." / "b"]) == 400
    size = measure_size([a], [b])
    assert (size.float_bytes, size.bytes, size.ratio) == (300, 100, 3)


def test_files_of_a_model(tmp_path, monkeypatch):
    graph = graph_of(
        '<ir_version: 8, opset_import: ["": 17]> g (float[1, 64] x, float[64, 64] w) => (float[1, 64] y) { y = MatMul(x, w) }'
    ).with_(inputs=("x",), weights={"w": weight(np.eye(64, dtype=np.float32))})
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    assert list(model_files(small, graph)) == save(graph, small)
    monkeypatch.setattr("qconvert.graph.io.EXTERNAL_ABOVE", 1)
    written = save(graph, large)
    for found in (model_files(large, load(large)), model_files(large)):
        assert [f.resolve() for f in found] == [f.resolve() for f in written]
    assert model_files(tmp_path / "x.tflite") == (tmp_path / "x.tflite",)
    assert bytes_of(model_files(large, load(large))) >= 64 * 64 * 4

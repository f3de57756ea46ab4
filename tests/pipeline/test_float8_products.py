"""FP8 for TensorRT: numbers as ml_dtypes rounds them, files that its validator accepts, and refusals."""

import io
from html import unescape

import ml_dtypes
import numpy as np
import pytest
from end_to_end_support import SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import run, text_model
from rich.console import Console

import qconvert
from qconvert.calibrate import dequantize, fake_quantize, params_for_range, quantize
from qconvert.errors import QConvertError
from qconvert.graph import load
from qconvert.pipeline.lint import lint
from qconvert.report import FORMATS
from qconvert.report.terminal import render
from qconvert.targets import TARGETS

FLOAT8 = TARGETS["tensorrt"].floats.float8.activation


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40), st.floats(0.01, 1e4))
def test_rounding_is_that_of_the_runtime_and_saturates(values, reach):
    array = np.array(values, np.float32)
    params = params_for_range(FLOAT8, -reach, reach)
    assert float(params.scale) == pytest.approx(reach / 448, rel=1e-6)
    wanted = np.clip(array / params.scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * params.scale
    assert np.array_equal(fake_quantize(array, params), wanted)
    assert np.array_equal(dequantize(quantize(array, params), params), wanted)


def test_codes_of_the_runtime_are_ours():
    array = np.linspace(-3, 3, 101, dtype=np.float32)
    params = params_for_range(FLOAT8, -2.5, 2.5)
    graph = text_model(
        f"(float[{array.size}] x) => (float[{array.size}] y) {{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }}",
        opset=19,
        s=params.scale,
        z=params.zero_point,
    )
    assert np.allclose(run(graph, [{"x": array}])[0]["y"], fake_quantize(array, params), atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
def test_products_are_accurate_and_keep_the_rules(tmp_path, name, precision):
    folder, out = SAMPLES / name, tmp_path / "m.onnx"
    changes = {"mode": "float8", "precision": precision, "dataset.samples": 8}
    record = qconvert.convert(
        folder / f"{name}.onnx", out, data=folder, recipe=folder / "recipe.yaml", target="tensorrt", changes=changes
    )
    assert record.measurements.fidelity.sqnr_db > 22
    assert lint(out, "tensorrt") == ()
    graph = load(out)
    codes = {
        graph.weights[n.input(0)].dtype
        for n in graph.nodes
        if n.op == "DequantizeLinear" and n.input(0) in graph.weights
    }
    assert codes == {"float8_e4m3fn"}
    assert graph.opset >= 19


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({"mode": "static"}, "by onnxruntime on this CPU from the same Q/DQ operators"),
        ({"mode": "float8", "precision": "float16"}, "values rounded to FP8 (E4M3) and float16"),
        ({"mode": "weight-only", "weights.levels": "mxfp8"}, "values rounded to MXFP8"),
    ],
)
def test_every_report_says_how_the_figures_were_computed(tmp_path, changes, how):
    folder, console = SAMPLES / "digits_transformer", Console(width=400, record=True, file=io.StringIO())
    settings_ = {**changes, "dataset.samples": 8, "algorithms": "none"}
    record = qconvert.convert(
        folder / "digits_transformer.onnx",
        tmp_path / "m.onnx",
        data=folder,
        recipe=folder / "recipe.yaml",
        target="tensorrt",
        changes=settings_,
    )
    assert how in record.computed
    console.print(render(record))
    pages = [console.export_text(), *(unescape(FORMATS[name].render(record)) for name in ("html", "md", "json"))]
    assert all(how in page.replace("\\", "") for page in pages)


def test_figures_of_the_runtime_itself_need_no_such_word(tmp_path):
    folder = SAMPLES / "digits_transformer"
    changes = {"dataset.samples": 8, "algorithms": "none", "evaluation.latency": False}
    record = qconvert.convert(
        folder / "digits_transformer.onnx",
        tmp_path / "m.onnx",
        data=folder,
        recipe=folder / "recipe.yaml",
        target="x86-vnni",
        changes=changes,
    )
    assert record.computed == ""


@pytest.mark.parametrize(
    ("target", "changes", "hint"),
    [
        ("x86-vnni", {"mode": "float8"}, "float16"),
        ("tflite-micro", {"mode": "float8"}, "static"),
        (
            "tensorrt",
            {"mode": "float8", "rules": [{"match": {"op": "Conv"}, "set": {"weight_bits": 4}}]},
            "keep: float",
        ),
    ],
)
def test_refused_before_any_data_are_read(tmp_path, target, changes, hint):
    model = SAMPLES / "digits_resnet" / "digits_resnet.onnx"
    with pytest.raises(QConvertError) as caught:
        qconvert.convert(model, tmp_path / "m.onnx", data=tmp_path / "nowhere", target=target, changes=changes)
    (found,) = caught.value.diagnostics
    assert found.code == "R009"
    assert hint in found.hint

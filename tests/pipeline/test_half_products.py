"""Whole conversions to 16-bit floats: files that load and run, ranges that are told, and refusals before data are read."""

import numpy as np
import onnx
import pytest
from end_to_end_support import SAMPLES
from quantize_support import random, text_model

import qconvert
from qconvert.errors import QConvertError
from qconvert.graph import load, save
from qconvert.pipeline.lint import lint

FOLDER = SAMPLES / "digits_transformer"
QUICK = {"dataset.samples": 4, "evaluation.latency": False}


def converted(out, **options):
    changes = {**QUICK, **options.pop("changes")}
    return qconvert.convert(
        FOLDER / "digits_transformer.onnx", out, data=FOLDER, recipe=FOLDER / "recipe.yaml", changes=changes, **options
    )


def types_outside(path):
    graph = load(path)
    return {graph.type_of(name).dtype for name in (*graph.inputs, *graph.outputs)}


def test_float16_for_onnxruntime_loads_by_default_and_says_that_time_does_not_gain(tmp_path):
    record = converted(tmp_path / "m.onnx", target="x86-vnni", changes={"mode": "float16"})
    assert record.measurements.size.ratio > 1.6
    assert record.measurements.fidelity.sqnr_db > 45
    assert {proof.name for proof in record.proofs} == {"default options", "optimizations off"}
    assert any(d.code == "P105" and "compute in float32" in d.message for d in record.diagnostics)
    assert types_outside(tmp_path / "m.onnx") == {"float32", "int64"}


def test_bfloat16_for_tensorrt_with_16_bit_edges(tmp_path):
    record = converted(tmp_path / "m.onnx", target="tensorrt", changes={"mode": "bfloat16", "io": "half"})
    assert record.measurements.fidelity.sqnr_db > 25
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    assert types_outside(tmp_path / "m.onnx") == {"bfloat16", "int64"}
    assert lint(tmp_path / "m.onnx", "tensorrt") == ()
    assert not any(d.code == "V101" for d in record.diagnostics)


WILD = text_model(
    "(float[1,8] x) => (float[1,4] y) { a = MatMul(x, big) b = Tanh(a) c = Mul(b, tiny) y = MatMul(c, w) }",
    big=random(8, 8) * 1e5,
    tiny=np.full(8, 1e-6, np.float32),
    w=random(8, 4),
)


def wild(folder):
    save(WILD, folder / "wild.onnx")
    (folder / "data").mkdir()
    for n in range(4):
        np.savez(folder / "data" / f"{n}.npz", x=random(1, 8, seed=n))
    return folder / "wild.onnx", folder / "data"


def test_what_leaves_the_range_stays_in_float32_and_is_told(tmp_path):
    model, data = wild(tmp_path)
    record = qconvert.convert(
        model, tmp_path / "o.onnx", data=data, target="x86-vnni", changes={"mode": "float16", **QUICK}
    )
    kinds = {node.name: (node.kind, node.reason_code) for node in record.plan.nodes}
    assert kinds["n_a"] == kinds["n_b"] == ("float", "P014")
    assert kinds["n_y"][0] == "half"
    found = {r.name: r for r in record.half_ranges}
    assert found["a"].overflow
    assert found["a"].float32
    assert found["c"].subnormal == found["c"].size
    assert found["tiny"].subnormal == 8
    assert sum(d.code == "P104" for d in record.diagnostics) >= 2
    assert np.isfinite(record.measurements.fidelity.sqnr_db)


def test_without_data_the_weights_are_checked_and_the_rest_is_warned_about(tmp_path):
    model, _ = wild(tmp_path)
    record = qconvert.convert(model, tmp_path / "o.onnx", target="x86-vnni", changes={"mode": "float16"})
    assert {r.name for r in record.half_ranges} >= {"tiny", "big"}
    assert any(d.code == "P104" and d.severity == "warning" for d in record.diagnostics)


def test_integers_and_16_bits_keep_their_islands_under_strong_typing(tmp_path):
    changes = {"precision": "float16", "algorithms": "none"}
    record = converted(tmp_path / "m.onnx", target="tensorrt", changes=changes)
    assert {node.kind for node in record.plan.nodes} >= {"integer", "half"}
    assert lint(tmp_path / "m.onnx", "tensorrt") == ()


@pytest.mark.parametrize(
    ("target", "changes", "message", "hint"),
    [
        ("x86-vnni", {"mode": "bfloat16"}, "no kernels for bfloat16", "`float16`"),
        ("tflite-micro", {"mode": "float16"}, "no kernels for float16", "`static`"),
        ("x86-vnni", {"precision": "float16"}, "does not take `float16` beside integers", "`mode: float16`"),
        ("x86-vnni", {"mode": "float16", "io": "half"}, "no half inputs", "choose float"),
        ("tensorrt", {"io": "half"}, "16-bit floats", "`mode`"),
        ("tensorrt", {"mode": "bfloat16", "precision": "float16"}, "leaves nothing", "remove"),
    ],
)
def test_refused_before_any_data_are_read(tmp_path, target, changes, message, hint):
    with pytest.raises(QConvertError) as caught:
        qconvert.convert(
            FOLDER / "digits_transformer.onnx",
            tmp_path / "m.onnx",
            data=tmp_path / "nowhere",
            target=target,
            changes=changes,
        )
    (found,) = caught.value.diagnostics
    assert found.code == "R009"
    assert message in found.message
    assert hint in found.hint

"""Quantized files of other tools, converted to other targets with and without data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import Cli, model, weight, write_data
from lift_support import by_onnxruntime, images, outputs, sqnr
from onnx import TensorProto, helper, numpy_helper

from qconvert.graph import load
from qconvert.lift import lift
from qconvert.runtime.tflite import available

FORMS = ["QDQ", "QOperator"]
EVERYWHERE = ("--set", "placement=everywhere")


def codes_of(path: Path) -> dict[tuple[int, ...], np.ndarray]:
    tensors = (numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer)
    return {array.shape: array for array in tensors if array.dtype == np.int8 and array.ndim > 1}


@pytest.mark.parametrize("form", FORMS)
def test_tensorrt_without_data(cli: Cli, tmp_path: Path, form: str) -> None:
    given = by_onnxruntime(tmp_path, form)
    result = tmp_path / "out" / "m.onnx"
    ran = cli("convert", given, "-t", "tensorrt", "-o", result)
    assert ran.code == 0, ran.err
    assert "M103" in ran.err + ran.out
    check = cli("check", result, "-t", "tensorrt")
    assert check.code == 0
    assert "0 errors, 0 warnings" in check.out + check.err
    feeds = images(4)
    assert sqnr(outputs(load(given), feeds), outputs(load(result), feeds)) > 20
    before, after = codes_of(given), codes_of(result)
    assert after
    assert all(np.array_equal(after[shape], before[shape]) for shape in after), "int8 weights change for no reason"


@pytest.mark.skipif(not available("tflm"), reason="tflite-micro is not installed")
@pytest.mark.parametrize("form", FORMS)
def test_tflite_micro_without_data(cli: Cli, tmp_path: Path, form: str) -> None:
    from qconvert.runtime.tflite import Interpreter
    from qconvert.verify.tflite_read import read_tflite

    given = by_onnxruntime(tmp_path, form)
    result = tmp_path / "out" / "m.tflite"
    ran = cli("convert", given, "-t", "tflite-micro", "-o", result)
    assert ran.code == 0, ran.err
    assert cli("check", result, "-t", "tflite-micro").code == 0
    file = read_tflite(result.read_bytes())
    source, sink = file.inputs[0], file.outputs[0]
    with Interpreter("tflm") as interpreter:
        interpreter.load(result.read_bytes(), 1)
        wanted = outputs(load(given), images(4))
        got = []
        for feed in images(4):
            real = feed["x"].transpose(0, 2, 3, 1) / source.scale[0] + source.zero_point[0]
            (codes,) = interpreter.run([np.clip(np.rint(real), -128, 127).astype(np.int8)])
            got.append({"y": ((codes.astype(np.float64) - sink.zero_point[0]) * sink.scale[0]).reshape(1, 4)})
    assert sqnr(wanted, got) > 20


@pytest.mark.parametrize("given_ranges", ["keep", "refine", "ignore"])
def test_with_data(cli: Cli, tmp_path: Path, given_ranges: str) -> None:
    given, result = by_onnxruntime(tmp_path, "QDQ"), tmp_path / "out" / "m.onnx"
    write_data(tmp_path / "data")
    choice = ("--set", f"calibration.given={given_ranges}", *EVERYWHERE)
    ran = cli("convert", given, "-t", "x86-vnni", "-d", tmp_path / "data", "-o", result, "--json", *choice)
    assert ran.code == 0, ran.err
    assert bool(ran.json["algorithms"]) == (given_ranges != "keep")
    scales = {float(a) for t in onnx.load(given).graph.initializer if (a := numpy_helper.to_array(t)).ndim == 0}
    kept = [t["scale"] for t in ran.json["plan"]["tensors"] if t["scale"] in scales]
    assert (len(kept) == len(ran.json["plan"]["tensors"])) == (given_ranges == "keep")


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_packed_weights_are_matrices_again(cli: Cli, tmp_path: Path, bits: int, symmetric: bool) -> None:
    rng = np.random.default_rng(0)
    tensors = {"t": weight(rng, 300, 96), "w": weight(rng, 96, 40), "v": weight(rng, 40, 96)}
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], name="index", to=TensorProto.INT64),
        helper.make_node("Gather", ["t", "i"], ["e"], name="rows"),
        helper.make_node("MatMul", ["e", "w"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="second"),
    ]
    path, stored = tmp_path / "m.onnx", tmp_path / "out" / "m.onnx"
    path.write_bytes(model(nodes, {"x": (5,)}, {"y": (5, 96)}, tensors).SerializeToString())
    options = ("--mode", "weight-only", "--format", "qoperator", "--set", f"weights.symmetric={symmetric}".lower())
    assert cli("convert", path, "-t", "x86-vnni", "-o", stored, "--bits", bits, *options).code == 0
    given = load(stored)
    assert {"MatMulNBits", "GatherBlockQuantized"} & {node.op for node in given.nodes}
    feeds = [{"x": np.arange(5, dtype=np.float32)}]
    assert sqnr(outputs(given, feeds), outputs(lift(given).graph, feeds)) > 35


def test_keep_and_algorithms_exclude_each_other(cli: Cli, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    choice = ("--set", "calibration.given=keep", "--set", "algorithms=[equalize]")
    ran = cli("convert", by_onnxruntime(tmp_path, "QDQ"), "-t", "tensorrt", "-d", tmp_path / "data", "-o", tmp_path / "out", *choice)  # fmt: skip
    assert (ran.code, "R009" in ran.err, "given: refine" in ran.err) == (2, True, True)


def test_a_range_that_nobody_knows(cli: Cli, tmp_path: Path) -> None:
    """Without data a layer whose input has no range stays float, and is refused where nothing may stay float."""
    path = by_onnxruntime(tmp_path, "QDQ")
    proto = onnx.load(path)
    pair = [n for n in proto.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear") and n.name[:1] == "x"]
    first, second = sorted(pair, key=lambda n: n.op_type)[::-1]
    for node in proto.graph.node:
        node.input[:] = ["x" if name == second.output[0] else name for name in node.input]
    for node in (first, second):
        proto.graph.node.remove(node)
    path.write_bytes(proto.SerializeToString())
    ran = cli("convert", path, "-t", "tensorrt", "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert "M104" in ran.out + ran.err
    refused = cli("convert", path, "-t", "tflite-micro", "-o", tmp_path / "out2")
    assert (refused.code, "D001" in refused.err, "tensor `x`" in refused.err) == (4, True, True)

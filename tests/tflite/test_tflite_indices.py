"""Tables looked up by an integer input, and classes as the output of the file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from tflite_support import artefact_of, convert, interpreters, onnx_model, random

from qconvert.errors import QConvertError
from qconvert.pipeline.asked import Asked
from qconvert.pipeline.convert import convert as convert_files
from qconvert.pipeline.resolve import request_of

TOKENS, VOCABULARY = 7, 50


def classifier(classes: bool = False) -> ModelProto:
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"], "embedding"),
        helper.make_node("ReduceMean", ["e"], ["m"], "mean", axes=[1], keepdims=0),
        helper.make_node("Gemm", ["m", "v"], ["scores"], "head", transB=1),
    ]
    outputs = ["class"] if classes else ["scores"]
    if classes:
        nodes.append(helper.make_node("ArgMax", ["scores"], ["class"], "decision", axis=1, keepdims=0))
    weights = {"table": random(VOCABULARY, 16), "v": random(5, 16)}
    return onnx_model(nodes, {"tokens": (1, TOKENS)}, outputs, weights, indices=["tokens", "class"])


def sentences(count: int) -> list[dict[str, np.ndarray]]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    return [{"tokens": rng.integers(0, VOCABULARY, (1, TOKENS))} for _ in range(count)]


@interpreters
def test_an_embedding_is_an_int8_table_with_int32_indices(tmp_path: Path) -> None:
    found = convert(classifier(), tmp_path, sentences(200))
    assert found.ops == ["GATHER", "MEAN", "FULLY_CONNECTED"]
    assert found.worst_db > 32
    assert found.largest_gap <= 1
    assert (found.artefact.inputs[0].dtype, found.artefact.inputs[0].stored_dtype) == ("int64", "int32")
    table = found.artefact.file.tensors[found.artefact.file.ops[0].inputs[0]]
    assert (table.dtype, table.shape) == ("int8", (VOCABULARY, 16))
    assert table.data is not None
    assert (table.data.min(), table.data.max()) == (-128, 127)  # rows that calibration never met are not cut


@interpreters
@pytest.mark.parametrize("io", ["integer", "float"])
def test_the_whole_way_with_indices_in_and_a_class_out(io: str, tmp_path: Path) -> None:
    onnx.save(classifier(True), tmp_path / "net.onnx")
    for part in ("calib", "eval"):
        (tmp_path / "data" / part).mkdir(parents=True)
        np.savez(tmp_path / "data" / part / "s.npz", tokens=np.concatenate([f["tokens"] for f in sentences(24)]))
    request, _ = request_of(
        Asked(tmp_path / "net.onnx", tmp_path / "out", tmp_path / "data", None, ("tflite-micro",), {"io": io})
    )
    record = convert_files(request)
    assert record.status == "done"
    assert record.measurements.fidelity is not None
    assert record.measurements.fidelity.cosine > 0.9  # share of equal classes
    assert "int32_t kGoldenOutput0_0" in (tmp_path / "out" / "model_golden.h").read_text()


def test_indices_that_are_computed_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ArgMax", ["x"], ["i"], "place", axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "i"], ["y"], "culprit"),
    ]
    model = onnx_model(nodes, {"x": (1, 5)}, ["y"], {"table": random(5, 4)})
    with pytest.raises(QConvertError, match="no graph input") as caught:
        artefact_of(model, tmp_path, [{"x": random(1, 5)}])
    assert [d.where for d in caught.value.diagnostics] == ["node `culprit`"]

"""Sessions: one clear error for whatever the runtime says, large models by file, concrete shapes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import conv_model, model
from onnx import helper

from qconvert.errors import QConvertError
from qconvert.graph import from_proto
from qconvert.runtime import Options, Session, concrete_shapes, opened, session
from qconvert.runtime.profile import profile
from qconvert.runtime.session import reason

FEED = {"x": np.ones((2, 3, 8, 8), np.float32)}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from /tmp/m.onnx failed:This is an invalid model.",
            "This is an invalid model.",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : /build/onnxruntime/core/graph/model.h:46 void onnxruntime::f(const std::map<int, T (*)(U)>&, bool) const Opset 99 is new",
            "Opset 99 is new",
        ),
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : a/b.cc:266 int f::g(int) [with T = int] bad\nstack\nmore",
            "bad",
        ),
        ("one line", "one line"),
        ("", "RuntimeError"),
    ],
)
def test_reason_is_what_helps(text: str, wanted: str) -> None:
    assert reason(RuntimeError(text)) == wanted


def test_not_loadable() -> None:
    with pytest.raises(QConvertError) as caught:
        Session(b"junk", code="V002", where="file.onnx")
    (found,) = caught.value.diagnostics
    assert (found.code, found.where) == ("V002", "file.onnx")


def test_not_runnable() -> None:
    with opened(from_proto(conv_model(batch=1))) as one, pytest.raises(QConvertError) as caught:
        one.run(FEED)
    (found,) = caught.value.diagnostics
    assert found.code == "M009"
    assert "\n" not in found.message


def test_some_outputs() -> None:
    with opened(from_proto(conv_model()), Options(optimize=False, threads=2)) as running:
        assert running.outputs == ("y",)
        assert running.inputs == {"x": "tensor(float)"}
        assert running.run(FEED, ["y"])["y"].shape == (2, 4)


def test_large_models_go_through_a_file_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    graph = from_proto(conv_model())
    with opened(graph) as small:
        wanted = small.run(FEED)["y"]
    monkeypatch.setattr(session, "LARGE", 0)
    with opened(graph) as large:
        assert list(tmp_path.iterdir())
        np.testing.assert_array_equal(large.run(FEED)["y"], wanted)
    assert not list(tmp_path.iterdir())


def test_telemetry_is_off() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


# --- shapes ------------------------------------------------------------------------------------------------------------


def test_batch_is_one_and_names_have_sizes() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1])]
    graph = from_proto(model(nodes, {"x": ("batch", "time", 8)}, {"y": None}))
    assert concrete_shapes(graph, {"time": 5})["y"] == (1, 8, 5)
    assert concrete_shapes(graph, {"time": 5, "batch": 3})["y"] == (3, 8, 5)
    assert concrete_shapes(graph, {})["y"] == (1, 8, 64)


def test_shapes_that_depend_on_the_values_come_from_a_run() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["y"], to=1)]
    graph = from_proto(model(nodes, {"x": (2, 3)}, {"y": (2, "n")}))
    assert concrete_shapes(graph, {})["y"] == (2, 6)


def test_shapes_that_made_up_inputs_cannot_show_come_from_a_sample() -> None:
    """The made-up batch of ones has no zero, so a reshape by a computed size fails on it."""
    nodes = [helper.make_node("Reshape", ["x", "size"], ["y"])]
    graph = from_proto(model(nodes, {"x": ("b", 6)}, {"y": (None, None)}))
    graph = graph.with_(inputs=("x", "size"), types={**graph.types, "size": type(graph.type_of("x"))("int64", (2,))})
    feed = {"x": np.zeros((1, 6), np.float32), "size": np.array([2, 3])}
    assert "y" not in concrete_shapes(graph, {})
    assert concrete_shapes(graph, {}, feed)["y"] == (2, 3)


def test_unknown_rank() -> None:
    graph = from_proto(model([helper.make_node("Relu", ["x"], ["y"])], {"x": None}, {"y": None}))
    with pytest.raises(QConvertError, match="M010"):
        concrete_shapes(graph, {})


def test_profile_that_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk, where the runtime stops writing without a word."""
    whole = Session.end_profile

    def cut(session: Session) -> Path:
        path = whole(session)
        path.write_bytes(path.read_bytes()[:-100])
        return path

    monkeypatch.setattr(Session, "end_profile", cut)
    onnx.save(conv_model(), tmp_path / "m.onnx")
    with pytest.raises(QConvertError) as raised:
        profile(tmp_path / "m.onnx", Options(), FEED, runs=3)
    assert raised.value.exit_code == 7
    assert "cut off" in str(raised.value)

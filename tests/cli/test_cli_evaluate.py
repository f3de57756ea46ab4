"""`qconvert evaluate`: models of any kind side by side."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import Cli, Place, conv_model, hashes, model, write_data
from onnx import helper

import qconvert
from qconvert.cli.compare import compare
from qconvert.cli.evaluate import evaluate
from qconvert.evaluate.conditions import MEASURED
from qconvert.evaluate.metrics import METRICS
from qconvert.pipeline.comparison import FIGURES
from qconvert.report.evaluation import Evaluation, short_names
from qconvert.runtime import tflite

QUICK = ("--set", "evaluation.rounds=3", "-q")


@pytest.fixture
def quantized(cli: Cli, place: Place) -> Path:
    assert cli(*place.convert("-q", "--no-evaluate")).code == 0
    return place.output


@pytest.fixture
def tflite_model(cli: Cli, place: Place) -> Path:
    path = place.root / "out" / "m.tflite"
    assert cli(*place.convert("-q", "--no-evaluate", "-t", "tflite-micro", output=path)).code == 0
    return path


def labelled(folder: Path, reference: Path) -> Path:
    """A dataset whose labels are what the reference answers, but for one of sixteen."""
    import onnxruntime as ort

    values = np.load(write_data(folder, files=1) / "part000.npz")["x"]
    answers = ort.InferenceSession(str(reference)).run(None, {"x": values})[0].argmax(axis=1)
    answers[3] = (answers[3] + 1) % 4
    np.savez(folder / "part000.npz", x=values, labels=answers)
    return folder


def test_scores_sizes_and_times(cli: Cli, place: Place, quantized: Path, tmp_path: Path) -> None:
    data = labelled(tmp_path / "labelled", place.model)
    before = hashes(place.root)
    ran = cli("evaluate", place.model, quantized, "-d", data, *QUICK, "--json")
    found = Evaluation.model_validate(ran.json)
    assert (ran.code, ran.err, found.status) == (0, "", "done")
    one, other = found.models
    assert (one.fidelity, one.metrics[0].name, one.metrics[0].value) == (None, "top1", 15 / 16)
    assert one.latency is not None
    assert one.latency.ratio == 1
    assert other.fidelity is not None
    assert 20 < other.fidelity.sqnr_db < 60
    assert other.fidelity.samples == 16
    assert other.metrics[0].float_value == 15 / 16
    assert (one.bytes, other.bytes) == (place.model.stat().st_size, quantized.stat().st_size)
    assert hashes(place.root) == before


def test_the_table(cli: Cli, place: Place, quantized: Path) -> None:
    ran = cli("evaluate", place.model, quantized, "-d", place.data, "--set", "evaluation.rounds=3")
    assert ran.code == 0
    assert ran.out.startswith("2 models on 16 unlabelled samples")
    assert "│ m.onnx" in ran.out
    assert "top1" not in ran.out
    assert "evaluate: " in ran.err


def test_one_model_alone_and_no_data(cli: Cli, place: Place) -> None:
    found = Evaluation.model_validate(cli("evaluate", place.model, "-d", place.data, *QUICK, "--json").json)
    assert [m.fidelity for m in found.models] == [None]
    ran = cli("evaluate", place.model, place.model, *QUICK, "--json")
    found = Evaluation.model_validate(ran.json)
    assert (ran.code, found.data) == (0, None)
    assert all(m.latency for m in found.models)


def test_a_folder_without_parts_is_used_as_a_whole(cli: Cli, place: Place, tmp_path: Path) -> None:
    data = write_data(tmp_path / "many", rows=150)
    off = ("--set", "evaluation.latency=false")
    ran = cli("evaluate", place.model, "-d", data, *QUICK, *off, "--json")
    assert ran.json["data"]["samples"] == 150
    assert ran.json["models"][0]["latency"] is None
    few = cli("evaluate", place.model, "-d", data, *QUICK, *off, "--set", "dataset.evaluation_samples=7", "--json")
    assert few.json["data"]["samples"] == 7


@pytest.mark.skipif(
    not tflite.available("tflm") and not tflite.available("litert"), reason="needs a .tflite interpreter"
)
def test_tflite_beside_onnx_in_either_order(cli: Cli, place: Place, tflite_model: Path) -> None:
    for models in ([place.model, tflite_model], [tflite_model, place.model]):
        ran = cli("evaluate", *models, "--reference", place.model, "-d", place.data, *QUICK, "--json")
        assert ran.code == 0, ran.err
        found = Evaluation.model_validate(ran.json)
        close = found.models[models.index(tflite_model)].fidelity
        assert close is not None
        assert close.sqnr_db > 20  # axes and scales are right: anything else is around 0 dB


def test_tflite_without_an_interpreter(
    cli: Cli, place: Place, tflite_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite, "find_spec", lambda name: None)
    ran = cli("evaluate", place.model, tflite_model, "-d", place.data, *QUICK)
    assert ran.code == 8
    assert "error[T001]" in ran.err
    assert "pip install" in ran.err


def test_channels_last_and_other_names(cli: Cli, place: Place, tmp_path: Path) -> None:
    """The same network behind a Transpose, with other names; sides and channels are equal, so that only values tell."""
    square = conv_model(channels=8)
    first = place.save(square, "first.onnx")
    for node in square.graph.node:
        node.input[:] = ["inner" if name == "x" else name for name in node.input]
        node.output[:] = ["logits" if name == "y" else name for name in node.output]
    square.graph.node.insert(0, helper.make_node("Transpose", ["image"], ["inner"], perm=[0, 3, 1, 2]))
    square.graph.input[0].name, square.graph.output[0].name = "image", "logits"
    last = place.save(square, "last.onnx")
    data = write_data(tmp_path / "square", (8, 8, 8))
    ran = cli("evaluate", first, last, "-d", data, "--set", "evaluation.rounds=3", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["models"][1]["fidelity"]["sqnr_db"] in ("inf", pytest.approx(140, abs=30))
    assert ran.err.count("note[M102]") == 2
    assert "`image` for `x`" in ran.err


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (conv_model(channels=4), "does not fit to the reference's `x` float32[1, 3, 8, 8]"),
        (model([helper.make_node("Add", ["a", "b"], ["y"])], {"a": [1, 4], "b": [1, 4]}, {"y": [1, 4]}), "2 inputs (a, b), the reference has 1 (x)"),
        (model([helper.make_node("ReduceMean", ["x"], ["y"])], {"x": [1, 3, 8, 8]}, {"y": [1, 1, 1, 1]}), "`y` [1, 1, 1, 1] for [1, 4]"),
    ],
)  # fmt: skip
def test_models_that_do_not_fit(cli: Cli, place: Place, other: onnx.ModelProto, says: str) -> None:
    ran = cli("evaluate", place.model, place.save(other, "other.onnx"), "-d", place.data, *QUICK)
    assert (ran.code, ran.out) == (3, "")
    assert "error[M015]" in ran.err
    assert says in ran.err


def test_fail_on(cli: Cli, place: Place, quantized: Path) -> None:
    ran = cli("evaluate", place.model, quantized, "-d", place.data, *QUICK, "--fail-on", "sqnr<90,size>1G")
    assert ran.code == 5
    assert "error[G001]: --fail-on sqnr<90: output SQNR of `m.onnx`: " in ran.err
    assert "size>1G" not in ran.err
    assert cli("evaluate", place.model, quantized, "-d", place.data, *QUICK, "--fail-on", "sqnr<1").code == 0
    blind = cli("evaluate", place.model, quantized, *QUICK, "--fail-on", "sqnr<1")
    assert (blind.code, "G002" in blind.err) == (5, True)
    wrong = cli("evaluate", place.model, quantized, "--fail-on", "sqrn<1, size<", "-q")
    assert (wrong.code, wrong.err.count("error[R011]")) == (2, 2)


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_both_commands_know_the_same_figures(
    cli: Cli, place: Place, quantized: Path, tmp_path: Path, command: str
) -> None:
    data = labelled(tmp_path / "labelled", place.model)
    holds = "top1<0.1,metric<0.1,metric_drop>1,sqnr<1,cosine<0.1,agreement<1%,size>1G,size_ratio<0.1,latency>9s,speedup<0.001"
    arguments = (command, place.model, quantized, "-d", data, *QUICK, "--json", "--fail-on")
    ran = cli(*arguments, holds)
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.json["gates"]) == 10
    ran = cli(*arguments, "top1<2,f1<0.1")
    assert ran.code == 5
    assert "error[G001]: --fail-on top1<2: top1" in ran.err
    assert "hint: name it in `evaluation.metric`: f1" in ran.err


@pytest.mark.parametrize(("command", "figures"), [(evaluate, MEASURED), (compare, FIGURES)])
def test_help_names_every_figure(command: Callable[..., int], figures: Iterable[str]) -> None:
    named = set(re.findall(r"\w+", (command.__doc__ or "").split("--fail-on:")[1].split("Examples:")[0]))
    assert set(figures) - set(METRICS) <= named


def test_reports(cli: Cli, place: Place, quantized: Path, tmp_path: Path) -> None:
    site = tmp_path / "new" / "site"
    arguments = ("evaluate", place.model, quantized, "-d", place.data, *QUICK)
    assert cli(*arguments, "--report", "html,md,csv", "--report", "json", "--report-dir", site).code == 0
    assert sorted(p.name for p in site.iterdir()) == [f"evaluation.{end}" for end in ("csv", "html", "json", "md")]
    rows = list(csv.DictReader(io.StringIO((site / "evaluation.csv").read_text(encoding="utf-8"))))
    assert [row["reference"] for row in rows] == ["1", "0"]
    assert float(rows[1]["sqnr_db"]) > 20
    assert cli(*arguments, "--report", "pdf").code == 2
    inside = cli(*arguments, "--report", "md", "--report-dir", place.data)
    assert (inside.code, "O003" in inside.err) == (7, True)


def test_wrong_usage(cli: Cli, place: Place, tmp_path: Path) -> None:
    assert cli("evaluate").code == 2
    assert cli("evaluate", place.model, "--reference", "other.onnx", "-d", place.data).code == 2
    assert cli("evaluate", tmp_path / "none.onnx", "-d", place.data).code == 3
    assert cli("evaluate", tmp_path / "none.tflite", "-d", place.data).code == 3
    assert cli("evaluate", place.model, "-d", tmp_path / "none").code == 4
    (tmp_path / "bad.tflite").write_bytes(b"\0\0\0\0TFL3")
    ran = cli("evaluate", tmp_path / "bad.tflite", "-d", place.data)
    assert (ran.code, "M002" in ran.err) == (3, True)


def test_from_python(place: Place, quantized: Path) -> None:
    found = qconvert.evaluate_models([place.model, quantized], data=place.data, changes={"evaluation.rounds": 3})
    assert found.models[1].fidelity is not None
    assert found.models[1].fidelity.sqnr_db > 20
    with pytest.raises(qconvert.QConvertError) as caught:
        qconvert.evaluate_models([place.model], data=place.data, fail_on=["nothing<1"])
    assert caught.value.exit_code == 2


def test_short_names() -> None:
    assert short_names(["/a/b/m.onnx", "/a/c/m.onnx"]) == ("b/m.onnx", "c/m.onnx")
    assert short_names(["m.onnx", "m.onnx"]) == ("m.onnx (1)", "m.onnx (2)")
    assert short_names(["/x/one.onnx", "two.onnx"]) == ("one.onnx", "two.onnx")

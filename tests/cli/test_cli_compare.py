"""`qconvert compare`: two models, or the records of two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from end_to_end_support import Cli, Place, hashes
from onnx import numpy_helper

import qconvert
from qconvert.pipeline.models.sides import plain
from qconvert.report import RunRecord
from qconvert.report.comparison import Comparison

QUICK = ("--set", "evaluation.rounds=3", "-q")


@pytest.fixture
def quantized(cli: Cli, place: Place) -> Path:
    assert cli(*place.convert("-q", "--set", "evaluation.rounds=3")).code == 0
    return place.output


def found_in(ran: object) -> Comparison:
    return Comparison.model_validate(ran.json)  # type: ignore[attr-defined]


def test_fp32_beside_quantized(cli: Cli, place: Place, quantized: Path) -> None:
    before = hashes(place.root)
    ran = cli("compare", place.model, quantized, "-d", place.data, *QUICK, "--json")
    assert (ran.code, ran.err) == (0, "")
    found = found_in(ran)
    assert (found.a.what, found.b.what) == ("FP32 model", "quantized model")
    moved = {n.node: (n.a, n.b) for n in found.moved}
    assert moved["conv1"] == moved["conv2"] == ("float", "integer")
    assert not {n.node for n in found.alone} & {"conv1", "conv2", "classifier"}
    tensors = {t.tensor: t for t in found.tensors}
    assert tensors["x"].a is None
    assert tensors["x"].b is not None
    assert tensors["x"].b.format == "uint8"
    weights = {w.weight: w for w in found.weights}
    assert weights["w1"].b == "int8, 16 scales"
    assert 30 < (weights["w1"].sqnr_db or 0) < 60
    assert {p.tensor for p in found.layers} >= {"x", "r1"}
    assert all(15 < (p.b or 0) < 90 for p in found.layers)
    figures = {f.name: f for f in found.figures}
    assert (figures["size"].a, figures["size"].b) == (place.model.stat().st_size, quantized.stat().st_size)
    assert (figures["sqnr"].b or 0) > 20
    assert figures["latency"].a
    assert hashes(place.root) == before


def test_a_model_equals_itself(cli: Cli, place: Place, quantized: Path) -> None:
    ran = cli(
        "compare",
        quantized,
        quantized,
        "-d",
        place.data,
        *QUICK,
        "--json",
        "--fail-on",
        "placement,scales,weights,sqnr<100",
    )
    found = found_in(ran)
    assert ran.code == 0
    assert (found.nodes, found.tensors, found.weights) == ((), (), ())
    assert found.same_nodes
    assert found.same_tensors
    assert all(p.b == float("inf") for p in found.layers)
    assert [g.passed for g in found.gates] == [True] * 4


def test_two_quantized_models(cli: Cli, place: Place, quantized: Path) -> None:
    other = place.root / "out" / "other.onnx"
    extra = ("--set", "calibration.method=percentile", "--set", "rules=[{match: {name: conv2}, set: {keep: float}}]")
    assert cli(*place.convert("-q", "--no-evaluate", *extra, output=other)).code == 0
    ran = cli("compare", quantized, other, "-d", place.data, *QUICK, "--json", "--fail-on", "placement")
    found = found_in(ran)
    assert ran.code == 5
    assert {n.node: (n.a, n.b) for n in found.moved}["conv2"] == ("integer", "float")
    assert not {w.weight: w.b for w in found.weights}["w2"].startswith("int8")
    assert found.tensors
    assert "error[G001]: --fail-on placement: nodes placed otherwise" in ran.err


def test_channels_that_are_scaled_otherwise_are_told_apart(cli: Cli, place: Place, quantized: Path) -> None:
    """The same function with the channels between its convolutions scaled: the figures are those without the factors."""
    scaled = onnx.load(place.model)
    factors = np.logspace(-1, 1, 16).astype(np.float32)
    for tensor in scaled.graph.initializer:
        values = numpy_helper.to_array(tensor)
        by = {"w1": factors[:, None, None, None], "b1": factors, "w2": 1 / factors[None, :, None, None]}.get(
            tensor.name
        )
        if by is not None:
            tensor.CopyFrom(numpy_helper.from_array((values * by).astype(np.float32), tensor.name))
    ran = cli(
        "compare",
        place.save(scaled, "scaled.onnx"),
        quantized,
        "-d",
        place.data,
        *QUICK,
        "--json",
        "--fail-on",
        "layer_sqnr<15",
    )
    found = found_in(ran)
    assert ran.code == 0
    assert {p.tensor for p in found.layers if p.rescaled} == {"r1"}
    against_fp32 = found_in(cli("compare", place.model, quantized, "-d", place.data, *QUICK, "--json"))
    plain = {p.tensor: p.b for p in against_fp32.layers}
    assert not any(p.rescaled for p in against_fp32.layers)
    assert {p.tensor: p.b for p in found.layers} == pytest.approx(plain, abs=1)


def test_without_data(cli: Cli, place: Place, quantized: Path) -> None:
    ran = cli("compare", place.model, quantized, *QUICK, "--json", "--fail-on", "layer_sqnr<1")
    found = found_in(ran)
    assert ran.code == 5
    assert "G002" in ran.err
    assert (found.data, found.layers) == (None, ())
    assert found.moved


def test_tflite(cli: Cli, place: Place) -> None:
    path = place.root / "out" / "m.tflite"
    assert cli(*place.convert("-q", "--no-evaluate", "-t", "tflite-micro", output=path)).code == 0
    ran = cli("compare", place.model, path, "-d", place.data, *QUICK, "--json")
    if ran.code == 8:
        pytest.skip("no .tflite interpreter is installed")
    found = found_in(ran)
    assert ran.code == 0
    assert found.b.what == ".tflite file"
    assert found.b.integer
    assert found.b.quantized_tensors > 3
    assert {f.name: f.b for f in found.figures}["sqnr"] > 20  # type: ignore[operator]


def test_records(cli: Cli, place: Place, quantized: Path, tmp_path: Path) -> None:
    one = place.output.with_name("m.report.json")
    kept = tmp_path / "first.report.json"
    kept.write_bytes(one.read_bytes())
    extra = ("--set", "calibration.method=percentile", "--set", "rules=[{match: {name: conv2}, set: {keep: float}}]")
    assert cli(*place.convert("-q", *extra, "--set", "evaluation.rounds=3")).code == 0
    ran = cli("compare", kept, one, "--json", "-q", "--fail-on", "placement,layer_drop>90")
    found = found_in(ran)
    assert ran.code == 5
    assert [g.passed for g in found.gates] == [False, True]
    assert {n.node: (n.a, n.b) for n in found.moved}["conv2"] == ("integer", "float")
    assert {s.key: (s.a, s.b) for s in found.settings}["calibration.method"] == ("mse", "percentile")
    assert {f.name for f in found.figures} >= {"sqnr", "size", "latency", "int8_macs"}
    assert any(p.a is not None and p.b is not None for p in found.layers)
    same = found_in(cli("compare", kept, kept, "--json", "-q"))
    assert (same.nodes, same.tensors, same.weights, same.settings) == ((), (), (), ())


def test_conditions_between_runs_of_unrelated_models_fail(
    cli: Cli, place: Place, quantized: Path, tmp_path: Path
) -> None:
    """Conditions that would hold, had one model been converted twice."""
    one = place.output.with_name("m.report.json")
    record = RunRecord.model_validate_json(one.read_text("utf-8"))
    model = record.model.model_copy(update={"sha256": "0" * 64, "outputs": {"other": "float32[1,2]"}})
    other = tmp_path / "other.json"
    other.write_text(record.model_copy(update={"model": model}).model_dump_json(), "utf-8")
    ran = cli("compare", one, other, "--json", "-q", "--fail-on", "placement,size>1GiB")
    assert ran.code == 5
    assert [(g.passed, g.value) for g in found_in(ran).gates] == [(False, None)] * 2
    assert ran.err.count("error[G002]") == 2
    assert "compare runs of one model" in ran.err
    retrained = record.model_copy(update={"model": record.model.model_copy(update={"sha256": "0" * 64})})
    other.write_text(retrained.model_dump_json(), "utf-8")
    assert cli("compare", one, other, "--json", "-q", "--fail-on", "placement,size>1GiB").code == 0


def test_times_of_two_runs_are_compared_by_their_speed_against_fp32(
    cli: Cli, place: Place, quantized: Path, tmp_path: Path
) -> None:
    """The second machine is half as fast: the times say that nothing was gained, the ratios that it is twice as fast."""
    record = RunRecord.model_validate_json(place.output.with_name("m.report.json").read_text("utf-8"))
    assert record.measurements.latency is not None

    def saved(name: str, **fields: Any) -> Path:
        latency = record.measurements.latency.model_copy(update=fields)
        measured = record.measurements.model_copy(update={"latency": latency})
        path = tmp_path / name
        path.write_text(record.model_copy(update={"measurements": measured}).model_dump_json(), "utf-8")
        return path

    one = saved("one.json", float_ms=2.0, ms=1.0, ratio=2.0, host="here")
    two = saved("two.json", float_ms=4.0, ms=1.0, ratio=4.0, host="here")
    there = saved("there.json", float_ms=4.0, ms=1.0, ratio=4.0, host="there")
    ran = cli("compare", one, two, "--json", "-q", "--fail-on", "speedup<1.99")
    assert (ran.code, ran.err) == (0, "")
    assert {f.name: f.b for f in found_in(ran).figures}["speedup"] == 2.0
    ran = cli("compare", one, there, "--json", "-q", "--fail-on", "speedup<1")
    assert ran.code == 5
    assert "error[G002]" in ran.err
    assert [p.message for p in found_in(ran).diagnostics if p.code == "V107"] == [
        "the two runs were timed on here and there"
    ]


def test_the_terminal_and_files(cli: Cli, place: Place, quantized: Path, tmp_path: Path) -> None:
    ran = cli(
        "compare",
        place.model,
        quantized,
        "-d",
        place.data,
        "--set",
        "evaluation.rounds=3",
        "--report",
        "html,md,json",
        "--report-dir",
        tmp_path / "site",
    )
    assert ran.code == 0
    for words in ("output SQNR", "placed otherwise", "scales and zero points", "tensors that lose most", "│ conv1"):
        assert words in ran.out
    assert sorted(p.name for p in (tmp_path / "site").iterdir()) == [
        f"comparison.{end}" for end in ("html", "json", "md")
    ]
    assert len((tmp_path / "site" / "comparison.html").read_bytes()) < 100_000


def test_wrong_usage(cli: Cli, place: Place, quantized: Path) -> None:
    record = place.output.with_name("m.report.json")
    assert cli("compare", place.model).code == 2
    mixed = cli("compare", place.model, record)
    assert (mixed.code, "R011" in mixed.err) == (2, True)
    assert cli("compare", record, record, "-d", place.data).code == 2
    assert cli("compare", place.model, place.root / "none.onnx").code == 3
    ran = cli("compare", place.model, quantized, "--fail-on", "plaecment,sqnr", "-q")
    assert (ran.code, ran.err.count("error[R011]")) == (2, 2)
    assert "did you mean `placement`" in ran.err


def test_from_python(place: Place, quantized: Path) -> None:
    found = qconvert.compare_models(
        place.model, quantized, data=place.data, changes={"evaluation.rounds": 3}, fail_on=["placement"]
    )
    assert found.status == "gates failed"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("c1/raw", "c1"), ("w/rounded/dq", "w"), ("x_QuantizeLinear_Input", "x"), ("layer/raw_data", "layer/raw_data"), ("w_quantized", "w"), ("/q", "/q"), ("a:0", "a"), ("m/codes/real", "m")],
)  # fmt: skip
def test_names_without_what_quantizers_append(name: str, wanted: str) -> None:
    assert plain(name) == wanted

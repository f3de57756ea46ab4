"""Reports as files: where they go, what becomes of older ones, and what the commands print."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import onnx
import pytest
from end_to_end_support import Cli, Place, conv_model, strict_json
from PIL import Image

from qconvert.pipeline.measuring.pictures import SIDE
from qconvert.report import FORMATS, RunRecord, record_schema, to_html

QUICK = ("--set", "algorithms=none", "--set", "evaluation.rounds=3", "-q")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_reports_stand_beside_the_output(cli: Cli, place: Place) -> None:
    ran = cli(*place.convert(*QUICK, "--report", "html,md", "--report", "junit, csv"))
    assert (ran.code, ran.out) == (0, "")
    assert names(place.output.parent) == [
        "m.onnx",
        "m.report.csv",
        "m.report.html",
        "m.report.json",
        "m.report.md",
        "m.report.xml",
    ]
    document = strict_json((place.output.parent / "m.report.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, record_schema())
    assert document["recipe"]["report"] == ["html", "md", "junit", "csv"]
    assert document["histograms"]
    assert document["sizes"]
    assert document["measurements"]["profile"]["ops"]
    assert document["calibration"]["convergence"][-1] == {"samples": 16, "share": 1.0}
    assert not place.leftovers()


def test_reports_of_an_earlier_run_do_not_outlive_it(cli: Cli, place: Place) -> None:
    assert cli(*place.convert(*QUICK, "--report", "html,csv", "--no-evaluate")).code == 0
    assert cli(*place.convert(*QUICK, "--report", "csv", "--no-evaluate")).code == 0
    assert names(place.output.parent) == ["m.onnx", "m.report.csv", "m.report.json"]


def test_a_failed_gate_still_reports(cli: Cli, place: Place, tmp_path: Path) -> None:
    reports = tmp_path / "deep" / "reports"
    ran = cli(*place.convert(*QUICK, "--report", "junit,html", "--report-dir", reports, "--set", "gates.size_ratio=50"))
    assert ran.code == 5
    assert names(place.output.parent) == ["m.rejected.onnx"]
    assert names(reports) == ["m.report.html", "m.report.json", "m.report.xml"]
    failure = ElementTree.parse(reports / "m.report.xml").find(
        "testsuite[@name='gates']/testcase[@name='size_ratio']/failure"
    )
    assert failure is not None
    assert failure.get("message", "").startswith("size ratio: ")


def test_the_recipe_asks_for_reports(cli: Cli, place: Place) -> None:
    recipe = place.root / "r.yaml"
    recipe.write_text("version: 1\nextends: x86-vnni\nreport: [md]\n", encoding="utf-8")
    assert cli(*place.convert("-r", recipe, *QUICK, "--no-evaluate")).code == 0
    assert "m.report.md" in names(place.output.parent)


def test_an_unknown_format_is_refused_at_once(cli: Cli, place: Place) -> None:
    ran = cli(*place.convert(*QUICK, "--report", "html,pdf"))
    assert ran.code == 2
    assert "pdf" in ran.err
    assert "html" in ran.err
    assert not place.output.parent.exists()


def test_a_file_where_the_report_folder_should_be(cli: Cli, place: Place, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    ran = cli(*place.convert(*QUICK, "--report-dir", tmp_path / "taken"))
    assert ran.code == 7
    assert "O001" in ran.err
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


def test_github_gets_annotations_and_a_summary(
    cli: Cli, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    ran = cli(*place.convert(*QUICK, "--json", "--no-evaluate", "--set", "gates.size_ratio=50"))
    assert ran.code == 5
    assert ran.json["status"] == "gates failed"
    assert "::error title=gate size_ratio of x86-vnni::size ratio: " in ran.err
    assert summary.read_text(encoding="utf-8").startswith("before\n### ❌ `model.onnx`")


def test_a_summary_that_cannot_be_written_is_no_failure(
    cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(place.root))
    ran = cli(*place.convert(*QUICK, "--no-evaluate"))
    assert ran.code == 0
    assert "the job summary cannot be written" in ran.err


def test_a_saved_record_is_rendered_again(cli: Cli, place: Place, tmp_path: Path) -> None:
    assert cli(*place.convert(*QUICK, "--report", "html")).code == 0
    saved = place.output.parent / "m.report.json"
    before = saved.read_bytes()
    ran = cli("report", saved, "--report", "html,md", "--report-dir", tmp_path / "site")
    assert (ran.code, ran.out) == (
        0,
        f"wrote {tmp_path / 'site' / 'm.report.html'}\nwrote {tmp_path / 'site' / 'm.report.md'}\n",
    )
    assert (tmp_path / "site" / "m.report.html").read_bytes() == (place.output.parent / "m.report.html").read_bytes()
    assert cli("report", saved, "--report", "json").code == 0
    assert saved.read_bytes() == before
    assert "x86-vnni: done" in cli("report", saved).out


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 1}', "\x00"])
def test_what_is_no_record(cli: Cli, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.report.json"
    path.write_text(text, encoding="utf-8")
    ran = cli("report", path, "--report", "html")
    assert (ran.code, ran.out) == (2, "")
    assert "R013" in ran.err
    assert names(tmp_path) == ["x.report.json"]


def test_usage_of_the_report_command(cli: Cli, tmp_path: Path) -> None:
    assert cli("report").code == 2
    assert "R013" in cli("report", tmp_path / "none.json").err
    schema = json.loads(cli("report", "--schema").out)
    assert schema == record_schema()


def test_check_writes_sarif(cli: Cli, place: Place, tmp_path: Path) -> None:
    assert cli(*place.convert(*QUICK, "--no-evaluate")).code == 0
    ran = cli("check", place.output, "-t", "tensorrt", "--sarif", tmp_path / "new" / "findings.sarif")
    assert ran.code == 6
    document = strict_json((tmp_path / "new" / "findings.sarif").read_text(encoding="utf-8"))
    run = document["runs"][0]
    assert document["version"] == "2.1.0"
    assert len(run["results"]) == ran.err.count("error[") + ran.err.count("warning[")
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == place.output.as_uri()
        assert result["level"] in ("error", "warning", "note")


def test_pictures_of_images(cli: Cli, place: Place, tmp_path: Path) -> None:
    onnx.save(conv_model(), place.model)
    rng = np.random.default_rng(0)
    for part in ("calib", "eval"):
        for label in ("one", "two"):
            (tmp_path / "images" / part / label).mkdir(parents=True)
            for n in range(3):
                noise = rng.integers(0, 256, (300, 200, 3)).astype(np.uint8)
                Image.fromarray(noise).save(tmp_path / "images" / part / label / f"{n}.png")
    ran = cli(
        *place.convert(
            *QUICK,
            "--report",
            "html",
            "--set",
            "dataset.preprocess={resize: {size: [8, 8], mode: stretch}, scale: 0.0039}",
            data=tmp_path / "images",
        )
    )
    assert ran.code == 0, ran.err
    record = RunRecord.model_validate_json((place.output.parent / "m.report.json").read_bytes())
    examples = record.measurements.examples
    assert examples is not None
    assert examples.rows == 6
    assert {e.label for e in examples.shown} == {"0", "1"}
    assert all(e.image.startswith("data:image/jpeg;base64,") for e in examples.shown)
    assert all(len(e.image) < 8 * SIDE**2 for e in examples.shown)
    assert to_html(record).count("<img ") == len(examples.shown)


def test_every_format_is_in_the_vocabulary(cli: Cli) -> None:
    schema = json.loads(cli("recipe", "schema").out)
    assert all(f'"{name}"' in json.dumps(schema) for name in FORMATS)

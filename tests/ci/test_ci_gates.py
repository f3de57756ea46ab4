"""A repository in CI: the first run writes the baseline, equal runs pass, a worse recipe fails and says by which gate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from end_to_end_support import SAMPLES, Cli, Ran

RESNET = SAMPLES / "digits_resnet"
GATES = "gates: {against: baseline.json, metric_drop: 0.2%, sqnr: -1, size_ratio: 99%, int8_macs: 99%}\n"
GOOD = f"""\
extends: {RESNET / "recipe.yaml"}
dataset: {{samples: 16, evaluation_samples: 100}}
algorithms: none
evaluation: {{latency: false, layers: false}}
{GATES}"""
WORSE = GOOD + "calibration: {method: percentile, percentile: 70}\n"


@dataclass
class Repository:
    """A checkout with model, data and recipe, and a CI that converts."""

    root: Path
    cli: Cli

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def baseline(self) -> Path:
        return self.root / "baseline.json"

    @property
    def summary(self) -> str:
        return (self.root / "summary.md").read_text(encoding="utf-8")

    @property
    def gates(self) -> dict[str, Any]:
        """The test cases of the gates in the JUnit report, each with its failure or None."""
        root = ElementTree.parse(self.root / "out" / "model.report.xml").getroot()
        (suite,) = (s for s in root if s.get("name") == "gates")
        return {str(case.get("name")): case.find("failure") for case in suite.iter("testcase")}

    def push(self, recipe: str, *extra: object) -> Ran:
        """What CI does with a commit."""
        self.recipe.write_text(recipe, encoding="utf-8")
        model, out = RESNET / "digits_resnet.onnx", self.root / "out"
        return self.cli(
            "convert", model, "-r", self.recipe, "-d", RESNET, "-o", out, "--report", "junit,md", "-q", *extra
        )


@pytest.fixture
def repository(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return Repository(tmp_path, cli)


def test_a_worse_recipe_fails_the_build(repository: Repository) -> None:
    first = repository.push(GOOD, "--update-baseline")
    assert (first.code, first.out, first.err) == (0, "", "")
    written = (repository.root / "out" / "model.report.json").read_text(encoding="utf-8")
    assert repository.baseline.read_text(encoding="utf-8") == written
    assert repository.gates == {}

    second = repository.push(GOOD)
    assert (second.code, second.err) == (0, "")
    names = ["against.metric_drop", "against.sqnr", "against.size_ratio", "against.int8_macs"]
    assert repository.gates == dict.fromkeys(names)

    worse = repository.push(WORSE)
    assert worse.code == 5
    title = "::error title=gate against.metric_drop of x86-vnni"
    assert f"{title}::drop of the task metric against baseline.json: 0." in worse.err
    failure = repository.gates["against.metric_drop"]
    assert failure is not None
    assert failure.get("type") == "G001"
    assert failure.get("message").startswith("drop of the task metric against baseline.json: 0.")
    assert repository.gates["against.size_ratio"] is None
    assert "| `against.metric_drop` | **failed** | drop of the task metric against baseline.json" in repository.summary
    assert repository.baseline.read_text(encoding="utf-8") == written
    assert (repository.root / "out" / "model.rejected.onnx").exists()


def test_a_failed_run_is_no_baseline(repository: Repository) -> None:
    recipe = GOOD.replace("against: baseline.json", "against: {report: baseline.json, sqnr: -1}").replace(
        "-1, s", "90, s"
    )
    assert repository.push(recipe, "--update-baseline").code == 5
    assert list(repository.gates) == ["metric_drop", "sqnr", "size_ratio", "int8_macs"]
    assert not repository.baseline.exists()


def test_what_cannot_be_compared(repository: Repository) -> None:
    """Other metrics and other hosts fail the gate that needs them; another model file or other samples are warnings."""
    assert repository.push(GOOD, "--update-baseline", "--set", "evaluation.latency=true").code == 0
    record = json.loads(repository.baseline.read_text(encoding="utf-8"))
    record["measurements"]["metrics"][0]["name"] = "mAP"
    record["measurements"]["latency"]["host"] = "elsewhere"
    record["model"]["sha256"] = "0" * 64
    record["data"]["evaluation_samples"] = 3
    record["added_by_a_newer_version"] = 1
    repository.baseline.write_text(json.dumps(record), encoding="utf-8")
    ran = repository.push(GOOD, "--set", "gates.speedup=0.1", "--set", "evaluation.latency=true")
    assert ran.code == 5
    assert {name: failed.get("type") for name, failed in repository.gates.items() if failed is not None} == {
        "against.metric_drop": "G002",
        "against.speedup": "G002",
    }
    assert "the metrics are not the same: top1 here, mAP there" in ran.err
    assert "it was timed on elsewhere" in ran.err
    assert "the model has changed since the baseline" in ran.err
    assert "the baseline was measured on 3 evaluation samples" in ran.err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "cannot be read: No such file"),
        ("[1", "not a run record"),
        ("{}", "not a run record"),
        ({"schema_version": 99, "tool_version": "9.9"}, "schema version 99 (of qconvert 9.9), this qconvert reads 1"),
        ({"target": "tensorrt"}, "the baseline is a run for tensorrt, this one is for x86-vnni"),
        ({"plan": 3}, "the baseline is no run record: plan"),
        ({"model": {"sha256": "", "inputs": {}, "outputs": {}}}, "a model with other inputs or outputs"),
    ],
)
def test_baselines_that_cannot_be_used(repository: Repository, change: Any, says: str) -> None:
    """Told before anything is calibrated, and nothing is written."""
    plain = {
        "schema_version": 1,
        "target": "x86-vnni",
        "status": "done",
        "model": {"sha256": "", "inputs": {}, "outputs": {}},
        "measurements": {},
        "plan": {"integer_share": 1},
    }
    if change is not None:
        text = change if isinstance(change, str) else json.dumps({**plain, **change})
        repository.baseline.write_text(text, encoding="utf-8")
    ran = repository.push(GOOD)
    assert ran.code == 2
    assert ran.err.startswith(f"error[R014]: {repository.baseline}: ")
    assert says in ran.err
    assert "--update-baseline" in ran.err or "gates.against" in ran.err
    assert not (repository.root / "out").exists()


def test_the_report_never_replaces_its_own_baseline(repository: Repository) -> None:
    ran = repository.push(GOOD.replace("against: baseline.json", "against: out/model.report.json"))
    assert ran.code == 7
    assert "error[O003]" in ran.err


def test_update_without_a_file(repository: Repository) -> None:
    ran = repository.push(GOOD.replace(GATES, ""), "--update-baseline")
    assert ran.code == 2
    assert "error[R011]" in ran.err

"""Every format takes every record: nothing fails, and nothing in a name becomes markup."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

import html5lib
import jsonschema
import pytest
from end_to_end_support import strict_json
from hypothesis import HealthCheck, given, settings
from report_records import COMPARISONS, EVALUATIONS, RECORDS, any_model, plain_record, rich_record
from rich.console import Console

from qconvert.evaluate.model import GateResult, Measurements, Metric, Size
from qconvert.optimize import AlgorithmStep
from qconvert.report import FORMATS, RunRecord, record_schema, to_csv, to_html, to_json, to_junit, to_markdown
from qconvert.report.comparison import (
    Comparison,
    comparison_html,
    comparison_json,
    comparison_markdown,
    comparison_text,
)
from qconvert.report.evaluation import (
    Evaluation,
    evaluation_csv,
    evaluation_html,
    evaluation_json,
    evaluation_markdown,
    evaluation_text,
)
from qconvert.report.github import failure_commands, workflow_commands
from qconvert.report.record import Problem
from qconvert.report.rows import layer_rows
from qconvert.report.targets import TargetsRecord, targets_html, targets_json, targets_markdown, targets_text
from qconvert.report.terminal import render
from qconvert.report.verdict import sentence

PROPERTY = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
LOADING = {
    "src",
    "srcset",
    "href",
    "action",
    "formaction",
    "poster",
    "data",
    "background",
    "cite",
    "ping",
    "manifest",
    "xlink:href",
}


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = record_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check_html(text: str) -> None:
    """Valid HTML5 with one script, no foreign element, and no address beyond the page and files near it."""
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    names = [e.tag for e in tree.iter() if isinstance(e.tag, str)]
    assert names.count("script") == 1
    assert "evil" not in names
    for element in tree.iter():
        for key, value in element.attrib.items():
            name = key if isinstance(key, str) else key[-1]
            assert not name.startswith("on")
            if name.lower() in LOADING:
                assert value.startswith(("#", "data:", "./")) or value == "", (element.tag, name, value)


@PROPERTY
@given(RECORDS)
def test_any_record_as_html(record: RunRecord) -> None:
    check_html(to_html(record))


@PROPERTY
@given(RECORDS)
def test_any_record_as_markdown(record: RunRecord) -> None:
    lines = to_markdown(record).splitlines()
    assert len(lines) < 60
    assert "<evil" not in "\n".join(line.replace("`", "") for line in lines if "`" not in line)
    tables = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert all(line.count("|") in (4, 5) for line in tables)


@PROPERTY
@given(RECORDS)
def test_any_record_as_junit(record: RunRecord) -> None:
    root = ElementTree.fromstring(to_junit(record))
    cases = root.findall("testsuite[@name='gates']/testcase")
    assert len(cases) == len(record.gates)
    assert sum(c.find("failure") is not None for c in cases) == sum(not g.passed for g in record.gates)
    assert int(root.get("tests", "")) == len(root.findall("testsuite/testcase"))


@PROPERTY
@given(RECORDS)
def test_any_record_as_csv(record: RunRecord) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(record))))
    assert len(rows) == len(layer_rows(record))
    assert not any(row["tensor"].startswith("=") for row in rows)


@PROPERTY
@given(record=RECORDS)
def test_any_record_as_json_fits_the_schema_and_reads_back(validator: Any, record: RunRecord) -> None:
    text = to_json(record)
    validator.validate(strict_json(text))
    assert to_json(RunRecord.model_validate_json(text)) == text


@PROPERTY
@given(RECORDS)
def test_any_record_as_annotations_and_on_a_terminal(record: RunRecord) -> None:
    assert all(
        line.startswith(("::error title=", "::warning title=")) and len(line.splitlines()) == 1
        for line in workflow_commands(record)
    )
    render(record)


@PROPERTY
@given(EVALUATIONS)
def test_any_evaluation_in_every_format(found: Evaluation) -> None:
    check_html(evaluation_html(found))
    tables = [line.replace("\\|", "") for line in evaluation_markdown(found).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 1
    rows = list(csv.reader(io.StringIO(evaluation_csv(found))))
    assert len(rows) == 1 + len(found.models)
    assert len({len(row) for row in rows}) == 1
    assert evaluation_json(Evaluation.model_validate_json(evaluation_json(found))) == evaluation_json(found)
    evaluation_text(found)


@PROPERTY
@given(any_model(TargetsRecord))
def test_any_run_for_several_targets_in_every_format(found: TargetsRecord) -> None:
    check_html(targets_html(found))
    lines = targets_markdown(found).splitlines()
    assert len(lines) < 60
    tables = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 1
    assert targets_json(TargetsRecord.model_validate_json(targets_json(found))) == targets_json(found)
    assert all(line.startswith("::error title=") and len(line.splitlines()) == 1 for line in failure_commands(found))
    targets_text(found)


@PROPERTY
@given(COMPARISONS)
def test_any_comparison_in_every_format(found: Comparison) -> None:
    check_html(comparison_html(found))
    tables = [line.replace("\\|", "") for line in comparison_markdown(found).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 1
    assert comparison_json(Comparison.model_validate_json(comparison_json(found))) == comparison_json(found)
    comparison_text(found)


def test_a_run_without_anything() -> None:
    record = plain_record()
    for row in FORMATS.values():
        assert row.render(record)
    check_html(to_html(record))
    assert sentence(record) == "0.0 % of the multiply-accumulates in integer kernels; nothing was measured."


def failed() -> RunRecord:
    gate = GateResult(
        name="size_ratio", limit=4.0, value=3.1, passed=False, text="size ratio: 3.1x, wanted at least 4x"
    )
    fine = GateResult(
        name="metric_drop", limit=0.01, value=0.0, passed=True, text="drop of the task metric: 0, wanted at most 0.01"
    )
    metric = Metric(name="top1", float_value=0.9, value=0.9, drop=0.0, higher_is_better=True, samples=10)
    said = Problem(code="G001", severity="error", message=gate.text, where="gates.size_ratio")
    slow = Problem(code="V100", severity="warning", message="slower: 50%, sadly", hint="a, b\nc")
    return plain_record(
        status="gates failed",
        gates=(gate, fine),
        diagnostics=(said, slow),
        measurements=Measurements(metrics=(metric,), size=Size(float_bytes=31, bytes=10)),
    )


def test_a_failed_gate_is_named_in_every_format() -> None:
    record, text = failed(), "size ratio: 3.1x, wanted at least 4x"
    assert sentence(record) == f"1 of 2 gates failed: {text}."
    assert f'<failure type="G001" message="{text}">' in to_junit(record)
    assert to_markdown(record).count(text) == 2  # sentence and table, not a third time as a message
    assert text in to_html(record)


def test_annotations_are_escaped_and_do_not_repeat_gates() -> None:
    assert list(workflow_commands(failed())) == [
        "::error title=gate size_ratio of x86-vnni::size ratio: 3.1x, wanted at least 4x",
        "::warning title=qconvert V100::slower: 50%25, sadly%0Ahint: a, b%0Ac",
    ]


def test_names_with_markup_show_as_themselves() -> None:
    name = "<b>&|`*"
    record = plain_record(diagnostics=(Problem(code="V100", severity="warning", message="m", where=name),))
    assert "<code>&lt;b&gt;&amp;|`*</code>" in to_html(record)
    assert "`<b>&\\|'*`" in to_markdown(record)


def test_the_schema_refuses_what_is_no_record(validator: Any) -> None:
    document = json.loads(to_json(plain_record()))
    validator.validate(document)
    for change in ({"schema_version": 2}, {"status": "well"}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**document, **change})


def test_a_long_graph_stays_below_a_megabyte() -> None:
    record = rich_record()
    many = [f"/model/layers.{n // 10}/attention/self/query/MatMul_{n}_output_0" for n in range(3000)]
    layers = tuple(
        record.measurements.layers[0].model_copy(update={"tensor": name, "sqnr_db": 40 - n / 200})
        for n, name in enumerate(many)
    )
    nodes = tuple(record.plan.nodes[n % 40].model_copy(update={"name": name}) for n, name in enumerate(many))
    tensors = tuple(record.plan.tensors[0].model_copy(update={"name": name}) for name in many)
    long = record.model_copy(
        update={
            "plan": record.plan.model_copy(update={"nodes": nodes, "tensors": tensors}),
            "measurements": record.measurements.model_copy(update={"layers": layers}),
        }
    )
    assert len(to_html(long).encode()) < 1_000_000


def test_algorithms_that_were_judged_with_corrected_biases_are_marked() -> None:
    steps = (
        AlgorithmStep(name="ranges", kept=True, before_db=33.0, after_db=35.5, corrected=True, seconds=1.0),
        AlgorithmStep(name="reconstruct", kept=True, before_db=30.3, after_db=37.0, seconds=1.0),
    )
    record = rich_record()
    for found, marked in ((steps, True), (steps[1:], False)):
        changed = record.model_copy(update={"algorithms": found})
        console = Console(file=io.StringIO(), record=True, width=160)
        console.print(render(changed))
        for text in (console.export_text(), to_html(changed)):
            assert ("ranges *" in text) == marked
            assert "reconstruct *" not in text
            assert ("biases corrected in passing" in text) == marked

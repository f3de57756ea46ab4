"""A whole evaluation with real sessions."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from evaluate_models import FakeSamples, linear, samples_of, session_of

from qconvert.data import Sample
from qconvert.errors import QConvertError, Severity
from qconvert.evaluate import METRICS, evaluate
from qconvert.evaluate.metrics import Spec
from qconvert.evaluate.metrics.paired import Mean

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(40, 4)).astype(np.float32)
LABELS = [int(i) for i in ROWS[:, :3].argmax(axis=1)]
NOISY = (0.5, -0.5, 0.2)


def refused(*args, **kwargs):
    with pytest.raises(QConvertError) as caught:
        evaluate(*args, **kwargs)
    return caught.value.diagnostics[0]


def test_everything_in_one_pass(tmp_path):
    samples = samples_of(ROWS, LABELS)
    reads: list[str] = []
    samples = FakeSamples(samples.samples, reads=reads)
    steps: list[tuple[int, int]] = []
    found = evaluate(linear(), linear(NOISY), samples, ["f1", "top1"], tmp_path, progress=lambda *s: steps.append(s))
    after = ROWS[:, :3] + ROWS[:, 3:] * np.float32(NOISY)
    noise = ((after - ROWS[:, :3]).astype(np.float64) ** 2).sum()
    assert found.fidelity.sqnr_db == pytest.approx(
        10 * math.log10((ROWS[:, :3].astype(np.float64) ** 2).sum() / noise), rel=1e-5
    )
    share = (after.argmax(axis=1) == LABELS).mean()
    assert found.fidelity.agreement == pytest.approx(share)
    assert [m.name for m in found.metrics] == ["f1", "top1"]
    assert found.metrics[1].float_value == 1
    assert found.metrics[1].drop == pytest.approx(1 - share)
    assert found.diagnostics == ()
    assert set(Counter(reads).values()) == {1}
    assert steps == [(i, 80) for i in range(1, 81)]


def test_the_same_model_twice(tmp_path):
    found = evaluate(linear(), linear(), samples_of(ROWS, LABELS), "top1", tmp_path)
    assert found.fidelity.sqnr_db == math.inf
    assert found.fidelity.cosine == pytest.approx(1)
    assert found.fidelity.agreement == 1
    assert found.metrics[0].drop == 0


def test_the_metric_is_picked_by_the_labels(tmp_path):
    assert [m.name for m in evaluate(linear(), linear(), samples_of(ROWS, LABELS), None, tmp_path).metrics] == ["top1"]
    targets = [row[:3].astype(np.float64) for row in ROWS]
    assert [m.name for m in evaluate(linear(), linear(), samples_of(ROWS, targets), None, tmp_path).metrics] == ["mse"]
    assert evaluate(linear(), linear(), samples_of(ROWS), None, tmp_path)[1:3] == ((), ())
    assert evaluate(linear(), linear(), samples_of(ROWS, LABELS), [], tmp_path)[1:3] == ((), ())


def test_labels_that_suggest_nothing_are_noted(tmp_path):
    found = evaluate(linear(), linear(), samples_of(ROWS, [0.5] * 40), None, tmp_path)
    assert found.metrics == ()
    (note,) = found.diagnostics
    assert (note.code, note.severity) == ("D009", Severity.NOTE)
    assert "float64[] for output `y` float32[1, 3]" in note.message


def test_calibration_data_is_warned_of(tmp_path):
    found = evaluate(linear(), linear(), samples_of(ROWS, part="calibration"), None, tmp_path)
    assert found.fidelity.part == "calibration"
    assert [(d.code, d.severity) for d in found.diagnostics] == [("D103", Severity.WARNING)]


def test_metrics_need_labels(tmp_path):
    found = refused(linear(), linear(), samples_of(ROWS), ["top1", "f1"], tmp_path)
    assert (found.code, found.message) == ("D009", "top1, f1 needs labels, and the evaluation part has none")


def test_labels_out_of_range_name_the_sample(tmp_path):
    found = refused(linear(), linear(), samples_of(ROWS, [*LABELS[:-1], 3]), None, tmp_path)
    assert (found.code, found.where) == ("D009", "s39")


def test_not_a_number_in_the_float_model(tmp_path):
    rows = np.array([[1, 2, 3, 4], [1, np.nan, 3, 4]], np.float32)
    found = refused(linear(), linear(), samples_of(rows), None, tmp_path)
    assert (found.code, found.where) == ("M013", "s1")


def test_not_a_number_in_the_result(tmp_path):
    broken = session_of(
        '<ir_version: 8, opset_import: ["": 17]> g (float[b, 4] x) => (float[b, 3] y) '
        "<int64[1] s = {0}, int64[1] e = {3}, int64[1] a = {1}> { c = Slice(x, s, e, a) \n y = Sqrt(c) }"
    )
    rows = np.array([[1, 1, 1, 1], [-1, 1, 1, 1], [-1, 1, 1, 1]], np.float32)
    found = evaluate(linear(), broken, samples_of(rows), None, tmp_path)
    assert found.fidelity.sqnr_db == -math.inf
    (error,) = found.diagnostics
    assert (error.code, error.severity) == ("V003", Severity.ERROR)
    assert "s1" in error.message


def test_no_numeric_output(tmp_path):
    text = (
        '<ir_version: 8, opset_import: ["": 17]> g (string[n] x) => (string[n] y) { y = Identity(x) }',
        FakeSamples([Sample("s0", {"x": np.array(["a"], object)}, 1)]),
    )
    found = refused(session_of(text[0]), session_of(text[0]), text[1], "accuracy", tmp_path)
    assert found.code == "D009"
    assert evaluate(session_of(text[0]), session_of(text[0]), text[1], None, tmp_path).fidelity.cosine == 1


def test_no_samples(tmp_path):
    found = evaluate(linear(), linear(), FakeSamples([]), None, tmp_path)
    assert found.fidelity.samples == 0
    assert math.isnan(found.fidelity.sqnr_db)


def test_a_new_metric_is_one_row(tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "largest", Spec(True, lambda: Mean(lambda output, label, where: output.max(axis=1))))
    found = evaluate(linear(), linear(NOISY), samples_of(ROWS, LABELS), "largest", tmp_path)
    assert found.metrics[0].float_value == pytest.approx(ROWS[:, :3].max(axis=1).mean())


def test_a_batch_of_rows(tmp_path):
    batch = FakeSamples([Sample("s0..s39", {"x": ROWS}, np.asarray(LABELS))])
    one = evaluate(linear(), linear(NOISY), samples_of(ROWS, LABELS), "top1", tmp_path)
    whole = evaluate(linear(), linear(NOISY), batch, "top1", tmp_path)
    assert one.metrics == whole.metrics
    assert one.fidelity.agreement == whole.fidelity.agreement

"""Tables and audio."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconvert.data.labels import number
from qconvert.errors import Severity

X = {"x": "float32[N,2]"}


def rows(dataset, name="x") -> list:
    return [s.feed[name][0].tolist() for s in dataset.calibration]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("1,2\n3,4\n", [None, None]),
        ("a,b\n1,2\n3,4\n", [None, None]),
        ("x[0],x[1],label\n1,2,5\n3,4,6\n", [5, 6]),
        ("x_1,x_0,label\n2,1,5\n4,3,6\n", [5, 6]),
        ("a;label;b\n1;0;2\n\n3;1;4\n", [0, 1]),
        ("\ufeffa\tb\n1\t2\n3\t4\n", [None, None]),
        ("name,a,b\nfoo,1,2\nbar,3,4\n", [None, None]),
        ("1,2,foo\n3,4,bar\n", [None, None]),
        ("0,1,label\n1,2,7\n3,4,8\n", [7, 8]),
    ],
)
def test_csv(make, data, text, labels):
    make.text("t.csv", text)
    opened = data(X)
    assert rows(opened) == [[1, 2], [3, 4]]
    assert [s.id for s in opened.calibration] == ["t.csv[0]", "t.csv[1]"]
    assert [s.label for s in opened.calibration] == labels
    assert opened.calibration.has_labels == (labels[0] is not None)


def test_csv_with_class_names(make, data):
    make.text("calib/t.csv", "a,b,label\n1,2,setosa\n3,4,iris\n")
    make.text("eval/t.csv", "a,b,label\n1,2,zebra\n")
    opened = data(X)
    assert opened.classes == ("iris", "setosa", "zebra")
    assert [s.label for s in opened.calibration] == [1, 0]
    assert [s.label for s in opened.evaluation] == [2]


def test_csv_with_an_empty_label(make, data):
    make.text("t.csv", "a,b,label\n1,2,0\n3,4,\n")
    found = data.mistake(X)
    assert (found.code, found.where) == ("D009", "t.csv:3")
    assert len(data(X, labels="none").calibration) == 2


def test_csv_takes_the_shape_of_the_input(make, data):
    make.text("t.csv", ",".join(map(str, range(12))))
    assert next(iter(data({"x": "float32[N,1,3,4]"}).calibration)).feed["x"].shape == (1, 1, 3, 4)
    assert next(iter(data({"x": "float32[N,3,T]"}).calibration)).feed["x"].shape == (1, 3, 4)
    found = data.mistake({"x": "float32[N,5]"})
    assert (found.code, found.where) == ("D004", "t.csv[0]")
    assert "[1,12] came, [N,5] is wanted" in found.message


def test_csv_of_several_inputs(make, data):
    make.text("t.csv", "a,b.0,b.1,c\n1,2,3,9\n")
    opened = data({"a": "int64[N,1]", "b": "float32[N,2]"})
    (sample,) = opened.calibration
    assert (sample.feed["a"].tolist(), sample.feed["a"].dtype, sample.feed["b"].tolist()) == ([[1]], np.int64, [[2, 3]])
    assert any("ignored: c" in d.message for d in opened.diagnostics)
    found = data.mistake({"a": "int64[N,1]", "d": "float32[N,2]"})
    assert (found.code, found.where) == ("D006", "t.csv")
    assert "d[0]" in found.hint.replace("input", "d")


def test_every_bad_line_is_named(make, data):
    make.text("t.csv", "a,b\n1,2\n3\n5,six\n7,nan\n")
    found = data.mistakes(X)
    assert [(d.code, d.where) for d in found] == [("D003", "t.csv:3"), ("D003", "t.csv:4"), ("D007", "t.csv[3]")]
    assert "six" in found[1].message


def test_fractions_are_no_integers(make, data):
    make.text("t.csv", "1.5,2\n")
    assert data.mistake({"x": "int64[N,2]"}).code == "D005"
    make.text("t.csv", "1.0,2\n")
    assert next(iter(data({"x": "int64[N,2]"}).calibration)).feed["x"].tolist() == [[1, 2]]


@given(st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "a", "1a", "--1"]))
def test_number(value):
    assert number(f" {value} ") == value


def test_jsonl(make, data):
    make.text("t.jsonl", '{"x": [1, 2], "label": 3}\n\n{"x": [[3, 4]], "label": 4}\n')
    opened = data(X)
    assert rows(opened) == [[1, 2], [3, 4]]
    assert [s.label for s in opened.calibration] == [3, 4]
    make.text("t.jsonl", "[1, 2]\n[3, 4]\n")
    assert rows(data(X)) == [[1, 2], [3, 4]]
    make.text("t.jsonl", '{"other": [1, 2]}\n')
    assert rows(data(X)) == [[1, 2]]


def test_jsonl_of_several_inputs_and_lengths(make, data):
    lines = [{"ids": [1] * n, "mask": [1] * n} for n in (3, 5)]
    make.text("t.jsonl", "\n".join(map(json.dumps, lines)))
    opened = data({"ids": "int64[N,S]", "mask": "int64[N,S]"})
    assert [s.feed["ids"].shape for s in opened.calibration] == [(1, 3), (1, 5)]


@pytest.mark.parametrize(
    ("line", "code", "where"),
    [
        ("{", "D003", "t.jsonl:2"),
        ('{"a": [1, 2], "b": 1}', "D006", "t.jsonl:2"),
        ('{"x": [[1], [1, 2]]}', "D004", "t.jsonl:2"),
        ('{"x": ["a", "b"]}', "D005", "t.jsonl:2"),
        ('{"x": [1, 2, 3]}', "D004", "t.jsonl[1]"),
        ('{"x": [1, 2], "label": 1}', "D009", "t.jsonl:1"),
        ("[" * 100000, "D003", "t.jsonl:2"),
        ('{"x": [1, NaN]}', "D007", "t.jsonl[1]"),
        ('{"x": [1, 1e60]}', "D007", "t.jsonl[1]"),
    ],
)
def test_bad_jsonl(make, data, line, code, where):
    make.text("t.jsonl", '{"x": [1, 2]}\n' + line)
    found = data.mistake(X)
    assert (found.code, found.where) == (code, where)


def test_sampled_rows_of_a_table_are_the_rows_of_the_table(make, data):
    make.text("t.csv", "\n".join(f"{i},{i}" for i in range(50)))
    for sample in data(X, samples=7).calibration:
        assert sample.id == f"t.csv[{int(sample.feed['x'][0, 0])}]"


def test_not_text(make, data):
    make.path("t.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    assert (data.mistake(X).code, data.mistake(X).where) == ("D003", "t.csv")


def test_wav(make, data):
    make.wav("a.wav", [0, 16384, -32768])
    make.wav("b.wav", [[16384, 0], [0, 0], [-32768, 0]], channels=2)
    opened = data({"x": "float32[N,3]"})
    assert rows(opened) == [[0, 0.5, -1], [0.25, 0, -0.5]]
    note = next(d for d in opened.diagnostics if d.code == "D104")
    assert "16000 Hz (2 files)" in note.message
    assert rows(data({"x": "float32[N,3]"}, preprocess={"scale": 32768.0}))[0] == [0, 16384, -32768]


@pytest.mark.parametrize(
    ("model", "pre", "shape"),
    [
        ("float32[N,5]", {}, (1, 5)),
        ("float32[N,1,5]", {}, (1, 1, 5)),
        ("float32[N,2,1]", {}, (1, 2, 1)),
        ("float32[5]", {}, (5,)),
        ("float32[N,T]", {}, (1, 3)),
        ("float32[N,T]", {"pad_to": 4}, (1, 4)),
    ],
)
def test_wav_is_padded_or_cut(make, data, model, pre, shape):
    make.wav("a.wav", [16384, 16384, 16384])
    opened = data({"x": model}, preprocess=pre)
    (sample,) = opened.calibration
    assert sample.feed["x"].shape == shape
    assert sample.feed["x"].ravel()[:2].tolist() == [0.5, 0.5]
    note = next(d for d in opened.diagnostics if d.code == "D104")
    assert ("truncated" in note.message) == (max(shape) < 3)
    assert ("padded" in note.message) == (max(shape) > 3)


def test_wav_class_folders_and_rates(make, data):
    make.wav("no/a.wav", [1, 2])
    make.wav("yes/a.wav", [1, 2], rate=8000)
    opened = data(X)
    assert (opened.classes, [s.label for s in opened.calibration]) == (("no", "yes"), [0, 1])
    warning = next(d for d in opened.diagnostics if d.code == "D101")
    assert warning.severity == Severity.WARNING
    assert "8000 Hz (1 files), 16000 Hz (1 files)" in warning.message


def test_bad_wav(make, data):
    make.text("a.wav", "nonsense")
    assert (data.mistake(X).code, data.mistake(X).where) == ("D003", "a.wav")
    make.wav("a.wav", [1, 2], width=1)
    assert "8-bit" in data.mistake(X).message
    path = make.wav("a.wav", range(100))
    path.write_bytes(path.read_bytes()[:-50])
    assert data.mistake(X).code == "D003"
    make.wav("a.wav", [1, 2])
    assert data.mistake({"x": "float32[N,49,10]"}).code == "D010"

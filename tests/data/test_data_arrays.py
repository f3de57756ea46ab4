""".npy, .npz and ONNX test data: rows, names, casts, mistakes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.data import DatasetSettings, open_dataset
from qconvert.errors import Severity
from qconvert.graph import TensorType

X = {"x": "float32[N,2]"}


def feeds(dataset, name="x") -> list:
    return [s.feed[name].tolist() for s in dataset.calibration]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 12), st.booleans())
@settings(max_examples=25, deadline=None)
def test_packaging_rows_into_files_makes_no_difference(sizes, count, zipped):
    total = sum(sizes)
    rows = np.arange(total * 2, dtype=np.float32).reshape(total, 2)

    def read(parts):
        with tempfile.TemporaryDirectory() as folder:
            for i, part in enumerate(parts):
                if zipped:
                    np.savez(Path(folder, f"{i:03}.npz"), x=part)
                else:
                    np.save(Path(folder, f"{i:03}.npy"), part)
            opened = open_dataset(Path(folder), {"x": TensorType("float32", ("N", 2))}, DatasetSettings(samples=count))
            ids = [s.id for s in opened.calibration]
            assert len(set(ids)) == len(ids) == len(opened.calibration)
            return np.concatenate([s.feed["x"] for s in opened.calibration])

    one_file = read([rows])
    many = read(np.split(rows, np.cumsum(sizes)[:-1]))
    single = read(list(rows))
    assert np.array_equal(one_file, many)
    assert np.array_equal(one_file, single)


@pytest.mark.parametrize(
    ("model", "array", "samples"),
    [
        ("float32[N,3,4,4]", (5, 3, 4, 4), [(1, 3, 4, 4)] * 5),
        ("float32[1,3,4,4]", (5, 3, 4, 4), [(1, 3, 4, 4)] * 5),
        ("float32[?,3,4,4]", (3, 4, 4), [(1, 3, 4, 4)]),
        ("float32[3,4,4]", (3, 4, 4), [(3, 4, 4)]),
        ("float32[3,4,4]", (5, 3, 4, 4), [(3, 4, 4)] * 5),
        ("float32[4,3,4,4]", (9, 3, 4, 4), [(4, 3, 4, 4)] * 2),
        ("float32[T]", (7,), [(7,)]),
        ("float32[T]", (5, 7), [(7,)] * 5),
        ("float32[6]", (6,), [(6,)]),
        ("float32", (), [()]),
        ("float32", (3,), [()] * 3),
    ],
)
def test_what_is_a_row(make, data, model, array, samples):
    make.npy("a.npy", np.zeros(array, "f4"))
    assert [s.feed["x"].shape for s in data({"x": model}).calibration] == samples


def test_ids(make, data):
    make.npy("b.npy", np.zeros((2, 2), "f4"))
    make.npy("a.npy", np.zeros(2, "f4"))
    make.npz("sub/c.npz", x=np.zeros((1, 2), "f4"))
    assert [s.id for s in data(X).calibration] == ["a.npy", "b.npy[0]", "b.npy[1]", "sub/c.npz[0]"]


def test_files_of_different_lengths(make, data):
    model = {"ids": "int64[N,S]", "mask": "int64[N,S]"}
    for i, length in enumerate((5, 9)):
        make.npz(f"{i}.npz", ids=np.ones((2, length), "i8"), mask=np.ones((2, length), "i8"))
    assert [s.feed["mask"].shape for s in data(model).calibration] == [(1, 5), (1, 5), (1, 9), (1, 9)]
    padded = data(model, preprocess={"pad_to": 7})
    assert {s.feed["ids"].shape for s in padded.calibration} == {(1, 7)}
    assert next(iter(padded.calibration)).feed["ids"].tolist() == [[1, 1, 1, 1, 1, 0, 0]]


def test_a_shared_dimension_must_agree(make, data):
    make.npz("a.npz", ids=np.ones((2, 5), "i8"), mask=np.ones((2, 4), "i8"))
    found = data.mistake({"ids": "int64[N,S]", "mask": "int64[N,S]"})
    assert (found.code, found.where) == ("D004", "a.npz")
    assert "S is 5 in `ids` and 4 in `mask`" in found.message


def test_row_counts_must_agree(make, data):
    make.npz("a.npz", a=np.ones((2, 5), "f4"), b=np.ones((3, 5), "f4"))
    found = data.mistake({"a": "float32[N,5]", "b": "float32[N,5]"})
    assert (found.code, found.where) == ("D004", "a.npz")
    assert "`a` 2, `b` 3" in found.message


def test_an_input_without_batch_is_shared_by_the_rows(make, data):
    make.npz("a.npz", x=np.zeros((3, 2), "f4"), level=np.float32(0.5), size=np.array([4, 5], "i8"))
    samples = list(data({**X, "level": "float32", "size": "int64[2]"}).calibration)
    assert len(samples) == 3
    assert [(s.feed["level"].shape, s.feed["size"].tolist()) for s in samples] == [((), [4, 5])] * 3


def test_an_input_of_rank_one_follows_the_rows_of_the_others(make, data):
    make.npz("a.npz", x=np.zeros((3, 2), "f4"), n=np.array([4, 5, 6], "i8"))
    for dim in ("N", "M"):
        samples = list(data({**X, "n": f"int64[{dim}]"}).calibration)
        assert [s.feed["n"].tolist() for s in samples] == [[4], [5], [6]]


@pytest.mark.parametrize(
    ("came", "wanted"),
    [
        ("uint8", "float32"),
        ("int32", "int64"),
        ("int64", "int32"),
        ("bool", "int64"),
        ("float16", "float32"),
        ("int64", "float32"),
    ],
)
def test_lossless_casts_are_made_and_reported_once(make, data, came, wanted):
    for name in ("a.npy", "b.npy"):
        make.npy(name, np.ones((70, 2), came))
    opened = data({"x": f"{wanted}[N,2]"})
    assert next(iter(opened.calibration)).feed["x"].dtype == wanted
    (note,) = opened.diagnostics
    assert (note.code, note.severity) == ("D104", Severity.NOTE)
    assert f"{came} values are cast to {wanted}" in note.message


@pytest.mark.parametrize(
    ("array", "wanted", "where"),
    [
        (np.ones((2, 2), "f8"), "float32", "a.npy"),
        (np.ones((2, 2), "f4"), "int64", "a.npy"),
        (np.array([["a", "b"]]), "float32", "a.npy"),
        (np.array([[1, 2], [2**40, 1]]), "int32", "a.npy[1]"),
        (np.array([[1, 2], [1, -1]]), "uint64", "a.npy[1]"),
        (np.array([[1, 2], [2**24 + 1, 1]]), "float32", "a.npy[1]"),
    ],
)
def test_other_casts_are_refused(make, data, array, wanted, where):
    make.npy("a.npy", array)
    found = data.mistake({"x": f"{wanted}[N,2]"})
    assert (found.code, found.where) == ("D005", where)
    if array.dtype.kind == "U":
        return
    assert f"dtype: {wanted}" in found.hint
    assert next(iter(data({"x": f"{wanted}[N,2]"}, preprocess={"dtype": wanted}).calibration)).feed["x"].dtype == wanted


def test_unknown_type_in_the_recipe(make, data):
    make.npy("a.npy", np.ones((2, 2), "f4"))
    found = data.mistake(X, preprocess={"dtype": "flot32"})
    assert (found.code, found.where) == ("R005", "dataset.preprocess.dtype")


def test_wrong_shape(make, data):
    make.npy("a.npy", np.zeros((4, 3), "f4"))
    found = data.mistake(X)
    assert (found.code, found.where) == ("D004", "a.npy")
    assert "[1,3] came, [N,2] is wanted" in found.message
    assert "pad_to: 2" in found.hint
    make.npy("a.npy", np.zeros((4, 3, 2, 1), "f4"))
    assert "[2]" in data.mistake(X).hint


@pytest.mark.parametrize(
    ("model", "shape", "layout"), [("N,3,8,6", (2, 8, 6, 3), "nchw"), ("N,8,6,3", (2, 3, 8, 6), "nhwc")]
)
def test_other_layout_is_refused_with_its_mending(make, data, model, shape, layout):
    array = np.random.RandomState(0).rand(*shape).astype("f4")
    make.npy("a.npy", array)
    found = data.mistake({"x": f"float32[{model}]"})
    assert found.code == "D004"
    assert f"`layout: {layout}`" in found.hint
    samples = list(data({"x": f"float32[{model}]"}, preprocess={"layout": layout}).calibration)
    axes = (2, 0, 1) if layout == "nchw" else (1, 2, 0)
    assert np.array_equal(samples[1].feed["x"][0], array[1].transpose(axes))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(make, data, value):
    array = np.zeros((4, 2), "f4")
    array[2, 1] = value
    make.npz("a.npz", x=array)
    found = data.mistake(X)
    assert (found.code, found.where) == ("D007", "a.npz[2]")


def test_names(make, data):
    make.npz("a.npz", z=np.zeros((130, 2), "f4"))
    (note,) = data(X).diagnostics
    assert note.code == "D105"
    assert "`z` is taken for the only input `x`" in note.message
    make.npz("a.npz", z=np.zeros((130, 2), "f4"), w=np.zeros(3))
    found = data.mistake(X)
    assert (found.code, found.where) == ("D006", "a.npz")
    assert "z, w" in found.message
    assert "dataset.inputs.x.array" in found.hint
    opened = data(X, inputs={"x": {"array": "z"}})
    assert [d.message for d in opened.diagnostics] == ["arrays that are no input of the model are ignored: w"]
    assert data.mistake(X, inputs={"y": {"array": "z"}}).code == "R005"


def test_every_missing_input_is_named(make, data):
    make.npz("a.npz", a=np.zeros((1, 2), "f4"))
    found = data.mistakes({"a": "float32[N,2]", "b": "float32[N,2]", "c": "float32[N,2]"})
    assert [d.code for d in found] == ["D006", "D006"]


def test_preprocessing_of_one_input(make, data):
    make.npz("a.npz", a=np.full((1, 2), 4, "u1"), b=np.full((1, 2), 4, "i8"))
    opened = data({"a": "float32[N,2]", "b": "int64[N,2]"}, inputs={"a": {"preprocess": {"scale": 0.5}}})
    sample = next(iter(opened.calibration))
    assert (sample.feed["a"].tolist(), sample.feed["b"].tolist()) == ([[2, 2]], [[4, 4]])


@pytest.mark.parametrize("key", [{"crop": 4}, {"color": "rgb"}, {"resize": {"size": 4}}])
def test_image_settings_do_not_pass_silently(make, data, key):
    make.npy("a.npy", np.zeros((1, 2), "f4"))
    found = data.mistake(X, preprocess=key)
    assert found.code == "R009"
    assert "arrays" in found.message


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_corrupt(make, data, name):
    make.text(name, "nonsense")
    assert (data.mistake(X).code, data.mistake(X).where) == ("D003", name)
    (make.npy if name == "a.npy" else make.npz)(
        name, **({"array": np.zeros((90, 2), "f4")} if name == "a.npy" else {"x": np.zeros((90, 2), "f4")})
    )
    path = make.path(name)
    path.write_bytes(path.read_bytes()[:-300])
    assert data.mistake(X).code == "D003"


def test_pickled_objects_are_not_loaded(make, data):
    np.save(make.path("a.npy"), np.array([[1], [1, 2]], dtype=object), allow_pickle=True)
    found = data.mistake(X)
    assert found.code == "D003"
    assert "Python objects" in found.message


def test_no_rows(make, data):
    make.npy("a.npy", np.zeros((0, 2), "f4"))
    assert data.mistake(X).code == "D002"


def test_string_inputs_are_refused(make, data):
    make.npy("a.npy", np.zeros((1, 2), "f4"))
    assert data.mistake({"x": "string[N]"}).code == "D005"


def tensor(make, name: str, array) -> None:
    make.path(name).write_bytes(onnx.numpy_helper.from_array(np.asarray(array)).SerializeToString())


def test_onnx_test_data_in_graph_order(make, data):
    for n in (0, 1, 10, 2):
        tensor(make, f"test_data_set_{n}/input_0.pb", np.full((1, 2), n, "f4"))
        tensor(make, f"test_data_set_{n}/input_1.pb", np.full((1, 3), n, "i8"))
        tensor(make, f"test_data_set_{n}/output_0.pb", np.zeros(9))
    opened = data({"b": "float32[N,2]", "a": "int64[N,3]"})
    assert feeds(opened, "b") == [[[n, n]] for n in (0, 1, 2, 10)]
    assert next(iter(opened.calibration)).id == "test_data_set_0[0]"
    assert [d.code for d in opened.diagnostics] == ["D100"]
    assert [
        s.feed["b"][0, 0] for s in data({"b": "float32[N,2]", "a": "int64[N,3]"}, "test_data_set_1").calibration
    ] == [1]


def test_onnx_test_data_mistakes(make, data):
    tensor(make, "test_data_set_0/input_0.pb", np.zeros((1, 2), "f4"))
    found = data.mistake({**X, "y": "float32[N,2]"})
    assert (found.code, found.where) == ("D006", "test_data_set_0")
    assert "input_1.pb" in found.message
    make.text("test_data_set_1/input_0.pb", "nonsense")
    found = data.mistake(X)
    assert (found.code, found.where) == ("D003", "test_data_set_1/input_0.pb")
